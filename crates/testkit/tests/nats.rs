//! The NATS harness against the real server.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use testkit::{NatsCluster, NatsServer};

const PATIENCE: Duration = Duration::from_secs(10);

/// A connection that speaks just enough of the protocol to ask and be answered.
struct Client {
    stream: TcpStream,
    lines: BufReader<TcpStream>,
}

impl Client {
    fn connect(server: &NatsServer) -> Client {
        let stream = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut client = Client { lines: BufReader::new(stream.try_clone().unwrap()), stream };
        assert!(client.line().starts_with("INFO "));
        client.send("CONNECT {\"verbose\":false}\r\nSUB answer 1\r\n");
        client
    }

    fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line
    }

    /// A request to the JetStream API; the answer is the payload after the MSG line.
    fn request(&mut self, subject: &str, body: &str) -> String {
        self.send(&format!("PUB {subject} answer {}\r\n{body}\r\n", body.len()));
        loop {
            if self.line().starts_with("MSG answer") {
                return self.line();
            }
        }
    }

    /// Whether a PONG comes; the server may say other things before.
    fn is_answered_within(&mut self, patience: Duration) -> bool {
        self.hears("PONG\r\n", patience)
    }

    /// Whether a line comes that starts like this.
    fn hears(&mut self, start: &str, patience: Duration) -> bool {
        self.stream.set_read_timeout(Some(patience)).unwrap();
        let mut line = String::new();
        while self.lines.read_line(&mut line).is_ok_and(|length| length > 0) {
            if line.starts_with(start) {
                return true;
            }
            line.clear();
        }
        false
    }

    fn create_stream(&mut self) -> String {
        self.request("$JS.API.STREAM.CREATE.kept", "{\"name\":\"kept\",\"subjects\":[\"kept.>\"]}")
    }

    fn publish(&mut self) -> String {
        self.request("kept.a", "1")
    }

    fn stream_info(&mut self) -> String {
        self.request("$JS.API.STREAM.INFO.kept", "")
    }
}

#[tokio::test]
async fn a_killed_server_comes_back_on_the_same_port_with_its_streams() {
    let mut server = NatsServer::start().await;
    let url = server.url();
    let mut client = Client::connect(&server);
    assert!(client.create_stream().contains("\"did_create\":true"));
    assert!(client.publish().contains("\"seq\":1"));
    server.kill().await;
    assert!(TcpStream::connect(("127.0.0.1", server.port())).is_err());
    server.restart().await;
    assert_eq!(server.url(), url);
    assert!(Client::connect(&server).stream_info().contains("\"messages\":1"));
    server.stop().await;
    server.restart().await;
    assert!(Client::connect(&server).stream_info().contains("\"messages\":1"));
}

#[tokio::test]
async fn a_wiped_server_has_forgotten_its_streams() {
    let mut server = NatsServer::start().await;
    Client::connect(&server).create_stream();
    server.wipe().await;
    assert!(Client::connect(&server).stream_info().contains("stream not found"));
}

#[tokio::test]
async fn a_paused_server_does_not_answer_and_goes_on_afterwards() {
    let mut server = NatsServer::start().await;
    let mut client = Client::connect(&server);
    client.send("PING\r\n");
    assert!(client.is_answered_within(PATIENCE));
    server.pause().await;
    client.send("PING\r\n");
    assert!(!client.is_answered_within(Duration::from_millis(200)));
    server.resume();
    assert!(client.is_answered_within(PATIENCE));
    // A paused server must not keep a test from ending.
    server.pause().await;
}

#[tokio::test]
async fn more_configuration_is_taken() {
    let server = NatsServer::start_with("max_payload: 2MB").await;
    let mut info = String::new();
    BufReader::new(TcpStream::connect(("127.0.0.1", server.port())).unwrap()).read_line(&mut info).unwrap();
    assert!(info.contains("\"max_payload\":2097152"), "{info}");
}

#[tokio::test]
#[should_panic(expected = "nats-server did not start")]
async fn bad_configuration_fails_with_the_log() {
    NatsServer::start_with("no_such_option: 1").await;
}

/// What is stored needs two nodes of three, so that one that is cut off stores nothing: nothing goes round the proxies.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_cut_off_stores_nothing_until_it_is_back() {
    let mut cluster = NatsCluster::start().await;
    let mut client = Client::connect(&cluster.nodes()[0]);
    let config = "{\"name\":\"kept\",\"subjects\":[\"kept.>\"],\"num_replicas\":3}";
    let created = client.request("$JS.API.STREAM.CREATE.kept", config);
    assert!(created.contains("\"did_create\":true"), "{created}");
    assert!(client.publish().contains("\"seq\":1"));
    let leader = cluster.leader_of("kept").await;
    let mut client = Client::connect(&cluster.nodes()[leader]);
    cluster.isolate(leader);
    client.send("PUB kept.a answer 1\r\n2\r\n");
    // Shorter than the 4 s after which the others would have a leader of their own, and the message would be in vain.
    assert!(!client.hears("MSG answer", Duration::from_secs(2)));
    cluster.rejoin(leader);
    assert!(client.hears("MSG answer", PATIENCE));
    assert!(client.line().contains("\"seq\":2"));
    cluster.node(leader).kill().await;
    let other = cluster.leader_of("kept").await;
    assert_ne!(other, leader);
    assert!(Client::connect(&cluster.nodes()[other]).stream_info().contains("\"messages\":2"));
}
