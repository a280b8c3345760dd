//! Who is woken by what.
//!
//! Of ten thousand subscribers most have nothing to do with the tick that has just come. Whoever follows a few products
//! listens to the lanes of these only; whoever follows many hears of everything. Two products may share a lane, so that
//! being woken means to look, not to find.

use std::hash::{DefaultHasher, Hash, Hasher};

use domain::Instrument;
use futures::future::select_all;
use tokio::sync::watch;

const LANES: usize = 256;
/// Whoever has more products than this listens to everything.
const FEW: usize = 8;

/// What has changed, told to whoever listens.
#[derive(Debug)]
pub(crate) struct News {
    everything: watch::Sender<u64>,
    lanes: Vec<watch::Sender<u64>>,
}

/// A subscriber's ear.
#[derive(Debug)]
pub(crate) struct Listener(Vec<watch::Receiver<u64>>);

impl News {
    pub(crate) fn new() -> Self {
        let lane = |_| watch::Sender::new(0);
        Self { everything: lane(0), lanes: (0..LANES).map(lane).collect() }
    }

    /// Something of this product has changed.
    pub(crate) fn tell(&self, instrument: &Instrument) {
        bump(&self.everything);
        self.lanes.get(lane_of(instrument)).into_iter().for_each(bump);
    }

    /// Anything may have changed.
    pub(crate) fn tell_all(&self) {
        bump(&self.everything);
        self.lanes.iter().for_each(bump);
    }

    /// Listens to what concerns these products.
    pub(crate) fn of<'a>(&self, instruments: impl Iterator<Item = &'a Instrument>) -> Listener {
        let mut lanes: Vec<usize> = instruments.take(FEW + 1).map(lane_of).collect();
        if lanes.len() > FEW {
            return self.of_everything();
        }
        lanes.sort_unstable();
        lanes.dedup();
        Listener(
            lanes.into_iter().filter_map(|lane| self.lanes.get(lane)).map(watch::Sender::subscribe).collect(),
        )
    }

    /// Listens to everything.
    pub(crate) fn of_everything(&self) -> Listener {
        Listener(vec![self.everything.subscribe()])
    }
}

impl Listener {
    /// What was told up to now is known.
    pub(crate) fn catch_up(&mut self) {
        self.0.iter_mut().for_each(|lane| drop(lane.borrow_and_update()));
    }

    /// Waits until something was told since. The sender lives as long as the feed, so that nothing else can end it.
    pub(crate) async fn changed(&mut self) {
        match self.0.as_mut_slice() {
            [] => std::future::pending().await,
            [lane] => drop(lane.changed().await),
            lanes => drop(select_all(lanes.iter_mut().map(|lane| Box::pin(lane.changed()))).await),
        }
    }
}

fn bump(lane: &watch::Sender<u64>) {
    lane.send_modify(|version| *version = version.wrapping_add(1));
}

fn lane_of(instrument: &Instrument) -> usize {
    let mut hasher = DefaultHasher::new();
    instrument.hash(&mut hasher);
    usize::try_from(hasher.finish() % LANES as u64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn instruments(count: usize) -> Vec<Instrument> {
        (0..count).map(|number| Instrument::new("coinbase", &format!("P{number}-USD")).unwrap()).collect()
    }

    fn is_woken(listener: &mut Listener) -> bool {
        let woken = listener.changed().now_or_never().is_some();
        listener.catch_up();
        woken
    }

    #[test]
    fn who_follows_a_few_products_hears_of_these() {
        let (news, products) = (News::new(), instruments(FEW + 1));
        let mut few = news.of(products[..2].iter());
        let mut many = news.of(products.iter());
        let other = instruments(50)
            .into_iter()
            .find(|other| products[..2].iter().all(|product| lane_of(product) != lane_of(other)));
        news.tell(&other.unwrap());
        assert_eq!((is_woken(&mut few), is_woken(&mut many)), (false, true));
        news.tell(&products[1]);
        assert_eq!((is_woken(&mut few), is_woken(&mut many)), (true, true));
        assert_eq!((is_woken(&mut few), is_woken(&mut many)), (false, false));
        news.tell_all();
        assert_eq!((is_woken(&mut few), is_woken(&mut many)), (true, true));
        assert!(!is_woken(&mut news.of(std::iter::empty())));
    }
}
