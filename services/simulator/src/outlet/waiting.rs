//! Tickers that are late on purpose.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use super::spoil;
use crate::client::Client;
use crate::truth::Record;

/// The most tickers that are held back; beyond that the one that is due next goes out early.
const HELD_MAX: usize = 100_000;
/// Tickers that gather to be mixed up wait no longer than this for the last of them.
const GATHER_MAX: Duration = Duration::from_secs(1);

/// A ticker on its way to some clients, with its record if nobody has got it yet.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) product: String,
    pub(super) ticker: Message,
    pub(super) clients: Vec<Arc<Client>>,
    pub(super) record: Option<Record>,
}

/// Where a late ticker waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Until(Instant),
    /// With others of its product, until there are so many, for the fault with this index.
    With {
        window: usize,
        index: usize,
        seed: u64,
    },
}

#[derive(Debug, Default)]
pub(super) struct Waiting {
    timed: BTreeMap<(Instant, u64), Held>,
    gathered: BTreeMap<(usize, String), Gathered>,
    /// When the last of what a client is owed of a product is due.
    last_due: HashMap<(u64, String), Instant>,
    number: u64,
}

#[derive(Debug)]
struct Gathered {
    until: Instant,
    seed: u64,
    held: Vec<Held>,
}

impl Waiting {
    /// Holds the ticker back; returns what goes out because of it.
    pub(super) fn hold(&mut self, place: Place, held: Held, now: Instant) -> Vec<Held> {
        match place {
            Place::Until(due) => {
                for client in &held.clients {
                    self.last_due.insert((client.id, held.product.clone()), due);
                }
                self.number = self.number.wrapping_add(1);
                self.timed.insert((due, self.number), held);
                let too_many = self.timed.len() > HELD_MAX;
                too_many.then(|| self.timed.pop_first().map(|(_, held)| held)).flatten().into_iter().collect()
            }
            Place::With { window, index, seed } => {
                let key = (index, held.product.clone());
                let gathered = self.gathered.entry(key.clone()).or_insert_with(|| Gathered {
                    until: now + GATHER_MAX,
                    seed,
                    held: Vec::new(),
                });
                gathered.held.push(held);
                if gathered.held.len() < window {
                    return Vec::new();
                }
                self.gathered.remove(&key).map_or_else(Vec::new, Gathered::mixed)
            }
        }
    }

    /// The record that travels with a ticker.
    pub(super) fn record_of(&mut self, product: &str, ticker: &Message) -> Option<&mut Record> {
        let gathered = self.gathered.values_mut().flat_map(|gathered| &mut gathered.held);
        let mut held = self.timed.values_mut().chain(gathered);
        held.find(|held| held.product == product && held.ticker == *ticker)?.record.as_mut()
    }

    /// When the client's next ticker of the product may go out at the earliest.
    pub(super) fn behind(&self, client: u64, product: &str, now: Instant) -> Option<Instant> {
        if self.timed.is_empty() {
            return None;
        }
        self.last_due.get(&(client, product.to_owned())).copied().filter(|due| *due > now)
    }

    /// When something is due next.
    pub(super) fn next(&self) -> Option<Instant> {
        let timed = self.timed.first_key_value().map(|((due, _), _)| *due);
        self.gathered.values().map(|gathered| gathered.until).chain(timed).min()
    }

    /// Everything that is due by now.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Held> {
        let mut due = Vec::new();
        while let Some(entry) = self.timed.first_entry() {
            if entry.key().0 > now {
                break;
            }
            due.push(entry.remove());
        }
        if !due.is_empty() {
            self.last_due.retain(|_, due| *due > now);
        }
        let over: Vec<_> = self
            .gathered
            .iter()
            .filter(|(_, gathered)| gathered.until <= now)
            .map(|(key, _)| key.clone())
            .collect();
        for key in over {
            due.extend(self.gathered.remove(&key).map_or_else(Vec::new, Gathered::mixed));
        }
        due
    }

    /// Everything.
    pub(super) fn drain(&mut self) -> Vec<Held> {
        let timed = std::mem::take(&mut self.timed).into_values();
        let gathered = std::mem::take(&mut self.gathered).into_values();
        timed.chain(gathered.flat_map(Gathered::mixed)).collect()
    }
}

impl Gathered {
    fn mixed(self) -> Vec<Held> {
        spoil::mixed(self.held, self.seed)
    }
}
