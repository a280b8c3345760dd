//! What the bus counts.

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};

use crate::StreamKind;

/// Messages that the broker acknowledged, by stream.
pub const PUBLISHED_MESSAGES: &str = "ledgerflux_bus_published_messages_total";
/// Payload bytes that the broker acknowledged, by stream.
pub const PUBLISHED_BYTES: &str = "ledgerflux_bus_published_bytes_total";
/// Ticks in the messages that the broker acknowledged, by stream.
pub const PUBLISHED_TICKS: &str = "ledgerflux_bus_published_ticks_total";
/// Attempts to publish that failed and were or may be repeated, by stream and cause.
pub const PUBLISH_RETRIES: &str = "ledgerflux_bus_publish_retries_total";
/// Messages that the broker had already, by stream.
pub const PUBLISH_DUPLICATES: &str = "ledgerflux_bus_publish_duplicates_total";
/// Refusals of a fenced publish, by what the last message of the subject turned out to be.
pub const FENCE_REFUSALS: &str = "ledgerflux_bus_fence_refusals_total";
/// Ticks, and the heartbeats behind them, in the buffers of raw publishers.
pub const RAW_BUFFERED_TICKS: &str = "ledgerflux_bus_raw_buffered_ticks";
/// Ticks that a raw publisher gave up because it was dropped before the broker acknowledged them.
pub const RAW_ABANDONED_TICKS: &str = "ledgerflux_bus_raw_abandoned_ticks_total";
/// Times that a raw batch, or a part of one, was split because it was too large for the broker.
pub const RAW_SPLITS: &str = "ledgerflux_bus_raw_splits_total";
/// Ticks that were too large for the broker one by one, and were filed as rejects.
pub const RAW_REFUSED_TICKS: &str = "ledgerflux_bus_raw_refused_ticks_total";
/// Times that a worker's consumer was reset, by stream and cause.
pub const CONSUMER_RESETS: &str = "ledgerflux_bus_consumer_resets_total";
/// Messages that a worker was given more than once, by stream.
pub const REDELIVERIES: &str = "ledgerflux_bus_redeliveries_total";
/// Times that messages of a product had left a stream before their worker read them, by stream.
pub const OVERRUNS: &str = "ledgerflux_bus_overruns_total";
/// Messages that a worker gave up on and filed as rejects after it had failed at them again and again, by stream.
pub const GIVEN_UP: &str = "ledgerflux_bus_given_up_messages_total";
/// Messages whose payload could not be decoded, by stream.
pub const UNDECODABLE: &str = "ledgerflux_bus_undecodable_messages_total";
/// Messages that were gone before a follower had read them, by stream.
pub const FOLLOWER_MISSED: &str = "ledgerflux_bus_follower_missed_messages_total";
/// Messages that the embedded bus dropped at a limit, by stream and limit.
pub const EMBEDDED_EVICTIONS: &str = "ledgerflux_bus_embedded_evictions_total";
/// Publishes that the embedded bus refused because a stream stayed full, by stream.
pub const EMBEDDED_REFUSALS: &str = "ledgerflux_bus_embedded_refusals_total";
/// Whether the connection to the broker is up: 1 or 0.
pub const CONNECTED: &str = "ledgerflux_bus_connected";
/// Times that the connection to the broker was lost.
pub const DISCONNECTS: &str = "ledgerflux_bus_disconnects_total";

/// Registers unit and help of every metric of this crate.
pub fn describe() {
    let counters = [
        (PUBLISHED_MESSAGES, Unit::Count, "Messages that the broker acknowledged."),
        (PUBLISHED_BYTES, Unit::Bytes, "Payload bytes that the broker acknowledged."),
        (PUBLISHED_TICKS, Unit::Count, "Ticks in the messages that the broker acknowledged."),
        (PUBLISH_RETRIES, Unit::Count, "Attempts to publish that failed."),
        (PUBLISH_DUPLICATES, Unit::Count, "Messages that the broker had already."),
        (FENCE_REFUSALS, Unit::Count, "Refusals of a fenced publish, by what was found."),
        (RAW_ABANDONED_TICKS, Unit::Count, "Ticks given up unacknowledged by a raw publisher."),
        (RAW_SPLITS, Unit::Count, "Splits of raw batches that were too large for the broker."),
        (RAW_REFUSED_TICKS, Unit::Count, "Ticks too large for the broker, filed as rejects."),
        (CONSUMER_RESETS, Unit::Count, "Times that a worker's consumer was reset."),
        (REDELIVERIES, Unit::Count, "Messages that a worker was given more than once."),
        (OVERRUNS, Unit::Count, "Times that messages of a product were gone before their worker read them."),
        (
            GIVEN_UP,
            Unit::Count,
            "Messages filed as rejects after their worker had failed at them repeatedly.",
        ),
        (UNDECODABLE, Unit::Count, "Messages whose payload could not be decoded."),
        (FOLLOWER_MISSED, Unit::Count, "Messages gone before a follower had read them."),
        (EMBEDDED_EVICTIONS, Unit::Count, "Messages that the embedded bus dropped at a limit."),
        (EMBEDDED_REFUSALS, Unit::Count, "Publishes that the embedded bus refused at a limit."),
        (DISCONNECTS, Unit::Count, "Times that the connection to the broker was lost."),
    ];
    for (name, unit, help) in counters {
        describe_counter!(name, unit, help);
    }
    describe_gauge!(RAW_BUFFERED_TICKS, Unit::Count, "Ticks in the buffers of raw publishers.");
    describe_gauge!(CONNECTED, Unit::Count, "Whether the connection to the broker is up.");
}

/// Why an attempt to publish failed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RetryCause {
    Full,
    Unavailable,
    TooLarge,
    Fence,
}

impl RetryCause {
    fn label(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Unavailable => "unavailable",
            Self::TooLarge => "too_large",
            Self::Fence => "fence",
        }
    }
}

/// What the last message of a subject turned out to be when a fenced publish was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    AgedOut,
    OwnAcknowledgementLost,
    OwnEarlierMessage,
    TakenOver,
    Fenced,
    Bystander,
    OnItsWay,
}

impl Refusal {
    fn label(self) -> &'static str {
        match self {
            Self::AgedOut => "aged_out",
            Self::OwnAcknowledgementLost => "acknowledgement_lost",
            Self::OwnEarlierMessage => "own_earlier_message",
            Self::TakenOver => "taken_over",
            Self::Fenced => "fenced",
            Self::Bystander => "bystander",
            Self::OnItsWay => "on_its_way",
        }
    }
}

/// Why a consumer was reset.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ResetCause {
    Start,
    FetchError,
    OutOfOrder,
    Asked,
    Stalled,
}

impl ResetCause {
    fn label(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::FetchError => "fetch_error",
            Self::OutOfOrder => "out_of_order",
            Self::Asked => "asked",
            Self::Stalled => "stalled",
        }
    }
}

/// Which limit dropped a message.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Eviction {
    Age,
    Bytes,
}

impl Eviction {
    fn label(self) -> &'static str {
        match self {
            Self::Age => "age",
            Self::Bytes => "bytes",
        }
    }
}

pub(crate) fn published(stream: StreamKind, size_bytes: usize, ticks: usize, duplicate: bool) {
    counter!(PUBLISHED_MESSAGES, "stream" => stream.label()).increment(1);
    counter!(PUBLISHED_BYTES, "stream" => stream.label()).increment(size_bytes as u64);
    if ticks > 0 {
        counter!(PUBLISHED_TICKS, "stream" => stream.label()).increment(ticks as u64);
    }
    if duplicate {
        counter!(PUBLISH_DUPLICATES, "stream" => stream.label()).increment(1);
    }
}

pub(crate) fn publish_failed(stream: StreamKind, cause: RetryCause) {
    counter!(PUBLISH_RETRIES, "stream" => stream.label(), "cause" => cause.label()).increment(1);
}

pub(crate) fn refused(refusal: Refusal) {
    counter!(FENCE_REFUSALS, "found" => refusal.label()).increment(1);
}

pub(crate) fn raw_buffered(change: i64) {
    let gauge = gauge!(RAW_BUFFERED_TICKS);
    // A buffer holds far fewer ticks than a f64 counts exactly.
    #[allow(clippy::cast_precision_loss, reason = "gauges are f64; the numbers are small")]
    gauge.increment(change as f64);
}

pub(crate) fn raw_abandoned(ticks: usize) {
    counter!(RAW_ABANDONED_TICKS).increment(ticks as u64);
}

pub(crate) fn raw_split() {
    counter!(RAW_SPLITS).increment(1);
}

pub(crate) fn raw_refused() {
    counter!(RAW_REFUSED_TICKS).increment(1);
}

pub(crate) fn consumer_reset(stream: StreamKind, cause: ResetCause) {
    counter!(CONSUMER_RESETS, "stream" => stream.label(), "cause" => cause.label()).increment(1);
}

pub(crate) fn redelivered(stream: StreamKind, messages: usize) {
    counter!(REDELIVERIES, "stream" => stream.label()).increment(messages as u64);
}

pub(crate) fn overrun(stream: StreamKind) {
    counter!(OVERRUNS, "stream" => stream.label()).increment(1);
}

pub(crate) fn given_up(stream: StreamKind) {
    counter!(GIVEN_UP, "stream" => stream.label()).increment(1);
}

pub(crate) fn undecodable(stream: StreamKind) {
    counter!(UNDECODABLE, "stream" => stream.label()).increment(1);
}

pub(crate) fn follower_missed(stream: StreamKind, messages: u64) {
    counter!(FOLLOWER_MISSED, "stream" => stream.label()).increment(messages);
}

pub(crate) fn embedded_evicted(stream: StreamKind, limit: Eviction) {
    counter!(EMBEDDED_EVICTIONS, "stream" => stream.label(), "limit" => limit.label()).increment(1);
}

pub(crate) fn embedded_refused(stream: StreamKind) {
    counter!(EMBEDDED_REFUSALS, "stream" => stream.label()).increment(1);
}

pub(crate) fn connected(up: bool) {
    gauge!(CONNECTED).set(if up { 1 } else { 0 });
}

pub(crate) fn disconnected() {
    counter!(DISCONNECTS).increment(1);
}
