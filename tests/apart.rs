//! A pipeline on a broker, an exchange that leaves trades out now and then, and a gateway that is a process of its own: it can be
//! killed while the market goes on.
#![allow(dead_code, unreachable_pub, reason = "each test program includes this file and uses its part")]

use testkit::{NatsServer, Process, Scratch};

use crate::support::{START, ledgerflux, ready};

/// What has to be kept for as long as the gateway is to have something to serve.
pub struct Apart {
    nats: NatsServer,
    _data: Scratch,
    _exchange: Process,
    pipeline: Process,
}

impl Apart {
    pub async fn start() -> Self {
        let (nats, data) = (NatsServer::start().await, Scratch::new());
        let mut exchange = ledgerflux()
            .args(["simulator", "--generate", "--rate", "40", "--fault", "drop:at=4s,every=5s,count=3"])
            .args(["--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0", "--print-addresses"])
            .spawn();
        let feed = format!("ws://{}", exchange.address("feed", START).await);
        let mut pipeline = ledgerflux()
            .args(["up", "--feed", &feed, "--nats", &nats.url(), "--print-addresses", "--data-dir"])
            .arg(data.path())
            .args(["--listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"])
            .spawn();
        ready(&pipeline.address("ops", START).await).await;
        Self { nats, _data: data, _exchange: exchange, pipeline }
    }

    /// A gateway that serves on `listen`.
    pub async fn gateway(&mut self, listen: &str) -> Process {
        let query = format!("http://{}", self.pipeline.address("grpc", START).await);
        let mut gateway = ledgerflux()
            .args(["gateway", "--nats", &self.nats.url(), "--query", &query, "--listen", listen])
            .args(["--ops-listen", "127.0.0.1:0", "--print-addresses"])
            .spawn();
        ready(&gateway.address("ops", START).await).await;
        gateway
    }
}
