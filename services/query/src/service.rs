//! The handlers: decode, call, encode.

use std::{future::Future, pin::Pin, time::Instant};

use domain::UnixNanos;
use futures::{Stream, stream};
use metrics::{counter, histogram};
use proto::v1::{self, market_data_service_server::MarketDataService};
use serde::{Deserialize, Serialize};
use store::{CandleQuery, HistoryKey, TickQuery, TickRange};
use tonic::{Request, Response, Status};

use crate::{
    errors::{invalid, not_there_yet},
    market::{Market, ascending_only, order, starting_within},
    metrics as names,
    page::{self, Fingerprint},
    request,
};

/// Products of one call.
const PRODUCTS_MAX: usize = 100;
/// Rows of a page of ticks or candles, unless asked for.
const ROWS_DEFAULT: u32 = 500;
/// Rows of a page of ticks or candles, at most.
const ROWS_MAX: u32 = 5_000;
/// Products of a page, unless asked for.
const PRODUCTS_PAGE_DEFAULT: u32 = 100;
/// Products of a page, at most.
const PRODUCTS_PAGE_MAX: u32 = 1_000;
/// Ticks of one message of a stream.
const STREAM_CHUNK: usize = 512;

/// `MarketDataService`.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) market: Market,
}

/// A place in history, as it stands in a page token.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Key(i64, Option<u64>, Option<u64>, i64);

impl From<HistoryKey> for Key {
    fn from(key: HistoryKey) -> Self {
        Self(key.event_time.nanos(), key.trade_id, key.sequence, key.id)
    }
}

impl From<Key> for HistoryKey {
    fn from(Key(nanos, trade_id, sequence, id): Key) -> Self {
        Self { event_time: UnixNanos::new(nanos), trade_id, sequence, id }
    }
}

/// Counts a call and how long it took.
async fn observed<T>(
    method: &'static str,
    call: impl Future<Output = Result<T, Status>>,
) -> Result<Response<T>, Status> {
    let started = Instant::now();
    let outcome = call.await;
    let code = outcome.as_ref().err().map_or(tonic::Code::Ok, Status::code);
    counter!(names::CALLS, "method" => method, "code" => format!("{code:?}")).increment(1);
    histogram!(names::DURATION, "method" => method).record(started.elapsed().as_secs_f64());
    outcome.map(Response::new)
}

type TickStream = Pin<Box<dyn Stream<Item = Result<v1::StreamTicksResponse, Status>> + Send>>;

#[tonic::async_trait]
impl MarketDataService for Service {
    async fn get_latest_price(
        &self,
        request: Request<v1::GetLatestPriceRequest>,
    ) -> Result<Response<v1::GetLatestPriceResponse>, Status> {
        let request = request.into_inner();
        observed("GetLatestPrice", async {
            let instrument = request::instrument(&request.venue, &request.product)?;
            let latest_price = Some(self.market.latest(&instrument, UnixNanos::now())?);
            Ok(v1::GetLatestPriceResponse { latest_price })
        })
        .await
    }

    async fn batch_get_latest_prices(
        &self,
        request: Request<v1::BatchGetLatestPricesRequest>,
    ) -> Result<Response<v1::BatchGetLatestPricesResponse>, Status> {
        let request = request.into_inner();
        observed("BatchGetLatestPrices", async {
            check_count(&request.products, 1)?;
            let now = UnixNanos::now();
            let latest =
                |product: &String| self.market.latest(&request::instrument(&request.venue, product)?, now);
            let latest_prices = request.products.iter().map(latest).collect::<Result<_, _>>()?;
            Ok(v1::BatchGetLatestPricesResponse { latest_prices })
        })
        .await
    }

    async fn list_ticks(
        &self,
        request: Request<v1::ListTicksRequest>,
    ) -> Result<Response<v1::ListTicksResponse>, Status> {
        observed("ListTicks", self.ticks_page(request.into_inner())).await
    }

    type StreamTicksStream = TickStream;

    async fn stream_ticks(
        &self,
        request: Request<v1::StreamTicksRequest>,
    ) -> Result<Response<Self::StreamTicksStream>, Status> {
        observed("StreamTicks", self.ticks_stream(request.into_inner())).await
    }

    async fn get_snapshot(
        &self,
        request: Request<v1::GetSnapshotRequest>,
    ) -> Result<Response<v1::GetSnapshotResponse>, Status> {
        let request = request.into_inner();
        observed("GetSnapshot", async {
            let instrument = request::instrument(&request.venue, &request.product)?;
            if request.as_of_time.is_some() {
                return Err(not_there_yet("a snapshot as of a time in the past"));
            }
            self.market.check_known(&instrument).await?;
            let snapshot = Some(self.market.snapshot(&instrument).await?);
            Ok(v1::GetSnapshotResponse { snapshot })
        })
        .await
    }

    async fn list_candles(
        &self,
        request: Request<v1::ListCandlesRequest>,
    ) -> Result<Response<v1::ListCandlesResponse>, Status> {
        observed("ListCandles", self.candles_page(request.into_inner())).await
    }

    async fn list_products(
        &self,
        request: Request<v1::ListProductsRequest>,
    ) -> Result<Response<v1::ListProductsResponse>, Status> {
        observed("ListProducts", self.products_page(request.into_inner())).await
    }

    async fn list_gaps(
        &self,
        _: Request<v1::ListGapsRequest>,
    ) -> Result<Response<v1::ListGapsResponse>, Status> {
        observed("ListGaps", async { Err(not_there_yet("the ledger of gaps")) }).await
    }

    async fn get_pipeline_status(
        &self,
        request: Request<v1::GetPipelineStatusRequest>,
    ) -> Result<Response<v1::GetPipelineStatusResponse>, Status> {
        let request = request.into_inner();
        observed("GetPipelineStatus", async {
            check_count(&request.products, 0)?;
            let instrument = |product: &String| request::instrument(&request.venue, product);
            let wanted = request.products.iter().map(instrument).collect::<Result<Vec<_>, _>>()?;
            self.market.pipeline(&wanted, UnixNanos::now()).await
        })
        .await
    }
}

fn check_count(products: &[String], min: usize) -> Result<(), Status> {
    let count = products.len();
    if (min..=PRODUCTS_MAX).contains(&count) {
        return Ok(());
    }
    Err(invalid("products", format!("{count} products are named, allowed: {min} to {PRODUCTS_MAX}")))
}

impl Service {
    async fn ticks_page(&self, mut request: v1::ListTicksRequest) -> Result<v1::ListTicksResponse, Status> {
        use v1::list_ticks_request::Range;
        let token = std::mem::take(&mut request.page_token);
        let limit = request::page_size(std::mem::take(&mut request.page_size), ROWS_DEFAULT, ROWS_MAX)?;
        let fingerprint = Fingerprint::of("ListTicks", &request);
        let instrument = request::instrument(&request.venue, &request.product)?;
        let order = order(request.order)?;
        let after = page::decode::<Key>(fingerprint, &token)?.map(HistoryKey::from);
        let (time, sequence) = match &request.range {
            Some(Range::TimeRange(range)) => (Some(range), None),
            Some(Range::SequenceRange(range)) => (None, Some(range)),
            None => (None, None),
        };
        let range = self.market.tick_range(&instrument, time, sequence)?;
        self.market.check_known(&instrument).await?;
        let query = TickQuery { instrument, range, order, after, limit: usize::try_from(limit).unwrap_or(0) };
        let (ticks, next) = self.market.ticks(query).await?;
        let next_page_token = next.map(|key| page::encode(fingerprint, Key::from(key))).unwrap_or_default();
        Ok(v1::ListTicksResponse { ticks, next_page_token, completeness: None })
    }

    async fn ticks_stream(&self, mut request: v1::StreamTicksRequest) -> Result<TickStream, Status> {
        use v1::stream_ticks_request::Range;
        let token = std::mem::take(&mut request.page_token);
        let fingerprint = Fingerprint::of("StreamTicks", &request);
        let instrument = request::instrument(&request.venue, &request.product)?;
        let order = order(request.order)?;
        let after = page::decode::<Key>(fingerprint, &token)?.map(HistoryKey::from);
        let (time, sequence) = match &request.range {
            Some(Range::TimeRange(range)) => (Some(range), None),
            Some(Range::SequenceRange(range)) => (None, Some(range)),
            None => (None, None),
        };
        let mut range = self.market.tick_range(&instrument, time, sequence)?;
        self.market.check_known(&instrument).await?;
        // A range without an end ends where the call started, or the stream would chase the market.
        if let TickRange::Time(time) = &mut range {
            time.until = time.until.min(UnixNanos::now());
        }
        let query = TickQuery { instrument, range, order, after, limit: STREAM_CHUNK };
        let market = self.market.clone();
        // One page in memory at a time; the next is read when the client has taken this one.
        let pages = stream::try_unfold(Some(query), move |query| {
            let market = market.clone();
            async move {
                let Some(query) = query else { return Ok(None) };
                let rows =
                    market.store.ticks(&query).await.map_err(|error| crate::errors::store_failed(&error))?;
                let Some((last, _)) = rows.last() else {
                    return Ok(None);
                };
                let last = *last;
                let more = rows.len() == query.limit;
                let response = v1::StreamTicksResponse {
                    ticks: rows.iter().map(|(_, tick)| v1::Tick::from(tick)).collect(),
                    next_page_token: page::encode(fingerprint, Key::from(last)),
                };
                let next = more.then_some(TickQuery { after: Some(last), ..query });
                Ok(Some((response, next)))
            }
        });
        Ok(Box::pin(pages))
    }

    async fn candles_page(
        &self,
        mut request: v1::ListCandlesRequest,
    ) -> Result<v1::ListCandlesResponse, Status> {
        let token = std::mem::take(&mut request.page_token);
        let limit = request::page_size(std::mem::take(&mut request.page_size), ROWS_DEFAULT, ROWS_MAX)?;
        let fingerprint = Fingerprint::of("ListCandles", &request);
        let instrument = request::instrument(&request.venue, &request.product)?;
        ascending_only(request.order)?;
        let interval =
            proto::interval(request.interval).map_err(|error| invalid("interval", error.to_string()))?;
        let range = starting_within(request::time_range(request.time_range.as_ref())?, interval.width());
        let after = page::decode::<i64>(fingerprint, &token)?.map(UnixNanos::new);
        self.market.check_known(&instrument).await?;
        let query =
            CandleQuery { instrument, interval, range, limit: usize::try_from(limit).unwrap_or(0), after };
        let (candles, next) = self.market.candles(query, UnixNanos::now()).await?;
        let next_page_token = next.map(|start| page::encode(fingerprint, start.nanos())).unwrap_or_default();
        Ok(v1::ListCandlesResponse { candles, next_page_token })
    }

    async fn products_page(
        &self,
        mut request: v1::ListProductsRequest,
    ) -> Result<v1::ListProductsResponse, Status> {
        let token = std::mem::take(&mut request.page_token);
        let limit = request::page_size(
            std::mem::take(&mut request.page_size),
            PRODUCTS_PAGE_DEFAULT,
            PRODUCTS_PAGE_MAX,
        )?;
        let limit = usize::try_from(limit).unwrap_or(0);
        let fingerprint = Fingerprint::of("ListProducts", &request);
        let after = page::decode::<(String, String)>(fingerprint, &token)?;
        let mut products = self.market.products().await?;
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
        let product = |instrument: &domain::Instrument| {
            let live = self.market.live.snapshot(instrument);
            v1::Product {
                venue: instrument.venue.to_string(),
                product: instrument.product.to_string(),
                last_event_time: live.and_then(|snapshot| snapshot.state.updated_at()).map(proto::timestamp),
                ..v1::Product::default()
            }
        };
        Ok(v1::ListProductsResponse { products: products.iter().map(product).collect(), next_page_token })
    }
}
