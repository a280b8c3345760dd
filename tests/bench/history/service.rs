//! The query service as a process of its own.

use std::time::Duration;

use bus::{Bus, ServerUrl};
use domain::Snapshot;
use proto::v1::market_data_service_client::MarketDataServiceClient;
use testkit::{NatsServer, Process, eventually};
use tonic::transport::{Channel, Endpoint};

use crate::load::{self, History};

const START: Duration = Duration::from_secs(30);

pub(crate) type Client = MarketDataServiceClient<Channel>;

pub(crate) struct Service {
    process: Process,
    address: String,
}

impl Service {
    /// With the newest state of every product on the bus, as a snapshotter leaves it.
    pub(crate) async fn start(nats: &NatsServer, history: &History) -> Self {
        let config =
            bus::Config { nats: Some(ServerUrl::new(&nats.url()).unwrap()), ..bus::Config::default() };
        let bus = Bus::connect(&config).await.unwrap();
        bus.ensure_streams().await.unwrap();
        for product in 0..load::PRODUCTS {
            let newest = load::tick(history.ticks - load::PRODUCTS + product);
            bus.publish_snapshot(&Snapshot::first(&newest).unwrap()).await.unwrap();
        }
        let mut process = Process::builder(env!("CARGO_BIN_EXE_ledgerflux"))
            .args(["query", "--nats", &nats.url(), "--database", &history.url])
            .args(["--grpc-listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0", "--print-addresses"])
            .spawn();
        let address = format!("http://{}", process.address("grpc", START).await);
        let service = Self { process, address };
        eventually(START, || async {
            let mut client = service.client().await;
            let product = load::instrument(load::PRODUCTS - 1).product.to_string();
            let request = proto::v1::GetLatestPriceRequest { product, ..Default::default() };
            client.get_latest_price(request).await.map_err(|status| status.message().to_owned())
        })
        .await;
        service
    }

    /// A client with a connection of its own.
    pub(crate) async fn client(&self) -> Client {
        let channel = Endpoint::from_shared(self.address.clone()).unwrap().connect().await.unwrap();
        MarketDataServiceClient::new(channel).max_decoding_message_size(64 * 1024 * 1024)
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Resident memory in KiB: now, and the most since the last [`Service::forget_peak`].
    pub(crate) fn memory_kib(&self) -> (u64, u64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        (field("VmRSS:"), field("VmHWM:"))
    }

    pub(crate) fn forget_peak(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.process.id()), "5").unwrap();
    }

    pub(crate) async fn stop(mut self) {
        self.process.terminate(START).await;
    }
}
