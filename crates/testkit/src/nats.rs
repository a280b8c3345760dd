//! A real nats-server with JetStream.

mod cluster;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::Signal;

use crate::child::{EndWith, Guarded, bound_to_us, tail};
use crate::{Scratch, or_panic, tool};

pub use cluster::NatsCluster;

const START_DEADLINE: Duration = Duration::from_secs(20);
const STOP_DEADLINE: Duration = Duration::from_secs(10);

/// A nats-server of its own: random loopback port, JetStream in a temporary directory. Stops on drop.
#[derive(Debug)]
pub struct NatsServer {
    scratch: Scratch,
    store: PathBuf,
    extra_config: String,
    port: u16,
    membership: Option<Membership>,
    child: Option<Guarded>,
}

/// What makes a server one node of several.
#[derive(Debug)]
struct Membership {
    name: String,
    /// Where it dials the nodes, itself included as in every list of this kind: `127.0.0.1:<port>`.
    routes: Vec<String>,
    /// Where the others reach it; 0 before its first start.
    port: u16,
    /// Where it tells how it is doing; 0 before its first start.
    monitor: u16,
}

impl NatsServer {
    /// Starts a server with JetStream and returns when it takes connections (some 50 ms).
    ///
    /// # Panics
    /// When it does not start; the message has the end of its log.
    pub async fn start() -> NatsServer {
        NatsServer::start_with("").await
    }

    /// The same with more lines of nats-server configuration, for limits, users or `jetstream` options, such as
    /// `max_payload: 2MB`. The keys `listen`, `ports_file_dir` and `jetstream.store_dir` are taken.
    ///
    /// # Panics
    /// When it does not start; the message has the end of its log.
    pub async fn start_with(extra_config: &str) -> NatsServer {
        NatsServer::start_in(None, extra_config).await
    }

    /// The same with the data in a directory of the caller's, such as a small file system.
    ///
    /// # Panics
    /// When it does not start; the message has the end of its log.
    pub async fn start_in(store: Option<&Path>, extra_config: &str) -> NatsServer {
        let mut server = NatsServer::new(store, extra_config, None);
        or_panic(server.launch().await);
        server
    }

    fn new(store: Option<&Path>, extra_config: &str, membership: Option<Membership>) -> NatsServer {
        let scratch = Scratch::new();
        NatsServer {
            store: store.map_or_else(|| scratch.join("store"), Path::to_path_buf),
            scratch,
            extra_config: extra_config.to_owned(),
            port: 0,
            membership,
            child: None,
        }
    }

    /// `nats://127.0.0.1:<port>`; stays the same over restarts.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends it in good order (SIGINT) and keeps its data. No effect when it does not run.
    pub async fn stop(&mut self) {
        or_panic(self.end(Signal::INT).await);
    }

    /// Kills it (SIGKILL) and keeps what it had written. No effect when it does not run.
    pub async fn kill(&mut self) {
        or_panic(self.end(Signal::KILL).await);
    }

    /// Starts it again on the same port and data, after stopping it in good order if it runs.
    pub async fn restart(&mut self) {
        or_panic(self.end(Signal::INT).await);
        or_panic(self.launch().await);
    }

    /// Freezes it (SIGSTOP): connections stay open and nothing answers. No effect when it does not run.
    pub async fn pause(&mut self) {
        if let Some(child) = &mut self.child {
            or_panic(child.pause().await);
        }
    }

    /// Lets it go on after [`pause`](Self::pause). No effect when it does not run.
    pub fn resume(&mut self) {
        if let Some(child) = &mut self.child {
            or_panic(child.signal(Signal::CONT));
        }
    }

    /// Forgets all streams and consumers: ends it, removes its data, starts it again on the same port.
    pub async fn wipe(&mut self) {
        or_panic(self.end(Signal::KILL).await);
        or_panic(std::fs::remove_dir_all(&self.store).context("cannot remove the data of nats-server"));
        or_panic(self.launch().await);
    }

    /// What it has logged, over all its starts.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    fn log_file(&self) -> PathBuf {
        self.scratch.join("log")
    }

    async fn end(&mut self, signal: Signal) -> anyhow::Result<()> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        child.signal(signal)?;
        child.signal(Signal::CONT)?;
        if child.wait(STOP_DEADLINE).await?.is_none() {
            bail!("nats-server did not end within {STOP_DEADLINE:?}:\n{}", tail(&self.log_file()));
        }
        Ok(())
    }

    async fn launch(&mut self) -> anyhow::Result<()> {
        let directory = self.scratch.path().display();
        // Port -1 takes a free one; the server writes which one into a file named by its pid.
        let config = format!(
            "listen: \"127.0.0.1:{}\"\nports_file_dir: \"{directory}\"\n\
             jetstream {{ store_dir: \"{}\" }}\n{}\n{}\n",
            free_or(self.port),
            self.store.display(),
            self.membership.as_ref().map(Membership::config).unwrap_or_default(),
            self.extra_config
        );
        let config_file = self.scratch.join("nats.conf");
        std::fs::write(&config_file, config).context("cannot write the configuration of nats-server")?;
        let log = File::options().create(true).append(true).open(self.log_file());
        let log = log.context("cannot make the log of nats-server")?;
        let mut command = bound_to_us(&tool("nats-server"));
        command
            .arg("--config")
            .arg(config_file)
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("cannot share the log of nats-server")?)
            .stderr(log);
        let mut child = Guarded::spawn(command, EndWith::Signal(Signal::INT, STOP_DEADLINE))?;
        let ports_file = self.scratch.join(&format!("nats-server_{}.ports", child.id()));
        let started = Instant::now();
        let ports = loop {
            if let Some(ports) = std::fs::read(&ports_file).ok().and_then(|content| Ports::read(&content)) {
                break ports;
            }
            let ended = child.exit_status()?;
            if ended.is_some() || started.elapsed() > START_DEADLINE {
                bail!("nats-server did not start (exit: {ended:?}):\n{}", tail(&self.log_file()));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        self.port = ports.of("nats")?;
        if let Some(membership) = &mut self.membership {
            membership.port = ports.of("cluster")?;
            membership.monitor = ports.of("monitoring")?;
        }
        self.child = Some(child);
        Ok(())
    }
}

impl Membership {
    fn config(&self) -> String {
        let routes: Vec<String> =
            self.routes.iter().map(|route| format!("\"nats-route://{route}\"")).collect();
        // Nodes tell each other where the others are, which would be a way round the proxies: what each tells of itself leads
        // nowhere, so that only the routes named here are ever made. What clients are told is another list.
        format!(
            "server_name: \"{}\"\nhttp: \"127.0.0.1:{}\"\n\
             cluster {{ name: \"ledgerflux\", listen: \"127.0.0.1:{}\", advertise: \"127.0.0.1:9\", routes: [{}] }}",
            self.name,
            free_or(self.monitor),
            free_or(self.port),
            routes.join(", "),
        )
    }
}

/// The port that was taken before, or any.
fn free_or(port: u16) -> i32 {
    if port == 0 { -1 } else { i32::from(port) }
}

/// `{"nats":["nats://127.0.0.1:46773"],"cluster":["nats://127.0.0.1:40231"]}`
struct Ports(serde_json::Value);

impl Ports {
    /// Nothing while the file is being written.
    fn read(content: &[u8]) -> Option<Ports> {
        serde_json::from_slice(content).ok().map(Ports)
    }

    fn of(&self, service: &str) -> anyhow::Result<u16> {
        let port = self.0[service][0].as_str().and_then(|url| url.rsplit(':').next()?.parse().ok());
        port.with_context(|| format!("nats-server tells no port for {service}: {}", self.0))
    }
}
