//! The ledger of gaps, page by page.

use domain::{Gap, GapState, Instrument, Product, Venue};
use proto::v1;
use serde::{Deserialize, Serialize};
use store::{GapKey, GapQuery};
use tonic::Status;

use crate::{
    errors::{invalid, store_failed},
    market::Market,
    page::{self, Fingerprint},
    request,
};

/// Gaps of a page, unless asked for.
const PAGE_DEFAULT: u32 = 100;
/// Gaps of a page, at most.
const PAGE_MAX: u32 = 1_000;

/// A place in the ledger, as it stands in a page token.
#[derive(Debug, Serialize, Deserialize)]
struct Key(String, u32, u64);

/// One page of gaps.
pub(crate) async fn page(
    market: &Market,
    mut request: v1::ListGapsRequest,
) -> Result<v1::ListGapsResponse, Status> {
    let token = std::mem::take(&mut request.page_token);
    let limit = request::page_size(std::mem::take(&mut request.page_size), PAGE_DEFAULT, PAGE_MAX)?;
    let fingerprint = Fingerprint::of("ListGaps", &request);
    let (venue, product) = names(&request)?;
    let range = request::time_range(request.time_range.as_ref())?;
    let states = request.states.iter().map(|state| wanted(*state)).collect::<Result<_, _>>()?;
    let after = page::decode::<Key>(fingerprint, &token)?.map(place).transpose()?;
    if let Some(product) = &product {
        market.check_known(&Instrument { venue: venue.clone(), product: product.clone() }).await?;
    }
    let limit = usize::try_from(limit).unwrap_or(0);
    // One more than asked for: whether there is another page.
    let query = GapQuery { venue, product, range, states, after, limit: limit + 1 };
    let mut gaps = market.store.gaps(&query).await.map_err(|error| store_failed(&error))?;
    let more = gaps.len() > limit;
    gaps.truncate(limit);
    let key = |gap: &Gap| Key(gap.instrument.product.to_string(), gap.run, gap.first_trade_id);
    let next_page_token =
        gaps.last().filter(|_| more).map(|last| page::encode(fingerprint, key(last))).unwrap_or_default();
    Ok(v1::ListGapsResponse { gaps: gaps.iter().map(v1::Gap::from).collect(), next_page_token })
}

/// The exchange, and the product where one is named.
fn names(request: &v1::ListGapsRequest) -> Result<(Venue, Option<Product>), Status> {
    if !request.product.is_empty() {
        let Instrument { venue, product } = request::instrument(&request.venue, &request.product)?;
        return Ok((venue, Some(product)));
    }
    match request.venue.as_str() {
        "" => Ok((Venue::coinbase(), None)),
        venue => Ok((Venue::new(venue).map_err(|error| invalid("venue", error.to_string()))?, None)),
    }
}

fn wanted(number: i32) -> Result<GapState, Status> {
    match v1::GapState::try_from(number) {
        Ok(v1::GapState::Open) => Ok(GapState::Open),
        Ok(v1::GapState::Repaired) => Ok(GapState::Repaired),
        Ok(v1::GapState::Unrepairable) => Ok(GapState::Unrepairable),
        Ok(v1::GapState::Unspecified) | Err(_) => Err(invalid(
            "states",
            format!("{number} is none, allowed: open (1), repaired (2), unrepairable (3)"),
        )),
    }
}

fn place(Key(product, run, first_trade_id): Key) -> Result<GapKey, Status> {
    let product = Product::new(&product)
        .map_err(|_| invalid("page_token", "it is none that this method has given out"))?;
    Ok(GapKey { product, run, first_trade_id })
}
