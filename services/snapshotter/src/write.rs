//! Turning fetched messages into transactions of bounded size.

use bus::{Delivery, Undecodable};
use domain::{RejectReason, RejectedTick, Snapshot, Tick, UnixNanos};
use store::TickRow;

/// Splits messages, in order, into groups of at most `ticks_max` ticks; one message is never split.
pub(crate) fn groups(deliveries: &[Delivery], ticks_max: usize) -> Vec<&[Delivery]> {
    let mut groups = Vec::new();
    let (mut start, mut ticks) = (0, 0);
    for (index, delivery) in deliveries.iter().enumerate() {
        let size = delivery.content.as_ref().map_or(0, |batch| batch.ticks.len());
        if index > start && ticks + size > ticks_max {
            groups.push(&deliveries[start..index]);
            (start, ticks) = (index, 0);
        }
        ticks += size;
    }
    if start < deliveries.len() {
        groups.push(&deliveries[start..]);
    }
    groups
}

/// The rows of a group, each with the message it came in.
pub(crate) fn rows(group: &[Delivery]) -> Vec<TickRow<'_>> {
    let decoded =
        group.iter().filter_map(|delivery| Some((delivery.stream_sequence, delivery.content.as_ref().ok()?)));
    decoded
        .flat_map(|(sequence, batch)| {
            batch.ticks.iter().map(move |tick| TickRow { tick, tick_seq: Some(sequence) })
        })
        .collect()
}

/// The reject of a message that is not what its `stream` is for.
pub(crate) fn undecodable<T>(
    delivery: &Delivery<T>,
    what: &Undecodable,
    stream: &str,
    source: &str,
    now: UnixNanos,
) -> RejectedTick {
    RejectedTick {
        instrument: None,
        tick: None,
        raw: RejectedTick::clip(&what.raw),
        raw_length: what.raw.len() as u64,
        reason: RejectReason::Undecodable,
        detail: format!("{}: {}", delivery.subject, what.why),
        source: source.to_owned(),
        time: now,
        identity: format!("{stream}/{}", delivery.stream_sequence),
    }
}

/// The reject of a tick that is not stored.
pub(crate) fn not_stored(
    row: &TickRow<'_>,
    reason: RejectReason,
    detail: &str,
    source: &str,
    now: UnixNanos,
) -> RejectedTick {
    let tick: &Tick = row.tick;
    let index = tick.sequence.or(tick.trade_id()).unwrap_or_default();
    RejectedTick {
        instrument: Some(tick.instrument.clone()),
        tick: Some(tick.clone()),
        raw: Vec::new(),
        raw_length: 0,
        reason,
        detail: detail.to_owned(),
        source: source.to_owned(),
        time: now,
        identity: format!("ticks/{}/{index}", row.tick_seq.unwrap_or_default()),
    }
}

/// Which of the stored snapshots the bus lacks or has older.
pub(crate) fn unpublished(stored: Vec<Snapshot>, published: &[Snapshot]) -> Vec<Snapshot> {
    let newer = |snapshot: &Snapshot| {
        published
            .iter()
            .find(|other| other.instrument == snapshot.instrument)
            .is_none_or(|other| other.position < snapshot.position)
    };
    stored.into_iter().filter(newer).collect()
}
