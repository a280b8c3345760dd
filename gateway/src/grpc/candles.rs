//! The messages of one `StreamCandles` call: first what has ended, from history, then each series as it grows.

use std::{collections::BTreeSet, error::Error, sync::Arc, time::Duration, vec};

use bytes::Bytes;
use domain::{Instrument, Interval, UnixNanos};
use futures::{StreamExt, stream};
use live::Products;
use prost::Message;
use proto::v1::{self, StreamEventKind, stream_candles_response};
use runtime::{ErrorChain, Shutdown};
use tokio::{sync::watch, time::sleep};
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;

use super::{
    status::{self, invalid},
    stream::{Frames, stream_event},
    subscribe,
};
use crate::{
    Config,
    access::{self, Caller},
    candles::{Candles, Series, frame, request},
    clients::Client,
};

/// How often products are looked for that have appeared, by those who want all.
const LOOK_PERIOD: Duration = Duration::from_secs(1);

type Batch = Vec<Result<Bytes, Status>>;

/// A checked request.
#[derive(Debug)]
pub(super) struct CandlePlan {
    products: Products,
    interval: Interval,
    start: Option<UnixNanos>,
    closed_only: bool,
}

/// A client of candles.
struct Watcher {
    candles: Candles,
    changes: watch::Receiver<u64>,
    plan: CandlePlan,
    members: Vec<Member>,
    known: BTreeSet<Instrument>,
    /// How many of the members have been told their past.
    begun: usize,
    is_live: bool,
    is_over: bool,
    client: Client,
    shutdown: Shutdown,
}

/// One product of a client.
struct Member {
    instrument: Instrument,
    series: Arc<Series>,
    /// The next candle that has ended to tell; `None` before its past was begun.
    next_closed: Option<u64>,
    open_version: u64,
    /// The next page of its past.
    past: Option<v1::ListCandlesRequest>,
}

impl CandlePlan {
    pub(super) fn new(request: &v1::StreamCandlesRequest, config: &Config) -> Result<Self, Status> {
        let venue = subscribe::venue(&request.venue)?;
        let interval =
            proto::interval(request.interval).map_err(|error| invalid("interval", error.to_string()))?;
        let start = request.start_time.as_ref().map(|time| proto::time("start_time", time)).transpose();
        let start = start.map_err(|error| invalid("start_time", error.fault.to_string()))?;
        let products = subscribe::products(&venue, &request.products, config)?;
        Ok(Self { products, interval, start, closed_only: request.closed_only })
    }

    /// The same plan within what `caller` may see.
    pub(super) fn limited_to(mut self, caller: &Caller, config: &Config) -> Result<Self, Status> {
        self.products = access::narrowed(self.products, caller, config.products_max)?;
        Ok(self)
    }
}

/// Begins a stream of candles.
pub(super) fn frames(
    candles: &Candles,
    plan: CandlePlan,
    client: Client,
    shutdown: Shutdown,
) -> Result<Frames, Status> {
    let mut watcher = Watcher {
        changes: candles.changes(),
        candles: candles.clone(),
        plan,
        members: Vec::new(),
        known: BTreeSet::new(),
        begun: 0,
        is_live: false,
        is_over: false,
        client,
        shutdown,
    };
    watcher.join_new()?;
    let batches = stream::unfold(watcher, |mut watcher| async move {
        let batch = watcher.next().await?;
        Some((stream::iter(batch), watcher))
    });
    Ok(Box::pin(batches.flatten()))
}

impl Watcher {
    async fn next(&mut self) -> Option<vec::IntoIter<Result<Bytes, Status>>> {
        if self.is_over {
            return None;
        }
        let shutdown = self.shutdown.clone();
        let batch = match shutdown.run_until(self.batch()).await {
            Some(Ok(batch)) => batch,
            Some(Err(status)) => self.close(status.message().to_owned(), status),
            None => self.close("the server restarts".into(), status::restarting()),
        };
        self.client.count_messages(batch.len());
        Some(batch.into_iter())
    }

    fn close(&mut self, detail: String, status: Status) -> Batch {
        self.is_over = true;
        status::count(&status);
        let closing = event(StreamEventKind::Closing, |event| {
            event.retry_delay = Some(proto::duration(status::RETRY_DELAY));
            event.detail = detail;
        });
        vec![Ok(closing), Err(status)]
    }

    async fn batch(&mut self) -> Result<Batch, Status> {
        loop {
            self.changes.borrow_and_update();
            let frames = if self.begun < self.members.len() {
                self.past().await?
            } else {
                Some(self.present()?).filter(|frames| !frames.is_empty())
            };
            match frames {
                Some(frames) if frames.is_empty() => continue,
                Some(frames) => return Ok(frames.into_iter().map(Ok).collect()),
                None => {}
            }
            let look = async {
                match self.plan.products {
                    Products::All => sleep(LOOK_PERIOD).await,
                    Products::These(_) => std::future::pending().await,
                }
            };
            tokio::select! {
                // The sender lives in `self.candles`.
                _ = self.changes.changed() => {}
                () = look => self.join_new()?,
            }
        }
    }

    /// The next page of what has ended, of the product whose turn it is; `None` while its series has not begun.
    async fn past(&mut self) -> Result<Option<Vec<Bytes>>, Status> {
        let Some(member) = self.members.get_mut(self.begun) else { return Ok(None) };
        let product = member.instrument.product.to_string();
        if member.next_closed.is_none() {
            let view = member.series.view();
            let Some(told_until) = view.told_until else {
                return match &view.failed {
                    Some(why) => Err(status::candles_unavailable(&product, why)),
                    None => Ok(None),
                };
            };
            // What has ended up to now is past; what ends later comes from the series.
            member.next_closed = Some(view.closed_count());
            member.past = self
                .plan
                .start
                .filter(|start| *start < told_until)
                .map(|start| request(&member.instrument, self.plan.interval, start, Some(told_until)));
        }
        let Some(wanted) = member.past.take() else {
            self.begun += 1;
            return Ok(Some(Vec::new()));
        };
        let unavailable = |error: &(dyn Error + 'static)| {
            status::candles_unavailable(&product, &ErrorChain(error).to_string())
        };
        // By itself: a client that does not read is not looked at, and would keep the place of the call.
        let (history, page) = (self.candles.history().clone(), wanted.clone());
        let answer = AbortOnDropHandle::new(tokio::spawn(async move { history.candles(page).await })).await;
        let answer = answer.map_err(|error| unavailable(&error))?.map_err(|error| unavailable(&error))?;
        if answer.next_page_token.is_empty() {
            self.begun += 1;
        } else {
            member.past = Some(v1::ListCandlesRequest { page_token: answer.next_page_token, ..wanted });
        }
        Ok(Some(answer.candles.into_iter().map(frame).collect()))
    }

    /// What has changed since.
    fn present(&mut self) -> Result<Vec<Bytes>, Status> {
        let mut frames = Vec::new();
        if !std::mem::replace(&mut self.is_live, true) {
            frames.push(event(StreamEventKind::Live, |_| {}));
        }
        for member in &mut self.members {
            let view = member.series.view();
            let next = member.next_closed.get_or_insert(view.closed_count());
            while *next < view.closed_count() {
                let product = &member.instrument.product;
                let closed =
                    view.closed(*next).ok_or_else(|| status::candles_fell_behind(product.as_str()))?;
                frames.push(closed.clone());
                *next += 1;
            }
            if !self.plan.closed_only
                && let Some(open) = &view.open
                && std::mem::replace(&mut member.open_version, view.open_version) != view.open_version
            {
                frames.push(open.clone());
            }
        }
        Ok(frames)
    }

    /// Joins the series that the client wants and has not.
    fn join_new(&mut self) -> Result<(), Status> {
        let wanted = match &self.plan.products {
            Products::These(instruments) => instruments.clone(),
            Products::All => {
                let snapshots = self.candles.feed().snapshots();
                snapshots.iter().map(|snapshot| snapshot.instrument.clone()).collect()
            }
        };
        for instrument in wanted {
            if self.known.insert(instrument.clone()) {
                let series = self.candles.series(&instrument, self.plan.interval);
                let series = series.ok_or_else(status::too_many_candles)?;
                let member = Member { instrument, series, next_closed: None, open_version: 0, past: None };
                self.members.push(member);
            }
        }
        Ok(())
    }
}

fn event(kind: StreamEventKind, fill: impl FnOnce(&mut v1::StreamEvent)) -> Bytes {
    let message = Some(stream_candles_response::Message::Event(stream_event(kind, None, fill)));
    v1::StreamCandlesResponse { message }.encode_to_vec().into()
}

#[cfg(test)]
mod tests;
