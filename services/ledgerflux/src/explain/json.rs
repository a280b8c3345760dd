//! An explanation for a program. Numbers of the market are texts, as the exchange writes them; times are RFC 3339.

use domain::{Bar, Gap, GapState, Quote, RejectedTick, Side, UnixNanos};
use serde_json::{Value, json};
use store::TradeAt;

use super::{Absence, Explained, Explanation};
use crate::args::By;

pub(super) fn explanation(told: &Explanation) -> Value {
    json!({
        "product": told.instrument.to_string(),
        "number": told.number,
        "by": told.by.map(By::as_str),
        "ticks": told.ticks.iter().map(tick).collect::<Vec<_>>(),
        "absent": told.absence.as_ref().map(absence),
        "untold": told.untold,
    })
}

fn tick(told: &Explained) -> Value {
    let tick = &told.stored.tick;
    let trade = tick.last_trade.as_ref();
    let batch = told.message.as_ref().map(|(message, _)| &message.batch);
    let (shard, shards) = told.shard;
    json!({
        "found_by": told.by.as_str(),
        "trade_id": tick.trade_id(),
        "run": tick.run,
        "sequence": tick.sequence,
        "trade": trade.map(|trade| json!({
            "price": trade.price.to_string(),
            "size": trade.size.to_string(),
            "side": trade.side.map(Side::as_str),
        })),
        "best_bid": quote(tick.best_bid.as_ref()),
        "best_ask": quote(tick.best_ask.as_ref()),
        "backfilled": tick.flags.backfilled,
        "locked_book": tick.flags.locked_book,
        "hops": hops(told).into_iter().map(|hop| json!({
            "hop": hop.name,
            "time": time(Some(hop.time)),
            "after_ns": hop.after_ns,
        })).collect::<Vec<_>>(),
        "session": batch.map(|batch| json!({ "id": batch.session.id, "started": time(Some(batch.session.started)) })),
        "raw": batch.map(|batch| json!({ "stream_sequence": batch.raw_sequence })),
        "ticks": json!({
            "stream_sequence": told.stored.tick_sequence,
            "subject": told.message.as_ref().map(|(message, _)| &message.subject),
            "index": told.message.as_ref().map(|(_, index)| index),
            "batch_ticks": batch.map(|batch| batch.ticks.len()),
        }),
        "shard": shard,
        "shards": shards.get(),
        "gap": told.gap.as_ref().map(gap),
        "bar": told.bar.as_ref().map(bar),
    })
}

/// When a tick was where.
pub(super) struct Hop {
    pub(super) name: &'static str,
    pub(super) time: UnixNanos,
    /// How long after the hop before; less than zero where clocks differ.
    pub(super) after_ns: Option<i64>,
}

/// The hops that are known, in the order of the way.
pub(super) fn hops(told: &Explained) -> Vec<Hop> {
    let normalised = told.message.as_ref().and_then(|(message, _)| message.batch.normalised_at);
    let stored = &told.stored;
    let times = [
        ("exchange", Some(stored.tick.event_time)),
        ("received", Some(stored.tick.receive_time)),
        ("normalised", normalised),
        ("stored", Some(stored.stored_at)),
    ];
    let mut hops: Vec<Hop> = Vec::new();
    for (name, time) in times {
        let Some(time) = time else { continue };
        let after_ns = hops.last().map(|before| time.nanos().saturating_sub(before.time.nanos()));
        hops.push(Hop { name, time, after_ns });
    }
    hops
}

fn absence(told: &Absence) -> Value {
    let edge = |edge: Option<TradeAt>| {
        edge.map(|edge| json!({ "trade_id": edge.trade_id, "event_time": time(Some(edge.event_time)) }))
    };
    json!({
        "gap": told.gap.as_ref().map(gap),
        "rejects": told.rejects.iter().map(|(id, reject)| refused(*id, reject)).collect::<Vec<_>>(),
        "horizon": time(told.horizon),
        "oldest_trade": edge(told.oldest),
        "newest_trade": edge(told.newest),
    })
}

fn refused(id: u64, reject: &RejectedTick) -> Value {
    json!({
        "id": id,
        "time": time(Some(reject.time)),
        "reason": reject.reason.as_str(),
        "detail": reject.detail,
        "source": reject.source,
        "identity": reject.identity,
    })
}

fn gap(gap: &Gap) -> Value {
    json!({
        "run": gap.run,
        "first_trade_id": gap.first_trade_id,
        "last_trade_id": gap.last_trade_id,
        "cause": gap.cause.as_str(),
        "state": state(gap.state),
        "repaired_count": gap.repaired_count,
        "detected_at": time(Some(gap.detected_at)),
        "after": time(gap.after),
        "before": time(gap.before),
    })
}

pub(super) fn state(state: GapState) -> &'static str {
    match state {
        GapState::Open => "open",
        GapState::Repaired => "repaired",
        GapState::Unrepairable => "unrepairable",
    }
}

fn bar(bar: &Bar) -> Value {
    json!({
        "start": time(Some(bar.start)),
        "tick_count": bar.tick_count,
        "open": bar.open.to_string(),
        "high": bar.high.to_string(),
        "low": bar.low.to_string(),
        "close": bar.close.to_string(),
        "volume": bar.sum_volume.to_string(),
    })
}

fn quote(quote: Option<&Quote>) -> Value {
    quote.map_or(
        Value::Null,
        |quote| json!({ "price": quote.price.to_string(), "size": quote.size.map(|size| size.to_string()) }),
    )
}

fn time(time: Option<UnixNanos>) -> Option<String> {
    time.map(|time| time.to_string())
}
