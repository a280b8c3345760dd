//! Trades that were made: the answer to `GET /products/{id}/trades`.

use domain::{Decimal, Instrument, Side, Tick, TickFlags, Trade, UnixNanos};
use serde::Deserialize;

use super::super::fault::{FrameFault, clip};
use super::super::field::Field;
use super::{RestFault, objects};

/// A trade as REST tells it, with every decimal as it stands there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestTrade {
    /// The exchange's number of it.
    pub trade_id: u64,
    /// When it was made.
    pub time: UnixNanos,
    /// Quote currency for one unit of the base currency.
    pub price: Decimal,
    /// Base currency.
    pub size: Decimal,
    /// The maker's side, the opposite of what a tick tells (rule 3).
    pub maker_side: Side,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry<'a> {
    #[serde(borrow)]
    time: Field<'a>,
    #[serde(borrow)]
    trade_id: Field<'a>,
    #[serde(borrow)]
    price: Field<'a>,
    #[serde(borrow)]
    size: Field<'a>,
    #[serde(borrow)]
    side: Field<'a>,
}

/// Reads a page of trades, newest first. A page with one unusable trade is unusable as a whole: what is wrong with it
/// must be known before its trades count as all there are.
pub fn parse_trades(body: &[u8]) -> Result<Vec<RestTrade>, RestFault> {
    let entries = objects::read::<Entry<'_>>(body)?;
    let trades = entries.iter().enumerate();
    trades.map(|(index, entry)| entry.trade().map_err(|source| RestFault::Entry { index, source })).collect()
}

impl Entry<'_> {
    fn trade(&self) -> Result<RestTrade, FrameFault> {
        let maker_side = match self.side.required_text("side")? {
            "buy" => Side::Buy,
            "sell" => Side::Sell,
            other => return Err(FrameFault::UnknownSide { found: format!("the string {:?}", clip(other)) }),
        };
        Ok(RestTrade {
            trade_id: self.trade_id.required_integer("trade_id")?,
            time: self.time.required_time("time")?,
            price: self.price.required_decimal("price")?,
            size: self.size.required_decimal("size")?,
            maker_side,
        })
    }
}

impl RestTrade {
    /// The backfilled tick: the trade alone with the taker's side; it has no place in the live sequence and no book.
    pub fn to_tick(&self, instrument: &Instrument, receive_time: UnixNanos) -> Tick {
        Tick {
            instrument: instrument.clone(),
            run: 0,
            sequence: None,
            event_time: self.time,
            receive_time,
            last_trade: Some(Trade {
                price: self.price,
                size: self.size,
                side: Some(self.maker_side.opposite()),
                trade_id: Some(self.trade_id),
            }),
            best_bid: None,
            best_ask: None,
            day: None,
            flags: TickFlags { backfilled: true, ..TickFlags::default() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = r#"[{"time":"2014-11-07T22:19:28.578544Z","trade_id":74,"price":"10.00000000","size":"0.01000000","side":"buy"},
        {"side":"sell","new":{},"size":"1","price":"18187","trade_id":73,"time":"2014-11-07T01:08:43Z"}]"#;

    #[test]
    fn a_trade_becomes_a_backfilled_tick_with_the_side_of_the_taker() {
        let trades = parse_trades(PAGE.as_bytes()).unwrap();
        assert_eq!(trades.iter().map(|trade| trade.trade_id).collect::<Vec<_>>(), [74, 73]);
        let instrument = Instrument::new("coinbase", "BTC-USD").unwrap();
        let mut tick = trades[0].to_tick(&instrument, UnixNanos::new(1_800_000_000_000_000_000));
        domain::validate(&mut tick).unwrap();
        let trade = tick.last_trade.as_ref().unwrap();
        assert_eq!(
            (trade.price.to_string(), trade.size.to_string()),
            ("10.00000000".into(), "0.01000000".into())
        );
        assert_eq!((trade.side, trade.trade_id), (Some(Side::Sell), Some(74)));
        assert_eq!(tick.event_time.to_string(), "2014-11-07T22:19:28.578544Z");
        assert!(tick.flags.backfilled && tick.position().is_none());
        assert!(tick.best_bid.is_none() && tick.best_ask.is_none() && tick.day.is_none());
    }

    #[test]
    fn a_page_with_an_unusable_trade_says_which_and_why() {
        for (from, to, detail) in [
            (
                "\"18187\"",
                "18187",
                "entry 1 is unusable: price is the number 18187, allowed: a decimal in a string",
            ),
            ("\"18187\"", "\"0.-10000\"", "entry 1 is unusable: price is no number: \"0.-10000\""),
            ("\"trade_id\":73", "\"trade_id\":\"73\"", "trade_id is the string \"73\""),
            ("\"trade_id\":73", "\"id\":73", "trade_id is missing"),
            ("\"sell\"", "\"both\"", "side is the string \"both\", allowed: buy, sell"),
            ("\"side\":\"sell\",", "", "side is missing"),
            ("2014-11-07T01:08:43Z", "0001-01-01T00:00:00.000000Z", "time is no time"),
            ("\"size\":\"1\"", "\"size\":null", "size is missing"),
        ] {
            let fault = parse_trades(PAGE.replace(from, to).as_bytes()).unwrap_err();
            let found = fault.detail();
            assert!(found.contains(detail), "{found}");
        }
        assert_eq!(parse_trades(b"[]").unwrap(), []);
        assert!(matches!(parse_trades(br#"{"message":"NotFound"}"#), Err(RestFault::Undecodable { .. })));
    }
}
