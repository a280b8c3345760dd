//! What only a server in another process can do: go away, come back, forget, and hold what others put there.

use std::time::Duration;

use async_nats::jetstream;
use bus::{
    Bus, Config, ConnectError, FollowError, FollowFrom, ManageError, ServerUrl, StreamKind, TickPublisher,
    UndecodableReason,
};
use testkit::{Fault, NatsServer, Proxy, Toward, eventually};
use tokio::time::{Instant, timeout};

use crate::fixture::{
    DEADLINE, Fixture, Substrate, batch, btc, delivered, fetch, raw_reader, sequences, session, shard_of,
    tick,
};

/// Publishes again and again, as a role does, until it is acknowledged.
pub async fn publish_at_last(ticks: &mut TickPublisher, sequence: u64) {
    let until = Instant::now() + DEADLINE;
    while let Err(error) = ticks.publish(&batch(&btc(), [sequence])).await {
        assert!(error.is_retryable() && Instant::now() < until, "{error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_stream_of_another_kind_is_a_conflict_that_names_both() {
    let fixture = Fixture::on(NatsServer::start().await, Config::default()).await;
    let stream = jetstream::stream::Config {
        name: "LF_SNAPSHOTS".into(),
        subjects: vec!["lf.snapshot.>".into()],
        retention: jetstream::stream::RetentionPolicy::Interest,
        ..Default::default()
    };
    fixture.foreign().await.create_stream(stream).await.unwrap();
    let error = fixture.bus.ensure_streams().await.unwrap_err();
    assert!(matches!(&error, ManageError::Conflict { setting: "retention", .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("Interest") && text.contains("Limits") && text.contains("LF_SNAPSHOTS"), "{text}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_at_once() {
    let mut server = NatsServer::start().await;
    let config = Config { nats: Some(ServerUrl::new(&server.url()).unwrap()), ..Config::default() };
    server.stop().await;
    let error = timeout(DEADLINE, Bus::connect(&config)).await.unwrap().unwrap_err();
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains(&server.url()));
    let none = Bus::connect(&Config::default()).await.unwrap_err();
    assert!(matches!(none, ConnectError::NoServer));
}

#[tokio::test]
async fn a_server_that_takes_only_small_messages_is_refused() {
    let server = NatsServer::start_with("max_payload: 65536").await;
    let config = Config { nats: Some(ServerUrl::new(&server.url()).unwrap()), ..Config::default() };
    let error = Bus::connect(&config).await.unwrap_err();
    assert!(matches!(error, ConnectError::PayloadLimit { found: 65536, .. }), "{error}");
}

#[tokio::test]
async fn nothing_is_lost_or_doubled_while_the_server_is_away() {
    let config = Config { publish_timeout: Duration::from_secs(1), ..Config::default() };
    let mut fixture = Substrate::JetStream.start(config).await;
    let shard = shard_of(&fixture.bus, &btc());
    let raw = fixture.bus.raw_publisher(session("host-1"));
    let mut reader = raw_reader(&fixture.bus, &btc());
    let mut ticks = fixture.bus.tick_publisher(shard);
    let mut follower = fixture.bus.follow_ticks(FollowFrom::AfterSequence(0));
    raw.send(tick(&btc(), 1)).await.unwrap();
    let before = fetch(&mut reader, 1).await;
    ticks.publish(&batch(&btc(), [1])).await.unwrap();
    assert_eq!(follower.next().await.unwrap().stream_sequence, 1);

    fixture.server.as_mut().unwrap().kill().await;
    for sequence in 2..=50 {
        raw.send(tick(&btc(), sequence)).await.unwrap();
    }
    let unanswered = ticks.publish(&batch(&btc(), [2])).await.unwrap_err();
    assert!(unanswered.is_retryable(), "{unanswered}");
    fixture.server.as_mut().unwrap().restart().await;

    timeout(DEADLINE, raw.close()).await.unwrap();
    // A batch that was stored without an acknowledgement is found, not stored again.
    publish_at_last(&mut ticks, 2).await;
    ticks.publish(&batch(&btc(), [3])).await.unwrap();
    let mut seen = Vec::new();
    while seen.last() != Some(&3) {
        match timeout(DEADLINE, follower.next()).await.unwrap() {
            Ok(followed) => seen.extend(sequences(&followed.content)),
            Err(FollowError::Broker(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(seen, [2, 3]);
    drop(before);
    let mut seen: Vec<u64> = Vec::new();
    while seen.last() != Some(&50) {
        match reader.fetch(10, Duration::from_secs(5)).await {
            Ok(deliveries) => {
                seen.extend(delivered(&deliveries));
                reader.ack(&deliveries).await.unwrap();
            }
            Err(_) => reader.restart(),
        }
    }
    // What was fetched before and not acknowledged may come once more, and first.
    if seen.first() == Some(&1) {
        seen.remove(0);
    }
    assert_eq!(seen, (2..=50).collect::<Vec<_>>());
}

/// What a broken connection swallowed is not waited for until the time for an acknowledgement is over.
#[tokio::test]
async fn what_was_on_its_way_is_repeated_when_the_connection_is_back() {
    let long = Duration::from_secs(120);
    let config =
        Config { publish_timeout: long, retry_delay_min: long, retry_delay_max: long, ..Config::default() };
    let fixture = Fixture::on(NatsServer::start().await, config.clone()).await;
    fixture.bus.ensure_streams().await.unwrap();
    let proxy = Proxy::start(&format!("127.0.0.1:{}", fixture.server.as_ref().unwrap().port())).await;
    let nats = Some(ServerUrl::new(&format!("nats://{}", proxy.address())).unwrap());
    let bus = Bus::connect(&Config { nats, ..config }).await.unwrap();
    let raw = bus.raw_publisher(session("host-1"));
    let mut ticks = bus.tick_publisher(shard_of(&bus, &btc()));
    ticks.recover().await.unwrap();
    proxy.set_toward(Toward::Client, Fault::Blackhole);
    raw.send(tick(&btc(), 1)).await.unwrap();
    let asked = tokio::spawn(async move { (ticks.publish(&batch(&btc(), [1])).await, ticks) });
    for kind in [StreamKind::Raw, StreamKind::Ticks] {
        eventually(DEADLINE, || async {
            let stored = fixture.bus.stream_state(kind).await.unwrap().messages;
            if stored == 1 { Ok(()) } else { Err(format!("{stored} in {kind:?}")) }
        })
        .await;
    }
    proxy.cut();
    eventually(DEADLINE, || async { if bus.is_connected() { Err("still connected") } else { Ok(()) } }).await;
    proxy.set(Fault::Pass);
    timeout(DEADLINE, raw.close()).await.expect("published again, and recognised");
    let (unanswered, mut ticks) = timeout(DEADLINE, asked).await.expect("told at once").unwrap();
    assert!(unanswered.unwrap_err().is_retryable());
    publish_at_last(&mut ticks, 1).await;
    for kind in [StreamKind::Raw, StreamKind::Ticks] {
        assert_eq!(fixture.bus.stream_state(kind).await.unwrap().messages, 1, "{kind:?}");
    }
}

#[tokio::test]
async fn a_server_that_forgot_everything_is_noticed() {
    let mut fixture = Substrate::JetStream.start(Config::default()).await;
    let created = fixture.bus.stream_state(StreamKind::Raw).await.unwrap().created;
    let mut ticks = fixture.bus.tick_publisher(shard_of(&fixture.bus, &btc()));
    let mut follower = fixture.bus.follow_ticks(FollowFrom::LastPerSubject);
    for sequence in 1..=3 {
        ticks.publish(&batch(&btc(), [sequence])).await.unwrap();
        assert_eq!(follower.next().await.unwrap().stream_sequence, sequence);
    }
    fixture.server.as_mut().unwrap().wipe().await;
    eventually(DEADLINE, || async { fixture.bus.ensure_streams().await }).await;
    assert!(fixture.bus.stream_state(StreamKind::Raw).await.unwrap().created > created);
    publish_at_last(&mut ticks, 4).await;
    let restarted = loop {
        match timeout(DEADLINE, follower.next()).await.unwrap() {
            Err(FollowError::Broker(_)) => {}
            Err(error) => break error,
            Ok(followed) => panic!("{followed:?}"),
        }
    };
    assert!(matches!(restarted, FollowError::Restarted { known: 3, last: 1, .. }), "{restarted}");
    assert_eq!(sequences(&follower.next().await.unwrap().content), [4]);
}

#[tokio::test]
async fn what_cannot_be_decoded_is_handed_over_with_the_reason() {
    let fixture = Substrate::JetStream.start(Config::default()).await;
    let foreign = fixture.foreign().await;
    let subject = fixture.bus.subjects().raw(&btc());
    foreign.publish(subject.clone(), "no protobuf".into()).await.unwrap().await.unwrap();
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("lf-schema", "ledgerflux.v9.TickBatch");
    foreign.publish_with_headers(subject.clone(), headers, "x".into()).await.unwrap().await.unwrap();
    let mut reader = raw_reader(&fixture.bus, &btc());
    let deliveries = fetch(&mut reader, 2).await;
    let faults: Vec<_> = deliveries.iter().map(|delivery| delivery.content.as_ref().unwrap_err()).collect();
    assert_eq!((faults[0].stream_sequence, faults[0].subject.as_str()), (1, subject.as_str()));
    assert_eq!(&faults[0].raw[..], b"no protobuf");
    assert!(matches!(*faults[0].why, UndecodableReason::Payload(_)));
    assert!(matches!(&*faults[1].why, UndecodableReason::Schema { found, .. } if found.contains("v9")));
    reader.ack(&deliveries).await.unwrap();
    let empty = || async { fixture.bus.stream_state(StreamKind::Raw).await.unwrap().messages == 0 };
    eventually(DEADLINE, empty).await;
}
