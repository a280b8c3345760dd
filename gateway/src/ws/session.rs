//! One WebSocket client, from its first request to the close.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use live::{AddError, Delivery, Event, FellBehind, Start, Subscription};
use metrics::counter;
use runtime::Shutdown;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, MissedTickBehavior, interval_at, timeout},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error as SocketError, Message,
        protocol::{
            CloseFrame,
            frame::{
                Frame,
                coding::{CloseCode, Data, OpCode},
            },
        },
    },
};
use tracing::debug;

use super::{
    frame::{self, Numbers},
    refusal::{Code, Refusal},
    request::{Request, Selection, Subscribe, Want},
    upgrade::Sessions,
};
use crate::{Config, clients::Client, metrics as names};

/// How many frames are written before the client's own requests are looked at again.
const BATCH_MAX: usize = 256;
/// How long a client may take to answer a close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// A connected client. It has no queue: what is not read from the subscription stays in the shared ring.
pub(super) struct Session<S> {
    socket: WebSocketStream<S>,
    feed: live::LiveFeed,
    subscription: Subscription,
    config: Arc<Config>,
    shutdown: Shutdown,
    client: Client,
    numbers: Numbers,
    wants_events: bool,
    last_heard: Instant,
}

/// Why a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The client closed the connection or lost it.
    Left,
    /// The gateway ends.
    Restart,
    /// The client gave no sign of life.
    Idle,
    /// The client takes nothing off its socket.
    Stuck,
    /// A message is too long.
    TooLong,
    /// A binary message where text is due.
    Binary,
    /// Text that is not UTF-8.
    NotText,
    /// The client breaks the protocol.
    Protocol,
    /// The fault is ours.
    Internal,
}

impl End {
    fn as_str(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Restart => "restart",
            Self::Idle => "idle",
            Self::Stuck => "stuck",
            Self::TooLong => "too_long",
            Self::Binary => "binary",
            Self::NotText => "not_text",
            Self::Protocol => "protocol",
            Self::Internal => "internal",
        }
    }

    /// What the client is told, where it can still be told anything.
    fn close(self) -> Option<CloseFrame> {
        let (code, reason) = match self {
            Self::Left | Self::Stuck => return None,
            Self::Restart => (CloseCode::Restart, "the server restarts, connect again"),
            Self::Idle => (CloseCode::Policy, "no sign of life: answer pings"),
            Self::TooLong => (CloseCode::Size, "a message may have 64 KiB"),
            Self::Binary => (CloseCode::Unsupported, "requests are JSON text"),
            Self::NotText => (CloseCode::Invalid, "text must be UTF-8"),
            Self::Protocol => (CloseCode::Protocol, "that is no WebSocket frame"),
            Self::Internal => (CloseCode::Error, "an error inside the server, connect again"),
        };
        Some(CloseFrame { code, reason: reason.into() })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    pub(super) fn new(
        socket: WebSocketStream<S>,
        sessions: &Sessions,
        client: Client,
        numbers: Numbers,
    ) -> Self {
        Self {
            socket,
            feed: sessions.feed.clone(),
            subscription: Subscription::idle(&sessions.feed, sessions.config.conflate()),
            config: Arc::clone(&sessions.config),
            shutdown: sessions.shutdown.clone(),
            client,
            numbers,
            wants_events: false,
            last_heard: Instant::now(),
        }
    }

    pub(super) async fn run(mut self) {
        let end = self.serve().await;
        counter!(names::CLOSED, "reason" => end.as_str()).increment(1);
        debug!(reason = end.as_str(), "a WebSocket client is gone");
        if let Some(close) = end.close() {
            // Whoever does not take the close in time is cut off.
            drop(timeout(CLOSE_TIMEOUT, self.say_goodbye(close)).await);
        }
    }

    async fn serve(&mut self) -> End {
        let mut pings = interval_at(Instant::now() + self.config.ping_interval, self.config.ping_interval);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let done = tokio::select! {
                () = self.shutdown.requested() => Err(End::Restart),
                message = self.socket.next() => self.heard(message).await,
                batch = self.subscription.next_batch(BATCH_MAX) => match batch {
                    Ok(deliveries) => self.deliver(&deliveries).await,
                    Err(error) => Err(self.fail(&error).await),
                },
                _ = pings.tick() => self.ping().await,
            };
            if let Err(end) = done {
                return end;
            }
        }
    }

    async fn heard(&mut self, message: Option<Result<Message, SocketError>>) -> Result<(), End> {
        self.last_heard = Instant::now();
        match message {
            Some(Ok(Message::Text(text))) => match self.obey(&text) {
                Ok(Some(reply)) => self.write([reply]).await,
                Ok(None) => Ok(()),
                Err(refusal) => self.refuse(&refusal).await,
            },
            Some(Ok(Message::Binary(_))) => Err(End::Binary),
            // Pings are answered by the library, and a close is answered while the socket is read to its end.
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_) | Message::Close(_))) => Ok(()),
            Some(Err(SocketError::Capacity(_))) => Err(End::TooLong),
            Some(Err(SocketError::Utf8(_))) => Err(End::NotText),
            Some(Err(SocketError::Protocol(error))) => {
                debug!(%error, "a WebSocket client breaks the protocol");
                Err(End::Protocol)
            }
            Some(Err(_)) | None => Err(End::Left),
        }
    }

    async fn refuse(&mut self, refusal: &Refusal) -> Result<(), End> {
        counter!(names::ERRORS, "code" => refusal.code.as_str()).increment(1);
        self.write([frame::error(refusal)]).await
    }

    /// A conflating subscription always goes on, and WebSocket clients have no other. Should one end all the same, its
    /// client must not wait for ticks that will not come.
    async fn fail(&mut self, error: &FellBehind) -> End {
        self.refuse(&Refusal::internal(error)).await.err().unwrap_or(End::Internal)
    }

    /// Does what the client asks for; snapshots come with the next batch.
    fn obey(&mut self, text: &str) -> Result<Option<Bytes>, Refusal> {
        match Request::parse(text)? {
            Request::Ping(t) => return Ok(Some(frame::pong(&t))),
            Request::Subscribe(subscribe) => self.subscribe(subscribe)?,
            Request::Unsubscribe(Selection::All) => self.subscription.remove_all(),
            Request::Unsubscribe(Selection::These(instruments)) => {
                for instrument in &instruments {
                    self.subscription.remove(instrument);
                }
            }
        }
        Ok(None)
    }

    fn subscribe(&mut self, subscribe: Subscribe) -> Result<(), Refusal> {
        let start = if subscribe.want_snapshot { Start::Snapshot } else { Start::Now };
        self.check_room(&subscribe.selection)?;
        if let (Some(want), 0) = (subscribe.want, self.subscription.products()) {
            let policy = match want {
                Want::Lossless => live::Policy::Lossless,
                Want::Conflate => self.config.conflate(),
            };
            self.subscription = Subscription::idle(&self.feed, policy);
        }
        let instruments = match subscribe.selection {
            Selection::All => {
                self.subscription.add_all(start);
                BTreeSet::new()
            }
            Selection::These(instruments) => instruments,
        };
        let (placed, unplaced): (Vec<_>, Vec<_>) =
            instruments.into_iter().partition(|instrument| subscribe.from_seq.contains_key(instrument));
        // The starts that can fail come first, so that a refused request leaves no part of itself behind.
        let mut added = Vec::new();
        for instrument in placed {
            let sequence = subscribe.from_seq.get(&instrument).copied().unwrap_or_default();
            let known = self.subscription.contains(&instrument);
            let start = Start::Sequence(sequence);
            if let Err(error) = self.subscription.add(instrument.clone(), start) {
                for instrument in &added {
                    self.subscription.remove(instrument);
                }
                return Err(not_added(start, &error));
            }
            if !known {
                added.push(instrument);
            }
        }
        for instrument in unplaced {
            self.subscription.add(instrument, start).map_err(|error| not_added(start, &error))?;
        }
        self.wants_events |= subscribe.want_events;
        Ok(())
    }

    fn check_room(&self, selection: &Selection) -> Result<(), Refusal> {
        let Selection::These(instruments) = selection else {
            return Ok(());
        };
        let new = instruments.iter().filter(|instrument| !self.subscription.contains(instrument)).count();
        let (have, max) = (self.subscription.products(), self.config.products_max);
        if new > 0 && have + new > max {
            let message = format!("{} products are too many: a connection may have {max}", have + new);
            return Err(Refusal::new(Code::SubscribeError, message));
        }
        Ok(())
    }

    async fn deliver(&mut self, deliveries: &[Delivery]) -> Result<(), End> {
        self.client.count(deliveries);
        let (numbers, wants_events) = (self.numbers, self.wants_events);
        let frames = deliveries.iter().filter_map(|delivery| encode(delivery, numbers, wants_events));
        self.write(frames.collect::<Vec<_>>()).await
    }

    async fn ping(&mut self) -> Result<(), End> {
        if self.last_heard.elapsed() >= self.config.idle_timeout {
            return Err(End::Idle);
        }
        self.send([Message::Ping(Bytes::new())]).await
    }

    async fn write(&mut self, frames: impl IntoIterator<Item = Bytes>) -> Result<(), End> {
        // As ready-made frames, because these bytes are known to be UTF-8.
        let text = |bytes| Message::Frame(Frame::message(bytes, OpCode::Data(Data::Text), true));
        self.send(frames.into_iter().map(text)).await
    }

    /// Writes all messages with one flush. A client that does not read is waited for, but not for ever, and not when the
    /// gateway ends.
    async fn send(&mut self, messages: impl IntoIterator<Item = Message>) -> Result<(), End> {
        let socket = &mut self.socket;
        let sent = async {
            for message in messages {
                socket.feed(message).await?;
            }
            socket.flush().await
        };
        match self.shutdown.run_until(timeout(self.config.write_timeout, sent)).await {
            None => Err(End::Restart),
            Some(Err(_)) => Err(End::Stuck),
            Some(Ok(Err(_))) => Err(End::Left),
            Some(Ok(Ok(()))) => Ok(()),
        }
    }

    /// Sends the close and reads until the client has answered it.
    async fn say_goodbye(&mut self, close: CloseFrame) {
        if self.socket.close(Some(close)).await.is_ok() {
            while let Some(Ok(_)) = self.socket.next().await {}
        }
    }
}

/// Only a start at a sequence asks for something that may not be there; any other cannot fail.
fn not_added(start: Start, error: &AddError) -> Refusal {
    match start {
        Start::Sequence(_) => Refusal::new(
            Code::SubscribeError,
            format!("from_seq: {error}; what is older is history, served over gRPC"),
        ),
        Start::Now | Start::Snapshot => Refusal::internal(error),
    }
}

/// The frame of a delivery; `None` for an event that the client did not ask for.
fn encode(delivery: &Delivery, numbers: Numbers, wants_events: bool) -> Option<Bytes> {
    let counted = |frame: Bytes, skipped| {
        if skipped > 0 { frame::with_skipped(&frame, skipped) } else { frame }
    };
    Some(match delivery {
        Delivery::Tick { tick, skipped } => {
            let frame = tick.frame(numbers.encoding(), |tick| frame::incr(tick, numbers));
            counted(frame, *skipped)
        }
        Delivery::Snapshot { snapshot, skipped } => counted(frame::snapshot(snapshot, numbers), *skipped),
        Delivery::Event(Event::RateLimited { retry }) => frame::rate_limit(retry.as_millis().max(1)),
        Delivery::Event(_) if !wants_events => return None,
        Delivery::Event(Event::Feed(event)) => frame::feed_event(event, numbers),
        Delivery::Event(Event::Missed { instrument, .. }) => {
            frame::missed("missed", Some(instrument.product.as_str()), None)
        }
        Delivery::Event(Event::EventsSkipped(count)) => frame::missed("events_skipped", None, Some(*count)),
    })
}

#[cfg(test)]
mod tests;
