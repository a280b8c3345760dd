//! The market that is broadcast: ticks of 20 products at a fixed rate.

use std::time::Duration;

use bus::{Bus, TickPublisher};
use domain::{
    DayStats, Decimal, FeedSession, Instrument, Quote, Side, Tick, TickBatch, TickFlags, Trade, UnixNanos,
};

pub(crate) const PRODUCTS: u32 = 20;
/// The clock of tokio has a grain of a millisecond.
const GRAIN_PER_SECOND: u32 = 1_000;

pub(crate) struct Market {
    publishers: Vec<(Instrument, TickPublisher)>,
    ticks: u64,
}

impl Market {
    pub(crate) async fn on(bus: &Bus) -> Self {
        let mut publishers = Vec::new();
        for number in 0..PRODUCTS {
            let instrument = Instrument::new("coinbase", &format!("PROD{number}-USD")).unwrap();
            let mut publisher = bus.tick_publisher(bus.shards().shard_of(&instrument));
            publisher.recover().await.unwrap();
            publishers.push((instrument, publisher));
        }
        Self { publishers, ticks: 0 }
    }

    /// Publishes evenly, the products in turns, and says how many ticks it were.
    pub(crate) async fn run(&mut self, per_second: u32, length: Duration) -> u64 {
        let (began, before) = (tokio::time::Instant::now(), self.ticks);
        let ends = began + length;
        let steps = per_second.min(GRAIN_PER_SECOND);
        for step in 0.. {
            let due = began + Duration::from_secs(1) * step / steps;
            tokio::time::sleep_until(due).await;
            if tokio::time::Instant::now() >= ends {
                break;
            }
            let until = before + u64::from(per_second) * u64::from(step + 1) / u64::from(steps);
            self.publish(until).await;
        }
        self.ticks - before
    }

    async fn publish(&mut self, until: u64) {
        while self.ticks < until {
            let turn = usize::try_from(self.ticks).unwrap() % self.publishers.len();
            let (instrument, publisher) = &mut self.publishers[turn];
            let batch = TickBatch {
                instrument: instrument.clone(),
                ticks: vec![tick(instrument, self.ticks)],
                session: FeedSession { id: "bench".into(), started: UnixNanos::new(1) },
                raw_sequence: None,
                normalised_at: None,
                heartbeat: None,
            };
            publisher.publish(&batch).await.unwrap();
            self.ticks += 1;
        }
    }
}

/// As a ticker of the exchange tells it. It enters now.
fn tick(instrument: &Instrument, number: u64) -> Tick {
    let now = UnixNanos::now();
    let cents = |offset: u64| Decimal::new(i64::try_from(6_100_000 + number % 997 + offset).unwrap(), 2);
    let size = |factor: u64| Decimal::new(i64::try_from(number * factor % 99_991 + 1).unwrap(), 8);
    let quote = |offset| Some(Quote { price: cents(offset), size: Some(size(offset)) });
    Tick {
        instrument: instrument.clone(),
        run: 0,
        sequence: Some(50_000_000_000 + number * 7),
        event_time: now,
        receive_time: now,
        last_trade: Some(Trade {
            price: cents(1),
            size: size(3),
            side: Some(Side::Buy),
            trade_id: Some(700_000_000 + number),
        }),
        best_bid: quote(2),
        best_ask: quote(5),
        day: Some(DayStats {
            open_24h: Some(cents(7)),
            high_24h: Some(cents(900)),
            low_24h: Some(cents(9)),
            volume_24h: Some(size(77_777)),
            volume_30d: Some(size(99_999)),
        }),
        flags: TickFlags::default(),
    }
}
