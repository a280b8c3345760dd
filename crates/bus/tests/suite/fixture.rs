//! A bus to test on, and things to publish.

use std::time::Duration;

use async_nats::jetstream;
use bus::{Bus, Config, Delivery, ServerUrl, Work, WorkReader};
use domain::{
    Decimal, FeedSession, Instrument, Position, Shard, Snapshot, Tick, TickBatch, TickFlags, Trade, UnixNanos,
};
use testkit::NatsServer;

/// Long enough for anything that is to happen.
pub const DEADLINE: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug)]
pub enum Substrate {
    Embedded,
    JetStream,
}

/// A broker, and the first participant on it.
pub struct Fixture {
    pub bus: Bus,
    pub config: Config,
    pub server: Option<NatsServer>,
}

impl Substrate {
    /// A fresh broker with all streams.
    pub async fn start(self, config: Config) -> Fixture {
        let fixture = self.start_empty(config).await;
        fixture.bus.ensure_streams().await.unwrap();
        fixture
    }

    /// A fresh broker without any stream.
    pub async fn start_empty(self, config: Config) -> Fixture {
        match self {
            Self::Embedded => Fixture { bus: Bus::embedded(&config), config, server: None },
            Self::JetStream => Fixture::on(NatsServer::start().await, config).await,
        }
    }
}

impl Fixture {
    pub async fn on(server: NatsServer, config: Config) -> Self {
        let config = Config { nats: Some(ServerUrl::new(&server.url()).unwrap()), ..config };
        Self { bus: Bus::connect(&config).await.unwrap(), config, server: Some(server) }
    }

    /// A client that knows nothing of this crate.
    pub async fn foreign(&self) -> jetstream::Context {
        let url = self.server.as_ref().unwrap().url();
        jetstream::new(async_nats::connect(url).await.unwrap())
    }

    /// Another participant, as another process would be.
    pub async fn participant(&self) -> Bus {
        self.participant_with(&self.config).await
    }

    pub async fn participant_with(&self, config: &Config) -> Bus {
        match &self.server {
            None => self.bus.join(config),
            Some(_) => {
                let config = Config { nats: self.config.nats.clone(), ..config.clone() };
                Bus::connect(&config).await.unwrap()
            }
        }
    }
}

pub fn instrument(product: &str) -> Instrument {
    Instrument::new("coinbase", product).unwrap()
}

pub fn btc() -> Instrument {
    instrument("BTC-USD")
}

pub fn eth() -> Instrument {
    instrument("ETH-USD")
}

pub fn session(id: &str) -> FeedSession {
    FeedSession { id: id.into(), started: UnixNanos::from_seconds(1_600_000_000).unwrap() }
}

pub fn tick(instrument: &Instrument, sequence: u64) -> Tick {
    let time = UnixNanos::from_seconds(1_600_000_000 + i64::try_from(sequence).unwrap()).unwrap();
    Tick {
        instrument: instrument.clone(),
        run: 0,
        sequence: Some(sequence),
        event_time: time,
        receive_time: time,
        last_trade: Some(Trade {
            price: Decimal::new(5_000_001, 2),
            size: Decimal::new(123, 8),
            side: None,
            trade_id: Some(sequence),
        }),
        best_bid: None,
        best_ask: None,
        day: None,
        flags: TickFlags::default(),
    }
}

pub fn batch(instrument: &Instrument, sequences: impl IntoIterator<Item = u64>) -> TickBatch {
    TickBatch {
        instrument: instrument.clone(),
        ticks: sequences.into_iter().map(|sequence| tick(instrument, sequence)).collect(),
        session: session("test-1"),
        raw_sequence: None,
        normalised_at: None,
        heartbeat: None,
    }
}

pub fn snapshot(instrument: &Instrument, sequence: u64) -> Snapshot {
    let snapshot = Snapshot::first(&tick(instrument, sequence)).unwrap();
    assert_eq!(snapshot.position, Position { run: 0, sequence });
    snapshot
}

pub fn sequences(batch: &TickBatch) -> Vec<u64> {
    batch.ticks.iter().map(|tick| tick.sequence.unwrap()).collect()
}

pub fn shard_of(bus: &Bus, instrument: &Instrument) -> Shard {
    bus.shards().shard_of(instrument)
}

/// Publishes one raw message for each of the sequences, each acknowledged before the next.
pub async fn publish_raw(bus: &Bus, instrument: &Instrument, sequences: impl IntoIterator<Item = u64>) {
    for sequence in sequences {
        let publisher = bus.raw_publisher(session(&format!("test-{sequence}")));
        publisher.send(tick(instrument, sequence)).await.unwrap();
        publisher.close().await;
    }
}

/// Fetches until `count` messages are there, and fails when they do not come.
pub async fn fetch(reader: &mut WorkReader, count: usize) -> Vec<Delivery> {
    let mut deliveries = Vec::new();
    while deliveries.len() < count {
        let more = reader.fetch(count - deliveries.len(), DEADLINE).await.unwrap();
        assert!(!more.is_empty(), "only {} of {count} messages came", deliveries.len());
        deliveries.extend(more);
    }
    deliveries
}

/// The sequences of the ticks of all deliveries.
pub fn delivered(deliveries: &[Delivery]) -> Vec<u64> {
    deliveries.iter().flat_map(|delivery| sequences(delivery.content.as_ref().unwrap())).collect()
}

pub fn raw_reader(bus: &Bus, instrument: &Instrument) -> WorkReader {
    bus.work(Work::Raw, shard_of(bus, instrument))
}
