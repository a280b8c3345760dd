//! A script at work: what is wrong now, and what happens next. Time comes in as an argument.

mod running;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::{Connection, Corruption, FaultScript, Kind, Refusing, Start};
use running::{Active, Running};

/// The faults, each with its state.
#[derive(Debug)]
pub(crate) struct Script {
    running: Vec<Running>,
    happenings: Vec<Happening>,
}

/// Something that the truth tells and the feed may have to do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Happening {
    pub(crate) fault: Arc<str>,
    pub(crate) phase: Phase,
    /// When, on the script's clock.
    pub(crate) at: Duration,
    pub(crate) deed: Option<Deed>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Began,
    Ended,
    /// It has no length.
    Happened,
}

/// What the feed has to do at once.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Deed {
    pub(crate) kind: Kind,
    pub(crate) connection: Connection,
    pub(crate) products: Option<BTreeSet<String>>,
    /// When it ends, on the script's clock.
    pub(crate) until: Option<Duration>,
}

/// What happens to a ticker on the way to some of the connections.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Treated {
    pub(crate) fault: Arc<str>,
    pub(crate) connection: Connection,
    pub(crate) treatment: Treatment,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Treatment {
    Lose,
    Corrupt {
        how: Corruption,
        seed: u64,
    },
    Twice,
    Delay(Duration),
    /// Wait until so many have gathered for this fault, and go out in another order.
    Gather {
        window: usize,
        index: usize,
        seed: u64,
    },
}

/// What happens to a request to REST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RestTrouble {
    TooMany,
    Fails,
    Garbage { seed: u64 },
    Slow(Duration),
}

impl Script {
    pub(crate) fn new(script: &FaultScript) -> Self {
        let running = script.faults.iter().zip(1..);
        let running = running.map(|(fault, number)| Running::new(fault.clone(), script.seed, number));
        Self { running: running.collect(), happenings: Vec::new() }
    }

    /// Ends and begins what is due.
    pub(crate) fn advance(&mut self, now: Duration) {
        for running in &mut self.running {
            running.advance(now, &mut self.happenings);
        }
    }

    /// What has happened since this was last asked.
    pub(crate) fn take_happenings(&mut self) -> Vec<Happening> {
        std::mem::take(&mut self.happenings)
    }

    /// When something begins or ends next, as far as the clock decides.
    pub(crate) fn next_time(&self) -> Option<Duration> {
        let times = self.running.iter().flat_map(|running| {
            let begins = running.next.and_then(|start| match start {
                Start::At(at) => Some(at),
                Start::AfterTicks(_) => None,
            });
            let ends = if let Active::Until(end) = running.active { Some(end) } else { None };
            [begins, ends]
        });
        times.flatten().min()
    }

    /// What happens to a ticker of `product`: one entry for each fault that hits it, the first that hits all
    /// connections being the last.
    pub(crate) fn on_ticker(&mut self, product: &str, now: Duration) -> Vec<Treated> {
        self.advance(now);
        let mut treated = Vec::new();
        for (index, running) in self.running.iter_mut().enumerate() {
            if !running.is_active() || !running.fault.covers(product) {
                continue;
            }
            let Some(treatment) = running.treatment(index) else { continue };
            running.use_up(now, &mut self.happenings);
            let (fault, connection) = (Arc::clone(&running.fault.name), running.fault.connection);
            treated.push(Treated { fault, connection, treatment });
            if connection == Connection::All {
                break;
            }
        }
        treated
    }

    /// Counts a ticker of `product` that was made, after it was dealt with: faults that begin after so many tickers do.
    pub(crate) fn count_ticker(&mut self, product: &str, now: Duration) {
        for running in self.running.iter_mut().filter(|running| running.fault.covers(product)) {
            running.seen = running.seen.saturating_add(1);
            running.advance(now, &mut self.happenings);
        }
    }

    /// Whose other messages of `product` are kept back, and by what.
    pub(crate) fn mutes(&self, product: &str) -> Vec<(Arc<str>, Connection)> {
        let muting = self.running.iter().filter(|running| {
            let is_mute = matches!(running.fault.kind, Kind::Mute { also_heartbeats: true });
            is_mute && running.is_active() && running.fault.covers(product)
        });
        muting.map(|running| (Arc::clone(&running.fault.name), running.fault.connection)).collect()
    }

    /// Whether tickers of `product` are kept from everyone who subscribes.
    pub(crate) fn keeps_greeting(&self, product: &str) -> bool {
        self.running.iter().any(|running| {
            let is_mute = matches!(running.fault.kind, Kind::Mute { .. });
            is_mute && running.is_active() && running.fault.covers(product)
        })
    }

    /// The stall that hits a connection which is new.
    pub(crate) fn stalls_new(&self) -> Option<(Arc<str>, Option<Duration>)> {
        let stall = |running: &&Running| matches!(running.fault.kind, Kind::Stall { also_new: true });
        self.running.iter().filter(|running| running.is_active()).find(stall).map(Running::named_end)
    }

    /// The fault by which nobody can connect.
    pub(crate) fn outage(&self) -> Option<Arc<str>> {
        self.active_name(|kind| matches!(kind, Kind::Disconnect { .. }))
    }

    /// How long a connection waits for the answer to its handshake.
    pub(crate) fn on_accept(&mut self, now: Duration) -> Option<Duration> {
        self.hit(now, |running| match running.fault.kind {
            Kind::SlowAccept { by } => Some(by),
            _ => None,
        })
    }

    /// Whether and how a subscription to `product` is refused.
    pub(crate) fn refuses(&self, product: &str) -> Option<(Arc<str>, Refusing)> {
        self.running.iter().filter(|running| running.is_active() && running.fault.covers(product)).find_map(
            |running| match running.fault.kind {
                Kind::Refuse { how } => Some((Arc::clone(&running.fault.name), how)),
                _ => None,
            },
        )
    }

    /// What happens to a request to REST; `product` is what it asks about, if it does.
    pub(crate) fn on_rest(&mut self, product: Option<&str>, now: Duration) -> Option<RestTrouble> {
        self.hit(now, |running| {
            let covers = match (&running.fault.products, product) {
                (None, _) => true,
                (Some(products), Some(product)) => products.contains(product),
                (Some(_), None) => false,
            };
            match running.fault.kind {
                _ if !covers => None,
                Kind::RestTooMany => Some(RestTrouble::TooMany),
                Kind::RestFails => Some(RestTrouble::Fails),
                Kind::RestGarbage => Some(RestTrouble::Garbage { seed: running.random.next() }),
                Kind::RestSlow { by } => Some(RestTrouble::Slow(by)),
                _ => None,
            }
        })
    }

    /// Whether a trade of `product` that is made now never comes into REST.
    pub(crate) fn is_gone(&mut self, product: &str, now: Duration) -> bool {
        let gone = |running: &mut Running| {
            let hits = running.fault.covers(product) && running.fault.kind == Kind::RestGone;
            hits.then_some(())
        };
        self.hit(now, gone).is_some()
    }

    /// The first active fault that `what` finds something in; one of its count is used up.
    fn hit<T>(&mut self, now: Duration, mut what: impl FnMut(&mut Running) -> Option<T>) -> Option<T> {
        self.advance(now);
        for running in self.running.iter_mut().filter(|running| running.is_active()) {
            if let Some(found) = what(running) {
                running.use_up(now, &mut self.happenings);
                return Some(found);
            }
        }
        None
    }

    fn active_name(&self, is: fn(&Kind) -> bool) -> Option<Arc<str>> {
        let active = self.running.iter().filter(|running| running.is_active());
        active.filter(|running| is(&running.fault.kind)).map(|running| Arc::clone(&running.fault.name)).next()
    }
}

#[cfg(test)]
mod tests;
