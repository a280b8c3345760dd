use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

/// A server that gives these answers one after another, over as many connections as it takes; the last one for ever.
struct Server {
    url: String,
    asked: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
    _task: AbortOnDropHandle<()>,
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len())
}

async fn server(answers: Vec<String>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (asked, connections) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (count, opened) = (Arc::clone(&asked), Arc::clone(&connections));
    let task = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            opened.fetch_add(1, Ordering::SeqCst);
            let mut request = vec![0; 4_096];
            while let Ok(1..) = stream.read(&mut request).await {
                let index = count.fetch_add(1, Ordering::SeqCst).min(answers.len() - 1);
                if answers[index].is_empty() || stream.write_all(answers[index].as_bytes()).await.is_err() {
                    break;
                }
            }
        }
    });
    Server { url, asked, connections, _task: AbortOnDropHandle::new(task) }
}

fn rest(url: &str, limit: Duration) -> Rest {
    Rest::at(&RestBase::new(url).unwrap(), None, limit, 1_000).unwrap()
}

fn text(body: &[u8]) -> Result<String, RestFault> {
    Ok(String::from_utf8_lossy(body).into_owned())
}

#[tokio::test]
async fn one_connection_serves_many_requests_and_is_made_anew_when_it_breaks() {
    let sound = answer("200 OK", "", "[1]");
    let server = server(vec![sound.clone(), sound.clone(), String::new(), sound]).await;
    let rest = rest(&server.url, Duration::from_secs(10));
    assert_eq!(rest.ask("/products", text).await.unwrap(), "[1]");
    assert_eq!(rest.ask("/products", text).await.unwrap(), "[1]");
    let broken = rest.ask("/products", text).await.unwrap_err();
    assert!(matches!(broken, AskError::Broken(_)) && broken.is_retryable(), "{broken}");
    assert_eq!(rest.ask("/products", text).await.unwrap(), "[1]");
    assert_eq!((server.asked.load(Ordering::SeqCst), server.connections.load(Ordering::SeqCst)), (4, 2));
}

#[tokio::test]
async fn after_a_refusal_the_next_request_waits_as_long_as_the_exchange_asks_for() {
    let busy = answer("429 Too Many Requests", "retry-after: 1\r\n", r#"{"message":"slow down"}"#);
    let server = server(vec![busy, answer("200 OK", "", "[]")]).await;
    let rest = rest(&server.url, Duration::from_secs(10));
    let refused = rest.ask("/products", text).await.unwrap_err();
    assert!(refused.is_retryable() && refused.as_str() == "rate_limited", "{refused}");
    let asked = Instant::now();
    assert_eq!(rest.ask("/products", text).await.unwrap(), "[]");
    assert!(asked.elapsed() >= Duration::from_millis(900), "{:?}", asked.elapsed());
}

#[tokio::test]
async fn what_goes_wrong_is_told_apart() {
    let not_found = answer("404 Not Found", "", r#"{"message":"NotFound"}"#);
    let at_404 = server(vec![not_found]).await;
    let refused = rest(&at_404.url, Duration::from_secs(10)).ask("/x", text).await.unwrap_err();
    assert!(!refused.is_retryable() && refused.as_str() == "refused");

    for status in ["401 Unauthorized", "403 Forbidden", "451 Unavailable For Legal Reasons"] {
        let barred = server(vec![answer(status, "", "<html>")]).await;
        let refused = rest(&barred.url, Duration::from_secs(10)).ask("/x", text).await.unwrap_err();
        assert!(refused.is_retryable() && refused.as_str() == "refused", "{refused}");
    }

    let garbage = server(vec![answer("200 OK", "", "<html>")]).await;
    let parse = venues::coinbase::rest::parse_products;
    let unusable = rest(&garbage.url, Duration::from_secs(10)).ask("/x", parse).await.unwrap_err();
    assert!(unusable.is_retryable() && unusable.as_str() == "unusable");

    let length = ANSWER_BYTES_MAX + 1;
    let long = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{}", " ".repeat(length));
    let endless = server(vec![long]).await;
    let too_long = rest(&endless.url, Duration::from_secs(10)).ask("/x", text).await.unwrap_err();
    assert!(matches!(too_long, AskError::TooLong), "{too_long}");

    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let waited = rest(&url, Duration::from_millis(50)).ask("/x", text).await.unwrap_err();
    assert!(matches!(waited, AskError::TimedOut(_)));
    drop(silent);
    let away = rest(&url, Duration::from_secs(10)).ask("/x", text).await.unwrap_err();
    assert!(matches!(away, AskError::Unreachable { .. }) && away.is_retryable());
}
