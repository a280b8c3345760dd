//! Messages as lines, in protobuf's own JSON.

use anyhow::Context as _;
use ledgerflux_client::{Update, v1};
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use serde_json::json;

use super::Happening;

/// Writes lines.
#[derive(Debug)]
pub(super) struct Writer {
    descriptor: MessageDescriptor,
}

impl Writer {
    pub(super) fn new() -> anyhow::Result<Self> {
        let pool = DescriptorPool::decode(proto::FILE_DESCRIPTOR_SET)?;
        let descriptor = pool.get_message_by_name("ledgerflux.v1.SubscribeResponse");
        Ok(Self { descriptor: descriptor.context("the message is missing in the contract")? })
    }

    /// `None` for the first connection: that it was made is seen by what comes.
    pub(super) fn line(&self, happening: &Happening) -> anyhow::Result<Option<String>> {
        Ok(match happening {
            Happening::Connected { again: false, .. } => None,
            Happening::Connected { resumed, .. } => {
                let state = if *resumed { "resumed" } else { "restarted" };
                Some(json!({ "connection": { "state": state } }).to_string())
            }
            Happening::Lost { reason, retry } => {
                let lost = json!({ "state": "lost", "reason": reason, "retry_ms": retry.as_millis() });
                Some(json!({ "connection": lost }).to_string())
            }
            Happening::Update(update) => Some(self.update(update)?),
        })
    }

    fn update(&self, update: &Update) -> anyhow::Result<String> {
        use v1::subscribe_response::Message;
        let message = match update.clone() {
            Update::Snapshot(snapshot) => Message::Snapshot(snapshot),
            Update::Tick(tick) => Message::Tick(tick),
            Update::Event(event) => Message::Event(event),
        };
        let mut line = DynamicMessage::new(self.descriptor.clone());
        line.transcode_from(&v1::SubscribeResponse { message: Some(message) })?;
        Ok(serde_json::to_string(&line)?)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_price_keeps_every_digit() {
        let trade =
            v1::Trade { price: "61234.123456789012345678".into(), size: "0.10".into(), ..Default::default() };
        let tick = v1::Tick { product: "BTC-USD".into(), last_trade: Some(trade), ..Default::default() };
        let update = v1::TickUpdate { tick: Some(tick), skipped: 0, resume_token: String::new() };
        let line =
            Writer::new().unwrap().line(&Happening::Update(Update::Tick(update).into())).unwrap().unwrap();
        let line: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line["tick"]["tick"]["lastTrade"]["price"], "61234.123456789012345678");
        assert_eq!(line["tick"]["tick"]["lastTrade"]["size"], "0.10");
    }
}
