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

use crate::clients::{Client, Clients, Queued};
use crate::metrics::DISCONNECTS;

/// How long a goodbye may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// How many messages go into the write buffer before it is flushed.
const WRITTEN_AT_ONCE_MAX: usize = 64;

/// Talks to one client until it leaves, does not read, or the simulator stops.
pub(crate) async fn hold<S>(
    socket: WebSocketStream<S>,
    clients: &Clients,
    subscribe_timeout: Duration,
    shutdown: &Shutdown,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (client, queued) = clients.join();
    info!("a client connected");
    let mut conversation = Conversation { socket, client: &client, clients, queued };
    let farewell = conversation.run(subscribe_timeout, shutdown).await;
    clients.leave(&client);
    info!(why = farewell.as_str(), "a client is gone");
    conversation.close(farewell).await;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Farewell {
    ClientLeft,
    NotSubscribed,
    TooSlow,
    Shutdown,
}

impl Farewell {
    fn as_str(self) -> &'static str {
        match self {
            Self::ClientLeft => "it left",
            Self::NotSubscribed => "it did not subscribe in time",
            Self::TooSlow => "it did not read",
            Self::Shutdown => "the simulator stops",
        }
    }
}

struct Conversation<'a, S> {
    socket: WebSocketStream<S>,
    client: &'a Client,
    clients: &'a Clients,
    queued: mpsc::Receiver<Queued>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Conversation<'_, S> {
    async fn run(&mut self, subscribe_timeout: Duration, shutdown: &Shutdown) -> Farewell {
        let deadline = Instant::now() + subscribe_timeout;
        let mut subscribed = false;
        loop {
            tokio::select! {
                () = self.client.too_slow.cancelled() => return Farewell::TooSlow,
                () = shutdown.requested() => return Farewell::Shutdown,
                () = sleep_until(deadline), if !subscribed => {
                    counter!(DISCONNECTS, "reason" => "not_subscribed").increment(1);
                    return Farewell::NotSubscribed;
                }
                Some(first) = self.queued.recv() => {
                    // A socket that takes nothing must not keep the client from being disconnected.
                    let client = self.client;
                    tokio::select! {
                        () = client.too_slow.cancelled() => return Farewell::TooSlow,
                        () = long_after(shutdown) => return Farewell::Shutdown,
                        written = self.write(first) => if !written { return Farewell::ClientLeft },
                    }
                }
                received = self.socket.next() => {
                    let Some(Ok(message)) = received else { return Farewell::ClientLeft };
                    self.hear(&message);
                    subscribed = subscribed || self.clients.is_subscribed(self.client);
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
        match message {
            Message::Text(text) => self.clients.request(self.client, &Request::parse(text)),
            // The exchange understands text only; empty text is the nearest to what a binary message means to it.
            Message::Binary(_) => self.clients.request(self.client, &Request::parse("")),
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => {}
        }
    }

    async fn close(&mut self, farewell: Farewell) {
        let code = match farewell {
            // Its socket takes nothing more: a goodbye would only wait.
            Farewell::TooSlow | Farewell::ClientLeft => return,
            Farewell::NotSubscribed => CloseCode::Policy,
            Farewell::Shutdown => CloseCode::Away,
        };
        if matches!(farewell, Farewell::Shutdown) {
            // What was queued counts as sent in the ground truth.
            let _ = timeout(CLOSE_TIMEOUT, self.write_queued()).await;
        }
        let frame = CloseFrame { code, reason: Utf8Bytes::from_static(farewell.as_str()) };
        // Whether or not the goodbye arrives, the connection ends here.
        let _ = timeout(CLOSE_TIMEOUT, self.socket.close(Some(frame))).await;
    }
}

/// Ends some time after the shutdown was requested: until then a write in progress may go on.
async fn long_after(shutdown: &Shutdown) {
    shutdown.requested().await;
    sleep(CLOSE_TIMEOUT).await;
}
