//! One value of each kind, with every field in use: what the golden files hold and the faults start from.

use std::time::Duration;

use domain::{
    DayStats, EventKind, FeedEvent, FeedSession, FeedState, Gap, GapCause, GapState, Heartbeat, Instrument,
    MarketState, Position, ProductDetails, Quote, RejectReason, RejectedTick, RoleStatus, ShardProgress,
    Side, Snapshot, Tick, TickBatch, TickFlags, Trade, UnixNanos, parse_number,
};

const EVENT_TIME: UnixNanos = UnixNanos::new(1_618_677_846_123_456_000);
const RECEIVE_TIME: UnixNanos = UnixNanos::new(1_618_677_846_163_999_001);
const LATER: UnixNanos = UnixNanos::new(1_618_677_846_170_000_000);

pub(crate) fn instrument() -> Instrument {
    Instrument::new("coinbase", "BTC-USD").unwrap()
}

fn quote(price: &str, size: Option<&str>) -> Quote {
    Quote { price: parse_number(price).unwrap(), size: size.map(|size| parse_number(size).unwrap()) }
}

/// A tick with all of its groups.
pub(crate) fn tick() -> Tick {
    Tick {
        instrument: instrument(),
        run: 2,
        sequence: Some(24_115_367_482),
        event_time: EVENT_TIME,
        receive_time: RECEIVE_TIME,
        last_trade: Some(Trade {
            price: parse_number("61234.50").unwrap(),
            size: parse_number("0.00012300").unwrap(),
            side: Some(Side::Sell),
            trade_id: Some(157_901_234),
        }),
        best_bid: Some(quote("61234.50", Some("0.40000000"))),
        best_ask: Some(quote("61234.51", None)),
        day: Some(DayStats {
            open_24h: Some(parse_number("61500").unwrap()),
            high_24h: Some(parse_number("62506.05").unwrap()),
            low_24h: Some(parse_number("59600").unwrap()),
            volume_24h: Some(parse_number("14637.71804567").unwrap()),
            volume_30d: None,
        }),
        flags: TickFlags { backfilled: false, locked_book: true },
    }
}

/// A tick with as little as possible: a trade that was fetched afterwards.
fn backfilled() -> Tick {
    Tick {
        sequence: None,
        run: 0,
        last_trade: Some(Trade { side: None, ..tick().last_trade.unwrap() }),
        best_bid: None,
        best_ask: None,
        day: None,
        flags: TickFlags { backfilled: true, locked_book: false },
        ..tick()
    }
}

pub(crate) fn batch() -> TickBatch {
    TickBatch {
        instrument: instrument(),
        ticks: vec![tick(), backfilled()],
        session: FeedSession { id: "host-1a2b-3".into(), started: UnixNanos::new(1_618_677_800_000_000_000) },
        raw_sequence: Some(42),
        normalised_at: Some(LATER),
        heartbeat: Some(Heartbeat { last_trade_id: 157_901_236, time: LATER }),
    }
}

pub(crate) fn snapshot() -> Snapshot {
    let tick = tick();
    Snapshot {
        instrument: instrument(),
        position: Position { run: 2, sequence: 24_115_367_482 },
        snapshot_time: LATER,
        state: MarketState {
            last_trade: tick.last_trade.map(|trade| (trade, EVENT_TIME)),
            best_bid: tick.best_bid.map(|bid| (bid, EVENT_TIME)),
            best_ask: tick.best_ask.map(|ask| (ask, UnixNanos::new(1_618_677_845_000_000_000))),
            day: None,
        },
    }
}

pub(crate) fn reject() -> RejectedTick {
    RejectedTick {
        instrument: Some(instrument()),
        tick: Some(tick()),
        raw: br#"{"type":"ticker"}"#.to_vec(),
        raw_length: 70_000,
        reason: RejectReason::CrossedBook,
        detail: "best_bid 61234.52 is above best_ask 61234.51".into(),
        source: "normalizer-2".into(),
        time: LATER,
        identity: "42/1".into(),
    }
}

pub(crate) fn gap() -> Gap {
    Gap {
        instrument: instrument(),
        run: 2,
        first_trade_id: 157_901_230,
        last_trade_id: 157_901_233,
        after: Some(EVENT_TIME),
        before: None,
        detected_at: RECEIVE_TIME,
        cause: GapCause::Disconnect,
        state: GapState::Open,
        repaired_count: 1,
    }
}

pub(crate) fn details() -> ProductDetails {
    ProductDetails {
        base_currency: "BTC".into(),
        quote_currency: "USD".into(),
        base_increment: parse_number("0.00000001").unwrap(),
        quote_increment: parse_number("0.01").unwrap(),
        status: "online".into(),
    }
}

pub(crate) fn event(kind: EventKind) -> FeedEvent {
    FeedEvent { instrument: instrument(), time: LATER, source: "ingestor-1a2b".into(), kind }
}

/// One event of each kind.
pub(crate) fn events() -> Vec<FeedEvent> {
    let kinds = [
        EventKind::Gap(gap()),
        EventKind::Repaired(Gap { state: GapState::Repaired, repaired_count: 4, ..gap() }),
        EventKind::NewRun {
            previous: Position { run: 1, sequence: 99 },
            first: Position { run: 2, sequence: 1 },
        },
        EventKind::FeedState(FeedState::Stale),
        EventKind::Overrun { stream: "LF_TICKS".into(), first_sequence: 7, last_sequence: 11 },
        EventKind::Product(details()),
    ];
    kinds.into_iter().map(event).collect()
}

pub(crate) fn status() -> RoleStatus {
    RoleStatus {
        role: "ingestor".into(),
        instance: "host-1a2b".into(),
        time: LATER,
        ready: true,
        feed_state: Some(FeedState::Live),
        heartbeat_age: Some(Duration::from_millis(750)),
        product_states: vec![(Instrument::new("coinbase", "ETH-USD").unwrap(), FeedState::Stale)],
        progress: vec![ShardProgress {
            instrument: instrument(),
            shard: 2,
            position: Position { run: 2, sequence: 24_115_367_482 },
            event_time: EVENT_TIME,
        }],
        backlog_messages: Some(3),
        ticks: 1_000,
        rejected: 2,
        duplicates: 1,
    }
}
