//! How long a client gives its call.

use std::{
    future::Future as _,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http::HeaderMap;
use tokio::time::{Instant, Sleep};

/// The longest that is waited for; what clients send may be longer than a clock can hold.
const LONGEST: Duration = Duration::from_secs(30 * 86_400);

/// What `grpc-timeout` says: at most eight digits and a unit. What it does not say is taken as no deadline, as every
/// implementation does.
pub(super) fn asked(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    let asked = match unit {
        "H" => Duration::from_secs(count.saturating_mul(3_600)),
        "M" => Duration::from_secs(count.saturating_mul(60)),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    };
    Some(asked.min(LONGEST))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_clients_send() {
        let read = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", http::HeaderValue::from_static(text));
            asked(&headers)
        };
        assert_eq!(read("300m"), Some(Duration::from_millis(300)));
        assert_eq!(read("1S"), Some(Duration::from_secs(1)));
        assert_eq!(read("99999999H"), Some(LONGEST));
        assert_eq!(read("0n"), Some(Duration::ZERO));
        for bad in ["", "m", "5", "-1S", "123456789S", "5x", "+5S"] {
            assert_eq!(read(bad), None, "{bad}");
        }
        assert_eq!(asked(&HeaderMap::new()), None);
    }
}
