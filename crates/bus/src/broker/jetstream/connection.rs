//! What happens to the connection, and what that means to those who read.

use std::sync::atomic::{AtomicBool, Ordering};

use async_nats::jetstream::consumer::pull;
use futures::StreamExt as _;
use tokio::sync::watch;

use crate::metrics;

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
            event => tracing::warn!(%event, "broker connection"),
        }
    }
}

/// Why the messages of a reader are not complete, so that it has to start anew.
#[derive(Debug, thiserror::Error)]
pub(super) enum Disorder {
    #[error("the server ended the messages")]
    Ended,
    #[error("the connection was lost, and with it what was on its way")]
    Reconnected,
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
