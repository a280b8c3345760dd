//! `docs/api.md` has every RPC, every error and every key of the configuration.

use std::collections::BTreeSet;

use prost::Message as _;

fn read(path: &str) -> String {
    std::fs::read_to_string(testkit::workspace_root().join(path)).unwrap()
}

/// The words in capitals between quotes (or backquotes) of a text.
fn words(text: &str, quote: char) -> BTreeSet<&str> {
    let is_reason = |word: &&str| {
        word.len() > 3
            && word.contains('_')
            && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
    };
    text.split(quote).filter(is_reason).collect()
}

#[test]
fn every_error_is_documented_and_none_is_made_up() {
    let (query, gateway, docs) =
        (read("services/query/src/errors.rs"), read("gateway/src/grpc/status.rs"), read("docs/api.md"));
    let table: String = docs.lines().filter(|line| line.starts_with("| `")).collect();
    let documented = words(&table, '`');
    let made = words(&query, '"');
    assert!(made.len() > 8, "{made:?}");
    assert_eq!(made.difference(&documented).collect::<Vec<_>>(), Vec::<&&str>::new(), "not documented");
    let known: BTreeSet<&str> = made.union(&words(&gateway, '"')).copied().collect();
    assert_eq!(documented.difference(&known).collect::<Vec<_>>(), Vec::<&&str>::new(), "no such reason");
}

#[test]
fn every_method_has_a_line_to_try() {
    let docs = read("docs/api.md");
    let set = prost_types::FileDescriptorSet::decode(proto::FILE_DESCRIPTOR_SET).unwrap();
    let services = set.file.iter().flat_map(|file| &file.service);
    let methods =
        services.filter(|service| service.name() == "MarketDataService").flat_map(|service| &service.method);
    for method in methods {
        let line = format!("ledgerflux.v1.MarketDataService/{}\n", method.name());
        assert!(docs.contains(&line), "{} has no line", method.name());
    }
    assert!(read("README.md").contains("(docs/api.md)"));
}

#[test]
fn every_limit_is_documented() {
    let (config, docs) = (read("services/query/src/config.rs"), read("docs/api.md"));
    for key in [
        "call_timeout",
        "calls_max",
        "streams_max",
        "concurrent_calls_max",
        "request_bytes_max",
        "response_bytes_max",
    ] {
        assert!(config.contains(&format!("\"{key}\"")), "{key} is no key");
        assert!(docs.contains(&format!("| `query.{key}` |")), "{key} is not documented");
    }
}
