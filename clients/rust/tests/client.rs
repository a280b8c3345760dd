//! The client against a server that answers by script.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::net::SocketAddr;

use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use ledgerflux_client::{Client, Error, Order, Start, TickRange, Update, v1};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Code, Request, Response, Status, transport::Server};
use v1::{
    market_data_service_server::{MarketDataService, MarketDataServiceServer},
    streaming_service_server::{StreamingService, StreamingServiceServer},
    subscribe_response::Message,
};

struct Script;

fn tick(sequence: u64) -> v1::Tick {
    v1::Tick { sequence: Some(sequence), ..v1::Tick::default() }
}

#[tonic::async_trait]
impl MarketDataService for Script {
    type StreamTicksStream = BoxStream<'static, Result<v1::StreamTicksResponse, Status>>;

    async fn get_latest_price(
        &self,
        request: Request<v1::GetLatestPriceRequest>,
    ) -> Result<Response<v1::GetLatestPriceResponse>, Status> {
        assert!(request.metadata().contains_key("grpc-timeout"), "calls have a deadline");
        let request = request.into_inner();
        let latest_price = match request.product.as_str() {
            "BTC-USD" => {
                Some(v1::LatestPrice { product: request.product, venue: request.venue, ..Default::default() })
            }
            "EMPTY" => None,
            "AWAY" => return Err(Status::unavailable("still starting")),
            other => return Err(Status::not_found(other.to_owned())),
        };
        Ok(Response::new(v1::GetLatestPriceResponse { latest_price }))
    }

    async fn list_ticks(
        &self,
        request: Request<v1::ListTicksRequest>,
    ) -> Result<Response<v1::ListTicksResponse>, Status> {
        let request = request.into_inner();
        assert_eq!(request.order(), v1::SortOrder::Descending);
        let (ticks, next) = match request.page_token.as_str() {
            "" => (vec![tick(9), tick(8)], "empty"),
            "empty" => (vec![], "last"),
            "last" => (vec![tick(7)], ""),
            other => return Err(Status::invalid_argument(other.to_owned())),
        };
        Ok(Response::new(v1::ListTicksResponse { ticks, next_page_token: next.into(), completeness: None }))
    }

    async fn batch_get_latest_prices(
        &self,
        _: Request<v1::BatchGetLatestPricesRequest>,
    ) -> Result<Response<v1::BatchGetLatestPricesResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn stream_ticks(
        &self,
        _: Request<v1::StreamTicksRequest>,
    ) -> Result<Response<Self::StreamTicksStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn get_snapshot(
        &self,
        _: Request<v1::GetSnapshotRequest>,
    ) -> Result<Response<v1::GetSnapshotResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn list_candles(
        &self,
        _: Request<v1::ListCandlesRequest>,
    ) -> Result<Response<v1::ListCandlesResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn list_products(
        &self,
        _: Request<v1::ListProductsRequest>,
    ) -> Result<Response<v1::ListProductsResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn list_gaps(
        &self,
        _: Request<v1::ListGapsRequest>,
    ) -> Result<Response<v1::ListGapsResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn get_pipeline_status(
        &self,
        _: Request<v1::GetPipelineStatusRequest>,
    ) -> Result<Response<v1::GetPipelineStatusResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}

#[tonic::async_trait]
impl StreamingService for Script {
    type SubscribeStream = BoxStream<'static, Result<v1::SubscribeResponse, Status>>;
    type StreamCandlesStream = BoxStream<'static, Result<v1::StreamCandlesResponse, Status>>;

    async fn subscribe(
        &self,
        request: Request<v1::SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let request = request.into_inner();
        assert_eq!(request.products, ["BTC-USD", "ETH-USD"]);
        assert_eq!(request.start, Some(v1::subscribe_request::Start::ResumeToken("before".into())));
        let checkpoint = v1::StreamEvent { resume_token: "after".into(), ..v1::StreamEvent::default() };
        let messages = [
            Some(Message::Snapshot(v1::SnapshotUpdate::default())),
            None,
            Some(Message::Tick(v1::TickUpdate { tick: Some(tick(10)), ..v1::TickUpdate::default() })),
            Some(Message::Event(checkpoint)),
        ];
        let responses = messages.into_iter().map(|message| Ok(v1::SubscribeResponse { message }));
        Ok(Response::new(futures::stream::iter(responses.collect::<Vec<_>>()).boxed()))
    }

    async fn stream_candles(
        &self,
        _: Request<v1::StreamCandlesRequest>,
    ) -> Result<Response<Self::StreamCandlesStream>, Status> {
        Err(Status::unimplemented(""))
    }
}

struct Serving {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Serving {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server::builder()
            .add_service(MarketDataServiceServer::new(Script))
            .add_service(StreamingServiceServer::new(Script))
            .serve_with_incoming(TcpListenerStream::new(listener));
        Self { address, task: tokio::spawn(async move { server.await.unwrap() }) }
    }

    async fn client(&self) -> Client {
        Client::connect(&format!("http://{}", self.address)).await.unwrap()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test]
async fn asks_for_the_latest_price() {
    let serving = Serving::start().await;
    let client = serving.client().await.at_venue("kraken");
    let price = client.latest_price("BTC-USD").await.unwrap();
    assert_eq!((price.venue.as_str(), price.product.as_str()), ("kraken", "BTC-USD"));
    assert!(matches!(client.latest_price("EMPTY").await, Err(Error::Incomplete { .. })));
    let unknown = client.latest_price("DOGE-USD").await.unwrap_err();
    assert!(matches!(&unknown, Error::Call { status, .. } if status.code() == Code::NotFound));
    assert!(!unknown.is_retryable());
    assert!(client.latest_price("AWAY").await.unwrap_err().is_retryable());
}

#[tokio::test]
async fn follows_pages_to_their_end() {
    let serving = Serving::start().await;
    let ticks = serving.client().await.list_ticks("BTC-USD", TickRange::All, Order::Descending);
    let sequences: Vec<_> = ticks.into_stream().map_ok(|tick| tick.sequence).try_collect().await.unwrap();
    assert_eq!(sequences, [Some(9), Some(8), Some(7)]);
}

#[tokio::test]
async fn hands_out_updates_and_the_token_to_go_on_with() {
    let serving = Serving::start().await;
    let start = Start::Token("before".into());
    let mut updates = serving.client().await.subscribe(["BTC-USD", "ETH-USD"], start).await.unwrap();
    assert!(matches!(updates.next().await.unwrap(), Some(Update::Snapshot(_))));
    assert!(matches!(updates.next().await.unwrap(), Some(Update::Tick(_))));
    assert_eq!(updates.resume_token(), None);
    assert!(matches!(updates.next().await.unwrap(), Some(Update::Event(_))));
    assert_eq!(updates.resume_token(), Some("after"));
    assert_eq!(updates.next().await.unwrap(), None);
}

#[tokio::test]
async fn says_why_it_cannot_connect() {
    assert!(matches!(Client::connect("not a url").await, Err(Error::InvalidEndpoint { .. })));
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let refused = Client::connect(&format!("http://{free}")).await.unwrap_err();
    assert!(matches!(refused, Error::Connect { .. }) && refused.is_retryable());
}
