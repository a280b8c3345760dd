//! Events in words.

use ledgerflux_client::v1::{Gap, GapState, StreamEvent, StreamEventKind};

/// What an event says; `None` for what is seen elsewhere.
pub(super) fn text(event: &StreamEvent) -> Option<String> {
    let about = match event.product.as_str() {
        "" => String::new(),
        product => format!("{product}: "),
    };
    let what = match event.kind() {
        StreamEventKind::Gap | StreamEventKind::Repaired => gap(event.gap.as_ref()?),
        StreamEventKind::Stale => "the exchange has not been heard of for too long, prices may be old".into(),
        StreamEventKind::NewRun => "the exchange's sequence has started anew".into(),
        StreamEventKind::NotRecovered => format!("what was missed could not be recovered: {}", event.detail),
        StreamEventKind::RateLimited => "too many updates: only the newest of each product are shown".into(),
        StreamEventKind::Closing => format!("the server ends the stream: {}", event.detail),
        StreamEventKind::Lagged if !event.detail.is_empty() => event.detail.clone(),
        StreamEventKind::Lagged
        | StreamEventKind::Unspecified
        | StreamEventKind::Live
        | StreamEventKind::Checkpoint => return None,
    };
    Some(format!("{about}{what}"))
}

fn gap(gap: &Gap) -> String {
    let count = gap.last_trade_id.saturating_sub(gap.first_trade_id).saturating_add(1);
    let range = format!("({} to {})", gap.first_trade_id, gap.last_trade_id);
    match gap.state() {
        GapState::Repaired => format!("{count} missing trades were fetched {range}"),
        GapState::Unrepairable => format!("{count} trades are missing for good {range}"),
        GapState::Open | GapState::Unspecified => format!("{count} trades are missing {range}"),
    }
}
