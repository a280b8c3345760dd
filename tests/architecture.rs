//! The rules of the house that a compiler does not check: who may depend on whom, and what source files may contain.
//! `ARCHITECTURE.md` gives the reasons; a rule that is in the way is changed here and there, not worked around.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The packages of this workspace, each with those of ours that it may be built on. Tests may use more.
const MAY_DEPEND_ON: [(&str, &str); 18] = [
    ("domain", ""),
    ("runtime", ""),
    ("migrations", ""),
    ("proto", "domain"),
    ("venues", "domain"),
    ("venues-fuzz", "domain venues"),
    ("store", "domain"),
    ("bus", "domain proto"),
    ("live", "domain bus"),
    ("testkit", "migrations store bus runtime"),
    ("ingestor", "domain venues bus runtime"),
    ("normalizer", "domain bus runtime"),
    ("snapshotter", "domain bus store runtime"),
    ("query", "domain proto bus store live runtime"),
    ("gateway", "domain proto bus live runtime"),
    ("simulator", "domain venues runtime"),
    ("ledgerflux-client", "proto"),
    // Composes everything, so it also makes what the roles are given: the bus and the store.
    (
        "ledgerflux",
        "domain proto bus store live runtime migrations ingestor normalizer snapshotter query gateway simulator \
         ledgerflux-client",
    ),
];

/// Foreign crates that stand for a concern, and the packages that own it.
const OWNED_CRATES: [(&str, &str); 7] = [
    ("async-nats", "bus testkit"),
    ("sea-orm", "store migrations"),
    ("sea-orm-migration", "migrations"),
    ("sqlx", "store migrations"),
    ("tokio-tungstenite", "ingestor gateway simulator"),
    ("clap", "ledgerflux"),
    ("anyhow", "ledgerflux testkit"),
];

/// Crates that bring I/O, tasks, wire formats or a database, none of which the core knows.
const NOT_IN_THE_CORE: &str = "tokio tokio-util futures async-nats tonic prost prost-types hyper axum sea-orm sqlx \
    tokio-tungstenite metrics";

const LINES_MAX: usize = 500;
const GRAB_BAG_NAMES: &str = "common util utils helper helpers manager misc";
const UNBOUNDED: &str =
    "unbounded_channel UnboundedSender UnboundedReceiver mpsc::unbounded std::sync::mpsc::channel(";
/// Ways from a text or a float to a decimal that round without saying so.
const ROUNDING: &str = "parse::<Decimal> Decimal::from_str( Decimal::from_scientific( Decimal::from_f64 \
    Decimal::from_f32 Decimal::try_from(f .to_f64( .to_f32(";
const NUMBERS_OF_THE_MARKET: &str = "price px qty quantity size bid ask volume open high low close notional";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("the package lies two levels deep")
        .to_path_buf()
}

/// What Cargo says of the packages.
fn metadata() -> Value {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo can be started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Package name to the names of its dependencies (normal and build ones), from Cargo's own mouth.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = metadata();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let of_package = |package: &Value| {
        let dependencies = package["dependencies"].as_array().unwrap().iter();
        dependencies
            .filter(|found| found["kind"].as_str() != Some("dev"))
            .map(|found| text(&found["name"]))
            .collect()
    };
    let packages = metadata["packages"].as_array().unwrap();
    packages.iter().map(|package| (text(&package["name"]), of_package(package))).collect()
}

/// Places at which a process can be made to die are for tests alone: only what tests depend on turns them on.
#[test]
fn fail_points_are_off_in_what_ships() {
    let metadata = metadata();
    let mut known = 0;
    for package in metadata["packages"].as_array().unwrap() {
        known += usize::from(package["features"].get("fail-points").is_some());
        for (feature, implied) in package["features"].as_object().unwrap() {
            let turned_on = implied.to_string().contains("fail-points");
            assert!(!turned_on, "{} turns fail points on by its feature {feature}", package["name"]);
        }
        for dependency in package["dependencies"].as_array().unwrap() {
            let turned_on = dependency["features"].to_string().contains("fail-points");
            assert!(!turned_on || dependency["kind"] == "dev", "{} turns fail points on", package["name"]);
        }
    }
    assert_eq!(known, 1, "the feature is declared once, where the fail points are");
}

/// One line of a source file, with what is needed to judge it.
struct Line {
    file: PathBuf,
    number: usize,
    code: String,
    previous: String,
    is_test: bool,
}

impl Line {
    fn place(&self) -> String {
        format!("{}:{}: {}", self.file.display(), self.number, self.code.trim())
    }
}

/// Every Rust file that people write, relative to the root.
fn rust_files() -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut directories: Vec<PathBuf> =
        ["crates", "services", "gateway", "migrations", "proto", "clients", "tests"]
            .map(PathBuf::from)
            .to_vec();
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(root().join(&directory)).unwrap() {
            let entry = entry.unwrap();
            let path = directory.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                if !["target", "node_modules"].iter().any(|name| path.ends_with(name)) {
                    directories.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    assert!(files.len() > 50, "only {} Rust files were found, so this looks at the wrong place", files.len());
    files.sort();
    files
}

/// Where a reader of lines is with respect to items that only tests have.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Product,
    /// Between `#[cfg(test)]` and the item it stands on.
    BeforeTestItem,
    /// In an item with a body; rustfmt puts its end into the first column.
    InTestItem,
}

/// The lines of a text without comments and blank lines.
fn lines_of(file: &Path, text: &str) -> Vec<Line> {
    let is_test_file =
        file.components().any(|part| part.as_os_str() == "tests") || file.ends_with("tests.rs");
    let (mut lines, mut previous, mut place) = (Vec::new(), String::new(), Place::Product);
    for (index, line) in text.lines().enumerate() {
        if line == "#[cfg(test)]" {
            place = Place::BeforeTestItem;
        }
        let code = line.split("//").next().unwrap_or_default().to_owned();
        let is_test = is_test_file || place != Place::Product;
        if !code.trim().is_empty() {
            let file = file.to_path_buf();
            lines.push(Line { file, number: index + 1, code: code.clone(), previous, is_test });
            previous = code;
        }
        place = match place {
            Place::BeforeTestItem if line.ends_with('{') => Place::InTestItem,
            Place::BeforeTestItem if line.ends_with(';') => Place::Product,
            Place::InTestItem if line == "}" => Place::Product,
            same => same,
        };
    }
    lines
}

fn product_lines() -> Vec<Line> {
    let this = Path::new("tests/architecture.rs");
    let files = rust_files().into_iter().filter(|file| file != this);
    let lines = files.flat_map(|file| lines_of(&file, &std::fs::read_to_string(root().join(&file)).unwrap()));
    lines.filter(|line| !line.is_test && !line.file.starts_with("crates/testkit")).collect()
}

#[track_caller]
fn assert_none(found: impl IntoIterator<Item = String>, rule: &str) {
    let found: Vec<String> = found.into_iter().collect();
    assert!(found.is_empty(), "{rule}\n  {}", found.join("\n  "));
}

fn words(text: &str) -> BTreeSet<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn contains_any(code: &str, listed: &str) -> bool {
    listed.split_whitespace().any(|word| code.contains(word))
}

#[test]
fn packages_depend_only_in_the_agreed_direction() {
    let dependencies = dependencies();
    let ours: BTreeSet<String> = dependencies.keys().cloned().collect();
    let known: BTreeSet<String> = MAY_DEPEND_ON.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(ours, known, "a package was added or removed: say here what it may depend on");
    for (package, allowed) in MAY_DEPEND_ON {
        let used: BTreeSet<String> = dependencies[package].intersection(&ours).cloned().collect();
        assert_none(used.difference(&words(allowed)).cloned(), &format!("{package} must not depend on:"));
    }
}

#[test]
fn concerns_stay_with_their_owner() {
    for (package, used) in dependencies() {
        for (foreign, owners) in OWNED_CRATES {
            let allowed = words(owners).contains(&package) || !used.contains(foreign);
            assert!(allowed, "{package} depends on {foreign}, which belongs to: {owners}");
        }
    }
}

#[test]
fn the_core_has_no_input_output_tasks_or_wire_formats() {
    let dependencies = dependencies();
    for package in ["domain", "venues"] {
        let found: Vec<String> =
            words(NOT_IN_THE_CORE).intersection(&dependencies[package]).cloned().collect();
        assert_none(found, &format!("{package} is pure and must not depend on:"));
    }
}

#[test]
fn files_are_short_and_named_by_their_job() {
    let too_long =
        |file: &PathBuf| std::fs::read_to_string(root().join(file)).unwrap().lines().count() > LINES_MAX;
    let display = |file: PathBuf| file.display().to_string();
    assert_none(rust_files().into_iter().filter(too_long).map(display), "files of more than 500 lines:");
    let is_mod_rs = |file: &PathBuf| file.ends_with("mod.rs");
    assert_none(
        rust_files().into_iter().filter(is_mod_rs).map(display),
        "`book.rs` stands beside `book/`, not in it:",
    );
    let is_grab_bag = |file: &PathBuf| {
        let name = file.with_extension("");
        name.iter().any(|part| part.to_str().is_some_and(|part| words(GRAB_BAG_NAMES).contains(part)))
    };
    assert_none(rust_files().into_iter().filter(is_grab_bag).map(display), "name a module by its job:");
}

#[test]
fn queues_are_bounded() {
    let found = product_lines().into_iter().filter(is_unbounded);
    assert_none(
        found.map(|line| line.place()),
        "every queue has a bound, a policy at the bound, and a counter:",
    );
}

fn is_unbounded(line: &Line) -> bool {
    contains_any(&line.code, UNBOUNDED)
}

#[test]
fn tasks_have_an_owner() {
    let found = product_lines()
        .into_iter()
        .filter(|line| !line.file.starts_with("crates/runtime") && is_orphan_task(line));
    assert_none(
        found.map(|line| line.place()),
        "spawn through runtime's TaskSet, a JoinSet, a TaskTracker, or hold it in an AbortOnDropHandle:",
    );
}

/// `AbortOnDropHandle::new(tokio::spawn(…))` owns its task; rustfmt may put the two on neighbouring lines.
fn is_orphan_task(line: &Line) -> bool {
    let spawns = ["tokio::spawn(", "task::spawn("].iter().any(|call| line.code.contains(call));
    spawns && ![&line.code, &line.previous].iter().any(|code| code.contains("AbortOnDrop"))
}

#[test]
fn numbers_of_the_market_are_exact() {
    let floats = product_lines().into_iter().filter(|line| holds_market_number_in_float(&line.code));
    assert_none(floats.map(|line| line.place()), "a price or a size is a Decimal:");
    let rounding = product_lines().into_iter().filter(|line| contains_any(&line.code, ROUNDING));
    assert_none(
        rounding.map(|line| line.place()),
        "these round without saying so; use `domain::parse_number`:",
    );
}

/// Whether a field, argument or binding with the name of a market number is declared as a float.
fn holds_market_number_in_float(code: &str) -> bool {
    let declarations =
        ["f64", "f32"].iter().flat_map(|float| code.match_indices(float)).filter_map(|(position, _)| {
            let before = code[..position].trim_end_matches("Option<").trim_end_matches('&').trim_end();
            let name = before
                .strip_suffix(':')?
                .rsplit(|letter: char| !letter.is_alphanumeric() && letter != '_')
                .next()?;
            Some(name.to_lowercase())
        });
    let is_market_number = |name: String| {
        let mut parts = name.split('_');
        !name.ends_with("_bytes") && parts.any(|part| words(NUMBERS_OF_THE_MARKET).contains(part))
    };
    declarations.into_iter().any(is_market_number)
}

/// The rules above find what they are for: a guard that cannot see is worse than none.
#[test]
fn the_rules_see() {
    let judge = |text: &str| lines_of(Path::new("crates/bus/src/lib.rs"), text);
    let first = |text: &str| judge(text).remove(0);
    assert!(is_unbounded(&first("let (a, b) = mpsc::unbounded_channel();")));
    assert!(is_orphan_task(&first("    tokio::spawn(async {});")));
    assert!(!is_orphan_task(&first("    let task = AbortOnDropHandle::new(tokio::spawn(async {}));")));
    assert!(!is_orphan_task(
        &judge("let task = AbortOnDropHandle::new(\n    tokio::spawn(async {}),\n);").remove(1)
    ));
    for code in ["price: f64,", "pub best_bid: Option<f64>,", "fn add(size: &f32)", "let px: f64 = 1.0;"] {
        assert!(holds_market_number_in_float(code), "{code}");
    }
    for code in
        ["latency_seconds: f64,", "size_bytes: f64,", "price: Decimal,", "backlog as f64", "openness: f64"]
    {
        assert!(!holds_market_number_in_float(code), "{code}");
    }
    let text = "a();\n#[cfg(test)]\nmod tests {\n    b();\n}\nc(); // d()\n#[cfg(test)]\nmod more;\ne();\n";
    let seen: Vec<String> =
        judge(text).into_iter().filter(|line| !line.is_test).map(|line| line.code).collect();
    assert_eq!(seen, ["a();", "c(); ", "e();"]);
    assert!(lines_of(Path::new("crates/bus/tests/suite.rs"), "x();")[0].is_test);
}
