//! The products that are known, page by page.

use domain::{Instrument, TimeRange};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use proto::v1;
use store::{Order, TickQuery, TickRange};
use tonic::Status;

use crate::{
    errors::store_failed,
    market::Market,
    page::{self, Fingerprint},
    request,
};

/// Products of a page, unless asked for.
const PAGE_DEFAULT: u32 = 100;
/// Products of a page, at most.
const PAGE_MAX: u32 = 1_000;
/// How many products are looked up at the same time.
const LOOKUPS_MAX: usize = 4;

/// One page of products.
pub(crate) async fn page(
    market: &Market,
    mut request: v1::ListProductsRequest,
) -> Result<v1::ListProductsResponse, Status> {
    let token = std::mem::take(&mut request.page_token);
    let limit = request::page_size(std::mem::take(&mut request.page_size), PAGE_DEFAULT, PAGE_MAX)?;
    let limit = usize::try_from(limit).unwrap_or(0);
    let fingerprint = Fingerprint::of("ListProducts", &request);
    let after = page::decode::<(String, String)>(fingerprint, &token)?;
    let mut products = market.products().await?;
    products.retain(|product| request.venue.is_empty() || product.venue.as_str() == request.venue);
    if let Some((venue, name)) = after {
        products.retain(|product| (product.venue.as_str(), product.product.as_str()) > (&venue, &name));
    }
    let more = products.len() > limit;
    products.truncate(limit);
    let next_page_token = match products.last().filter(|_| more) {
        Some(last) => page::encode(fingerprint, (last.venue.to_string(), last.product.to_string())),
        None => String::new(),
    };
    let lookups = products.into_iter().map(|product| async move { describe(market, &product).await });
    let products = stream::iter(lookups).buffered(LOOKUPS_MAX).try_collect().await?;
    Ok(v1::ListProductsResponse { products, next_page_token })
}

async fn describe(market: &Market, instrument: &Instrument) -> Result<v1::Product, Status> {
    let live = market.live.snapshot(instrument);
    let details = market.live.details(instrument).map(|details| v1::ProductDetails::from(&*details));
    let said = |part: fn(&v1::ProductDetails) -> &String| details.as_ref().map(part).cloned();
    // The first of history: one row, which the indexes give without looking at others.
    let oldest = TickQuery {
        instrument: instrument.clone(),
        range: TickRange::Time(TimeRange::ALL),
        order: Order::Ascending,
        after: None,
        limit: 1,
    };
    let stored = market.store.ticks(&oldest).await.map_err(|error| store_failed(&error))?;
    Ok(v1::Product {
        venue: instrument.venue.to_string(),
        product: instrument.product.to_string(),
        configured: market.configured.as_ref().map(|configured| configured.contains(instrument)),
        first_event_time: stored.first().map(|(key, _)| proto::timestamp(key.event_time)),
        last_event_time: live.and_then(|snapshot| snapshot.state.updated_at()).map(proto::timestamp),
        base_currency: said(|details| &details.base_currency),
        quote_currency: said(|details| &details.quote_currency),
        base_increment: said(|details| &details.base_increment),
        quote_increment: said(|details| &details.quote_increment),
        status: said(|details| &details.status),
    })
}
