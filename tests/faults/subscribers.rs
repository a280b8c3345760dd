//! Clients that follow every product for as long as a run lasts, and a witness of what the broker gets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::{UnixNanos, parse_number};
use futures::{SinkExt as _, StreamExt as _};
use proto::v1::{
    DeliveryPolicy, LosslessDelivery, StreamEventKind, SubscribeRequest, delivery_policy::Policy,
    streaming_service_client::StreamingServiceClient, subscribe_response::Message,
};
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite;

use crate::evidence::Seen;

pub(crate) const RECONNECT_DELAY: Duration = Duration::from_millis(50);
/// Events that a stream without a seam does not have.
const BREAKS: [StreamEventKind; 5] = [
    StreamEventKind::Gap,
    StreamEventKind::Repaired,
    StreamEventKind::Stale,
    StreamEventKind::Lagged,
    StreamEventKind::NotRecovered,
];

/// A task with something to look at; it ends when this is dropped.
pub(crate) struct Watched<T> {
    shared: Arc<Mutex<T>>,
    task: JoinHandle<()>,
}

impl<T: Default + Send + 'static> Watched<T> {
    /// Starts what fills it.
    pub(crate) fn new<F>(fill: impl FnOnce(Arc<Mutex<T>>) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let shared = Arc::new(Mutex::new(T::default()));
        let task = tokio::spawn(fill(Arc::clone(&shared)));
        Self { shared, task }
    }
}

impl<T> Watched<T> {
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        lock(&self.shared)
    }
}

impl<T> Drop for Watched<T> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Follows over WebSocket, with the default delivery: the newest tick when it cannot keep up.
pub(crate) fn websocket(address: String, products: Vec<String>) -> Watched<Seen> {
    Watched::new(async move |seen| {
        loop {
            // A connection that ends is made anew: why it ended does not matter here.
            let _ = follow_websocket(&address, &products, &seen).await;
            tokio::time::sleep(RECONNECT_DELAY).await;
        }
    })
}

async fn follow_websocket(
    address: &str,
    products: &[String],
    seen: &Mutex<Seen>,
) -> Result<(), tungstenite::Error> {
    let (mut socket, _) =
        tokio_tungstenite::connect_async(format!("ws://{address}/ws?numbers=string")).await?;
    let subscribe = serde_json::json!({ "op": "subscribe", "products": products }).to_string();
    socket.send(tungstenite::Message::text(subscribe)).await?;
    lock(seen).connected();
    while let Some(message) = socket.next().await {
        let tungstenite::Message::Text(text) = message? else { continue };
        let message: Value = serde_json::from_str(&text).expect("a message in JSON");
        take(&message, seen, false);
    }
    Ok(())
}

/// Takes note of a message in JSON: of a tick or a snapshot.
pub(crate) fn take(message: &Value, seen: &Mutex<Seen>, resumes: bool) {
    let data = &message["data"];
    let is_snapshot = message["op"] == "snapshot";
    if !is_snapshot && (message["op"] != "incr" || data["backfilled"] == true) {
        return;
    }
    let product = data["product"].as_str().expect("a product");
    let run = u32::try_from(data["run"].as_u64().expect("a run")).expect("a run");
    let sequence = data["seq"].as_u64().expect("a sequence");
    let mut seen = lock(seen);
    if is_snapshot {
        seen.snapshot(product, (run, sequence));
        return;
    }
    let ts_event = data["ts_event"].as_str().and_then(|text| text.parse().ok()).expect("a time");
    let trade = &data["fields"]["last_trade"];
    let price = trade["px"].as_str().and_then(|text| parse_number(text).ok());
    let trade = trade["trade_id"].as_u64().zip(price);
    seen.tick(product, (run, sequence), ts_event, trade);
    if resumes {
        seen.follows(product, (run, sequence));
    }
}

/// Follows over gRPC, without leaving anything out.
pub(crate) fn grpc(address: String) -> Watched<Seen> {
    Watched::new(async move |seen| {
        loop {
            let _ = follow_grpc(&address, &seen).await;
            tokio::time::sleep(RECONNECT_DELAY).await;
        }
    })
}

async fn follow_grpc(address: &str, seen: &Mutex<Seen>) -> anyhow::Result<()> {
    let mut client = StreamingServiceClient::connect(format!("http://{address}")).await?;
    let delivery = DeliveryPolicy { policy: Some(Policy::Lossless(LosslessDelivery {})) };
    let request =
        SubscribeRequest { products: vec!["*".into()], delivery: Some(delivery), ..Default::default() };
    let mut messages = client.subscribe(request).await?.into_inner();
    lock(seen).connected();
    while let Some(response) = messages.message().await? {
        let update = match response.message {
            Some(Message::Tick(update)) => update,
            Some(Message::Snapshot(update)) => {
                let snapshot = domain::Snapshot::try_from(update.snapshot.expect("a snapshot"));
                let snapshot = snapshot.expect("a snapshot that can be read");
                let position = (snapshot.position.run, snapshot.position.sequence);
                lock(seen).snapshot(snapshot.instrument.product.as_str(), position);
                continue;
            }
            Some(Message::Event(event)) => {
                if BREAKS.contains(&event.kind()) {
                    lock(seen).told.push(format!("{} {}", event.kind().as_str_name(), event.product));
                }
                continue;
            }
            None => continue,
        };
        let tick = domain::Tick::try_from(update.tick.expect("a tick")).expect("a tick that can be read");
        let Some(position) = tick.position().filter(|_| !tick.flags.backfilled) else { continue };
        let trade = tick.last_trade.and_then(|trade| trade.trade_id.zip(Some(trade.price)));
        let product = tick.instrument.product.to_string();
        lock(seen).tick(&product, (position.run, position.sequence), tick.event_time.nanos(), trade);
    }
    Ok(())
}

/// Trades that the broker was seen to get from an ingestor, per product.
#[derive(Clone, Debug, Default)]
pub(crate) struct Accepted {
    pub(crate) all: BTreeMap<String, BTreeSet<u64>>,
    /// Those that came from the live feed, rather than having been fetched.
    pub(crate) live: BTreeMap<String, BTreeSet<u64>>,
}

/// Listens to what ingestors publish, beside the stream: what is seen here has reached the broker. Each node is listened to
/// by itself, as it may be the only one that hears.
pub(crate) async fn witness(nodes: &[String]) -> Watched<Accepted> {
    let mut heard = Vec::new();
    for node in nodes {
        let options = async_nats::ConnectOptions::new()
            .ignore_discovered_servers()
            .retry_on_initial_connect()
            .subscription_capacity(1 << 18)
            .reconnect_delay_callback(|_| Duration::from_millis(20));
        let client = options.connect(node).await.expect("a connection to the broker");
        let messages = client.subscribe("lf.raw.>").await.expect("a subscription");
        client.flush().await.expect("the subscription is there");
        // The client lives as long as its subscription.
        heard.push(messages.map(move |message| (client.clone(), message)));
    }
    let mut heard = futures::stream::select_all(heard);
    Watched::new(async move |accepted: Arc<Mutex<Accepted>>| {
        while let Some((_, message)) = heard.next().await {
            let batch = proto::decode_batch(&message.payload).expect("a batch that can be read");
            let product = batch.instrument.product.to_string();
            let mut accepted = lock(&accepted);
            for tick in &batch.ticks {
                let Some(trade_id) = tick.last_trade.as_ref().and_then(|trade| trade.trade_id) else {
                    continue;
                };
                accepted.all.entry(product.clone()).or_default().insert(trade_id);
                if tick.sequence.is_some() {
                    accepted.live.entry(product.clone()).or_default().insert(trade_id);
                }
            }
        }
    })
}

/// Now, in nanoseconds since 1970.
pub(crate) fn now() -> i64 {
    UnixNanos::now().nanos()
}
