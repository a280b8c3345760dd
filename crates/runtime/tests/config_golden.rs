//! Bad configurations, each with the problems it must be answered with, and the promise that no file makes it panic.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;
use runtime::config::{ConfigProblems, Flag, Sources};
use runtime::{lock, ops, telemetry};

/// Sections like those of the roles, with every kind of getter.
fn read_all(sources: &mut Sources) {
    sources.read("bus", |reader| {
        reader.optional_text("nats");
        reader.text("prefix", "lf");
        reader.integer("shards", 4, 1..=64);
        reader.optional_integer("raw_size_max_bytes", 1024 * 1024..=u64::MAX);
        reader.secret("password");
    });
    sources.read("feed", |reader| {
        reader.list("products", &["BTC-USD", "ETH-USD", "ADA-USD"]);
        reader.flag("confirm", true);
        reader.optional_path("ca_file");
        let allowed = Duration::from_millis(1)..=Duration::from_secs(3600);
        let min = reader.duration("reconnect_delay_min", Duration::from_millis(250), allowed.clone());
        let max = reader.duration("reconnect_delay_max", Duration::from_secs(30), allowed);
        if min > max {
            reader.conflict("reconnect_delay_min", "must not be above feed.reconnect_delay_max");
        }
        reader.parsed("replay_speed", "1", "a number above zero or \"max\"", |text| match text {
            "max" => Ok(None),
            _ => text.parse::<u32>().map(Some),
        });
    });
    sources.read("ops", |reader| ops::Config::read(reader, 9100));
    sources.read("telemetry", telemetry::Config::read);
    sources.read("data", lock::Config::read);
}

fn check(path: &Path) -> Result<Sources, ConfigProblems> {
    let environment = [("LEDGERFLUX_BUS__PREFIX".to_owned(), "test".to_owned())];
    let flags = vec![Flag::new("feed.products", "BTC-USD", "--products")];
    let mut sources = Sources::load(Some(path.to_owned()), environment, flags)?;
    read_all(&mut sources);
    sources.finish().map(|()| sources)
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join("config")
}

#[test]
fn bad_files_are_answered_with_the_expected_problems() {
    let mut checked = 0;
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "expected") {
            continue;
        }
        let problems = check(&path).expect_err(&path.display().to_string());
        // The path depends on where the repository lies.
        let told = problems.to_string().replace(&format!("{}/", folder().display()), "");
        let expected_path = PathBuf::from(format!("{}.expected", path.display()));
        if std::env::var_os("LEDGERFLUX_UPDATE_GOLDEN").is_some() {
            std::fs::write(&expected_path, format!("{told}\n")).unwrap();
        }
        let expected = std::fs::read_to_string(&expected_path).unwrap_or_default();
        assert_eq!(told, expected.trim_end(), "{} (LEDGERFLUX_UPDATE_GOLDEN=1 rewrites it)", path.display());
        checked += 1;
    }
    assert!(checked >= 9, "only {checked} files were found");
}

#[test]
fn no_file_at_all_is_a_good_configuration() {
    let mut sources = Sources::load(None, [], Vec::new()).unwrap();
    read_all(&mut sources);
    sources.finish().unwrap();
}

/// Text that looks like a configuration, so that the readers see it and not only the parser.
fn toml_like() -> impl Strategy<Value = String> {
    let section =
        prop::sample::select(vec!["bus", "feed", "ops", "telemetry", "data", "a.b", "\"\"", "'x.y'"]);
    let key = prop::sample::select(vec![
        "nats",
        "shards",
        "products",
        "confirm",
        "listen",
        "log",
        "dir",
        "password",
        "replay_speed",
        "ca_file",
        "reconnect_delay_min",
        "trace_sample_ratio",
        "otlp_endpoint",
        "\"ö\"",
    ]);
    let value = prop_oneof![
        any::<i64>().prop_map(|value| value.to_string()),
        any::<f64>().prop_map(|value| format!("{value:?}")),
        "\\PC{0,20}".prop_map(|text| serde_json::Value::from(text).to_string()),
        prop::sample::select(vec![
            "true",
            "[]",
            "{}",
            "[[1], {a = 1}]",
            "{a.b = 'c'}",
            "2026-11-22",
            "inf",
            "'99999999999999 years'",
            "'0.0.0.0:99999'",
            "'info,[=x'",
            "'http://'",
            "''",
            "0x7fffffffffffffff",
        ])
        .prop_map(str::to_owned),
    ];
    let line = (key, value).prop_map(|(key, value)| format!("{key} = {value}\n"));
    let lines = prop::collection::vec(line, 0..4).prop_map(|lines| lines.concat());
    prop::collection::vec((section, lines).prop_map(|(name, lines)| format!("[{name}]\n{lines}")), 0..4)
        .prop_map(|sections| sections.concat())
}

proptest! {
    #[test]
    fn no_file_makes_it_panic(text in prop_oneof![toml_like(), "\\PC{0,200}", any::<String>()], json in any::<bool>()) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(if json { "any.json" } else { "any.toml" });
        std::fs::write(&path, text).unwrap();
        match check(&path) {
            Ok(sources) => prop_assert!(!sources.print().is_empty()),
            Err(problems) => prop_assert!(!problems.to_string().is_empty()),
        }
    }

    #[test]
    fn no_environment_makes_it_panic(name in "(BUS|FEED|OPS|_|[a-zA-Zß_]{0,8})__[A-Zaé_]{0,12}", value in any::<String>()) {
        let mut sources =
            Sources::load(None, [(format!("LEDGERFLUX_{name}"), value)], Vec::new()).unwrap();
        read_all(&mut sources);
        let _ = sources.finish();
        sources.print();
    }
}
