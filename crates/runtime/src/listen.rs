//! Binding of listeners, with errors that say which key to change.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};
use tracing::debug;

/// A port that cannot be taken.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} ({key})")]
pub struct BindError {
    /// The address that was asked for.
    pub address: SocketAddr,
    /// The key of the configuration that names it.
    pub key: String,
    /// Why the system refused.
    #[source]
    pub source: std::io::Error,
}

/// Takes the port before any work begins; port 0 takes a free one. `key` is the key of the configuration that names the
/// address, for the error.
///
/// # Errors
/// When the address is in use, not one of this machine's, or not permitted.
pub async fn bind(address: SocketAddr, key: &str) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).await.map_err(|source| BindError { address, key: key.to_owned(), source })
}

/// Sends small messages at once instead of waiting for more. A connection that closed meanwhile is no reason to fail.
pub fn set_nodelay(stream: &TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "cannot set TCP_NODELAY");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_port_is_an_error_that_names_address_and_key() {
        let taken = bind(SocketAddr::from(([127, 0, 0, 1], 0)), "ops.listen").await.unwrap();
        let address = taken.local_addr().unwrap();
        let error = bind(address, "ops.listen").await.unwrap_err();
        assert_eq!(error.address, address);
        assert_eq!(error.key, "ops.listen");
        assert_eq!(error.source.kind(), std::io::ErrorKind::AddrInUse);
    }
}
