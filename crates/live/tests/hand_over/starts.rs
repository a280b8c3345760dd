//! Each kind of start, and each reason why it cannot be.

use std::time::Duration;

use domain::{MarketState, Position, Snapshot, UnixNanos};
use live::{
    Delivery, Ended, Epoch, Event, LiveFeed, NotRecovered, Policy, Products, Start, Subscription, Token,
};
use tokio::time::timeout;

use crate::world::{PRODUCTS, World, instrument};

pub(crate) fn at(sequence: u64) -> Position {
    Position { run: 0, sequence }
}

/// Reads until the past is over.
pub(crate) async fn until_live(subscription: &mut Subscription) -> Vec<Delivery> {
    let mut given = Vec::new();
    loop {
        let batch = timeout(Duration::from_secs(30), subscription.next_batch(64)).await.unwrap().unwrap();
        given.extend(batch);
        if given.iter().any(|delivery| matches!(delivery, Delivery::Event(Event::Live))) {
            return given;
        }
    }
}

pub(crate) fn sequences(given: &[Delivery]) -> Vec<u64> {
    given
        .iter()
        .filter_map(|delivery| match delivery {
            Delivery::Tick { tick, .. } => Some(tick.position().sequence),
            _ => None,
        })
        .collect()
}

fn reason(given: &[Delivery]) -> &NotRecovered {
    given
        .iter()
        .find_map(|delivery| match delivery {
            Delivery::Event(Event::NotRecovered { reason, .. }) => Some(reason),
            _ => None,
        })
        .expect("it is told that the past is not there")
}

#[tokio::test(start_paused = true)]
async fn a_long_past_is_given_whole_from_each_kind_of_start() {
    let world = World::new(8, Policy::default());
    world.arrive("A", 2_000, false);
    world.store("A", 2_000);
    let starts =
        [Start::After(at(300)), Start::Sequence(301), Start::Time(UnixNanos::from_seconds(101).unwrap())];
    for (newest, start) in (2_000..).zip(starts) {
        let mut subscription =
            Subscription::new(&world.feed, Products::These(vec![instrument("A")]), &start, Policy::default());
        let given = until_live(&mut subscription).await;
        assert_eq!(sequences(&given), (101..=newest).map(|n| n * 3).collect::<Vec<_>>(), "{start:?}");
        world.arrive("A", 1, false);
        let next = subscription.next_batch(64).await.unwrap();
        assert_eq!(sequences(&next), [(newest + 1) * 3]);
        world.store("A", 1);
    }
}

#[tokio::test(start_paused = true)]
async fn the_store_is_waited_for_but_not_for_ever() {
    let world = World::new(8, Policy::default());
    world.arrive("A", 100, false);
    world.store("A", 50);
    let start = Start::After(at(30));
    let subscribe =
        || Subscription::new(&world.feed, Products::These(vec![instrument("A")]), &start, Policy::Lossless);
    let given = until_live(&mut subscribe()).await;
    assert!(matches!(reason(&given), NotRecovered::Behind), "{given:?}");
    assert!(sequences(&given).is_empty(), "never a part");
    let mut patient = subscribe();
    let later = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        world.store("A", 50);
    };
    let (given, ()) = tokio::join!(until_live(&mut patient), later);
    assert_eq!(sequences(&given), (11..=100).map(|n| n * 3).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn what_is_gone_or_of_another_history_is_told() {
    let world = World::new(8, Policy::default());
    world.arrive("A", 100, false);
    world.store("A", 100);
    world.list.with("A", |stored| stored.from = 50);
    let subscribe = |start: Start| {
        Subscription::new(&world.feed, Products::These(vec![instrument("A")]), &start, Policy::default())
    };
    let token = |feed: &LiveFeed| {
        let text = feed.read(|state| state.newest_tick(&instrument("A")).unwrap().token());
        Start::Token(Token::parse(&text).unwrap())
    };
    let given = until_live(&mut subscribe(Start::After(at(30)))).await;
    assert!(matches!(reason(&given), NotRecovered::NotStored { .. }), "{given:?}");
    let given = until_live(&mut subscribe(Start::Sequence(30))).await;
    assert!(matches!(reason(&given), NotRecovered::NotStored { .. }), "{given:?}");
    // Between two ticks there was none.
    let given = until_live(&mut subscribe(Start::After(at(200)))).await;
    assert!(matches!(reason(&given), NotRecovered::NotStored { .. }), "{given:?}");
    let given = until_live(&mut subscribe(Start::Time(UnixNanos::from_seconds(20).unwrap()))).await;
    assert!(matches!(reason(&given), NotRecovered::BeforeHorizon { .. }), "{given:?}");
    let given = until_live(&mut subscribe(Start::After(at(900)))).await;
    assert!(matches!(reason(&given), NotRecovered::Ahead { .. }), "{given:?}");
    let mine = token(&world.feed);
    assert!(sequences(&until_live(&mut subscribe(mine.clone())).await).is_empty());
    world.feed.set_epoch(Epoch { history: "two".into(), ticks: UnixNanos::new(1) });
    let given = until_live(&mut subscribe(mine)).await;
    assert!(matches!(reason(&given), NotRecovered::OtherHistory), "{given:?}");
    *world.list.is_down.lock().unwrap() = true;
    let given = until_live(&mut subscribe(Start::After(at(180)))).await;
    assert!(matches!(reason(&given), NotRecovered::History(_)), "{given:?}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_what_was_wanted_before_is_none_to_what_is_wanted_now() {
    let world = World::new(8, Policy::default());
    world.arrive("A", 2_000, false);
    world.store("A", 2_000);
    let since = |second| Start::Time(UnixNanos::from_seconds(second).unwrap());
    let starts = [(since(1_900), since(101)), (Start::After(at(5_700)), Start::After(at(300)))];
    for (before, start) in starts {
        let mut subscription = Subscription::new(&world.feed, Products::All, &Start::Now, Policy::Lossless);
        until_live(&mut subscription).await;
        subscription.remove(&instrument("A"));
        subscription.add(instrument("A"), &before);
        // History is asked, and has not answered when something else is wanted.
        timeout(Duration::from_millis(1), subscription.next_batch(64)).await.unwrap_err();
        subscription.remove(&instrument("A"));
        subscription.add(instrument("A"), &start);
        let given = until_live(&mut subscription).await;
        assert_eq!(sequences(&given), (101..=2_000).map(|n| n * 3).collect::<Vec<_>>(), "{start:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_that_retention_overtakes_is_ended_and_not_given_a_hole() {
    let world = World::new(8, Policy::default());
    world.arrive("A", 3_000, false);
    world.store("A", 3_000);
    let mut subscription = Subscription::new(
        &world.feed,
        Products::These(vec![instrument("A")]),
        &Start::Sequence(3),
        Policy::Lossless,
    );
    let given = subscription.next_batch(10).await.unwrap();
    assert_eq!(sequences(&given).len(), 10);
    world.list.with("A", |stored| stored.from = 2_000);
    let (mut count, ended) = loop_to_end(&mut subscription).await;
    count += 10;
    assert!(count < 3_000 && matches!(ended, Ended::Interrupted { .. }), "{count} {ended}");
    let token = Token::parse(&subscription.token().unwrap()).unwrap();
    let mut again =
        Subscription::new(&world.feed, Products::of(&token), &Start::Token(token), Policy::Lossless);
    assert!(matches!(reason(&until_live(&mut again).await), NotRecovered::NotStored { .. }));
}

async fn loop_to_end(subscription: &mut Subscription) -> (usize, Ended) {
    let mut count = 0;
    loop {
        match subscription.next_batch(64).await {
            Ok(given) => count += sequences(&given).len(),
            Err(ended) => return (count, ended),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_comes_every_five_seconds_and_resumes_all_products() {
    let world = World::new(100, Policy::default());
    world.arrive("A", 3, false);
    world.arrive("B", 3, false);
    let start = Start::Snapshot;
    let mut subscription =
        Subscription::new(&world.feed, Products::All, &start, Policy::default()).with_checkpoints();
    until_live(&mut subscription).await;
    let began = tokio::time::Instant::now();
    let given = subscription.next_batch(10).await.unwrap();
    assert_eq!(began.elapsed().as_secs(), 5);
    let [Delivery::Event(Event::Checkpoint { token })] = given.as_slice() else { panic!("{given:?}") };
    let token = Token::parse(token).unwrap();
    assert!(token.is_of_all() && token.instruments().count() == 2);
    for product in PRODUCTS {
        world.arrive(product, 2, false);
    }
    let mut again =
        Subscription::new(&world.feed, Products::of(&token), &Start::Token(token), Policy::Lossless);
    assert_eq!(sequences(&until_live(&mut again).await), [12, 15, 12, 15]);
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_comes_also_while_there_is_no_token() {
    let feed = LiveFeed::by_hand(live::Config::default());
    let mut subscription =
        Subscription::new(&feed, Products::All, &Start::Now, Policy::default()).with_checkpoints();
    until_live(&mut subscription).await;
    let given = timeout(Duration::from_secs(6), subscription.next_batch(10)).await.expect("all is well");
    let [Delivery::Event(Event::Checkpoint { token })] = &given.unwrap()[..] else { panic!("a checkpoint") };
    assert!(token.is_empty());
}

#[test]
fn no_token_is_made_of_products_that_were_not_heard_of_yet() {
    let feed = LiveFeed::by_hand(live::Config::default());
    feed.set_epoch(Epoch { history: "one".into(), ticks: UnixNanos::new(1) });
    let subscription = Subscription::new(&feed, Products::All, &Start::Now, Policy::default());
    assert_eq!(subscription.token(), None);
    feed.set_caught_up();
    assert!(subscription.token().is_some());
}

#[test]
fn an_idle_subscription_is_small() {
    let world = World::new(8, Policy::default());
    let snapshot = |n: usize| Snapshot {
        instrument: instrument(&format!("P{n}-USD")),
        position: at(1),
        snapshot_time: UnixNanos::new(1),
        state: MarketState::default(),
    };
    world.feed.refill((0..20).map(snapshot).collect(), Vec::new());
    let subscription = Subscription::new(&world.feed, Products::All, &Start::Now, Policy::default());
    let (bytes, products) = (subscription.size_bytes(), subscription.products());
    assert!(products == 20 && bytes < 8 * 1024, "{bytes} bytes for {products} products");
}
