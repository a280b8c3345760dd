//! The list of products, read again on SIGHUP and when the configuration file changes.
//!
//! Only the products are taken from what is read; everything else needs a new start. A configuration that cannot be used
//! leaves the list as it is.

use std::{io::IsTerminal as _, path::PathBuf, time::Duration};

use domain::Product;
use runtime::{Shutdown, config::ConfigProblems};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    time::{MissedTickBehavior, interval},
};
use tracing::{info, warn};

use crate::{
    args::Override,
    settings::{self, Defaults},
};

/// How often the file is looked at. In a cluster it is replaced rather than written, so its content is compared, not a watch
/// set on it.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What the configuration was read from, to read it again.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) file: Option<PathBuf>,
    pub(crate) overrides: Vec<Override>,
    pub(crate) defaults: Defaults,
}

impl Origin {
    fn products(&self) -> Result<Vec<Product>, ConfigProblems> {
        let (settings, _) = settings::load(self.file.clone(), self.overrides.clone(), self.defaults)?;
        Ok(settings.feed.products)
    }
}

/// Gives `list` the configured products whenever they have changed, until the shutdown is requested.
pub(crate) async fn follow(origin: Origin, list: watch::Sender<Vec<Product>>, shutdown: Shutdown) {
    // A terminal that is closed sends the same signal, and means that the process is to end.
    let mut hangup = if std::io::stdin().is_terminal() { None } else { signal(SignalKind::hangup()).ok() };
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first look reads it again: it may have changed since the start.
    let mut known = None;
    loop {
        tokio::select! {
            () = shutdown.requested() => return,
            () = next(&mut hangup) => info!("SIGHUP: the products are read again"),
            _ = looks.tick() => {
                let found = content(&origin).await;
                // A file that is being replaced is not there for a moment.
                if found.is_none() || found == known {
                    continue;
                }
                known = found;
            }
        }
        match origin.products() {
            Ok(products) => {
                list.send_if_modified(|now| {
                    let changes = *now != products;
                    if changes {
                        tell(now, &products);
                        *now = products;
                    }
                    changes
                });
            }
            Err(problems) => warn!(error = %problems, "the configuration cannot be used; the products stay"),
        }
    }
}

async fn content(origin: &Origin) -> Option<Vec<u8>> {
    tokio::fs::read(origin.file.as_ref()?).await.ok()
}

async fn next(hangup: &mut Option<Signal>) {
    let received = match hangup {
        Some(hangup) => hangup.recv().await,
        None => None,
    };
    if received.is_none() {
        std::future::pending::<()>().await;
    }
}

fn tell(before: &[Product], after: &[Product]) {
    let only = |these: &[Product], those: &[Product]| {
        let names: Vec<&str> =
            these.iter().filter(|product| !those.contains(product)).map(Product::as_str).collect();
        names.join(",")
    };
    let (added, removed) = (only(after, before), only(before, after));
    info!(added, removed, "the products have changed");
}
