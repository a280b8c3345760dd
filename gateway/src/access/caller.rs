//! Who calls.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use domain::Instrument;
use live::{Rate, TokenBucket};
use tokio_util::sync::CancellationToken;

use super::{
    grant::{Granted, Quotas},
    keys::now,
};

/// How long an expiry is slept towards at a time: the clock of the wall may be set meanwhile.
const LOOK_EVERY_MAX: Duration = Duration::from_secs(30);

/// The holder of a key or a token, or anybody where none is asked for. Cheap to clone; it never shows a credential.
#[derive(Clone, Debug)]
pub(crate) struct Caller(Arc<Facts>);

#[derive(Debug)]
struct Facts {
    name: String,
    is_anybody: bool,
    granted: Granted,
    quotas: Quotas,
    expires: Option<SystemTime>,
    revoked: CancellationToken,
    usage: Arc<Usage>,
}

/// What one key, or one subject of tokens, uses at the moment.
#[derive(Debug)]
pub(super) struct Usage {
    connections: AtomicU32,
    calls: Option<Mutex<TokenBucket>>,
}

/// A connection within the quota of its caller. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Seat(Arc<Usage>);

/// Why an open stream of a caller has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The time of the key or token is over.
    Expired,
    /// The key was revoked or changed, or the key that tokens were signed with was taken away.
    Revoked,
}

impl Ended {
    /// As it stands in labels.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

impl Usage {
    pub(super) fn new(quotas: &Quotas) -> Arc<Self> {
        let bucket = |per_second: std::num::NonZeroU32| {
            Mutex::new(TokenBucket::new(Rate { per_second, burst: per_second.saturating_mul(TWICE) }))
        };
        Arc::new(Self { connections: AtomicU32::new(0), calls: quotas.calls_per_second.map(bucket) })
    }
}

const TWICE: std::num::NonZeroU32 = std::num::NonZeroU32::MIN.saturating_add(1);

impl Caller {
    /// Anybody, where no credentials are asked for.
    pub(crate) fn anonymous() -> Self {
        let quotas = Quotas::default();
        let usage = Usage::new(&quotas);
        Self(Arc::new(Facts {
            name: "anonymous".into(),
            is_anybody: true,
            granted: Granted::All,
            quotas,
            expires: None,
            revoked: CancellationToken::new(),
            usage,
        }))
    }

    /// One that may see these products alone.
    #[cfg(test)]
    pub(crate) fn of_products(names: &[&str]) -> Self {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let (granted, quotas) = (Granted::parse(&names).unwrap(), Quotas::default());
        Self::new("test".into(), granted, quotas, None, CancellationToken::new(), Usage::new(&quotas))
    }

    pub(super) fn new(
        name: String,
        granted: Granted,
        quotas: Quotas,
        expires: Option<SystemTime>,
        revoked: CancellationToken,
        usage: Arc<Usage>,
    ) -> Self {
        Self(Arc::new(Facts { name, is_anybody: false, granted, quotas, expires, revoked, usage }))
    }

    /// The id of the key or the subject of the token, for logs and answers.
    pub(crate) fn name(&self) -> &str {
        &self.0.name
    }

    /// Whether nobody was asked for credentials, so that nothing can be taken away.
    pub(crate) fn is_anybody(&self) -> bool {
        self.0.is_anybody
    }

    /// Whether it may see a product.
    pub(crate) fn allows(&self, instrument: &Instrument) -> bool {
        self.0.granted.allows(instrument)
    }

    /// What `*` means for this caller: the products it may see, or `None` for every product.
    pub(crate) fn only(&self) -> Option<&BTreeSet<Instrument>> {
        match &self.0.granted {
            Granted::All => None,
            Granted::These(these) => Some(these),
        }
    }

    /// The most products that one of its connections may follow, at most `configured`.
    pub(crate) fn products_max(&self, configured: usize) -> usize {
        let quota = self.0.quotas.products_max.map_or(usize::MAX, |max| max.get() as usize);
        quota.min(configured)
    }

    /// The most products that one of its connections may follow, if its key or token says so.
    pub(crate) fn products_quota(&self) -> Option<std::num::NonZeroU32> {
        self.0.quotas.products_max
    }

    /// How fast one of its connections is sent to, at most as fast as `configured`.
    pub(crate) fn rate(&self, configured: Rate) -> Rate {
        match self.0.quotas.messages_per_second {
            Some(quota) if quota < configured.per_second => {
                Rate { per_second: quota, burst: configured.burst.min(quota.saturating_mul(TWICE)) }
            }
            _ => configured,
        }
    }

    /// The messages a second that its quota allows one connection.
    pub(super) fn messages_per_second(&self) -> Option<std::num::NonZeroU32> {
        self.0.quotas.messages_per_second
    }

    /// A further connection, or how many it may have.
    pub(crate) fn sit_down(&self) -> Result<Seat, u32> {
        let max = self.0.quotas.connections_max.map_or(u32::MAX, std::num::NonZeroU32::get);
        let one_more = |open: u32| (open < max).then(|| open.saturating_add(1));
        match self.0.usage.connections.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more) {
            Ok(_) => Ok(Seat(Arc::clone(&self.0.usage))),
            Err(_) => Err(max),
        }
    }

    /// One more call or subscription, or how long to wait until it is within the quota.
    pub(crate) fn charge_call(&self, now: Instant) -> Result<(), Duration> {
        match &self.0.usage.calls {
            Some(bucket) => bucket.lock().unwrap_or_else(PoisonError::into_inner).try_take(now),
            None => Ok(()),
        }
    }

    /// Whether its time is over already.
    pub(super) fn has_ended(&self, now: SystemTime) -> Option<Ended> {
        if self.0.revoked.is_cancelled() {
            return Some(Ended::Revoked);
        }
        self.0.expires.filter(|expires| *expires <= now).map(|_| Ended::Expired)
    }

    /// Ends what is open under this caller.
    pub(super) fn revoke(&self) {
        self.0.revoked.cancel();
    }

    /// Returns when the time of the caller is over. Make it once for a connection, outside of its loop.
    pub(crate) async fn ended(self) -> Ended {
        let expired = async {
            loop {
                let left = match self.0.expires {
                    Some(expires) => expires.duration_since(now()).unwrap_or_default(),
                    None => std::future::pending().await,
                };
                if left.is_zero() {
                    return;
                }
                tokio::time::sleep(left.min(LOOK_EVERY_MAX)).await;
            }
        };
        tokio::select! {
            () = expired => Ended::Expired,
            () = self.0.revoked.cancelled() => Ended::Revoked,
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(quotas: Quotas, expires: Option<SystemTime>) -> Caller {
        let usage = Usage::new(&quotas);
        Caller::new("test".into(), Granted::All, quotas, expires, CancellationToken::new(), usage)
    }

    #[test]
    fn connections_are_counted_and_given_back() {
        let two = caller(Quotas { connections_max: 2.try_into().ok(), ..Quotas::default() }, None);
        let (first, _second) = (two.sit_down().unwrap(), two.sit_down().unwrap());
        assert_eq!(two.sit_down().unwrap_err(), 2);
        drop(first);
        assert!(two.sit_down().is_ok());
    }

    #[test]
    fn calls_and_messages_are_bounded_by_the_smaller_of_quota_and_configuration() {
        let one = 1.try_into().ok();
        let slow =
            caller(Quotas { calls_per_second: one, messages_per_second: one, ..Quotas::default() }, None);
        let now = Instant::now();
        assert!(slow.charge_call(now).is_ok() && slow.charge_call(now).is_ok());
        assert!(slow.charge_call(now).unwrap_err() <= Duration::from_secs(1));
        assert_eq!(slow.rate(Rate::default()).per_second.get(), 1);
        assert_eq!(Caller::anonymous().rate(Rate::default()), Rate::default());
    }

    #[tokio::test(start_paused = true)]
    async fn it_ends_by_expiry_or_by_revocation() {
        let past = caller(Quotas::default(), Some(now()));
        assert_eq!(past.has_ended(now()), Some(Ended::Expired));
        assert_eq!(past.ended().await, Ended::Expired);
        let revoked = caller(Quotas::default(), None);
        assert_eq!(revoked.has_ended(now()), None);
        revoked.revoke();
        assert_eq!(revoked.clone().ended().await, Ended::Revoked);
        assert_eq!(revoked.has_ended(now()), Some(Ended::Revoked));
    }
}
