//! From an HTTP request to a WebSocket.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use futures::{SinkExt, StreamExt};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use hyper_util::rt::TokioIo;
use live::LiveFeed;
use runtime::{Shutdown, config::Secret};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        handshake::derive_accept_key,
        protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode},
    },
};
use tokio_util::task::TaskTracker;
use tracing::debug;

use super::{admission, frame::Numbers, session::Session};
use crate::{
    Config,
    access::{Caller, Guard, subprotocol_token},
    clients::{Places, Transport},
};

/// The longest message that a client may send.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// What is read from a socket at a time; requests are small, and there may be many clients.
const READ_BUFFER_BYTES: usize = 4 * 1024;
/// How much is gathered before it is written, unless there is nothing more to send.
const WRITE_BUFFER_BYTES: usize = 32 * 1024;
/// What may wait for a client that does not read; with the buffers of the system this bounds what a stuck client costs.
const WRITE_BUFFER_BYTES_MAX: usize = 512 * 1024;
/// The subprotocol of JSON, which is also spoken without one.
const JSON: &str = "ledgerflux.v1.json";
/// How long a client that is turned away may take to be told.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(2);

/// What every session needs.
#[derive(Clone, Debug)]
pub(crate) struct Sessions {
    pub(crate) config: Arc<Config>,
    pub(crate) guard: Guard,
    pub(crate) feed: LiveFeed,
    pub(crate) places: Places,
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
    let numbers = numbers(request.uri().query());
    let shown = match (request.extensions_mut().remove::<Caller>(), subprotocol_token(request.headers())) {
        (Some(caller), _) => admission::Shown::Caller(caller),
        (None, Some(token)) => admission::Shown::Token(Secret::new(token)),
        (None, None) => admission::Shown::Nothing,
    };
    let is_json_offered = admission::offers(request.headers(), JSON);
    // It is one of its address for as long as it is open.
    let held = request.extensions_mut().remove::<runtime::http::Held>();
    let upgrade = hyper::upgrade::on(&mut request);
    let tracker = sessions.tracker.clone();
    tracker.spawn(async move {
        match upgrade.await {
            Ok(upgraded) => serve(TokioIo::new(upgraded), sessions, shown, numbers).await,
            Err(error) => debug!(%error, "a client left before it was upgraded"),
        }
        drop(held);
    });
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    if is_json_offered {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(JSON));
    }
    response
}

async fn serve(
    io: TokioIo<hyper::upgrade::Upgraded>,
    sessions: Sessions,
    shown: admission::Shown,
    numbers: Numbers,
) {
    let limits = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .max_write_buffer_size(WRITE_BUFFER_BYTES_MAX)
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX));
    let mut socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(limits)).await;
    let Some(client) = sessions.places.enter(Transport::WebSocket) else {
        let close = CloseFrame { code: CloseCode::Again, reason: "too many clients, try again later".into() };
        return turn_away(socket, close).await;
    };
    match admission::admit(&mut socket, &sessions, shown).await {
        Ok(admitted) => Session::new(socket, &sessions, client, admitted, numbers).run().await,
        Err(close) => turn_away(socket, close).await,
    }
}

/// A client that is turned away need not take the news.
async fn turn_away(mut socket: WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>, close: CloseFrame) {
    let told = async {
        if socket.send(Message::Close(Some(close))).await.is_ok() {
            // What it sent already would make the system cut the connection before the close is read.
            while let Some(Ok(_)) = socket.next().await {}
        }
    };
    drop(tokio::time::timeout(REFUSAL_TIMEOUT, told).await);
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
    fn the_notation_is_chosen_by_the_address() {
        assert_eq!(numbers(None), Numbers::Number);
        assert_eq!(numbers(Some("a=b&numbers=string")), Numbers::Text);
        assert_eq!(numbers(Some("numbers=number")), Numbers::Number);
    }
}
