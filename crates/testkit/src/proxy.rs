//! A TCP proxy that makes a network as bad as a test needs it.

mod connection;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::or_panic;

/// What happens to the bytes of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: they pass.
    #[default]
    Pass,
    /// Each piece is held back so long before it is passed on, and what follows waits behind it.
    Delay(Duration),
    /// They stay where they are, as if every packet were dropped: no end, no reset, new connections hang too. What was
    /// sent meanwhile arrives when they pass again.
    Blackhole,
    /// Open connections are reset, and new ones as soon as they are made.
    Reset,
    /// Each connection passes so many more bytes and is then closed, in the middle of whatever it is.
    Truncate(usize),
    /// So many bytes a second, 1 or more.
    Throttle(usize),
}

/// A direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Toward {
    /// What clients say.
    Server,
    /// What the server says.
    Client,
    /// Both.
    Both,
}

/// Everything that connections have to follow.
#[derive(Clone, Debug)]
struct Orders {
    target: SocketAddr,
    to_server: Fault,
    to_client: Fault,
    /// How often all connections were cut.
    cuts: u64,
    /// How often all connections were left half-open.
    strandings: u64,
}

/// Listens on a random loopback port and passes everything on to a server, until told otherwise. Dropping it closes all
/// connections.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    orders: watch::Sender<Orders>,
    acceptor: JoinHandle<()>,
}

impl Proxy {
    /// In front of `target`, e.g. `127.0.0.1:4222`, which need not be there yet.
    ///
    /// # Panics
    /// When `target` is no address, or there is no free port.
    pub async fn start(target: &str) -> Proxy {
        or_panic(Proxy::try_start(target).await)
    }

    async fn try_start(target: &str) -> anyhow::Result<Proxy> {
        let target = target.parse().with_context(|| format!("{target:?} is no address"))?;
        let listener = TcpListener::bind("127.0.0.1:0").await.context("no free loopback port")?;
        let address = listener.local_addr()?;
        let orders =
            Orders { target, to_server: Fault::Pass, to_client: Fault::Pass, cuts: 0, strandings: 0 };
        let (orders, receiver) = watch::channel(orders);
        Ok(Proxy { address, orders, acceptor: tokio::spawn(accept(listener, receiver)) })
    }

    /// Where it listens, `127.0.0.1:<port>`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// From now on new connections go to another server.
    ///
    /// # Panics
    /// When `target` is no address.
    pub fn retarget(&self, target: &str) {
        let target = or_panic(target.parse().with_context(|| format!("{target:?} is no address")));
        self.orders.send_modify(|orders| orders.target = target);
    }

    /// Sets what happens in both directions, to open connections and new ones.
    pub fn set(&self, fault: Fault) {
        self.set_toward(Toward::Both, fault);
    }

    /// The same for one direction.
    pub fn set_toward(&self, toward: Toward, fault: Fault) {
        self.orders.send_modify(|orders| {
            if toward != Toward::Client {
                orders.to_server = fault;
            }
            if toward != Toward::Server {
                orders.to_client = fault;
            }
        });
    }

    /// Resets every open connection, once. New ones are made as before.
    pub fn cut(&self) {
        self.orders.send_modify(|orders| orders.cuts += 1);
    }

    /// Leaves every open connection half-open: the server sees its end, the client is never told anything again. New ones
    /// are made as before.
    pub fn strand(&self) {
        self.orders.send_modify(|orders| orders.strandings += 1);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

async fn accept(listener: TcpListener, orders: watch::Receiver<Orders>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => {
                    connections.spawn(serve(client, orders.clone()));
                }
                // Out of descriptors for a moment; the client waits in the queue.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(mut client: TcpStream, mut orders: watch::Receiver<Orders>) {
    let at_first = orders.borrow().clone();
    let is_open = |orders: &Orders| orders.to_server != Fault::Blackhole || orders.cuts > at_first.cuts;
    let reset = |orders: &Orders| {
        [orders.to_server, orders.to_client].contains(&Fault::Reset) || orders.cuts > at_first.cuts
    };
    let Ok(now) = orders.wait_for(is_open).await.map(|orders| orders.clone()) else { return };
    let server = if reset(&now) { None } else { TcpStream::connect(now.target).await.ok() };
    let Some(mut server) = server else {
        // Nobody is there: the nearest to a refused connection.
        let _ = client.set_zero_linger();
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let mut following = orders.clone();
    let told = async {
        let told =
            following.wait_for(|orders| reset(orders) || orders.strandings > at_first.strandings).await;
        told.is_ok_and(|orders| !reset(&orders))
    };
    let stranded = tokio::select! {
        () = connection::pass(&mut client, &mut server, orders.clone()) => return,
        stranded = told => stranded,
    };
    if stranded {
        drop(server);
        let _ = orders.wait_for(reset).await;
    } else {
        let _ = server.set_zero_linger();
    }
    let _ = client.set_zero_linger();
}
