//! Stored ticks, page by page or as a stream.

use std::{collections::VecDeque, pin::Pin};

use domain::{Tick, UnixNanos};
use futures::{Stream, stream};
use proto::v1;
use serde::{Deserialize, Serialize};
use store::{HistoryKey, Store, StoreError, TickQuery, TickRange};
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;
use tracing::Instrument as _;

use crate::{
    errors::{store_failed, task_ended},
    market::{Market, order},
    page::{self, Fingerprint},
    request,
    service::{ROWS_DEFAULT, ROWS_MAX},
};

/// Ticks of one message of a stream.
const MESSAGE_TICKS: usize = 512;
/// Ticks of the first page that a stream reads, so that its first message comes soon.
const FIRST_PAGE_TICKS: usize = MESSAGE_TICKS;
/// Ticks of every further page: few enough to hold two of them, enough to make the start of a statement cheap.
const PAGE_TICKS: usize = 4_096;

/// The answer to `StreamTicks`.
pub(crate) type TickStream = Pin<Box<dyn Stream<Item = Result<v1::StreamTicksResponse, Status>> + Send>>;

type Page = Result<Vec<(HistoryKey, Tick)>, StoreError>;

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

/// One page of ticks.
pub(crate) async fn page(
    market: &Market,
    mut request: v1::ListTicksRequest,
) -> Result<v1::ListTicksResponse, Status> {
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
    let range = market.tick_range(&instrument, time, sequence)?;
    market.check_known(&instrument).await?;
    let limit = usize::try_from(limit).unwrap_or(0);
    let query = TickQuery { instrument, range, order, after, limit };
    let rows = market.store.ticks(&query).await.map_err(|error| store_failed(&error))?;
    let completeness = match range {
        // The range is on this page, so nothing of it is looked at twice.
        TickRange::Time(time) if query.after.is_none() && rows.len() < limit => {
            market.store.completeness_of(&query.instrument, time, &rows).await.map(Some)
        }
        _ => market.completeness(&query.instrument, range).await,
    };
    let completeness = completeness.map_err(|error| store_failed(&error))?;
    let ticks: Vec<v1::Tick> = rows.iter().map(|(_, tick)| v1::Tick::from(tick)).collect();
    let fitting = page::fitting(&ticks, market.response_bytes_max);
    let is_last = fitting == rows.len() && rows.len() < limit;
    let last = rows.get(fitting.wrapping_sub(1)).filter(|_| !is_last);
    let next_page_token = last.map(|(key, _)| page::encode(fingerprint, Key::from(*key))).unwrap_or_default();
    let ticks = ticks.into_iter().take(fitting).collect();
    Ok(v1::ListTicksResponse { ticks, next_page_token, completeness: completeness.map(Into::into) })
}

/// All ticks of a range.
pub(crate) async fn stream(
    market: &Market,
    mut request: v1::StreamTicksRequest,
) -> Result<TickStream, Status> {
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
    let mut range = market.tick_range(&instrument, time, sequence)?;
    market.check_known(&instrument).await?;
    // A range without an end ends where the call started, or the stream would chase the market.
    if let TickRange::Time(time) = &mut range {
        time.until = time.until.min(UnixNanos::now());
    }
    let query = TickQuery { instrument, range, order, after, limit: FIRST_PAGE_TICKS };
    let reader = PageReader::start(market.store.clone(), query);
    Ok(Box::pin(stream::try_unfold(reader, move |mut reader| async move {
        let ticks = reader.next_ticks().await?;
        let Some((last, _)) = ticks.last() else {
            return Ok(None);
        };
        let response = v1::StreamTicksResponse {
            next_page_token: page::encode(fingerprint, Key::from(*last)),
            ticks: ticks.iter().map(|(_, tick)| v1::Tick::from(tick)).collect(),
        };
        Ok(Some((response, reader)))
    })))
}

/// Reads a range by its key, a page ahead of what the client takes.
///
/// It is no cursor of the database, on purpose: a cursor holds its connection, its view of the rows and a lock on every
/// partition until the slowest client is done, so a few clients that do not read would use up the pool, stop vacuum and
/// keep retention from dropping what is old. Between two pages nothing is held but the ticks, at most two pages of them.
/// A page begins with a descent of the index, so the price is one such descent for 4,096 rows, and reading the next page
/// meanwhile hides it.
struct PageReader {
    store: Store,
    query: TickQuery,
    /// The page that is being read; none after the last one. Dropped with the stream, and then its statement ends.
    next: Option<AbortOnDropHandle<Page>>,
    read: VecDeque<(HistoryKey, Tick)>,
}

impl PageReader {
    fn start(store: Store, query: TickQuery) -> Self {
        let next = Some(read_page(store.clone(), query.clone()));
        Self { store, query, next, read: VecDeque::new() }
    }

    /// Those of the next message; none at the end of the range.
    async fn next_ticks(&mut self) -> Result<Vec<(HistoryKey, Tick)>, Status> {
        while self.read.is_empty() {
            let Some(next) = self.next.take() else { break };
            let page = next.await.map_err(|_| task_ended())?.map_err(|error| store_failed(&error))?;
            let is_last = page.len() < self.query.limit;
            if let Some((key, _)) = page.last().filter(|_| !is_last) {
                self.query.after = Some(*key);
                self.query.limit = PAGE_TICKS;
                self.next = Some(read_page(self.store.clone(), self.query.clone()));
            }
            self.read = page.into();
        }
        let count = self.read.len().min(MESSAGE_TICKS);
        Ok(self.read.drain(..count).collect())
    }
}

fn read_page(store: Store, query: TickQuery) -> AbortOnDropHandle<Page> {
    let reading = async move { store.ticks(&query).await };
    AbortOnDropHandle::new(tokio::spawn(reading.in_current_span()))
}
