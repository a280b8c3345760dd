//! The process of gRPC clients that never read: they hold their window of HTTP/2 at nothing.

use proto::v1::{
    DeliveryPolicy, LosslessDelivery, SubscribeRequest, delivery_policy::Policy,
    streaming_service_client::StreamingServiceClient,
};
use tokio::io::AsyncReadExt as _;
use tonic::transport::Channel;

/// Opens so many streams, each on a connection of its own, says `connected`, and keeps them until it is ended.
pub(crate) fn run(address: &str, count: &str, policy: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(stuck(address, count.parse().unwrap(), policy == "lossless"));
}

async fn stuck(address: &str, count: usize, is_lossless: bool) {
    let lossless = DeliveryPolicy { policy: Some(Policy::Lossless(LosslessDelivery {})) };
    let mut streams = Vec::new();
    for _ in 0..count {
        let endpoint = Channel::from_shared(format!("http://{address}")).unwrap();
        let channel = endpoint.initial_stream_window_size(0).connect().await.unwrap();
        let request = SubscribeRequest {
            products: vec!["*".into()],
            delivery: is_lossless.then(|| lossless.clone()),
            ..SubscribeRequest::default()
        };
        streams.push(StreamingServiceClient::new(channel).subscribe(request).await.unwrap());
    }
    println!("connected");
    let _ = tokio::io::stdin().read(&mut [0]).await;
}
