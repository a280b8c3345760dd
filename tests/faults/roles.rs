//! The roles as processes, each behind proxies of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use testkit::{Process, Proxy};

use crate::support::{self, ledgerflux};

/// A role, and which of its processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    Simulator,
    Ingestor(u16),
    Normalizer(u16),
    Snapshotter(u16),
    Query,
    Gateway,
}

impl Role {
    pub(crate) fn command(self) -> &'static str {
        match self {
            Self::Simulator => "simulator",
            Self::Ingestor(_) => "ingestor",
            Self::Normalizer(_) => "normalizer",
            Self::Snapshotter(_) => "snapshotter",
            Self::Query => "query",
            Self::Gateway => "gateway",
        }
    }

    /// Its name, e.g. `normalizer-0`.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Ingestor(number) | Self::Normalizer(number) | Self::Snapshotter(number) => {
                format!("{}-{number}", self.command())
            }
            other => other.command().to_owned(),
        }
    }
}

/// The proxies, one for each pair that talks: `exchange`, `clients`, `query` (from the gateway), and `nats-<role>` and
/// `database-<role>` for each process.
#[derive(Default)]
pub(crate) struct Links(BTreeMap<String, Proxy>);

impl Links {
    pub(crate) async fn add(&mut self, name: String, target: &str) {
        self.0.insert(name, Proxy::start(target).await);
    }

    pub(crate) fn get(&self, name: &str) -> &Proxy {
        self.0.get(name).unwrap_or_else(|| panic!("there is no link {name}"))
    }

    /// Every link to a server, e.g. all that start with `database-`.
    pub(crate) fn all(&self, prefix: &str) -> impl Iterator<Item = &Proxy> {
        self.0.iter().filter(move |(name, _)| name.starts_with(prefix)).map(|(_, proxy)| proxy)
    }
}

/// What all processes of a world have in common.
pub(crate) struct Surroundings {
    pub(crate) links: Links,
    pub(crate) shards: u16,
    pub(crate) products: Vec<String>,
    pub(crate) database_name: String,
    /// More environment for every role but the exchange.
    pub(crate) environment: Vec<(String, String)>,
}

impl Surroundings {
    /// Starts a process of `role`, with more environment of its own, and returns it when it has told its addresses.
    pub(crate) async fn start(&self, role: Role, environment: &[(String, String)]) -> Process {
        let mut command = ledgerflux().arg(role.command());
        command = command.args(["--ops-listen", "127.0.0.1:0", "--print-addresses"]);
        for (name, value) in self.environment.iter().chain(environment) {
            command = command.env(name, value);
        }
        let nats = self.links.get(&format!("nats-{}", role.name())).address();
        command = command.args(["--nats", &format!("nats://{nats}"), "--shards", &self.shards.to_string()]);
        if matches!(role, Role::Snapshotter(_) | Role::Query) {
            let database = self.links.get(&format!("database-{}", role.name())).address();
            let name = &self.database_name;
            command = command.args(["--database", &format!("postgres://postgres@{database}/{name}")]);
        }
        command = match role {
            Role::Ingestor(_) => {
                let feed = format!("ws://{}", self.links.get("exchange").address());
                command.args(["--feed", &feed, "--products", &self.products.join(",")])
            }
            Role::Normalizer(shard) | Role::Snapshotter(shard) => {
                command.args(["--shard-id", &shard.to_string()])
            }
            Role::Query => command.args(["--listen", "127.0.0.1:0"]),
            Role::Gateway => {
                let query = format!("http://{}", self.links.get("query").address());
                command.args(["--listen", "127.0.0.1:0", "--query", &query])
            }
            Role::Simulator => unreachable!("the exchange is started by its own function"),
        };
        let mut process = command.spawn();
        match role {
            Role::Query => {
                let address = process.address("grpc", support::START).await;
                self.links.get("query").retarget(&address);
            }
            Role::Gateway => {
                let address = process.address("gateway", support::START).await;
                self.links.get("clients").retarget(&address);
            }
            _ => {}
        }
        process
    }
}

/// The status and body of a page, or why there is none.
pub(crate) async fn get(address: &str, path: &str) -> Result<(u16, String), String> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let exchange = async {
        let mut stream = tokio::net::TcpStream::connect(address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut response = Vec::new();
        stream.read_to_end(&mut response).await?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&response).into_owned())
    };
    let response = tokio::time::timeout(Duration::from_secs(2), exchange).await;
    let response = response.map_err(|_| format!("{address} does not answer"))?;
    let response = response.map_err(|error| format!("{address}: {error}"))?;
    let status = response.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Ok((status, response.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()))
}
