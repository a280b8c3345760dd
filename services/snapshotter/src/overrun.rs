//! What was in messages that left the stream before they were stored.
//!
//! The messages are gone, but the trades before and after them have numbers: what lies in between is a gap like any other, and
//! is fetched from the exchange. A gap that was told already may be among it: the ledger takes each trade once.

use std::collections::HashMap;

use bus::{Delivery, Source};
use domain::{EventKind, FeedEvent, Gap, GapCause, GapState, Instrument, Tick, UnixNanos};

use crate::{
    latest::Latest,
    worker::{Error, Worker, bus_error},
};

/// The newest trade of a product: its number, its run and when it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Newest {
    trade_id: u64,
    run: u32,
    event_time: UnixNanos,
}

impl Newest {
    fn of(tick: &Tick) -> Option<Self> {
        let trade_id = tick.trade_id()?;
        Some(Self { trade_id, run: tick.run, event_time: tick.event_time })
    }
}

/// Says which trades are missing between what is stored and what does not follow upon it in `group`. To be called before the
/// group is stored.
pub(crate) async fn tell_gaps(worker: &Worker, latest: &Latest, group: &[Delivery]) -> Result<(), Error> {
    if group.iter().all(|delivery| !delivery.detached) {
        return Ok(());
    }
    for gap in gaps(latest, group, UnixNanos::now()) {
        let event = FeedEvent {
            instrument: gap.instrument.clone(),
            time: gap.detected_at,
            source: worker.source(),
            kind: EventKind::Gap(gap),
        };
        worker.bus.publish_event(&event).await.map_err(bus_error)?;
    }
    Ok(())
}

fn gaps(latest: &Latest, group: &[Delivery], now: UnixNanos) -> Vec<Gap> {
    let mut newest: HashMap<&Instrument, Option<Newest>> = HashMap::new();
    let mut gaps = Vec::new();
    for delivery in group.iter().filter(|delivery| delivery.source == Source::Live) {
        let Ok(batch) = &delivery.content else { continue };
        let known = newest.entry(&batch.instrument).or_insert_with(|| stored(latest, &batch.instrument));
        let mut trades = batch.ticks.iter().filter_map(Newest::of);
        let Some(next) = trades.next() else { continue };
        if let Some(before) = known.filter(|before| delivery.detached && before.run == next.run) {
            gaps.extend(between(&batch.instrument, before, next, now));
        }
        *known = Some(trades.next_back().unwrap_or(next));
    }
    gaps
}

fn stored(latest: &Latest, instrument: &Instrument) -> Option<Newest> {
    let snapshot = latest.of(instrument)?;
    let (trade, event_time) = snapshot.state.last_trade.as_ref()?;
    Some(Newest { trade_id: trade.trade_id?, run: snapshot.position.run, event_time: *event_time })
}

fn between(instrument: &Instrument, before: Newest, next: Newest, now: UnixNanos) -> Option<Gap> {
    let (first_trade_id, last_trade_id) = (before.trade_id.checked_add(1)?, next.trade_id.checked_sub(1)?);
    (first_trade_id <= last_trade_id).then(|| Gap {
        instrument: instrument.clone(),
        run: next.run,
        first_trade_id,
        last_trade_id,
        after: Some(before.event_time),
        before: Some(next.event_time),
        detected_at: now,
        cause: GapCause::Overflow,
        state: GapState::Open,
        repaired_count: 0,
    })
}
