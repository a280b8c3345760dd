//! How long a client gives its call.

use std::{
    future::Future as _,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http::HeaderMap;
use tokio::time::{Instant, Sleep};

/// What `grpc-timeout` says.
pub(super) fn asked(headers: &HeaderMap) -> Option<Duration> {
    proto::call_timeout(headers.get("grpc-timeout")?.to_str().ok()?)
}

/// The end of a stream whose client has set one.
pub(super) struct Deadline {
    pub(super) limit: Duration,
    sleep: Pin<Box<Sleep>>,
}

impl Deadline {
    pub(super) fn after(limit: Duration) -> Self {
        Self { limit, sleep: Box::pin(tokio::time::sleep_until(Instant::now() + limit)) }
    }

    pub(super) fn is_over(&mut self, context: &mut Context<'_>) -> bool {
        matches!(self.sleep.as_mut().poll(context), Poll::Ready(()))
    }
}
