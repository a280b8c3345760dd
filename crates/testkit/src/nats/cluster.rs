//! Several nats-servers that are one JetStream cluster.

use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Membership, NatsServer};
use crate::{Fault, Proxy, eventually, or_panic};

const NODES: usize = 3;
/// An election takes up to 9 s, and the groups of streams and consumers follow that of the cluster.
const WHOLE_DEADLINE: Duration = Duration::from_secs(60);
const ANSWER_DEADLINE: Duration = Duration::from_secs(1);

/// Nodes that keep copies of the same streams; or one server alone, for who can do with either. A proxy stands between any
/// two nodes. All of them stop on drop.
#[derive(Debug)]
pub struct NatsCluster {
    nodes: Vec<NatsServer>,
    /// The proxy through which a node reaches another one: `routes[from][to]`.
    routes: Vec<Vec<Proxy>>,
}

impl From<NatsServer> for NatsCluster {
    fn from(server: NatsServer) -> NatsCluster {
        NatsCluster { nodes: vec![server], routes: Vec::new() }
    }
}

impl NatsCluster {
    /// Starts three nodes and returns when they have a leader and each of them is current (some seconds).
    ///
    /// # Panics
    /// When they do not start or do not find each other.
    pub async fn start() -> NatsCluster {
        let mut routes = Vec::new();
        for _ in 0..NODES {
            let mut row = Vec::new();
            for _ in 0..NODES {
                // Nobody listens there yet; the target is set when the node has told its port.
                row.push(Proxy::start("127.0.0.1:9").await);
            }
            routes.push(row);
        }
        let mut cluster = NatsCluster { nodes: Vec::new(), routes };
        for index in 0..NODES {
            let membership = Membership {
                name: name(index),
                routes: cluster.routes[index].iter().map(Proxy::address).collect(),
                port: 0,
                monitor: 0,
            };
            let mut node = NatsServer::new(None, "", Some(membership));
            or_panic(node.launch().await);
            let port = node.membership.as_ref().map_or(0, |membership| membership.port);
            cluster.routes.iter().for_each(|row| row[index].retarget(&format!("127.0.0.1:{port}")));
            cluster.nodes.push(node);
        }
        cluster.whole().await;
        cluster
    }

    /// The nodes.
    pub fn nodes(&self) -> &[NatsServer] {
        &self.nodes
    }

    /// One of them, to be stopped, killed, frozen or started again.
    ///
    /// # Panics
    /// When there is no such node.
    pub fn node(&mut self, index: usize) -> &mut NatsServer {
        &mut self.nodes[index]
    }

    /// The addresses of all nodes for clients.
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(NatsServer::url).collect()
    }

    /// Cuts a node off from the others: its routes stay open and nothing passes. Clients still reach it.
    pub fn isolate(&self, node: usize) {
        self.set_routes(node, Fault::Blackhole);
    }

    /// Ends that; what was said meanwhile arrives.
    pub fn rejoin(&self, node: usize) {
        self.set_routes(node, Fault::Pass);
    }

    fn set_routes(&self, node: usize, fault: Fault) {
        for (from, row) in self.routes.iter().enumerate() {
            for (to, route) in row.iter().enumerate() {
                if (from == node) != (to == node) {
                    route.set(fault);
                }
            }
        }
    }

    /// Waits until every node runs, knows a leader, and has caught up in every stream and consumer that it has a copy of.
    ///
    /// # Panics
    /// When that takes more than a minute.
    pub async fn whole(&self) {
        eventually(WHOLE_DEADLINE, || async {
            for node in &self.nodes {
                let (status, body) = node.told("/healthz").await?;
                if status != 200 {
                    bail!("{}: {status} {body}", node.url());
                }
            }
            Ok(())
        })
        .await;
    }

    /// Waits until a node says of itself that it leads a stream, e.g. `LF_RAW`, and returns which.
    ///
    /// # Panics
    /// When none does for a minute.
    pub async fn leader_of(&self, stream: &str) -> usize {
        eventually(WHOLE_DEADLINE, || async {
            for (index, node) in self.nodes.iter().enumerate() {
                // One that is away or frozen leads nothing.
                let Ok((_, body)) = node.told("/jsz?accounts=true&streams=true").await else { continue };
                if leads(&name(index), stream, &body) {
                    return Ok(index);
                }
            }
            Err(format!("nobody leads {stream}"))
        })
        .await
    }
}

impl NatsServer {
    /// What a node of a cluster answers to a question about its state.
    async fn told(&self, path: &str) -> anyhow::Result<(u16, String)> {
        let monitor = self.membership.as_ref().map(|membership| membership.monitor);
        let monitor = monitor.context("a server alone has no monitor")?;
        let exchange = async {
            let mut stream = TcpStream::connect(("127.0.0.1", monitor)).await?;
            // Of this version, so that the body comes as it is and ends with the connection.
            stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await?;
            let mut response = String::new();
            stream.read_to_string(&mut response).await?;
            Ok::<_, std::io::Error>(response)
        };
        let response =
            tokio::time::timeout(ANSWER_DEADLINE, exchange).await.context("no answer in time")??;
        let status = response.split(' ').nth(1).and_then(|status| status.parse().ok());
        let body = response.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        Ok((status.with_context(|| format!("no status: {response}"))?, body.to_owned()))
    }
}

fn name(index: usize) -> String {
    format!("node-{index}")
}

/// Whether the node says that it leads the stream.
fn leads(node: &str, stream: &str, told: &str) -> bool {
    let told: serde_json::Value = serde_json::from_str(told).unwrap_or_default();
    let accounts = told["account_details"].as_array().into_iter().flatten();
    let mut streams = accounts.flat_map(|account| account["stream_detail"].as_array().into_iter().flatten());
    streams.any(|detail| detail["name"] == stream && detail["cluster"]["leader"] == node)
}
