use super::*;
use domain::{Tick, validate};
use std::collections::BTreeMap;
use std::time::Duration;
use venues::coinbase::{Instruments, Message, parse};

fn config(names: &[&str]) -> GenerateConfig {
    let products = names.iter().map(|name| Product::new(name).unwrap()).collect();
    GenerateConfig {
        products,
        first_sequence: Some(1_000),
        first_trade_id: Some(50),
        ..GenerateConfig::default()
    }
}

fn start() -> UnixNanos {
    UnixNanos::parse_rfc3339("2026-01-01T00:00:00.5Z").unwrap()
}

/// The opening trades and `count` more, one each 10 ms.
fn frames(config: &GenerateConfig, count: u64) -> Vec<String> {
    let mut market = Market::new(config, start());
    let mut frames: Vec<_> = market.opening_trades(start()).into_iter().map(|ticker| ticker.frame).collect();
    for number in 0..count {
        let now = start().saturating_add(Duration::from_millis(10 * number));
        frames.push(market.trade(now).unwrap().frame);
    }
    frames
}

fn ticks(config: &GenerateConfig, frames: &[String]) -> BTreeMap<String, Vec<Tick>> {
    let instruments = Instruments::new(&config.products);
    let mut ticks: BTreeMap<String, Vec<Tick>> = BTreeMap::new();
    for frame in frames {
        let Message::Ticker(ticker) = parse(frame.as_bytes()).unwrap() else { panic!("{frame}") };
        let mut tick = ticker.to_tick(&instruments, UnixNanos::MAX).unwrap();
        validate(&mut tick).unwrap();
        ticks.entry(tick.instrument.product.to_string()).or_default().push(tick);
    }
    ticks
}

#[test]
fn a_market_obeys_its_own_rules() {
    let config = config(&["BTC-USD", "ADA-USD", "SHIB-USD", "NEW-EUR"]);
    let ticks = ticks(&config, &frames(&config, 20_000));
    assert_eq!(ticks.len(), 4);
    for (product, ticks) in ticks {
        assert!(ticks.len() > 100, "{product}");
        assert_eq!((ticks[0].sequence, ticks[0].trade_id()), (Some(1_000), Some(50)));
        let mut volume = Decimal::ZERO;
        let prices = || ticks.iter().map(|tick| tick.last_trade.as_ref().unwrap().price);
        for (index, tick) in ticks.iter().enumerate() {
            let (trade, day) = (tick.last_trade.as_ref().unwrap(), tick.day.as_ref().unwrap());
            let (bid, ask) = (tick.best_bid.as_ref().unwrap(), tick.best_ask.as_ref().unwrap());
            assert!(
                bid.price < ask.price && bid.price <= trade.price && trade.price <= ask.price,
                "{tick:?}"
            );
            volume += trade.size;
            assert_eq!(day.volume_24h, Some(volume));
            assert_eq!(day.open_24h, prices().next());
            if index + 1 == ticks.len() {
                assert_eq!((day.low_24h, day.high_24h), (prices().min(), prices().max()));
            }
        }
        for pair in ticks.windows(2) {
            let step = pair[1].sequence.unwrap() - pair[0].sequence.unwrap();
            assert!((2..=41).contains(&step), "{step}");
            assert_eq!(pair[1].trade_id().unwrap(), pair[0].trade_id().unwrap() + 1);
            assert!(pair[1].event_time >= pair[0].event_time);
            let (before, after) = (&pair[0].last_trade, &pair[1].last_trade);
            let (before, after) = (before.as_ref().unwrap().price, after.as_ref().unwrap().price);
            assert!(
                (after - before).abs() * Decimal::from(500) <= before.max(Decimal::new(1, 2)),
                "{before} {after}"
            );
        }
        assert!(prices().collect::<std::collections::BTreeSet<_>>().len() > 10, "{product} does not move");
    }
}

#[test]
fn the_seed_decides() {
    let one = config(&["BTC-USD", "ETH-USD"]);
    let other = GenerateConfig { seed: 2, ..one.clone() };
    assert_eq!(frames(&one, 500), frames(&one, 500));
    assert_ne!(frames(&one, 500), frames(&other, 500));
}

#[test]
fn numbers_start_from_the_clock_unless_told() {
    let config = GenerateConfig { first_sequence: None, first_trade_id: None, ..config(&["BTC-USD"]) };
    let ticks = &ticks(&config, &frames(&config, 0))["BTC-USD"];
    let micros = u64::try_from(start().nanos() / 1_000).unwrap();
    assert_eq!((ticks[0].sequence, ticks[0].trade_id()), (Some(micros), Some(micros)));
}

#[test]
fn heartbeats_are_events_of_the_sequence() {
    let config = config(&["BTC-USD"]);
    let mut market = Market::new(&config, start());
    market.opening_trades(start());
    assert_eq!(market.heartbeats(), [("BTC-USD".to_owned(), 1_001, 50)]);
    assert_eq!(market.heartbeats(), [("BTC-USD".to_owned(), 1_002, 50)]);
}

#[test]
fn a_clock_that_is_set_back_does_not_turn_the_market_back() {
    let config = config(&["BTC-USD"]);
    let mut market = Market::new(&config, start());
    let before = market.trade(start()).unwrap().frame;
    let after = market.trade(start().saturating_sub(Duration::from_secs(60))).unwrap().frame;
    let time = |frame: &str| frame.split("\"time\":\"").nth(1).unwrap()[..27].to_owned();
    assert_eq!(time(&before), time(&after));
}
