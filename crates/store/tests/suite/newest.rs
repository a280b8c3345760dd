//! The newest price and the newest state.

use domain::{DayStats, Gap, MarketState, Position, Snapshot, Tick, UnixNanos};

use crate::{
    database::{Database, NOW, on_each_database, write, write_all},
    gaps::gap,
    ticks::{at, backfilled, instrument, number, quote, trade, trade_of},
};

on_each_database!(
    the_newest_price_never_moves_back,
    an_older_snapshot_never_overwrites_a_newer_one,
    a_state_round_trips,
    products_are_listed,
);

async fn the_newest_price_never_moves_back(db: Database) {
    let btc = instrument("BTC-USD");
    assert_eq!(db.store.latest(&btc).await.unwrap(), None);
    write(&db.store, &[backfilled(&trade(1, at(0), "1"))]).await;
    assert_eq!(db.store.latest(&btc).await.unwrap(), None);

    write(&db.store, &[trade(11, at(11), "11.5"), trade(10, at(10), "10")]).await;
    let latest = db.store.latest(&btc).await.unwrap().unwrap();
    assert_eq!(
        (latest.price, latest.position.sequence, latest.event_time),
        (Some(number("11.5")), 110, at(11))
    );
    assert_eq!((latest.bid, latest.ask), (Some(number("0.01")), Some(number("99999999.99"))));
    assert_eq!(latest.volume, Some(number("0.00000012")));
    assert_eq!(latest.written_at.nanos() / 1000, NOW.nanos() / 1000);

    // Late, with a newer event time; backfilled; and late next to a newer quote, which knows no price.
    let mut late = trade(9, at(90), "9");
    late.receive_time = at(91);
    write(&db.store, &[late, backfilled(&trade(20, at(99), "20"))]).await;
    assert_eq!(db.store.latest(&btc).await.unwrap().unwrap(), latest);
    write(&db.store, &[trade(8, at(8), "8"), quote(111, at(12), "4")]).await;
    let latest = db.store.latest(&btc).await.unwrap().unwrap();
    assert_eq!(
        (latest.price, latest.bid, latest.position.sequence),
        (Some(number("11.5")), Some(number("4")), 111)
    );

    // A new run is newer, whatever its sequence.
    let mut restarted = trade(1, at(200), "2");
    restarted.run = 1;
    write(&db.store, &[restarted]).await;
    let latest = db.store.latest(&btc).await.unwrap().unwrap();
    assert_eq!((latest.price, latest.position), (Some(number("2")), Position { run: 1, sequence: 10 }));
}

fn snapshot(product: &str, run: u32, sequence: u64, taken: UnixNanos) -> Snapshot {
    let mut state = MarketState::default();
    state.apply(&trade_of(product, sequence, at(1), "58800.0100"));
    Snapshot {
        instrument: instrument(product),
        position: Position { run, sequence },
        snapshot_time: taken,
        state,
    }
}

async fn an_older_snapshot_never_overwrites_a_newer_one(db: Database) {
    let btc = instrument("BTC-USD");
    assert_eq!(db.store.snapshot(&btc).await.unwrap(), None);
    let stored = |snapshots: Vec<Snapshot>| {
        let (store, btc) = (&db.store, &btc);
        async move {
            write_all(store, &[], &snapshots).await.unwrap();
            store.snapshot(btc).await.unwrap().unwrap()
        }
    };
    let five = snapshot("BTC-USD", 1, 5, at(5));
    assert_eq!(
        stored(vec![snapshot("BTC-USD", 1, 4, at(9)), five.clone(), snapshot("BTC-USD", 1, 3, at(3))]).await,
        five
    );
    assert_eq!(stored(vec![snapshot("BTC-USD", 1, 4, at(6))]).await, five);
    assert_eq!(stored(vec![snapshot("BTC-USD", 0, 9, at(6))]).await, five);
    assert_eq!(stored(vec![snapshot("BTC-USD", 1, 5, at(4))]).await, five);
    let fresher = snapshot("BTC-USD", 1, 5, at(6));
    assert_eq!(stored(vec![fresher.clone()]).await, fresher);
    let restarted = snapshot("BTC-USD", 2, 1, at(7));
    assert_eq!(stored(vec![restarted.clone(), snapshot("ETH-USD", 0, 1, at(7))]).await, restarted);
    let all = db.store.snapshots().await.unwrap();
    assert_eq!(all, [restarted, snapshot("ETH-USD", 0, 1, at(7))]);
}

async fn a_state_round_trips(db: Database) {
    let empty = Snapshot { state: MarketState::default(), ..snapshot("ETH-USD", 0, 1, at(7)) };
    let mut full = snapshot("BTC-USD", 0, 1, at(7));
    let long = Some(number("0.1234567890123456789012345678"));
    full.state.day = Some((
        DayStats {
            open_24h: long,
            high_24h: long,
            low_24h: None,
            volume_24h: long,
            volume_30d: Some(number("948687088.00000000")),
        },
        UnixNanos::new(1_795_305_600_123_456_789),
    ));
    write_all(&db.store, &[], &[empty.clone(), full.clone()]).await.unwrap();
    assert_eq!(db.store.snapshots().await.unwrap(), [full, empty]);
    let price = match db.is_postgres() {
        true => "SELECT state->'last_trade'->>'px' FROM snapshots WHERE product = 'BTC-USD'",
        false => "SELECT state->>'$.last_trade.px' FROM snapshots WHERE product = 'BTC-USD'",
    };
    assert_eq!(db.select(price).await, [Some("58800.0100".to_owned())]);
}

async fn products_are_listed(db: Database) {
    assert_eq!(db.store.instruments().await.unwrap(), []);
    assert_eq!(db.store.latest_prices().await.unwrap(), []);
    let snapshots = [snapshot("ETH-USD", 0, 1, at(7)), snapshot("ADA-USD", 0, 1, at(7))];
    write_all(&db.store, &[trade(1, at(0), "5"), trade_of("ETH-USD", 1, at(0), "6")], &snapshots)
        .await
        .unwrap();
    assert_eq!(db.store.instruments().await.unwrap(), ["ADA-USD", "BTC-USD", "ETH-USD"].map(instrument));
    let prices: Vec<_> =
        db.store.latest_prices().await.unwrap().into_iter().map(|latest| latest.price).collect();
    assert_eq!(prices, [Some(number("5")), Some(number("6"))]);
    // A product of which there are only fetched trades, and one of which there is only a gap.
    write(&db.store, &[Tick { instrument: instrument("SOL-USD"), ..backfilled(&trade(1, at(0), "7")) }])
        .await;
    db.store.record_gap(&Gap { instrument: instrument("XRP-USD"), ..gap(1, 2) }).await.unwrap();
    let all = ["ADA-USD", "BTC-USD", "ETH-USD", "SOL-USD"].map(instrument);
    assert_eq!(db.store.instruments().await.unwrap(), all);
    for (product, is_known) in [("BTC-USD", true), ("SOL-USD", true), ("XRP-USD", true), ("DOGE-USD", false)]
    {
        assert_eq!(db.store.knows(&instrument(product)).await.unwrap(), is_known, "{product}");
    }
}
