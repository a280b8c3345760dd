//! Several connections, products that come and go, and what is passed on of heartbeats.

use std::collections::{BTreeMap, BTreeSet};

use bus::Bus;
use domain::{EventKind, FeedState};
use futures::{SinkExt as _, StreamExt as _};
use testkit::eventually;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Exchange, Ingestor, PATIENCE, config, market, products};

/// The sessions that each product's ticks came from.
async fn sessions(ingestor: &Ingestor) -> BTreeMap<String, BTreeSet<String>> {
    let mut sessions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for batch in ingestor.take_batches().await {
        sessions.entry(batch.instrument.product.to_string()).or_default().insert(batch.session.id);
    }
    sessions
}

#[tokio::test]
async fn four_hundred_products_are_spread_over_connections_and_all_are_live() {
    let names: Vec<String> = (0..400).map(|number| format!("P{number}-USD")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let exchange = Exchange::start(market(&names, simulator::Rate::PerSecond(2_000))).await;
    let mut ingestor = Ingestor::start(config(&exchange.url(), &names)).await;
    ingestor.ready().await;
    eventually(PATIENCE, || async { ingestor.exceptions().await.is_empty() }).await;
    // The first ticker of each comes with the subscription.
    eventually(PATIENCE, || async { ingestor.ticks().await >= 400 }).await;
    ingestor.stop().await;
    exchange.stop().await;
    let sessions = sessions(&ingestor).await;
    assert_eq!(sessions.len(), 400);
    assert!(sessions.values().all(|ids| ids.len() == 1), "a product belongs to one connection");
    let ids: BTreeSet<&String> = sessions.values().flatten().collect();
    assert_eq!(ids.len(), 4, "{ids:?}");
}

#[tokio::test]
async fn products_come_and_go_and_the_others_keep_their_connection() {
    let names = ["BTC-USD", "ETH-USD", "ADA-USD"];
    let exchange = Exchange::start(market(&names, simulator::Rate::PerSecond(300))).await;
    let (list, wanted) = watch::channel(products(&names[..2]));
    let bus = Bus::embedded(&bus::Config::default());
    let mut ingestor = Ingestor::start_following(config(&exchange.url(), &[]), wanted, bus).await;
    ingestor.ready().await;
    list.send_replace(products(&["BTC-USD", "ADA-USD"]));
    let live = ingestor.events_of("ADA-USD", 1).await;
    assert_eq!(live, [EventKind::FeedState(FeedState::Live)]);
    let flows = || async {
        ingestor.take_batches().await.iter().any(|batch| batch.instrument.product.as_str() == "ADA-USD")
    };
    eventually(PATIENCE, flows).await;
    // What was still under way of the product that left has come.
    let before = ingestor.ticks().await;
    eventually(PATIENCE, || async { ingestor.ticks().await > before + 50 }).await;
    ingestor.take_batches().await;
    let before = ingestor.ticks().await;
    eventually(PATIENCE, || async { ingestor.ticks().await > before + 50 }).await;
    let sessions = sessions(&ingestor).await;
    assert_eq!(sessions.keys().collect::<Vec<_>>(), ["ADA-USD", "BTC-USD"]);
    assert!(sessions.values().flatten().all(|id| id.ends_with("-1")), "{sessions:?}");
    list.send_replace(Vec::new());
    ingestor.waits_because("it has no products any more").await;
    list.send_replace(products(&["ETH-USD"]));
    ingestor.ready().await;
    ingestor.stop().await;
    exchange.stop().await;
}

#[tokio::test]
async fn a_connection_that_fails_does_not_touch_the_others() {
    let names = ["BTC-USD", "ETH-USD"];
    let exchange = Exchange::start(market(&names, simulator::Rate::PerSecond(200))).await;
    let behind = CutOnce::before(exchange.address).await;
    let one_each = ingestor::Config { products_per_connection: 1, ..config(&behind.url, &names) };
    let mut ingestor = Ingestor::start(one_each).await;
    eventually(PATIENCE, || async { ingestor.exceptions().await.is_empty() && ingestor.ticks().await > 50 })
        .await;
    behind.cut();
    eventually(PATIENCE, || async {
        let states = ingestor.events(4).await;
        states.iter().any(|event| event.kind == EventKind::FeedState(FeedState::BackingOff))
    })
    .await;
    let before = ingestor.ticks().await;
    eventually(PATIENCE, || async { ingestor.ticks().await > before + 50 }).await;
    ingestor.stop().await;
    exchange.stop().await;
    let mut counts: Vec<usize> = sessions(&ingestor).await.values().map(BTreeSet::len).collect();
    counts.sort_unstable();
    assert_eq!(counts, [1, 2], "one of the two was connected anew");
}

/// Forwards to an exchange, and cuts the connection that was made first when told.
struct CutOnce {
    url: String,
    cut: tokio_util::sync::CancellationToken,
}

impl CutOnce {
    async fn before(exchange: std::net::SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap());
        let cut = tokio_util::sync::CancellationToken::new();
        let first = cut.clone();
        tokio::spawn(async move {
            let mut token = Some(first);
            while let Ok((mut near, _)) = listener.accept().await {
                let token = token.take().unwrap_or_default();
                let mut far = tokio::net::TcpStream::connect(exchange).await.unwrap();
                tokio::spawn(async move {
                    token.run_until_cancelled(tokio::io::copy_bidirectional(&mut near, &mut far)).await
                });
            }
        });
        Self { url, cut }
    }

    fn cut(&self) {
        self.cut.cancel();
    }
}

#[tokio::test]
async fn a_heartbeat_whose_trade_does_not_come_is_passed_on_behind_the_ticks() {
    const FRAMES: [&str; 5] = [
        r#"{"type":"subscriptions","channels":[{"name":"ticker","product_ids":["BTC-USD"]},{"name":"heartbeat","product_ids":["BTC-USD"]}]}"#,
        r#"{"type":"ticker","sequence":8,"product_id":"BTC-USD","price":"4095","side":"buy","time":"2019-04-01T00:00:04.540000Z","trade_id":6,"last_size":"2.0"}"#,
        r#"{"type":"heartbeat","sequence":9,"last_trade_id":8,"product_id":"BTC-USD","time":"2019-04-01T00:00:05Z"}"#,
        r#"{"type":"ticker","sequence":10,"product_id":"BTC-USD","price":"4095","side":"buy","time":"2019-04-01T00:00:05.5Z","trade_id":7,"last_size":"2.0"}"#,
        r#"{"type":"heartbeat","sequence":11,"last_trade_id":8,"product_id":"BTC-USD","time":"2019-04-01T00:00:06Z"}"#,
    ];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut socket = accept_async(stream).await.unwrap();
        for frame in FRAMES {
            socket.send(Message::text(frame)).await.unwrap();
        }
        // Held open until the other side leaves.
        while socket.next().await.is_some() {}
    });
    let mut ingestor = Ingestor::start(config(&url, &["BTC-USD"])).await;
    let mut batches = Vec::new();
    while batches.iter().all(|batch: &domain::TickBatch| batch.heartbeat.is_none()) {
        batches.extend(ingestor.take_batches().await);
    }
    let trades: Vec<_> = batches.iter().flat_map(|batch| &batch.ticks).map(|tick| tick.trade_id()).collect();
    assert_eq!(trades, [Some(6), Some(7)]);
    let beat = batches.last().unwrap().heartbeat.unwrap();
    assert_eq!((beat.last_trade_id, beat.time.to_string().as_str()), (8, "2019-04-01T00:00:05Z"));
    ingestor.stop().await;
}
