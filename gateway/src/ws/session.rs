//! One WebSocket client, from its first request to the close.

use std::{pin::pin, sync::Arc, time::Duration};

use live::{Delivery, Ended, Policy, Subscription};
use metrics::counter;
use runtime::Shutdown;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until, timeout},
};
use tokio_tungstenite::tungstenite::{Error as SocketError, Message};
use tracing::debug;

use super::{
    admission::Admitted,
    cadence::Beat,
    dialect::Dialect,
    end::End,
    patience::{Patience, Verdict},
    refusal::Refusal,
    upgrade::Sessions,
    wire::{Frame, Wire},
};
use crate::{Config, clients::Client, metrics as names};

/// How many frames are written before the client's own requests are looked at again.
const BATCH_MAX: usize = 256;
/// How long a client may take to answer a close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// A write that took this long had to wait for the client.
const SIGN_OF_LIFE: Duration = Duration::from_secs(1);

/// A connected client. It has no queue: what is not read from the subscription stays in the shared ring.
pub(super) struct Session<S> {
    pub(super) wire: Wire<S>,
    pub(super) subscription: Subscription,
    pub(super) feed: live::LiveFeed,
    pub(super) config: Arc<Config>,
    pub(super) dialect: Dialect,
    pub(super) policy: Policy,
    /// It is subscribed to every product, also to those to come.
    pub(super) is_of_all: bool,
    pub(super) wants_events: bool,
    pub(super) admitted: Admitted,
    shutdown: Shutdown,
    client: Client,
    patience: Patience,
    beat: Beat,
    /// From where the client can go on without the batch that is read next, while that may be more than its quota allows.
    pub(super) unsent_from: Option<String>,
    /// Until then nothing more is read from the subscription.
    rests_until: Option<Instant>,
    last_heard: Instant,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    pub(super) fn new(
        mut wire: Wire<S>,
        sessions: &Sessions,
        client: Client,
        admitted: Admitted,
        dialect: Dialect,
    ) -> Self {
        wire.let_in();
        let policy = admitted.policy(sessions.config.conflate());
        let mut session = Self {
            wire,
            subscription: Subscription::idle(&sessions.feed, policy),
            feed: sessions.feed.clone(),
            config: Arc::clone(&sessions.config),
            dialect,
            policy,
            is_of_all: false,
            wants_events: false,
            admitted,
            shutdown: sessions.shutdown.clone(),
            client,
            patience: Patience::default(),
            beat: sessions.cadence.beat(),
            unsent_from: None,
            rests_until: None,
            last_heard: Instant::now(),
        };
        if dialect == Dialect::Protobuf {
            session.set_wants_events();
        }
        session
    }

    /// Whether there is anything to wait for: who is connected only costs no work.
    pub(super) fn is_subscribed(&self) -> bool {
        self.is_of_all || self.subscription.products() > 0
    }

    /// Boxed, because a future keeps what it is given more than once.
    pub(super) async fn run(mut self: Box<Self>) {
        let mut ended = None;
        let end = self.serve(&mut ended).await;
        self.farewell(end, ended.as_ref());
        if let End::Access(ended) = end {
            counter!(names::ACCESS_ENDED, "reason" => ended.as_str()).increment(1);
        }
        counter!(names::CLOSED, "reason" => end.as_str()).increment(1);
        debug!(reason = end.as_str(), "a WebSocket client is gone");
        let Self { client, admitted, mut wire, .. } = *self;
        // The next one need not wait for a goodbye.
        drop((client, admitted));
        if let Some(close) = end.close() {
            // Whoever does not take the close in time is cut off.
            let told = Box::pin(async move { wire.close(close).await });
            drop(timeout(CLOSE_TIMEOUT, told).await);
        }
    }

    /// Serves the client to its end. `ended` is why the subscription ended, if that is why.
    async fn serve(&mut self, ended: &mut Option<Ended>) -> End {
        let mut pings = interval_at(Instant::now() + self.config.ping_interval, self.config.ping_interval);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let shutdown = self.shutdown.clone();
        let mut shutdown = pin!(shutdown.requested());
        let mut over = self.admitted.ended();
        loop {
            let step = async {
                self.send().await?;
                self.step(&mut pings, ended).await
            };
            let stepped = tokio::select! {
                // Looked at first: what is being sent need not be finished then.
                biased;
                () = &mut shutdown => Err(End::Restart),
                why = &mut over => Err(End::Access(why)),
                stepped = step => stepped,
            };
            if let Err(end) = stepped {
                return end;
            }
        }
    }

    /// Waits for what is next, and pushes what is to be sent because of it.
    async fn step(&mut self, pings: &mut Interval, ended: &mut Option<Ended>) -> Result<(), End> {
        let (is_subscribed, rests_until) = (self.is_subscribed(), self.rests_until);
        let may_be_too_many = self.policy == Policy::Lossless && self.admitted.is_low();
        self.unsent_from = may_be_too_many.then(|| self.subscription.token()).flatten();
        let subscription = &mut self.subscription;
        let batch = async {
            if let Some(until) = rests_until {
                sleep_until(until).await;
            }
            subscription.next_batch(BATCH_MAX).await
        };
        tokio::select! {
            message = self.wire.next() => self.heard(message),
            batch = batch, if is_subscribed => match batch {
                Ok(deliveries) => {
                    self.rests_until = self.beat.written(Instant::now());
                    self.deliver(&deliveries)
                }
                Err(why) => {
                    let end = End::of(&why);
                    *ended = Some(why);
                    Err(end)
                }
            },
            _ = pings.tick() => self.ping(),
        }
    }

    fn heard(&mut self, message: Option<Result<Message, SocketError>>) -> Result<(), End> {
        let message = message.ok_or(End::Left)??;
        let now = Instant::now();
        self.last_heard = now;
        match self.patience.hear(now.into_std()) {
            Verdict::Served => {}
            Verdict::Refused(refusal) => {
                if matches!(message, Message::Text(_) | Message::Binary(_)) {
                    self.refuse(&refusal);
                }
                return Ok(());
            }
            Verdict::Enough => return Err(End::Flood),
        }
        let answer = match message {
            Message::Text(text) => self.obey(&text),
            Message::Binary(bytes) => self.obey_binary(&bytes)?,
            // Pings are answered by the library, and a close is answered while the socket is read to its end.
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) | Message::Close(_) => Ok(None),
        };
        match answer {
            Ok(Some(reply)) => self.wire.push(reply),
            Ok(None) => {}
            Err(refusal) => self.refuse(&refusal),
        }
        Ok(())
    }

    pub(super) fn refuse(&mut self, refusal: &Refusal) {
        counter!(names::ERRORS, "code" => refusal.code.as_str()).increment(1);
        self.wire.push(Frame::text(&super::frame::error(refusal)));
    }

    fn deliver(&mut self, deliveries: &[Delivery]) -> Result<(), End> {
        // A client that conflates is held to its rate by the subscription.
        if self.policy == Policy::Lossless && !self.admitted.have_room(deliveries.len()) {
            return Err(End::Quota);
        }
        self.client.count(deliveries);
        for delivery in deliveries {
            self.dialect.encode(delivery, self.wants_events, |frame| self.wire.push(frame));
        }
        Ok(())
    }

    fn ping(&mut self) -> Result<(), End> {
        if self.last_heard.elapsed() >= self.config.idle_timeout {
            return Err(End::Idle);
        }
        self.wire.push(Frame::ping());
        Ok(())
    }

    /// Sends everything that was pushed. A client is waited for while it takes something off its socket now and then.
    async fn send(&mut self) -> Result<(), End> {
        let began = Instant::now();
        while self.wire.pending() > 0 {
            match timeout(self.config.write_timeout, self.wire.send()).await {
                Ok(sent) => sent?,
                Err(_) => return Err(End::Stuck),
            }
        }
        // Nothing of the client was read meanwhile; but it has made room, so that it lives.
        if began.elapsed() >= SIGN_OF_LIFE {
            self.last_heard = Instant::now();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
