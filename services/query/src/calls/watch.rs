//! Counting a call: by method and code, once, whatever becomes of it.

use std::time::Instant;

use http::Response;
use metrics::{counter, gauge, histogram};
use tonic::{Code, Status, body::Body};
use tracing::Span;

use crate::metrics as names;

use super::method::Method;

/// A call in progress. Dropped before its end, the client has cancelled it.
pub(super) struct Watch {
    method: &'static str,
    started: Instant,
    began: bool,
    ended: bool,
    pub(super) span: Span,
}

impl Watch {
    pub(super) fn start(method: Method, span: Span) -> Self {
        let method = method.label();
        gauge!(names::IN_PROGRESS, "method" => method).increment(1.0);
        Self { method, started: Instant::now(), began: false, ended: false, span }
    }

    /// The answer begins.
    pub(super) fn began(&mut self) {
        if !std::mem::replace(&mut self.began, true) {
            histogram!(names::DURATION, "method" => self.method).record(self.started.elapsed().as_secs_f64());
        }
    }

    /// The call has ended. Only the first end counts.
    pub(super) fn end(&mut self, code: Code) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        self.began();
        let code = format!("{code:?}");
        self.span.record("rpc.response.status_code", code.as_str());
        counter!(names::CALLS, "method" => self.method, "code" => code).increment(1);
        gauge!(names::IN_PROGRESS, "method" => self.method).decrement(1.0);
    }

    /// The answer of a call that got no further.
    pub(super) fn refuse(&mut self, status: &Status) -> Response<Body> {
        self.end(status.code());
        status.clone().into_http()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.end(Code::Cancelled);
    }
}
