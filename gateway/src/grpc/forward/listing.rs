//! What a caller that may see some products only is told of `ListProducts`: those.
//!
//! A page is query's page without the others, so that it may be shorter than asked for, or empty with more to come. Only for
//! such callers is an answer decoded.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use prost::Message as _;
use proto::v1::ListProductsResponse;
use tokio::time::{Instant, timeout_at};
use tonic::{Status, body::Body};

use super::{call::Call, status};
use crate::access::Caller;

const METHOD: &str = "ListProducts";
/// The longest page: a thousand products are far below.
const PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Whether it is compressed, and the length.
const HEAD_BYTES: usize = 5;

/// Whether the answer has to be narrowed.
pub(super) fn concerns(call: &Call, caller: &Caller) -> bool {
    call.method() == METHOD && caller.only().is_some()
}

/// The answer of query without what `caller` may not see.
pub(super) async fn narrowed(
    answer: Response<Body>,
    caller: &Caller,
    deadline: Instant,
) -> Result<Response<Body>, Status> {
    let (mut parts, body) = answer.into_parts();
    let collected = timeout_at(deadline, Limited::new(body, PAGE_BYTES_MAX).collect()).await;
    let collected = collected
        .map_err(|_| status::query_timeout())?
        .map_err(|error| Status::unavailable(format!("the answer of query breaks off: {error}")))?;
    let trailers = collected.trailers().cloned();
    let body = collected.to_bytes();
    if body.is_empty() {
        // An error, which stands in the headers or trailers.
        return Ok(Response::from_parts(parts, whole(body, trailers)));
    }
    let mut page = page(&body).ok_or_else(|| Status::internal("query answered with something unexpected"))?;
    page.products.retain(|product| {
        proto::requested_instrument(&product.venue, &product.product)
            .is_ok_and(|instrument| caller.allows(&instrument))
    });
    parts.headers.remove(http::header::CONTENT_LENGTH);
    Ok(Response::from_parts(parts, whole(framed(&page), trailers)))
}

fn page(body: &[u8]) -> Option<ListProductsResponse> {
    match body.split_at_checked(HEAD_BYTES)? {
        ([0, ..], message) => ListProductsResponse::decode(message).ok(),
        _ => None,
    }
}

fn framed(page: &ListProductsResponse) -> Bytes {
    let message = page.encode_to_vec();
    let mut frame = BytesMut::with_capacity(HEAD_BYTES + message.len());
    frame.extend_from_slice(&[0]);
    // Bounded by what was taken in.
    frame.extend_from_slice(&u32::try_from(message.len()).unwrap_or_default().to_be_bytes());
    frame.extend_from_slice(&message);
    frame.freeze()
}

fn whole(body: Bytes, trailers: Option<HeaderMap>) -> Body {
    Body::new(Full::new(body).with_trailers(async move { trailers.map(Ok) }))
}
