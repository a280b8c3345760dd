//! What a subscriber costs history.

use std::{sync::Arc, time::Duration};

use live::{Policy, Products, Start, Subscription};
use tokio::time::sleep;

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
