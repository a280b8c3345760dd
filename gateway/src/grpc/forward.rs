//! `MarketDataService`: forwarded to query as it comes in.
//!
//! Calls are passed on as HTTP, not decoded: metadata, trace context, message and error details arrive as they were sent, and a
//! method that query learns needs no change here. Between the caller and query lie, from the outside in: a bound on how
//! many calls are there, the deadline, the retry of what can be asked again ([`retry`]), and the choice among the instances
//! of query ([`pool`]).

mod answer;
mod call;
mod listing;
mod permission;
mod pool;
mod resolve;
mod retry;
#[cfg(test)]
mod tests;

use std::{convert::Infallible, sync::Arc, task::Poll};

use futures::future::BoxFuture;
use http::{Request, Response};
use metrics::counter;
use proto::v1::market_data_service_server::SERVICE_NAME;
use runtime::{Latch, RoleContext};
use tokio::sync::Semaphore;
use tonic::{Status, body::Body, server::NamedService};
use tower::{Service, ServiceBuilder, ServiceExt, retry::Retry};
use tracing::debug;

pub(crate) use pool::Pool;

use self::{
    answer::{Gathering, Stay},
    call::Call,
    retry::{Failure, Retries},
};
use super::status;
use crate::{
    Config,
    access::{self, Caller},
    metrics as names,
};

/// The service. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Forward {
    config: Arc<Config>,
    query: Retry<Retries, Gathering<Pool>>,
    places: Arc<Semaphore>,
    /// Told, but no condition: live prices are served without history.
    reachable: Arc<Latch>,
    /// Who calls where a request does not say so.
    caller: Option<Caller>,
}

impl Forward {
    pub(crate) fn new(config: &Arc<Config>, pool: Pool, ctx: &RoleContext) -> Self {
        let query = ServiceBuilder::new()
            .layer(tower::retry::RetryLayer::new(Retries::default()))
            .layer_fn(Gathering::new)
            .service(pool);
        Self {
            config: Arc::clone(config),
            query,
            places: Arc::new(Semaphore::new(config.forwarded_max)),
            reachable: Arc::new(ctx.readiness.note("query")),
            caller: None,
        }
    }

    /// The same for calls that the gateway makes itself, for subscriptions that were let in already. They have as many places of
    /// their own: calls of clients, however many, stop no resume. Never give it a request of somebody else.
    pub(crate) fn for_ourselves(&self) -> Self {
        let places = Arc::new(Semaphore::new(self.config.forwarded_max));
        Self { caller: Some(Caller::anonymous()), places, ..self.clone() }
    }

    async fn forward(self, mut request: Request<Body>) -> Result<Response<Body>, Status> {
        let caller = match self.caller.clone() {
            Some(ourselves) => ourselves,
            None => access::caller_of(request.extensions())?,
        };
        if caller.only().is_some() {
            // What has to be looked at, on the way there or back, comes as it is.
            request.headers_mut().remove("grpc-accept-encoding");
        }
        let call = Call::read(request, &self.config).await?;
        permission::check(&caller, &call).inspect_err(|_| {
            counter!(names::FORWARDED, "outcome" => "denied").increment(1);
        })?;
        // Not before the request is there: whoever dawdles with it takes nobody's place.
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            counter!(names::FORWARDED, "outcome" => "shed").increment(1);
            return Err(status::too_many_forwarded(self.config.forwarded_max));
        };
        // A stream of history is one like any other: it counts, and ends with the time of its caller.
        let stay = call.is_stream().then(|| Stay::new(&caller)).transpose()?;
        let deadline = call.deadline;
        let is_narrowed = listing::concerns(&call, &caller);
        let answered = tokio::time::timeout_at(deadline, self.query.oneshot(call)).await;
        let outcome = match answered {
            Ok(Ok(answer)) => {
                self.reachable.set_ready();
                counter!(names::FORWARDED, "outcome" => "answered").increment(1);
                let response = answer.into_response(place, stay);
                if is_narrowed {
                    return listing::narrowed(response, &caller, deadline).await;
                }
                return Ok(response);
            }
            Ok(Err(failure)) => failure,
            Err(_) => Failure::OutOfTime,
        };
        debug!(error = %outcome, "query did not answer");
        counter!(names::FORWARDED, "outcome" => outcome.as_str()).increment(1);
        Err(match outcome {
            Failure::OutOfTime => status::query_timeout(),
            Failure::Unreachable { .. } => {
                self.reachable.set_waiting(outcome.to_string());
                status::query_unreachable()
            }
        })
    }
}

impl NamedService for Forward {
    const NAME: &'static str = SERVICE_NAME;
}

impl Service<Request<Body>> for Forward {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let forward = self.clone();
        Box::pin(async move {
            Ok(forward.forward(request).await.unwrap_or_else(|refusal| status::refuse(&refusal)))
        })
    }
}
