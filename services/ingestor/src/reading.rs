//! One connection, from the subscription to its end.

use std::time::{Duration, Instant};

use domain::{FeedSession, FeedState, Heartbeat, Instrument, Product, RejectedTick, Tick};
use futures::{SinkExt as _, StreamExt as _};
use metrics::counter;
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_tungstenite::tungstenite::{self, Message};
use tracing::{Instrument as _, debug, info, info_span, warn};
use venues::coinbase::{Action, FrameKind, ReconnectReason, Session, StateChange};

use crate::connect::Socket;
use crate::counters::Counters;
use crate::metrics::{ERRORS, KNOWN, OVERDUE};
use crate::outbox::Letter;
use crate::outlet::Outlet;
use crate::surroundings::Surroundings;

/// How often deadlines are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long a goodbye may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Waiting for the bus for longer than this is told to the session: the exchange was not mute, we did not listen.
const DEAF_MIN: Duration = Duration::from_millis(100);

/// Why a connection ended.
#[derive(Debug, Error)]
pub(crate) enum End {
    #[error("{0}")]
    Session(ReconnectReason),
    #[error("the exchange closed the connection{0}")]
    Closed(String),
    #[error("the connection broke")]
    Broken(#[source] Box<tungstenite::Error>),
    #[error("nobody takes what is read any more")]
    Outlet,
    #[error("it has no products any more")]
    Unneeded,
    #[error("the shutdown was requested")]
    Shutdown,
}

impl End {
    /// A label of bounded cardinality.
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::Session(reason) => reason.as_str(),
            Self::Closed(_) => "closed",
            Self::Broken(_) | Self::Outlet => "error",
            Self::Unneeded => "unneeded",
            Self::Shutdown => "shutdown",
        }
    }

    /// The state that the feed falls into.
    pub(crate) fn state(&self) -> FeedState {
        match self {
            Self::Session(ReconnectReason::Mute(_)) => FeedState::Stale,
            _ => FeedState::BackingOff,
        }
    }
}

/// The end of a queue of products that the operator wants.
pub(crate) type Products = watch::Receiver<Vec<Product>>;

pub(crate) struct Reading<'a> {
    socket: Socket,
    session: &'a mut Session,
    products: &'a mut Products,
    outlet: &'a Outlet,
    around: &'a Surroundings,
    counters: Counters,
    /// The number of this connection among those that exist at the same time.
    connection: usize,
    /// When the first product was confirmed.
    pub(crate) live_since: Option<Instant>,
    actions: Vec<Action>,
    /// What the end of the process left undone.
    left: Left,
}

/// What was read and not handed over.
#[derive(Clone, Copy, Debug, Default)]
struct Left {
    ticks: u64,
    rejects: u64,
}

impl<'a> Reading<'a> {
    /// Begins on a fresh connection; nothing is sent before [`Reading::run`].
    pub(crate) fn new(
        connection: usize,
        socket: Socket,
        feed: FeedSession,
        (session, products): (&'a mut Session, &'a mut Products),
        outlet: &'a Outlet,
        around: &'a Surroundings,
    ) -> Self {
        let mut actions = Vec::new();
        let wanted = products.borrow_and_update().clone();
        let counters = Counters::new(&wanted);
        session.set_products(&wanted, around.now(), &mut actions);
        session.reopen(feed, around.now(), &mut actions);
        let left = Left::default();
        Self {
            socket,
            session,
            products,
            outlet,
            around,
            counters,
            connection,
            live_since: None,
            actions,
            left,
        }
    }

    /// Reads until the connection ends, for whatever reason.
    pub(crate) async fn run(&mut self) -> End {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let end = loop {
            if let Err(end) = self.act().await {
                break end;
            }
            tokio::select! {
                // What has arrived is read before any deadline is looked at.
                biased;
                () = self.around.ctx.shutdown.requested() => break End::Shutdown,
                received = self.socket.next() => if let Err(end) = self.receive(received).await {
                    break end;
                },
                Ok(()) = self.products.changed() => if let Err(end) = self.follow() {
                    break end;
                },
                _ = looks.tick() => self.session.tick(self.around.now(), &mut self.actions),
            }
        };
        self.session.closed();
        self.tell_left();
        // Whether or not the goodbye arrives, the connection ends here.
        let _ = timeout(CLOSE_TIMEOUT, self.socket.close(None)).await;
        end
    }

    /// The operator wants other products.
    fn follow(&mut self) -> Result<(), End> {
        let wanted = self.products.borrow_and_update().clone();
        self.counters.follow(&wanted);
        self.session.set_products(&wanted, self.around.now(), &mut self.actions);
        if wanted.is_empty() { Err(End::Unneeded) } else { Ok(()) }
    }

    async fn receive(&mut self, received: Option<tungstenite::Result<Message>>) -> Result<(), End> {
        let message = match received {
            Some(Ok(message)) => message,
            Some(Err(error)) => return Err(End::Broken(Box::new(error))),
            None => return Err(End::Closed(String::new())),
        };
        let now = self.around.now();
        let keeping = self.outlet.frame(&message, now.wall);
        match patiently(self.session, &self.counters, self.around, keeping).await {
            Some(Ok(())) => {}
            Some(Err(_closed)) => return Err(End::Outlet),
            None => return Err(End::Shutdown),
        }
        let frame = match &message {
            Message::Text(text) => text.as_bytes(),
            Message::Binary(bytes) => bytes,
            Message::Close(None) => return Err(End::Closed(String::new())),
            Message::Close(Some(frame)) => return Err(End::Closed(format!(": {frame}"))),
            // Pings are answered by the WebSocket; they tell nothing of the feed.
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => return Ok(()),
        };
        let kind = self.session.handle(frame, now, &mut self.actions);
        self.counters.frame(kind, frame.len());
        self.around.status.heard();
        if kind == FrameKind::Unknown {
            debug!("a frame of an unknown type was left out");
        }
        Ok(())
    }

    /// Carries out what the session wants, in order. Ticks and rejects are handed over even when the connection has ended;
    /// those that cannot be, because the process ends, are counted.
    async fn act(&mut self) -> Result<(), End> {
        let mut actions = std::mem::take(&mut self.actions);
        let mut end = None;
        for action in actions.drain(..) {
            // The rest is about a connection that is over.
            if end.is_none() || matches!(action, Action::Emit(_) | Action::Quarantine(_)) {
                let carried_out = self.carry_out(action).await;
                end = end.or(carried_out.err());
            }
        }
        // The allocation serves the next frame.
        self.actions = actions;
        end.map_or(Ok(()), Err)
    }

    async fn carry_out(&mut self, action: Action) -> Result<(), End> {
        match action {
            Action::Emit(tick) => return self.emit(tick).await,
            Action::Quarantine(rejected) => return self.quarantine(rejected).await,
            Action::Overdue(instrument, heartbeat) => return self.pass_on(instrument, heartbeat).await,
            Action::Known(instrument) => {
                counter!(KNOWN).increment(1);
                debug!(%instrument, "the first ticker tells a trade that is known already");
            }
            Action::Send(text) => {
                self.around.messages.turn().await;
                let sent = self.socket.send(Message::text(text)).await;
                sent.map_err(|error| End::Broken(Box::new(error)))?;
            }
            Action::Confirmed => {
                self.live_since = Some(Instant::now());
                info!(connection = self.connection, "the feed is live");
                self.around.status.set_connection(self.connection, FeedState::Live, "");
            }
            Action::State(change) => {
                let StateChange { instrument: Instrument { product, .. }, state, why } = change;
                if state != FeedState::Live {
                    warn!(%product, why, "a product is not live");
                }
                self.around.turn(&product, state, &why).await;
            }
            Action::Report(error) => {
                counter!(ERRORS).increment(1);
                if let Some(swallowed) = self.around.complaints.pass(Instant::now()) {
                    warn!(%error, swallowed, "the exchange complains");
                }
            }
            Action::Reconnect(reason) => return Err(End::Session(reason)),
        }
        Ok(())
    }

    async fn quarantine(&mut self, rejected: Box<RejectedTick>) -> Result<(), End> {
        self.counters.reject(rejected.reason);
        self.around.status.rejected();
        if let Some(swallowed) = self.around.refusals.pass(Instant::now()) {
            let (reason, detail) = (rejected.reason.as_str(), &rejected.detail);
            warn!(reason, detail, swallowed, "a frame was refused and kept");
        }
        let put = self.around.postbox.put(Letter::Reject(rejected));
        if patiently(self.session, &self.counters, self.around, put).await.is_none() {
            self.left.rejects += 1;
            return Err(End::Shutdown);
        }
        Ok(())
    }

    async fn emit(&mut self, tick: Tick) -> Result<(), End> {
        let (product, lag) =
            (tick.instrument.product.clone(), tick.receive_time.saturating_since(tick.event_time));
        let span = info_span!("tick", %product, sequence = tick.sequence);
        let sending = self.outlet.tick(tick).instrument(span);
        match patiently(self.session, &self.counters, self.around, sending).await {
            Some(Ok(())) => {
                self.counters.tick(&product, lag);
                self.around.status.tick();
                Ok(())
            }
            Some(Err(_closed)) => {
                self.left.ticks += 1;
                Err(End::Outlet)
            }
            None => {
                self.left.ticks += 1;
                Err(End::Shutdown)
            }
        }
    }

    /// In order with the ticks, so that the normalizer knows which of them had come.
    async fn pass_on(&mut self, instrument: Instrument, heartbeat: Heartbeat) -> Result<(), End> {
        counter!(OVERDUE).increment(1);
        let sending = self.outlet.overdue(instrument, heartbeat);
        match patiently(self.session, &self.counters, self.around, sending).await {
            Some(Ok(())) => Ok(()),
            Some(Err(_closed)) => Err(End::Outlet),
            // The next start finds the same from the trades themselves.
            None => Err(End::Shutdown),
        }
    }

    /// Counts and tells what was read and will not be handed over.
    fn tell_left(&self) {
        let Left { ticks, rejects } = self.left;
        if ticks > 0 || rejects > 0 {
            self.counters.given_up(ticks, rejects);
            warn!(ticks, rejects, "what was read last could not be handed to the bus and is given up");
        }
    }
}

/// Waits for the bus, but not beyond the shutdown (`None`); what it takes at once, it is given even then. The session is
/// told for how long nobody listened.
async fn patiently<F: Future>(
    session: &mut Session,
    counters: &Counters,
    around: &Surroundings,
    waiting: F,
) -> Option<F::Output> {
    let started = Instant::now();
    let output = tokio::select! {
        biased;
        output = waiting => Some(output),
        () = around.ctx.shutdown.requested() => None,
    };
    let waited = started.elapsed();
    counters.back_pressure(waited);
    if waited >= DEAF_MIN {
        session.was_not_listened_to(waited);
        info!(?waited, "the bus took nothing for a while; the feed was not read meanwhile");
    }
    output
}
