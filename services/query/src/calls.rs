//! What every call goes through before and after its handler, whatever it is: a span, a count, a place, a deadline.
//!
//! A layer around all services, so that a call which no handler sees (an unknown method, a message that cannot be read) is
//! counted and answered like the others.

use std::{convert::Infallible, sync::Arc, task::Poll, time::Duration};

use futures::future::BoxFuture;
use http::{Request, Response};
use metrics::counter;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Status, body::Body};
use tower::{Layer, Service};
use tracing::Instrument as _;

use crate::{Config, errors, metrics as names};

use method::Method;
use watch::Watch;

mod answer;
mod deadline;
mod method;
mod trace;
mod watch;

/// Wraps all services of a server. Its limits hold over all connections.
#[derive(Clone, Debug)]
pub(crate) struct CallsLayer {
    gates: Arc<Gates>,
    timeout: Duration,
}

impl CallsLayer {
    pub(crate) fn new(config: &Config) -> Self {
        Self { gates: Arc::new(Gates::new(config)), timeout: config.call_timeout }
    }
}

impl<S> Layer<S> for CallsLayer {
    type Service = Calls<S>;

    fn layer(&self, inner: S) -> Calls<S> {
        Calls { inner, layer: self.clone() }
    }
}

/// How many calls may be in progress.
#[derive(Debug)]
struct Gates {
    calls: (Arc<Semaphore>, usize),
    streams: (Arc<Semaphore>, usize),
}

impl Gates {
    fn new(config: &Config) -> Self {
        let gate = |limit: usize| (Arc::new(Semaphore::new(limit)), limit);
        Self { calls: gate(config.calls_max), streams: gate(config.streams_max) }
    }

    /// A place for the call until its answer has been sent; refused at once when there is none. Health and reflection
    /// need none: a service that is busy is not a dead one.
    fn enter(&self, method: Method) -> Result<Option<OwnedSemaphorePermit>, Status> {
        let (what, (gate, limit)) = match method {
            Method::Data { streams: true, .. } => ("streams", &self.streams),
            Method::Data { streams: false, .. } => ("calls", &self.calls),
            Method::Health | Method::Reflection | Method::Unknown => return Ok(None),
        };
        let place = Arc::clone(gate).try_acquire_owned();
        place.map(Some).map_err(|_| {
            counter!(names::SHED, "limit" => what).increment(1);
            errors::overloaded(what, *limit)
        })
    }
}

/// The services of a server behind the layer.
#[derive(Clone, Debug)]
pub(crate) struct Calls<S> {
    inner: S,
    layer: CallsLayer,
}

impl<S> Service<Request<Body>> for Calls<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, context: &mut std::task::Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let method = Method::of(request.uri().path());
        let span = trace::span(method, request.headers());
        let mut watch = Watch::start(method, span.clone());
        let asked = deadline::asked(request.headers());
        let limit = asked.unwrap_or(self.layer.timeout).min(self.layer.timeout);
        let place = match method {
            Method::Unknown => Err(errors::unknown_method(request.uri().path())),
            _ => self.layer.gates.enter(method),
        };
        // Started here, so that it is over before that of the framework, which says less.
        let in_time = tokio::time::sleep(limit);
        // The one that has been asked whether it is ready is the one that is called.
        let ready = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, ready);
        let stream_deadline = asked.filter(|_| method.is_stream()).map(deadline::Deadline::after);
        let call = async move {
            let place = match place {
                Ok(place) => place,
                Err(status) => return Ok(watch.refuse(&status)),
            };
            let response = tokio::select! {
                response = inner.call(request) => response?,
                () = in_time => return Ok(watch.refuse(&errors::out_of_time(limit))),
            };
            watch.began();
            Ok(answer::finish(response, watch, place, stream_deadline))
        };
        Box::pin(call.instrument(span))
    }
}
