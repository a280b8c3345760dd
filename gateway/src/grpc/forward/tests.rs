use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use axum::{Router, extract::State};
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::{HeaderMap, HeaderValue, Uri, header};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use runtime::{Readiness, RoleContext, Shutdown, config::Flag, config::Sources};
use tokio::{net::TcpListener, task::JoinHandle, time::Instant};
use tonic_types::StatusExt as _;

use super::*;
use crate::access::Caller;

const PATIENCE: Duration = Duration::from_secs(15);

/// An instance of query that answers everything with one byte, a moment before the trailers.
struct Instance {
    address: SocketAddr,
    calls: Arc<AtomicU64>,
    shutdown: Shutdown,
    running: JoinHandle<()>,
}

/// What an instance ends its answers with, and what it saw.
#[derive(Clone)]
struct Manner {
    status: &'static str,
    pause: Duration,
    calls: Arc<AtomicU64>,
}

async fn answer(State(manner): State<Manner>, request: axum::extract::Request) -> Response<axum::body::Body> {
    let is_health = request.uri().path() == "/grpc.health.v1.Health/Check";
    // It serves, or does not; one byte that means nothing.
    let message = match (is_health, manner.status) {
        (true, "14") => &b"\0\0\0\0\x02\x08\x02"[..],
        (true, _) => b"\0\0\0\0\x02\x08\x01",
        (false, _) => b"\0\0\0\0\x01x",
    };
    let status = if is_health { "0" } else { manner.status };
    if !is_health {
        manner.calls.fetch_add(1, Ordering::Relaxed);
    }
    for name in ["authorization", "x-api-key", "origin"] {
        assert!(!request.headers().contains_key(name), "{name} is not for query");
    }
    let asked = request.headers().get("grpc-timeout").cloned();
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static(status));
    let frames = [Frame::data(Bytes::from_static(message)), Frame::trailers(trailers)];
    let body = StreamBody::new(stream::iter(frames).then(move |frame| async move {
        tokio::time::sleep(manner.pause).await;
        Ok::<_, Infallible>(frame)
    }));
    let mut response = Response::new(axum::body::Body::new(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    if let Some(asked) = asked {
        response.headers_mut().insert("asked", asked);
    }
    response
}

impl Instance {
    async fn start(status: &'static str, pause: Duration) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let calls = Arc::new(AtomicU64::new(0));
        let manner = Manner { status, pause, calls: Arc::clone(&calls) };
        let router = Router::new().fallback(answer).with_state(manner);
        let shutdown = Shutdown::new();
        let served =
            runtime::http::serve(listener, router, runtime::http::Limits::default(), shutdown.clone());
        Self { address, calls, shutdown, running: tokio::spawn(served) }
    }

    /// It works.
    async fn good() -> Self {
        Self::start("0", Duration::from_millis(2)).await
    }

    fn entry(&self) -> (SocketAddr, Uri) {
        (self.address, format!("http://{}", self.address).parse().unwrap())
    }

    /// As kill -9 does it: every connection breaks, wherever it is.
    fn kill(&self) {
        self.running.abort();
    }

    fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Waits for so many further calls.
    async fn is_asked(&self, times: u64) {
        let before = self.calls();
        let asked = Instant::now();
        while self.calls() < before + times {
            assert!(asked.elapsed() < PATIENCE, "{} is not asked", self.address);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn forward(forwarded_max: usize, instances: &[&Instance]) -> (Forward, Pool) {
    let flags = vec![Flag::new("gateway.query_timeout", "5s", "test")];
    let mut sources = Sources::load(None, [], flags).unwrap();
    let config = Config { forwarded_max, ..sources.read("gateway", Config::read) };
    let pool = Pool::new(&config).unwrap();
    pool.replace(&instances.iter().map(|instance| instance.entry()).collect::<Vec<_>>());
    tokio::spawn({
        let pool = pool.clone();
        async move { pool.keep_asking().await }
    });
    let ctx = RoleContext::new(Readiness::new(), Shutdown::new());
    (Forward::new(&Arc::new(config), pool.clone(), &ctx), pool)
}

fn request(method: &str) -> Request<Body> {
    let mut request = Request::new(Body::new(Full::new(Bytes::from_static(b"\0\0\0\0\0"))));
    *request.uri_mut() = format!("/{SERVICE_NAME}/{method}").parse().unwrap();
    request.headers_mut().insert("authorization", HeaderValue::from_static("Bearer secret"));
    request.headers_mut().insert("origin", HeaderValue::from_static("http://page.example"));
    request.extensions_mut().insert(Caller::anonymous());
    request
}

/// The status of a call, with its answer taken to the end.
async fn status_of(forward: &Forward, request: Request<Body>) -> Status {
    let response = forward.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    if let Some(status) = Status::from_header_map(&parts.headers) {
        return status;
    }
    match body.collect().await {
        Ok(body) => Status::from_header_map(body.trailers().expect("trailers")).expect("a status"),
        Err(status) => status,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_come_die_and_drain_under_load_and_no_call_fails() {
    let (first, second, third) = (Instance::good().await, Instance::good().await, Instance::good().await);
    let (forward, pool) = forward(256, &[&first]);
    let over = Shutdown::new();
    let callers: Vec<_> = (0..16)
        .map(|_| {
            let (forward, over) = (forward.clone(), over.clone());
            tokio::spawn(async move {
                let mut answered = 0_u64;
                while !over.is_requested() {
                    let method = ["GetLatestPrice", "StreamTicks"][usize::from(answered % 2 == 1)];
                    let status = status_of(&forward, request(method)).await;
                    assert_eq!(status.code(), tonic::Code::Ok, "after {answered}: {status:?}");
                    answered += 1;
                }
                answered
            })
        })
        .collect();
    first.is_asked(20).await;
    // Added.
    pool.replace(&[first.entry(), second.entry()]);
    second.is_asked(20).await;
    // Killed, before DNS knows.
    first.kill();
    second.is_asked(20).await;
    pool.replace(&[second.entry(), third.entry()]);
    third.is_asked(20).await;
    // Drained: it lets the calls end that it has, and takes no new ones.
    second.shutdown.request();
    second.running.await.unwrap();
    third.is_asked(20).await;
    pool.replace(&[third.entry()]);
    third.is_asked(20).await;
    over.request();
    let mut answered = 0;
    for caller in callers {
        answered += caller.await.unwrap();
    }
    assert!(answered > 100, "{answered}");
}

#[tokio::test]
async fn an_instance_that_is_unavailable_is_asked_again_but_not_for_ever() {
    let (good, bad) = (Instance::good().await, Instance::start("14", Duration::ZERO).await);
    let (both, pool) = forward(256, &[&good, &bad]);
    for _ in 0..4 {
        assert_eq!(status_of(&both, request("ListTicks")).await.code(), tonic::Code::Ok);
    }
    // Once it is known who serves, the other is left out, however fast it answers.
    testkit::eventually(PATIENCE, || async { !pool.members()[0].is_down() || !pool.members()[1].is_down() })
        .await;
    let before = bad.calls();
    for _ in 0..20 {
        assert_eq!(status_of(&both, request("ListTicks")).await.code(), tonic::Code::Ok);
    }
    assert_eq!(bad.calls(), before);
    let (alone, _) = forward(256, &[&bad]);
    assert_eq!(status_of(&alone, request("ListTicks")).await.code(), tonic::Code::Unavailable);
    assert_eq!(bad.calls() - before, 4);
    // What is the caller's fault stays so.
    let wrong = Instance::start("3", Duration::ZERO).await;
    let (alone, _) = forward(256, &[&wrong]);
    assert_eq!(status_of(&alone, request("ListTicks")).await.code(), tonic::Code::InvalidArgument);
    assert_eq!(wrong.calls(), 1);
}

#[tokio::test]
async fn the_deadline_is_passed_on_with_what_is_left_of_it() {
    let slow = Instance::start("0", Duration::from_secs(30)).await;
    let (forward, _) = forward(256, &[&slow]);
    let mut hurried = request("GetSnapshot");
    hurried.headers_mut().insert("grpc-timeout", HeaderValue::from_static("200m"));
    let asked = Instant::now();
    let status = status_of(&forward, hurried).await;
    assert_eq!(status.code(), tonic::Code::DeadlineExceeded);
    assert!(asked.elapsed() < Duration::from_secs(4), "{:?}", asked.elapsed());

    let response = forward.clone().oneshot(request("StreamTicks")).await.unwrap();
    assert!(!response.headers().contains_key("asked"), "a stream may take its time");
    let good = Instance::good().await;
    let (forward, _) = super::tests::forward(256, &[&good]);
    let response = forward.oneshot(request("GetSnapshot")).await.unwrap();
    let asked = proto::call_timeout(response.headers()["asked"].to_str().unwrap()).unwrap();
    assert!(asked > Duration::from_secs(3) && asked < Duration::from_secs(5), "{asked:?}");
}

#[tokio::test]
async fn more_calls_than_there_are_places_for_are_refused_at_once() {
    let slow = Instance::start("0", Duration::from_millis(300)).await;
    let (forward, _) = forward(1, &[&slow]);
    let first = tokio::spawn({
        let forward = forward.clone();
        async move { status_of(&forward, request("ListGaps")).await }
    });
    slow.is_asked(1).await;
    let status = status_of(&forward, request("ListGaps")).await;
    assert_eq!(status.code(), tonic::Code::ResourceExhausted);
    assert!(status.get_error_details().retry_info().is_some());
    assert_eq!(first.await.unwrap().code(), tonic::Code::Ok);
    // A stream whose end does not follow its beginning holds its place until it has been read.
    let slower = Instance::start("0", Duration::from_millis(1_500)).await;
    let (forward, _) = super::tests::forward(1, &[&slower]);
    let stream = forward.clone().oneshot(request("StreamTicks")).await.unwrap();
    assert_eq!(status_of(&forward, request("ListGaps")).await.code(), tonic::Code::ResourceExhausted);
    drop(stream);
    assert_eq!(status_of(&forward, request("ListGaps")).await.code(), tonic::Code::Ok);
}

/// A request that does not come to its end.
fn unfinished(method: &str) -> Request<Body> {
    let begun = stream::iter([Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"\0\0")))]);
    request(method).map(|_| Body::new(StreamBody::new(begun.chain(stream::pending()))))
}

#[tokio::test]
async fn requests_that_dawdle_and_calls_of_ourselves_take_no_place_of_clients() {
    let slow = Instance::start("0", Duration::from_millis(500)).await;
    let (forward, _) = forward(1, &[&slow]);
    let call = |forward: &Forward, request| {
        let forward = forward.clone();
        tokio::spawn(async move { status_of(&forward, request).await })
    };
    let dawdling: Vec<_> = (0..4).map(|_| call(&forward, unfinished("ListTicks"))).collect();
    let first = call(&forward, request("ListGaps"));
    slow.is_asked(1).await;
    // The one place is taken, and ours are others.
    assert_eq!(status_of(&forward, request("ListGaps")).await.code(), tonic::Code::ResourceExhausted);
    let ours = status_of(&forward.for_ourselves(), request("ListTicks")).await;
    assert_eq!((ours.code(), first.await.unwrap().code()), (tonic::Code::Ok, tonic::Code::Ok));
    for call in dawdling {
        assert!(!call.is_finished());
        call.abort();
    }
}
