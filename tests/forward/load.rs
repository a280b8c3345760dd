//! Clients that ask without pause, and keep count of what they were told.

use std::{
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use prost::Message as _;
use proto::v1::{
    GetLatestPriceRequest, GetLatestPriceResponse, ListTicksRequest, ListTicksResponse, SequenceRange,
    StreamTicksRequest, list_ticks_request, stream_ticks_request,
};
use tokio::task::JoinHandle;
use tonic::Status;
use tonic_types::StatusExt as _;

use crate::{
    web::{self, Mode},
    world::{Market, PRODUCT},
};

/// A breath between two calls of one client: the machine has other things to do than this load.
const PAUSE: Duration = Duration::from_millis(10);
/// How many streams broke off and were continued, of all clients.
static CONTINUED: AtomicU64 = AtomicU64::new(0);
/// How many ticks are read of the history.
pub(crate) const TICKS: usize = 100;

/// What a client asks for, again and again, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    LatestPrice,
    ListTicks,
    StreamTicks,
    WebLatestPrice,
    WebTextListTicks,
}

/// Two clients of each kind.
const KINDS: [Kind; 5] =
    [Kind::LatestPrice, Kind::ListTicks, Kind::StreamTicks, Kind::WebLatestPrice, Kind::WebTextListTicks];
const CLIENTS_OF_EACH: usize = 2;

/// Which ticks are asked for: they are stored, and there are [`TICKS`] of them.
#[derive(Clone, Debug)]
pub(crate) struct Past(pub(crate) SequenceRange);

/// What one client was told.
#[derive(Debug)]
pub(crate) struct Told {
    kind: Kind,
    pub(crate) answered: u64,
    pub(crate) failed: Vec<String>,
    slowest: Duration,
}

pub(crate) struct Load {
    over: Arc<AtomicBool>,
    clients: Vec<(Arc<Mutex<Told>>, JoinHandle<()>)>,
}

impl Load {
    pub(crate) fn start(market: &Market, gateway: &str, past: &Past) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let clients = KINDS.into_iter().flat_map(|kind| [kind; CLIENTS_OF_EACH]);
        let clients = clients.map(|kind| {
            let told =
                Arc::new(Mutex::new(Told { kind, answered: 0, failed: Vec::new(), slowest: Duration::ZERO }));
            let client =
                ask(kind, market.clone(), gateway.to_owned(), past.clone(), over.clone(), told.clone());
            (told, tokio::spawn(client))
        });
        Self { clients: clients.collect(), over }
    }

    /// Nothing has failed so far; `when` is for the message.
    pub(crate) fn has_not_failed(&self, when: &str) {
        let failed: Vec<_> =
            self.clients.iter().flat_map(|(told, _)| told.lock().unwrap().failed.clone()).collect();
        assert!(failed.is_empty(), "{} calls failed, {when}: {failed:#?}", failed.len());
    }

    /// How many streams had to be continued by their client.
    pub(crate) fn continued(&self) -> u64 {
        CONTINUED.load(Ordering::Relaxed)
    }

    /// Ends it, and tells what every client was told.
    pub(crate) async fn stop(self) -> Vec<Told> {
        self.over.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for (told, client) in self.clients {
            client.await.unwrap();
            all.push(Arc::into_inner(told).unwrap().into_inner().unwrap());
        }
        all
    }
}

async fn ask(
    kind: Kind,
    mut market: Market,
    gateway: String,
    past: Past,
    over: Arc<AtomicBool>,
    told: Arc<Mutex<Told>>,
) {
    while !over.load(Ordering::Relaxed) {
        let asked = Instant::now();
        let outcome = once(kind, &mut market, &gateway, &past).await;
        told.lock().unwrap().add(outcome, asked.elapsed());
        tokio::time::sleep(PAUSE).await;
    }
}

async fn once(kind: Kind, market: &mut Market, gateway: &str, past: &Past) -> Result<(), String> {
    let latest = GetLatestPriceRequest { product: PRODUCT.into(), ..Default::default() };
    let list = ListTicksRequest {
        product: PRODUCT.into(),
        page_size: TICKS.try_into().unwrap(),
        range: Some(list_ticks_request::Range::SequenceRange(past.0)),
        ..Default::default()
    };
    let told = |status: Status| format!("{:?} {:?}", status.code(), status.message());
    match kind {
        Kind::LatestPrice => price(&market.get_latest_price(latest).await.map_err(told)?.into_inner()),
        Kind::ListTicks => ticks(market.list_ticks(list).await.map_err(told)?.into_inner().ticks.len()),
        Kind::StreamTicks => {
            let mut request = StreamTicksRequest {
                product: PRODUCT.into(),
                range: Some(stream_ticks_request::Range::SequenceRange(past.0)),
                ..Default::default()
            };
            let mut count = 0;
            // As the contract says: what has broken off goes on behind the last token.
            while let Some(broken) = stream(market, &mut request, &mut count).await {
                match broken.get_error_details().error_info() {
                    Some(info) if info.reason == "INTERRUPTED" => CONTINUED.fetch_add(1, Ordering::Relaxed),
                    _ => return Err(told(broken)),
                };
            }
            ticks(count)
        }
        Kind::WebLatestPrice => {
            let message = over_the_web(gateway, "GetLatestPrice", Mode::Binary, &latest).await?;
            price(&GetLatestPriceResponse::decode(message.as_slice()).map_err(|error| error.to_string())?)
        }
        Kind::WebTextListTicks => {
            let message = over_the_web(gateway, "ListTicks", Mode::Text, &list).await?;
            let answer = ListTicksResponse::decode(message.as_slice()).map_err(|error| error.to_string())?;
            ticks(answer.ticks.len())
        }
    }
}

/// Counts the ticks of a stream; with the status that it broke off with, and then `request` asks for the rest.
async fn stream(market: &mut Market, request: &mut StreamTicksRequest, count: &mut usize) -> Option<Status> {
    let mut stream = match market.stream_ticks(request.clone()).await {
        Ok(stream) => stream.into_inner(),
        Err(status) => return Some(status),
    };
    loop {
        match stream.message().await {
            Ok(Some(response)) => {
                *count += response.ticks.len();
                request.page_token = response.next_page_token;
            }
            Ok(None) => return None,
            Err(status) => return Some(status),
        }
    }
}

fn price(answer: &GetLatestPriceResponse) -> Result<(), String> {
    let price = answer.latest_price.as_ref().and_then(|latest| latest.last_trade.as_ref());
    price.map(|_| ()).ok_or_else(|| "an answer without a price".into())
}

fn ticks(count: usize) -> Result<(), String> {
    if count == TICKS { Ok(()) } else { Err(format!("{count} of {TICKS} ticks")) }
}

async fn over_the_web(
    gateway: &str,
    method: &str,
    mode: Mode,
    request: &impl prost::Message,
) -> Result<Vec<u8>, String> {
    let call = web::Call::send(gateway, method, mode, request).await.map_err(|error| error.to_string())?;
    let mut answer = call.answer().await.map_err(|error| error.to_string())?;
    let message = answer.messages.pop();
    match (answer.code(), message) {
        (Some("0"), Some(message)) => Ok(message),
        _ => Err(format!("{:?}", answer.told)),
    }
}

impl Told {
    fn add(&mut self, outcome: Result<(), String>, took: Duration) {
        self.slowest = self.slowest.max(took);
        match outcome {
            Ok(()) => self.answered += 1,
            Err(error) => {
                self.failed.push(format!("{:?} after {} answers: {error}", self.kind, self.answered));
            }
        }
    }
}

impl fmt::Display for Told {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, answered, failed, slowest } = self;
        write!(formatter, "{kind:?}: {answered} answered, {} failed, slowest {slowest:?}", failed.len())
    }
}
