use super::*;
use venues::coinbase::{Message, parse};

fn trade(trade_id: u64) -> RestTrade {
    RestTrade {
        trade_id,
        time: UnixNanos::new(1_000),
        price: Decimal::new(15, 1),
        size: Decimal::new(1, 10),
        maker_side: Side::Sell,
    }
}

fn tape(trades_max: usize, ids: impl IntoIterator<Item = u64>) -> Tape {
    let tape = Tape::new([&"A-B".to_owned()], trades_max);
    ids.into_iter().for_each(|id| tape.record("A-B", trade(id)));
    tape
}

fn page(tape: &Tape, limit: usize, before: Option<u64>, after: Option<u64>) -> Vec<u64> {
    tape.page("A-B", limit, before, after).unwrap().iter().map(|entry| entry.trade_id).collect()
}

#[test]
fn pages_are_newest_first_and_cut_by_the_cursors() {
    let tape = tape(100, 1..=10);
    assert_eq!(page(&tape, 3, None, None), [10, 9, 8]);
    assert_eq!(page(&tape, 3, None, Some(8)), [7, 6, 5]);
    assert_eq!(page(&tape, 3, Some(2), None), [10, 9, 8], "the newest of those above, not the next ones");
    assert_eq!(page(&tape, 100, Some(7), None), [10, 9, 8]);
    assert_eq!(page(&tape, 100, Some(3), Some(6)), [5, 4]);
    assert_eq!(page(&tape, 100, None, Some(1)), Vec::<u64>::new());
    assert_eq!(page(&tape, 100, Some(10), None), Vec::<u64>::new());
    assert_eq!(page(&tape, 2, None, Some(u64::MAX)), [10, 9]);
    assert!(tape.page("X-Y", 1, None, None).is_none());
}

#[test]
fn the_oldest_are_forgotten_and_late_ones_find_their_place() {
    assert_eq!(page(&tape(3, 1..=10), 100, None, None), [10, 9, 8]);
    assert_eq!(page(&tape(9, [1, 4, 2, 4, 3, 1]), 100, None, None), [4, 3, 2, 1]);
    assert_eq!(page(&tape(2, [5, 6, 1]), 100, None, None), [6, 5]);
}

#[test]
fn an_entry_is_written_as_the_exchange_writes_it() {
    let tape = tape(1, [7]);
    let text = wire::text(&tape.page("A-B", 1, None, None).unwrap());
    assert_eq!(
        text,
        r#"[{"trade_id":7,"side":"sell","size":"0.0000000001","price":"1.50000000","time":"1970-01-01T00:00:00.000001Z"}]"#
    );
}

#[test]
fn the_maker_of_a_recorded_ticker_is_on_the_other_side() {
    let text = r#"{"type":"ticker","sequence":8,"product_id":"BTC-USD","price":"4095","side":"buy","time":"2019-04-01T00:00:04.54Z","trade_id":6,"last_size":"2.0"}"#;
    let ticker = |text: &str| {
        let Message::Ticker(ticker) = parse(text.as_bytes()).unwrap() else { panic!("{text}") };
        of_ticker(&ticker)
    };
    let trade = ticker(text).unwrap();
    assert_eq!((trade.trade_id, trade.maker_side), (6, Side::Sell));
    assert_eq!((trade.price.to_string(), trade.size.to_string()), ("4095".into(), "2.0".into()));
    for (from, to) in [("\"buy\"", "\"?\""), ("\"4095\"", "4095"), ("\"2.0\"", "\"x\""), ("2019", "19")] {
        assert_eq!(ticker(&text.replace(from, to)), None);
    }
}
