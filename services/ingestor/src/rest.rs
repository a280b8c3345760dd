//! Asking the REST API of the exchange, within one budget for the whole process.
//!
//! It is plain HTTP/1.1 over one connection that is kept open between requests, made of what the WebSocket and the bus
//! need anyway (hyper, tokio-rustls with ring): at a few requests a second a pool of connections would have no work.

use std::path::Path;
use std::sync::{Mutex as SyncMutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::client::conn::http1::SendRequest;
use hyper::header::{ACCEPT, HOST, RETRY_AFTER, USER_AGENT};
use hyper::{Request, Response, body::Incoming};
use metrics::counter;
use runtime::Backoff;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::task::AbortOnDropHandle;
use venues::coinbase::rest::{ANSWER_BYTES_MAX, RestFault, check_status};

mod address;
mod fault;

use address::Line;
pub(crate) use address::RestBase;
pub(crate) use fault::AskError;

use crate::metrics::REST_REQUESTS;
use crate::pace::Pace;
use crate::{Config, Error};

/// The exchange refuses requests of nobody in particular.
const AGENT: &str = concat!("ledgerflux/", env!("CARGO_PKG_VERSION"));
/// How long the exchange is left alone after it failed, at first and at most.
const REST_MIN: Duration = Duration::from_secs(1);
const REST_MAX: Duration = Duration::from_secs(60);
/// The longest time off that the exchange may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(600);

/// The REST API of the exchange.
pub(crate) struct Rest {
    line: Line,
    timeout: Duration,
    pace: Pace,
    open: Mutex<Option<Open>>,
    pause: SyncMutex<Pause>,
}

/// A connection that serves requests one after another.
struct Open {
    sender: SendRequest<Empty<Bytes>>,
    _driver: AbortOnDropHandle<()>,
}

struct Pause {
    backoff: Backoff,
    until: Instant,
}

impl Rest {
    /// `None` when it is switched off.
    pub(crate) fn new(config: &Config) -> Result<Option<Self>, Error> {
        let Some(base) = RestBase::resolve(&config.rest_url, &config.url)? else { return Ok(None) };
        Self::at(&base, config.ca_file.as_deref(), config.rest_timeout, config.rest_rate_max).map(Some)
    }

    fn at(base: &RestBase, ca_file: Option<&Path>, limit: Duration, rate: u32) -> Result<Self, Error> {
        Ok(Self {
            line: Line::new(base, ca_file)?,
            timeout: limit,
            pace: Pace::new(rate, 1),
            open: Mutex::default(),
            pause: SyncMutex::new(Pause { backoff: Backoff::new(REST_MIN, REST_MAX), until: Instant::now() }),
        })
    }

    /// Asks for `path` and reads the answer with `read`. Waits for its turn, and for the end of the pause that a failure
    /// brings: whoever asks again after an error does it right.
    pub(crate) async fn ask<T>(
        &self,
        path: &str,
        read: impl FnOnce(&[u8]) -> Result<T, RestFault>,
    ) -> Result<T, AskError> {
        let mut open = self.open.lock().await;
        let until = self.lock_pause().until;
        sleep_until(until).await;
        self.pace.turn().await;
        let asked = match timeout(self.timeout, self.exchange(&mut open, path)).await {
            Ok(outcome) => outcome,
            Err(_) => {
                *open = None;
                Err(AskError::TimedOut(self.timeout))
            }
        };
        let outcome = asked.and_then(|body| read(&body).map_err(|fault| AskError::fault(fault, None)));
        self.judge(&outcome);
        outcome
    }

    /// After a failure that may heal, everybody pauses.
    fn judge<T>(&self, outcome: &Result<T, AskError>) {
        let label = match outcome {
            Ok(_) => "answered",
            Err(error) => error.as_str(),
        };
        counter!(REST_REQUESTS, "outcome" => label).increment(1);
        let mut pause = self.lock_pause();
        match outcome {
            Err(error) if error.is_retryable() => {
                let asked_for = error.retry_after().unwrap_or_default().min(RETRY_AFTER_MAX);
                let delay = asked_for + pause.backoff.next_delay();
                pause.until = Instant::now() + delay;
            }
            _ => pause.backoff.reset(),
        }
    }

    async fn exchange(&self, open: &mut Option<Open>, path: &str) -> Result<Bytes, AskError> {
        let mut connection = match open.take() {
            Some(kept) if !kept.sender.is_closed() => kept,
            _ => self.connect().await?,
        };
        connection.sender.ready().await.map_err(AskError::Broken)?;
        let request = Request::get(path)
            .header(HOST, self.line.authority())
            .header(USER_AGENT, AGENT)
            .header(ACCEPT, "application/json")
            .body(Empty::new())
            .map_err(|source| AskError::Request { path: path.to_owned(), source })?;
        let response = connection.sender.send_request(request).await.map_err(AskError::Broken)?;
        let (status, retry_after) = (response.status().as_u16(), retry_after(&response));
        let body = body(response).await?;
        *open = Some(connection);
        check_status(status, &body).map_err(|fault| AskError::fault(fault, retry_after))?;
        Ok(body)
    }

    async fn connect(&self) -> Result<Open, AskError> {
        let io = self.line.connect().await?;
        let (sender, connection) =
            hyper::client::conn::http1::handshake(io).await.map_err(AskError::Broken)?;
        // It ends with the connection; what ends it, the next request is told.
        let driver = AbortOnDropHandle::new(tokio::spawn(async move {
            let _ = connection.await;
        }));
        Ok(Open { sender, _driver: driver })
    }

    fn lock_pause(&self) -> std::sync::MutexGuard<'_, Pause> {
        self.pause.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn body(response: Response<Incoming>) -> Result<Bytes, AskError> {
    match Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(AskError::TooLong),
        Err(error) => Err(AskError::Body(error)),
    }
}

/// The seconds that the exchange asks for. The header may also hold a date, which nobody was seen to send.
fn retry_after(response: &Response<Incoming>) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    seconds.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests;
