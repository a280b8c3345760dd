//! From an HTTP request to a WebSocket.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use live::LiveFeed;
use runtime::{Shutdown, http::Held};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::{
    handshake::derive_accept_key,
    protocol::{CloseFrame, WebSocketConfig, frame::coding::CloseCode},
};
use tokio_util::task::TaskTracker;
use tracing::debug;

use super::{
    admission::{self, Shown},
    cadence::Cadence,
    dialect::{Dialect, JSON, PROTOBUF},
    frame::Numbers,
    session::Session,
    wire::Wire,
};
use crate::{
    Config,
    access::Guard,
    clients::{Places, Transport},
};

/// The longest message that a client may send: a request with the longest token.
const MESSAGE_BYTES_MAX: usize = 256 * 1024;
/// What is read from a socket at a time; requests are small, and there may be many clients.
const READ_BUFFER_BYTES: usize = 1024;
/// Through the library go pongs and the close only.
const WRITE_BUFFER_BYTES: usize = 1024;
const WRITE_BUFFER_BYTES_MAX: usize = 16 * 1024;
/// What the system holds for a client that does not read; it takes twice that.
const SEND_BUFFER_BYTES: usize = 128 * 1024;
/// How long a client that is turned away may take to be told.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(2);

/// What every session needs.
#[derive(Clone, Debug)]
pub(crate) struct Sessions {
    pub(crate) config: Arc<Config>,
    pub(crate) guard: Guard,
    pub(crate) feed: LiveFeed,
    pub(crate) places: Places,
    pub(crate) cadence: Cadence,
    pub(crate) shutdown: Shutdown,
    /// Owns the sessions: the gateway ends when the last of them has.
    pub(crate) tracker: TaskTracker,
}

/// The handler of `/ws`.
pub(crate) async fn upgrade(State(sessions): State<Sessions>, mut request: Request) -> Response {
    let accept = match accept_key(request.method(), request.headers()) {
        Ok(accept) => accept,
        Err(refusal) => return *refusal,
    };
    let (dialect, protocol) = dialect(request.headers(), request.uri().query());
    let shown = Shown::of(&mut request);
    // It is one of its address for as long as it is open.
    let held = request.extensions_mut().remove::<Held>();
    let upgrade = hyper::upgrade::on(&mut request);
    let tracker = sessions.tracker.clone();
    tracker.spawn(async move {
        match upgrade.await {
            Ok(upgraded) => take_over(upgraded, sessions, shown, dialect).await,
            Err(error) => debug!(%error, "a client left before it was upgraded"),
        }
        drop(held);
    });
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    if let Some(protocol) = protocol {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    }
    response
}

/// Serves the client on its own socket where there is one, and through what lies around it otherwise.
async fn take_over(upgraded: Upgraded, sessions: Sessions, shown: Shown, dialect: Dialect) {
    match runtime::http::take_over(upgraded) {
        Ok((connection, read)) => {
            let socket = SockRef::from(connection.socket());
            if let Err(error) = socket.set_send_buffer_size(SEND_BUFFER_BYTES) {
                debug!(%error, "the send buffer of a client keeps its size");
            }
            serve(connection, read, sessions, shown, dialect).await;
        }
        Err(upgraded) => serve(TokioIo::new(upgraded), Vec::new(), sessions, shown, dialect).await,
    }
}

/// `read` is what the client has sent already.
pub(super) async fn serve<S>(io: S, read: Vec<u8>, sessions: Sessions, shown: Shown, dialect: Dialect)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let limits = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .max_write_buffer_size(WRITE_BUFFER_BYTES_MAX)
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX));
    let mut wire = Wire::new(io, read, limits).await;
    let refused = match sessions.places.enter(Transport::WebSocket) {
        Some(client) => match admission::admit(&mut wire, &sessions, shown).await {
            Ok(admitted) => {
                let session = Box::new(Session::new(wire, &sessions, client, admitted, dialect));
                return session.run().await;
            }
            Err(close) => close,
        },
        None => CloseFrame { code: CloseCode::Again, reason: "too many clients, try again later".into() },
    };
    // A client that is turned away need not take the news.
    drop(tokio::time::timeout(REFUSAL_TIMEOUT, wire.close(refused)).await);
}

/// The answer to the client's key, or what is wrong with the handshake (RFC 6455, 4.2.1).
fn accept_key(method: &Method, headers: &HeaderMap) -> Result<HeaderValue, Box<Response>> {
    let says = |name, token: &str| {
        headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(token)))
    };
    let wants = says(header::CONNECTION, "upgrade") && says(header::UPGRADE, "websocket");
    if method != Method::GET || !wants {
        let mut response =
            refuse(StatusCode::UPGRADE_REQUIRED, "this is a WebSocket endpoint, over HTTP/1.1\n");
        response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        return Err(response.into());
    }
    if !says(header::SEC_WEBSOCKET_VERSION, "13") {
        let mut response =
            refuse(StatusCode::UPGRADE_REQUIRED, "only version 13 of the protocol is spoken here\n");
        response.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        return Err(response.into());
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY).filter(|key| !key.is_empty());
    key.and_then(|key| HeaderValue::from_str(&derive_accept_key(key.as_bytes())).ok())
        .ok_or_else(|| refuse(StatusCode::BAD_REQUEST, "Sec-WebSocket-Key is missing\n").into())
}

fn refuse(status: StatusCode, why: &'static str) -> Response {
    (status, Body::from(why)).into_response()
}

/// How the client wants to be spoken to, and the subprotocol to answer with: the first of its own that is known here.
fn dialect(headers: &HeaderMap, query: Option<&str>) -> (Dialect, Option<&'static str>) {
    let offered = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let mut offered = offered.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let known = offered.find_map(|name| [PROTOBUF, JSON].into_iter().find(|known| *known == name.trim()));
    match known {
        Some(PROTOBUF) => (Dialect::Protobuf, known),
        _ => (Dialect::Json(numbers(query)), known),
    }
}

/// `?numbers=string` writes prices, sizes and times as strings.
fn numbers(query: Option<&str>) -> Numbers {
    let text = query.is_some_and(|query| query.split('&').any(|pair| pair == "numbers=string"));
    if text { Numbers::Text } else { Numbers::Number }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn the_handshake_is_that_of_rfc_6455() {
        let good = [
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "WebSocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        let accept = accept_key(&Method::GET, &headers(&good)).unwrap();
        assert_eq!(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        for left_out in 0..good.len() {
            let pairs: Vec<_> =
                good.iter().enumerate().filter(|(at, _)| *at != left_out).map(|(_, pair)| *pair).collect();
            let refused = accept_key(&Method::GET, &headers(&pairs)).unwrap_err().status();
            assert!(refused.is_client_error(), "without {}: {refused}", good[left_out].0);
        }
        assert!(accept_key(&Method::POST, &headers(&good)).is_err());
    }

    #[test]
    fn the_first_known_subprotocol_is_spoken() {
        let offered = |value| dialect(&headers(&[("sec-websocket-protocol", value)]), None);
        assert_eq!(offered("chat, ledgerflux.v1.proto"), (Dialect::Protobuf, Some(PROTOBUF)));
        let json = Dialect::Json(Numbers::Number);
        assert_eq!(offered("ledgerflux.v1.json,ledgerflux.v1.proto"), (json, Some(JSON)));
        // A credential is never what is answered.
        assert_eq!(offered("ledgerflux.bearer.x, ledgerflux.v1.proto"), (Dialect::Protobuf, Some(PROTOBUF)));
        assert_eq!(offered("ledgerflux.bearer.x"), (json, None));
        assert_eq!(offered("chat"), (json, None));
        assert_eq!(dialect(&HeaderMap::new(), Some("numbers=string")), (Dialect::Json(Numbers::Text), None));
    }

    #[test]
    fn the_notation_is_chosen_by_the_address() {
        assert_eq!(numbers(None), Numbers::Number);
        assert_eq!(numbers(Some("a=b&numbers=string")), Numbers::Text);
        assert_eq!(numbers(Some("numbers=number")), Numbers::Number);
    }
}
