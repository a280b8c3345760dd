//! The chart of the page in a real browser: history page by page, and what happens now behind it without a seam.

use std::time::Duration;

use proto::v1::{CandleInterval, ListCandlesRequest, SortOrder};
use testkit::Process;
use tokio_util::task::AbortOnDropHandle;

use crate::world::{PATIENCE, World};

/// 13 hours of ticks, thus more candles of a minute than the page asks for at once.
const TICKS: u64 = 6_700;

/// As `gateway/web/browser/history.mjs` says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_chart_has_history_and_goes_on_with_what_happens() {
    let world = World::start().await;
    for first in (0..TICKS).step_by(500) {
        world.keep(first..(first + 500).min(TICKS)).await;
    }
    world.publish(TICKS - 3..TICKS).await;
    let gateway = world.gateway().await;
    let request = ListCandlesRequest {
        product: "BTC-USD".into(),
        interval: CandleInterval::OneMinute.into(),
        order: SortOrder::Descending.into(),
        page_size: 1_000,
        ..ListCandlesRequest::default()
    };
    let candles = world.market().await.list_candles(request).await.unwrap().into_inner().candles;
    assert!(candles.len() > 700, "{}", candles.len());
    // What the line above the chart has to say, the newest first: start, open, high, low, close, trades.
    let expected: Vec<String> = candles
        .iter()
        .map(|candle| {
            let text = |number: &Option<String>| number.clone().unwrap();
            let numbers = [&candle.open, &candle.high, &candle.low, &candle.close].map(text).join(" ");
            format!("{} {numbers} {}", candle.start_time.unwrap().seconds, candle.trade_count)
        })
        .collect();
    let root = testkit::workspace_root();
    let mut browser = Process::builder("node")
        .arg(root.join("gateway/web/browser/history.mjs"))
        .arg(format!("http://{}/", gateway.address))
        .arg(root.join("target/screenshots/history"))
        .env("CANDLES", expected.join("\n"))
        .spawn();
    testkit::eventually(PATIENCE * 2, || async {
        match browser.stdout().contains("let the market go on") {
            true => Ok(()),
            false => Err(browser.stderr()),
        }
    })
    .await;
    let going_on = AbortOnDropHandle::new(tokio::spawn(async move {
        for number in TICKS.. {
            world.publish([number]).await;
            world.keep([number]).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }));
    let status = browser.wait(PATIENCE * 2).await;
    assert!(status.success(), "{}\n{}", browser.stdout(), browser.stderr());
    drop(going_on);
    gateway.stop().await;
}
