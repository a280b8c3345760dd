//! Connecting to a nats-server.

use thiserror::Error;

use crate::{Broker, Bus, Config, ServerUrl, broker::jetstream::JetStream};

/// Why there is no connection to the broker.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The configuration names no nats-server.
    #[error("no nats-server is configured")]
    NoServer,
    /// The server cannot be reached or refuses the connection.
    #[error("nats-server {url} cannot be reached")]
    Unreachable {
        /// Which server.
        url: ServerUrl,
        /// Why.
        #[source]
        source: async_nats::ConnectError,
    },
    /// The server is reached, but JetStream is not there.
    #[error("nats-server {url} does not offer jetstream")]
    NoJetStream {
        /// Which server.
        url: ServerUrl,
        /// What it says.
        #[source]
        source: async_nats::jetstream::context::AccountError,
    },
    /// The server takes only messages that are too small for a batch.
    #[error("nats-server {url} takes messages of at most {found} bytes, needed: {needed}")]
    PayloadLimit {
        /// Which server.
        url: ServerUrl,
        /// Its limit.
        found: usize,
        /// The size of the largest message with its headers.
        needed: usize,
    },
}

impl Bus {
    /// Connects to the configured nats-server: one attempt of a few seconds. A connection that is lost later comes
    /// back by itself.
    pub async fn connect(config: &Config) -> Result<Self, ConnectError> {
        let broker = JetStream::connect(config).await?;
        Ok(Self::new(Broker::JetStream(Box::new(broker)), config))
    }
}
