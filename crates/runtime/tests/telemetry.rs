//! Traces reach a collector, and the trace context leaves in the W3C format.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::HashMap;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, Response};
use axum::routing::post;
use http_body_util::{BodyExt, Full};
use runtime::http::{Limits, serve};
use runtime::telemetry::{self, TelemetryError};
use runtime::{Shutdown, TaskSet, listen, tasks::OnFailure};
use tokio::sync::mpsc;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Accepts whatever is exported and hands the message on.
fn collector(received: mpsc::Sender<Bytes>) -> Router {
    let export = async move |message: Bytes| {
        let _ = received.send(message).await;
        // An empty message and the status "ok".
        let trailers =
            HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static("0"))]);
        let body = Full::new(Bytes::from_static(&[0; 5])).with_trailers(async move { Some(Ok(trailers)) });
        Response::builder().header("content-type", "application/grpc").body(Body::new(body)).unwrap()
    };
    Router::new().route("/opentelemetry.proto.collector.trace.v1.TraceService/Export", post(export))
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_are_exported_and_the_context_is_passed_on() {
    let listener = listen::bind("127.0.0.1:0".parse().unwrap(), "collector").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, mut received) = mpsc::channel(16);
    let shutdown = Shutdown::new();
    let served = tokio::spawn(serve(listener, collector(sender), Limits::default(), shutdown.clone()));

    let config = telemetry::Config {
        log: "off".to_owned(),
        otlp_endpoint: Some(format!("http://{address}")),
        trace_sample_ratio: 1.0,
        ..telemetry::Config::default()
    };
    let guard = telemetry::init(&config, "ledgerflux-test", "test-1").unwrap();
    let again = telemetry::init(&config, "ledgerflux-test", "test-2").unwrap_err();
    assert!(matches!(again, TelemetryError::RecorderInstalled));

    let (carriers, mut carried) = mpsc::channel(1);
    let mut tasks = TaskSet::new(shutdown.clone());
    tasks.spawn("publisher-of-ticks", OnFailure::StopProcess, async move {
        let span = tracing::info_span!("publish-a-batch");
        let mut headers = HashMap::new();
        opentelemetry::global::get_text_map_propagator(|format| {
            format.inject_context(&span.context(), &mut headers)
        });
        carriers.send(headers).await
    });
    let headers = carried.recv().await.unwrap();
    assert!(headers["traceparent"].ends_with("-01"), "not sampled: {headers:?}");
    tasks.join(Duration::from_secs(10)).await.unwrap();

    guard.shutdown(Duration::from_secs(10)).await;
    let exported = tokio::time::timeout(Duration::from_secs(10), received.recv()).await.unwrap().unwrap();
    let exported = String::from_utf8_lossy(&exported);
    assert!(exported.contains("publish-a-batch"));
    assert!(exported.contains("ledgerflux-test") && exported.contains("test-1"));
    assert!(!exported.contains("publisher-of-ticks"), "the span of a task must not be traced");
    shutdown.request();
    served.await.unwrap();
}
