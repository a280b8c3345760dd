//! `StreamingService`. It is written by hand, where generated code would encode each message for each subscriber.

use std::{convert::Infallible, sync::Arc, task::Poll, time::Duration};

use futures::future::BoxFuture;
use http::{Request, Response};
use proto::v1::{StreamCandlesRequest, SubscribeRequest, streaming_service_server::SERVICE_NAME};
use runtime::{RoleContext, Shutdown};
use tonic::{
    Status,
    body::Body,
    server::{Grpc, NamedService, ServerStreamingService},
};
use tower::Service;

use super::{
    candles::{self, CandlePlan},
    codec::Encoded,
    status, stream,
    stream::Frames,
    subscribe::Plan,
};
use crate::{
    Config, access,
    candles::Candles,
    clients::{Places, Transport},
};

/// The longest request: some thousand products.
const REQUEST_BYTES_MAX: usize = 256 * 1024;

/// The service. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Streaming {
    config: Arc<Config>,
    candles: Candles,
    places: Places,
    shutdown: Shutdown,
}

impl Streaming {
    pub(super) fn new(config: &Arc<Config>, candles: &Candles, ctx: &RoleContext) -> Self {
        Self {
            config: Arc::clone(config),
            candles: candles.clone(),
            places: Places::new(config.streams_max),
            shutdown: ctx.shutdown.clone(),
        }
    }

    fn subscribe(
        &self,
        request: &tonic::Request<SubscribeRequest>,
    ) -> Result<tonic::Response<Frames>, Status> {
        let transport = request.extensions().get().copied().unwrap_or(Transport::Grpc);
        let caller = access::caller_of(request.extensions())?;
        let plan = Plan::new(request.get_ref(), &self.config)?.limited_to(&caller, &self.config)?;
        let client = self.places.enter(transport).ok_or_else(status::too_many_clients)?;
        let seat = access::sit_down(&caller)?;
        let frames =
            stream::frames(self.candles.feed(), &plan, client, self.shutdown.clone(), caller.clone());
        let frames = access::until_ended(frames, caller, seat, access::FAREWELL);
        Ok(tonic::Response::new(frames))
    }

    fn stream_candles(
        &self,
        request: &tonic::Request<StreamCandlesRequest>,
    ) -> Result<tonic::Response<Frames>, Status> {
        let transport = request.extensions().get().copied().unwrap_or(Transport::Grpc);
        let caller = access::caller_of(request.extensions())?;
        let plan = CandlePlan::new(request.get_ref(), &self.config)?.limited_to(&caller, &self.config)?;
        let client = self.places.enter(transport).ok_or_else(status::too_many_clients)?;
        let seat = access::sit_down(&caller)?;
        let frames = candles::frames(&self.candles, plan, client, self.shutdown.clone())?;
        // Candles have no token to go on with.
        Ok(tonic::Response::new(access::until_ended(frames, caller, seat, Duration::ZERO)))
    }
}

impl NamedService for Streaming {
    const NAME: &'static str = SERVICE_NAME;
}

impl Service<Request<Body>> for Streaming {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let method = request.uri().path().rsplit('/').next().unwrap_or_default();
        let limit = self.config.request_timeout;
        // The answer begins once the request has been read.
        match method {
            "Subscribe" => {
                let subscribe = Subscribe(self.clone());
                Box::pin(in_time(limit, async move { grpc().server_streaming(subscribe, request).await }))
            }
            "StreamCandles" => {
                let candles = StreamCandles(self.clone());
                Box::pin(in_time(limit, async move { grpc().server_streaming(candles, request).await }))
            }
            _ => {
                let refusal = status::unknown_method(request.uri().path());
                Box::pin(async move { Ok(status::refuse(&refusal)) })
            }
        }
    }
}

fn grpc<T: prost::Message + Default + 'static>() -> Grpc<Encoded<T>> {
    Grpc::new(Encoded::default()).max_decoding_message_size(REQUEST_BYTES_MAX)
}

async fn in_time(
    limit: Duration,
    answer: impl Future<Output = Response<Body>>,
) -> Result<Response<Body>, Infallible> {
    let answered = tokio::time::timeout(limit, answer).await;
    Ok(answered.unwrap_or_else(|_| status::refuse(&status::request_timeout(limit))))
}

struct Subscribe(Streaming);

impl ServerStreamingService<SubscribeRequest> for Subscribe {
    type Response = bytes::Bytes;
    type ResponseStream = Frames;
    type Future = BoxFuture<'static, Result<tonic::Response<Frames>, Status>>;

    fn call(&mut self, request: tonic::Request<SubscribeRequest>) -> Self::Future {
        let subscribed = self.0.subscribe(&request).inspect_err(status::count);
        Box::pin(async move { subscribed })
    }
}

struct StreamCandles(Streaming);

impl ServerStreamingService<StreamCandlesRequest> for StreamCandles {
    type Response = bytes::Bytes;
    type ResponseStream = Frames;
    type Future = BoxFuture<'static, Result<tonic::Response<Frames>, Status>>;

    fn call(&mut self, request: tonic::Request<StreamCandlesRequest>) -> Self::Future {
        let streamed = self.0.stream_candles(&request).inspect_err(status::count);
        Box::pin(async move { streamed })
    }
}
