//! Dashboards and rules name only what exists: series that a crate declares in its `metrics.rs`, tables that the migrations
//! create, data sources that are provisioned. A panel over a name that nothing writes shows an empty graph and no error.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

const PREFIX: &str = "ledgerflux_";
/// What Prometheus appends to the name of a histogram.
const HISTOGRAM_SUFFIXES: [&str; 3] = ["_bucket", "_sum", "_count"];
const DASHBOARDS: [&str; 2] = ["LedgerFlux Market Data", "LedgerFlux System Health"];

#[test]
fn every_series_is_declared_by_a_crate() {
    let declared = declared_series();
    assert!(!declared.is_empty(), "no metrics.rs declares a series");
    let mut used = 0;
    let mut unknown = Vec::new();
    for file in files(&root().join("observability"), &["json", "yml", "yaml"]) {
        for name in series(&read(&file)) {
            used += 1;
            let base =
                HISTOGRAM_SUFFIXES.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(&name);
            if !declared.contains(&name) && !declared.contains(base) {
                unknown.push(format!("{}: {name}", shown(&file)));
            }
        }
    }
    assert!(used > 0, "nothing under observability/ names a series");
    assert!(unknown.is_empty(), "series that no metrics.rs declares:\n  {}", unknown.join("\n  "));
}

#[test]
fn every_table_is_created_by_a_migration() {
    let migrations: String =
        files(&root().join("migrations/src"), &["rs"]).iter().map(|file| read(file)).collect();
    let created: BTreeSet<&str> = migrations.split(|c: char| !is_word(c)).collect();
    let mut used = 0;
    let mut unknown = Vec::new();
    for (file, dashboard) in dashboards() {
        for table in queries(&dashboard).iter().flat_map(|sql| tables(sql)) {
            used += 1;
            if !created.contains(table.as_str()) && !created.contains(camel_case(&table).as_str()) {
                unknown.push(format!("{}: {table}", shown(&file)));
            }
        }
    }
    assert!(used > 0, "no dashboard reads a table");
    assert!(unknown.is_empty(), "tables that no migration creates:\n  {}", unknown.join("\n  "));
}

#[test]
fn every_data_source_is_provisioned() {
    let provisioned = read(&root().join("observability/grafana/provisioning/datasources/ledgerflux.yaml"));
    let uids: BTreeSet<&str> =
        provisioned.lines().filter_map(|line| line.trim().strip_prefix("uid: ")).collect();
    for (file, dashboard) in dashboards() {
        let mut named = BTreeSet::new();
        visit(&dashboard, &mut |key, value| {
            if let ("datasource", Some(uid)) = (key, value.get("uid")) {
                named.insert(uid.as_str().expect("a uid is a text").to_owned());
            }
        });
        assert!(!named.is_empty(), "{} names no data source", shown(&file));
        for uid in named {
            assert!(
                uids.contains(uid.as_str()),
                "{}: the data source {uid} is not provisioned",
                shown(&file)
            );
        }
    }
}

#[test]
fn the_dashboards_are_the_designed_ones_and_well_formed() {
    let mut titles = BTreeSet::new();
    let mut uids = BTreeSet::new();
    for (file, dashboard) in dashboards() {
        titles.insert(dashboard["title"].as_str().expect("a dashboard has a title").to_owned());
        assert!(
            uids.insert(dashboard["uid"].as_str().expect("a dashboard has a uid").to_owned()),
            "{}: its uid is taken",
            shown(&file)
        );
        let panels = dashboard["panels"].as_array().expect("a dashboard has panels");
        let ids: BTreeSet<u64> =
            panels.iter().map(|panel| panel["id"].as_u64().expect("a panel has an id")).collect();
        assert_eq!(ids.len(), panels.len(), "{}: two panels share an id", shown(&file));
        for panel in panels.iter().filter(|panel| panel["type"] != "row") {
            let title = panel["title"].as_str().unwrap_or_default();
            assert!(!title.is_empty(), "{}: a panel has no title", shown(&file));
            assert!(panel["description"].is_string(), "{}: {title} does not say what it shows", shown(&file));
            assert!(
                !panel["targets"].as_array().expect("a panel has targets").is_empty(),
                "{}: {title} asks for nothing",
                shown(&file)
            );
        }
    }
    assert_eq!(titles, DASHBOARDS.map(str::to_owned).into());
}

#[test]
fn the_extraction_finds_what_it_must() {
    assert_eq!(
        series("sum(rate(ledgerflux_query_requests_total[5m])) / ledgerflux_up{x=\"ledgerflux-database\"}"),
        ["ledgerflux_query_requests_total".to_owned(), "ledgerflux_up".to_owned()].into()
    );
    assert_eq!(
        tables(
            "WITH recent AS (SELECT * FROM tick_history) SELECT * FROM recent JOIN snapshots s ON true, LATERAL (SELECT 1 FROM gaps) g"
        ),
        ["tick_history".to_owned(), "snapshots".to_owned(), "gaps".to_owned()].into()
    );
    assert_eq!(tables("SELECT extract(epoch FROM ts) FROM generate_series(1, 2)"), BTreeSet::new());
    assert_eq!(camel_case("price_stats_1min"), "PriceStats1min");
}

/// Names in the string literals of all `metrics.rs`.
fn declared_series() -> BTreeSet<String> {
    ["crates", "services", "gateway"]
        .iter()
        .flat_map(|folder| files(&root().join(folder), &["rs"]))
        .filter(|file| file.ends_with("src/metrics.rs"))
        .flat_map(|file| series(&literals(&read(&file))))
        .collect()
}

/// What stands between the quotes of Rust code, one literal a line; comments are left out, as they declare nothing.
fn literals(code: &str) -> String {
    let code = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    code.flat_map(|line| line.split('"').skip(1).step_by(2)).collect::<Vec<_>>().join("\n")
}

fn series(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !is_word(c)).filter(|word| word.starts_with(PREFIX)).map(str::to_owned).collect()
}

/// The SQL of panels and of variables that a database answers.
fn queries(dashboard: &Value) -> Vec<String> {
    let mut found = Vec::new();
    visit(dashboard, &mut |key, value| {
        if let ("rawSql", Some(sql)) = (key, value.as_str()) {
            found.push(sql.to_owned());
        }
    });
    for variable in dashboard["templating"]["list"].as_array().into_iter().flatten() {
        if let (Some("grafana-postgresql-datasource"), Some(sql)) =
            (variable["datasource"]["type"].as_str(), variable["query"].as_str())
        {
            found.push(sql.to_owned());
        }
    }
    found
}

/// The names after FROM and JOIN that are not made by the query itself, nor functions, nor the FROM of `extract(… FROM …)`.
fn tables(sql: &str) -> BTreeSet<String> {
    let spaced = sql.to_lowercase().replace('(', " ( ").replace(')', " ) ").replace(',', " , ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let at = |index: usize| words.get(index).copied().unwrap_or_default();
    let own: BTreeSet<&str> =
        (0..words.len()).filter(|&i| at(i + 1) == "as" && at(i + 2) == "(").map(at).collect();
    let mut found = BTreeSet::new();
    let mut brackets = Vec::new();
    for (index, word) in words.iter().enumerate() {
        match *word {
            "(" => brackets.push(index > 0 && at(index - 1) == "extract"),
            ")" => drop(brackets.pop()),
            "from" | "join" => {
                let name = at(index + 1);
                let in_extract = brackets.last().copied().unwrap_or_default();
                let is_name = !name.is_empty()
                    && name.chars().all(is_word)
                    && name != "lateral"
                    && at(index + 2) != "(";
                if is_name && !in_extract && !own.contains(name) {
                    found.insert(name.to_owned());
                }
            }
            _ => {}
        }
    }
    found
}

/// `tick_history` as the migrations write an identifier: `TickHistory`.
fn camel_case(name: &str) -> String {
    name.split('_').map(|part| part[..1].to_uppercase() + &part[1..]).collect()
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Calls `see` for every member of every object below `value`.
fn visit(value: &Value, see: &mut impl FnMut(&str, &Value)) {
    match value {
        Value::Object(members) => {
            for (key, member) in members {
                see(key, member);
                visit(member, see);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| visit(item, see)),
        _ => {}
    }
}

fn dashboards() -> BTreeMap<PathBuf, Value> {
    let found: BTreeMap<PathBuf, Value> = files(&root().join("observability/grafana/dashboards"), &["json"])
        .into_iter()
        .map(|file| {
            let dashboard = serde_json::from_str(&read(&file))
                .unwrap_or_else(|error| panic!("{}: {error}", shown(&file)));
            (file, dashboard)
        })
        .collect();
    assert!(!found.is_empty(), "there is no dashboard");
    found
}

/// All files below `folder` with one of the extensions; build output is not looked at.
fn files(folder: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries {
        let path = entry.expect("a folder can be listed").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() && name != "target" && name != "node_modules" {
            found.extend(files(&path, extensions));
        } else if path
            .extension()
            .and_then(|extension| extension.to_str())
            .is_some_and(|extension| extensions.contains(&extension))
        {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn shown(file: &Path) -> String {
    file.strip_prefix(root()).unwrap_or(file).display().to_string()
}

/// The root of the workspace: this file is a test of `services/ledgerflux`.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
