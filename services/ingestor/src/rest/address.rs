//! Where the REST API is, and a line to it.

use std::path::Path;
use std::pin::Pin;

use hyper::Uri;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use venues::coinbase::rest::REST_LIVE_URL;

use super::AskError;
use crate::Error;
use crate::config::RestUrl;

/// The hosts of the exchange, the sandbox included.
const EXCHANGE_DOMAIN: &str = ".exchange.coinbase.com";
/// What the name of a feed's host begins with, and that of the API in its place.
const FEED_HOST: &str = "ws-feed";
const API_HOST: &str = "api";

/// The address of the REST API, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RestBase {
    is_secure: bool,
    host: String,
    port: u16,
    /// Host and port as the address has them.
    authority: String,
}

impl RestBase {
    /// Reads `http://HOST[:PORT]` or `https://HOST[:PORT]`.
    pub(crate) fn new(url: &str) -> Result<Self, Error> {
        Self::read(url).ok_or_else(|| Error::RestAddress { url: url.to_owned() })
    }

    /// The address that is configured, or the one that goes with the feed at `feed`; `None` when it is switched off.
    pub(crate) fn resolve(url: &RestUrl, feed: &str) -> Result<Option<Self>, Error> {
        match url {
            RestUrl::Off => Ok(None),
            RestUrl::At(url) => Self::new(url).map(Some),
            RestUrl::Auto => Self::new(&beside(feed)).map(Some),
        }
    }

    fn read(url: &str) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        let is_secure = match uri.scheme_str()? {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let host = uri.host().filter(|host| !host.is_empty())?.to_owned();
        let port = uri.port_u16().unwrap_or(if is_secure { 443 } else { 80 });
        let has_path = uri.path_and_query().is_some_and(|path| path.as_str() != "/");
        let authority = uri.authority().map(|authority| authority.as_str().to_owned())?;
        (!has_path && !authority.contains('@')).then_some(Self { is_secure, host, port, authority })
    }
}

/// The REST API that goes with a feed.
fn beside(feed: &str) -> String {
    let Ok(uri) = feed.parse::<Uri>() else { return feed.to_owned() };
    let host = uri.host().unwrap_or_default();
    match host.strip_suffix(EXCHANGE_DOMAIN) {
        Some("ws-feed" | "ws-direct") => REST_LIVE_URL.to_owned(),
        Some(name) => format!("https://{}{EXCHANGE_DOMAIN}", name.replacen(FEED_HOST, API_HOST, 1)),
        None => {
            let scheme = if uri.scheme_str() == Some("wss") { "https" } else { "http" };
            format!("{scheme}://{}", uri.authority().map_or("", |authority| authority.as_str()))
        }
    }
}

/// How to get there: the trusted certificates are read once.
pub(super) struct Line {
    base: RestBase,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

/// What a connection is made of, whichever kind it is.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send {}

impl<T: AsyncRead + AsyncWrite + Send> Stream for T {}

impl Line {
    pub(super) fn new(base: &RestBase, ca_file: Option<&Path>) -> Result<Self, Error> {
        let tls = match base.is_secure {
            true => {
                let host = base.host.trim_matches(['[', ']']).to_owned();
                let name = ServerName::try_from(host)
                    .map_err(|_| Error::RestAddress { url: base.authority.clone() })?;
                Some((TlsConnector::from(runtime::tls::client_config(ca_file)?), name))
            }
            false => None,
        };
        Ok(Self { base: base.clone(), tls })
    }

    pub(super) fn authority(&self) -> &str {
        &self.base.authority
    }

    pub(super) async fn connect(&self) -> Result<TokioIo<Pin<Box<dyn Stream>>>, AskError> {
        let unreachable = |source| AskError::Unreachable { address: self.base.authority.clone(), source };
        let host = self.base.host.trim_matches(['[', ']']);
        let stream = TcpStream::connect((host, self.base.port)).await.map_err(unreachable)?;
        let stream: Pin<Box<dyn Stream>> = match &self.tls {
            Some((connector, name)) => {
                Box::pin(connector.connect(name.clone(), stream).await.map_err(unreachable)?)
            }
            None => Box::pin(stream),
        };
        Ok(TokioIo::new(stream))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auto(feed: &str) -> String {
        beside(feed)
    }

    #[test]
    fn the_api_goes_with_the_feed() {
        assert_eq!(auto("wss://ws-feed.exchange.coinbase.com"), "https://api.exchange.coinbase.com");
        assert_eq!(
            auto("wss://ws-feed-public.sandbox.exchange.coinbase.com"),
            "https://api-public.sandbox.exchange.coinbase.com"
        );
        assert_eq!(auto("ws://127.0.0.1:8765/feed"), "http://127.0.0.1:8765");
        assert_eq!(auto("wss://localhost:1"), "https://localhost:1");
        assert_eq!(RestBase::resolve(&RestUrl::Off, "ws://a").unwrap(), None);
    }

    #[test]
    fn an_address_is_a_scheme_a_host_and_perhaps_a_port() {
        let base = RestBase::new("https://localhost").unwrap();
        assert_eq!((base.is_secure, base.host.as_str(), base.port), (true, "localhost", 443));
        assert_eq!(RestBase::new("http://[::1]:8080/").unwrap().port, 8080);
        for bad in ["", "localhost", "ws://a", "http://", "http://a/path", "http://u:p@a", "http://a b"] {
            assert!(matches!(RestBase::new(bad), Err(Error::RestAddress { url }) if url == bad), "{bad}");
        }
    }
}
