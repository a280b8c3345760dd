//! Consumers that look alive and give nothing, on a real server.

use std::time::Duration;

use async_nats::jetstream::{
    self,
    consumer::{AckPolicy, PullConsumer, pull},
};
use bus::{Bus, Config, FetchError, FollowError, FollowFrom, Work};
use domain::UnixNanos;
use futures::StreamExt as _;
use testkit::eventually;
use tokio::time::{Instant, timeout};

use crate::fixture::{
    DEADLINE, Fixture, Substrate, batch, btc, delivered, fetch, publish_raw, raw_reader, shard_of,
};

fn impatient() -> Config {
    Config { stalled_after: Duration::from_secs(1), ..Config::default() }
}

async fn pause(fixture: &Fixture, stream: &str, consumer: &str) {
    let foreign = fixture.foreign().await;
    let stream = foreign.get_stream(stream).await.unwrap();
    let until = UnixNanos::now().saturating_add(Duration::from_secs(3600)).to_offset_date_time();
    assert!(stream.pause_consumer(consumer, until).await.unwrap().paused);
}

#[tokio::test]
async fn a_paused_consumer_of_raw_work_is_made_anew() {
    let fixture = Substrate::JetStream.start(impatient()).await;
    let mut reader = raw_reader(&fixture.bus, &btc());
    publish_raw(&fixture.bus, &btc(), [1]).await;
    let read = fetch(&mut reader, 1).await;
    reader.ack(&read).await.unwrap();
    pause(&fixture, "LF_RAW", "normalizer-2").await;
    publish_raw(&fixture.bus, &btc(), [2, 3]).await;
    assert_eq!(delivered(&fetch(&mut reader, 2).await), [2, 3]);
}

#[tokio::test]
async fn a_paused_consumer_of_ticks_is_made_anew_where_it_stood() {
    let fixture = Substrate::JetStream.start(impatient()).await;
    let shard = shard_of(&fixture.bus, &btc());
    let mut publisher = fixture.bus.tick_publisher(shard);
    publisher.recover().await.unwrap();
    let mut reader = fixture.bus.work(Work::Ticks, shard);
    for sequence in 1..=3 {
        publisher.publish(&batch(&btc(), [sequence])).await.unwrap();
    }
    let read = fetch(&mut reader, 3).await;
    reader.ack(&read[..2]).await.unwrap();
    pause(&fixture, "LF_TICKS", "snapshotter-2").await;
    publisher.publish(&batch(&btc(), [4])).await.unwrap();
    let again = fetch(&mut reader, 2).await;
    assert_eq!(delivered(&again), [3, 4], "what was acknowledged does not come again");
    reader.ack(&again).await.unwrap();
    // Whoever comes after finds it in order.
    drop(reader);
    publisher.publish(&batch(&btc(), [5])).await.unwrap();
    let mut heir = fixture.participant().await.work(Work::Ticks, shard);
    assert_eq!(delivered(&fetch(&mut heir, 1).await), [5]);
}

/// Who follows a stream leaves no durable consumer behind, and is cut off in the same way.
#[tokio::test]
async fn a_paused_consumer_of_a_follower_is_made_anew_where_it_stood() {
    let fixture = Substrate::JetStream.start(impatient()).await;
    let mut publisher = fixture.bus.tick_publisher(shard_of(&fixture.bus, &btc()));
    publisher.recover().await.unwrap();
    publisher.publish(&batch(&btc(), [1])).await.unwrap();
    let mut follower = fixture.bus.follow_ticks(FollowFrom::AfterSequence(0));
    let first = timeout(DEADLINE, follower.next()).await.unwrap().unwrap();
    let foreign = fixture.foreign().await;
    let stream = foreign.get_stream("LF_TICKS").await.unwrap();
    let names: Vec<String> = stream.consumer_names().map(Result::unwrap).collect().await;
    assert_eq!(names.len(), 1, "{names:?}");
    // What is quiet is left alone.
    let quiet = timeout(impatient().stalled_after * 2, follower.next()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    assert_eq!(stream.consumer_names().map(Result::unwrap).collect::<Vec<String>>().await, names);
    pause(&fixture, "LF_TICKS", &names[0]).await;
    publisher.publish(&batch(&btc(), [2])).await.unwrap();
    let stalled = timeout(DEADLINE, follower.next()).await.unwrap();
    assert!(matches!(stalled, Err(FollowError::Broker(_))), "{stalled:?}");
    let second = timeout(DEADLINE, follower.next()).await.unwrap().unwrap();
    assert_eq!(second.stream_sequence, first.stream_sequence + 1);
}

/// Somebody else takes everything and acknowledges nothing, up to what a consumer gives out unacknowledged.
#[tokio::test]
async fn who_swallows_the_messages_is_cut_off() {
    let config = Config { unacknowledged_messages_max: 5, ..impatient() };
    let fixture = Substrate::JetStream.start(config).await;
    let shard = shard_of(&fixture.bus, &btc());
    let mut reader = fixture.bus.work(Work::Ticks, shard);
    assert!(reader.fetch(1, Duration::from_millis(50)).await.unwrap().is_empty());
    drop(reader);
    let foreign = fixture.foreign().await;
    let stream = foreign.get_stream("LF_TICKS").await.unwrap();
    let consumer: PullConsumer = stream.get_consumer("snapshotter-2").await.unwrap();
    let mut swallowed = consumer.messages().await.unwrap();
    let mut publisher = fixture.bus.tick_publisher(shard);
    publisher.recover().await.unwrap();
    for sequence in 1..=10 {
        publisher.publish(&batch(&btc(), [sequence])).await.unwrap();
    }
    timeout(DEADLINE, swallowed.next()).await.unwrap().unwrap().unwrap();

    let mut reader = fixture.bus.work(Work::Ticks, shard);
    let mut seen: Vec<u64> = Vec::new();
    let in_order = timeout(DEADLINE, async {
        while seen.last() != Some(&10) {
            match reader.fetch(10, DEADLINE).await {
                Ok(deliveries) => {
                    seen.extend(delivered(&deliveries));
                    reader.ack(&deliveries).await.unwrap();
                }
                Err(FetchError::Fetch(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
    });
    in_order.await.unwrap();
    assert_eq!(seen, (1..=10).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_consumer_of_another_kind_is_a_conflict_that_names_both() {
    let fixture = Substrate::JetStream.start(Config::default()).await;
    let foreign: jetstream::Context = fixture.foreign().await;
    let config = pull::Config {
        durable_name: Some("snapshotter-2".into()),
        ack_policy: AckPolicy::None,
        ..pull::Config::default()
    };
    foreign.get_stream("LF_TICKS").await.unwrap().create_consumer(config).await.unwrap();
    let mut reader = fixture.bus.work(Work::Ticks, shard_of(&fixture.bus, &btc()));
    let error = reader.fetch(1, DEADLINE).await.unwrap_err();
    let mut told = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        told = format!("{told}: {cause}");
        source = cause.source();
    }
    for part in ["snapshotter-2", "None", "Explicit"] {
        assert!(told.contains(part), "{told}");
    }
    // Whoever made it takes it away, and the work goes on.
    foreign.get_stream("LF_TICKS").await.unwrap().delete_consumer("snapshotter-2").await.unwrap();
    eventually(DEADLINE, || async {
        let mut reader = fixture.bus.work(Work::Ticks, shard_of(&fixture.bus, &btc()));
        reader.fetch(1, Duration::ZERO).await.map(|_| ()).map_err(|error| error.to_string())
    })
    .await;
}

/// The server goes on giving messages to a reader that hangs, until its request ends.
#[tokio::test]
async fn a_reader_that_hangs_swallows_for_seconds_only() {
    let fixture = Substrate::JetStream.start(Config::default()).await;
    let shard = shard_of(&fixture.bus, &btc());
    let mut publisher = fixture.bus.tick_publisher(shard);
    publisher.recover().await.unwrap();
    publisher.publish(&batch(&btc(), [1])).await.unwrap();
    // As a process that is stopped: its connection stays, and nobody behind it does anything.
    let (hangs, hung) = tokio::sync::oneshot::channel();
    let (ended, end) = std::sync::mpsc::sync_channel::<()>(1);
    let config = fixture.config.clone();
    let hanging = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let bus = Bus::connect(&config).await.unwrap();
            let mut reader = bus.work(Work::Ticks, shard);
            let read = fetch(&mut reader, 1).await;
            reader.ack(&read).await.unwrap();
            hangs.send(()).unwrap();
            let _ = end.recv();
        });
    });
    hung.await.unwrap();
    let since = Instant::now();
    let mut reader = fixture.bus.work(Work::Ticks, shard);
    let (mut sequence, mut last, mut errors) = (1, 1, 0);
    // In order and without end: what is written meanwhile comes through once nobody swallows any more.
    while last < sequence || errors == 0 && since.elapsed() < Duration::from_secs(2) {
        // A request stands for 5 s. One of 30 s, which would be too long, was seen to swallow for 18.
        assert!(since.elapsed() < Duration::from_secs(15), "{last} of {sequence} after {errors} errors");
        // Few, so that the request ends by its time and not by what it swallows.
        sequence += 1;
        publisher.publish(&batch(&btc(), [sequence])).await.unwrap();
        match reader.fetch(100, Duration::from_millis(200)).await {
            Ok(deliveries) => {
                for sequence in delivered(&deliveries) {
                    assert!(sequence <= last + 1, "{sequence} overtook {last}");
                    last = last.max(sequence);
                }
                reader.ack(&deliveries).await.unwrap();
            }
            Err(_) => {
                errors += 1;
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
        }
    }
    drop(ended);
    hanging.join().unwrap();
}
