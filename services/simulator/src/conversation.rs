//! What is said over one WebSocket: the client's requests, and what is sent to it.

use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use metrics::counter;
use runtime::Shutdown;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, frame::Utf8Bytes};
use tracing::info;
use venues::coinbase::Request;

use crate::client::{Client, Farewell, Queued, Stall};
use crate::exchange::Exchange;
use crate::faults::Ending;
use crate::metrics::DISCONNECTS;
use crate::resettable::Reset;

/// How long a goodbye may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// How many requests of a client that is stalled are kept for later; then it is not read from.
const KEPT_MAX: usize = 16;
/// How many messages go into the write buffer before it is flushed.
const WRITTEN_AT_ONCE_MAX: usize = 64;

/// Talks to one client until it leaves, does not read, is disconnected by a fault, or the simulator stops.
pub(crate) async fn hold<S>(
    socket: WebSocketStream<S>,
    exchange: &Exchange,
    reset: &Reset,
    shutdown: &Shutdown,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (client, queued) = exchange.clients.join();
    if let Some((fault, until)) = exchange.faults.stalls_new() {
        client.stall(Stall { fault, until });
    }
    info!("a client connected");
    let mut conversation = Conversation { socket, client: &client, exchange, queued, kept: Vec::new() };
    let farewell = conversation.run(shutdown).await;
    exchange.clients.leave(&client);
    info!(why = farewell.as_str(), "a client is gone");
    conversation.close(farewell).await;
    if farewell == Farewell::Fault(Ending::Reset) {
        reset.set();
    }
}

struct Conversation<'a, S> {
    socket: WebSocketStream<S>,
    client: &'a Client,
    exchange: &'a Exchange,
    queued: mpsc::Receiver<Queued>,
    /// What it asked for while it is stalled.
    kept: Vec<Message>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Conversation<'_, S> {
    async fn run(&mut self, shutdown: &Shutdown) -> Farewell {
        let deadline = Instant::now() + self.exchange.subscribe_timeout;
        let mut subscribed = false;
        loop {
            let stall = self.client.stalled();
            if stall.is_none() {
                for message in std::mem::take(&mut self.kept) {
                    self.hear(&message);
                }
                subscribed = subscribed || self.exchange.clients.is_subscribed(self.client);
            }
            let (has_room, waits) = (self.kept.len() < KEPT_MAX, !self.kept.is_empty());
            tokio::select! {
                () = self.client.ended.cancelled() => return self.client.farewell(),
                () = shutdown.requested() => return Farewell::Shutdown,
                () = sleep_until(deadline), if !subscribed && !waits => {
                    counter!(DISCONNECTS, "reason" => "not_subscribed").increment(1);
                    return Farewell::NotSubscribed;
                }
                () = over(stall), if waits => {}
                Some(first) = self.queued.recv() => {
                    // A socket that takes nothing must not keep the client from being disconnected.
                    let client = self.client;
                    tokio::select! {
                        farewell = long_after(client, shutdown) => return farewell,
                        written = self.write(first) => if !written { return Farewell::ClientLeft },
                    }
                }
                received = self.socket.next(), if has_room => {
                    let Some(Ok(message)) = received else { return Farewell::ClientLeft };
                    if matches!(message, Message::Text(_) | Message::Binary(_)) {
                        self.kept.push(message);
                    }
                }
            }
        }
    }

    /// Writes what waits; says whether the connection still stands.
    async fn write(&mut self, first: Queued) -> bool {
        let mut next = Some(first);
        let mut written: usize = 0;
        while let Some((message, _room)) = next {
            if self.socket.feed(message).await.is_err() {
                return false;
            }
            written = written.saturating_add(1);
            next = if written < WRITTEN_AT_ONCE_MAX { self.queued.try_recv().ok() } else { None };
        }
        self.socket.flush().await.is_ok()
    }

    async fn write_queued(&mut self) {
        while let Ok(next) = self.queued.try_recv() {
            if !self.write(next).await {
                return;
            }
        }
    }

    fn hear(&self, message: &Message) {
        // The exchange understands text only; empty text is the nearest to what a binary message means to it.
        let text = if let Message::Text(text) = message { text.as_str() } else { "" };
        let Exchange { clients, faults, .. } = self.exchange;
        clients.request(self.client, Request::parse(text), faults);
        if clients.is_subscribed(self.client) {
            faults.count();
        }
    }

    async fn close(&mut self, farewell: Farewell) {
        let code = match farewell {
            // Its socket takes nothing more: a goodbye would only wait.
            Farewell::TooSlow | Farewell::ClientLeft => return,
            Farewell::NotSubscribed => Some(CloseCode::Policy),
            Farewell::Shutdown => Some(CloseCode::Away),
            Farewell::Fault(Ending::Close) => Some(CloseCode::Restart),
            Farewell::Fault(Ending::Cut | Ending::Reset) => None,
        };
        if matches!(farewell, Farewell::Shutdown | Farewell::Fault(_)) {
            // What was queued counts as sent in the ground truth.
            let _ = timeout(CLOSE_TIMEOUT, self.write_queued()).await;
        }
        let Some(code) = code else { return };
        let frame = CloseFrame { code, reason: Utf8Bytes::from_static(farewell.as_str()) };
        // Whether or not the goodbye arrives, the connection ends here.
        let _ = timeout(CLOSE_TIMEOUT, self.socket.close(Some(frame))).await;
    }
}

/// Ends when the stall is over; never, when there is none or it stays.
async fn over(stall: Option<Stall>) {
    match stall.and_then(|stall| stall.until) {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}

/// Ends some time after the connection or the simulator was to end: until then a write in progress may go on, because
/// what was queued counts as sent. A client that does not read gets no such time.
async fn long_after(client: &Client, shutdown: &Shutdown) -> Farewell {
    let farewell = tokio::select! {
        () = client.ended.cancelled() => client.farewell(),
        () = shutdown.requested() => Farewell::Shutdown,
    };
    if farewell != Farewell::TooSlow {
        sleep(CLOSE_TIMEOUT).await;
    }
    farewell
}
