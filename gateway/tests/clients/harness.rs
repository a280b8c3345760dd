//! A gateway on a free port, with a bus to publish to.

use std::{net::SocketAddr, time::Duration};

use bus::Bus;
use domain::{
    Decimal, FeedSession, Instrument, Quote, Tick, TickBatch, TickFlags, Trade, UnixNanos, parse_number,
};
use futures::{SinkExt, StreamExt};
use gateway::Config;
use runtime::{
    Readiness, RoleContext, Shutdown,
    config::{Flag, Sources},
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::timeout,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Message, protocol::CloseFrame},
};

pub(crate) const PATIENCE: Duration = Duration::from_secs(15);
/// An event time, in nanoseconds, that no float can hold.
pub(crate) const EVENT_TIME: i64 = 1_700_000_000_123_456_789;

pub(crate) struct Gateway {
    pub(crate) bus: Bus,
    pub(crate) address: SocketAddr,
    pub(crate) shutdown: Shutdown,
    running: JoinHandle<Result<(), gateway::Error>>,
}

/// The configuration that a file without a section `gateway` gives.
pub(crate) fn config() -> Config {
    config_with(&[])
}

/// The same with keys of the section set.
pub(crate) fn config_with(keys: &[(&str, &str)]) -> Config {
    let flag = |(key, value): &(&str, &str)| Flag::new(format!("gateway.{key}"), *value, "the test");
    let mut sources = Sources::load(None, [], keys.iter().map(flag).collect()).unwrap();
    let config = sources.read("gateway", Config::read);
    sources.finish().unwrap();
    config
}

impl Gateway {
    /// A gateway that is ready.
    pub(crate) async fn start(config: Config) -> Self {
        let bus = Bus::embedded(&bus::Config::default());
        bus.ensure_streams().await.unwrap();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (readiness, shutdown) = (Readiness::new(), Shutdown::new());
        let ctx = RoleContext::new(readiness.clone(), shutdown.clone());
        let running = tokio::spawn(gateway::run(config, listener, bus.clone(), ctx));
        timeout(PATIENCE, readiness.ready()).await.expect("the gateway becomes ready");
        Self { bus, address, shutdown, running }
    }

    /// A publisher of one product, as the normalizer is.
    pub(crate) async fn publisher(&self, product: &str) -> Publisher {
        Publisher::on(&self.bus, product).await
    }

    pub(crate) async fn websocket(&self, path: &str) -> Client {
        let (socket, _) = connect_async(format!("ws://{}{path}", self.address)).await.unwrap();
        Client(socket)
    }

    /// Ends it and waits until it has ended.
    pub(crate) async fn stop(self) {
        self.shutdown.request();
        timeout(PATIENCE, self.running).await.expect("the gateway drains").unwrap().unwrap();
    }

    /// One request over HTTP/1.1, the answer as text with its head.
    pub(crate) async fn http(&self, request: &str) -> String {
        let mut socket = TcpStream::connect(self.address).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        timeout(PATIENCE, socket.read_to_end(&mut answer)).await.expect("the server closes").unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    pub(crate) async fn get(&self, path: &str) -> String {
        self.http(&format!("GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", self.address))
            .await
    }
}

pub(crate) struct Publisher {
    pub(crate) instrument: Instrument,
    publisher: bus::TickPublisher,
}

impl Publisher {
    pub(crate) async fn on(bus: &Bus, product: &str) -> Self {
        let instrument = Instrument::new("coinbase", product).unwrap();
        let mut publisher = bus.tick_publisher(bus.shards().shard_of(&instrument));
        publisher.recover().await.unwrap();
        Self { instrument, publisher }
    }

    pub(crate) async fn publish(&mut self, sequences: impl IntoIterator<Item = u64>) {
        let ticks = sequences.into_iter().map(|sequence| tick(&self.instrument, sequence)).collect();
        let batch = TickBatch {
            instrument: self.instrument.clone(),
            ticks,
            session: FeedSession { id: "test-1".into(), started: UnixNanos::new(1) },
            raw_sequence: None,
            normalised_at: None,
            heartbeat: None,
        };
        self.publisher.publish(&batch).await.unwrap();
    }
}

/// A tick whose trade has a price that no float can hold; the bid is its sequence.
pub(crate) fn tick(instrument: &Instrument, sequence: u64) -> Tick {
    let quote = |price| Some(Quote { price, size: None });
    Tick {
        instrument: instrument.clone(),
        run: 0,
        sequence: Some(sequence),
        event_time: UnixNanos::new(EVENT_TIME),
        receive_time: UnixNanos::now(),
        last_trade: Some(Trade {
            price: parse_number("61234.12345678901234567890").unwrap(),
            size: parse_number("0.10").unwrap(),
            side: None,
            trade_id: Some(sequence),
        }),
        best_bid: quote(Decimal::from(sequence.max(1))),
        best_ask: quote(Decimal::from(sequence.max(1) + 1)),
        day: None,
        flags: TickFlags::default(),
    }
}

pub(crate) struct Client(pub(crate) WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Client {
    pub(crate) async fn send(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    /// The next frame as text; pings are passed over.
    pub(crate) async fn text(&mut self) -> String {
        loop {
            match timeout(PATIENCE, self.0.next())
                .await
                .expect("a frame arrives")
                .expect("still open")
                .unwrap()
            {
                Message::Text(text) => return text.to_string(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("unexpected {other:?}"),
            }
        }
    }

    pub(crate) async fn json(&mut self) -> Value {
        serde_json::from_str(&self.text().await).unwrap()
    }

    /// Sends `request` and expects an error with this code; returns its message.
    pub(crate) async fn refused(&mut self, request: &str, code: &str) -> String {
        self.send(request).await;
        let answer = self.json().await;
        assert_eq!(
            (answer["op"].as_str(), answer["code"].as_str()),
            (Some("error"), Some(code)),
            "{request}"
        );
        answer["msg"].as_str().unwrap().to_owned()
    }

    /// Waits until the server has taken in everything that was sent before.
    pub(crate) async fn settle(&mut self) {
        self.send(r#"{"op":"ping","t":1}"#).await;
        assert_eq!(self.json().await["op"], "pong");
    }

    /// Reads to the end and returns the close.
    pub(crate) async fn closed(&mut self) -> Option<CloseFrame> {
        let mut close = None;
        while let Ok(Some(Ok(message))) = timeout(PATIENCE, self.0.next()).await {
            if let Message::Close(frame) = message {
                close = frame;
            }
        }
        close
    }
}
