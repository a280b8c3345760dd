//! Any domain value, for the laws that must hold for all of them.

use std::time::Duration;

use domain::{
    DayStats, Decimal, EventKind, FeedEvent, FeedSession, FeedState, Gap, GapCause, GapState, Heartbeat,
    Instrument, MarketState, Position, ProductDetails, Quote, RejectReason, RejectedTick, RoleStatus,
    ShardProgress, Side, Snapshot, Tick, TickBatch, TickFlags, Trade, UnixNanos,
};
use proptest::{collection::vec, option::of, prelude::*, sample::select};

fn decimal() -> impl Strategy<Value = Decimal> {
    let mantissa = -79_228_162_514_264_337_593_543_950_335i128..=79_228_162_514_264_337_593_543_950_335;
    (mantissa, 0u32..=28).prop_map(|(mantissa, scale)| Decimal::from_i128_with_scale(mantissa, scale))
}

fn time() -> impl Strategy<Value = UnixNanos> {
    any::<i64>().prop_map(UnixNanos::new)
}

fn instrument() -> impl Strategy<Value = Instrument> {
    ("[a-z0-9_-]{1,32}", "[A-Za-z0-9/.:_-]{1,64}")
        .prop_map(|(venue, product)| Instrument::new(&venue, &product).unwrap())
}

fn side() -> impl Strategy<Value = Side> {
    select(vec![Side::Buy, Side::Sell])
}

fn trade() -> impl Strategy<Value = Trade> {
    (decimal(), decimal(), of(side()), any::<Option<u64>>()).prop_map(|(price, size, side, trade_id)| Trade {
        price,
        size,
        side,
        trade_id,
    })
}

fn quote() -> impl Strategy<Value = Quote> {
    (decimal(), of(decimal())).prop_map(|(price, size)| Quote { price, size })
}

fn day() -> impl Strategy<Value = DayStats> {
    (of(decimal()), of(decimal()), of(decimal()), of(decimal()), of(decimal())).prop_map(
        |(open_24h, high_24h, low_24h, volume_24h, volume_30d)| DayStats {
            open_24h,
            high_24h,
            low_24h,
            volume_24h,
            volume_30d,
        },
    )
}

fn tick_of(instrument: Instrument) -> impl Strategy<Value = Tick> {
    let place = (any::<u32>(), any::<Option<u64>>(), time(), time(), 0u32..4);
    (place, of(trade()), of(quote()), of(quote()), of(day())).prop_map(
        move |((run, sequence, event_time, receive_time, flags), last_trade, best_bid, best_ask, day)| Tick {
            instrument: instrument.clone(),
            run,
            sequence,
            event_time,
            receive_time,
            last_trade,
            best_bid,
            best_ask,
            day,
            flags: TickFlags::from_bits(flags),
        },
    )
}

pub(crate) fn tick() -> impl Strategy<Value = Tick> {
    instrument().prop_flat_map(tick_of)
}

pub(crate) fn batch() -> impl Strategy<Value = TickBatch> {
    let ticks =
        instrument().prop_flat_map(|instrument| (vec(tick_of(instrument.clone()), 1..8), Just(instrument)));
    let heartbeat =
        (any::<u64>(), time()).prop_map(|(last_trade_id, time)| Heartbeat { last_trade_id, time });
    (ticks, "[a-z0-9-]{1,40}", time(), any::<Option<u64>>(), of(time()), of(heartbeat)).prop_map(
        |((ticks, instrument), id, started, raw_sequence, normalised_at, heartbeat)| TickBatch {
            heartbeat,
            instrument,
            ticks,
            session: FeedSession { id, started },
            raw_sequence,
            normalised_at,
        },
    )
}

fn position() -> impl Strategy<Value = Position> {
    any::<(u32, u64)>().prop_map(|(run, sequence)| Position { run, sequence })
}

pub(crate) fn snapshot() -> impl Strategy<Value = Snapshot> {
    let state =
        (of((trade(), time())), of((quote(), time())), of((quote(), time())), of((day(), time()))).prop_map(
            |(last_trade, best_bid, best_ask, day)| MarketState { last_trade, best_bid, best_ask, day },
        );
    (instrument(), position(), time(), state).prop_map(|(instrument, position, snapshot_time, state)| {
        Snapshot { instrument, position, snapshot_time, state }
    })
}

pub(crate) fn reject() -> impl Strategy<Value = RejectedTick> {
    let bytes = (vec(any::<u8>(), 0..200), any::<u64>());
    let what = (of(instrument()), of(tick()), select(RejectReason::ALL.to_vec()));
    (what, bytes, ".{0,40}", "[a-z0-9-]{1,20}", time(), "[0-9/]{1,20}").prop_map(
        |((instrument, tick, reason), (raw, raw_length), detail, source, time, identity)| RejectedTick {
            instrument,
            tick,
            raw,
            raw_length,
            reason,
            detail,
            source,
            time,
            identity,
        },
    )
}

fn feed_state() -> impl Strategy<Value = FeedState> {
    select(vec![FeedState::Connecting, FeedState::Live, FeedState::Stale, FeedState::BackingOff])
}

fn gap_of(instrument: Instrument) -> impl Strategy<Value = Gap> {
    let cause = select(vec![
        GapCause::Disconnect,
        GapCause::Restart,
        GapCause::Drop,
        GapCause::Batched,
        GapCause::Overflow,
    ]);
    let state = select(vec![GapState::Open, GapState::Repaired, GapState::Unrepairable]);
    let place = any::<(u32, u32, u32)>();
    (place, of(time()), of(time()), time(), cause, state, any::<u64>()).prop_map(
        move |((run, first, length), after, before, detected_at, cause, state, repaired_count)| Gap {
            instrument: instrument.clone(),
            run,
            first_trade_id: first.into(),
            last_trade_id: u64::from(first) + u64::from(length),
            after,
            before,
            detected_at,
            cause,
            state,
            repaired_count,
        },
    )
}

pub(crate) fn event() -> impl Strategy<Value = FeedEvent> {
    let with_kind = |instrument: Instrument| {
        let kind = prop_oneof![
            gap_of(instrument.clone()).prop_map(EventKind::Gap),
            gap_of(instrument.clone()).prop_map(EventKind::Repaired),
            (position(), position()).prop_map(|(previous, first)| EventKind::NewRun { previous, first }),
            feed_state().prop_map(EventKind::FeedState),
            ("[A-Z]{1,6}", "[A-Z]{1,6}", decimal(), decimal(), "[a-z]{0,8}").prop_map(
                |(base_currency, quote_currency, base_increment, quote_increment, status)| {
                    EventKind::Product(ProductDetails {
                        base_currency,
                        quote_currency,
                        base_increment,
                        quote_increment,
                        status,
                    })
                }
            ),
            ("[A-Z_]{1,20}", any::<(u64, u64)>()).prop_map(|(stream, (first_sequence, last_sequence))| {
                EventKind::Overrun { stream, first_sequence, last_sequence }
            }),
        ];
        (Just(instrument), kind)
    };
    (instrument().prop_flat_map(with_kind), time(), "[a-z0-9-]{1,20}")
        .prop_map(|((instrument, kind), time, source)| FeedEvent { instrument, time, source, kind })
}

pub(crate) fn status() -> impl Strategy<Value = RoleStatus> {
    let progress = (instrument(), any::<u16>(), position(), time()).prop_map(
        |(instrument, shard, position, event_time)| ShardProgress { instrument, shard, position, event_time },
    );
    let age = of(any::<u64>().prop_map(Duration::from_nanos));
    let name = ("[a-z]{1,12}", "[a-z0-9-]{1,20}", time(), any::<bool>());
    let states = vec((instrument(), feed_state()), 0..3);
    let counts = any::<(Option<u64>, u64, u64, u64)>();
    (name, of(feed_state()), age, vec(progress, 0..5), counts, states).prop_map(
        |((role, instance, time, ready), feed_state, heartbeat_age, progress, counts, product_states)| {
            RoleStatus {
                product_states,
                role,
                instance,
                time,
                ready,
                feed_state,
                heartbeat_age,
                progress,
                backlog_messages: counts.0,
                ticks: counts.1,
                rejected: counts.2,
                duplicates: counts.3,
            }
        },
    )
}
