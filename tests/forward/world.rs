//! A pipeline that fills a database, instances of query on addresses of their own, and a gateway that finds them by name.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, TcpListener},
    time::Duration,
};

use proto::v1::market_data_service_client::MarketDataServiceClient;
use testkit::{NatsServer, Postgres, Process, Proxy, Scratch, eventually};
use tonic::transport::{Channel, Endpoint};

use crate::{
    names::{NAME, NameServer},
    support::{self, SOON, START, counted, http_get, ledgerflux},
};

pub(crate) type Market = MarketDataServiceClient<Channel>;
pub(crate) const PRODUCT: &str = "BTC-USD";
/// How soon an instance that serves must get calls: names are looked up every 3 s.
pub(crate) const FOUND: Duration = Duration::from_secs(10);
/// What a client that reads nothing takes.
const WINDOW_BYTES: u32 = 64 * 1024;

pub(crate) struct World {
    pub(crate) names: NameServer,
    pub(crate) gateway: Process,
    pub(crate) address: String,
    pub(crate) database: String,
    pub(crate) postgres: Postgres,
    /// Between the third instance and the database.
    pub(crate) to_database: Proxy,
    nats: NatsServer,
    port: u16,
    instances: BTreeMap<Ipv4Addr, Process>,
    /// Where the instances and the gateway serve their metrics.
    ops: BTreeMap<Ipv4Addr, String>,
    gateway_ops: String,
    /// What every instance is told beside.
    environment: Vec<(String, String)>,
    _pipeline: Process,
    _data: Scratch,
}

/// The instance with this number: 1, 2, 3.
pub(crate) fn instance(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, 1 + number)
}

/// A port that is free on the addresses of three instances: the name says which addresses, not which port.
fn port() -> u16 {
    (0..100)
        .find_map(|_| {
            let first = TcpListener::bind((instance(1), 0)).ok()?;
            let port = first.local_addr().ok()?.port();
            let others = [2, 3].map(|number| TcpListener::bind((instance(number), port)));
            others.iter().all(Result::is_ok).then_some(port)
        })
        .expect("a port that is free on three addresses")
}

impl World {
    /// A gateway with this configuration beside its own. No instance runs, and the name has no address.
    pub(crate) async fn start(gateway: &[(&str, &str)], instances: &[(&str, &str)]) -> Self {
        let (nats, postgres, data) = (NatsServer::start().await, Postgres::start().await, Scratch::new());
        let database = postgres.create_database().await;
        let everywhere =
            ["--listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"];
        let mut pipeline = ledgerflux()
            .args(["up", "--feed", "simulated", "--products", PRODUCT, "--nats", &nats.url()])
            .args(["--database", &database, "--print-addresses"])
            .args(everywhere)
            .arg("--data-dir")
            .arg(data.path())
            .spawn();
        support::ready(&pipeline.address("ops", START).await).await;
        let to_database = Proxy::start(&format!("127.0.0.1:{}", postgres.port())).await;
        let (names, port) = (NameServer::start().await, port());
        let builder = ledgerflux()
            .args(["gateway", "--nats", &nats.url(), "--query", &format!("http://{NAME}:{port}")])
            .args(["--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0", "--print-addresses"]);
        let builder = gateway.iter().fold(builder, |builder, (key, value)| builder.env(key, value));
        let mut gateway = names.resolves_for(builder, data.path()).spawn();
        let address = gateway.address("gateway", START).await;
        let gateway_ops = gateway.address("ops", START).await;
        support::ready(&gateway_ops).await;
        let environment =
            instances.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let instances = BTreeMap::new();
        Self {
            names,
            gateway,
            address,
            database,
            postgres,
            to_database,
            nats,
            port,
            instances,
            ops: BTreeMap::new(),
            gateway_ops,
            environment,
            _pipeline: pipeline,
            _data: data,
        }
    }

    /// Starts an instance. It is not ready yet.
    pub(crate) fn spawn(&mut self, number: u8) {
        let address = instance(number);
        let (direct, proxied) = (self.postgres.port().to_string(), self.to_database.port().to_string());
        let database = match number {
            3 => self.database.replace(&direct, &proxied),
            _ => self.database.clone(),
        };
        let builder = ledgerflux()
            .args(["query", "--nats", &self.nats.url(), "--database", &database])
            .args(["--grpc-listen", &format!("{address}:{}", self.port)])
            .args(["--ops-listen", "127.0.0.1:0", "--print-addresses"]);
        let builder = self.environment.iter().fold(builder, |builder, (key, value)| builder.env(key, value));
        self.instances.insert(address, builder.spawn());
    }

    pub(crate) fn process(&mut self, number: u8) -> &mut Process {
        self.instances.get_mut(&instance(number)).unwrap()
    }

    /// Waits until an instance can do its job.
    pub(crate) async fn ready(&mut self, number: u8) {
        let ops = self.process(number).address("ops", START).await;
        support::ready(&ops).await;
        self.ops.insert(instance(number), ops);
    }

    /// How many calls an instance has brought to an end, by its own count.
    pub(crate) async fn calls(&self, number: u8) -> u64 {
        let (_, metrics) = http_get(&self.ops[&instance(number)], "/metrics").await;
        let data: Vec<_> = metrics.lines().filter(|line| !line.contains("method=\"Health\"")).collect();
        counted(&data.join("\n"), "ledgerflux_query_calls_total")
    }

    /// Waits until an instance has had so many calls more.
    pub(crate) async fn is_asked(&self, number: u8, times: u64) {
        let before = self.calls(number).await;
        eventually(SOON, || async {
            let calls = self.calls(number).await - before;
            if calls >= times {
                Ok(())
            } else {
                Err(format!("instance {number} got {calls} of {times} calls"))
            }
        })
        .await;
    }

    /// The sum of a counter or gauge of the gateway over the series that contain `label`.
    pub(crate) async fn gateway_counts(&self, name: &str, label: &str) -> u64 {
        let (_, metrics) = http_get(&self.gateway_ops, "/metrics").await;
        let lines: Vec<_> = metrics.lines().filter(|line| line.contains(label)).collect();
        counted(&lines.join("\n"), name)
    }

    /// Waits until the gateway leaves out so many instances.
    pub(crate) async fn leaves_out(&self, count: u64) {
        eventually(SOON, || async {
            let down = self.gateway_counts("ledgerflux_gateway_query_instances", "state=\"down\"").await;
            if down == count { Ok(()) } else { Err(format!("{down} are left out")) }
        })
        .await;
    }

    /// Waits until the name has been looked up so often since.
    pub(crate) async fn is_looked_up(&self, times: u64) {
        let before = self.names.asked();
        // Two questions each: for addresses of four bytes and of sixteen.
        eventually(SOON, || async { self.names.asked() >= before + 2 * times }).await;
    }

    /// A client of the gateway that is not sent much ahead.
    pub(crate) async fn market(&self) -> Market {
        market(&self.address).await
    }

    /// A client of an instance itself.
    pub(crate) async fn market_of(&self, number: u8) -> Market {
        market(&format!("{}:{}", instance(number), self.port)).await
    }
}

async fn market(address: &str) -> Market {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let endpoint = endpoint.initial_stream_window_size(WINDOW_BYTES);
    MarketDataServiceClient::new(endpoint.connect().await.unwrap())
}
