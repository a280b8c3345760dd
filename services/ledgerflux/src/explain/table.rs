//! An explanation for a person.

use std::fmt::Write as _;

use domain::{Bar, Gap, Quote, Side, Tick};

use super::{Absence, Explained, Explanation, json};
use crate::{args::By, rejects::printable};

/// Lines of text.
pub(super) fn text(told: &Explanation) -> String {
    let mut text = String::new();
    for tick in &told.ticks {
        let by = tick.by.as_str();
        line(&mut text, format_args!("{} {} is stored (found by {by})\n", told.instrument, told.number));
        explained(&mut text, tick);
    }
    if let Some(absence) = &told.absence {
        let what = told.by.map_or("trade_id or sequence", By::as_str);
        line(
            &mut text,
            format_args!("{} {} is not stored: no tick has that {what}\n", told.instrument, told.number),
        );
        absent(&mut text, absence, told);
    }
    for untold in &told.untold {
        line(&mut text, format_args!("not told     {untold}"));
    }
    text
}

/// Writing to a text cannot fail.
fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    let _ = writeln!(text, "{line}");
}

fn explained(text: &mut String, told: &Explained) {
    let tick = &told.stored.tick;
    if let Some(trade) = &tick.last_trade {
        let id =
            trade.trade_id.map_or_else(|| "without a trade_id".to_owned(), |id| format!("trade_id {id}"));
        let side = trade.side.map_or("side unknown", Side::as_str);
        line(text, format_args!("trade        {} x {}, {side}, {id}", trade.price, trade.size));
    }
    let (bid, ask) = (quote(tick.best_bid.as_ref()), quote(tick.best_ask.as_ref()));
    line(text, format_args!("book         bid {bid}, ask {ask}"));
    match tick.sequence {
        Some(sequence) => line(text, format_args!("position     run {}, sequence {sequence}", tick.run)),
        None => line(text, format_args!("position     run {}, no sequence", tick.run)),
    }
    line(text, format_args!("flags        {}\n", flags(tick)));
    for hop in json::hops(told) {
        let after = hop.after_ns.map(duration).unwrap_or_default();
        line(text, format_args!("{:<12} {:<30} {after:>14}", hop.name, hop.time.to_string()));
    }
    let whole = told.stored.stored_at.nanos().saturating_sub(tick.event_time.nanos());
    line(text, format_args!("{:<12} {:<30} {:>14}\n", "in all", "", duration(whole)));
    place(text, told);
    if let Some(bar) = &told.bar {
        line(text, format_args!("bar          {}", minute(bar, tick)));
    }
    if let Some(gap) = &told.gap {
        line(text, format_args!("gap          {}", hole(gap)));
    }
    text.push('\n');
}

/// Where it came from, and where it stands.
fn place(text: &mut String, told: &Explained) {
    if let Some((message, index)) = &told.message {
        let (batch, session) = (&message.batch, &message.batch.session);
        line(text, format_args!("connection   {}, made {}", session.id, session.started));
        if let Some(raw) = batch.raw_sequence {
            line(text, format_args!("LF_RAW       message {raw}, the newest of those in its batch"));
        }
        let (place, count) = (index + 1, batch.ticks.len());
        let Some(sequence) = told.stored.tick_sequence else { return };
        line(
            text,
            format_args!("LF_TICKS     message {sequence}, tick {place} of {count}, on {}", message.subject),
        );
    } else if let Some(sequence) = told.stored.tick_sequence {
        line(text, format_args!("LF_TICKS     message {sequence}"));
    }
    let (shard, shards) = told.shard;
    line(text, format_args!("shard        {shard} of {shards} (0 to {})", shards.get() - 1));
}

fn absent(text: &mut String, told: &Absence, about: &Explanation) {
    if let Some(gap) = &told.gap {
        line(text, format_args!("gap          as a trade_id it lies in {}", hole(gap)));
    }
    for (id, reject) in &told.rejects {
        let detail: String = reject.detail.chars().map(printable).collect();
        line(
            text,
            format_args!(
                "refused      {} at {} by {}: {detail} (`ledgerflux rejects show {id}`)",
                reject.reason.as_str(),
                reject.time,
                reject.source
            ),
        );
    }
    if told.gap.is_none() && told.rejects.is_empty() {
        line(
            text,
            format_args!(
                "             nothing is known of it: it lies in no gap{}",
                match about.untold.is_empty() {
                    true => ", and was not refused as far as rejects are kept",
                    false => "",
                }
            ),
        );
    }
    for (name, edge) in [("oldest trade", told.oldest), ("newest trade", told.newest)] {
        if let Some(edge) = edge {
            let id = edge.trade_id.map_or_else(|| "-".to_owned(), |id| id.to_string());
            line(text, format_args!("{name} {id} at {}", edge.event_time));
        }
    }
    if let Some(horizon) = told.horizon {
        line(text, format_args!("horizon      {horizon}: what happened before is not kept"));
    }
}

fn hole(gap: &Gap) -> String {
    let Gap { first_trade_id, last_trade_id, repaired_count, detected_at, .. } = gap;
    let count = last_trade_id - first_trade_id + 1;
    format!(
        "{first_trade_id}..{last_trade_id}, {}, {}, {repaired_count} of {count} trades came afterwards, noticed {detected_at}",
        gap.cause.as_str(),
        json::state(gap.state),
    )
}

fn minute(bar: &Bar, tick: &Tick) -> String {
    let at = (tick.event_time, tick.trade_id(), tick.sequence);
    let role = match (bar.open_at == at, bar.close_at == at) {
        (true, true) => "; it is all of it",
        (true, false) => "; it opens it",
        (false, true) => "; it closes it",
        (false, false) => "",
    };
    let Bar { start, open, high, low, close, tick_count, .. } = bar;
    format!("{start}: open {open}, high {high}, low {low}, close {close} of {tick_count} ticks{role}")
}

fn flags(tick: &Tick) -> &'static str {
    match (tick.flags.backfilled, tick.flags.locked_book) {
        (true, true) => "backfilled, locked book",
        (true, false) => "backfilled: it was fetched afterwards",
        (false, true) => "locked book",
        (false, false) => "none: it came live",
    }
}

fn quote(quote: Option<&Quote>) -> String {
    match quote {
        Some(Quote { price, size: Some(size) }) => format!("{price} x {size}"),
        Some(Quote { price, size: None }) => price.to_string(),
        None => "unknown".to_owned(),
    }
}

/// A length of time, in the unit that suits it; to the microsecond below a second.
fn duration(nanos: i64) -> String {
    let sign = if nanos < 0 { '-' } else { '+' };
    let micros = nanos.unsigned_abs() / 1_000;
    match micros {
        0..1_000_000 => format!("{sign}{}.{:03} ms", micros / 1_000, micros % 1_000),
        _ => format!("{sign}{}.{:03} s", micros / 1_000_000, micros / 1_000 % 1_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_sign_and_a_unit() {
        assert_eq!(duration(1_234_567), "+1.234 ms");
        assert_eq!(duration(-50_000), "-0.050 ms");
        assert_eq!(duration(61_002_000_000), "+61.002 s");
        assert_eq!(duration(0), "+0.000 ms");
    }
}
