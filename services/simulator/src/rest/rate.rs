//! How many requests an address may make.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::config::RestRate;

/// With more addresses than this, those that could make a full burst again are forgotten; if none could, all are.
const ADDRESSES_MAX: usize = 4_096;

/// A bucket of requests per address, refilled evenly: held as the time at which it would be full again.
#[derive(Debug)]
pub(crate) struct RateLimit {
    per_request: Duration,
    full: Duration,
    full_at: Mutex<HashMap<IpAddr, Duration>>,
}

impl RateLimit {
    pub(crate) fn new(rate: RestRate) -> Self {
        let per_request = Duration::from_secs(1) / rate.per_second.get();
        Self { per_request, full: per_request * rate.burst.get(), full_at: Mutex::default() }
    }

    /// Whether the address may make a request at `now`, a time since any fixed start; counts it if so.
    pub(crate) fn admits(&self, address: IpAddr, now: Duration) -> bool {
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        if full_at.len() >= ADDRESSES_MAX && !full_at.contains_key(&address) {
            full_at.retain(|_, at| *at > now);
            if full_at.len() >= ADDRESSES_MAX {
                full_at.clear();
            }
        }
        let at = full_at.entry(address).or_default();
        let after = (*at).max(now).saturating_add(self.per_request);
        let admitted = after.saturating_sub(now) <= self.full;
        if admitted {
            *at = after;
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU32;

    fn limit(per_second: u32, burst: u32) -> RateLimit {
        let number = |number| NonZeroU32::new(number).unwrap();
        RateLimit::new(RestRate { per_second: number(per_second), burst: number(burst) })
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([127, 0, 0, last])
    }

    fn admitted(limit: &RateLimit, tries: u32, now: Duration) -> usize {
        (0..tries).filter(|_| limit.admits(address(1), now)).count()
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let limit = limit(10, 15);
        let start = Duration::from_secs(100);
        assert_eq!(admitted(&limit, 20, start), 15);
        assert!(limit.admits(address(2), start), "each address has its own");
        assert_eq!(admitted(&limit, 20, start + Duration::from_millis(99)), 0);
        assert_eq!(admitted(&limit, 20, start + Duration::from_millis(100)), 1);
        assert_eq!(admitted(&limit, 20, start + Duration::from_millis(1_100)), 10);
        assert_eq!(admitted(&limit, 20, start + Duration::from_secs(60)), 15, "never more than a burst");
    }

    #[test]
    fn addresses_are_bounded() {
        let limit = limit(1, 1);
        for number in 0..10_000_u32 {
            limit.admits(IpAddr::from(number.to_be_bytes()), Duration::ZERO);
        }
        assert!(limit.full_at.lock().unwrap().len() <= ADDRESSES_MAX);
    }
}
