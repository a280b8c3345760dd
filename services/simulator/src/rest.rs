//! The REST API of the exchange, as far as a follower of its market needs it.

mod rate;

use std::net::IpAddr;
use std::time::Instant;

use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use http::{Method, Response, StatusCode, Uri};
use http_body_util::Full;
use metrics::counter;
use tokio::time::sleep;
use tokio_tungstenite::tungstenite::Bytes;
use venues::coinbase::rest::{CB_AFTER, CB_BEFORE, TRADES_PER_PAGE_MAX};

use crate::config::RestConfig;
use crate::faults::live::Faults;
use crate::faults::script::RestTrouble;
use crate::listing::Listing;
use crate::metrics::REST_REQUESTS;
use crate::outlet::spoil;
use crate::tape::Tape;
use crate::wire;
use rate::RateLimit;

pub(crate) type Answer = Response<Full<Bytes>>;

/// What REST answers from.
#[derive(Debug)]
pub(crate) struct Rest {
    listings: Vec<Listing>,
    pub(crate) tape: Tape,
    limit: Option<RateLimit>,
    opened: Instant,
}

impl Rest {
    pub(crate) fn new(listings: Vec<Listing>, config: &RestConfig) -> Self {
        let tape = Tape::new(listings.iter().map(|listing| &listing.id), config.trades_max);
        Self { tape, listings, limit: config.rate.map(RateLimit::new), opened: Instant::now() }
    }

    /// Answers a request that came from `address`, as well as the faults let it.
    pub(crate) async fn answer(
        &self,
        method: &Method,
        uri: &Uri,
        address: IpAddr,
        faults: &Faults,
    ) -> Answer {
        let trouble = faults.on_rest(uri.path().split('/').nth(2).map(decoded).as_deref());
        let answer = match trouble {
            None => self.routed(method, uri, address),
            Some(RestTrouble::TooMany) => too_many(),
            Some(RestTrouble::Fails) => complaint(StatusCode::INTERNAL_SERVER_ERROR, "Internal server error"),
            Some(RestTrouble::Garbage { seed }) => json(StatusCode::OK, spoil::garbage(seed)),
            Some(RestTrouble::Slow(by)) => {
                sleep(by).await;
                self.routed(method, uri, address)
            }
        };
        counter!(REST_REQUESTS, "outcome" => outcome(answer.status())).increment(1);
        answer
    }

    fn routed(&self, method: &Method, uri: &Uri, address: IpAddr) -> Answer {
        if self.limit.as_ref().is_some_and(|limit| !limit.admits(address, self.opened.elapsed())) {
            return too_many();
        }
        if method != Method::GET {
            return complaint(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered here");
        }
        let parts: Vec<&str> = uri.path().split('/').skip(1).collect();
        match *parts {
            ["products"] => json(StatusCode::OK, wire::text(&self.listings)),
            ["products", id] => match self.listings.iter().find(|listing| listing.id == decoded(id)) {
                Some(listing) => json(StatusCode::OK, wire::text(listing)),
                None => not_found(),
            },
            ["products", id, "trades"] => self.trades(&decoded(id), uri.query().unwrap_or_default()),
            _ => complaint(StatusCode::NOT_FOUND, "Route not found"),
        }
    }

    fn trades(&self, product: &str, query: &str) -> Answer {
        let page = match Page::read(query) {
            Ok(page) => page,
            Err(complaint_text) => return complaint(StatusCode::BAD_REQUEST, complaint_text),
        };
        let Some(trades) = self.tape.page(product, page.limit, page.before, page.after) else {
            return not_found();
        };
        let mut answer = json(StatusCode::OK, wire::text(&trades));
        // Rule 2 of the protocol: the first and the last trade of the page.
        for (name, trade) in [(CB_BEFORE, trades.first()), (CB_AFTER, trades.last())] {
            if let Some(trade) = trade {
                let cursor = HeaderValue::from(trade.trade_id);
                answer.headers_mut().insert(HeaderName::from_static(name), cursor);
            }
        }
        answer
    }
}

/// Which trades are asked for; members that are not known are ignored.
#[derive(Debug, PartialEq, Eq)]
struct Page {
    limit: usize,
    before: Option<u64>,
    after: Option<u64>,
}

impl Page {
    fn read(query: &str) -> Result<Self, &'static str> {
        let most = usize::from(TRADES_PER_PAGE_MAX);
        let mut page = Self { limit: most, before: None, after: None };
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            match name {
                "limit" => {
                    let limit = value.parse::<usize>().ok().filter(|limit| *limit > 0);
                    page.limit = limit.ok_or("limit must be a number from 1 to 1000")?.min(most);
                }
                "before" => page.before = Some(value.parse().map_err(|_| "before must be a trade_id")?),
                "after" => page.after = Some(value.parse().map_err(|_| "after must be a trade_id")?),
                _ => {}
            }
        }
        Ok(page)
    }
}

fn too_many() -> Answer {
    let mut answer = complaint(StatusCode::TOO_MANY_REQUESTS, "Public rate limit exceeded");
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    answer
}

fn not_found() -> Answer {
    complaint(StatusCode::NOT_FOUND, "NotFound")
}

pub(crate) fn complaint(status: StatusCode, message: &str) -> Answer {
    json(status, wire::complaint(message))
}

fn json(status: StatusCode, body: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    let kind = HeaderValue::from_static("application/json; charset=utf-8");
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}

fn outcome(status: StatusCode) -> &'static str {
    match status.as_u16() {
        200 => "ok",
        404 => "not_found",
        429 => "too_many",
        400..=499 => "refused",
        _ => "failed",
    }
}

/// A path's part without its `%` escapes; one that is broken stays as it is.
fn decoded(part: &str) -> String {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let escaped = tail.split_at_checked(2).filter(|_| *first == b'%').and_then(|(digits, tail)| {
            let digits = std::str::from_utf8(digits).ok()?;
            Some((u8::from_str_radix(digits, 16).ok()?, tail))
        });
        let (byte, tail) = escaped.unwrap_or((*first, tail));
        bytes.push(byte);
        rest = tail;
    }
    String::from_utf8(bytes).unwrap_or_else(|_| part.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read_from_the_query() {
        let page = |limit, before, after| Ok(Page { limit, before, after });
        assert_eq!(Page::read(""), page(1_000, None, None));
        assert_eq!(Page::read("limit=7&after=9&x=y&before=2"), page(7, Some(2), Some(9)));
        assert_eq!(Page::read("limit=5000"), page(1_000, None, None));
        for bad in ["limit=0", "limit=-1", "limit=x", "after=", "before=1.5", "after=99999999999999999999"] {
            assert!(Page::read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn escapes_in_paths_are_read() {
        for (part, name) in [("BTC-USD", "BTC-USD"), ("A%2FB%3f", "A/B?"), ("%C3%A9", "é")] {
            assert_eq!(decoded(part), name);
        }
        for broken in ["%", "%2", "%zz", "%ff"] {
            assert_eq!(decoded(broken), broken);
        }
    }
}
