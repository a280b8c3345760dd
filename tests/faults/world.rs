//! A whole system: an exchange, a broker, a database, one process per role, a proxy between any two, and clients.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use testkit::{NatsCluster, NatsServer, Postgres, Process, Proxy, Scratch};

use crate::{
    check::{self, Line, Rules, Sums},
    evidence::{Evidence, Reject, Seen},
    live::{CLIENTS, Life},
    resuming::resuming,
    roles::{Links, Role, Surroundings},
    subscribers::{self, Accepted, Watched},
    support::{self, SOON, START, ledgerflux},
    truth::Truth,
};

/// How a world is set up.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) seed: u64,
    /// Ticks a second, over all products.
    pub(crate) rate: u32,
    pub(crate) products: u16,
    pub(crate) shards: u16,
    /// How many ingestors follow the exchange side by side.
    pub(crate) ingestors: u16,
    /// How often a fault is repeated.
    pub(crate) count: u32,
    /// How long the soak takes.
    pub(crate) soak: Duration,
    /// How long the load goes on before the first fault and after the last one.
    pub(crate) calm: Duration,
    /// More configuration of every role.
    pub(crate) environment: Vec<(String, String)>,
    /// More arguments of the exchange.
    pub(crate) exchange: Vec<String>,
    /// How many nodes the broker is: one, or three that keep a copy of everything each.
    pub(crate) nats_nodes: u16,
    /// Where a broker of one node keeps its data, and the database its own, instead of a temporary directory.
    pub(crate) nats_store: Option<PathBuf>,
    pub(crate) postgres_data: Option<PathBuf>,
}

/// Everything that runs.
pub(crate) struct World {
    pub(crate) setup: Setup,
    pub(crate) rng: fastrand::Rng,
    pub(crate) nats: NatsCluster,
    pub(crate) postgres: Postgres,
    pub(crate) database: String,
    pub(crate) surroundings: Surroundings,
    pub(crate) processes: BTreeMap<Role, Process>,
    pub(crate) life: Life,
    websocket: Watched<Seen>,
    grpc: Watched<Seen>,
    resuming: Watched<Seen>,
    accepted: Watched<Accepted>,
    started: Instant,
    scratch: Scratch,
    truths: Vec<PathBuf>,
}

/// What a world had to show at its end.
pub(crate) struct Verdict {
    pub(crate) lines: Vec<Line>,
    pub(crate) sums: Sums,
    pub(crate) events: BTreeMap<String, u64>,
}

impl World {
    /// Starts everything, and returns when ticks come out at every exit.
    pub(crate) async fn start(setup: Setup) -> World {
        let nats = match setup.nats_nodes {
            1 => NatsServer::start_in(setup.nats_store.as_deref(), "").await.into(),
            _ => NatsCluster::start().await,
        };
        let postgres = match &setup.postgres_data {
            Some(home) => Postgres::start_in(home, &[]).await,
            None => Postgres::start().await,
        };
        let database = postgres.create_database().await;
        let mut migrate = ledgerflux().args(["migrate", "--database", &database]).spawn();
        assert!(migrate.wait(START).await.success(), "{}", migrate.stderr());
        let products = products(setup.products);
        let surroundings = surroundings(&setup, &nats, &postgres, &database, &products).await;
        let clients = surroundings.links.get("clients").address();
        let mut world = World {
            rng: fastrand::Rng::with_seed(setup.seed),
            websocket: subscribers::websocket(clients.clone(), products.clone()),
            grpc: subscribers::grpc(clients.clone()),
            resuming: resuming(clients, products.clone()),
            accepted: subscribers::witness(&nats.urls()).await,
            life: Life::new(&database, products),
            started: Instant::now(),
            scratch: Scratch::new(),
            truths: Vec::new(),
            processes: BTreeMap::new(),
            nats,
            postgres,
            database,
            surroundings,
            setup,
        };
        world.start_role(Role::Simulator, &[]).await;
        for role in world.roles() {
            world.start_role(role, &[]).await;
        }
        world.is_live("the start").await;
        world
    }

    /// Every role but the exchange, in an order in which they can be started.
    pub(crate) fn roles(&self) -> Vec<Role> {
        roles(&self.setup).collect()
    }

    /// Starts a role. Whoever had it before must have ended.
    pub(crate) async fn start_role(&mut self, role: Role, environment: &[(&str, &str)]) {
        let process = if role == Role::Simulator {
            self.start_exchange().await
        } else {
            let own: Vec<_> =
                environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            self.surroundings.start(role, &own).await
        };
        self.processes.insert(role, process);
    }

    async fn start_exchange(&mut self) -> Process {
        let truth = self.scratch.join(&format!("truth-{}.jsonl", self.truths.len()));
        let mut command = ledgerflux().arg("simulator").args(exchange_arguments(&self.setup));
        command = command.args(["--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"]);
        let mut process = command.args(["--print-addresses", "--truth"]).arg(&truth).spawn();
        let feed = process.address("feed", START).await;
        self.surroundings.links.get("exchange").retarget(feed.trim_start_matches("ws://"));
        self.truths.push(truth);
        process
    }

    pub(crate) fn process(&mut self, role: Role) -> &mut Process {
        self.processes.get_mut(&role).unwrap_or_else(|| panic!("{} does not run", role.name()))
    }

    pub(crate) fn link(&self, name: &str) -> &Proxy {
        self.surroundings.links.get(name)
    }

    /// Measures how long it takes from now, the end of an outage, until ticks come out at every exit again.
    pub(crate) async fn recovers(&mut self, fault: &str) {
        let took = self.is_live(fault).await;
        self.life.recoveries.entry(fault.to_owned()).or_default().push(took);
    }

    /// Waits until ticks come out at every exit although a fault goes on that began now, for at most `limit`.
    pub(crate) async fn goes_on(&mut self, fault: &str, limit: Duration) {
        let took = self.is_live(fault).await;
        assert!(took <= limit, "{fault} holds up everything: not live within {limit:?}, but after {took:?}");
    }

    async fn is_live(&mut self, fault: &str) -> Duration {
        let since = Instant::now();
        let mut addresses = Vec::new();
        for (role, process) in &mut self.processes {
            addresses.push((role.name(), process.address("ops", START).await));
        }
        let query = self.surroundings.links.get("query").address();
        let clients = [&self.websocket, &self.grpc, &self.resuming];
        let (took, last) = self.life.await_live(fault, since, &addresses, &query, clients).await;
        let at = self.started.elapsed().as_secs_f64();
        println!("    {at:6.1} s  {fault}: live again after {:.2} s; last: {last}", took.as_secs_f64());
        took
    }

    /// Lets the load go on for a while.
    pub(crate) async fn load_for(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    /// A moment within `longest`, chosen by the seed.
    pub(crate) async fn random_moment(&mut self, longest: Duration) {
        let share = self.rng.f64();
        tokio::time::sleep(longest.mul_f64(share)).await;
    }

    /// Ends the load, waits until everything is through, and compares. Ends all processes.
    pub(crate) async fn judge(mut self, rules: Rules) -> Verdict {
        self.load_for(self.setup.calm).await;
        // What an exchange that was killed has not sent is gone with it.
        let fetched = if rules.exchange_killed { None } else { Some(self.fetched().await) };
        let mut exchange = self.processes.remove(&Role::Simulator).expect("the exchange runs");
        assert!(exchange.terminate(SOON).await.success(), "{}", exchange.stderr());
        let bus = self.settle().await;
        let mut evidence = Evidence { accepted: self.accepted.lock().clone(), ..Evidence::default() };
        read_rejects(&bus, &mut evidence).await;
        read_events(&bus, &mut evidence).await;
        evidence.read_database(&self.postgres, &self.database).await;
        let seen = [&self.websocket, &self.grpc, &self.resuming].map(|client| client.lock().clone());
        evidence.subscribers = CLIENTS.into_iter().zip(seen).collect();
        let mut truth = Truth::default();
        self.truths.iter().for_each(|file| truth.add_file(file));
        let (mut lines, sums) = check::check(&truth, &evidence, rules);
        lines.extend(fetched);
        lines.push(self.life.verdict(rules.live_within));
        lines.push(self.drain().await);
        Verdict { lines, sums, events: evidence.events }
    }

    /// Waits until everything that is missing by now is fetched, while the exchange still has it.
    async fn fetched(&self) -> Line {
        let until = subscribers::now();
        let sql = format!("SELECT count(*) FROM gaps WHERE state <> 'repaired' AND detected_at <= {until}");
        let started = Instant::now();
        loop {
            let left: u64 = self.postgres.psql(&self.database, &sql).await.parse().expect("a count");
            if left == 0 || started.elapsed() > FETCHED_WITHIN {
                let took = started.elapsed().as_secs_f64();
                let told = format!("{left} gaps have missing trades {took:.1} s after the last outage");
                return Line { check: "fetched", ok: left == 0, told };
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Waits until nothing is on its way any more.
    async fn settle(&mut self) -> bus::Bus {
        let config = bus::Config {
            nats: Some(bus::ServerUrl::new(&self.nats.nodes()[0].url()).expect("the address of the broker")),
            shards: domain::ShardCount::new(u64::from(self.setup.shards)).expect("a count of shards"),
            ..bus::Config::default()
        };
        if self.setup.nats_nodes > 1 {
            // A node that was away may not answer yet while the others do.
            self.nats.whole().await;
        }
        let bus = bus::Bus::connect(&config).await.expect("a connection to the broker");
        let mut ingestors = Vec::new();
        for number in 0..self.setup.ingestors {
            ingestors.push(self.process(Role::Ingestor(number)).address("ops", START).await);
        }
        testkit::eventually(SOON * 2, || async {
            let mut waiting = 0;
            for ingestor in &ingestors {
                let (_, metrics) = crate::roles::get(ingestor, "/metrics").await?;
                waiting += support::counted(&metrics, "ledgerflux_bus_raw_buffered_ticks");
            }
            for shard in bus.shards().shards() {
                for work in [bus::Work::Raw, bus::Work::Ticks, bus::Work::Gaps] {
                    let lag = bus.lag(work, shard).await.map_err(|error| format!("{error:?}"))?;
                    waiting += lag.pending_messages + lag.unacknowledged;
                }
            }
            if waiting == 0 { Ok(()) } else { Err(format!("{waiting} messages or ticks are on their way")) }
        })
        .await;
        // What was acknowledged last is counted by whoever follows within a moment.
        self.life.await_quiet([&self.websocket, &self.grpc, &self.resuming]).await;
        bus
    }

    /// Ends every process in good order.
    async fn drain(&mut self) -> Line {
        let mut bad = Vec::new();
        for (role, process) in &mut self.processes {
            process.signal(testkit::Signal::TERM);
            let status = process.wait(SOON).await;
            if !status.success() {
                bad.push(format!("{} ended with {status}", role.name()));
            }
        }
        Line { check: "drain", ok: bad.is_empty(), told: format!("{} roles ended badly {bad:?}", bad.len()) }
    }

    /// What each role and each node of the broker has logged, for whoever looks for a reason.
    pub(crate) fn logs(&self) -> Vec<(String, String)> {
        let roles = self.processes.iter().map(|(role, process)| (role.name(), process.stderr()));
        let nodes = self.nats.nodes().iter().enumerate();
        roles.chain(nodes.map(|(index, node)| (format!("nats-{index}"), node.log()))).collect()
    }
}

/// What the exchange is told, besides where to listen and what to write.
pub(crate) fn exchange_arguments(setup: &Setup) -> Vec<String> {
    let (rate, seed) = (setup.rate.to_string(), setup.seed.to_string());
    let products = products(setup.products).join(",");
    let usual = ["--generate", "--rate", &rate, "--seed", &seed, "--products", &products].map(str::to_owned);
    usual.into_iter().chain(setup.exchange.iter().cloned()).collect()
}

fn roles(setup: &Setup) -> impl Iterator<Item = Role> {
    let shards = || 0..setup.shards;
    let workers = shards().map(Role::Snapshotter).chain(shards().map(Role::Normalizer));
    workers.chain([Role::Query, Role::Gateway]).chain((0..setup.ingestors).map(Role::Ingestor))
}

/// `P0-USD`, `P1-USD` and so on.
pub(crate) fn products(count: u16) -> Vec<String> {
    (0..count).map(|number| format!("P{number}-USD")).collect()
}

async fn surroundings(
    setup: &Setup,
    nats: &NatsCluster,
    postgres: &Postgres,
    database: &str,
    products: &[String],
) -> Surroundings {
    let mut links = Links::default();
    let postgres = format!("127.0.0.1:{}", postgres.port());
    // Each role begins at another node.
    let mut nodes = nats.nodes().iter().map(|node| format!("127.0.0.1:{}", node.port())).cycle();
    // Nobody listens there yet; the target is set when the server has told its port.
    for name in ["exchange", "clients", "query"] {
        links.add(name.into(), "127.0.0.1:9").await;
    }
    for role in roles(setup) {
        links.add(format!("nats-{}", role.name()), &nodes.next().expect("a broker has a node")).await;
        if matches!(role, Role::Snapshotter(_) | Role::Query) {
            links.add(format!("database-{}", role.name()), &postgres).await;
        }
    }
    Surroundings {
        links,
        shards: setup.shards,
        products: products.to_vec(),
        database_name: database.rsplit('/').next().unwrap_or_default().to_owned(),
        environment: setup.environment.clone(),
    }
}

/// How long it may take to fetch what is missing, a bound for the longest outages.
const FETCHED_WITHIN: Duration = Duration::from_secs(90);
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// How long a stream may be silent before it counts as read to its end.
const READ_PATIENCE: Duration = Duration::from_secs(5);

async fn read_rejects(bus: &bus::Bus, evidence: &mut Evidence) {
    let mut follower = bus.follow_rejects(bus::FollowFrom::AfterSequence(0));
    let mut left = follower.attach().await.expect("the stream of rejects");
    while left > 0 {
        let next = tokio::time::timeout(READ_PATIENCE, follower.next()).await.expect("a reject");
        let next = next.expect("a reject that can be read");
        let tick = next.content.tick.as_ref();
        evidence.rejects.push(Reject {
            product: next.content.instrument.map(|known| known.product.to_string()).unwrap_or_default(),
            trade_id: tick.and_then(|tick| tick.last_trade.as_ref()?.trade_id),
            reason: next.content.reason.as_str().to_owned(),
        });
        left = next.pending;
    }
}

async fn read_events(bus: &bus::Bus, evidence: &mut Evidence) {
    let mut follower = bus.follow_events(bus::FollowFrom::AfterSequence(0));
    let mut left = follower.attach().await.expect("the stream of events");
    while left > 0 {
        let next = tokio::time::timeout(READ_PATIENCE, follower.next()).await.expect("an event");
        let next = next.expect("an event that can be read");
        *evidence.events.entry(next.content.kind.name().to_owned()).or_default() += 1;
        left = next.pending;
    }
}
