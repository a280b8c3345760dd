//! The bytes on the wire stay what they are: messages that were written yesterday are read tomorrow.
//!
//! Each golden file holds the bytes of one message (`.binpb`) beside the same message as JSON (`.json`), made from the
//! descriptors alone. With `LEDGERFLUX_WRITE_GOLDEN=1` missing files are written; those that exist are never changed.

use std::{env, fs, path::PathBuf};

use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use proto::{
    FILE_DESCRIPTOR_SET, decode_batch, decode_event, decode_reject, decode_snapshot, decode_status,
    encode_batch, encode_event, encode_reject, encode_snapshot, encode_status,
};

use crate::samples;

#[test]
fn tick_batch() {
    let sample = samples::batch();
    check("tick_batch", "TickBatch", &encode_batch(&sample));
    assert_eq!(decode_batch(&stored("tick_batch")).unwrap(), sample);
}

#[test]
fn snapshot() {
    let sample = samples::snapshot();
    check("snapshot", "Snapshot", &encode_snapshot(&sample));
    assert_eq!(decode_snapshot(&stored("snapshot")).unwrap(), sample);
}

#[test]
fn rejected_tick() {
    let sample = samples::reject();
    check("rejected_tick", "RejectedTick", &encode_reject(&sample));
    assert_eq!(decode_reject(&stored("rejected_tick")).unwrap(), sample);
}

#[test]
fn feed_events() {
    for sample in samples::events() {
        let name = format!("feed_event_{}", sample.kind.name());
        check(&name, "FeedEvent", &encode_event(&sample));
        assert_eq!(decode_event(&stored(&name)).unwrap(), sample);
    }
}

#[test]
fn role_status() {
    let sample = samples::status();
    check("role_status", "RoleStatus", &encode_status(&sample));
    assert_eq!(decode_status(&stored("role_status")).unwrap(), sample);
}

fn path(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/wire/golden").join(file)
}

fn stored(name: &str) -> Vec<u8> {
    let path = path(&format!("{name}.binpb"));
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn check(name: &str, message: &str, encoded: &[u8]) {
    let (bytes, json) = (path(&format!("{name}.binpb")), path(&format!("{name}.json")));
    let readable = to_json(message, encoded);
    if env::var_os("LEDGERFLUX_WRITE_GOLDEN").is_some() {
        if !bytes.exists() {
            fs::write(&bytes, encoded).unwrap();
        }
        if !json.exists() {
            fs::write(&json, &readable).unwrap();
        }
    }
    assert_eq!(fs::read_to_string(&json).unwrap(), readable, "{}", json.display());
    assert!(stored(name) == encoded, "the bytes of {name} have changed");
}

fn to_json(message: &str, encoded: &[u8]) -> String {
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
    let descriptor = pool.get_message_by_name(&format!("ledgerflux.v1.{message}")).unwrap();
    let message = DynamicMessage::decode(descriptor, encoded).unwrap();
    let mut out = serde_json::Serializer::pretty(Vec::new());
    message.serialize_with_options(&mut out, &SerializeOptions::new()).unwrap();
    String::from_utf8(out.into_inner()).unwrap() + "\n"
}
