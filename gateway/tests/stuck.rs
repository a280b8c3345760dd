//! What gRPC clients cost that do not read. A process of its own: its memory is measured.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[allow(dead_code, reason = "the clients of the other tests are in it too")]
#[path = "clients/harness.rs"]
mod harness;

use std::time::Duration;

use harness::{Gateway, PATIENCE, config};
use proto::v1::{
    DeliveryPolicy, LosslessDelivery, SubscribeRequest, delivery_policy::Policy,
    streaming_service_client::StreamingServiceClient, subscribe_response::Message,
};
use tokio::time::timeout;
use tonic::{Streaming, transport::Channel};

/// Enough to see one of them in the memory of a process.
const STUCK: u64 = 32;
/// What one of them may cost, its own end of the connection included.
const STUCK_BYTES_MAX: u64 = 1024 * 1024;
/// More than a megabyte of messages for each of them.
const TICKS: u64 = 20_000;
const PER_BATCH: u64 = 200;

async fn subscribe(gateway: &Gateway, window_bytes: u32) -> Streaming<proto::v1::SubscribeResponse> {
    let endpoint = Channel::from_shared(format!("http://{}", gateway.address)).unwrap();
    let channel = endpoint.initial_stream_window_size(window_bytes).connect().await.unwrap();
    let lossless = DeliveryPolicy { policy: Some(Policy::Lossless(LosslessDelivery {})) };
    let request = SubscribeRequest {
        products: vec!["*".into()],
        delivery: Some(lossless),
        ..SubscribeRequest::default()
    };
    StreamingServiceClient::new(channel).subscribe(request).await.unwrap().into_inner()
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// Publishes that many ticks after `last`, as fast as somebody who reads takes them.
async fn publish(
    publisher: &mut harness::Publisher,
    reading: &mut Streaming<proto::v1::SubscribeResponse>,
    last: &mut u64,
) {
    for _ in 0..TICKS / PER_BATCH {
        let end = *last + PER_BATCH;
        publisher.publish(*last + 1..=end).await;
        while *last < end {
            let message = timeout(PATIENCE, reading.message()).await.expect("a tick").unwrap().unwrap();
            if let Some(Message::Tick(update)) = message.message {
                *last = update.tick.unwrap().sequence.unwrap();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_costs_at_most_a_mebibyte() {
    let mut config = config();
    config.live.ring_ticks_max = 512.try_into().unwrap();
    config.write_timeout = Duration::from_secs(600);
    let gateway = Gateway::start(config).await;
    let mut publisher = gateway.publisher("BTC-USD").await;
    let mut reading = subscribe(&gateway, 65_535).await;
    let mut last = 0;
    // What grows with the first ticks: the ring, and the bus.
    publish(&mut publisher, &mut reading, &mut last).await;
    let start = resident_bytes();
    publish(&mut publisher, &mut reading, &mut last).await;
    let by_bus = resident_bytes().saturating_sub(start);

    let before = resident_bytes();
    let mut stuck = Vec::new();
    for at in 0..STUCK {
        // Some take nothing at all, some what fits in the window that clients have by default.
        stuck.push(subscribe(&gateway, if at % 2 == 0 { 0 } else { 65_535 }).await);
    }
    publish(&mut publisher, &mut reading, &mut last).await;
    let grown = resident_bytes().saturating_sub(before + by_bus);
    assert!(grown / STUCK < STUCK_BYTES_MAX, "{} KiB for each of {STUCK}", grown / STUCK / 1024);
    drop(stuck);
    gateway.stop().await;
}
