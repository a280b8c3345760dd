//! Which rejects are wanted.

use anyhow::{Context as _, anyhow};
use domain::{RejectReason, RejectedTick, TimeRange, UnixNanos};

use crate::args::ListArgs;

/// Which rejects are wanted.
#[derive(Debug)]
pub(super) struct Filter {
    reason: Option<RejectReason>,
    /// `PRODUCT` or `venue:PRODUCT`.
    product: Option<String>,
    range: TimeRange,
}

impl Filter {
    pub(super) fn new(args: &ListArgs, now: UnixNanos) -> anyhow::Result<Self> {
        let time = |flag: &str, text: &Option<String>, default| match text {
            Some(text) => moment(text, now).with_context(|| format!("{flag} {text}")),
            None => Ok(default),
        };
        let from = time("--since", &args.since, UnixNanos::MIN)?;
        let until = time("--until", &args.until, UnixNanos::MAX)?;
        Ok(Self { reason: args.reason, product: args.product.clone(), range: TimeRange { from, until } })
    }

    pub(super) fn takes(&self, reject: &RejectedTick) -> bool {
        self.reason.is_none_or(|reason| reason == reject.reason)
            && self.range.contains(reject.time)
            && self.product.as_ref().is_none_or(|product| is_of(reject, product))
    }
}

/// A reject of a product that is not configured names it in its tick only.
fn is_of(reject: &RejectedTick, product: &str) -> bool {
    let of_tick = reject.tick.as_ref().map(|tick| &tick.instrument);
    let named = reject.instrument.as_ref().or(of_tick);
    named.is_some_and(|name| {
        name.product.as_str().eq_ignore_ascii_case(product) || name.to_string().eq_ignore_ascii_case(product)
    })
}

/// A time, or how long before `now`.
fn moment(text: &str, now: UnixNanos) -> anyhow::Result<UnixNanos> {
    if let Ok(ago) = humantime::parse_duration(text) {
        return Ok(now.saturating_sub(ago));
    }
    UnixNanos::parse_rfc3339(text)
        .map_err(|_| anyhow!("neither a time such as 2026-04-17T16:44:06Z nor a duration such as 2h"))
}

#[cfg(test)]
mod tests {
    use domain::Instrument;

    use super::*;

    fn reject(seconds: i64) -> RejectedTick {
        RejectedTick {
            instrument: Some(Instrument::new("coinbase", "BTC-USD").unwrap()),
            tick: None,
            raw: Vec::new(),
            raw_length: 0,
            reason: RejectReason::CrossedBook,
            detail: String::new(),
            source: "test".into(),
            time: UnixNanos::from_seconds(seconds).unwrap(),
            identity: "1/0".into(),
        }
    }

    #[test]
    fn everything_asked_for_must_hold() {
        let range = TimeRange {
            from: UnixNanos::from_seconds(10).unwrap(),
            until: UnixNanos::from_seconds(20).unwrap(),
        };
        let filter = |reason, product: &str| Filter { reason, product: Some(product.into()), range };
        assert!(filter(None, "btc-usd").takes(&reject(10)));
        assert!(filter(Some(RejectReason::CrossedBook), "coinbase:BTC-USD").takes(&reject(19)));
        assert!(!filter(Some(RejectReason::TooOld), "BTC-USD").takes(&reject(15)));
        assert!(!filter(None, "ETH-USD").takes(&reject(15)));
        assert!(!filter(None, "BTC-USD").takes(&reject(20)), "the end does not belong to it");
        let nameless = RejectedTick { instrument: None, ..reject(15) };
        assert!(!filter(None, "BTC-USD").takes(&nameless));
    }

    #[test]
    fn a_moment_is_a_time_or_an_age() {
        let now = UnixNanos::from_seconds(1_000_000_000).unwrap();
        assert_eq!(moment("1h", now).unwrap(), UnixNanos::from_seconds(999_996_400).unwrap());
        assert_eq!(moment("2001-09-09T01:46:40Z", now).unwrap(), now);
        assert!(moment("yesterday", now).is_err());
    }
}
