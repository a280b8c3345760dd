//! The conversation with the exchange over one connection after another, as a state machine without I/O.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::{FeedSession, FeedState, Heartbeat, Instrument, Product, RejectedTick, Tick, Venue};

use super::fault::{FrameFault, clip};
use super::kind::FrameKind;
use super::message::{ErrorMessage, HeartbeatMessage, TickerMessage};
use super::parse::{Message, parse};
use super::request::Request;
use crate::Moment;

mod liveness;
mod reason;
mod subscribing;
mod track;

pub use reason::ReconnectReason;
use track::Track;

/// What to subscribe to, and how patient to be.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// The products.
    pub products: Vec<Product>,
    /// The channels, by the names that subscriptions use (`super::CHANNELS`).
    pub channels: Vec<String>,
    /// How long the exchange may take to confirm a subscription.
    pub confirm_timeout: Duration,
    /// How long the whole connection may be mute where no heartbeats are to be expected.
    pub idle_timeout: Duration,
    /// How long a product, or the whole connection, may be without a sign of life where heartbeats are to be expected:
    /// from the first one on that this session has got (rule 6).
    pub heartbeat_timeout: Duration,
    /// When a product that the exchange refused is asked for again; each further refusal doubles it.
    pub refused_retry_min: Duration,
    /// The longest such delay.
    pub refused_retry_max: Duration,
    /// Who refuses what is refused, e.g. `ingestor/host-1`.
    pub source: String,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            products: Vec::new(),
            channels: vec!["ticker".to_owned(), "heartbeat".to_owned()],
            confirm_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(30),
            heartbeat_timeout: Duration::from_secs(3),
            refused_retry_min: Duration::from_secs(60),
            refused_retry_max: Duration::from_secs(3_600),
            source: String::new(),
        }
    }
}

/// What the shell has to do, in this order.
#[derive(Clone, Debug, PartialEq)]
#[allow(
    clippy::large_enum_variant,
    reason = "ticks are by far the most frequent; boxing would allocate for each"
)]
pub enum Action {
    /// Send this text to the exchange.
    Send(String),
    /// The first product is confirmed: the connection serves.
    Confirmed,
    /// A product is in another state now.
    State(StateChange),
    /// A tick, not validated yet.
    Emit(Tick),
    /// The ticker that comes first after subscribing tells a trade that was emitted already; it is left out.
    Known(Instrument),
    /// A heartbeat told of trades that have not come until the next one: to be passed on in order with the ticks.
    Overdue(Instrument, Heartbeat),
    /// A frame that is refused and kept.
    Quarantine(Box<RejectedTick>),
    /// The exchange complains; the connection goes on.
    Report(ErrorMessage),
    /// Close the connection, wait, and connect anew. Nothing more comes until [`Session::reopen`].
    Reconnect(ReconnectReason),
}

/// A product is in another state than before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateChange {
    /// Where and what.
    pub instrument: Instrument,
    /// The state that it is in now.
    pub state: FeedState,
    /// Why it is not live; empty when it is.
    pub why: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing is confirmed yet.
    Subscribing,
    Live,
    Ended,
}

/// The conversation about a group of products, over one connection after another. It remembers over the connections which
/// trade of a product it has emitted last, and which products the exchange refuses.
#[derive(Debug)]
pub struct Session {
    config: SessionConfig,
    feed: FeedSession,
    venue: Venue,
    tracks: BTreeMap<Box<str>, Track>,
    state: State,
    /// What the newest answer of the exchange lacks, for the explanation.
    missing: Vec<String>,
    /// Whether heartbeats are to be expected: one has come, on this connection or an earlier one.
    beats: bool,
    last_heard: Duration,
    /// For how long nobody listened; that time does not count.
    deaf: Duration,
    frames: u64,
}

impl Session {
    /// Begins on a fresh connection: the first action is the subscription (rule 1).
    pub fn open(config: &SessionConfig, feed: FeedSession, now: Moment, actions: &mut Vec<Action>) -> Self {
        let mut session = Self::new(config);
        session.reopen(feed, now, actions);
        session
    }

    /// A session that has no connection yet; [`Session::reopen`] gives it one.
    pub fn new(config: &SessionConfig) -> Self {
        let mut session = Self {
            config: SessionConfig { products: Vec::new(), ..config.clone() },
            feed: FeedSession { id: String::new(), started: domain::UnixNanos::default() },
            venue: Venue::coinbase(),
            tracks: BTreeMap::new(),
            state: State::Ended,
            missing: Vec::new(),
            beats: false,
            last_heard: Duration::ZERO,
            deaf: Duration::ZERO,
            frames: 0,
        };
        for product in &config.products {
            session.add(product);
        }
        session
    }

    /// Goes on, on a fresh connection.
    pub fn reopen(&mut self, feed: FeedSession, now: Moment, actions: &mut Vec<Action>) {
        self.feed = feed;
        self.state = State::Subscribing;
        self.frames = 0;
        self.last_heard = self.clock(now);
        self.missing = self.lacking(&super::Subscriptions::default());
        self.tracks.retain(|_, track| !track.has_left());
        self.tracks.values_mut().for_each(Track::reset);
        self.subscribe_first(now, actions);
    }

    /// Takes a frame that arrived at `now`, appends what follows from it, and says of what kind it was.
    pub fn handle(&mut self, frame: &[u8], now: Moment, actions: &mut Vec<Action>) -> FrameKind {
        if self.state == State::Ended {
            return FrameKind::Unknown;
        }
        self.frames = self.frames.saturating_add(1);
        self.last_heard = self.clock(now);
        let message = match parse(frame) {
            Ok(message) => message,
            Err(fault) => {
                actions.push(self.quarantine(&fault, frame, now));
                return FrameKind::Malformed;
            }
        };
        let kind = message.kind();
        let taken = match message {
            Message::Ticker(ticker) => self.take_ticker(&ticker, now, actions),
            Message::Heartbeat(beat) => self.take_heartbeat(&beat, actions),
            Message::Subscriptions(answer) => {
                self.confirm(&answer, actions);
                Ok(())
            }
            Message::Error(error) => {
                self.complain(error, now, actions);
                Ok(())
            }
            // What is not known is counted by its kind (rule 3).
            Message::Ignored(_) => Ok(()),
        };
        if let Err(fault) = taken {
            actions.push(self.quarantine(&fault, frame, now));
        }
        kind
    }

    /// Looks at the deadlines; to be called several times per second.
    pub fn tick(&mut self, now: Moment, actions: &mut Vec<Action>) {
        if self.state != State::Ended {
            self.look(now, actions);
        }
    }

    /// Nobody listened for this long: the exchange may have spoken all the while, so that no deadline has come nearer.
    pub fn was_not_listened_to(&mut self, length: Duration) {
        self.deaf = self.deaf.saturating_add(length);
    }

    /// Whether a product is confirmed and the connection has not ended.
    pub fn is_live(&self) -> bool {
        self.state == State::Live
    }

    /// How long ago anything was heard.
    pub fn silence(&self, now: Moment) -> Duration {
        self.clock(now).saturating_sub(self.last_heard)
    }

    /// The connection has ended from outside: nothing more comes until [`Session::reopen`].
    pub fn closed(&mut self) {
        self.state = State::Ended;
    }

    /// Uptime, less the time in which nobody listened.
    fn clock(&self, now: Moment) -> Duration {
        now.uptime.saturating_sub(self.deaf)
    }

    fn add(&mut self, product: &Product) {
        let instrument = Instrument { venue: self.venue.clone(), product: product.clone() };
        self.tracks.insert(product.as_str().into(), Track::new(instrument));
    }

    fn take_ticker(
        &mut self,
        ticker: &TickerMessage<'_>,
        now: Moment,
        actions: &mut Vec<Action>,
    ) -> Result<(), FrameFault> {
        let Some(track) = find(&mut self.tracks, ticker.product()?)? else { return Ok(()) };
        let tick = ticker.to_tick_of(&track.instrument, now.wall)?;
        actions.extend(track.heard(self.last_heard).map(Action::State));
        actions.push(if track.is_known(&tick) {
            Action::Known(track.instrument.clone())
        } else {
            Action::Emit(tick)
        });
        Ok(())
    }

    fn take_heartbeat(
        &mut self,
        message: &HeartbeatMessage<'_>,
        actions: &mut Vec<Action>,
    ) -> Result<(), FrameFault> {
        let Some(track) = find(&mut self.tracks, message.product()?)? else { return Ok(()) };
        let beat = message.to_heartbeat()?;
        actions.extend(track.heard(self.last_heard).map(Action::State));
        if let Some(overdue) = track.overdue(beat) {
            actions.push(Action::Overdue(track.instrument.clone(), overdue));
        }
        if !std::mem::replace(&mut self.beats, true) {
            // Until now nobody could know that there are heartbeats at all: the time of each product begins here.
            let clock = self.last_heard;
            self.tracks.values_mut().for_each(|track| track.begin_waiting(clock));
        }
        Ok(())
    }

    fn end(&mut self, reason: ReconnectReason, actions: &mut Vec<Action>) {
        self.state = State::Ended;
        actions.push(Action::Reconnect(reason));
    }

    fn quarantine(&self, fault: &FrameFault, frame: &[u8], now: Moment) -> Action {
        Action::Quarantine(Box::new(RejectedTick {
            instrument: self.instrument_of(fault, frame),
            tick: None,
            raw: RejectedTick::clip(frame),
            raw_length: u64::try_from(frame.len()).unwrap_or(u64::MAX),
            reason: fault.reason(),
            detail: fault.detail(),
            source: self.config.source.clone(),
            time: now.wall,
            identity: format!("{}/{}", self.feed.id, self.frames),
        }))
    }

    /// The product that a refused frame names, where it can be read that far and is configured.
    fn instrument_of(&self, fault: &FrameFault, frame: &[u8]) -> Option<Instrument> {
        if matches!(fault, FrameFault::TooLong { .. }) {
            return None;
        }
        let outline = super::parse::outline(frame)?;
        self.tracks.get(outline.product_id.text()?).map(|track| track.instrument.clone())
    }

    fn subscription(&self, products: &[&str]) -> String {
        Request::subscribe_text(products, &self.channels_of_products())
    }

    /// The channels that products are subscribed to; the status channel is of the whole exchange.
    fn channels_of_products(&self) -> Vec<&str> {
        self.config.channels.iter().map(String::as_str).filter(|channel| *channel != "status").collect()
    }
}

/// The track of a product; `None` when it was left a moment ago and frames of it are still under way.
fn find<'a>(
    tracks: &'a mut BTreeMap<Box<str>, Track>,
    product: &str,
) -> Result<Option<&'a mut Track>, FrameFault> {
    match tracks.get_mut(product) {
        Some(track) if track.has_left() => Ok(None),
        Some(track) => Ok(Some(track)),
        None => Err(FrameFault::UnknownProduct { product: clip(product) }),
    }
}

#[cfg(test)]
mod tests;
