//! API keys from the command line to the gateway: made, listed, asked for, never shown again, and taken away.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use proto::v1::{
    GetLatestPriceRequest, SubscribeRequest, market_data_service_client::MarketDataServiceClient,
    streaming_service_client::StreamingServiceClient,
};
use support::{SOON, START, ledgerflux, ready};
use testkit::Scratch;
use tokio_tungstenite::{
    connect_async,
    tungstenite::{Message, client::IntoClientRequest as _},
};
use tonic::{Code, Request};

async fn keys(arguments: &[&str]) -> (bool, String) {
    let mut process = ledgerflux().arg("keys").args(arguments).spawn();
    let status = process.wait(SOON).await;
    (status.success(), format!("{}{}", process.stdout(), process.stderr()))
}

#[tokio::test]
async fn a_gateway_that_others_can_reach_needs_keys_or_a_word_that_it_does_not() {
    let mut open = ledgerflux().args(["up", "--listen", "0.0.0.0:0"]).spawn();
    assert_eq!(open.wait(SOON).await.code(), Some(2));
    for part in ["gateway.auth", "0.0.0.0:0", "--keys", "\"off\""] {
        assert!(open.stderr().contains(part), "{part} is missing in:\n{}", open.stderr());
    }
    for allowed in [&["--keys", "keys.toml"][..], &[]] {
        let mut check = ledgerflux().args(["config", "check"]);
        check = check.env("LEDGERFLUX_GATEWAY__LISTEN", "0.0.0.0:8000");
        check = match allowed {
            [] => check.env("LEDGERFLUX_GATEWAY__AUTH", "off"),
            [_, file, ..] => check.env("LEDGERFLUX_GATEWAY__KEYS", file),
            _ => unreachable!(),
        };
        let mut check = check.spawn();
        assert!(check.wait(SOON).await.success(), "{}", check.stderr());
    }
    let scratch = Scratch::new();
    let missing = scratch.join("missing.toml").display().to_string();
    let mut without = ledgerflux()
        .args([
            "demo",
            "--listen",
            "127.0.0.1:0",
            "--grpc-listen",
            "127.0.0.1:0",
            "--ops-listen",
            "127.0.0.1:0",
        ])
        .args(["--keys", &missing, "--data-dir"])
        .arg(scratch.path())
        .spawn();
    assert!(!without.wait(SOON).await.success());
    assert!(without.stderr().contains("missing.toml"), "{}", without.stderr());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_made_asked_for_never_logged_and_taken_away() {
    let scratch = Scratch::new();
    let file = scratch.join("keys.toml").display().to_string();
    let create = ["create", "--keys", &file, "--name", "bot", "--products", "btc-usd", "--expires", "30d"];
    let (made, told) = keys(&create).await;
    assert!(made, "{told}");
    let key = told.lines().find(|line| line.starts_with("lf_")).expect("the key").to_owned();
    let id = key.split('_').nth(1).unwrap().to_owned();
    let (_, listed) = keys(&["list", "--keys", &file]).await;
    assert!(listed.contains(&id) && listed.contains("BTC-USD") && !listed.contains(&key), "{listed}");
    assert!(!keys(&["create", "--keys", &file, "--name", "x", "--products", "B T C"]).await.0);

    let mut demo = ledgerflux()
        .args([
            "demo",
            "--listen",
            "127.0.0.1:0",
            "--grpc-listen",
            "127.0.0.1:0",
            "--ops-listen",
            "127.0.0.1:0",
        ])
        .args([
            "--print-addresses",
            "--log",
            "info,gateway=trace,runtime=trace,hyper=debug,tungstenite=debug",
        ])
        .args(["--keys", &file, "--data-dir"])
        .arg(scratch.join("data"))
        .spawn();
    ready(&demo.address("ops", START).await).await;
    let gateway = demo.address("gateway", START).await;

    // Shown in every place where it may be, and a wrong one too.
    let mut market = MarketDataServiceClient::connect(format!("http://{gateway}")).await.unwrap();
    let ask = |product: &str, name: &'static str, value: &str| {
        let mut request =
            Request::new(GetLatestPriceRequest { product: product.into(), ..Default::default() });
        request.metadata_mut().insert(name, value.parse().unwrap());
        request
    };
    testkit::eventually(SOON, || {
        let (mut market, request) = (market.clone(), ask("BTC-USD", "x-api-key", &key));
        async move { market.get_latest_price(request).await }
    })
    .await;
    let status = market.get_latest_price(ask("ETH-USD", "x-api-key", &key)).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
    let wrong = format!("{}{}", &key[..key.len() - 4], "beef");
    let bearer = format!("Bearer {wrong}");
    let status = market.get_latest_price(ask("BTC-USD", "authorization", &bearer)).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");
    let (mut by_message, _) = connect_async(format!("ws://{gateway}/ws")).await.unwrap();
    by_message.send(Message::text(format!(r#"{{"op":"auth","token":"{key}"}}"#))).await.unwrap();
    assert!(by_message.next().await.unwrap().unwrap().into_text().unwrap().contains(&id));
    let mut request = format!("ws://{gateway}/ws").into_client_request().unwrap();
    let offered = format!("ledgerflux.v1.json, ledgerflux.bearer.{key}");
    request.headers_mut().insert("sec-websocket-protocol", offered.parse().unwrap());
    let (_by_subprotocol, answer) = connect_async(request).await.unwrap();
    assert_eq!(answer.headers()["sec-websocket-protocol"], "ledgerflux.v1.json");
    let mut request = Request::new(SubscribeRequest { products: vec!["*".into()], ..Default::default() });
    request.metadata_mut().insert("x-api-key", key.parse().unwrap());
    let mut streaming = StreamingServiceClient::connect(format!("http://{gateway}")).await.unwrap();
    let mut stream = streaming.subscribe(request).await.unwrap().into_inner();

    let (revoked, told) = keys(&["revoke", "--keys", &file, &id]).await;
    assert!(revoked, "{told}");
    let ended = async {
        loop {
            if let Err(status) = stream.message().await {
                return status;
            }
        }
    };
    let status = tokio::time::timeout(Duration::from_secs(5), ended).await.expect("within five seconds");
    assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");
    assert!(!keys(&["revoke", "--keys", &file, &id]).await.0, "it is gone");

    assert!(demo.terminate(SOON).await.success());
    let logged = format!("{}{}", demo.stdout(), demo.stderr());
    assert!(logged.contains("the API keys have changed"), "the log is there");
    for secret in [key.rsplit('_').next().unwrap(), wrong.rsplit('_').next().unwrap()] {
        assert!(!logged.contains(secret), "a key is in the log");
    }
}
