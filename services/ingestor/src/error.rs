//! Why an ingestor cannot run at all; whatever may heal is retried instead.

use runtime::tls::TlsError;
use thiserror::Error;

/// Why an ingestor cannot run.
#[derive(Debug, Error)]
pub enum Error {
    /// The address of the exchange is none.
    #[error("{url:?} is no address of a feed: ws://HOST[:PORT] or wss://HOST[:PORT] (feed.source)")]
    Address {
        /// What was given.
        url: String,
    },
    /// The address of the REST API is none.
    #[error("{url:?} is no address of a REST API: http://HOST[:PORT] or https://HOST[:PORT] (feed.rest_url)")]
    RestAddress {
        /// What was given, or derived from the address of the feed.
        url: String,
    },
    /// There is nothing to subscribe to.
    #[error("no product is configured (feed.products)")]
    NoProducts,
    /// The certificates to trust cannot be used.
    #[error("the feed cannot be reached over TLS")]
    Tls(#[from] TlsError),
}
