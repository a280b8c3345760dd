//! One connection to the exchange, as a state machine without I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use domain::{FeedSession, Product, RejectedTick, Tick};

use super::confirmed_name;
use super::fault::FrameFault;
use super::instruments::Instruments;
use super::kind::FrameKind;
use super::message::{ErrorMessage, Subscriptions};
use super::parse::{Message, parse};
use super::request::Request;
use crate::Moment;

/// How many of the missing subscriptions are named in a message.
const MISSING_NAMED_MAX: usize = 20;

/// What to subscribe to, and how patient to be.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// The products.
    pub products: Vec<Product>,
    /// The channels, by the names that subscriptions use (`super::CHANNELS`).
    pub channels: Vec<String>,
    /// How long the exchange may take to confirm everything.
    pub confirm_timeout: Duration,
    /// How long the whole connection may be mute. With heartbeats something arrives each second.
    pub idle_timeout: Duration,
    /// Who refuses what is refused, e.g. `ingestor/host-1`.
    pub source: String,
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
    /// Everything is subscribed to: the feed is live.
    Confirmed,
    /// A tick, not validated yet.
    Emit(Tick),
    /// A frame that is refused and kept.
    Quarantine(Box<RejectedTick>),
    /// The exchange complains; the connection goes on.
    Report(ErrorMessage),
    /// Close the connection, wait, and connect anew. Nothing more comes from this session.
    Reconnect(ReconnectReason),
}

/// Why a session cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReconnectReason {
    /// The exchange refused the subscription (rule 4).
    Refused(ErrorMessage),
    /// The exchange did not confirm everything in time: `channel:product` of what is missing.
    NotConfirmed(Vec<String>),
    /// Nothing was heard for this long (rule 6).
    Mute(Duration),
}

impl ReconnectReason {
    /// A label of bounded cardinality.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Refused(_) => "refused",
            Self::NotConfirmed(_) => "not_confirmed",
            Self::Mute(_) => "mute",
        }
    }
}

impl fmt::Display for ReconnectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) => write!(f, "the exchange refused the subscription: {error}"),
            Self::NotConfirmed(missing) => {
                write!(f, "the exchange did not confirm {} in time", missing.join(", "))
            }
            Self::Mute(silence) => write!(f, "nothing was heard for {} s", silence.as_secs()),
        }
    }
}

impl fmt::Display for ErrorMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            Some(reason) => write!(f, "{} ({reason})", self.message),
            None => f.write_str(&self.message),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Subscribing { deadline: Duration },
    Live,
    Ended,
}

/// One connection, from its opening to the wish to reconnect.
#[derive(Debug)]
pub struct Session {
    feed: FeedSession,
    source: String,
    instruments: Instruments,
    /// What has to be confirmed, by the names the exchange confirms it under.
    wanted: BTreeMap<String, BTreeSet<String>>,
    idle_timeout: Duration,
    state: State,
    missing: Vec<String>,
    last_heard: Duration,
    frames: u64,
}

impl Session {
    /// Begins on a fresh connection: the first action is the subscription (rule 1).
    pub fn open(config: &SessionConfig, feed: FeedSession, now: Moment, actions: &mut Vec<Action>) -> Self {
        let products: Vec<&str> = config.products.iter().map(Product::as_str).collect();
        let channels: Vec<&str> = config.channels.iter().map(String::as_str).collect();
        actions.push(Action::Send(Request::subscribe_text(&products, &channels)));
        let per_channel: BTreeSet<String> = products.iter().map(|product| (*product).to_owned()).collect();
        let wanted = channels.iter().map(|channel| {
            // The status channel is of the whole exchange.
            let products = if *channel == "status" { BTreeSet::new() } else { per_channel.clone() };
            (confirmed_name(channel).to_owned(), products)
        });
        let mut session = Self {
            feed,
            source: config.source.clone(),
            instruments: Instruments::new(&config.products),
            wanted: wanted.collect(),
            idle_timeout: config.idle_timeout,
            state: State::Subscribing { deadline: now.uptime.saturating_add(config.confirm_timeout) },
            missing: Vec::new(),
            last_heard: now.uptime,
            frames: 0,
        };
        session.missing = session.lacking(&Subscriptions::default());
        session
    }

    /// Takes a frame that arrived at `now`, appends what follows from it, and says of what kind it was.
    pub fn handle(&mut self, frame: &[u8], now: Moment, actions: &mut Vec<Action>) -> FrameKind {
        if self.state == State::Ended {
            return FrameKind::Unknown;
        }
        self.frames = self.frames.saturating_add(1);
        self.last_heard = now.uptime;
        let message = match parse(frame) {
            Ok(message) => message,
            Err(fault) => {
                actions.push(self.quarantine(&fault, frame, now));
                return FrameKind::Malformed;
            }
        };
        let kind = message.kind();
        match message {
            Message::Ticker(ticker) => actions.push(match ticker.to_tick(&self.instruments, now.wall) {
                Ok(tick) => Action::Emit(tick),
                Err(fault) => self.quarantine(&fault, frame, now),
            }),
            Message::Subscriptions(answer) => self.confirm(&answer, actions),
            Message::Error(error) => self.complain(error, actions),
            // A heartbeat has done its work by arriving; what is not known is counted by its kind (rule 3).
            Message::Heartbeat(_) | Message::Ignored(_) => {}
        }
        kind
    }

    /// Looks at the deadlines; to be called several times per second.
    pub fn tick(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let silence = now.uptime.saturating_sub(self.last_heard);
        match self.state {
            State::Ended => {}
            State::Subscribing { deadline } if now.uptime >= deadline => {
                self.end(ReconnectReason::NotConfirmed(self.missing.clone()), actions);
            }
            State::Subscribing { .. } | State::Live if silence >= self.idle_timeout => {
                self.end(ReconnectReason::Mute(silence), actions);
            }
            State::Subscribing { .. } | State::Live => {}
        }
    }

    /// Nobody listened for this long: the exchange may have spoken all the while, so that no deadline has come nearer.
    pub fn was_not_listened_to(&mut self, length: Duration) {
        self.last_heard = self.last_heard.saturating_add(length);
        if let State::Subscribing { deadline } = &mut self.state {
            *deadline = deadline.saturating_add(length);
        }
    }

    /// Whether everything is confirmed and the session has not ended.
    pub fn is_live(&self) -> bool {
        self.state == State::Live
    }

    /// How long ago anything was heard.
    pub fn silence(&self, now: Moment) -> Duration {
        now.uptime.saturating_sub(self.last_heard)
    }

    /// Rule 2: each answer lists everything, and several may come.
    fn confirm(&mut self, answer: &Subscriptions, actions: &mut Vec<Action>) {
        self.missing = self.lacking(answer);
        if self.missing.is_empty() && matches!(self.state, State::Subscribing { .. }) {
            self.state = State::Live;
            actions.push(Action::Confirmed);
        }
    }

    fn lacking(&self, answer: &Subscriptions) -> Vec<String> {
        let mut missing = Vec::new();
        for (channel, products) in &self.wanted {
            // The exchange confirms level2 under either name.
            let confirmed = answer
                .channels
                .iter()
                .find(|confirmed| confirmed.name == *channel || confirmed_name(&confirmed.name) == channel);
            let Some(confirmed) = confirmed else {
                missing.push(channel.clone());
                continue;
            };
            let listed: BTreeSet<&str> = confirmed.product_ids.iter().flatten().map(String::as_str).collect();
            let lacking = products.iter().filter(|product| !listed.contains(product.as_str()));
            missing.extend(lacking.map(|product| format!("{channel}:{product}")));
        }
        missing.truncate(MISSING_NAMED_MAX);
        missing
    }

    /// Rule 4: before everything is confirmed, a complaint is about the subscription as a whole.
    fn complain(&mut self, error: ErrorMessage, actions: &mut Vec<Action>) {
        if self.is_live() {
            actions.push(Action::Report(error));
        } else {
            self.end(ReconnectReason::Refused(error), actions);
        }
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
            source: self.source.clone(),
            time: now.wall,
            identity: format!("{}/{}", self.feed.id, self.frames),
        }))
    }

    /// The product that a refused frame names, where it can be read that far and is configured.
    fn instrument_of(&self, fault: &FrameFault, frame: &[u8]) -> Option<domain::Instrument> {
        if matches!(fault, FrameFault::TooLong { .. }) {
            return None;
        }
        let outline = super::parse::outline(frame)?;
        self.instruments.find(outline.product_id.text()?).ok().cloned()
    }
}

#[cfg(test)]
mod tests;
