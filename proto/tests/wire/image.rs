//! What is compiled in is what the committed image promises. `make lint` compares the details with `buf breaking`; this
//! keeps the image from being forgotten and reflection from serving something else.

use std::{collections::BTreeSet, fs, path::PathBuf};

use prost_reflect::DescriptorPool;
use proto::FILE_DESCRIPTOR_SET;

const PACKAGE: &str = "ledgerflux.v1";

fn committed() -> DescriptorPool {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("ledgerflux.v1.binpb");
    DescriptorPool::decode(fs::read(path).unwrap().as_slice()).unwrap()
}

fn compiled() -> DescriptorPool {
    DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap()
}

/// Every field, enum value and method of the package, one line each.
fn inventory(pool: &DescriptorPool) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    for message in pool.all_messages().filter(|message| message.package_name() == PACKAGE) {
        lines.insert(format!("message {}", message.full_name()));
        for field in message.fields() {
            let oneof = field.containing_oneof().map(|oneof| oneof.name().to_owned());
            lines.insert(format!(
                "{} = {} {:?} {:?} {oneof:?}",
                field.full_name(),
                field.number(),
                field.cardinality(),
                field.kind()
            ));
        }
    }
    for value in pool.all_enums().filter(|one| one.package_name() == PACKAGE).flat_map(|one| {
        one.values().map(|value| format!("{} = {}", value.full_name(), value.number())).collect::<Vec<_>>()
    }) {
        lines.insert(value);
    }
    for method in pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()) {
        lines.insert(format!(
            "{}({}) -> {} streaming {}",
            method.full_name(),
            method.input().full_name(),
            method.output().full_name(),
            method.is_server_streaming()
        ));
    }
    lines
}

#[test]
fn the_committed_image_is_up_to_date() {
    let (committed, compiled) = (inventory(&committed()), inventory(&compiled()));
    let missing: Vec<_> = compiled.difference(&committed).collect();
    let gone: Vec<_> = committed.difference(&compiled).collect();
    assert!(
        missing.is_empty() && gone.is_empty(),
        "proto/ledgerflux.v1.binpb is not of these files; buf.yaml says how it is made\nnot in it: {missing:#?}\nonly in it: {gone:#?}"
    );
}

#[test]
fn every_rpc_of_the_design_is_there() {
    let pool = compiled();
    let methods = |service: &str| -> Vec<String> {
        let service = pool.get_service_by_name(&format!("{PACKAGE}.{service}")).unwrap();
        service.methods().map(|method| method.name().to_owned()).collect()
    };
    let market_data = [
        "GetLatestPrice",
        "BatchGetLatestPrices",
        "ListTicks",
        "StreamTicks",
        "GetSnapshot",
        "ListCandles",
        "ListProducts",
        "ListGaps",
        "GetPipelineStatus",
    ];
    assert_eq!(methods("MarketDataService"), market_data);
    assert_eq!(methods("StreamingService"), ["Subscribe", "StreamCandles"]);
}

#[test]
fn no_field_holds_a_float() {
    use prost_reflect::Kind;
    for message in compiled().all_messages().filter(|message| message.package_name() == PACKAGE) {
        for field in message.fields() {
            assert!(!matches!(field.kind(), Kind::Float | Kind::Double), "{}", field.full_name());
        }
    }
}
