//! The process of the gateway, with the bus and the market that feeds it.

use std::time::Duration;

use bus::Bus;
use gateway::Config;
use runtime::{Readiness, RoleContext, Shutdown, config::Sources};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpListener,
    task::JoinSet,
};

use crate::market::Market;

/// Says its address, then publishes as it is told: `publish TICKS_PER_SECOND MILLISECONDS`, answered with the count.
pub(crate) fn run() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(serve());
}

async fn serve() {
    let bus = Bus::embedded(&bus::Config::default());
    bus.ensure_streams().await.unwrap();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (readiness, shutdown) = (Readiness::new(), Shutdown::new());
    let ctx = RoleContext::new(readiness.clone(), shutdown.clone());
    let mut tasks = JoinSet::new();
    tasks.spawn(gateway::run(config(), listener, bus.clone(), ctx));
    readiness.ready().await;
    let mut market = Market::on(&bus).await;
    println!("{address}");
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        let words: Vec<&str> = line.split(' ').collect();
        let [_, rate, milliseconds] = words[..] else { panic!("publish RATE MILLISECONDS, not {line}") };
        let length = Duration::from_millis(milliseconds.parse().unwrap());
        println!("{}", market.run(rate.parse().unwrap(), length).await);
    }
}

/// As it comes, with room for as many clients as are measured.
fn config() -> Config {
    let mut sources = Sources::load(None, [], Vec::new()).unwrap();
    let config = sources.read("gateway", Config::read);
    sources.finish().unwrap();
    Config { connections_max: 20_000, websockets_max: 20_000, ..config }
}
