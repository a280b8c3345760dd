//! `MarketDataService`: forwarded to query as it comes in.
//!
//! Calls are passed on as HTTP, not decoded: metadata, deadline, trace context, message and error details arrive as they were
//! sent, and a method that query learns needs no change here.

use std::{convert::Infallible, error::Error as StdError, sync::Arc, task::Poll, time::Duration};

use futures::future::BoxFuture;
use http::{Request, Response, Version, header};
use http_body_util::Limited;
use metrics::counter;
use proto::v1::market_data_service_server::SERVICE_NAME;
use runtime::{ErrorChain, Latch, RoleContext};
use tonic::{
    Status, TimeoutExpired,
    body::Body,
    server::NamedService,
    transport::{Channel, ClientTlsConfig, Endpoint},
};
use tower::{Service, ServiceExt};
use tracing::debug;

use super::status;
use crate::{Config, Error, metrics as names};

/// The longest request: a page token and a list of products are far below.
const REQUEST_BYTES_MAX: usize = 1024 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// The service. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Forward {
    channel: Channel,
    /// Told, but no condition: live prices are served without history.
    reachable: Arc<Latch>,
}

impl Forward {
    /// Connects with the first call, and again whenever the connection is lost.
    pub(crate) fn new(config: &Config, ctx: &RoleContext) -> Result<Self, Error> {
        let mut endpoint = Endpoint::from(config.query.clone())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(config.query_timeout)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .tcp_nodelay(true);
        if config.query.scheme_str() == Some("https") {
            endpoint =
                endpoint.tls_config(ClientTlsConfig::new().with_native_roots()).map_err(Error::Query)?;
        }
        Ok(Self { channel: endpoint.connect_lazy(), reachable: Arc::new(ctx.readiness.note("query")) })
    }

    async fn forward(mut self, request: Request<Body>) -> Response<Body> {
        let answer = match self.channel.ready().await {
            Ok(channel) => channel.call(outgoing(request)).await,
            Err(error) => Err(error),
        };
        match answer {
            Ok(response) => {
                self.reachable.set_ready();
                counter!(names::FORWARDED, "outcome" => "answered").increment(1);
                response
            }
            Err(error) => self.failed(&error),
        }
    }

    fn failed(&self, error: &tonic::transport::Error) -> Response<Body> {
        let (outcome, status): (_, Status) = if is_timeout(error) {
            ("timeout", status::query_timeout())
        } else {
            self.reachable.set_waiting(ErrorChain(error).to_string());
            ("unreachable", status::query_unreachable())
        };
        debug!(error = %ErrorChain(error), "query did not answer");
        counter!(names::FORWARDED, "outcome" => outcome).increment(1);
        status::refuse(&status)
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
        Box::pin(async move { Ok(forward.forward(request).await) })
    }
}

/// The request as it goes to query: what belongs to the client's own connection stays behind.
fn outgoing(request: Request<Body>) -> Request<Body> {
    let (mut parts, body) = request.into_parts();
    parts.version = Version::HTTP_2;
    for name in [header::HOST, header::CONTENT_LENGTH, header::CONNECTION, header::TRANSFER_ENCODING] {
        // The length of a grpc-web body is that of its text form.
        parts.headers.remove(name);
    }
    parts.extensions.clear();
    Request::from_parts(parts, Body::new(Limited::new(body, REQUEST_BYTES_MAX)))
}

fn is_timeout(error: &tonic::transport::Error) -> bool {
    let mut cause: Option<&(dyn StdError + 'static)> = error.source();
    while let Some(error) = cause {
        if error.is::<TimeoutExpired>() {
            return true;
        }
        cause = error.source();
    }
    false
}
