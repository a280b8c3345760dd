//! A feed that misbehaves, as the exchange's own script of faults has it.

use std::time::Duration;

use futures::FutureExt as _;

use super::{Scenario, feed_broken};
use crate::{
    check::Rules,
    world::{Setup, World},
};

/// The script of the exchange is over after this.
const SCRIPT_ENDS: Duration = Duration::from_secs(30);

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("feed-duplicates", "the feed sends every fifth ticker twice", misbehaves)
            .prepare(|setup| script(setup, "duplicate:at=5s,for=20s,percent=20")),
        Scenario::new("feed-reorders", "the feed mixes up ten tickers at a time", misbehaves)
            .prepare(|setup| script(setup, "reorder:at=5s,for=20s,window=10"))
            .rules(disordered),
        Scenario::new("feed-repeats", "the feed repeats its last 500 tickers", misbehaves)
            .prepare(|setup| script(setup, "repeat:at=5s,every=5s,times=4,last=500")),
        Scenario::new("feed-restarts", "the exchange restarts with a new sequence", misbehaves)
            .prepare(|setup| {
                script(setup, "sequence_reset:at=15s");
                script(setup, "disconnect:at=15s");
            })
            .rules(|rules| {
                feed_broken(rules);
                // For 5 s nobody can tell a new sequence from late ticks of the old one.
                disordered(rules);
            })
            .records("new_run"),
        Scenario::new("feed-drops", "the feed leaves out one ticker of twenty", misbehaves)
            .prepare(|setup| script(setup, "drop:at=5s,for=20s,percent=5"))
            .rules(feed_broken),
        Scenario::new("feed-corrupt", "one ticker of fifty is garbage", misbehaves)
            .prepare(|setup| script(setup, "corrupt:at=5s,for=20s,percent=2,how=garbage"))
            .rules(feed_broken),
        Scenario::new("feed-disconnects", "the feed is reset every 5 s", misbehaves)
            .prepare(|setup| script(setup, "disconnect:at=5s,every=5s,times=5,how=reset"))
            .rules(feed_broken),
        Scenario::new("feed-minutely", "the feed is reset every minute, for --minutes", for_long)
            .prepare(|setup| script(setup, "disconnect:at=60s,every=60s,how=reset"))
            .rules(feed_broken)
            .only_by_name(),
    ]
}

pub(super) fn script(setup: &mut Setup, fault: &str) {
    setup.exchange.extend(["--fault".to_owned(), fault.to_owned()]);
}

/// Late ticks go where fetched ones go.
pub(super) fn disordered(rules: &mut Rules) {
    rules.feed_disordered = true;
}

fn for_long(world: &mut World) -> futures::future::LocalBoxFuture<'_, ()> {
    async {
        world.load_for(world.setup.soak).await;
        world.recovers("a feed that was reset every minute").await;
    }
    .boxed_local()
}

fn misbehaves(world: &mut World) -> futures::future::LocalBoxFuture<'_, ()> {
    async {
        world.load_for(SCRIPT_ENDS).await;
        world.recovers("a feed that misbehaved").await;
    }
    .boxed_local()
}
