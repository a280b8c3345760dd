//! How long a client gives its call: the header `grpc-timeout`.

use std::time::Duration;

/// The longest that is waited for; what clients send may be longer than a clock can hold.
const LONGEST: Duration = Duration::from_secs(30 * 86_400);

/// What `grpc-timeout` says: at most eight digits and a unit. What it does not say is taken as no deadline, as every
/// implementation does.
pub fn call_timeout(text: &str) -> Option<Duration> {
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

/// The same as text, never longer than `timeout`.
pub fn call_timeout_text(timeout: Duration) -> String {
    const DIGITS_MAX: u128 = 99_999_999;
    match (timeout.as_micros(), timeout.as_millis()) {
        (micros, _) if micros <= DIGITS_MAX => format!("{micros}u"),
        (_, millis) if millis <= DIGITS_MAX => format!("{millis}m"),
        _ => format!("{}S", timeout.min(LONGEST).as_secs()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_clients_send() {
        assert_eq!(call_timeout("300m"), Some(Duration::from_millis(300)));
        assert_eq!(call_timeout("1S"), Some(Duration::from_secs(1)));
        assert_eq!(call_timeout("99999999H"), Some(LONGEST));
        assert_eq!(call_timeout("0n"), Some(Duration::ZERO));
        for bad in ["", "m", "5", "-1S", "123456789S", "5x", "+5S", "5é"] {
            assert_eq!(call_timeout(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_written_is_read_as_what_it_was() {
        for millis in [0, 1, 99_999, 100_000, 99_999_999, 100_000_000] {
            let timeout = Duration::from_millis(millis);
            assert_eq!(call_timeout(&call_timeout_text(timeout)), Some(timeout));
        }
        assert_eq!(call_timeout(&call_timeout_text(Duration::MAX)), Some(LONGEST));
    }
}
