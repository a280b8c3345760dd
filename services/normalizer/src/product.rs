//! One product of the shard: where it stands, and what its live ticks become.

use std::{sync::Arc, time::Duration};

use domain::{
    EventKind, FeedSession, Heartbeat, Hold, Instrument, LegId, MissingTrades, Position, ProductTracker,
    Race, RefusedTrades, Tick, TickBatch, TradePlace, TradeTracker, UnixNanos, Verdict, validate,
};

use crate::round::{Out, RawPlace, Round};

mod holding;
mod late;

use late::as_fill;

pub(crate) use holding::Merging;

/// What is known of one product.
#[derive(Debug, Default)]
pub(crate) struct Product {
    positions: ProductTracker,
    trades: TradeTracker,
    /// What waits for trades that another leg may still bring.
    hold: Option<Box<Hold>>,
    /// Who of several legs is first.
    race: Race,
    /// Live raw messages up to this one are known to have gone out whole.
    done: u64,
    /// The newest live raw message that was judged.
    judged: u64,
    /// Live raw messages up to this one are whole in what went out, or in the batches of this round.
    batched: u64,
}

/// A live raw message while it is judged.
struct Message {
    raw: u64,
    leg: LegId,
    session: Arc<FeedSession>,
    out: Out,
    fills: Vec<Tick>,
    /// How much later than another leg it brought its newest tick that was known.
    lag: Option<Duration>,
}

/// Where a tick comes from.
#[derive(Clone, Copy)]
struct Origin<'a> {
    session: &'a FeedSession,
    leg: LegId,
    at: RawPlace,
    /// Whether another leg has brought it as well.
    shared: bool,
}

impl Product {
    /// A product whose newest published tick or snapshot is at `position`.
    pub(crate) fn recovered(
        position: Position,
        event_time: UnixNanos,
        session: Option<&FeedSession>,
        trade: Option<(u64, UnixNanos)>,
    ) -> Self {
        let trades = trade.map(|(trade_id, at)| TradeTracker::recovered(trade_id, at, session));
        Self {
            positions: ProductTracker::recovered(position, event_time, session),
            trades: trades.unwrap_or_default(),
            ..Self::default()
        }
    }

    /// Takes over the newest gap that was told. One of an earlier run speaks of numbers that may have started anew.
    ///
    /// Everything before it was published, so that what lies between the newest trade and its end was told to be missing.
    pub(crate) fn recover_gap(&mut self, run: u32, first: u64, last: u64) {
        if run >= self.run() {
            let after_newest = self.trades.last().map(|newest| newest.saturating_add(1));
            let first = after_newest.filter(|after| *after < first && run == self.run()).unwrap_or(first);
            self.trades.recover_gap(first, last);
        }
    }

    /// Takes over faulty trades that were filed: they have their place. Those of an earlier run may mean other trades; a later one
    /// has begun with something that never went out.
    pub(crate) fn recover_refused(&mut self, refused: &RefusedTrades, received: UnixNanos) {
        if refused.run >= self.run() {
            self.trades.recover_refused(&refused.rows, received);
        }
    }

    /// The faulty trades that were refused lately.
    pub(crate) fn refused(&self) -> RefusedTrades {
        RefusedTrades { run: self.run(), rows: self.trades.refused().to_vec() }
    }

    pub(crate) fn position(&self) -> Option<Position> {
        self.positions.position()
    }

    /// Notes that the live raw messages up to `raw` have gone out whole.
    pub(crate) fn published(&mut self, raw: u64) {
        self.done = self.done.max(raw);
        self.batched = self.batched.max(raw);
    }

    /// Whether this live raw message went out before its owner died: it only needs to be acknowledged.
    pub(crate) fn is_done(&self, raw: u64) -> bool {
        raw <= self.done
    }

    /// Judges a live batch, message `raw` of the raw stream, brought by `leg`.
    pub(crate) fn live(
        &mut self,
        batch: TickBatch,
        raw: u64,
        leg: LegId,
        merging: &Merging<'_>,
        round: &mut Round,
    ) {
        let TickBatch { instrument, ticks, session, heartbeat, .. } = batch;
        let out = Out { ticks: Vec::with_capacity(ticks.len()), ..Out::default() };
        let mut message = Message { raw, leg, session: Arc::new(session), out, fills: Vec::new(), lag: None };
        for (index, tick) in ticks.into_iter().enumerate() {
            self.tick(tick, RawPlace { raw, index }, &mut message, merging, round);
        }
        self.judged = self.judged.max(raw);
        if let Some(heartbeat) = heartbeat {
            round.heartbeats += 1;
            self.heartbeat(&instrument, heartbeat, &mut message, merging, round);
        }
        let Message { session, mut out, fills, lag, .. } = message;
        self.let_out(&instrument, &mut out, merging, round);
        round.legs.lags.extend(lag.map(|lag| (leg, lag)));
        self.race.settle(round.now, &mut round.legs.alone);
        round.fill(&instrument, fills, &session, raw);
        self.go_on(&instrument, out, Some(&session), self.judged, round);
    }

    fn tick(
        &mut self,
        mut tick: Tick,
        at: RawPlace,
        message: &mut Message,
        merging: &Merging<'_>,
        round: &mut Round,
    ) {
        if let Err(fault) = validate(&mut tick) {
            self.refuse_faulty(tick, &fault, at, message, merging, round);
            return;
        }
        let mut verdict = self.positions.judge(&tick, &message.session);
        if matches!(verdict, Verdict::NewRun { .. }) && self.hold.is_some() {
            self.end_run(&tick.instrument, message.raw, merging, round);
            verdict = self.positions.judge(&tick, &message.session);
        }
        let place = self.place(&tick);
        let origin = Origin { session: &message.session, leg: message.leg, at, shared: false };
        match (verdict, place) {
            // A trade that was told to be missing never goes out as if it were new, whatever its sequence.
            (_, Some(TradePlace::Missing)) => {
                round.filled_late += 1;
                message.fills.push(as_fill(tick, self.run()));
            }
            (Verdict::Next(_), _) if self.waits(place, message.leg, merging) => {
                self.hold_back(tick, message, at, merging, round);
            }
            (Verdict::Next(_) | Verdict::NewRun { .. }, _) => {
                if self.accept(&mut tick, origin, merging, &mut message.out, round) {
                    message.out.ticks.push(tick);
                    message.out.newest = None;
                }
            }
            // Nobody can have seen it, whatever its sequence says: the sequence may be about to start anew.
            (Verdict::Duplicate | Verdict::Late, Some(TradePlace::Next | TradePlace::Ahead))
                if self.trades.last().is_some() =>
            {
                self.fill_late(tick, message, merging, round);
            }
            (Verdict::Duplicate, _) => {
                round.duplicates += 1;
                let lag = self.race.again(tick.sequence.unwrap_or_default(), tick.receive_time, message.leg);
                message.lag = lag.or(message.lag);
            }
            // Most likely it is stored: that is for whoever stores it to say, by its number.
            (Verdict::Late, Some(_)) if self.is_past(&tick) => {
                round.filled_late += 1;
                message.fills.push(as_fill(tick, self.run()));
            }
            (Verdict::Late, _) => self.refuse_late(tick, at, round),
        }
    }

    /// Moves on to a tick that follows, and tells what is missing before it. `false` when it does not follow.
    fn accept(
        &mut self,
        tick: &mut Tick,
        origin: Origin<'_>,
        merging: &Merging<'_>,
        out: &mut Out,
        round: &mut Round,
    ) -> bool {
        let (position, starts_run) = match self.positions.observe(tick, origin.session) {
            Verdict::Next(position) => (position, false),
            Verdict::NewRun { previous, first } => {
                out.events.push((out.ticks.len(), EventKind::NewRun { previous, first }));
                (first, true)
            }
            Verdict::Duplicate | Verdict::Late => {
                self.let_late_out(tick.clone(), origin, round);
                return false;
            }
        };
        tick.run = position.run;
        if let Some(trade_id) = tick.trade_id() {
            let missing = self.trades.trade(trade_id, tick.event_time, origin.session, starts_run);
            self.tell(&tick.instrument, missing, out, round);
        }
        round.legs.wins(origin.leg);
        if merging.is_race {
            self.race.first(position.sequence, tick.receive_time, origin.leg, origin.shared, round.now);
        }
        true
    }

    fn hear(
        &mut self,
        instrument: &Instrument,
        heartbeat: &Heartbeat,
        session: &FeedSession,
        out: &mut Out,
        round: &Round,
    ) {
        let missing = self.trades.heartbeat(heartbeat, session);
        self.tell(instrument, missing, out, round);
    }

    /// Tells what is missing before what comes next.
    fn tell(&self, instrument: &Instrument, missing: Vec<MissingTrades>, out: &mut Out, round: &Round) {
        let gaps = missing.into_iter().map(|missing| round.gap(instrument, self.run(), missing));
        out.events.extend(gaps.map(|gap| (out.ticks.len(), gap)));
    }

    fn run(&self) -> u32 {
        self.position().unwrap_or_default().run
    }
}
