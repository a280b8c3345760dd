//! One connection: TLS, HTTP, and what becomes of it: answers of REST, or a WebSocket.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{Request, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics::counter;
use runtime::Shutdown;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tracing::debug;

use crate::conversation;
use crate::exchange::Exchange;
use crate::faults::live::Faults;
use crate::metrics::DISCONNECTS;
use crate::resettable::{Reset, Resettable};
use crate::rest::{Answer, complaint};

/// How long a client may take for the TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection may be idle before, and between, its requests.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest head of an HTTP request.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// A request that subscribes to every product of the exchange has some 10 KB.
const REQUEST_BYTES_MAX: usize = 64 * 1024;

/// Serves one connection until the client leaves, does not read, or the simulator stops.
pub(crate) async fn serve(
    stream: TcpStream,
    address: IpAddr,
    tls: Option<TlsAcceptor>,
    exchange: Arc<Exchange>,
    closing: Shutdown,
) {
    runtime::listen::set_nodelay(&stream);
    let reset = Reset::default();
    let stream = Resettable::new(stream, reset.clone());
    let outcome = match tls {
        Some(tls) => match timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
            Ok(Ok(stream)) => speak(stream, address, &exchange, &reset, &closing).await,
            Ok(Err(_)) | Err(_) => None,
        },
        None => speak(stream, address, &exchange, &reset, &closing).await,
    };
    if outcome.is_none() {
        counter!(DISCONNECTS, "reason" => "handshake").increment(1);
        debug!("a connection did not get as far as a request");
    }
}

/// Answers HTTP requests, and goes on as a WebSocket once a request asks for one. `None` when this is not HTTP.
async fn speak<S>(
    stream: S,
    address: IpAddr,
    exchange: &Arc<Exchange>,
    reset: &Reset,
    closing: &Shutdown,
) -> Option<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let upgrade: Arc<Mutex<Option<OnUpgrade>>> = Arc::default();
    let service = service_fn(|mut request: Request<Incoming>| {
        let (exchange, upgrade) = (Arc::clone(exchange), Arc::clone(&upgrade));
        async move {
            if !request.headers().contains_key(header::UPGRADE) {
                let Exchange { rest, faults, .. } = exchange.as_ref();
                return Ok::<_, Infallible>(
                    rest.answer(request.method(), request.uri(), address, faults).await,
                );
            }
            let answer = handshake(&request, &exchange.faults).await;
            if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
                *upgrade.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some(hyper::upgrade::on(&mut request));
            }
            Ok(answer)
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut served = pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = closing.requested() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    ended.ok()?;
    let Some(upgrade) = upgrade.lock().unwrap_or_else(PoisonError::into_inner).take() else {
        return Some(());
    };
    let parts = upgrade.await.ok()?.downcast::<TokioIo<S>>().ok()?;
    let config = WebSocketConfig::default()
        .read_buffer_size(8 * 1024)
        .max_message_size(Some(REQUEST_BYTES_MAX))
        .max_frame_size(Some(REQUEST_BYTES_MAX));
    let (stream, read) = (parts.io.into_inner(), parts.read_buf.to_vec());
    let socket = WebSocketStream::from_partially_read(stream, read, Role::Server, Some(config)).await;
    conversation::hold(socket, exchange, reset, closing).await;
    Some(())
}

/// The answer to a request for a WebSocket, on any path.
async fn handshake(request: &Request<Incoming>, faults: &Faults) -> Answer {
    faults.begin();
    if faults.outage().is_some() {
        return complaint(StatusCode::SERVICE_UNAVAILABLE, "Service unavailable");
    }
    if let Some(by) = faults.on_accept() {
        sleep(by).await;
    }
    create_response_with_body(request, Full::default)
        .unwrap_or_else(|error| complaint(StatusCode::BAD_REQUEST, &error.to_string()))
}
