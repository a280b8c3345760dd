//! A call as it goes to query, which can be sent more than once.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version, header};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use tokio::time::{Instant, timeout_at};
use tonic::{Code, Status, body::Body};

use super::status;
use crate::{Config, access::SECRET_HEADERS};

/// The longest request: a page token and a list of products are far below. While it is read nothing else bounds what clients make us
/// hold.
const REQUEST_BYTES_MAX: usize = 256 * 1024;
const GRPC_TIMEOUT: &str = "grpc-timeout";

/// A call with its request in memory.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) path: Uri,
    headers: HeaderMap,
    pub(super) body: Bytes,
    /// Until when there must be an answer.
    pub(super) deadline: Instant,
    /// When the client itself gives up, if it says so.
    ends: Option<Instant>,
    /// The instances that did not answer it.
    pub(super) tried: Vec<SocketAddr>,
}

impl Call {
    /// Takes in the whole request: who dawdles with it is held to the same deadline.
    pub(super) async fn read(request: Request<Body>, config: &Config) -> Result<Self, Status> {
        let (longest, limit) = (config.query_timeout, config.request_timeout);
        let now = Instant::now();
        let (parts, body) = request.into_parts();
        let asked = parts.headers.get(GRPC_TIMEOUT).and_then(|value| value.to_str().ok());
        let ends = asked.and_then(proto::call_timeout).map(|timeout| now + timeout);
        let deadline = ends.map_or(now + longest, |ends| ends.min(now + longest));
        let body = match timeout_at(
            deadline.min(now + limit),
            Limited::new(body, REQUEST_BYTES_MAX).collect(),
        )
        .await
        {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                return Err(status::request_too_large(REQUEST_BYTES_MAX));
            }
            Ok(Err(error)) => return Err(Status::new(Code::Cancelled, error.to_string())),
            Err(_) => return Err(status::request_timeout(limit)),
        };
        let mut headers = parts.headers;
        // What belongs to the client's own connection stays behind; its credentials are for us alone. The length of a
        // grpc-web body is that of its text form.
        let ours = [
            header::HOST,
            header::CONTENT_LENGTH,
            header::CONNECTION,
            header::TRANSFER_ENCODING,
            header::ORIGIN,
        ];
        for name in ours.into_iter().chain(SECRET_HEADERS) {
            headers.remove(name);
        }
        Ok(Self { path: parts.uri, headers, body, deadline, ends, tried: Vec::new() })
    }

    /// The name of the method.
    pub(super) fn method(&self) -> &str {
        self.path.path().rsplit('/').next().unwrap_or_default()
    }

    /// Whether the answer is a stream, which is passed on as it comes.
    pub(super) fn is_stream(&self) -> bool {
        self.method().starts_with("Stream")
    }

    /// The request for one attempt, with the time that is left.
    pub(super) fn request(&self) -> Request<Body> {
        let mut request = Request::new(Body::new(Full::new(self.body.clone())));
        *request.method_mut() = Method::POST;
        *request.uri_mut() =
            self.path.path_and_query().map(|path| Uri::from(path.clone())).unwrap_or_default();
        *request.version_mut() = Version::HTTP_2;
        *request.headers_mut() = self.headers.clone();
        // A stream may go on for as long as its client wants it.
        let ends = if self.is_stream() { self.ends } else { Some(self.deadline) };
        if let Some(ends) = ends {
            let left = proto::call_timeout_text(ends.saturating_duration_since(Instant::now()));
            if let Ok(left) = HeaderValue::from_str(&left) {
                request.headers_mut().insert(GRPC_TIMEOUT, left);
            }
        }
        request
    }
}
