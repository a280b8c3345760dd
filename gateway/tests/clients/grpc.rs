//! Native gRPC: streaming here, history from a stand-in for query.

use std::{net::SocketAddr, time::Duration};

use domain::Instrument;
use proto::v1::{
    self, GetLatestPriceRequest, ListTicksRequest, StreamEventKind, SubscribeRequest, SubscribeResponse,
    market_data_service_client::MarketDataServiceClient, streaming_service_client::StreamingServiceClient,
    subscribe_request::Start, subscribe_response,
};
use tokio::time::timeout;
use tonic::{Code, Request, Status, Streaming, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_types::{ErrorDetails, StatusExt};

use crate::harness::{Gateway, PATIENCE, config, tick};

async fn channel(address: SocketAddr) -> Channel {
    Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

async fn subscribe(
    gateway: &Gateway,
    request: SubscribeRequest,
) -> Result<Streaming<SubscribeResponse>, Status> {
    let mut client = StreamingServiceClient::new(channel(gateway.address).await);
    client.subscribe(request).await.map(tonic::Response::into_inner)
}

async fn next(stream: &mut Streaming<SubscribeResponse>) -> Result<subscribe_response::Message, Status> {
    let message = timeout(PATIENCE, stream.message()).await.expect("a message arrives")?;
    Ok(message.expect("the stream goes on").message.expect("a kind that is known"))
}

fn products(names: &[&str]) -> SubscribeRequest {
    SubscribeRequest {
        products: names.iter().map(|name| (*name).to_owned()).collect(),
        ..SubscribeRequest::default()
    }
}

fn is_event(message: &subscribe_response::Message, kind: StreamEventKind) -> bool {
    matches!(message, subscribe_response::Message::Event(event) if event.kind() == kind)
}

#[tokio::test]
async fn a_snapshot_then_live_then_every_tick() {
    let gateway = Gateway::start(config()).await;
    let mut publisher = gateway.publisher("BTC-USD").await;
    publisher.publish([5]).await;
    wait_for(&gateway, &publisher.instrument).await;
    let mut stream = subscribe(&gateway, products(&["BTC-USD", "NEW-USD"])).await.unwrap();
    let mut first =
        [next(&mut stream).await.unwrap(), next(&mut stream).await.unwrap()].map(|message| match message {
            subscribe_response::Message::Snapshot(update) => update.snapshot.unwrap(),
            other => panic!("{other:?}"),
        });
    first.sort_by(|a, b| a.product.cmp(&b.product));
    assert_eq!((first[0].sequence, first[1].sequence), (Some(5), None));
    assert!(is_event(&next(&mut stream).await.unwrap(), StreamEventKind::Live));
    publisher.publish([6, 7]).await;
    for sequence in [6, 7] {
        let subscribe_response::Message::Tick(update) = next(&mut stream).await.unwrap() else {
            panic!("a tick")
        };
        let expected = tick(&publisher.instrument, sequence);
        let given = domain::Tick::try_from(update.tick.unwrap()).unwrap();
        assert_eq!(
            (given.sequence, given.last_trade, update.skipped),
            (expected.sequence, expected.last_trade, 0)
        );
    }
    gateway.shutdown.request();
    assert!(is_event(&next(&mut stream).await.unwrap(), StreamEventKind::Closing));
    let status = next(&mut stream).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.get_error_details().retry_info().is_some());
    gateway.stop().await;
}

async fn wait_for(gateway: &Gateway, instrument: &Instrument) {
    testkit::eventually(PATIENCE, || async {
        gateway.get("/info.json").await.contains(instrument.product.as_str())
    })
    .await;
}

#[tokio::test]
async fn faulty_requests_say_what_is_wrong() {
    let gateway = Gateway::start(config()).await;
    for (request, field) in [
        (products(&[]), "products"),
        (products(&["BTC-USD", "B T C"]), "products[1]"),
        (products(&["*", "BTC-USD"]), "products"),
        (SubscribeRequest { venue: "Coin Base".into(), ..products(&["BTC-USD"]) }, "venue"),
    ] {
        let status = subscribe(&gateway, request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        let details = status.get_error_details();
        assert_eq!(details.bad_request().unwrap().field_violations[0].field, field);
        assert_eq!(details.error_info().unwrap().domain, "ledgerflux");
    }
    let start = Some(Start::ResumeToken("x".into()));
    let status = subscribe(&gateway, SubscribeRequest { start, ..products(&["BTC-USD"]) }).await.unwrap_err();
    let details = status.get_error_details();
    assert_eq!(details.bad_request().unwrap().field_violations[0].field, "resume_token");
    gateway.stop().await;
}

#[tokio::test]
async fn streams_are_bounded_in_number() {
    let gateway = Gateway::start(gateway::Config { streams_max: 1, ..config() }).await;
    let mut first = subscribe(&gateway, products(&["*"])).await.unwrap();
    assert!(is_event(&next(&mut first).await.unwrap(), StreamEventKind::Live));
    let status = subscribe(&gateway, products(&["*"])).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    drop(first);
    testkit::eventually(PATIENCE, || async { subscribe(&gateway, products(&["*"])).await.is_ok() }).await;
    gateway.stop().await;
}

#[tokio::test]
async fn who_wants_every_tick_and_cannot_take_them_is_told() {
    let ring_ticks_max = 16.try_into().unwrap();
    let live = live::Config { ring_ticks_max, ..live::Config::default() };
    let gateway = Gateway::start(gateway::Config { live, ..config() }).await;
    let lossless = v1::delivery_policy::Policy::Lossless(v1::LosslessDelivery {});
    let request = SubscribeRequest {
        delivery: Some(v1::DeliveryPolicy { policy: Some(lossless) }),
        start: Some(Start::Now(v1::StartNow {})),
        ..products(&["BTC-USD"])
    };
    let mut stream = subscribe(&gateway, request).await.unwrap();
    assert!(is_event(&next(&mut stream).await.unwrap(), StreamEventKind::Live));
    let mut publisher = gateway.publisher("BTC-USD").await;
    // One batch that is larger than the ring cannot be followed by anyone.
    publisher.publish(1..=100).await;
    assert!(is_event(&next(&mut stream).await.unwrap(), StreamEventKind::Lagged));
    assert!(is_event(&next(&mut stream).await.unwrap(), StreamEventKind::Closing));
    let status = next(&mut stream).await.unwrap_err();
    assert_eq!(
        (status.code(), status.get_error_details().error_info().unwrap().reason.as_str()),
        (Code::ResourceExhausted, "FELL_BEHIND")
    );
    gateway.stop().await;
}

#[tokio::test]
async fn reflection_and_health_are_served() {
    use tonic_reflection::pb::v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let gateway = Gateway::start(config()).await;
    let channel = channel(gateway.address).await;
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers = ServerReflectionClient::new(channel.clone())
        .server_reflection_info(tokio_stream::once(request))
        .await
        .unwrap()
        .into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(list) = answer else { panic!("{answer:?}") };
    let names: Vec<&str> = list.service.iter().map(|service| service.name.as_str()).collect();
    assert!(
        names.contains(&"ledgerflux.v1.StreamingService")
            && names.contains(&"ledgerflux.v1.MarketDataService")
    );
    let health = HealthClient::new(channel)
        .check(HealthCheckRequest { service: "ledgerflux.v1.StreamingService".into() })
        .await
        .unwrap();
    assert_eq!(health.into_inner().status, 1);
    gateway.stop().await;
}

#[tokio::test]
async fn without_query_history_is_unavailable_and_the_rest_works() {
    let query = vec!["http://127.0.0.1:1".parse().unwrap()];
    let gateway = Gateway::start(gateway::Config { query, ..config() }).await;
    let mut client = MarketDataServiceClient::new(channel(gateway.address).await);
    let status = client.get_latest_price(GetLatestPriceRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let details = status.get_error_details();
    assert_eq!(details.error_info().unwrap().reason, "QUERY_UNREACHABLE");
    assert!(details.retry_info().is_some());
    assert!(gateway.get("/ready").await.starts_with("HTTP/1.1 200 "));
    gateway.stop().await;
}

#[tokio::test]
async fn history_calls_arrive_at_query_as_they_were_sent() {
    let query = query::start().await;
    let query_timeout = Duration::from_secs(30);
    let config = gateway::Config {
        query: vec![format!("http://{query}").parse().unwrap()],
        query_timeout,
        ..config()
    };
    let gateway = Gateway::start(config).await;
    let mut client = MarketDataServiceClient::new(channel(gateway.address).await);

    // Message, metadata and the answer's metadata.
    let mut request = Request::new(GetLatestPriceRequest { product: "BTC-USD".into(), ..Default::default() });
    request
        .metadata_mut()
        .insert("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().unwrap());
    request.metadata_mut().insert_bin("key-bin", tonic::metadata::MetadataValue::from_bytes(&[0, 255]));
    request.set_timeout(Duration::from_secs(20));
    let answer = client.get_latest_price(request).await.unwrap();
    let seen = answer.metadata().get("seen").unwrap().to_str().unwrap();
    assert!(
        seen.contains("4bf92f3577b34da6") && seen.contains("key-bin") && seen.contains("grpc-timeout=19"),
        "{seen}"
    );
    assert_eq!(answer.into_inner().latest_price.unwrap().product, "BTC-USD");

    // Error details.
    let status = client.get_latest_price(GetLatestPriceRequest::default()).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, "product is missing"));
    assert_eq!(status.get_error_details().bad_request().unwrap().field_violations[0].field, "product");

    // The caller's deadline.
    let mut request = Request::new(ListTicksRequest::default());
    request.set_timeout(Duration::from_millis(100));
    let status = timeout(Duration::from_secs(5), client.list_ticks(request)).await.unwrap().unwrap_err();
    assert!(matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled), "{status:?}");

    // A stream, to its end.
    let mut ticks = client.stream_ticks(v1::StreamTicksRequest::default()).await.unwrap().into_inner();
    let mut count = 0;
    while ticks.message().await.unwrap().is_some() {
        count += 1;
    }
    assert_eq!(count, 1_000);
    gateway.stop().await;
}

/// A stand-in for query that tells what it saw.
mod query {
    use std::{collections::HashMap, net::SocketAddr, pin::Pin};

    use futures::Stream;
    use proto::v1::{
        market_data_service_server::{MarketDataService, MarketDataServiceServer},
        *,
    };
    use tokio::net::TcpListener;
    use tokio_stream::wrappers::TcpListenerStream;
    use tonic::{Code, Request, Response, Status, metadata::KeyAndValueRef};

    use super::{ErrorDetails, StatusExt};

    struct Stand;

    pub(super) async fn start() -> SocketAddr {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tonic::transport::Server::builder().add_service(MarketDataServiceServer::new(Stand));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        address
    }

    type Answer<T> = Result<Response<T>, Status>;

    #[tonic::async_trait]
    impl MarketDataService for Stand {
        async fn get_latest_price(
            &self,
            request: Request<GetLatestPriceRequest>,
        ) -> Answer<GetLatestPriceResponse> {
            let seen: HashMap<String, String> = request
                .metadata()
                .iter()
                .map(|pair| match pair {
                    KeyAndValueRef::Ascii(key, value) => {
                        (key.to_string(), value.to_str().unwrap().to_owned())
                    }
                    KeyAndValueRef::Binary(key, value) => (key.to_string(), format!("{value:?}")),
                })
                .collect();
            let product = request.into_inner().product;
            if product.is_empty() {
                let details = ErrorDetails::with_bad_request_violation("product", "product is missing");
                return Err(Status::with_error_details(Code::InvalidArgument, "product is missing", details));
            }
            let seen: Vec<String> = seen.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let latest_price = Some(LatestPrice { product, ..LatestPrice::default() });
            let mut response = Response::new(GetLatestPriceResponse { latest_price });
            response.metadata_mut().insert("seen", seen.join(" ").parse().unwrap());
            Ok(response)
        }

        async fn list_ticks(&self, _: Request<ListTicksRequest>) -> Answer<ListTicksResponse> {
            std::future::pending().await
        }

        type StreamTicksStream = Pin<Box<dyn Stream<Item = Result<StreamTicksResponse, Status>> + Send>>;

        async fn stream_ticks(&self, _: Request<StreamTicksRequest>) -> Answer<Self::StreamTicksStream> {
            let ticks = (0..1_000).map(|_| Ok(StreamTicksResponse::default()));
            Ok(Response::new(Box::pin(tokio_stream::iter(ticks))))
        }

        async fn batch_get_latest_prices(
            &self,
            _: Request<BatchGetLatestPricesRequest>,
        ) -> Answer<BatchGetLatestPricesResponse> {
            Err(Status::unimplemented("not part of this test"))
        }

        async fn get_snapshot(&self, _: Request<GetSnapshotRequest>) -> Answer<GetSnapshotResponse> {
            Err(Status::unimplemented("not part of this test"))
        }

        async fn list_candles(&self, _: Request<ListCandlesRequest>) -> Answer<ListCandlesResponse> {
            Err(Status::unimplemented("not part of this test"))
        }

        async fn list_products(&self, _: Request<ListProductsRequest>) -> Answer<ListProductsResponse> {
            Err(Status::unimplemented("not part of this test"))
        }

        async fn list_gaps(&self, _: Request<ListGapsRequest>) -> Answer<ListGapsResponse> {
            Err(Status::unimplemented("not part of this test"))
        }

        async fn get_pipeline_status(
            &self,
            _: Request<GetPipelineStatusRequest>,
        ) -> Answer<GetPipelineStatusResponse> {
            Err(Status::unimplemented("not part of this test"))
        }
    }
}
