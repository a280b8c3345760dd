//! What is traded, as `GET /products` tells it.

use domain::Decimal;
use serde::Serialize;

/// How many decimals prices and sizes of a product have at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Decimals {
    pub(crate) price: u32,
    pub(crate) size: u32,
}

impl Decimals {
    /// Of both, the larger ones.
    pub(crate) fn widened(self, other: Self) -> Self {
        Self { price: self.price.max(other.price), size: self.size.max(other.size) }
    }
}

/// A product in the list. Only what the simulator can tell truthfully is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Listing {
    pub(crate) id: String,
    base_currency: String,
    quote_currency: String,
    quote_increment: String,
    base_increment: String,
    display_name: String,
    post_only: bool,
    limit_only: bool,
    cancel_only: bool,
    trading_disabled: bool,
    status: &'static str,
    status_message: &'static str,
}

impl Listing {
    /// Currencies and the name for people come from the product's name, the increments from its decimals.
    pub(crate) fn new(product: &str, decimals: Decimals) -> Self {
        let (base, quote) = product.split_once('-').unwrap_or((product, ""));
        let increment = |decimals: u32| Decimal::new(1, decimals.min(Decimal::MAX_SCALE)).to_string();
        Self {
            id: product.to_owned(),
            base_currency: base.to_owned(),
            quote_currency: quote.to_owned(),
            quote_increment: increment(decimals.price),
            base_increment: increment(decimals.size),
            display_name: product.replacen('-', "/", 1),
            post_only: false,
            limit_only: false,
            cancel_only: false,
            trading_disabled: false,
            status: "online",
            status_message: "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire;

    #[test]
    fn the_list_is_what_the_exchange_would_say() {
        let decimals = Decimals { price: 2, size: 0 }.widened(Decimals { price: 0, size: 8 });
        let text = wire::text(&[Listing::new("BTC-USD", decimals), Listing::new("X", Decimals::default())]);
        let list = venues::coinbase::rest::parse_products(text.as_bytes()).unwrap();
        assert!(list.faults.is_empty(), "{:?}", list.faults);
        let btc = &list.products[0];
        assert_eq!((btc.base_currency.as_str(), btc.quote_currency.as_str()), ("BTC", "USD"));
        assert_eq!((btc.display_name.as_str(), btc.status.as_str()), ("BTC/USD", "online"));
        assert_eq!(
            (btc.quote_increment.to_string(), btc.base_increment.to_string()),
            ("0.01".into(), "0.00000001".into())
        );
        assert_eq!(
            (list.products[1].base_currency.as_str(), list.products[1].quote_currency.as_str()),
            ("X", "")
        );
    }
}
