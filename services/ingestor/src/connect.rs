//! From an address to a WebSocket.

use std::path::Path;
use std::time::Duration;

use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config};
use venues::coinbase::FRAME_BYTES_MAX;

use crate::Error;

/// A connection to the exchange.
pub(crate) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Why a connection was not made; always worth another attempt.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The exchange did not answer, or not as a WebSocket server does.
    #[error("{address} cannot be reached")]
    Unreachable {
        /// Where it should be.
        address: String,
        /// Why.
        #[source]
        source: Box<tungstenite::Error>,
    },
    /// It took too long.
    #[error("{address} did not answer within {} s", timeout.as_secs_f32())]
    TimedOut {
        /// Where it should be.
        address: String,
        /// How long was waited.
        timeout: Duration,
    },
}

/// How to reach the exchange; checked, but not connected.
pub(crate) struct Address {
    url: String,
    connector: Connector,
    timeout: Duration,
}

impl Address {
    /// The trusted certificates are read once, here.
    pub(crate) fn new(url: &str, ca_file: Option<&Path>, timeout: Duration) -> Result<Self, Error> {
        let invalid = || Error::Address { url: url.to_owned() };
        let request = url.into_client_request().map_err(|_| invalid())?;
        let connector = match (request.uri().scheme_str(), request.uri().host()) {
            (Some("ws"), Some(_)) => Connector::Plain,
            (Some("wss"), Some(_)) => Connector::Rustls(runtime::tls::client_config(ca_file)?),
            _ => return Err(invalid()),
        };
        Ok(Self { url: url.to_owned(), connector, timeout })
    }

    pub(crate) async fn connect(&self) -> Result<Socket, ConnectError> {
        let limits = WebSocketConfig::default()
            .max_message_size(Some(FRAME_BYTES_MAX))
            .max_frame_size(Some(FRAME_BYTES_MAX));
        let connector = Some(self.connector.clone());
        let connecting = connect_async_tls_with_config(self.url.as_str(), Some(limits), true, connector);
        // The future of a TLS handshake is large.
        match timeout(self.timeout, Box::pin(connecting)).await {
            Ok(Ok((socket, _response))) => Ok(socket),
            Ok(Err(error)) => {
                Err(ConnectError::Unreachable { address: self.url.clone(), source: Box::new(error) })
            }
            Err(_) => Err(ConnectError::TimedOut { address: self.url.clone(), timeout: self.timeout }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_scheme_and_a_host() {
        let new = |url| Address::new(url, None, Duration::from_secs(1));
        assert!(new("ws://127.0.0.1:1/path").is_ok());
        for bad in ["", "127.0.0.1:1", "http://127.0.0.1", "ws://", "wss:///x", "ws://a b"] {
            assert!(matches!(new(bad), Err(Error::Address { url }) if url == bad), "{bad}");
        }
    }

    #[tokio::test]
    async fn who_does_not_answer_is_named() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}", silent.local_addr().unwrap());
        let waiting = Address::new(&url, None, Duration::from_millis(50)).unwrap();
        assert!(
            matches!(waiting.connect().await, Err(ConnectError::TimedOut { address, .. }) if address == url)
        );
        drop(silent);
        let refused = Address::new(&url, None, Duration::from_secs(10)).unwrap();
        assert!(
            matches!(refused.connect().await, Err(ConnectError::Unreachable { address, .. }) if address == url)
        );
    }
}
