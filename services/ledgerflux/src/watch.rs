//! `ledgerflux watch`: live prices in a terminal, and one JSON line per message anywhere else.

use std::io::{IsTerminal as _, stdout};

use runtime::Shutdown;

use crate::{args::WatchArgs, rejects::say};

mod events;
mod feed;
mod json;
mod market;
mod screen;
mod seam;
mod table;

use feed::{Feed, Happening};

/// Watches until it is told to end, or the server refuses.
pub(crate) async fn run(args: WatchArgs) -> anyhow::Result<()> {
    let shutdown = Shutdown::from_signals()?;
    let table = stdout().is_terminal();
    let feed = Feed::new(&args, !table && !args.conflate)?;
    match table {
        true => screen::run(feed, &args, shutdown).await,
        false => lines(feed, &args, shutdown).await,
    }
}

async fn lines(mut feed: Feed, args: &WatchArgs, shutdown: Shutdown) -> anyhow::Result<()> {
    let writer = json::Writer::new()?;
    let mut left = args.count.map(u64::from);
    while left != Some(0) {
        let Some(happening) = shutdown.run_until(feed.next()).await else { break };
        let happening = happening?;
        if let Some(line) = writer.line(&happening)? {
            say(&line)?;
        }
        if matches!(happening, Happening::Update(_)) {
            left = left.map(|left| left - 1);
        }
    }
    Ok(())
}
