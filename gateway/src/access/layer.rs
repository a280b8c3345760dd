//! The one place where requests over HTTP, gRPC and grpc-web are let in.

use std::time::{Duration, Instant};

use axum::{
    body::Body,
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures::FutureExt as _;
use http::{HeaderValue, StatusCode, header};
use metrics::counter;
use runtime::http::Cut;
use tokio::time::sleep;
use tonic::Status;

use super::{Caller, Guard, Refused, Seat, credentials::header_token, status};
use crate::{grpc, metrics as names};

/// Probes ask for it, and have no key.
const HEALTH: &str = "/grpc.health.v1.Health/";
/// How long an answer may go on once the time of its caller is over, so that its end can be told. Whoever does not read is cut off
/// then.
const FAREWELL_MAX: Duration = Duration::from_millis(2_500);

/// What a route asks of those who call.
#[derive(Clone, Debug)]
pub(crate) enum Need {
    /// A caller.
    Caller(Guard),
    /// A caller if the request has credentials; the route sees to it that they come later, or goes without.
    IfGiven(Guard),
}

/// Puts the [`Caller`] of a request among its extensions, or refuses it.
pub(crate) async fn admit(State(need): State<Need>, mut request: Request, next: Next) -> Response {
    let (guard, is_needed) = match &need {
        Need::Caller(guard) => (guard, !request.uri().path().starts_with(HEALTH)),
        Need::IfGiven(guard) => (guard, false),
    };
    // Where nobody is asked, it does not matter what somebody else was shown, a proxy before us for one.
    let token = if guard.is_required() { header_token(request.headers()) } else { Ok(None) };
    match token.map_err(Refused::Invalid).and_then(|token| guard.check(token)) {
        Ok(caller) => {
            if let (true, Err(wait)) = (is_needed, caller.charge_call(Instant::now())) {
                counter!(names::QUOTA_REFUSED, "quota" => "calls").increment(1);
                return refuse(&request, &status::too_many_calls(wait), StatusCode::TOO_MANY_REQUESTS);
            }
            if let (Some(cut), false) = (request.extensions().get::<Cut>(), caller.is_anybody()) {
                cut.when(caller.clone().ended().then(|_| sleep(FAREWELL_MAX)));
            }
            request.extensions_mut().insert(caller);
        }
        Err(Refused::Missing) if !is_needed => {}
        Err(refused) => {
            counter!(names::AUTH_REFUSED, "reason" => refused.as_str()).increment(1);
            return refuse(&request, &status::unauthenticated(refused), StatusCode::UNAUTHORIZED);
        }
    }
    next.run(request).await
}

/// Whom [`admit`] let in.
pub(crate) fn caller_of(extensions: &http::Extensions) -> Result<Caller, Status> {
    // Every route of gRPC goes through `admit`; a request that did not gets nothing.
    extensions.get::<Caller>().cloned().ok_or_else(|| status::unauthenticated(Refused::Missing))
}

/// A stream of `caller`, if it may have one more.
pub(crate) fn sit_down(caller: &Caller) -> Result<Seat, Status> {
    caller.sit_down().map_err(|max| {
        counter!(names::QUOTA_REFUSED, "quota" => "connections").increment(1);
        status::too_many_connections(max)
    })
}

/// Refuses what comes from a page that may not call.
pub(crate) async fn check_origin(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    if guard.origins().allow(request.uri(), request.headers()) {
        return next.run(request).await;
    }
    counter!(names::ORIGIN_REFUSED).increment(1);
    refuse(&request, &status::origin_not_allowed(), StatusCode::FORBIDDEN)
}

/// An answer in the language of the caller: whoever speaks gRPC reads the status in headers, whatever HTTP says.
fn refuse(request: &Request, status: &Status, code: StatusCode) -> Response {
    let asked_as = request.headers().get(header::CONTENT_TYPE);
    if let Some(kind) = asked_as.filter(|kind| kind.as_bytes().starts_with(b"application/grpc")) {
        let mut response = grpc::status::refuse(status).map(Body::new);
        response.headers_mut().insert(header::CONTENT_TYPE, kind.clone());
        return response;
    }
    let mut response = (code, format!("{}\n", status.message())).into_response();
    if code == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}
