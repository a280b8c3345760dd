//! One product of a session: how its subscription stands, when it was heard, and how far its trades have come.

use std::time::Duration;

use domain::{FeedState, Heartbeat, Instrument, NEW_RUN_AFTER, Tick, UnixNanos};

use super::StateChange;

/// What is known of one product. Times are those of the session's clock, except where it says uptime.
#[derive(Debug)]
pub(super) struct Track {
    pub(super) instrument: Instrument,
    state: FeedState,
    subscription: Subscription,
    last_life: Duration,
    /// When a stale product is asked for again, and how much later the time after that.
    next_attempt: Duration,
    attempt_delay: Duration,
    /// No ticker has come since it was subscribed to.
    is_fresh: bool,
    newest: Option<Newest>,
    /// The last heartbeat, if it told of trades that had not come then.
    claim: Option<Heartbeat>,
    /// The trade_id of the claim that was passed on last.
    passed_on: Option<u64>,
    refusal: Option<Refusal>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subscription {
    None,
    /// Asked for; to be confirmed until then.
    Asked(Duration),
    Confirmed,
    /// The operator wants it no longer.
    Left,
}

/// The newest trade that was emitted.
#[derive(Clone, Copy, Debug)]
struct Newest {
    trade_id: u64,
    sequence: Option<u64>,
    event_time: UnixNanos,
}

#[derive(Clone, Copy, Debug)]
struct Refusal {
    /// By the uptime.
    retry_at: Duration,
    delay: Duration,
}

impl Track {
    pub(super) fn new(instrument: Instrument) -> Self {
        Self {
            instrument,
            state: FeedState::Connecting,
            subscription: Subscription::None,
            last_life: Duration::ZERO,
            next_attempt: Duration::ZERO,
            attempt_delay: Duration::ZERO,
            is_fresh: false,
            newest: None,
            claim: None,
            passed_on: None,
            refusal: None,
        }
    }

    /// A new connection: what was subscribed to is not any more; what was emitted and what was refused is remembered.
    pub(super) fn reset(&mut self) {
        self.state = if self.refusal.is_some() { FeedState::BackingOff } else { FeedState::Connecting };
        self.subscription = Subscription::None;
        self.claim = None;
        self.passed_on = None;
    }

    pub(super) fn state(&self) -> FeedState {
        self.state
    }

    pub(super) fn has_left(&self) -> bool {
        self.subscription == Subscription::Left
    }

    pub(super) fn leave(&mut self) {
        self.subscription = Subscription::Left;
    }

    /// Whether the exchange refused it, and not so long ago that it is worth asking again.
    pub(super) fn is_refused(&self, uptime: Duration) -> bool {
        self.refusal.is_some_and(|refusal| uptime < refusal.retry_at)
    }

    /// How long it takes until it is worth asking for.
    pub(super) fn wait(&self, uptime: Duration) -> Duration {
        self.refusal.map_or(Duration::ZERO, |refusal| refusal.retry_at.saturating_sub(uptime))
    }

    /// Whether a refusal is so long ago that it is worth asking again, and nobody has.
    pub(super) fn is_due(&self, uptime: Duration) -> bool {
        self.subscription == Subscription::None && self.refusal.is_some() && !self.is_refused(uptime)
    }

    pub(super) fn ask(&mut self, until: Duration) {
        self.subscription = Subscription::Asked(until);
        self.is_fresh = true;
    }

    pub(super) fn is_asked(&self) -> bool {
        matches!(self.subscription, Subscription::Asked(_))
    }

    pub(super) fn is_confirmed(&self) -> bool {
        self.subscription == Subscription::Confirmed
    }

    /// Whether the exchange has had its time to confirm.
    pub(super) fn is_overdue(&self, clock: Duration) -> bool {
        matches!(self.subscription, Subscription::Asked(until) if clock >= until)
    }

    /// The exchange confirms it. With heartbeats to be expected it is live only once it was heard.
    pub(super) fn confirm(&mut self, clock: Duration, beats: bool) -> Option<StateChange> {
        self.subscription = Subscription::Confirmed;
        self.refusal = None;
        if self.state != FeedState::Stale {
            self.begin_waiting(clock);
        }
        match self.state {
            FeedState::Connecting | FeedState::BackingOff if !beats => {
                self.turn(FeedState::Live, String::new())
            }
            FeedState::BackingOff => {
                self.turn(FeedState::Connecting, "subscribed to, but not heard of yet".to_owned())
            }
            FeedState::Connecting | FeedState::Live | FeedState::Stale => None,
        }
    }

    /// The exchange does not have it, or does not answer for it. `uptime` and the delays say when to ask again.
    pub(super) fn refuse(
        &mut self,
        uptime: Duration,
        delay_min: Duration,
        delay_max: Duration,
        why: String,
    ) -> Option<StateChange> {
        let delay = self.refusal.map_or(delay_min, |refusal| refusal.delay.saturating_mul(2).min(delay_max));
        self.refusal = Some(Refusal { retry_at: uptime.saturating_add(delay), delay });
        self.subscription = Subscription::None;
        self.turn(FeedState::BackingOff, why)
    }

    /// Its time without a sign of life begins now.
    pub(super) fn begin_waiting(&mut self, clock: Duration) {
        self.last_life = clock;
    }

    /// A frame of it has come.
    pub(super) fn heard(&mut self, clock: Duration) -> Option<StateChange> {
        self.last_life = clock;
        let wakes = match self.state {
            FeedState::Stale => true,
            FeedState::Connecting => self.is_confirmed(),
            FeedState::Live | FeedState::BackingOff => false,
        };
        if wakes { self.turn(FeedState::Live, String::new()) } else { None }
    }

    /// Whether it has been without a sign of life for `timeout`, and is to be called stale now.
    pub(super) fn falls_silent(&self, clock: Duration, timeout: Duration) -> bool {
        self.is_confirmed() && self.state != FeedState::Stale && self.silence(clock) >= timeout
    }

    pub(super) fn silence(&self, clock: Duration) -> Duration {
        clock.saturating_sub(self.last_life)
    }

    /// It is stale; the next attempt to wake it up comes after `delay`.
    pub(super) fn fall_silent(&mut self, clock: Duration, delay: Duration) -> Option<StateChange> {
        self.next_attempt = clock.saturating_add(delay);
        self.attempt_delay = delay;
        let silence = self.silence(clock).as_secs();
        self.turn(FeedState::Stale, format!("no heartbeat for {silence} s though the connection is up"))
    }

    /// Whether a stale product is to be asked for again; each time later, up to `delay_max`.
    pub(super) fn wants_attempt(&mut self, clock: Duration, delay_max: Duration) -> bool {
        let wants = self.state == FeedState::Stale && self.is_confirmed() && clock >= self.next_attempt;
        if wants {
            self.attempt_delay = self.attempt_delay.saturating_mul(2).min(delay_max);
            self.next_attempt = clock.saturating_add(self.attempt_delay);
        }
        wants
    }

    /// Notes a tick that is about to be emitted. `true`: it is the ticker that comes first after subscribing, and tells the
    /// trade that was emitted last, perhaps on an earlier connection.
    pub(super) fn is_known(&mut self, tick: &Tick) -> bool {
        let first = std::mem::take(&mut self.is_fresh);
        let Some(trade_id) = tick.trade_id() else { return false };
        let new = Newest { trade_id, sequence: tick.sequence, event_time: tick.event_time };
        let Some(newest) = self.newest else {
            self.newest = Some(new);
            return false;
        };
        if first && new.trade_id == newest.trade_id && new.event_time == newest.event_time {
            return true;
        }
        // The numbers start anew after maintenance; until that is certain a lower one is a late trade.
        let restarted = new.sequence < newest.sequence
            && new.event_time.saturating_since(newest.event_time) > NEW_RUN_AFTER;
        if new.trade_id > newest.trade_id || restarted {
            self.newest = Some(new);
        }
        false
    }

    /// Takes a heartbeat. What the one before told of and what still has not come is overdue; it is told once.
    pub(super) fn overdue(&mut self, beat: Heartbeat) -> Option<Heartbeat> {
        let newest = self.newest.map(|newest| newest.trade_id);
        let is_missing = |beat: &Heartbeat| Some(beat.last_trade_id) > newest;
        let overdue = self.claim.filter(is_missing);
        self.claim = Some(beat).filter(is_missing);
        let overdue = overdue.filter(|beat| self.passed_on != Some(beat.last_trade_id))?;
        self.passed_on = Some(overdue.last_trade_id);
        Some(overdue)
    }

    fn turn(&mut self, state: FeedState, why: String) -> Option<StateChange> {
        let changed = std::mem::replace(&mut self.state, state) != state;
        changed.then(|| StateChange { instrument: self.instrument.clone(), state, why })
    }
}
