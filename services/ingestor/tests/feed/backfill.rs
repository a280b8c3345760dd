//! What the REST API of the simulated exchange brings: details of products, and trades that are missing.

use std::collections::BTreeMap;

use bus::{Bus, Source, Work};
use domain::{EventKind, FeedEvent, Gap, GapCause, GapState, Instrument, Side, Tick, TickBatch, UnixNanos};
use ingestor::{Config, RestUrl};
use testkit::eventually;
use tokio::time::timeout;

use crate::support::{Exchange, Ingestor, PATIENCE, config, faulty};

const FIRST_TRADE: u64 = 1_000;

/// A market whose trades are numbered from 1,000.
async fn exchange(names: &[&str], faults: &[&str]) -> Exchange {
    let mut sending = faulty(names, simulator::Rate::PerSecond(500), faults);
    if let simulator::Source::Generate(generate) = &mut sending.source {
        generate.first_trade_id = Some(FIRST_TRADE);
    }
    Exchange::start(sending).await
}

fn with_rest(exchange: &Exchange, names: &[&str]) -> Config {
    Config { rest_url: RestUrl::Auto, backfill_attempts_max: 1, ..config(&exchange.url(), names) }
}

fn instrument() -> Instrument {
    Instrument::new("coinbase", "BTC-USD").unwrap()
}

fn gap(first: u64, last: u64) -> Gap {
    Gap {
        instrument: instrument(),
        run: 0,
        first_trade_id: first,
        last_trade_id: last,
        after: None,
        before: None,
        detected_at: UnixNanos::now(),
        cause: GapCause::Disconnect,
        state: GapState::Open,
        repaired_count: 0,
    }
}

async fn publish(bus: &Bus, kind: EventKind) {
    let (EventKind::Gap(gap) | EventKind::Repaired(gap)) = &kind else { panic!("{kind:?} is of no gap") };
    let event =
        FeedEvent { instrument: gap.instrument.clone(), time: UnixNanos::now(), source: "test".into(), kind };
    bus.publish_event(&event).await.unwrap();
}

/// Everything in `LF_RAW` of BTC-USD: live ticks by number, and the batches of fills.
struct Raw<'a> {
    ingestor: &'a Ingestor,
    live: BTreeMap<u64, Tick>,
    fills: Vec<TickBatch>,
}

impl<'a> Raw<'a> {
    fn of(ingestor: &'a Ingestor) -> Self {
        Self { ingestor, live: BTreeMap::new(), fills: Vec::new() }
    }

    async fn read(&mut self) {
        let shard = self.ingestor.bus.shards().shard_of(&instrument());
        let mut reader = self.ingestor.bus.work(Work::Raw, shard);
        let deliveries = reader.fetch(1_000, std::time::Duration::from_millis(50)).await.unwrap();
        for delivery in &deliveries {
            let batch = delivery.content.clone().unwrap();
            match delivery.source {
                Source::Live => {
                    self.live.extend(batch.ticks.into_iter().map(|tick| (tick.trade_id().unwrap(), tick)))
                }
                Source::Fill => self.fills.push(batch),
            }
        }
        reader.ack(&deliveries).await.unwrap();
    }

    async fn until(&mut self, enough: impl Fn(&Self) -> bool) {
        let reading = async {
            while !enough(self) {
                self.read().await;
            }
        };
        timeout(PATIENCE, reading).await.expect("enough has come");
    }

    fn filled(&self) -> Vec<u64> {
        self.fills.iter().flat_map(|batch| &batch.ticks).map(|tick| tick.trade_id().unwrap()).collect()
    }
}

#[tokio::test]
async fn exactly_the_trades_of_a_gap_are_fetched_in_ascending_order_and_are_those_that_were_made() {
    let exchange = exchange(&["BTC-USD"], &[]).await;
    let mut ingestor = Ingestor::start(with_rest(&exchange, &["BTC-USD"])).await;
    let mut raw = Raw::of(&ingestor);
    raw.until(|raw| raw.live.len() > 100).await;
    let first = *raw.live.keys().next().unwrap();
    publish(&ingestor.bus, EventKind::Gap(gap(first + 10, first + 40))).await;
    publish(&ingestor.bus, EventKind::Gap(gap(first + 60, first + 60))).await;
    raw.until(|raw| raw.filled().len() >= 32).await;
    let mut filled = raw.filled();
    assert!(raw.fills.iter().all(|batch| batch.ticks.is_sorted_by_key(Tick::trade_id)));
    filled.sort_unstable();
    assert_eq!(filled, (first + 10..=first + 40).chain([first + 60]).collect::<Vec<_>>());
    for fill in raw.fills.iter().flat_map(|batch| &batch.ticks) {
        let live = raw.live[&fill.trade_id().unwrap()].clone();
        assert_eq!(fill.last_trade, live.last_trade, "price, size and the side of the taker");
        assert!(fill.flags.backfilled && fill.sequence.is_none());
        assert!(fill.best_bid.is_none() && fill.best_ask.is_none() && fill.day.is_none());
    }
    let sides: Vec<Side> = raw.live.values().filter_map(|tick| tick.last_trade.as_ref()?.side).collect();
    assert!(sides.contains(&Side::Buy) && sides.contains(&Side::Sell));
    drop(raw);
    ingestor.stop().await;
    exchange.stop().await;
}

#[tokio::test]
async fn what_the_exchange_has_not_got_and_what_is_too_much_is_said_to_be_unrepairable() {
    let exchange = exchange(&["BTC-USD"], &[]).await;
    let modest = Config { backfill_trades_max: 5_000, ..with_rest(&exchange, &["BTC-USD"]) };
    let mut ingestor = Ingestor::start(modest).await;
    let mut raw = Raw::of(&ingestor);
    raw.until(|raw| raw.live.len() > 50).await;
    drop(raw);
    // The exchange has nothing before its first trade.
    publish(&ingestor.bus, EventKind::Gap(gap(FIRST_TRADE - 100, FIRST_TRADE + 9))).await;
    publish(&ingestor.bus, EventKind::Gap(gap(1_000_000, 1_005_000))).await;
    let told = timeout(PATIENCE, read_repaired(&ingestor, 2)).await.expect("both are told");
    let of = |first: u64| told.iter().find(|gap| gap.first_trade_id == first).unwrap();
    let old = of(FIRST_TRADE - 100);
    assert_eq!(old.state, GapState::Unrepairable);
    assert!(old.last_trade_id.abs_diff(FIRST_TRADE) <= 1, "what the exchange has is fetched: {old:?}");
    let large = of(1_000_000);
    assert_eq!((large.state, large.last_trade_id), (GapState::Unrepairable, 1_005_000));
    ingestor.stop().await;
    exchange.stop().await;
}

async fn read_repaired(ingestor: &Ingestor, count: usize) -> Vec<Gap> {
    let mut follower = ingestor.bus.follow_events(bus::FollowFrom::AfterSequence(0));
    let mut repaired = Vec::new();
    while repaired.len() < count {
        if let EventKind::Repaired(gap) = follower.next().await.unwrap().content.kind {
            repaired.push(gap);
        }
    }
    repaired
}

#[tokio::test]
async fn a_product_of_which_nothing_can_be_read_does_not_keep_the_others_waiting() {
    let names = ["BTC-USD", "ETH-USD"];
    let exchange = exchange(&names, &["rest_garbage:products=ETH-USD"]).await;
    let mut ingestor = Ingestor::start(with_rest(&exchange, &names)).await;
    let mut raw = Raw::of(&ingestor);
    raw.until(|raw| raw.live.len() > 50).await;
    publish(&ingestor.bus, EventKind::Gap(gap(FIRST_TRADE + 1, FIRST_TRADE + 5))).await;
    // A gap waits for a random time at first: of so many newer ones, one is asked for before it.
    for number in 0..20 {
        let first = FIRST_TRADE + 2 * number;
        let eth = Instrument::new("coinbase", "ETH-USD").unwrap();
        publish(&ingestor.bus, EventKind::Gap(Gap { instrument: eth, ..gap(first, first) })).await;
    }
    raw.until(|raw| raw.filled().len() == 5).await;
    assert!(raw.fills.iter().all(|batch| batch.instrument == instrument()));
    drop(raw);
    ingestor.stop().await;
    exchange.stop().await;
}

#[tokio::test]
async fn gaps_that_were_closed_before_the_start_are_not_fetched() {
    let exchange = exchange(&["BTC-USD"], &[]).await;
    let bus = Bus::embedded(&bus::Config::default());
    bus.ensure_streams().await.unwrap();
    publish(&bus, EventKind::Gap(gap(FIRST_TRADE + 1, FIRST_TRADE + 5))).await;
    publish(&bus, EventKind::Gap(gap(FIRST_TRADE + 8, FIRST_TRADE + 9))).await;
    let closed =
        Gap { state: GapState::Repaired, repaired_count: 5, ..gap(FIRST_TRADE + 1, FIRST_TRADE + 5) };
    publish(&bus, EventKind::Repaired(closed)).await;
    let mut ingestor = Ingestor::start_on(with_rest(&exchange, &["BTC-USD"]), bus).await;
    let mut raw = Raw::of(&ingestor);
    raw.until(|raw| !raw.fills.is_empty()).await;
    assert_eq!(raw.filled(), [FIRST_TRADE + 8, FIRST_TRADE + 9]);
    drop(raw);
    ingestor.stop().await;
    exchange.stop().await;
}

#[tokio::test]
async fn the_details_of_configured_products_are_published() {
    let exchange = exchange(&["BTC-USD", "ETH-USD"], &[]).await;
    let names = ["BTC-USD", "NOT-LISTED"];
    let mut ingestor = Ingestor::start(with_rest(&exchange, &names)).await;
    let details = || async {
        let mut follower = ingestor.bus.follow_events(bus::FollowFrom::AfterSequence(0));
        loop {
            let event = timeout(PATIENCE, follower.next()).await.expect("an event").unwrap().content;
            if let EventKind::Product(details) = event.kind {
                return (event.instrument, details);
            }
        }
    };
    let (whose, details) = details().await;
    assert_eq!(whose, instrument());
    assert_eq!((details.base_currency.as_str(), details.quote_currency.as_str()), ("BTC", "USD"));
    assert_eq!(details.status, "online");
    eventually(PATIENCE, || async { ingestor.ticks().await > 10 }).await;
    ingestor.stop().await;
    exchange.stop().await;
}
