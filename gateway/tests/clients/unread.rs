//! gRPC clients that hold their window of HTTP/2 at nothing: they take no byte of what is there for them.

use gateway::access::keys::Quotas;
use proto::v1::{
    CandleInterval, StreamCandlesRequest, SubscribeRequest, streaming_service_client::StreamingServiceClient,
};
use tokio::time::{Instant, timeout};
use tonic::{Code, Request, Status, Streaming, transport::Channel};

use crate::{
    access::{Keys, REVOKED_WITHIN},
    harness::{Gateway, PATIENCE, config_with},
};

/// What a client of its own takes ahead of being asked.
async fn client(gateway: &Gateway, window_bytes: u32) -> StreamingServiceClient<Channel> {
    let endpoint = Channel::from_shared(format!("http://{}", gateway.address)).unwrap();
    let channel = endpoint.initial_stream_window_size(window_bytes).connect().await.unwrap();
    StreamingServiceClient::new(channel)
}

fn request<T>(message: T, key: Option<&str>) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(key) = key {
        request.metadata_mut().insert("x-api-key", key.parse().unwrap());
    }
    request
}

fn everything() -> SubscribeRequest {
    SubscribeRequest { products: vec!["*".into()], ..SubscribeRequest::default() }
}

/// Whether somebody who reads is let in, with a first message.
async fn is_let_in(gateway: &Gateway, key: Option<&str>) -> bool {
    match client(gateway, 65_535).await.subscribe(request(everything(), key)).await {
        Ok(stream) => timeout(PATIENCE, stream.into_inner().message()).await.expect("a message").is_ok(),
        Err(status) => {
            assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
            false
        }
    }
}

/// How a stream ends that is not read.
async fn end<T>(stream: &mut Streaming<T>) -> Status {
    timeout(PATIENCE, stream.message())
        .await
        .expect("it is reset")
        .map(drop)
        .expect_err("nothing was let through")
}

#[tokio::test]
async fn a_revocation_ends_streams_that_are_not_read_and_gives_their_places_back() {
    let keys = Keys::new();
    let ((id, key), (_, other)) =
        (keys.create(&["*"], Quotas::default()), keys.create(&["*"], Quotas::default()));
    let gateway = keys.gateway_with(&[("streams_max", "2")]).await;
    let mut stuck = client(&gateway, 0).await;
    let mut ticks = stuck.subscribe(request(everything(), Some(&key))).await.unwrap().into_inner();
    let asked = StreamCandlesRequest {
        products: vec!["*".into()],
        interval: CandleInterval::OneMinute.into(),
        ..StreamCandlesRequest::default()
    };
    let mut candles = stuck.stream_candles(request(asked, Some(&key))).await.unwrap().into_inner();
    assert!(!is_let_in(&gateway, Some(&other)).await, "both places are taken");
    keys.revoke(&id);
    let revoked = Instant::now();
    testkit::eventually(PATIENCE, || is_let_in(&gateway, Some(&other))).await;
    assert!(revoked.elapsed() < REVOKED_WITHIN, "{:?}", revoked.elapsed());
    let ends = [end(&mut ticks).await, end(&mut candles).await];
    assert!(revoked.elapsed() < REVOKED_WITHIN, "{:?}", revoked.elapsed());
    assert!(ends.iter().all(|status| status.code() == Code::Cancelled), "{ends:?}");
    gateway.stop().await;
}

#[tokio::test]
async fn a_stream_that_is_not_read_is_given_up_and_gives_its_place_back() {
    let gateway = Gateway::start(config_with(&[("streams_max", "2"), ("write_timeout", "1s")])).await;
    // One that reads, and is told nothing for longer than that.
    let mut reading = client(&gateway, 65_535).await.subscribe(everything()).await.unwrap().into_inner();
    reading.message().await.unwrap().expect("a first message");
    let mut stuck = client(&gateway, 0).await.subscribe(everything()).await.unwrap().into_inner();
    assert!(!is_let_in(&gateway, None).await, "both places are taken");
    let status = end(&mut stuck).await;
    assert_eq!(status.code(), Code::Cancelled, "{status:?}");
    testkit::eventually(PATIENCE, || is_let_in(&gateway, None)).await;
    let mut publisher = gateway.publisher("BTC-USD").await;
    publisher.publish([1]).await;
    timeout(PATIENCE, reading.message()).await.expect("it goes on").unwrap().expect("a message");
    gateway.stop().await;
}
