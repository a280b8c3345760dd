//! What a stranger does after `make demo`: look at the page, ask with grpcurl, stream with a WebSocket client, stop it,
//! start it again.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::time::{Duration, Instant};

use futures::{SinkExt as _, StreamExt as _};
use proto::v1::{
    CandleInterval, GetLatestPriceRequest, GetPipelineStatusRequest, ListCandlesRequest, ListProductsRequest,
    ListTicksRequest, SubscribeRequest, market_data_service_client::MarketDataServiceClient,
    streaming_service_client::StreamingServiceClient, subscribe_response::Message as Sent,
};
use serde_json::{Value, json};
use support::{SOON, START, http_get, ledgerflux};
use testkit::{Scratch, Signal, eventually};
use tokio_tungstenite::tungstenite::Message;

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_looks_around_stops_it_and_starts_it_again() {
    let data = Scratch::new();
    let mut first = support::demo(&data).await;
    let gateway = first.address("gateway", START).await;
    let grpc = first.address("grpc", START).await;
    let ops = first.address("ops", START).await;

    assert!(
        first.stderr().contains("simulated") || first.stdout().contains("simulated"),
        "it says what it is"
    );
    the_page_and_the_operations_endpoints(&gateway, &ops).await;
    reflection_names_the_services(&grpc, &["ledgerflux.v1.MarketDataService"]).await;
    reflection_names_the_services(
        &gateway,
        &["ledgerflux.v1.MarketDataService", "ledgerflux.v1.StreamingService"],
    )
    .await;
    for address in [&grpc, &gateway] {
        prices_and_history(address).await;
    }
    the_stream_moves(&gateway).await;
    the_web_socket_moves(&gateway).await;
    every_role_counts(&ops).await;

    let stopping = Instant::now();
    first.signal(Signal::INT);
    assert!(first.wait(SOON).await.success(), "{}", first.stderr());
    assert!(stopping.elapsed() < Duration::from_secs(15), "took {:?} to stop", stopping.elapsed());

    let mut second = support::demo(&data).await;
    let gateway = second.address("gateway", START).await;
    prices_and_history(&gateway).await;
    assert!(second.terminate(SOON).await.success(), "{}", second.stderr());
}

async fn the_page_and_the_operations_endpoints(gateway: &str, ops: &str) {
    let (status, page) = http_get(gateway, "/").await;
    assert_eq!(status, 200);
    assert!(page.contains("LedgerFlux"), "{page}");
    let (status, info) = http_get(gateway, "/info.json").await;
    assert_eq!(status, 200);
    assert!(info.contains("simulated"), "{info}");
    for address in [gateway, ops] {
        for path in ["/health", "/ready"] {
            let (status, body) = http_get(address, path).await;
            assert_eq!(status, 200, "{address}{path}: {body}");
        }
    }
    assert_eq!(http_get(ops, "/no-such-page").await.0, 404);
}

async fn every_role_counts(ops: &str) {
    let (status, metrics) = http_get(ops, "/metrics").await;
    assert_eq!(status, 200);
    for role in ["ingestor", "normalizer", "snapshotter", "query", "gateway", "store", "bus", "live"] {
        assert!(metrics.contains(&format!("ledgerflux_{role}_")), "no metric of the {role}");
    }
}

async fn reflection_names_the_services(address: &str, names: &[&str]) {
    use tonic_reflection::pb::v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap();
    let mut client = ServerReflectionClient::new(endpoint.connect().await.unwrap());
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut responses =
        client.server_reflection_info(futures::stream::iter([request])).await.unwrap().into_inner();
    let response = responses.next().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(list) = response else { panic!("{response:?}") };
    let listed: Vec<&str> = list.service.iter().map(|service| service.name.as_str()).collect();
    for name in names {
        assert!(listed.contains(name), "{name} is not among {listed:?}");
    }
}

async fn prices_and_history(address: &str) {
    let mut client = MarketDataServiceClient::connect(format!("http://{address}")).await.unwrap();
    let product = "BTC-USD".to_owned();
    // The first tick may be a moment away; a candle is there as soon as one is stored.
    let latest = eventually(SOON, || async {
        let mut client = client.clone();
        let request = ListCandlesRequest {
            product: product.clone(),
            interval: CandleInterval::OneMinute.into(),
            ..Default::default()
        };
        client.list_candles(request).await.ok().filter(|response| !response.get_ref().candles.is_empty())?;
        let request = GetLatestPriceRequest { product: product.clone(), ..Default::default() };
        client.get_latest_price(request).await.ok()?.into_inner().latest_price
    })
    .await;
    let price = domain::parse_number(&latest.last_trade.unwrap().price).unwrap();
    let bid = domain::parse_number(&latest.best_bid.unwrap().price).unwrap();
    let ask = domain::parse_number(&latest.best_ask.unwrap().price).unwrap();
    assert!(price > domain::Decimal::ZERO && bid < ask, "{price} {bid} {ask}");

    let ticks = client
        .list_ticks(ListTicksRequest { product: product.clone(), page_size: 3, ..Default::default() })
        .await
        .unwrap()
        .into_inner();
    assert!(!ticks.ticks.is_empty());
    assert!(ticks.ticks.len() <= 3);
    let candles = client
        .list_candles(ListCandlesRequest {
            product: product.clone(),
            interval: CandleInterval::OneMinute.into(),
            ..Default::default()
        })
        .await
        .unwrap()
        .into_inner();
    let candle = candles.candles.last().unwrap();
    assert!(candle.trade_count > 0 && candle.close.is_some(), "{candle:?}");

    let products = client.list_products(ListProductsRequest::default()).await.unwrap().into_inner().products;
    let known = products.iter().find(|known| known.product == product).unwrap();
    assert_eq!(known.configured, Some(true), "the ingestor runs in this process");
    assert!(known.first_event_time.is_some(), "{known:?}");
    // Roles speak once a second.
    eventually(SOON, || async {
        let mut client = client.clone();
        let status =
            client.get_pipeline_status(GetPipelineStatusRequest::default()).await.unwrap().into_inner();
        let known =
            status.products.iter().any(|known| known.product == product && known.stored_sequence.is_some());
        let spoke = |name: &str| status.roles.iter().any(|role| role.role == name && role.ready);
        known && ["ingestor", "normalizer", "snapshotter", "query", "gateway"].into_iter().all(spoke)
    })
    .await;

    let unknown = GetLatestPriceRequest { product: "NO-SUCH".into(), ..Default::default() };
    let refused = client.get_latest_price(unknown).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::NotFound);
    assert!(!refused.details().is_empty(), "errors carry google.rpc details");
}

async fn the_stream_moves(gateway: &str) {
    let mut client = StreamingServiceClient::connect(format!("http://{gateway}")).await.unwrap();
    let request = SubscribeRequest { products: vec!["BTC-USD".into()], ..Default::default() };
    let mut stream = client.subscribe(request).await.unwrap().into_inner();
    let mut sequences = Vec::new();
    while sequences.len() < 5 {
        let response = tokio::time::timeout(SOON, stream.next()).await.unwrap().unwrap().unwrap();
        if let Some(Sent::Tick(update)) = response.message {
            sequences.push(update.tick.unwrap().sequence.unwrap());
        }
    }
    assert!(sequences.windows(2).all(|pair| pair[0] < pair[1]), "{sequences:?}");
}

async fn the_web_socket_moves(gateway: &str) {
    let (mut socket, _) = tokio_tungstenite::connect_async(format!("ws://{gateway}/ws")).await.unwrap();
    // The aliases of the original protocol, and a product in lower case.
    let subscribe = json!({"operation": "subscribe", "products": [" btc-usd "], "want_snapshot": true});
    socket.send(Message::text(subscribe.to_string())).await.unwrap();
    socket.send(Message::text(json!({"op": "ping", "timestamp": 42}).to_string())).await.unwrap();
    let (mut pong, mut snapshot, mut sequences) = (false, false, Vec::new());
    while !pong || !snapshot || sequences.len() < 5 {
        let message = tokio::time::timeout(SOON, socket.next()).await.unwrap().unwrap().unwrap();
        let Message::Text(text) = message else { continue };
        let message: Value = serde_json::from_str(&text).unwrap();
        match message["op"].as_str().unwrap() {
            "pong" => pong = message["t"] == 42,
            "snapshot" => snapshot = message["data"]["product"] == "BTC-USD",
            "incr" => sequences.push(message["data"]["seq"].as_u64().unwrap()),
            other => panic!("{other}: {text}"),
        }
    }
    assert!(sequences.windows(2).all(|pair| pair[0] < pair[1]), "{sequences:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_original_python_client_works_unchanged() {
    let data = Scratch::new();
    let mut demo = support::demo(&data).await;
    let gateway = demo.address("gateway", START).await;
    let script = testkit::workspace_root().join("tests/compat/original_client.py");
    let output = tokio::process::Command::new("python3")
        .arg(script)
        .arg(format!("ws://{gateway}/ws"))
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    assert!(
        output.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(demo.terminate(SOON).await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_the_same_data_is_told_who_holds_it() {
    let data = Scratch::new();
    let mut first = support::demo(&data).await;
    let mut second = ledgerflux()
        .args([
            "demo",
            "--listen",
            "127.0.0.1:0",
            "--grpc-listen",
            "127.0.0.1:0",
            "--ops-listen",
            "127.0.0.1:0",
        ])
        .arg("--data-dir")
        .arg(data.path())
        .spawn();
    assert!(!second.wait(SOON).await.success());
    assert!(second.stderr().contains(&first.id().to_string()), "{}", second.stderr());
    assert!(first.terminate(SOON).await.success());
}
