//! The scripted faults of the simulated exchange: found within seconds, and live again within seconds of their end.

use std::time::Duration;

use domain::{EventKind, FeedEvent, FeedState};
use ingestor::Config;
use testkit::eventually;
use tokio::time::timeout;

use crate::support::{Exchange, Ingestor, PATIENCE, config, faulty};

const RATE: simulator::Rate = simulator::Rate::PerSecond(100);
const NAMES: [&str; 2] = ["BTC-USD", "ETH-USD"];
/// How long it may take to find a fault, and to be live again.
const SOON: Duration = Duration::from_secs(5);

/// The states of a product in the order in which they were told, once `last` was told for the second time or, if it is not
/// live, at all.
async fn states(ingestor: &Ingestor, product: &str, until: &[FeedState]) -> Vec<FeedEvent> {
    let mut follower = ingestor.bus.follow_events(bus::FollowFrom::AfterSequence(0));
    let mut told = Vec::new();
    let reading = async {
        while told.len() < until.len() {
            let event = follower.next().await.unwrap().content;
            let is_state = matches!(event.kind, EventKind::FeedState(_));
            if is_state && event.instrument.product.as_str() == product {
                told.push(event);
            }
        }
    };
    timeout(PATIENCE, reading).await.expect("every state is told");
    let kinds: Vec<EventKind> = told.iter().map(|event| event.kind.clone()).collect();
    assert_eq!(kinds, until.iter().copied().map(EventKind::FeedState).collect::<Vec<_>>());
    told
}

async fn start(faults: &[&str]) -> (Exchange, Ingestor) {
    let exchange = Exchange::start(faulty(&NAMES, RATE, faults)).await;
    let ingestor = Ingestor::start(config(&exchange.url(), &NAMES)).await;
    (exchange, ingestor)
}

async fn stop(exchange: Exchange, mut ingestor: Ingestor) {
    ingestor.stop().await;
    exchange.stop().await;
}

#[tokio::test]
async fn a_mute_product_is_stale_within_three_heartbeats_and_the_other_flows_on() {
    // After two seconds' worth of its ticks: however late it is subscribed to, it has been live before.
    let mute = "mute:after_ticks=100,for=6s,products=ETH-USD,also_heartbeats=true";
    let (exchange, ingestor) = start(&[mute]).await;
    let told = states(&ingestor, "ETH-USD", &[FeedState::Live, FeedState::Stale, FeedState::Live]).await;
    let stale_for = told[2].time.saturating_since(told[1].time);
    // About 3 s. It would be asked for again after 10.
    assert!(stale_for < Duration::from_secs(9), "live again as soon as it is heard: {stale_for:?}");
    states(&ingestor, "BTC-USD", &[FeedState::Live]).await;
    let sessions = ingestor.take_batches().await;
    assert!(sessions.iter().all(|batch| batch.session.id.ends_with("-1")), "the connection stays");
    stop(exchange, ingestor).await;
}

#[tokio::test]
async fn a_connection_that_stalls_with_its_socket_open_is_made_anew() {
    let (exchange, ingestor) = start(&["stall:after_ticks=300,for=20s"]).await;
    let told = states(&ingestor, "BTC-USD", &[FeedState::Live, FeedState::Stale, FeedState::Live]).await;
    let away = told[2].time.saturating_since(told[1].time);
    assert!(away < SOON, "{away:?}");
    stop(exchange, ingestor).await;
}

#[tokio::test]
async fn a_product_that_the_confirmation_leaves_out_is_found_and_taken_when_it_is_offered() {
    for how in ["omit", "error"] {
        let fault = format!("refuse:at=0s,for=4s,products=ETH-USD,how={how}");
        let exchange = Exchange::start(faulty(&NAMES, RATE, &[&fault])).await;
        let impatient = Config {
            confirm_timeout: Duration::from_secs(1),
            refused_retry_min: Duration::from_millis(500),
            refused_retry_max: Duration::from_secs(1),
            ..config(&exchange.url(), &NAMES)
        };
        let ingestor = Ingestor::start(impatient).await;
        ingestor.ready().await;
        states(&ingestor, "ETH-USD", &[FeedState::BackingOff, FeedState::Live]).await;
        states(&ingestor, "BTC-USD", &[FeedState::Live]).await;
        stop(exchange, ingestor).await;
    }
}

#[tokio::test]
async fn trades_that_the_feed_leaves_out_at_its_end_are_told_by_a_heartbeat() {
    // After the drop the product goes quiet: no later tick shows the loss.
    let faults = ["mute:after_ticks=50,products=BTC-USD,also_heartbeats=false"];
    let (exchange, ingestor) = start(&faults).await;
    let mut newest = 0;
    let beat = async {
        loop {
            for batch in ingestor.take_batches().await {
                if batch.instrument.product.as_str() != "BTC-USD" {
                    continue;
                }
                newest = batch.ticks.iter().filter_map(domain::Tick::trade_id).fold(newest, u64::max);
                if let Some(beat) = batch.heartbeat {
                    return beat;
                }
            }
        }
    };
    let beat = timeout(PATIENCE, beat).await.expect("a heartbeat is passed on");
    assert!(beat.last_trade_id > newest && newest > 0);
    stop(exchange, ingestor).await;
}

#[tokio::test]
async fn cuts_oversized_frames_and_complaints_end_nothing_for_good() {
    let faults = [
        "disconnect:at=1s,how=cut",
        "disconnect:at=3s,how=reset",
        "error:at=4s",
        "corrupt:at=4s,count=5,how=cut",
        "slow_accept:at=0s,for=2s,by=500ms",
    ];
    let (exchange, ingestor) = start(&faults).await;
    let (live, away) = (FeedState::Live, FeedState::BackingOff);
    let told = states(&ingestor, "BTC-USD", &[live, away, live, away, live]).await;
    for (fell, rose) in [(1, 2), (3, 4)] {
        let away = told[rose].time.saturating_since(told[fell].time);
        assert!(away < SOON, "{away:?}");
    }
    ingestor.rejects(1).await;
    let before = ingestor.ticks().await;
    eventually(PATIENCE, || async { ingestor.ticks().await > before + 20 }).await;
    stop(exchange, ingestor).await;
}
