//! The fault proxy between a client and a server that answers each line with the same line.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use testkit::{Fault, Proxy, Toward};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(10);
/// Long enough for something that would come to have come.
const MOMENT: Duration = Duration::from_millis(200);

/// Where a server listens that sends back whatever it gets.
async fn echo() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let (mut from, mut to) = socket.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
            });
        }
    });
    address
}

struct Client(TcpStream);

impl Client {
    async fn connect(proxy: &Proxy) -> Client {
        Client(TcpStream::connect(proxy.address()).await.unwrap())
    }

    async fn say(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// As many bytes as `text` has, which must be these.
    async fn hears(&mut self, text: &str) {
        let mut heard = vec![0; text.len()];
        timeout(PATIENCE, self.0.read_exact(&mut heard)).await.expect("an answer").unwrap();
        assert_eq!(String::from_utf8_lossy(&heard), text);
    }

    async fn hears_nothing(&mut self) {
        let mut heard = [0; 1];
        let silent = timeout(MOMENT, self.0.read(&mut heard)).await;
        assert!(silent.is_err(), "{silent:?}");
    }

    /// What is left until the end, and how it ended.
    async fn rest(&mut self) -> (usize, Option<ErrorKind>) {
        let mut heard = Vec::new();
        let end = timeout(PATIENCE, self.0.read_to_end(&mut heard)).await.expect("the connection ends");
        (heard.len(), end.err().map(|error| error.kind()))
    }
}

#[tokio::test]
async fn what_is_said_passes_and_so_does_the_end() {
    let proxy = Proxy::start(&echo().await).await;
    let mut client = Client::connect(&proxy).await;
    client.say("hello").await;
    client.hears("hello").await;
    client.say("bye").await;
    client.0.shutdown().await.unwrap();
    assert_eq!(client.rest().await, (3, None));
}

#[tokio::test]
async fn a_blackhole_keeps_everything_back_and_loses_nothing() {
    let proxy = Proxy::start(&echo().await).await;
    let mut client = Client::connect(&proxy).await;
    proxy.set(Fault::Blackhole);
    client.say("one").await;
    client.hears_nothing().await;
    let mut late = Client::connect(&proxy).await;
    late.say("two").await;
    late.hears_nothing().await;
    proxy.set(Fault::Pass);
    client.hears("one").await;
    late.hears("two").await;
}

#[tokio::test]
async fn each_direction_has_a_fault_of_its_own() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::start(&server.local_addr().unwrap().to_string()).await;
    let mut client = Client::connect(&proxy).await;
    let mut accepted = Client(server.accept().await.unwrap().0);
    proxy.set_toward(Toward::Client, Fault::Blackhole);
    client.say("question").await;
    accepted.hears("question").await;
    accepted.say("answer").await;
    client.hears_nothing().await;
    proxy.set_toward(Toward::Client, Fault::Pass);
    client.hears("answer").await;
}

#[tokio::test]
async fn a_reset_ends_what_is_open_and_refuses_what_is_new_until_it_is_over() {
    let proxy = Proxy::start(&echo().await).await;
    let mut client = Client::connect(&proxy).await;
    client.say("a").await;
    client.hears("a").await;
    proxy.set(Fault::Reset);
    assert_eq!(client.rest().await, (0, Some(ErrorKind::ConnectionReset)));
    assert_eq!(Client::connect(&proxy).await.rest().await, (0, Some(ErrorKind::ConnectionReset)));
    proxy.set(Fault::Pass);
    let mut client = Client::connect(&proxy).await;
    client.say("b").await;
    client.hears("b").await;
    proxy.cut();
    assert_eq!(client.rest().await.1, Some(ErrorKind::ConnectionReset));
    let mut client = Client::connect(&proxy).await;
    client.say("c").await;
    client.hears("c").await;
}

#[tokio::test]
async fn a_half_open_connection_is_silent_for_ever_while_new_ones_work() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::start(&server.local_addr().unwrap().to_string()).await;
    let mut client = Client::connect(&proxy).await;
    let mut accepted = Client(server.accept().await.unwrap().0);
    client.say("a").await;
    accepted.hears("a").await;
    proxy.strand();
    assert_eq!(accepted.rest().await, (0, None), "the server sees the end");
    client.say("b").await;
    client.hears_nothing().await;
    let mut next = Client::connect(&proxy).await;
    let mut accepted = Client(server.accept().await.unwrap().0);
    next.say("c").await;
    accepted.hears("c").await;
    proxy.cut();
    assert_eq!(client.rest().await.1, Some(ErrorKind::ConnectionReset));
}

#[tokio::test]
async fn a_truncated_connection_ends_in_the_middle() {
    let proxy = Proxy::start(&echo().await).await;
    proxy.set_toward(Toward::Client, Fault::Truncate(5));
    let mut client = Client::connect(&proxy).await;
    client.say("hello world").await;
    let (heard, _) = client.rest().await;
    assert_eq!(heard, 5);
    proxy.set(Fault::Pass);
    let mut client = Client::connect(&proxy).await;
    client.say("hello world").await;
    client.hears("hello world").await;
}

#[tokio::test]
async fn delay_and_throttle_take_their_time() {
    let proxy = Proxy::start(&echo().await).await;
    let mut client = Client::connect(&proxy).await;
    proxy.set_toward(Toward::Server, Fault::Delay(MOMENT));
    let started = Instant::now();
    client.say("slow").await;
    client.hears("slow").await;
    assert!(started.elapsed() >= MOMENT);
    proxy.set_toward(Toward::Server, Fault::Throttle(2_000));
    let started = Instant::now();
    let text = "x".repeat(1_000);
    client.say(&text).await;
    client.hears(&text).await;
    assert!(started.elapsed() >= Duration::from_millis(450), "{:?}", started.elapsed());
    proxy.set(Fault::Pass);
    client.say("fast").await;
    client.hears("fast").await;
}

#[tokio::test]
async fn a_server_that_is_away_resets_and_another_one_can_take_its_place() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let proxy = Proxy::start(&gone).await;
    assert_eq!(Client::connect(&proxy).await.rest().await.1, Some(ErrorKind::ConnectionReset));
    proxy.retarget(&echo().await);
    let mut client = Client::connect(&proxy).await;
    client.say("here").await;
    client.hears("here").await;
}

#[tokio::test]
async fn dropping_it_ends_its_connections() {
    let proxy = Proxy::start(&echo().await).await;
    let mut client = Client::connect(&proxy).await;
    client.say("a").await;
    client.hears("a").await;
    let address = proxy.address();
    drop(proxy);
    let _ = client.rest().await;
    let refused = timeout(PATIENCE, async {
        while TcpStream::connect(&address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    refused.await.expect("nobody listens any more");
}
