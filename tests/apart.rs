//! A pipeline on a broker, an exchange that leaves trades out now and then, and a gateway that is a process of its own: it can be
//! killed while the market goes on.
#![allow(clippy::unwrap_used, clippy::expect_used)]
#![allow(dead_code, unreachable_pub, reason = "each test program includes this file and uses its part")]

use proto::v1::{ListGapsRequest, market_data_service_client::MarketDataServiceClient};
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

    /// The missing trades that are known, fetched afterwards or not: product, first and last number.
    pub async fn gaps(&mut self) -> Vec<(String, u64, u64)> {
        let query = format!("http://{}", self.pipeline.address("grpc", START).await);
        let mut query = MarketDataServiceClient::connect(query).await.unwrap();
        let request = ListGapsRequest { page_size: 1_000, ..ListGapsRequest::default() };
        let gaps = query.list_gaps(request).await.unwrap().into_inner().gaps;
        gaps.into_iter().map(|gap| (gap.product, gap.first_trade_id, gap.last_trade_id)).collect()
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
