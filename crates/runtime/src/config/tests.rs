use std::time::Duration;

use super::*;

fn environment(variables: &[(&str, &str)]) -> Vec<(String, String)> {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn sources(file: &str, variables: &[(&str, &str)], flags: Vec<Flag>) -> Sources {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledgerflux.toml");
    std::fs::write(&path, file).unwrap();
    Sources::load(Some(path), environment(variables), flags).unwrap()
}

fn shards(sources: &mut Sources) -> u64 {
    sources.read("bus", |reader| reader.integer("shards", 4, 1..=64))
}

fn kinds(sources: &Sources) -> Vec<(String, Origin, ProblemKind)> {
    let problems = sources.finish().unwrap_err();
    problems
        .iter()
        .map(|problem| (problem.key.clone(), problem.origin.clone(), problem.kind.clone()))
        .collect()
}

fn unknown(suggestion: &str) -> ProblemKind {
    ProblemKind::UnknownKey { suggestion: Some(suggestion.to_owned()) }
}

#[test]
fn a_later_source_wins() {
    let variable = ("LEDGERFLUX_BUS__SHARDS", "8");
    let flag = || Flag::new("bus.shards", "16", "--shards");
    let file = "[bus]\nshards = 2";
    for (file, variables, flags, expected) in [
        ("", vec![], vec![], 4),
        (file, vec![], vec![], 2),
        (file, vec![variable], vec![], 8),
        (file, vec![variable], vec![flag()], 16),
        (file, vec![], vec![flag()], 16),
    ] {
        let mut sources = sources(file, &variables, flags);
        assert_eq!(shards(&mut sources), expected);
        sources.finish().unwrap();
    }
}

#[test]
fn the_variable_names_the_file_and_the_flag_wins_over_it() {
    let folder = tempfile::tempdir().unwrap();
    let (toml, json) = (folder.path().join("a.toml"), folder.path().join("b.json"));
    std::fs::write(&toml, "[bus]\nshards = 2").unwrap();
    std::fs::write(&json, r#"{"bus": {"shards": 3, "nats": null}}"#).unwrap();
    let variables = environment(&[(ENVIRONMENT_FILE, toml.to_str().unwrap())]);
    let mut sources = Sources::load(None, variables.clone(), Vec::new()).unwrap();
    assert_eq!(shards(&mut sources), 2);
    sources.finish().unwrap();
    let mut sources = Sources::load(Some(json), variables, Vec::new()).unwrap();
    assert_eq!(shards(&mut sources), 3);
    sources.finish().unwrap();
}

#[test]
fn a_file_that_cannot_be_used_is_one_problem() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    for path in [
        folder.path().join("missing.toml"),
        folder.path().to_owned(),
        write("a.yaml", b"bus: 1"),
        write("b.toml", b"[bus\nshards = 2"),
        write("c.json", b"[1, 2]"),
        write("d.toml", b"a = \"\xff\""),
        write("e.toml", "# x\n".repeat(300_000).as_bytes()),
        write("f.toml", b"[bus]\nshards = 1\nshards = 2"),
        write("g.toml", format!("a = {}1{}", "[".repeat(10_000), "]".repeat(10_000)).as_bytes()),
        write("h.json", format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000)).as_bytes()),
    ] {
        let problems = Sources::load(Some(path.clone()), [], Vec::new()).unwrap_err();
        let problem = problems.iter().next().unwrap();
        assert_eq!(problem.origin, Origin::File(path));
        assert!(matches!(problem.kind, ProblemKind::BadFile { .. }));
    }
}

#[test]
fn environment_and_flags_have_no_types() {
    let variables = [
        ("LEDGERFLUX_FEED__PRODUCTS", "BTC-USD, ETH-USD,"),
        ("LEDGERFLUX_FEED__REPLAY", "true"),
        ("LEDGERFLUX_FEED__PAUSE", "1m 30s"),
        ("LEDGERFLUX_FEED__LISTEN", "[::1]:80"),
        ("LEDGERFLUX_FEED__EMPTY", ""),
    ];
    let mut sources = sources("", &variables, Vec::new());
    let mut reader = sources.section("feed");
    assert_eq!(reader.list("products", &[]), ["BTC-USD", "ETH-USD"]);
    assert!(reader.flag("replay", false));
    let day = Duration::from_secs(86_400);
    assert_eq!(reader.duration("pause", Duration::ZERO, Duration::ZERO..=day), Duration::from_secs(90));
    assert_eq!(reader.address("listen", "127.0.0.1:0".parse().unwrap()), "[::1]:80".parse().unwrap());
    assert_eq!(reader.text("empty", "default"), "default");
    sources.finish().unwrap();
}

#[test]
fn every_unset_key_reads_as_its_default() {
    let mut sources = sources("[feed]\n[bus]", &[], Vec::new());
    let mut reader = sources.section("feed");
    assert!(!reader.is_set("a"));
    assert_eq!(reader.optional_text("a"), None);
    assert_eq!(reader.optional_integer("b", 0..=9), None);
    assert_eq!(reader.optional_duration("c", Duration::ZERO..=Duration::MAX), None);
    assert_eq!(reader.optional_address("d"), None);
    assert_eq!(reader.optional_path("e"), None);
    assert_eq!(reader.secret("f"), None);
    assert_eq!(reader.parsed("g", "7", "a number", str::parse::<u8>), Some(7));
    assert_eq!(reader.path("h", "data"), PathBuf::from("data"));
    assert_eq!(reader.list("i", &["x"]), ["x"]);
    assert_eq!(shards(&mut sources), 4);
    sources.finish().unwrap();
}

#[test]
fn one_run_finds_every_problem_and_a_bad_value_reads_as_the_default() {
    let file = "[bus]\nshards = 0\nnats = 4\n[feed]\nproducts = \"BTC-USD\"\npause = 30\nquick = \"yes\"";
    let variables = [("LEDGERFLUX_OPS__LISTEN", "localhost:80"), ("LEDGERFLUX_FEED__PAUS", "1s")];
    let mut sources = sources(file, &variables, vec![Flag::new("feed.speed", "fast", "--speed")]);
    assert_eq!(shards(&mut sources), 4);
    sources.read("bus", |reader| assert_eq!(reader.text("nats", "x"), "x"));
    sources.read("feed", |reader| {
        assert_eq!(reader.list("products", &["ADA-USD"]), ["ADA-USD"]);
        reader.duration("pause", Duration::ZERO, Duration::ZERO..=Duration::MAX);
        assert!(!reader.flag("quick", false));
        assert_eq!(reader.parsed("speed", "1", "a number", str::parse::<u8>), None);
    });
    sources.read("ops", |reader| reader.address("listen", "127.0.0.1:1".parse().unwrap()));
    let keys: Vec<String> = kinds(&sources).into_iter().map(|(key, _, _)| key).collect();
    let expected = [
        "bus.nats",
        "bus.shards",
        "feed.paus",
        "feed.pause",
        "feed.products",
        "feed.quick",
        "feed.speed",
        "ops.listen",
    ];
    assert_eq!(keys, expected);
}

#[test]
fn an_unknown_key_comes_with_the_key_that_was_meant() {
    let file = "[bus]\nshard = 4\n[feed]\nnats = \"x\"\n[buss]\n";
    let variables = [("LEDGERFLUX_BUS_SHARDS", "4"), ("LEDGERFLUX_GATEWAY_PORT", "tcp://10.0.0.1:80")];
    let mut sources = sources(file, &variables, vec![Flag::new("elsewhere.entirely", "1", "--odd")]);
    shards(&mut sources);
    sources.read("bus", |reader| reader.optional_text("nats"));
    let found: Vec<(String, ProblemKind)> =
        kinds(&sources).into_iter().map(|(key, _, kind)| (key, kind)).collect();
    let none = ProblemKind::UnknownKey { suggestion: None };
    let expected = [
        ("bus.shard", unknown("bus.shards")),
        ("bus.shards", unknown("LEDGERFLUX_BUS__SHARDS")),
        ("buss", none.clone()),
        ("elsewhere.entirely", none),
        ("feed.nats", unknown("bus.nats")),
    ];
    assert_eq!(found, expected.map(|(key, kind)| (key.to_owned(), kind)));
}

#[test]
fn a_conflict_names_the_source_of_the_value() {
    let mut sources = sources("", &[("LEDGERFLUX_FEED__MIN", "9")], Vec::new());
    sources.read("feed", |reader| {
        if reader.integer("min", 1, 0..=9) > reader.integer("max", 5, 0..=9) {
            reader.conflict("min", "must not be above feed.max");
        }
    });
    let problem = sources.finish().unwrap_err();
    assert_eq!(
        problem.to_string(),
        "bad configuration: feed.min = 9 (environment LEDGERFLUX_FEED__MIN): must not be above feed.max"
    );
}

#[test]
fn print_shows_values_with_their_sources_reads_back_and_keeps_secrets() {
    let read = |sources: &mut Sources| {
        sources.read("bus", |reader| {
            reader.optional_text("nats");
            reader.optional_text("creds_file");
            reader.secret("password").map(|secret| secret.reveal().to_owned())
        });
        sources.read("feed", |reader| reader.list("products", &["BTC-USD", "odd \"\u{7f}\u{1}\\"]));
        shards(sources)
    };
    let variables = [("LEDGERFLUX_BUS__PASSWORD", "s3cret"), ("LEDGERFLUX_BUS__NATS", "nats://a:s3cret@h:1")];
    let mut first = sources("", &variables, vec![Flag::new("bus.shards", "7", "--shards")]);
    assert_eq!(read(&mut first), 7);
    let printed = first.print();
    assert!(!printed.contains("s3cret"), "{printed}");
    for line in [
        "[bus]",
        "# creds_file is not set            # built-in default",
        "nats = \"nats://a:***@h:1\"        # environment LEDGERFLUX_BUS__NATS",
        "password = \"***\"                 # environment LEDGERFLUX_BUS__PASSWORD",
        "shards = 7                         # flag --shards",
    ] {
        let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            printed.lines().any(|printed| squeeze(printed) == squeeze(line)),
            "{line} is not in\n{printed}"
        );
    }

    let mut second = sources(&printed, &[], Vec::new());
    assert_eq!(read(&mut second), 7);
    second.finish().unwrap();
    let values = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.split("  # ").next().unwrap().trim().to_owned()).collect()
    };
    assert_eq!(values(&second.print()), values(&printed));
}

#[test]
fn neither_secrets_nor_misspelt_secrets_are_repeated_in_problems() {
    let file = "[bus]\nnats = [\"nats://a:s3cret@h\"]\ntoken = [\"s3cret\"]\ntokn = \"s3cret\"";
    let mut sources = sources(file, &[], Vec::new());
    sources.read("bus", |reader| {
        reader.optional_text("nats");
        reader.secret("token");
    });
    let problems = sources.finish().unwrap_err();
    assert_eq!(problems.iter().count(), 3);
    assert!(!problems.to_string().contains("s3cret"), "{problems}");
    assert!(!format!("{:?}", Secret::new("s3cret")).contains("s3cret"));
}
