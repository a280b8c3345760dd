//! The handlers: decode, call, encode.

use domain::UnixNanos;
use proto::v1::{self, market_data_service_server::MarketDataService};
use tonic::{Request, Response, Status};

use crate::{candles, errors::invalid, gaps, history, market::Market, pipeline, products, request};

/// Products of one call.
const PRODUCTS_MAX: usize = 100;
/// Rows of a page of ticks or candles, unless asked for.
pub(crate) const ROWS_DEFAULT: u32 = 500;
/// Rows of a page of ticks or candles, at most.
pub(crate) const ROWS_MAX: u32 = 5_000;

/// `MarketDataService`.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) market: Market,
}

#[tonic::async_trait]
impl MarketDataService for Service {
    async fn get_latest_price(
        &self,
        request: Request<v1::GetLatestPriceRequest>,
    ) -> Result<Response<v1::GetLatestPriceResponse>, Status> {
        let request = request.into_inner();
        let instrument = request::instrument(&request.venue, &request.product)?;
        let latest_price = Some(self.market.latest(&instrument, UnixNanos::now())?);
        Ok(Response::new(v1::GetLatestPriceResponse { latest_price }))
    }

    async fn batch_get_latest_prices(
        &self,
        request: Request<v1::BatchGetLatestPricesRequest>,
    ) -> Result<Response<v1::BatchGetLatestPricesResponse>, Status> {
        let request = request.into_inner();
        check_count(&request.products, 1)?;
        let now = UnixNanos::now();
        let latest =
            |product: &String| self.market.latest(&request::instrument(&request.venue, product)?, now);
        let latest_prices = request.products.iter().map(latest).collect::<Result<_, _>>()?;
        Ok(Response::new(v1::BatchGetLatestPricesResponse { latest_prices }))
    }

    async fn list_ticks(
        &self,
        request: Request<v1::ListTicksRequest>,
    ) -> Result<Response<v1::ListTicksResponse>, Status> {
        history::page(&self.market, request.into_inner()).await.map(Response::new)
    }

    type StreamTicksStream = history::TickStream;

    async fn stream_ticks(
        &self,
        request: Request<v1::StreamTicksRequest>,
    ) -> Result<Response<Self::StreamTicksStream>, Status> {
        history::stream(&self.market, request.into_inner()).await.map(Response::new)
    }

    async fn get_snapshot(
        &self,
        request: Request<v1::GetSnapshotRequest>,
    ) -> Result<Response<v1::GetSnapshotResponse>, Status> {
        let request = request.into_inner();
        let instrument = request::instrument(&request.venue, &request.product)?;
        let as_of = request::time("as_of_time", request.as_of_time.as_ref())?;
        self.market.check_known(&instrument).await?;
        let snapshot = match as_of {
            Some(time) => self.market.snapshot_as_of(&instrument, time).await?,
            None => self.market.snapshot(&instrument).await?,
        };
        Ok(Response::new(v1::GetSnapshotResponse { snapshot: Some(snapshot) }))
    }

    async fn list_candles(
        &self,
        request: Request<v1::ListCandlesRequest>,
    ) -> Result<Response<v1::ListCandlesResponse>, Status> {
        candles::page(&self.market, request.into_inner(), UnixNanos::now()).await.map(Response::new)
    }

    async fn list_products(
        &self,
        request: Request<v1::ListProductsRequest>,
    ) -> Result<Response<v1::ListProductsResponse>, Status> {
        products::page(&self.market, request.into_inner()).await.map(Response::new)
    }

    async fn list_gaps(
        &self,
        request: Request<v1::ListGapsRequest>,
    ) -> Result<Response<v1::ListGapsResponse>, Status> {
        gaps::page(&self.market, request.into_inner()).await.map(Response::new)
    }

    async fn get_pipeline_status(
        &self,
        request: Request<v1::GetPipelineStatusRequest>,
    ) -> Result<Response<v1::GetPipelineStatusResponse>, Status> {
        let request = request.into_inner();
        check_count(&request.products, 0)?;
        let instrument = |product: &String| request::instrument(&request.venue, product);
        let wanted = request.products.iter().map(instrument).collect::<Result<Vec<_>, _>>()?;
        pipeline::status(&self.market, &wanted, UnixNanos::now()).await.map(Response::new)
    }
}

fn check_count(products: &[String], min: usize) -> Result<(), Status> {
    let count = products.len();
    if (min..=PRODUCTS_MAX).contains(&count) {
        return Ok(());
    }
    Err(invalid("products", format!("{count} products are named, allowed: {min} to {PRODUCTS_MAX}")))
}
