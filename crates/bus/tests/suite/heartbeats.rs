use std::time::Duration;

use bus::Config;
use domain::{Heartbeat, TickBatch, UnixNanos};
use tokio::time::timeout;

use crate::{
    fixture::{DEADLINE, Substrate, btc, eth, fetch, raw_reader, sequences, session, tick},
    raw::fill_up,
};

fn heartbeat(last_trade_id: u64) -> Heartbeat {
    Heartbeat { last_trade_id, time: UnixNanos::from_seconds(1_600_000_000).unwrap() }
}

/// The ticks and the heartbeat of a batch.
fn shape(batch: &TickBatch) -> (Vec<u64>, Option<u64>) {
    (sequences(batch), batch.heartbeat.map(|heartbeat| heartbeat.last_trade_id))
}

pub async fn a_heartbeat_goes_alone_or_behind_the_ticks(substrate: Substrate) {
    let fixture = substrate.start(Config::default()).await;
    let publisher = fixture.bus.raw_publisher(session("host-1"));
    publisher.send_heartbeat(btc(), heartbeat(7)).await.unwrap();
    publisher.close().await;
    let publisher = fixture.bus.raw_publisher(session("host-2"));
    for sequence in 1..=3 {
        publisher.send(tick(&btc(), sequence)).await.unwrap();
    }
    publisher.send_heartbeat(btc(), heartbeat(8)).await.unwrap();
    publisher.send(tick(&btc(), 4)).await.unwrap();
    publisher.close().await;

    let mut reader = raw_reader(&fixture.bus, &btc());
    let mut heard = Vec::new();
    while heard.last() != Some(&"tick 4".to_owned()) {
        for delivery in fetch(&mut reader, 1).await {
            let (ticks, heartbeat) = shape(delivery.content.as_ref().unwrap());
            heard.extend(ticks.iter().map(|sequence| format!("tick {sequence}")));
            heard.extend(heartbeat.iter().map(|trade| format!("heartbeat {trade}")));
        }
    }
    assert_eq!(heard, ["heartbeat 7", "tick 1", "tick 2", "tick 3", "heartbeat 8", "tick 4"]);
}

/// While nothing can leave, a product's newest heartbeat takes the place of the one before, at the end of its ticks.
pub async fn of_one_product_one_heartbeat_waits(substrate: Substrate) {
    let config = Config {
        raw_size_max_bytes: Some(50_000),
        raw_buffer_max_ticks: 8,
        publish_timeout: Duration::from_millis(500),
        retry_delay_max: Duration::from_millis(100),
        ..Config::default()
    };
    let fixture = substrate.start(config).await;
    let filled = fill_up(&fixture.bus).await;
    let publisher = fixture.bus.raw_publisher(session("host-1"));
    publisher.send(tick(&btc(), 1)).await.unwrap();
    // It is on its way, and refused: the rest waits.
    timeout(DEADLINE, async {
        for beat in 1..=50 {
            publisher.send_heartbeat(btc(), heartbeat(beat)).await.unwrap();
        }
    })
    .await
    .expect("a heartbeat whose place is taken makes room");
    publisher.send(tick(&btc(), 2)).await.unwrap();
    publisher.send(tick(&btc(), 3)).await.unwrap();
    publisher.send_heartbeat(btc(), heartbeat(60)).await.unwrap();

    let mut filler = raw_reader(&fixture.bus, &eth());
    let deliveries = fetch(&mut filler, filled).await;
    filler.ack(&deliveries).await.unwrap();
    timeout(DEADLINE, publisher.close()).await.unwrap();
    let mut reader = raw_reader(&fixture.bus, &btc());
    let (mut ticks, mut beats) = (Vec::new(), Vec::new());
    while beats.last() != Some(&60) {
        for delivery in fetch(&mut reader, 1).await {
            let (sequences, heartbeat) = shape(delivery.content.as_ref().unwrap());
            ticks.extend(sequences);
            beats.extend(heartbeat);
        }
    }
    assert_eq!(ticks, [1, 2, 3]);
    assert!(beats.len() <= 2, "at most the first went with the first tick: {beats:?}");
}
