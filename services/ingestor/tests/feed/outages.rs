//! What happens when the exchange is away, mute, or says no.

use std::time::Duration;

use bus::Bus;
use domain::{EventKind, FeedState};
use futures::{SinkExt as _, StreamExt as _};
use ingestor::metrics::{BACK_PRESSURE, FRAMES, GIVEN_UP, TICKS};
use testkit::eventually;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::Message;

use crate::counts::Counts;
use crate::support::{Exchange, Ingestor, PATIENCE, config, market};

const RATE: simulator::Rate = simulator::Rate::PerSecond(100);

#[tokio::test]
async fn an_exchange_that_comes_back_is_found_again() {
    let exchange = Exchange::start(market(&["BTC-USD"], RATE)).await;
    let address = exchange.address;
    let mut ingestor = Ingestor::start(config(&exchange.url(), &["BTC-USD"])).await;
    ingestor.ready().await;
    exchange.stop().await;
    ingestor.waits_because("cannot be reached").await;
    let exchange = Exchange::start_at(market(&["BTC-USD"], RATE), address).await;
    ingestor.ready().await;
    let before = ingestor.ticks().await;
    eventually(PATIENCE, || async { ingestor.ticks().await > before + 10 }).await;
    let states: Vec<_> = ingestor.events(3).await.into_iter().map(|event| event.kind).collect();
    assert_eq!(
        states,
        [FeedState::Live, FeedState::BackingOff, FeedState::Live].map(EventKind::FeedState),
        "one for each change, however many attempts there were"
    );
    ingestor.stop().await;
    let mut sessions: Vec<String> =
        ingestor.take_batches().await.into_iter().map(|batch| batch.session.id).collect();
    sessions.dedup();
    assert_eq!(sessions.len(), 2, "a new connection is a new session");
    exchange.stop().await;
}

#[tokio::test]
async fn an_exchange_that_was_never_there_is_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let mut ingestor = Ingestor::start(config(&format!("ws://{address}"), &["BTC-USD"])).await;
    ingestor.waits_because("cannot be reached").await;
    let exchange = Exchange::start_at(market(&["BTC-USD"], RATE), address).await;
    ingestor.ready().await;
    ingestor.stop().await;
    exchange.stop().await;
}

#[tokio::test]
async fn a_product_that_is_refused_is_told_and_tried_again_while_the_others_flow() {
    let exchange = Exchange::start(market(&["BTC-USD"], RATE)).await;
    let patient = ingestor::Config {
        refused_retry_min: Duration::from_millis(200),
        ..config(&exchange.url(), &["BTC-USD", "NOT-LISTED"])
    };
    let mut ingestor = Ingestor::start(patient).await;
    ingestor.ready().await;
    ingestor.notes("NOT-LISTED: the exchange refuses it").await;
    eventually(PATIENCE, || async { ingestor.ticks().await > 10 }).await;
    let refused = vec![("NOT-LISTED".to_owned(), FeedState::BackingOff)];
    eventually(PATIENCE, || async { ingestor.exceptions().await == refused }).await;
    let address = exchange.address;
    exchange.stop().await;
    // The product is listed now.
    let exchange = Exchange::start_at(market(&["BTC-USD", "NOT-LISTED"], RATE), address).await;
    ingestor.ready().await;
    eventually(PATIENCE, || async { ingestor.exceptions().await.is_empty() }).await;
    let events = ingestor.events_of("NOT-LISTED", 2).await;
    assert_eq!(events, [FeedState::BackingOff, FeedState::Live].map(EventKind::FeedState));
    ingestor.stop().await;
    exchange.stop().await;
}

/// An exchange that takes a subscription, answers with `answer`, and then says nothing. Gives the number of connections.
async fn mute_exchange(answer: &'static str) -> (String, tokio::sync::watch::Receiver<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let (count, counted) = tokio::sync::watch::channel(0);
    tokio::spawn(async move {
        let mut sockets = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            let mut socket = accept_async(stream).await.unwrap();
            socket.next().await;
            socket.send(Message::text(answer)).await.unwrap();
            sockets.push(socket);
            count.send_modify(|count| *count += 1);
        }
    });
    (url, counted)
}

const CONFIRMED: &str = r#"{"type":"subscriptions","channels":[{"name":"ticker","product_ids":["BTC-USD"]},{"name":"heartbeat","product_ids":["BTC-USD"]}]}"#;

#[tokio::test]
async fn a_mute_feed_is_left_and_connected_anew() {
    let (url, mut connections) = mute_exchange(CONFIRMED).await;
    let impatient =
        ingestor::Config { idle_timeout: Duration::from_millis(500), ..config(&url, &["BTC-USD"]) };
    let mut ingestor = Ingestor::start(impatient).await;
    ingestor.ready().await;
    timeout(PATIENCE, connections.wait_for(|count| *count >= 2)).await.expect("a second connection").unwrap();
    let events = ingestor.events(2).await;
    assert_eq!(events[1].kind, EventKind::FeedState(FeedState::Stale));
    ingestor.stop().await;
}

#[tokio::test]
async fn a_subscription_that_is_not_confirmed_is_tried_again() {
    let (url, mut connections) = mute_exchange(r#"{"type":"subscriptions","channels":[]}"#).await;
    let impatient =
        ingestor::Config { confirm_timeout: Duration::from_millis(300), ..config(&url, &["BTC-USD"]) };
    let mut ingestor = Ingestor::start(impatient).await;
    ingestor.waits_because("did not confirm heartbeat, ticker").await;
    timeout(PATIENCE, connections.wait_for(|count| *count >= 2)).await.expect("a second connection").unwrap();
    assert!(!ingestor.ctx.readiness.is_ready());
    ingestor.stop().await;
}

#[tokio::test]
async fn among_other_roles_a_mute_feed_is_only_told() {
    let (url, _connections) = mute_exchange(r#"{"type":"subscriptions","channels":[]}"#).await;
    let modest = ingestor::Config { feed_decides_readiness: false, ..config(&url, &["BTC-USD"]) };
    let mut ingestor = Ingestor::start(modest).await;
    ingestor.ready().await;
    let report = ingestor.ctx.readiness.report();
    assert_eq!(report.notes[0].name, "feed");
    ingestor.stop().await;
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_bus_that_takes_nothing_and_counts_what_it_gives_up() {
    let counts = Counts::default();
    let _counting = metrics::set_default_local_recorder(&counts);
    let exchange = Exchange::start(market(&["BTC-USD"], simulator::Rate::PerSecond(2_000))).await;
    let narrow =
        bus::Config { raw_size_max_bytes: Some(10_000), raw_buffer_max_ticks: 16, ..bus::Config::default() };
    let quick =
        ingestor::Config { drain_max: Duration::from_millis(300), ..config(&exchange.url(), &["BTC-USD"]) };
    let mut ingestor = Ingestor::start_on(quick, Bus::embedded(&narrow)).await;
    let full = || async { ingestor.bus.stream_state(bus::StreamKind::Raw).await.unwrap().size_bytes > 5_000 };
    eventually(PATIENCE, full).await;
    // Nothing moves any more: one tick is in hand, read and not handed over, and there is no place for it. A machine that
    // pauses hands over nothing either, but has nothing in hand.
    let moved = || (counts.of_labelled(FRAMES, "ticker"), counts.of(TICKS));
    let stuck = || async {
        let before = moved();
        tokio::time::sleep(Duration::from_millis(150)).await;
        before.0 == before.1 + 1 && before == moved()
    };
    eventually(PATIENCE, stuck).await;
    let asked = tokio::time::Instant::now();
    assert!(matches!(ingestor.end().await, Err(ingestor::Error::GivenUp)));
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    assert_eq!(counts.of(GIVEN_UP), 1);
    assert!(counts.of(BACK_PRESSURE) >= 1);
    exchange.stop().await;
}

#[tokio::test]
async fn what_no_attempt_can_mend_is_an_error_at_the_start() {
    let start = async |config| {
        let ctx = runtime::RoleContext::new(runtime::Readiness::new(), runtime::Shutdown::new());
        ingestor::run(config, Bus::embedded(&bus::Config::default()), ctx).await.unwrap_err()
    };
    assert!(matches!(start(config("ws://127.0.0.1:1", &[])).await, ingestor::Error::NoProducts));
    assert!(matches!(start(config("http://127.0.0.1:1", &["A-B"])).await, ingestor::Error::Address { .. }));
    let missing = ingestor::Config {
        ca_file: Some("/nonexistent/ca.pem".into()),
        ..config("wss://127.0.0.1:1", &["A-B"])
    };
    assert!(matches!(start(missing).await, ingestor::Error::Tls(_)));
}

#[tokio::test]
async fn what_must_be_up_is_known_before_anything_runs() {
    for feed_decides_readiness in [true, false] {
        let ctx = runtime::RoleContext::new(runtime::Readiness::new(), runtime::Shutdown::new());
        let config = ingestor::Config { feed_decides_readiness, ..config("ws://127.0.0.1:1", &["A-B"]) };
        let _not_polled = ingestor::run(config, Bus::embedded(&bus::Config::default()), ctx.clone());
        let waiting = ctx.readiness.report().waiting;
        assert!(waiting.iter().any(|latch| latch.name == "bus"), "{waiting:?}");
        assert_eq!(waiting.iter().any(|latch| latch.name == "feed"), feed_decides_readiness);
    }
}
