//! Rejects as JSON. A tick is written in protobuf's own JSON, as gRPC tools write it, and read back from it: unknown fields
//! and malformed numbers are faults.

use anyhow::Context as _;
use domain::{RejectedTick, Tick};
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, SerializeOptions};
use proto::v1;
use serde_json::{Value, json};

/// What a line of a list tells.
pub(super) fn line(id: u64, reject: &RejectedTick) -> Value {
    let named = reject.instrument.as_ref().map(ToString::to_string);
    json!({
        "id": id,
        "time": reject.time.to_string(),
        "reason": reject.reason.as_str(),
        "product": named,
        "trade_id": reject.tick.as_ref().and_then(Tick::trade_id),
        "detail": reject.detail,
        "source": reject.source,
        "identity": reject.identity,
    })
}

/// Everything that is kept of a reject.
pub(super) fn whole(id: u64, reject: &RejectedTick) -> anyhow::Result<Value> {
    let mut value = line(id, reject);
    value["tick"] = reject.tick.as_ref().map(tick).transpose()?.unwrap_or_default();
    value["raw"] = match std::str::from_utf8(&reject.raw) {
        Ok("") => Value::Null,
        Ok(text) => text.into(),
        Err(_) => format!("hex {}", hex(&reject.raw)).into(),
    };
    value["raw_length"] = reject.raw_length.into();
    Ok(value)
}

/// A tick as it can be edited.
pub(super) fn tick(tick: &Tick) -> anyhow::Result<Value> {
    let mut message = DynamicMessage::new(descriptor()?);
    message.transcode_from(&v1::Tick::from(tick))?;
    Ok(message.serialize_with_options(serde_json::value::Serializer, &SerializeOptions::new())?)
}

/// The reverse of [`tick`].
pub(super) fn read_tick(text: &str) -> anyhow::Result<Tick> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let message = DynamicMessage::deserialize(descriptor()?, &mut reader).context("it is no tick in JSON")?;
    reader.end().context("more than one tick")?;
    let tick: v1::Tick = message.transcode_to()?;
    Ok(tick.try_into()?)
}

fn descriptor() -> anyhow::Result<MessageDescriptor> {
    let pool = DescriptorPool::decode(proto::FILE_DESCRIPTOR_SET)?;
    pool.get_message_by_name("ledgerflux.v1.Tick").context("the tick is missing in the contract")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
