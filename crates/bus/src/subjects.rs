//! Every subject of the bus is made and read here.
//!
//! A venue, product, role or instance becomes one token: what is outside `[A-Za-z0-9_-]` is written as `=` and two
//! hexadecimal digits for each byte, so that the name can be read back. A lone `_` stands for "none".

use domain::{FeedEvent, Instrument, RejectReason, RejectedTick, RoleStatus, Shard, ShardCount};

use crate::Prefix;

/// The token for a product that is not configured.
const NONE: &str = "_";

/// Makes the subjects of one prefix and shard count. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Subjects {
    prefix: Prefix,
    shards: ShardCount,
}

/// What a subject says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// Ticks as received (`lf.raw`).
    Raw(u16, Instrument),
    /// Backfilled ticks as received (`lf.rawfill`).
    RawFill(u16, Instrument),
    /// Validated ticks (`lf.tick`).
    Tick(u16, Instrument),
    /// Validated backfilled ticks (`lf.fill`).
    Fill(u16, Instrument),
    /// The last snapshot (`lf.snapshot`).
    Snapshot(Instrument),
    /// Something that was refused (`lf.reject`); the instrument is `None` when the product is not configured.
    Reject(RejectReason, Option<Instrument>),
    /// Something that happened to a feed (`lf.event`); the text is the name of the kind.
    Event(String, Instrument),
    /// How a role is doing (`lf.status`): role and instance.
    Status(String, String),
}

impl Subjects {
    /// Subjects that start with `prefix`, with products spread over `shards`.
    pub fn new(prefix: &Prefix, shards: ShardCount) -> Self {
        Self { prefix: prefix.clone(), shards }
    }

    /// How many shards there are.
    pub fn shards(&self) -> ShardCount {
        self.shards
    }

    /// Where ticks of `instrument` are published as received.
    pub fn raw(&self, instrument: &Instrument) -> String {
        self.sharded("raw", instrument)
    }

    /// Where backfilled ticks of `instrument` are published as received.
    pub fn raw_fill(&self, instrument: &Instrument) -> String {
        self.sharded("rawfill", instrument)
    }

    /// Where validated ticks of `instrument` are published.
    pub fn tick(&self, instrument: &Instrument) -> String {
        self.sharded("tick", instrument)
    }

    /// Where validated backfilled ticks of `instrument` are published.
    pub fn fill(&self, instrument: &Instrument) -> String {
        self.sharded("fill", instrument)
    }

    /// Where the snapshot of `instrument` stands.
    pub fn snapshot(&self, instrument: &Instrument) -> String {
        self.of_instrument("snapshot", instrument)
    }

    /// Where `reject` is published.
    pub fn reject(&self, reject: &RejectedTick) -> String {
        let reason = reject.reason.as_str();
        match &reject.instrument {
            Some(instrument) => self.of_instrument(&format!("reject.{reason}"), instrument),
            None => self.join(&["reject", reason, NONE, NONE]),
        }
    }

    /// Where `event` is published.
    pub fn event(&self, event: &FeedEvent) -> String {
        self.of_instrument(&format!("event.{}", event.kind.name()), &event.instrument)
    }

    /// Where `status` is published.
    pub fn status(&self, status: &RoleStatus) -> String {
        self.join(&["status", &escape(&status.role), &escape(&status.instance)])
    }

    /// What the normalizer of `shard` reads.
    pub fn raw_filters(&self, shard: Shard) -> Vec<String> {
        self.of_shard(&["raw", "rawfill"], shard)
    }

    /// What the snapshotter of `shard` reads.
    pub fn tick_filters(&self, shard: Shard) -> Vec<String> {
        self.of_shard(&["tick", "fill"], shard)
    }

    /// What the ledger of gaps reads: which trades are missing, and which nobody has any more.
    pub fn gap_filters(&self) -> Vec<String> {
        ["gap", "repaired"].map(|kind| self.join(&["event", kind, ">"])).to_vec()
    }

    /// Everything under one or several kinds, e.g. `lf.raw.>`.
    pub(crate) fn all(&self, kinds: &[&str]) -> Vec<String> {
        kinds.iter().map(|kind| self.join(&[kind, ">"])).collect()
    }

    /// Reads a subject; `None` when it is not one of ours.
    pub fn parse(&self, subject: &str) -> Option<Parsed> {
        let rest = subject.strip_prefix(self.prefix.as_str())?.strip_prefix('.')?;
        let tokens: Vec<&str> = rest.split('.').collect();
        match tokens.as_slice() {
            ["raw", shard, venue, product] => {
                Some(Parsed::Raw(shard.parse().ok()?, instrument(venue, product)?))
            }
            ["rawfill", shard, venue, product] => {
                Some(Parsed::RawFill(shard.parse().ok()?, instrument(venue, product)?))
            }
            ["tick", shard, venue, product] => {
                Some(Parsed::Tick(shard.parse().ok()?, instrument(venue, product)?))
            }
            ["fill", shard, venue, product] => {
                Some(Parsed::Fill(shard.parse().ok()?, instrument(venue, product)?))
            }
            ["snapshot", venue, product] => Some(Parsed::Snapshot(instrument(venue, product)?)),
            ["reject", reason, NONE, NONE] => Some(Parsed::Reject(reject_reason(reason)?, None)),
            ["reject", reason, venue, product] => {
                Some(Parsed::Reject(reject_reason(reason)?, Some(instrument(venue, product)?)))
            }
            ["event", kind, venue, product] => {
                Some(Parsed::Event((*kind).into(), instrument(venue, product)?))
            }
            ["status", role, name] => Some(Parsed::Status(unescape(role)?, unescape(name)?)),
            _ => None,
        }
    }

    fn sharded(&self, kind: &str, instrument: &Instrument) -> String {
        let shard = self.shards.shard_of(instrument);
        self.of_instrument(&format!("{kind}.{shard}"), instrument)
    }

    fn of_instrument(&self, kind: &str, instrument: &Instrument) -> String {
        self.join(&[kind, &escape(instrument.venue.as_str()), &escape(instrument.product.as_str())])
    }

    fn of_shard(&self, kinds: &[&str], shard: Shard) -> Vec<String> {
        kinds.iter().map(|kind| self.join(&[kind, &shard.to_string(), ">"])).collect()
    }

    fn join(&self, tokens: &[&str]) -> String {
        let mut subject = self.prefix.as_str().to_owned();
        for token in tokens {
            subject.push('.');
            subject.push_str(token);
        }
        subject
    }
}

/// Whether `subject` is among those that `filter` names (`*`: any one token, `>`: one or more at the end).
pub(crate) fn matches(filter: &str, subject: &str) -> bool {
    let mut tokens = subject.split('.');
    for wanted in filter.split('.') {
        match (wanted, tokens.next()) {
            (">", Some(_)) => return true,
            (_, None) => return false,
            ("*", Some(_)) => {}
            (wanted, Some(token)) if wanted == token => {}
            _ => return false,
        }
    }
    tokens.next().is_none()
}

fn reject_reason(name: &str) -> Option<RejectReason> {
    RejectReason::ALL.into_iter().find(|reason| reason.as_str() == name)
}

fn instrument(venue: &str, product: &str) -> Option<Instrument> {
    Instrument::new(&unescape(venue)?, &unescape(product)?).ok()
}

fn escape(name: &str) -> String {
    use std::fmt::Write as _;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let mut token = String::with_capacity(name.len());
    for byte in name.bytes() {
        if plain(byte) && name != NONE {
            token.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(token, "={byte:02X}");
        }
    }
    token
}

fn unescape(token: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(token.len());
    let mut rest = token.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        if *first == b'=' {
            let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = tail.get(2..)?;
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests;
