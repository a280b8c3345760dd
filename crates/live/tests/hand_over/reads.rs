//! What a subscriber costs history.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use domain::{Instrument, Position, Tick, UnixNanos};
use futures::{FutureExt, future::BoxFuture};
use live::{History, HistoryError, Policy, Products, Since, Start, Subscription};
use tokio::time::{sleep, timeout};

use crate::{
    starts::{at, sequences, until_live},
    world::{World, instrument},
};

#[tokio::test(start_paused = true)]
async fn who_does_not_read_holds_up_nobody_elses_past() {
    let world = World::new(8, Policy::default());
    world.arrive("A", 100, false);
    world.store("A", 100);
    // One place for everybody.
    let feed = world.feed.clone().with_history(Arc::new(world.list.clone()), 1);
    let mut idler = Subscription::idle(&feed, Policy::default());
    idler.add(instrument("A"), &Start::After(at(30)));
    idler.add(instrument("B"), &Start::Now);
    let busy = async {
        sleep(Duration::from_millis(1)).await;
        world.arrive("B", 1, false);
    };
    // It is given something else while its past is being read, and does not come for more.
    let (given, ()) = tokio::join!(idler.next_batch(64), busy);
    assert_eq!(sequences(&given.unwrap()), [3]);
    let products = Products::These(vec![instrument("A")]);
    let mut other = Subscription::new(&feed, products, &Start::After(at(30)), Policy::default());
    assert_eq!(sequences(&until_live(&mut other).await), (11..=100).map(|n| n * 3).collect::<Vec<_>>());
    // What was read for it meanwhile is still good.
    assert_eq!(sequences(&until_live(&mut idler).await), (11..=100).map(|n| n * 3).collect::<Vec<_>>());
}

/// A history that does not answer, and how many reads of it are open.
#[derive(Clone, Debug, Default)]
struct Silent(Arc<AtomicUsize>);

struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Silent {
    fn open(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn read<T: Send>(&self) -> BoxFuture<'_, Result<T, HistoryError>> {
        async {
            self.0.fetch_add(1, Ordering::Relaxed);
            let _open = Open(Arc::clone(&self.0));
            std::future::pending().await
        }
        .boxed()
    }
}

impl History for Silent {
    fn ticks<'a>(
        &'a self,
        _: &'a Instrument,
        _: Position,
        _: usize,
    ) -> BoxFuture<'a, Result<Vec<Tick>, HistoryError>> {
        self.read()
    }

    fn newest<'a>(
        &'a self,
        _: &'a Instrument,
        _: Position,
    ) -> BoxFuture<'a, Result<Option<Position>, HistoryError>> {
        self.read()
    }

    fn since<'a>(&'a self, _: &'a Instrument, _: UnixNanos) -> BoxFuture<'a, Result<Since, HistoryError>> {
        self.read()
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_no_longer_wanted_is_no_longer_read() {
    let world = World::new(8, Policy::default());
    let products = ["A", "B", "C"];
    products.iter().for_each(|product| world.arrive(product, 100, false));
    let history = Silent::default();
    let feed = world.feed.clone().with_history(Arc::new(history.clone()), 1_000);
    let mut subscription = Subscription::idle(&feed, Policy::default());
    for sequence in 1..=50 {
        for product in products {
            subscription.add(instrument(product), &Start::Sequence(sequence));
        }
        timeout(Duration::from_millis(1), subscription.next_batch(64)).await.unwrap_err();
        // No more than two at a time, those of the starts before included.
        assert_eq!(history.open(), 2, "{sequence}");
        if sequence % 2 == 0 {
            for product in products {
                assert!(subscription.remove(&instrument(product)));
            }
            // Nobody comes to read, and nobody waits for what was asked.
            tokio::task::yield_now().await;
            assert_eq!(history.open(), 0, "{sequence}");
        }
    }
}
