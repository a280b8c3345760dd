//! The feed as a whole: products spread over connections, and what runs beside them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bus::Bus;
use domain::Product;
use runtime::{Backoff, RoleContext, Shutdown, TaskSet};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::info;

use crate::connect::Address;
use crate::groups::Groups;
use crate::outbox::{Outbox, Postbox};
use crate::outlet::{Heard, Sink};
use crate::reading::Products;
use crate::rest::Rest;
use crate::slot::Slot;
use crate::status::Status;
use crate::surroundings::Surroundings;
use crate::{Config, Error, backfill, details};

/// How long refused frames and events may take at the end, after the ticks.
const OUTBOX_DRAIN_MAX: Duration = Duration::from_secs(1);
/// How long what runs beside the connections may take to end.
const BESIDE_DRAIN_MAX: Duration = Duration::from_secs(1);
/// A task beside the connections that failed is started again after such a delay.
const RESTART_DELAYS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Feeds the bus until the shutdown is requested, then has the rest acknowledged within `drain_max`. Its latches are there
/// when this returns, before the future is polled.
///
/// # Errors
/// Only for what no attempt can mend: an address that is none, no products, certificates that cannot be read.
pub fn run(config: Config, bus: Bus, ctx: RoleContext) -> impl Future<Output = Result<(), Error>> + Send {
    let (_, products) = watch::channel(config.products.clone());
    run_following(config, products, bus, ctx)
}

/// Like [`run`], with the products that `products` holds, now and after each change; `config.products` is not looked at.
/// Products that stay are not touched by a change. A list that becomes empty closes every connection.
///
/// # Errors
/// As [`run`].
pub fn run_following(
    config: Config,
    mut products: watch::Receiver<Vec<Product>>,
    bus: Bus,
    ctx: RoleContext,
) -> impl Future<Output = Result<(), Error>> + Send {
    let status = Arc::new(Status::new(&ctx, config.feed_decides_readiness));
    async move {
        if products.borrow().is_empty() {
            return Err(Error::NoProducts);
        }
        let address = Address::new(&config.url, config.ca_file.as_deref(), config.connect_timeout)?;
        let rest = Rest::new(&config)?.map(Arc::new);
        let (postbox, outbox) = Outbox::open(bus.clone());
        let drain_max = config.drain_max;
        let sink = Sink::Bus(bus.clone());
        let around = Arc::new(Surroundings::new(config, ctx.clone(), Arc::clone(&status), sink, postbox));
        let beside = start_beside(&around, &bus, rest, &products, &ctx.shutdown);
        let mut feed = Feed::new(address, around);
        tokio::select! {
            () = feed.keep_alive(&mut products) => {}
            () = status.report(&bus) => {}
        }
        let given_up = feed.around.given_up.load(Ordering::Relaxed);
        drop(feed);
        // Whoever hangs is aborted here; the reason is in the log.
        let _ = beside.join(BESIDE_DRAIN_MAX).await;
        // With a broker that answers this takes no time; with one that does not, the ticks have waited already.
        outbox.close(OUTBOX_DRAIN_MAX.min(drain_max)).await;
        info!("the feed is closed");
        if given_up { Err(Error::GivenUp) } else { Ok(()) }
    }
}

/// Holds the connections as [`run`] does, and gives whatever comes to `heard`, in the order of each connection, until the
/// shutdown is requested. While `heard` has no room the sockets are not read. Nothing is published.
///
/// # Errors
/// As [`run`].
pub async fn record(config: Config, heard: mpsc::Sender<Heard>, ctx: RoleContext) -> Result<(), Error> {
    if config.products.is_empty() {
        return Err(Error::NoProducts);
    }
    let address = Address::new(&config.url, config.ca_file.as_deref(), config.connect_timeout)?;
    let (_, mut products) = watch::channel(config.products.clone());
    let status = Arc::new(Status::new(&ctx, config.feed_decides_readiness));
    let sink = Sink::Recorder(heard);
    let around = Arc::new(Surroundings::new(config, ctx, status, sink, Postbox::nowhere()));
    Feed::new(address, around).keep_alive(&mut products).await;
    info!("the feed is closed");
    Ok(())
}

/// Starts what needs the REST API.
fn start_beside(
    around: &Arc<Surroundings>,
    bus: &Bus,
    rest: Option<Arc<Rest>>,
    products: &Products,
    shutdown: &Shutdown,
) -> TaskSet {
    let mut tasks = TaskSet::new(shutdown.clone());
    let Some(rest) = rest else {
        info!("the REST API of the exchange is switched off: gaps stay open, products have no details");
        return tasks;
    };
    let (min, max) = RESTART_DELAYS;
    if around.config.backfill {
        let (around, bus) = (Arc::clone(around), bus.clone());
        let (rest, products) = (Arc::clone(&rest), products.clone());
        tasks.spawn_restarting("backfill", Backoff::new(min, max), move || {
            backfill::run(Arc::clone(&around), bus.clone(), Arc::clone(&rest), products.clone())
        });
    }
    let (around, products) = (Arc::clone(around), products.clone());
    tasks.spawn_restarting("product-details", Backoff::new(min, max), move || {
        details::run(Arc::clone(&around), Arc::clone(&rest), products.clone())
    });
    tasks
}

struct Feed {
    groups: Groups,
    /// What each connection is to carry; as many as there are slots.
    lists: Vec<watch::Sender<Vec<Product>>>,
    slots: JoinSet<()>,
    address: Arc<Address>,
    around: Arc<Surroundings>,
}

impl Feed {
    fn new(address: Address, around: Arc<Surroundings>) -> Self {
        Self {
            groups: Groups::new(around.config.products_per_connection),
            lists: Vec::new(),
            slots: JoinSet::new(),
            address: Arc::new(address),
            around,
        }
    }

    /// Returns when the shutdown is requested and what was read is acknowledged.
    async fn keep_alive(&mut self, products: &mut Products) {
        let shutdown = self.around.ctx.shutdown.clone();
        loop {
            let wanted = products.borrow_and_update().clone();
            self.assign(&wanted);
            let changed = async {
                if products.changed().await.is_err() {
                    // Nobody will change them any more.
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                () = shutdown.requested() => break,
                () = changed => info!("the list of products has changed"),
                Some(ended) = self.slots.join_next() => pass_panic_on(ended),
            }
        }
        while let Some(ended) = self.slots.join_next().await {
            pass_panic_on(ended);
        }
    }

    fn assign(&mut self, wanted: &[Product]) {
        self.around.status.follow(wanted);
        let groups = self.groups.assign(wanted);
        for (index, group) in groups.iter().enumerate() {
            match self.lists.get(index) {
                Some(list) => {
                    list.send_if_modified(|known| {
                        let changes = known != group;
                        group.clone_into(known);
                        changes
                    });
                }
                None => {
                    let (list, products) = watch::channel(group.clone());
                    let slot = Slot::new(index + 1, products, Arc::clone(&self.around));
                    self.slots.spawn(slot.keep_alive(Arc::clone(&self.address)));
                    self.lists.push(list);
                }
            }
        }
    }
}

/// A connection's task ends with the shutdown; should it panic, the process has to know.
fn pass_panic_on(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && let Ok(panic) = error.try_into_panic()
    {
        std::panic::resume_unwind(panic);
    }
}
