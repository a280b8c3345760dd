//! Processes that die while the feed misbehaves: with gaps, late ticks, fills, refused ticks and new sequences in their
//! hands.

use std::time::Duration;

use futures::FutureExt as _;

use super::{
    Scenario,
    feed::{disordered, script},
    feed_broken,
    processes::{dies, kills},
};
use crate::{
    check::Rules,
    world::{Setup, World},
};

/// How long what is wrong is sent to processes that stay; twice as long where the sequence starts anew.
const LASTS: Duration = Duration::from_secs(20);

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new(
            "kill-normalizer-disordered",
            "kill -9 of a normalizer while the feed drops, repeats, mixes up, is faulty and starts anew",
            |w| kills(w, "normalizer").boxed_local(),
        )
        .prepare(disorder)
        .rules(anew),
        Scenario::new(
            "kill-snapshotter-disordered",
            "kill -9 of a snapshotter while the feed drops, repeats, mixes up, is faulty and starts anew",
            |w| kills(w, "snapshotter").boxed_local(),
        )
        .prepare(disorder)
        .rules(anew),
        Scenario::new(
            "kill-normalizer-faulty",
            "kill -9 of a normalizer while the feed sends crossed books and prices of 0",
            |w| kills(w, "normalizer").boxed_local(),
        )
        .prepare(faulty)
        .rules(refused),
        Scenario::new(
            "feed-disordered",
            "the feed drops, repeats, mixes up, is faulty and starts anew",
            |w| {
                async {
                    w.load_for(LASTS * 2).await;
                    w.recovers("a feed that does everything wrong").await;
                }
                .boxed_local()
            },
        )
        .prepare(disorder)
        .rules(anew),
        Scenario::new(
            "feed-faulty",
            "one ticker of fifty has a crossed book, one of fifty a price of 0",
            |w| lasts(w).boxed_local(),
        )
        .prepare(faulty)
        .rules(refused),
        Scenario::new(
            "die-normalizer-gap-told",
            "a normalizer dies between telling a gap and publishing what follows it",
            |w| dies(w, "normalizer", "normalizer-gap-told").boxed_local(),
        )
        .prepare(disorder)
        .rules(anew),
        Scenario::new(
            "die-normalizer-filed",
            "a normalizer dies between filing a reject and acknowledgement",
            |w| dies(w, "normalizer", "normalizer-filed").boxed_local(),
        )
        .prepare(faulty)
        .rules(refused),
        Scenario::new(
            "die-ledger-committed",
            "a snapshotter dies between recording a gap and acknowledgement",
            |w| dies(w, "snapshotter", "ledger-committed").boxed_local(),
        )
        .prepare(disorder)
        .rules(anew),
    ]
}

/// Everything that a feed may do wrong, for as long as it lasts.
fn disorder(setup: &mut Setup) {
    for fault in [
        "sequence_reset:at=20s,every=30s",
        "disconnect:at=20s,every=30s",
        "drop:at=2s,percent=2",
        "duplicate:at=2s,percent=5",
        "reorder:at=2s,every=3s,for=1s,window=10",
        "corrupt:at=2s,percent=1,how=crossed",
        "corrupt:at=2s,percent=1,how=unpriced",
    ] {
        script(setup, fault);
    }
}

fn anew(rules: &mut Rules) {
    feed_broken(rules);
    disordered(rules);
}

/// Ticks that are refused, and a few that are missing: a faulty one may be the first after a gap.
fn faulty(setup: &mut Setup) {
    script(setup, "corrupt:at=2s,percent=2,how=crossed");
    script(setup, "corrupt:at=2s,percent=2,how=unpriced");
    script(setup, "drop:at=2s,percent=1");
}

fn refused(rules: &mut Rules) {
    feed_broken(rules);
    rules.feed_faulty = true;
}

async fn lasts(world: &mut World) {
    world.load_for(LASTS).await;
    world.recovers("a feed with faulty ticks").await;
}
