//! The REST API of the Coinbase Exchange, as documented at docs.cdp.coinbase.com ("Exchange REST API": rate limits,
//! pagination, get product trades, get all known trading pairs; read in November 2026): paths to ask for and parsers of
//! the answers. There is no socket here; whoever asks brings the HTTP client.
//!
//! The rules that the code refers to by number:
//!
//! 1. `GET /products/{id}/trades` answers with the newest trades first, 1,000 of them unless `limit` says fewer.
//! 2. The cursor is the trade_id: `after=N` gives trades older than N, `before=N` trades newer than N. The answer's
//!    headers `CB-BEFORE` and `CB-AFTER` name its first and its last trade.
//! 3. The side of a trade is that of the maker, whose order was on the book; the ticker tells the taker's.
//! 4. Public requests are limited to 10 a second per address with a burst of 15; beyond that the answer is 429.
//! 5. Whatever is not 200 comes with `{"message":"…"}`.

mod fault;
mod gap;
mod objects;
mod products;
mod trades;

pub use fault::{RestFault, check_status};
pub use gap::{GapFetch, GapPage, PageRequest};
pub use products::{ListedProduct, ProductList, parse_products};
pub use trades::{RestTrade, parse_trades};

/// Where the public REST API is served; no authentication is needed.
pub const REST_LIVE_URL: &str = "https://api.exchange.coinbase.com";

/// The path of the list of all products.
pub const PRODUCTS_PATH: &str = "/products";

/// The most trades in one answer, and what an answer has unless asked for fewer (rule 1).
pub const TRADES_PER_PAGE_MAX: u16 = 1_000;

/// The longest answer that is read, in bytes; a thousand trades have some 150 KB, all products some 400 KB.
pub const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The header that names the first, newest trade of a page (rule 2).
pub const CB_BEFORE: &str = "cb-before";

/// The header that names the last, oldest trade of a page (rule 2).
pub const CB_AFTER: &str = "cb-after";

/// The path of a page of trades: up to `limit` of those older than the trade `after`, or the newest.
pub fn trades_path(product: &domain::Product, limit: u16, after: Option<u64>) -> String {
    let mut path = String::from(PRODUCTS_PATH);
    path.push('/');
    for byte in product.as_str().bytes() {
        // RFC 3986, 2.3: what need not be escaped.
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
    }
    path.push_str(&format!("/trades?limit={limit}"));
    if let Some(after) = after {
        path.push_str(&format!("&after={after}"));
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::Product;

    #[test]
    fn paths_name_the_product_the_limit_and_the_cursor() {
        let product = Product::new("BTC-USD").unwrap();
        assert_eq!(trades_path(&product, 1_000, None), "/products/BTC-USD/trades?limit=1000");
        assert_eq!(trades_path(&product, 7, Some(881_613)), "/products/BTC-USD/trades?limit=7&after=881613");
        let odd = Product::new("A/B?é").unwrap();
        assert_eq!(trades_path(&odd, 1, None), "/products/A%2FB%3F%C3%A9/trades?limit=1");
    }
}
