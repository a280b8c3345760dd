use live::{LiveFeed, Policy, Products};
use runtime::config::Sources;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_util::task::TaskTracker;

use super::*;
use crate::clients::{Places, Transport};

fn sessions() -> Sessions {
    let mut sources = Sources::load(None, [], Vec::new()).unwrap();
    let config = sources.read("gateway", Config::read);
    // Room for one tick: who wants every tick is behind with the second.
    let live = live::Config { ring_ticks_max: 1.try_into().unwrap(), ..config.live };
    Sessions {
        feed: LiveFeed::by_hand(live),
        config: Arc::new(config),
        places: Places::new(1),
        shutdown: Shutdown::new(),
        tracker: TaskTracker::new(),
    }
}

fn batch(sequences: std::ops::Range<u64>) -> domain::TickBatch {
    let instrument = domain::Instrument::new("coinbase", "BTC-USD").unwrap();
    let tick = |sequence| domain::Tick {
        instrument: instrument.clone(),
        run: 0,
        sequence: Some(sequence),
        event_time: domain::UnixNanos::new(1),
        receive_time: domain::UnixNanos::new(1),
        last_trade: None,
        best_bid: None,
        best_ask: None,
        day: None,
        flags: domain::TickFlags::default(),
    };
    domain::TickBatch {
        ticks: sequences.map(tick).collect(),
        session: domain::FeedSession { id: "test-1".into(), started: domain::UnixNanos::new(1) },
        raw_sequence: None,
        normalised_at: None,
        heartbeat: None,
        instrument,
    }
}

#[tokio::test]
async fn a_subscription_that_ends_is_an_internal_error_and_a_close() {
    let sessions = sessions();
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let socket = WebSocketStream::from_raw_socket(ours, Role::Server, None).await;
    let client = sessions.places.enter(Transport::WebSocket).unwrap();
    let mut session = Session::new(socket, &sessions, client, Numbers::default());
    session.subscription = Subscription::new(&sessions.feed, Products::All, &Start::Now, Policy::Lossless);
    sessions.feed.publish(1, batch(0..3));
    let session = tokio::spawn(session.run());

    let mut client = WebSocketStream::from_raw_socket(theirs, Role::Client, None).await;
    let told = client.next().await.unwrap().unwrap().into_text().unwrap();
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!((told["op"].as_str(), told["code"].as_str()), (Some("error"), Some("INTERNAL_ERROR")));
    let Message::Close(Some(close)) = client.next().await.unwrap().unwrap() else { panic!("no close") };
    assert_eq!(close.code, CloseCode::Error);
    while let Some(Ok(_)) = client.next().await {}
    session.await.unwrap();
}
