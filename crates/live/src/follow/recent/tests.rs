use super::*;
use crate::{
    Config,
    state::samples::{batch, instrument},
};

async fn published(ticks: u64) -> (Bus, Vec<(u64, TickBatch)>) {
    let bus = Bus::embedded(&bus::Config::default());
    bus.ensure_streams().await.unwrap();
    let publish = async |product: &str, sequence: u64| {
        let mut publisher = bus.tick_publisher(bus.shards().shard_of(&instrument(product)));
        publisher.recover().await.unwrap();
        publisher.publish(&batch(product, [sequence])).await.unwrap();
    };
    publish("QUIET", 7).await;
    for sequence in 1..=ticks {
        publish("BUSY", sequence).await;
    }
    let newest = bus.last_batches().await.unwrap();
    (bus, newest)
}

fn empty() -> LiveState {
    LiveState::new(Config::default())
}

fn position(state: &LiveState, product: &str) -> u64 {
    state.snapshot(&instrument(product)).unwrap().position.sequence
}

#[tokio::test]
async fn of_a_long_stretch_the_end_is_read() {
    let (bus, newest) = published(50).await;
    let whole = read(&bus, 51, &newest, Duration::MAX, 100, empty()).await.unwrap();
    assert_eq!((whole.ticks(), position(&whole, "QUIET"), position(&whole, "BUSY")), (51, 7, 50));
    let end = read(&bus, 51, &newest, Duration::MAX, 10, empty()).await.unwrap();
    // And the newest of the product that was quiet.
    assert_eq!((end.ticks(), position(&end, "QUIET"), position(&end, "BUSY")), (11, 7, 50));
}

#[tokio::test]
async fn without_the_recent_past_the_newest_is_there() {
    let (bus, newest) = published(5).await;
    // Nothing is as young as this, so that nothing is read.
    let unread = read(&bus, 6, &newest, Duration::ZERO, 10, empty()).await;
    assert!(matches!(unread, Err(Unread::Gone)), "{unread:?}");
    let state = newest_alone(newest, empty());
    assert_eq!((state.ticks(), position(&state, "QUIET"), position(&state, "BUSY")), (2, 7, 5));
    // An empty stream is no reason to wait.
    let bus = Bus::embedded(&bus::Config::default());
    bus.ensure_streams().await.unwrap();
    assert_eq!(gather(&bus, Vec::new(), Duration::from_secs(60), empty).await.products(), 0);
}
