//! Every fault that the exchange can be told to have, against `ledgerflux up`: how soon it is noticed, how soon the feed is
//! live again, and that the ledger says in the end exactly what the exchange's own account says.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

use domain::UnixNanos;
use futures::StreamExt as _;
use proto::v1::{
    FeedState, Gap, GapState, GetPipelineStatusRequest, ListGapsRequest, ListTicksRequest,
    market_data_service_client::MarketDataServiceClient,
};
use serde_json::Value;
use support::{SOON, START, ledgerflux, ready};
use testkit::{Process, Scratch, eventually};
use tonic::transport::Channel;

type Client = MarketDataServiceClient<Channel>;

/// Every fault has begun and ended so long after the feed began to flow.
const SCRIPT: Duration = Duration::from_secs(14);
/// How often the state of the feed is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// How soon a fault has to be noticed, and the feed to be live after it.
const PROMPT: Duration = Duration::from_secs(5);
/// So many pipelines run at a time.
const AT_A_TIME: usize = 6;
const PRODUCTS: [&str; 2] = ["BTC-USD", "ETH-USD"];

/// By what a fault is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Notice {
    /// The feed of a product is not live any more.
    State,
    /// Trades are missing.
    Gap,
    /// The whole connection or the trades may go: whichever is told first.
    Either,
    /// It costs nothing, so that there is nothing to tell.
    Nothing,
}

struct Case {
    faults: &'static [&'static str],
    notice: Notice,
    /// Nobody can fetch what is missing.
    is_gone: bool,
}

const fn case(faults: &'static [&'static str], notice: Notice) -> Case {
    Case { faults, notice, is_gone: false }
}

/// The first fault of each is the one whose times count.
const CASES: [Case; 22] = [
    case(&["disconnect:at=4s,for=3s,how=reset"], Notice::State),
    case(&["disconnect:at=4s,for=3s,how=cut"], Notice::State),
    case(&["disconnect:at=4s,how=close"], Notice::Either),
    case(&["stall:at=4s,for=6s"], Notice::Either),
    case(&["mute:at=4s,for=5s,products=ETH-USD"], Notice::Gap),
    case(&["mute:at=4s,for=6s,products=ETH-USD,also_heartbeats=true"], Notice::State),
    case(&["drop:at=4s,count=20"], Notice::Gap),
    case(&["drop:at=4s,for=3s,percent=30"], Notice::Gap),
    case(&["duplicate:at=4s,for=4s,percent=50"], Notice::Nothing),
    case(&["reorder:at=4s,for=4s,window=5"], Notice::Nothing),
    case(&["repeat:at=4s,every=1s,times=4,last=100"], Notice::Nothing),
    case(&["corrupt:at=4s,count=10"], Notice::Gap),
    case(&["delay:at=4s,for=4s,by=1s"], Notice::Nothing),
    case(&["sequence_reset:at=4s", "disconnect:at=4s"], Notice::Either),
    case(&["refuse:at=0s,for=3s,products=ETH-USD"], Notice::State),
    case(&["refuse:at=0s,for=3s,products=ETH-USD,how=error"], Notice::State),
    case(&["error:at=4s"], Notice::Nothing),
    case(&["disconnect:at=4s", "slow_accept:at=4s,for=4s,by=2s"], Notice::Either),
    case(&["oversized:at=4s"], Notice::Nothing),
    case(&["drop:at=4s,count=20", "rest_429:at=3s,for=4s"], Notice::Gap),
    case(&["drop:at=4s,count=20", "rest_500:at=3s,count=2", "rest_garbage:at=5s,count=1"], Notice::Gap),
    Case { faults: &["drop:at=4s,for=2s", "rest_gone:at=3s,for=4s"], notice: Notice::Gap, is_gone: true },
];

#[tokio::test(flavor = "multi_thread")]
async fn every_scripted_fault_is_noticed_repaired_and_accounted_for() {
    let cases = CASES.iter().map(|case| async {
        let told = tokio::spawn(run(case)).await;
        told.unwrap_or_else(|panic| format!("FAILED {}: {panic}", case.faults.join(" + ")))
    });
    let told: Vec<String> = futures::stream::iter(cases).buffer_unordered(AT_A_TIME).collect().await;
    println!("{}", told.join("\n"));
    let failed: Vec<&String> = told.iter().filter(|line| line.starts_with("FAILED")).collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

async fn run(case: &'static Case) -> String {
    let data = Scratch::new();
    let truth_file = data.path().join("truth.jsonl");
    let mut exchange = start_exchange(case, &truth_file);
    let feed = format!("ws://{}", exchange.address("feed", START).await);
    let mut pipeline = ledgerflux()
        .args(["up", "--feed", &feed, "--products", &PRODUCTS.join(",")])
        .args(["--listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"])
        .args(["--print-addresses", "--data-dir"])
        .arg(data.path().join("data"))
        // What the exchange answers without is known to be gone after two answers: soon enough for a test.
        .env("LEDGERFLUX_FEED__BACKFILL_ATTEMPTS_MAX", "2")
        .spawn();
    let ops = pipeline.address("ops", START).await;
    let address = format!("http://{}", pipeline.address("grpc", START).await);
    let client = eventually(START, || Client::connect(address.clone())).await;
    let mut seen = Vec::new();
    tokio::select! {
        () = watch(client.clone(), &mut seen) => {}
        () = async {
            ready(&ops).await;
            tokio::time::sleep(SCRIPT).await;
            // What is missing is fetched while the exchange is there.
            eventually(SOON, || none_open(client.clone())).await;
        } => {}
    }
    assert!(exchange.terminate(SOON).await.success(), "{}", exchange.stderr());
    let truth = Truth::read(&truth_file);
    let line = judge(case, &truth, &seen, client).await;
    assert!(pipeline.terminate(SOON).await.success(), "{}", pipeline.stderr());
    line
}

fn start_exchange(case: &Case, truth: &Path) -> Process {
    let mut exchange = ledgerflux()
        .args(["simulator", "--generate", "--rate", "40", "--products", &PRODUCTS.join(",")])
        .args(["--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0", "--print-addresses", "--truth"])
        .arg(truth);
    for fault in case.faults {
        exchange = exchange.args(["--fault", fault]);
    }
    exchange.spawn()
}

/// Whether a product was live at a time.
type Seen = (UnixNanos, String, bool);

/// Looks at the state of each product again and again.
async fn watch(mut client: Client, seen: &mut Vec<Seen>) {
    loop {
        let status =
            client.get_pipeline_status(GetPipelineStatusRequest::default()).await.unwrap().into_inner();
        let now = UnixNanos::now();
        seen.extend(status.products.into_iter().map(|product| {
            let is_live = matches!(product.feed_state(), FeedState::Live | FeedState::Gap);
            (now, product.product, is_live)
        }));
        tokio::time::sleep(LOOK).await;
    }
}

async fn gaps(mut client: Client) -> Vec<Gap> {
    let request = ListGapsRequest { page_size: 1_000, ..Default::default() };
    let page = client.list_gaps(request).await.unwrap().into_inner();
    assert_eq!(page.next_page_token, "", "more gaps than a page has");
    page.gaps
}

async fn none_open(client: Client) -> Result<(), Vec<Gap>> {
    let open: Vec<Gap> = gaps(client).await.into_iter().filter(|gap| gap.state() == GapState::Open).collect();
    if open.is_empty() { Ok(()) } else { Err(open) }
}

/// The trades of a product that are stored, with their prices.
async fn stored(mut client: Client, product: &str) -> BTreeMap<u64, String> {
    let mut request = ListTicksRequest { product: product.into(), page_size: 1_000, ..Default::default() };
    let mut trades = BTreeMap::new();
    loop {
        let page = client.list_ticks(request.clone()).await.unwrap().into_inner();
        for tick in page.ticks {
            let trade = tick.last_trade.unwrap();
            let twice = trades.insert(trade.trade_id.unwrap(), trade.price);
            assert_eq!(twice, None, "{product}: {:?} is stored twice", trade.trade_id);
        }
        if page.next_page_token.is_empty() {
            return trades;
        }
        request.page_token = page.next_page_token;
    }
}

/// The exchange's own account.
#[derive(Default)]
struct Truth {
    /// Per product and trade_id: the price, and whether it was sent.
    trades: BTreeMap<String, BTreeMap<u64, (String, bool)>>,
    /// When each kind of fault began and ended for the first and the last time.
    faults: BTreeMap<String, (UnixNanos, UnixNanos)>,
}

impl Truth {
    fn read(file: &Path) -> Self {
        let mut truth = Self::default();
        for line in std::fs::read_to_string(file).unwrap().lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            let time = UnixNanos::parse_rfc3339(line["time"].as_str().unwrap()).unwrap();
            if let Some(fault) = line["fault"].as_str() {
                truth.faults.entry(fault.into()).or_insert((time, time)).1 = time;
                continue;
            }
            let trades = truth.trades.entry(line["product"].as_str().unwrap().into()).or_default();
            let price = line["price"].as_str().unwrap().to_owned();
            trades.insert(line["trade_id"].as_u64().unwrap(), (price, line["sent"] == true));
        }
        truth
    }
}

async fn judge(case: &Case, truth: &Truth, seen: &[Seen], mut client: Client) -> String {
    let gaps = gaps(client.clone()).await;
    let (mut made_in_all, mut lost_in_all) = (0, 0);
    for product in PRODUCTS {
        let trades = &truth.trades[product];
        let (last, _) = trades.iter().rfind(|(_, (_, is_sent))| *is_sent).unwrap();
        let stored = eventually(SOON, || async {
            let stored = stored(client.clone(), product).await;
            if stored.contains_key(last) { Ok(stored) } else { Err(format!("{last} is not stored yet")) }
        })
        .await;
        let first = *stored.keys().next().unwrap();
        let made: BTreeMap<u64, &(String, bool)> =
            trades.range(first..=*last).map(|(id, trade)| (*id, trade)).collect();
        let gaps: Vec<&Gap> = gaps.iter().filter(|gap| gap.product == product).collect();
        let in_gap = |id: &u64| gaps.iter().any(|gap| (gap.first_trade_id..=gap.last_trade_id).contains(id));
        let lost: BTreeSet<u64> = made.iter().filter(|(_, trade)| !trade.1).map(|(id, _)| *id).collect();
        let unlisted: Vec<&u64> = lost.iter().filter(|id| !in_gap(id)).collect();
        assert!(unlisted.is_empty(), "{product}: lost and in no gap: {unlisted:?}");
        let missing: BTreeSet<u64> = made.keys().filter(|id| !stored.contains_key(id)).copied().collect();
        if case.is_gone {
            assert!(missing.is_subset(&lost) && missing.iter().all(in_gap), "{product}: {missing:?}");
        } else {
            assert!(missing.is_empty(), "{product}: not repaired: {missing:?}");
        }
        for (id, price) in &stored {
            let (sent, price) = (domain::parse_number(&made[id].0), domain::parse_number(price));
            assert_eq!(sent.unwrap(), price.unwrap(), "{product} {id}");
        }
        for gap in &gaps {
            let inside = stored.range(gap.first_trade_id..=gap.last_trade_id).count() as u64;
            let is_whole = inside == gap.last_trade_id - gap.first_trade_id + 1;
            let state = if is_whole { GapState::Repaired } else { GapState::Unrepairable };
            assert_eq!((gap.repaired_count, gap.state()), (inside, state), "{gap:?}");
        }
        let request = GetPipelineStatusRequest { products: vec![product.into()], ..Default::default() };
        let status = client.get_pipeline_status(request).await.unwrap().into_inner();
        let told = status.products[0].completeness.unwrap();
        let counted = (told.expected_trades, told.stored_trades, told.open_gaps);
        let [made, stored] = [made.len(), stored.len()].map(|count| count as u64);
        assert_eq!(counted, (Some(made), stored, 0), "{product}: the completeness");
        made_in_all += made;
        lost_in_all += lost.len();
    }
    assert!(!case.is_gone || gaps.iter().any(|gap| gap.state() == GapState::Unrepairable), "{gaps:?}");
    let (noticed, live) = prompt(case, truth, seen, &gaps, lost_in_all);
    let faults = case.faults.join(" + ");
    format!(
        "{faults}: noticed {noticed}, live again {live}; {made_in_all} trades, {lost_in_all} of them lost and listed"
    )
}

/// How soon it was noticed after it began, and everything live after it ended.
fn prompt(case: &Case, truth: &Truth, seen: &[Seen], gaps: &[Gap], lost: usize) -> (String, String) {
    let kind = case.faults[0].split(':').next().unwrap();
    let (began, ended) = truth.faults[kind];
    // Nobody can ask before the pipeline serves.
    let began = began.max(seen[0].0);
    let is_down = |(at, _, is_live): &&Seen| *at >= began && !is_live;
    let down = seen.iter().find(is_down).map(|(at, ..)| *at);
    let missed =
        gaps.iter().map(|gap| proto::time("detect_time", gap.detect_time.as_ref().unwrap()).unwrap()).min();
    let noticed = match case.notice {
        Notice::State => down,
        Notice::Gap => missed,
        Notice::Either => down.into_iter().chain(missed).min(),
        Notice::Nothing => None,
    };
    let after = |at: UnixNanos, since: UnixNanos| {
        Duration::from_nanos(u64::try_from(at.nanos() - since.nanos()).unwrap_or(0))
    };
    let noticed = noticed.map(|at| after(at, began));
    match case.notice {
        Notice::State | Notice::Gap => assert!(noticed.is_some(), "it was not noticed"),
        Notice::Either => assert!(noticed.is_some() || lost == 0, "it was not noticed"),
        Notice::Nothing => {}
    }
    assert!(noticed.is_none_or(|noticed| noticed <= PROMPT), "noticed after {noticed:?}");
    let live = seen.iter().rfind(is_down).map(|(at, ..)| after(*at, ended));
    assert!(live.is_none_or(|live| live <= PROMPT), "live {live:?} after its end");
    let told = |time: Option<Duration>| {
        time.map_or("not".into(), |time| format!("after {:.1} s", time.as_secs_f64()))
    };
    (told(noticed), live.map_or("all the time".into(), |live| told(Some(live))))
}
