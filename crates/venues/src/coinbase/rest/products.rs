//! What is traded: the answer to `GET /products`.

use domain::{Decimal, Product};
use serde::Deserialize;

use super::super::fault::FrameFault;
use super::super::field::Field;
use super::{RestFault, objects};

/// A product as the exchange lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedProduct {
    /// Its name, e.g. `BTC-USD`.
    pub product: Product,
    /// What is bought and sold, e.g. `BTC`.
    pub base_currency: String,
    /// What is paid with, e.g. `USD`.
    pub quote_currency: String,
    /// The smallest step of a size, in the base currency; above 0.
    pub base_increment: Decimal,
    /// The smallest step of a price, in the quote currency; above 0.
    pub quote_increment: Decimal,
    /// Its name for people, e.g. `BTC/USD`.
    pub display_name: String,
    /// How it stands, by the exchange's word, e.g. `online` or `delisted`.
    pub status: String,
}

/// The list of products. One entry that makes no sense does not hide the others.
#[derive(Debug, Default)]
pub struct ProductList {
    /// The products, in the order of the answer.
    pub products: Vec<ListedProduct>,
    /// What is wrong with the entries that were left out.
    pub faults: Vec<RestFault>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry<'a> {
    #[serde(borrow)]
    id: Field<'a>,
    #[serde(borrow)]
    base_currency: Field<'a>,
    #[serde(borrow)]
    quote_currency: Field<'a>,
    #[serde(borrow)]
    base_increment: Field<'a>,
    #[serde(borrow)]
    quote_increment: Field<'a>,
    #[serde(borrow)]
    display_name: Field<'a>,
    #[serde(borrow)]
    status: Field<'a>,
}

/// Reads the answer to [`super::PRODUCTS_PATH`]. An error is about the answer as a whole.
pub fn parse_products(body: &[u8]) -> Result<ProductList, RestFault> {
    let mut list = ProductList::default();
    for (index, entry) in objects::read::<Entry<'_>>(body)?.into_iter().enumerate() {
        match entry.listed(index) {
            Ok(product) => list.products.push(product),
            Err(fault) => list.faults.push(fault),
        }
    }
    Ok(list)
}

impl Entry<'_> {
    fn listed(&self, index: usize) -> Result<ListedProduct, RestFault> {
        let entry = |source| RestFault::Entry { index, source };
        let id = self.id.required_text("id").map_err(entry)?;
        let product = Product::new(id).map_err(|source| RestFault::Name { index, source })?;
        let text = |field: &Field<'_>, name| field.required_text(name).map(str::to_owned).map_err(entry);
        Ok(ListedProduct {
            product,
            base_currency: text(&self.base_currency, "base_currency")?,
            quote_currency: text(&self.quote_currency, "quote_currency")?,
            base_increment: increment(&self.base_increment, "base_increment").map_err(entry)?,
            quote_increment: increment(&self.quote_increment, "quote_increment").map_err(entry)?,
            display_name: text(&self.display_name, "display_name")?,
            status: text(&self.status, "status")?,
        })
    }
}

/// A step of zero or less would be none.
fn increment(field: &Field<'_>, name: &'static str) -> Result<Decimal, FrameFault> {
    let step = field.required_decimal(name)?;
    if step > Decimal::ZERO {
        return Ok(step);
    }
    Err(FrameFault::NotANumber {
        field: name,
        found: field.describe(),
        allowed: "a decimal above 0 in a string",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BTC: &str = r#"{"id":"BTC-USD","base_currency":"BTC","quote_currency":"USD","quote_increment":"0.01","base_increment":"0.00000001","display_name":"BTC/USD","status":"online","new_field":[{"a":1}],"post_only":false}"#;

    fn list(entries: &[&str]) -> ProductList {
        parse_products(format!("[{}]", entries.join(",")).as_bytes()).unwrap()
    }

    #[test]
    fn reads_what_it_needs_and_ignores_the_rest() {
        let list = list(&[BTC]);
        assert!(list.faults.is_empty());
        let btc = &list.products[0];
        assert_eq!((btc.product.as_str(), btc.base_currency.as_str()), ("BTC-USD", "BTC"));
        assert_eq!((btc.quote_currency.as_str(), btc.display_name.as_str()), ("USD", "BTC/USD"));
        assert_eq!(btc.base_increment.to_string(), "0.00000001");
        assert_eq!((btc.quote_increment.to_string().as_str(), btc.status.as_str()), ("0.01", "online"));
    }

    #[test]
    fn an_entry_that_makes_no_sense_is_named_and_does_not_hide_the_others() {
        for (from, to, detail) in [
            (r#""id":"BTC-USD","#, "", "entry 0 is unusable: id is missing"),
            (r#""BTC-USD""#, r#""<b>""#, "entry 0 is unusable: \"<b>\" is not a product"),
            (r#""0.01""#, "0.01", "entry 0 is unusable: quote_increment is a number with a fraction"),
            (r#""0.01""#, r#""0""#, "quote_increment is the string \"0\", allowed: a decimal above 0"),
            (r#""0.01""#, r#""1e-2""#, "quote_increment is no number: \"1e-2\""),
            (r#""online""#, "true", "status is a boolean, allowed: a string"),
            (r#""display_name":"BTC/USD""#, r#""display_name":null"#, "display_name is missing"),
        ] {
            let list = list(&[&BTC.replace(from, to), BTC]);
            assert_eq!(list.products.len(), 1, "{to}");
            let found = list.faults[0].detail();
            assert!(found.contains(detail), "{found}");
        }
    }

    #[test]
    fn what_is_no_list_of_objects_is_a_fault_of_the_whole() {
        for body in [&b""[..], b"{}", b"[1]", b"[[]]", b"[{},", b"null", b"\"x\"", b"<html>"] {
            assert!(matches!(parse_products(body), Err(RestFault::Undecodable { .. })), "{body:?}");
        }
        assert!(matches!(parse_products(b"[\xff]"), Err(RestFault::NotText { valid_up_to: 1 })));
        let long = vec![b' '; super::super::ANSWER_BYTES_MAX + 1];
        assert!(matches!(parse_products(&long), Err(RestFault::TooLong { .. })));
    }
}
