use domain::{FeedSession, Instrument, Tick, TickBatch, TickFlags, UnixNanos};
use futures::{SinkExt, StreamExt};
use live::{Epoch, LiveFeed};
use runtime::config::Sources;
use serde_json::Value;
use tokio::io::DuplexStream;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode},
};
use tokio_util::task::TaskTracker;

use super::*;
use crate::{
    access::{Caller, Guard},
    clients::{Places, Transport},
    ws::{Cadence, admission::Shown, frame::Numbers, upgrade},
};

fn sessions() -> Sessions {
    let mut sources = Sources::load(None, [], Vec::new()).unwrap();
    let config = sources.read("gateway", Config::read);
    // Room for two ticks: who wants every tick is behind with the third.
    let live = live::Config { ring_ticks_max: 2.try_into().unwrap(), ..config.live };
    let feed = LiveFeed::by_hand(live);
    feed.set_epoch(Epoch { history: "test".into(), ticks: UnixNanos::new(1) });
    feed.set_caught_up();
    Sessions {
        feed,
        guard: Guard::open(config.access.clone()).unwrap(),
        config: Arc::new(config),
        places: Places::new(1),
        cadence: Cadence::new(),
        shutdown: Shutdown::new(),
        tracker: TaskTracker::new(),
    }
}

fn batch(sequences: std::ops::Range<u64>) -> TickBatch {
    let instrument = Instrument::new("coinbase", "BTC-USD").unwrap();
    let tick = |sequence| Tick {
        instrument: instrument.clone(),
        run: 0,
        sequence: Some(sequence),
        event_time: UnixNanos::new(1),
        receive_time: UnixNanos::new(1),
        last_trade: None,
        best_bid: None,
        best_ask: None,
        day: None,
        flags: TickFlags::default(),
    };
    TickBatch {
        ticks: sequences.map(tick).collect(),
        session: FeedSession { id: "test-1".into(), started: UnixNanos::new(1) },
        raw_sequence: None,
        normalised_at: None,
        heartbeat: None,
        instrument,
    }
}

/// A session over a pipe that holds so many bytes, and the client's end of it.
async fn connect(
    sessions: &Sessions,
    dialect: Dialect,
    bytes: usize,
) -> (Running, WebSocketStream<DuplexStream>) {
    let (ours, theirs) = tokio::io::duplex(bytes);
    let wire = Wire::new(ours, Vec::new(), WebSocketConfig::default()).await;
    let client = sessions.places.enter(Transport::WebSocket).unwrap();
    let caller = Caller::anonymous();
    let admitted = Admitted::new(caller.clone(), caller.sit_down().unwrap());
    let session = tokio::spawn(Box::new(Session::new(wire, sessions, client, admitted, dialect)).run());
    (session, WebSocketStream::from_raw_socket(theirs, Role::Client, None).await)
}

type Running = tokio::task::JoinHandle<()>;

async fn json(client: &mut WebSocketStream<DuplexStream>) -> Value {
    let message = client.next().await.unwrap().unwrap();
    serde_json::from_str(message.to_text().unwrap()).unwrap()
}

async fn closed(client: &mut WebSocketStream<DuplexStream>) -> CloseFrame {
    let Some(Ok(Message::Close(Some(close)))) = client.next().await else { panic!("no close") };
    while let Some(Ok(_)) = client.next().await {}
    close
}

const LOSSLESS: &str = r#"{"op":"subscribe","products":["BTC-USD"],"want":"lossless"}"#;

#[tokio::test]
async fn who_is_too_slow_for_every_tick_is_told_and_given_a_token() {
    let sessions = sessions();
    // A pipe for less than a tick: what the client does not read stops the session in the middle of it.
    let (session, mut client) = connect(&sessions, Dialect::Json(Numbers::Number), 100).await;
    client.send(Message::text(LOSSLESS)).await.unwrap();
    assert_eq!(json(&mut client).await["data"]["type"], "live");
    for sequence in 1..=10 {
        sessions.feed.publish(sequence, batch(sequence..sequence + 1));
        tokio::task::yield_now().await;
    }
    let mut last = 0;
    let lagged = loop {
        let message = json(&mut client).await;
        if message["op"] != "incr" {
            break message;
        }
        last += 1;
        assert_eq!(message["data"]["seq"], last, "none is left out before the end");
    };
    assert!(last < 10);
    assert_eq!(
        (lagged["data"]["type"].as_str(), lagged["data"]["product"].as_str()),
        (Some("lagged"), Some("BTC-USD"))
    );
    let token = lagged["data"]["token"].as_str().unwrap();
    assert!(live::Token::parse(token).unwrap().is_of_subscription());
    assert_eq!(closed(&mut client).await.code, CloseCode::Policy);
    session.await.unwrap();
}

#[tokio::test]
async fn a_drain_hands_out_a_token_to_who_wants_events_and_closes_everyone() {
    for (request, is_told) in [(LOSSLESS, true), (r#"{"op":"subscribe","products":["BTC-USD"]}"#, false)] {
        let sessions = sessions();
        let (session, mut client) = connect(&sessions, Dialect::Json(Numbers::Number), 64 * 1024).await;
        client.send(Message::text(request)).await.unwrap();
        client.send(Message::text(r#"{"op":"ping","t":1}"#)).await.unwrap();
        while json(&mut client).await["op"] != "pong" {}
        sessions.feed.publish(1, batch(1..2));
        while json(&mut client).await["op"] != "incr" {}
        sessions.shutdown.request();
        if is_told {
            let closing = json(&mut client).await;
            assert_eq!(closing["data"]["type"], "closing");
            live::Token::parse(closing["data"]["token"].as_str().unwrap()).unwrap();
        }
        assert_eq!(closed(&mut client).await.code, CloseCode::Restart);
        session.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_of_the_whole_subscription_comes_every_five_seconds() {
    let sessions = sessions();
    let (_session, mut client) = connect(&sessions, Dialect::Json(Numbers::Number), 64 * 1024).await;
    sessions.feed.publish(1, batch(1..2));
    client.send(Message::text(r#"{"op":"subscribe","products":["*"],"want_events":true}"#)).await.unwrap();
    assert_eq!(json(&mut client).await["data"]["type"], "live");
    let began = Instant::now();
    let checkpoint = json(&mut client).await;
    assert_eq!(checkpoint["data"]["type"], "checkpoint");
    assert!(began.elapsed() <= Duration::from_secs(6), "{:?}", began.elapsed());
    let token = live::Token::parse(checkpoint["data"]["token"].as_str().unwrap()).unwrap();
    assert!(token.is_of_all());
}

#[tokio::test]
async fn the_future_of_a_client_is_small() {
    let (sessions, (ours, _theirs)) = (sessions(), tokio::io::duplex(1));
    let serving = upgrade::serve(ours, Vec::new(), sessions, Shown::Nothing, Dialect::Protobuf);
    let (future, session) = (size_of_val(&serving), size_of::<Session<DuplexStream>>());
    assert!(future + session < 3_500, "{future} and {session} bytes");
}
