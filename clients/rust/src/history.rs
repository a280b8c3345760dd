//! Stored ticks, page by page.

use std::collections::VecDeque;

use futures::{Stream, stream};
use tonic::Request;

use crate::{
    Error,
    client::{CALL_TIMEOUT, Calls},
    v1::{self, list_ticks_request::Range, market_data_service_client::MarketDataServiceClient},
};

/// Which part of history.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum TickRange {
    /// All that is stored.
    #[default]
    All,
    /// By event time.
    Time(v1::TimeRange),
    /// By the exchange's sequence.
    Sequence(v1::SequenceRange),
}

/// In which order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The oldest first.
    #[default]
    Ascending,
    /// The newest first.
    Descending,
}

impl From<TickRange> for Option<Range> {
    fn from(range: TickRange) -> Self {
        match range {
            TickRange::All => None,
            TickRange::Time(range) => Some(Range::TimeRange(range)),
            TickRange::Sequence(range) => Some(Range::SequenceRange(range)),
        }
    }
}

impl From<Order> for v1::SortOrder {
    fn from(order: Order) -> Self {
        match order {
            Order::Ascending => Self::Ascending,
            Order::Descending => Self::Descending,
        }
    }
}

/// The ticks of a range. Holds one page at a time and asks for the next one when it is read to its end.
#[derive(Debug)]
pub struct Ticks {
    service: MarketDataServiceClient<Calls>,
    /// The request for the next page; `None` after the last one.
    next: Option<v1::ListTicksRequest>,
    page: VecDeque<v1::Tick>,
}

impl Ticks {
    pub(crate) fn new(service: MarketDataServiceClient<Calls>, first: v1::ListTicksRequest) -> Self {
        Self { service, next: Some(first), page: VecDeque::new() }
    }

    /// The next tick; `None` at the end of the range. After an error the same page is asked for again.
    pub async fn next(&mut self) -> Result<Option<v1::Tick>, Error> {
        // A page may be empty and not be the last one.
        while self.page.is_empty() {
            let Some(next) = &mut self.next else {
                return Ok(None);
            };
            let mut request = Request::new(next.clone());
            request.set_timeout(CALL_TIMEOUT);
            let response = self.service.list_ticks(request).await.map_err(Error::call("ListTicks"))?;
            let response = response.into_inner();
            self.page = response.ticks.into();
            if response.next_page_token.is_empty() {
                self.next = None;
            } else {
                next.page_token = response.next_page_token;
            }
        }
        Ok(self.page.pop_front())
    }

    /// The ticks as a stream, which ends after an error.
    pub fn into_stream(self) -> impl Stream<Item = Result<v1::Tick, Error>> {
        stream::try_unfold(self, |mut ticks| async move { Ok(ticks.next().await?.map(|tick| (tick, ticks))) })
    }
}
