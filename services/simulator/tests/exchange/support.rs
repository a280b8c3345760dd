//! A simulator on a random port, and a plain WebSocket client.

use std::path::{Path, PathBuf};
use std::time::Duration;

use domain::Product;
use futures::{SinkExt as _, StreamExt as _};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use runtime::{Readiness, RoleContext, Shutdown};
use serde_json::Value;
use simulator::{Config, Error, FaultScript, GenerateConfig, Rate, ReplayConfig, Source, Speed};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{self, Bytes, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// Long enough for a machine under load; nothing waits for it in a test that passes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Exchange {
    pub(crate) url: String,
    pub(crate) shutdown: Shutdown,
    task: JoinHandle<Result<(), Error>>,
}

impl Exchange {
    pub(crate) async fn start(config: Config) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap());
        let shutdown = Shutdown::new();
        let ctx = RoleContext::new(Readiness::new(), shutdown.clone());
        let task = tokio::spawn(simulator::run(config, listener, ctx));
        Self { url, shutdown, task }
    }

    /// Stops it and waits until everything of it has ended, the file of the truth included.
    pub(crate) async fn stop(self) {
        self.shutdown.request();
        timeout(PATIENCE, self.task).await.expect("it drains").unwrap().unwrap();
    }
}

/// How a connection ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    Closed(u16),
    Cut,
    Broken(std::io::ErrorKind),
}

pub(crate) struct Client(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Client {
    pub(crate) async fn connect(url: &str) -> Self {
        Self(connect_async(url).await.unwrap().0)
    }

    /// Connects, subscribes and waits for the answer.
    pub(crate) async fn subscribed(url: &str, products: &[&str], channels: &[&str]) -> Self {
        let mut client = Self::connect(url).await;
        client.subscribe(products, channels).await;
        let answer = client.next().await;
        assert_eq!(answer["type"], "subscriptions", "{answer}");
        client
    }

    pub(crate) async fn subscribe(&mut self, products: &[&str], channels: &[&str]) {
        self.say(&venues::coinbase::Request::subscribe_text(products, channels)).await;
    }

    pub(crate) async fn say(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    /// The next text, as it came.
    pub(crate) async fn text(&mut self) -> String {
        self.try_text().await.expect("the connection stands")
    }

    /// `None` when the connection was closed.
    pub(crate) async fn try_text(&mut self) -> Option<String> {
        loop {
            match timeout(PATIENCE, self.0.next()).await.expect("a message") {
                Some(Ok(Message::Text(text))) => return Some(text.to_string()),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(other)) => panic!("{other:?}"),
            }
        }
    }

    /// How the connection ends, after whatever still comes.
    pub(crate) async fn end(&mut self) -> End {
        loop {
            match timeout(PATIENCE, self.0.next()).await.expect("an end") {
                Some(Ok(Message::Close(Some(frame)))) => return End::Closed(frame.code.into()),
                Some(Ok(_)) => {}
                Some(Err(tungstenite::Error::Io(error))) => return End::Broken(error.kind()),
                Some(Err(_)) | None => return End::Cut,
            }
        }
    }

    /// The next text within a time, if one comes.
    pub(crate) async fn text_within(&mut self, time: Duration) -> Option<String> {
        timeout(time, self.text()).await.ok()
    }

    pub(crate) async fn next(&mut self) -> Value {
        serde_json::from_str(&self.text().await).unwrap()
    }

    pub(crate) async fn texts(&mut self, count: usize) -> Vec<String> {
        let mut texts = Vec::with_capacity(count);
        for _ in 0..count {
            texts.push(self.text().await);
        }
        texts
    }
}

/// One HTTP connection that is kept.
pub(crate) struct Http(SendRequest<Empty<Bytes>>);

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
    headers: http::HeaderMap,
}

impl Http {
    pub(crate) async fn connect(url: &str) -> Self {
        let stream = TcpStream::connect(url.trim_start_matches("ws://")).await.unwrap();
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self(sender)
    }

    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        self.get_with(path, &[]).await
    }

    pub(crate) async fn get_with(&mut self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = http::Request::get(path).header("host", "exchange");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answered = async {
            self.0.ready().await.unwrap();
            let answer = self.0.send_request(request.body(Empty::new()).unwrap()).await.unwrap();
            let (head, body) = answer.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            Answer { status: head.status.as_u16(), headers: head.headers, body }
        };
        timeout(PATIENCE, answered).await.expect("an answer")
    }
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

pub(crate) fn market(products: &[&str], rate: Rate) -> Config {
    let products = products.iter().map(|name| Product::new(name).unwrap()).collect();
    Config {
        source: Source::Generate(GenerateConfig { products, rate, ..GenerateConfig::default() }),
        ..Config::default()
    }
}

pub(crate) fn replay(path: &Path, speed: Speed) -> Config {
    Config { source: Source::Replay(ReplayConfig { path: path.to_owned(), speed }), ..Config::default() }
}

pub(crate) fn data(name: &str) -> PathBuf {
    testkit::workspace_root().join("tests/data").join(name)
}

/// The lines of a recording, without the answers to the recorder's subscriptions.
pub(crate) fn recorded(path: &Path) -> Vec<String> {
    use std::io::{BufRead as _, BufReader, Read};
    let file = std::fs::File::open(path).unwrap();
    let packed = path.extension().is_some_and(|extension| extension == "gz");
    let reader: Box<dyn Read> =
        if packed { Box::new(flate2::read::MultiGzDecoder::new(file)) } else { Box::new(file) };
    let lines = BufReader::new(reader).lines().map(Result::unwrap);
    lines.filter(|line| !line.contains(r#""type":"subscriptions""#)).collect()
}

fn truth_lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The trades of the truth.
pub(crate) fn truth(path: &Path) -> Vec<Value> {
    truth_lines(path).into_iter().filter(|line| line.get("fault").is_none()).collect()
}

/// The faults of the truth, and what became of each.
pub(crate) fn truth_faults(path: &Path) -> Vec<(String, String)> {
    let text = |line: &Value, key: &str| line[key].as_str().unwrap().to_owned();
    let lines = truth_lines(path).into_iter().filter(|line| line.get("fault").is_some());
    lines.map(|line| (text(&line, "fault"), text(&line, "event"))).collect()
}

/// The tickers that were sent to somebody.
pub(crate) fn frames(truth: &[Value]) -> Vec<&str> {
    let sent = truth.iter().filter(|line| line["sent"] == true);
    sent.map(|line| line["frame"].as_str().unwrap()).collect()
}

/// A script of faults, as flags write them.
pub(crate) fn script(flags: &[&str]) -> FaultScript {
    let mut script = FaultScript::default().with_seed(1);
    flags.iter().for_each(|flag| script.add_flag(flag).unwrap());
    script
}
