//! What happens to the connection, and what that means to those who read.

use std::{
    future::Future,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use async_nats::jetstream::consumer::pull;
use futures::StreamExt as _;
use tokio::sync::watch;

use super::JetStream;
use crate::{BrokerError, Reconnections, StreamKind, metrics, retry::cut};

/// After a connection came back, answers to what was asked before come within this time, or never: what was on its way
/// when it broke is lost, and what waited for it has been sent.
const ANSWERS_WITHIN: Duration = Duration::from_millis(250);
/// The longest wait before the next attempt to connect again.
const RECONNECT_DELAY_MAX: Duration = Duration::from_millis(500);

/// Watches the connection.
pub(super) struct Observer {
    was_lost: AtomicBool,
    reconnects: watch::Sender<u64>,
}

impl Observer {
    pub(super) fn new() -> (Self, watch::Receiver<u64>) {
        let (reconnects, receiver) = watch::channel(0);
        (Self { was_lost: AtomicBool::new(false), reconnects }, receiver)
    }

    pub(super) fn observe(&self, event: &async_nats::Event) {
        match event {
            async_nats::Event::Connected => {
                metrics::connected(true);
                if self.was_lost.swap(false, Ordering::Relaxed) {
                    self.reconnects.send_modify(|count| *count += 1);
                    tracing::info!("connected to the broker again");
                }
            }
            async_nats::Event::Disconnected => {
                metrics::connected(false);
                metrics::disconnected();
                self.was_lost.store(true, Ordering::Relaxed);
                tracing::warn!("connection to the broker lost");
            }
            // Attempts to connect again that fail: one line said that the connection is lost, and one will say that it is back.
            async_nats::Event::ClientError(error) => tracing::debug!(%error, "broker connection"),
            // Only we end it for good: a command that has its answer, a role that stops.
            async_nats::Event::Closed => tracing::debug!("the connection to the broker is closed"),
            event => tracing::warn!(%event, "broker connection"),
        }
    }
}

/// How long to wait before an attempt to connect again: doubles from 2 ms.
pub(super) fn reconnect_delay(attempts: usize) -> Duration {
    let doublings = u32::try_from(attempts.saturating_sub(1)).unwrap_or(u32::MAX);
    let delay = Duration::from_millis(2u64.saturating_pow(doublings)).min(RECONNECT_DELAY_MAX);
    if attempts <= 1 { Duration::ZERO } else { cut(delay) }
}

impl JetStream {
    pub(crate) fn reconnections(&self) -> Reconnections {
        Reconnections::of(self.reconnects.clone())
    }

    /// What `asked` answers, unless the connection is lost and comes back first: then the answer may never come, and it can
    /// be asked again at once.
    pub(super) async fn unless_lost<T>(&self, asked: impl Future<Output = T>) -> Result<T, Disorder> {
        let mut reconnections = self.reconnections();
        let lost = async {
            reconnections.next().await;
            tokio::time::sleep(ANSWERS_WITHIN).await;
        };
        tokio::select! {
            biased;
            answer = asked => Ok(answer),
            () = lost => Err(Disorder::Reconnected),
        }
    }

    /// The same for an operation of the broker.
    pub(crate) async fn ask<T>(
        &self,
        operation: &'static str,
        kind: StreamKind,
        asked: impl Future<Output = Result<T, BrokerError>>,
    ) -> Result<T, BrokerError> {
        let outcome = self.unless_lost(asked).await;
        let outcome = outcome.unwrap_or_else(|lost| Err(self.error(operation, kind, lost)));
        self.heard(outcome.is_ok()).await;
        outcome
    }
}

/// Why the broker has no answer, or the messages of a reader are not complete, so that it has to start anew.
#[derive(Debug, thiserror::Error)]
pub(super) enum Disorder {
    #[error("the server ended the messages")]
    Ended,
    #[error("the connection was lost, and with it what was on its way")]
    Reconnected,
    #[error("no replica of the stream leads at the moment")]
    Leaderless,
    #[error("delivery {found} came, expected: {expected}")]
    Skipped { expected: u64, found: u64 },
}

/// The next message of a reader, unless the connection was lost since it began.
pub(super) async fn next_message(
    messages: &mut pull::Stream,
    reconnects: &mut watch::Receiver<u64>,
) -> Result<async_nats::jetstream::Message, Box<dyn std::error::Error + Send + Sync>> {
    tokio::select! {
        biased;
        Ok(()) = reconnects.changed() => {
            // To be seen again by whoever asks again.
            reconnects.mark_changed();
            Err(Disorder::Reconnected.into())
        }
        next = messages.next() => Ok(next.ok_or(Disorder::Ended)??),
    }
}
