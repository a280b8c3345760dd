use super::*;
use domain::UnixNanos;

mod faults;
mod liveness;
mod subscribing;
mod trades;

const CONFIRMED: &str = r#"{"type":"subscriptions","channels":[
    {"name":"heartbeat","product_ids":["ETH-USD","BTC-USD"],"account_ids":null},
    {"name":"ticker","product_ids":["BTC-USD","ETH-USD"]}]}"#;

/// A session, its clock, and what it has sent.
struct Bench {
    session: Session,
    now: Moment,
    opening: Vec<Action>,
    connections: u32,
}

impl Bench {
    fn with(change: impl FnOnce(&mut SessionConfig)) -> Self {
        let mut config = SessionConfig {
            products: ["BTC-USD", "ETH-USD"].map(|name| Product::new(name).unwrap()).to_vec(),
            confirm_timeout: Duration::from_secs(10),
            source: "ingestor/test".into(),
            ..SessionConfig::default()
        };
        change(&mut config);
        let wall = UnixNanos::parse_rfc3339("2026-01-01T00:00:00Z").unwrap();
        let now = Moment { wall, uptime: Duration::from_secs(1_000) };
        let mut bench = Self { session: Session::new(&config), now, opening: Vec::new(), connections: 0 };
        bench.reopen();
        bench
    }

    fn new() -> Self {
        Self::with(|_| {})
    }

    /// Both products are confirmed.
    fn live() -> Self {
        let mut bench = Self::new();
        bench.handle(CONFIRMED);
        assert!(bench.session.is_live());
        bench
    }

    /// Both products are confirmed, and heartbeats are known to come.
    fn beating() -> Self {
        let mut bench = Self::live();
        bench.beat("BTC-USD", 0);
        bench.beat("ETH-USD", 0);
        bench
    }

    fn reopen(&mut self) {
        self.connections += 1;
        let feed = FeedSession { id: format!("test-{}", self.connections), started: self.now.wall };
        self.opening.clear();
        self.session.reopen(feed, self.now, &mut self.opening);
    }

    fn handle(&mut self, frame: &str) -> Vec<Action> {
        let mut actions = Vec::new();
        self.session.handle(frame.as_bytes(), self.now, &mut actions);
        actions
    }

    fn beat(&mut self, product: &str, last_trade_id: u64) -> Vec<Action> {
        let time = self.now.wall;
        self.handle(&format!(
            r#"{{"type":"heartbeat","last_trade_id":{last_trade_id},"product_id":"{product}","sequence":1,"time":"{time}"}}"#
        ))
    }

    fn trade(&mut self, product: &str, trade_id: u64) -> Vec<Action> {
        self.handle(&ticker(product, trade_id, trade_id, "2019-04-01T00:00:04.540000Z"))
    }

    fn wait(&mut self, seconds: u64) -> Vec<Action> {
        self.now = self.now.after(Duration::from_secs(seconds));
        let mut actions = Vec::new();
        self.session.tick(self.now, &mut actions);
        actions
    }

    fn set_products(&mut self, names: &[&str]) -> Vec<Action> {
        let products: Vec<Product> = names.iter().map(|name| Product::new(name).unwrap()).collect();
        let mut actions = Vec::new();
        self.session.set_products(&products, self.now, &mut actions);
        actions
    }

    fn state(&self, product: &str) -> FeedState {
        self.session.product_states().find(|(name, _)| name.as_str() == product).unwrap().1
    }
}

fn ticker(product: &str, trade_id: u64, sequence: u64, time: &str) -> String {
    format!(
        r#"{{"type":"ticker","sequence":{sequence},"product_id":"{product}","price":"4095","best_bid":"4094.99","best_ask":"4095","side":"buy","time":"{time}","trade_id":{trade_id},"last_size":"2.0"}}"#
    )
}

/// A confirmation of both channels for these products.
fn confirmation(products: &[&str]) -> String {
    let products = products.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(",");
    format!(
        r#"{{"type":"subscriptions","channels":[{{"name":"ticker","product_ids":[{products}]}},{{"name":"heartbeat","product_ids":[{products}]}}]}}"#
    )
}

/// The requests among the actions, as kind and products.
fn requests(actions: &[Action]) -> Vec<String> {
    let sent = actions.iter().filter_map(|action| match action {
        Action::Send(text) => Some(Request::parse(text).unwrap()),
        _ => None,
    });
    sent.map(|request| format!("{:?} {}", request.kind, request.channels[0].products.join(" "))).collect()
}

/// The changes of state among the actions.
fn states(actions: &[Action]) -> Vec<(String, FeedState)> {
    let changes = actions.iter().filter_map(|action| match action {
        Action::State(change) => Some((change.instrument.product.to_string(), change.state)),
        _ => None,
    });
    changes.collect()
}
