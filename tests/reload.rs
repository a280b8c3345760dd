//! The list of products changes while the pipeline runs.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::path::Path;

use support::{SOON, START, counted, http_get, ledgerflux, ready};
use testkit::{Scratch, Signal, eventually};

fn write(file: &Path, products: &str) {
    // Replaced as a whole, as a cluster does it.
    let new = file.with_extension("new");
    std::fs::write(&new, format!("[feed]\nproducts = [{products}]\n")).unwrap();
    std::fs::rename(new, file).unwrap();
}

#[tokio::test]
async fn products_come_and_go_with_the_configuration_file_and_a_signal() {
    let scratch = Scratch::new();
    let mut exchange = ledgerflux()
        .args(["simulator", "--generate", "--products", "BTC-USD,ETH-USD,ADA-USD", "--rate", "200"])
        .args(["--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0", "--print-addresses"])
        .spawn();
    let feed = format!("ws://{}", exchange.address("feed", START).await);
    let file = scratch.join("ledgerflux.toml");
    write(&file, "\"BTC-USD\", \"ETH-USD\"");
    let mut pipeline = ledgerflux()
        .args(["up", "--feed", &feed, "--listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0"])
        .args(["--ops-listen", "127.0.0.1:0", "--print-addresses", "--data-dir"])
        .arg(scratch.join("data"))
        .arg("--config")
        .arg(&file)
        .spawn();
    let ops = pipeline.address("ops", START).await;
    ready(&ops).await;
    let of = |product: &'static str| {
        let ops = ops.clone();
        async move {
            let metrics = http_get(&ops, "/metrics").await.1;
            counted(&metrics, &format!("ledgerflux_ingestor_ticks_total{{product=\"{product}\"}}"))
        }
    };
    eventually(SOON, || async { of("ETH-USD").await > 5 }).await;
    assert_eq!(of("ADA-USD").await, 0);

    write(&file, "\"BTC-USD\", \"ADA-USD\"");
    eventually(SOON, || async { of("ADA-USD").await > 5 }).await;
    pipeline.output_with("the products have changed", SOON).await;

    write(&file, "\"BTC-USD\", \"A B\"");
    pipeline.output_with("the configuration cannot be used; the products stay", SOON).await;
    pipeline.signal(Signal::HUP);
    pipeline.output_with("SIGHUP", SOON).await;
    let before = of("ADA-USD").await;
    eventually(SOON, || async { of("ADA-USD").await > before }).await;
    let metrics = http_get(&ops, "/metrics").await.1;
    assert_eq!(counted(&metrics, "ledgerflux_ingestor_reconnects_total"), 0, "the connection was kept");
    assert!(pipeline.terminate(SOON).await.success(), "{}", pipeline.stderr());
    exchange.terminate(SOON).await;
}
