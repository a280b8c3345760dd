//! The stored ticks, from query: the seam through which a subscription reaches beyond what is in memory.

use std::time::Duration;

use domain::{Instrument, Position, Tick, UnixNanos};
use futures::{FutureExt as _, future::BoxFuture};
use live::{History, HistoryError, Since};
use proto::v1::{
    ListCandlesRequest, ListCandlesResponse, ListTicksRequest, ListTicksResponse, SequenceRange, SortOrder,
    TimeRange, list_ticks_request::Range, market_data_service_client::MarketDataServiceClient,
};
use tonic::{Code, Request};

use crate::grpc::Forward;

/// How long query may take to answer one page.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// The first ticks since a time: mostly each has a position.
const FIRST_TICKS: i32 = 64;
/// Where none of those has one, because they were all fetched to repair a gap.
const MORE_TICKS: i32 = 5_000;
/// The most pages of fetched ticks that are passed over.
const PAGES_MAX: usize = 100;

/// History as query serves it. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct QueryHistory {
    client: MarketDataServiceClient<Forward>,
}

/// An answer that breaks the contract.
#[derive(Debug, thiserror::Error)]
enum Unexpected {
    #[error("history cannot be understood")]
    Tick(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("more than {PAGES_MAX} pages hold only ticks without a place in the live feed")]
    TooManyFetched,
}

impl QueryHistory {
    /// Asks in the way in which clients' calls are forwarded.
    pub(crate) fn new(forward: Forward) -> Self {
        Self { client: MarketDataServiceClient::new(forward) }
    }

    /// One page of candles; none of a product that nobody has heard of.
    pub(crate) async fn candles(
        &self,
        request: ListCandlesRequest,
    ) -> Result<ListCandlesResponse, HistoryError> {
        let mut call = Request::new(request);
        call.set_timeout(CALL_TIMEOUT);
        match self.client.clone().list_candles(call).await {
            Ok(answer) => Ok(answer.into_inner()),
            Err(status) if status.code() == Code::NotFound => Ok(ListCandlesResponse::default()),
            Err(status) => Err(failed(status)),
        }
    }

    /// One page, with its ticks as they are in the domain.
    async fn list(&self, request: ListTicksRequest) -> Result<(Vec<Tick>, ListTicksResponse), HistoryError> {
        let mut call = Request::new(request);
        call.set_timeout(CALL_TIMEOUT);
        let answer = match self.client.clone().list_ticks(call).await {
            Ok(answer) => answer.into_inner(),
            // Nobody has heard of the product, so that nothing of it is stored.
            Err(status) if status.code() == Code::NotFound => ListTicksResponse::default(),
            Err(status) => return Err(failed(status)),
        };
        let mut answer = answer;
        let ticks: Result<Vec<Tick>, _> =
            std::mem::take(&mut answer.ticks).into_iter().map(Tick::try_from).collect();
        let ticks = ticks.map_err(|error| HistoryError::Refused(Unexpected::Tick(error.into()).into()))?;
        Ok((ticks, answer))
    }

    async fn read_since(&self, instrument: &Instrument, time: UnixNanos) -> Result<Since, HistoryError> {
        let start_time = (time != UnixNanos::MIN).then(|| proto::timestamp(time));
        let range = Range::TimeRange(TimeRange { start_time, end_time: None });
        let mut since = Since::default();
        let mut request = ListTicksRequest { page_size: FIRST_TICKS, ..of(instrument, range) };
        for _ in 0..PAGES_MAX {
            let (ticks, answer) = self.list(request.clone()).await?;
            let horizon = answer.completeness.and_then(|completeness| completeness.horizon_time);
            since.horizon = horizon.and_then(|horizon| proto::time("horizon_time", &horizon).ok());
            // The exchange's clock may be a little out of order with its sequence.
            since.first = ticks.iter().filter_map(Tick::position).min();
            if since.first.is_some() || answer.next_page_token.is_empty() {
                return Ok(since);
            }
            request.page_token = answer.next_page_token;
            request.page_size = MORE_TICKS;
        }
        Err(HistoryError::Refused(Unexpected::TooManyFetched.into()))
    }
}

impl History for QueryHistory {
    fn ticks<'a>(
        &'a self,
        instrument: &'a Instrument,
        from: Position,
        max: usize,
    ) -> BoxFuture<'a, Result<Vec<Tick>, HistoryError>> {
        async move {
            let mut ticks: Vec<Tick> = Vec::new();
            let mut request = of(instrument, sequences(from.run, Some(from.sequence), None));
            // A page is shorter than asked for where its ticks are large.
            loop {
                request.page_size = i32::try_from(max - ticks.len()).unwrap_or(i32::MAX);
                let (page, answer) = self.list(request.clone()).await?;
                ticks.extend(page);
                if ticks.len() >= max || answer.next_page_token.is_empty() {
                    ticks.truncate(max);
                    return Ok(ticks);
                }
                request.page_token = answer.next_page_token;
            }
        }
        .boxed()
    }

    fn newest<'a>(
        &'a self,
        instrument: &'a Instrument,
        until: Position,
    ) -> BoxFuture<'a, Result<Option<Position>, HistoryError>> {
        async move {
            let range = sequences(until.run, None, until.sequence.checked_add(1));
            let order = SortOrder::Descending.into();
            let request = ListTicksRequest { page_size: 1, order, ..of(instrument, range) };
            let (ticks, _) = self.list(request).await?;
            Ok(ticks.first().and_then(Tick::position))
        }
        .boxed()
    }

    fn since<'a>(
        &'a self,
        instrument: &'a Instrument,
        time: UnixNanos,
    ) -> BoxFuture<'a, Result<Since, HistoryError>> {
        self.read_since(instrument, time).boxed()
    }
}

fn of(instrument: &Instrument, range: Range) -> ListTicksRequest {
    ListTicksRequest {
        venue: instrument.venue.to_string(),
        product: instrument.product.to_string(),
        range: Some(range),
        ..ListTicksRequest::default()
    }
}

fn sequences(run: u32, start_sequence: Option<u64>, end_sequence: Option<u64>) -> Range {
    Range::SequenceRange(SequenceRange { run: Some(run), start_sequence, end_sequence })
}

/// Whether it is worth another attempt.
fn failed(status: tonic::Status) -> HistoryError {
    match status.code() {
        Code::InvalidArgument
        | Code::Unimplemented
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::FailedPrecondition
        | Code::OutOfRange => HistoryError::Refused(status.into()),
        _ => HistoryError::Unavailable(status.into()),
    }
}
