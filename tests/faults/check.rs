//! The checker: what was sent against what came out. It does no I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::{
    evidence::{Evidence, Seen},
    truth::Truth,
};

/// What a scenario allows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// Trades that were not accepted have to lie in a recorded gap.
    pub(crate) gaps_expected: bool,
    /// The connection to the exchange was broken, or the ingestor ended: trades may be missing, as gaps.
    pub(crate) feed_broken: bool,
    /// The exchange was killed with what it had not yet written down: what came out may be more than the truth.
    pub(crate) exchange_killed: bool,
    /// The fault takes away what the broker had accepted (its data, or its age limit): that much may be missing, as gaps.
    pub(crate) broker_lost: bool,
    /// The feed itself sends wrong order: trades need not rise with positions.
    pub(crate) feed_disordered: bool,
    /// The feed sends ticks that cannot be right: these, and no others, are to be found among the rejects.
    pub(crate) feed_faulty: bool,
    /// Nobody may notice anything: no gap, also none that was repaired, and no event of one.
    pub(crate) seamless: bool,
    /// Tokens from before are of another history: who comes back with one has to be told so. Otherwise nobody may be.
    pub(crate) not_recovered: bool,
    /// How long it may take from the end of an outage until everything is live again.
    pub(crate) live_within: Duration,
}

/// One line of the verdict.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) check: &'static str,
    pub(crate) ok: bool,
    pub(crate) told: String,
}

/// How the trades that were sent are divided up.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sums {
    pub(crate) sent: u64,
    pub(crate) stored: u64,
    pub(crate) rejected: u64,
    pub(crate) in_gaps: u64,
    pub(crate) not_accepted: u64,
    pub(crate) duplicates: u64,
}

const EXAMPLES_MAX: usize = 5;

/// Counts, with some examples.
#[derive(Default)]
struct Found {
    count: u64,
    examples: Vec<String>,
}

impl Found {
    fn add(&mut self, example: impl FnOnce() -> String) {
        self.count += 1;
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(example());
        }
    }

    fn line(self, check: &'static str, what: &str) -> Line {
        let ok = self.count == 0;
        let examples = if ok { String::new() } else { format!(": {}", self.examples.join("; ")) };
        Line { check, ok, told: format!("{} {what}{examples}", self.count) }
    }
}

/// Compares everything with everything.
pub(crate) fn check(truth: &Truth, evidence: &Evidence, rules: Rules) -> (Vec<Line>, Sums) {
    let (mut lines, sums) = account(truth, evidence, rules);
    lines.push(order_of_history(evidence, rules));
    lines.push(rejects(truth, evidence, rules));
    for (name, seen) in &evidence.subscribers {
        let mut reordered = Found::default();
        seen.steps_back.iter().for_each(|step| reordered.add(|| step.clone()));
        let mut line = reordered.line("reordered, subscriber", "positions that are not above the one before");
        line.told =
            format!("{name}, {} ticks over {} connections: {}", seen.ticks, seen.connections, line.told);
        line.ok &= seen.ticks > 0;
        lines.push(line);
        let mut unexpected = Found::default();
        for (product, trade_id, price) in &seen.trades {
            match truth.trade(product, *trade_id) {
                Some(trade) if trade.price == *price => {}
                None if rules.exchange_killed => {}
                other => unexpected.add(|| format!("{product} {trade_id} at {price}, sent: {other:?}")),
            }
        }
        let mut line =
            unexpected.line("unexpected, subscriber", "trades that the exchange did not send like that");
        line.told = format!("{name}: {}", line.told);
        lines.push(line);
    }
    let resuming = evidence.subscribers.iter().filter(|(_, seen)| !seen.stretches.is_empty());
    lines.extend(resuming.map(|(_, seen)| resumed(evidence, seen, rules)));
    if rules.seamless {
        lines.push(seams(evidence));
    }
    lines.push(Line {
        check: "bars",
        ok: evidence.bars_that_differ == 0 && evidence.bars > 0,
        told: format!("{} of {} differ from a recomputation", evidence.bars_that_differ, evidence.bars),
    });
    lines.push(Line {
        check: "latest",
        ok: evidence.latest_that_differ == 0,
        told: format!("{} latest prices are not the newest tick", evidence.latest_that_differ),
    });
    (lines, sums)
}

/// Who comes back with its tokens has every tick that history has between its first and its last one, or was told otherwise.
fn resumed(evidence: &Evidence, seen: &Seen, rules: Rules) -> Line {
    let mut stored: BTreeMap<&str, BTreeSet<(u32, u64)>> = BTreeMap::new();
    for row in &evidence.stored {
        let positions = stored.entry(&row.product).or_default();
        positions.extend(row.sequence.map(|sequence| (row.run, sequence)));
    }
    let (mut missing, mut compared) = (Found::default(), 0);
    for (product, stretches) in &seen.stretches {
        let stored = stored.remove(product.as_str()).unwrap_or_default();
        for stretch in stretches {
            let (Some(first), Some(last)) = (stretch.first(), stretch.last()) else { continue };
            let given: BTreeSet<&(u32, u64)> = stretch.iter().collect();
            compared += given.len();
            let not_given = stored.range(*first..=*last).filter(|position| !given.contains(position));
            not_given.for_each(|position| missing.add(|| format!("{product} {position:?}")));
        }
    }
    let told = seen.not_recovered.len();
    let mut line = missing.line("resumed", "that history has are missing");
    line.ok &= compared > 0 && rules.not_recovered == (told > 0) && seen.refused.is_empty();
    let some = |texts: &[String]| texts.iter().take(EXAMPLES_MAX).cloned().collect::<Vec<_>>().join("; ");
    line.told = format!(
        "{compared} ticks over {} connections, {}; {told} times not recovered: {}; refused: {}",
        seen.connections,
        line.told,
        some(&seen.not_recovered),
        some(&seen.refused)
    );
    line
}

/// Everything by which somebody downstream could notice that something happened.
fn seams(evidence: &Evidence) -> Line {
    let mut seams = Found::default();
    for gap in &evidence.gaps {
        seams.add(|| format!("{gap:?}"));
    }
    for (name, seen) in &evidence.subscribers {
        seen.told.iter().for_each(|told| seams.add(|| format!("{name}: {told}")));
        if seen.connections != 1 {
            seams.add(|| format!("{name}: {} connections", seen.connections));
        }
    }
    seams.line("seamless", "gaps, or events that tell a subscriber of one")
}

/// Sent = stored + rejected + in gaps, with no trade in two of them.
fn account(truth: &Truth, evidence: &Evidence, rules: Rules) -> (Vec<Line>, Sums) {
    let mut stored: BTreeMap<&str, BTreeMap<u64, u64>> = BTreeMap::new();
    let mut runs: BTreeMap<&str, BTreeMap<u64, u32>> = BTreeMap::new();
    let mut unexpected = Found::default();
    let mut duplicated = Found::default();
    for row in &evidence.stored {
        let times = stored.entry(&row.product).or_default().entry(row.trade_id).or_default();
        *times += 1;
        if *times == 1 {
            runs.entry(&row.product).or_default().insert(row.trade_id, row.run);
        } else {
            duplicated.add(|| format!("{} {} is stored {times} times", row.product, row.trade_id));
        }
        let same = truth.trade(&row.product, row.trade_id).map(|trade| {
            trade.price == row.price
                && trade.size == row.size
                && trade.side == row.side
                // A trade that was fetched afterwards carries the time that REST tells, to the microsecond.
                && trade.ts_event / 1_000 == row.ts_event / 1_000
        });
        let fetched = row.sequence.is_none() && truth.was_made(&row.product, row.trade_id);
        if same == Some(false) || (same.is_none() && !fetched && !rules.exchange_killed) {
            unexpected.add(|| format!("{row:?}"));
        }
    }
    let mut rejected: BTreeMap<&str, BTreeSet<u64>> = BTreeMap::new();
    for reject in &evidence.rejects {
        if let Some(trade_id) = reject.trade_id {
            rejected.entry(&reject.product).or_default().insert(trade_id);
        }
    }
    let (gaps, overlaps) = gaps_of(evidence);
    let mut sums = Sums { duplicates: duplicated.count, ..Sums::default() };
    let (mut lost, mut unaccounted, mut twice) = (Found::default(), Found::default(), Found::default());
    let nothing = BTreeSet::new();
    for product in truth.made.keys() {
        let stored = stored.remove(product.as_str()).unwrap_or_default();
        let rejected = rejected.get(product.as_str()).unwrap_or(&nothing);
        let accepted = evidence.accepted.all.get(product).unwrap_or(&nothing);
        // Before the first one that came in there is nothing that could have been missed.
        let Some(first) = stored.keys().chain(rejected).chain(accepted).min().copied() else { continue };
        let newest_sent = truth.newest_sent(product);
        for trade_id in truth.made_from(product, first) {
            let in_gap = gaps.get(product.as_str()).is_some_and(|gaps| within(gaps, trade_id));
            let places = (stored.contains_key(&trade_id), rejected.contains(&trade_id), in_gap);
            if places == (false, false, false) && trade_id > newest_sent {
                // The last ones, sent to nobody: nothing came after them by which they could have been missed.
                continue;
            }
            sums.sent += 1;
            match places {
                (true, true, _) => twice.add(|| format!("{product} {trade_id} is stored and rejected")),
                (false, true, true) => twice.add(|| format!("{product} {trade_id} is rejected and in a gap")),
                // Fetched afterwards: the gap counts it as repaired, which is compared below.
                (true, false, _) => sums.stored += 1,
                (false, true, false) => sums.rejected += 1,
                (false, false, true) => sums.in_gaps += 1,
                (false, false, false) => sums.not_accepted += 1,
            }
            let out = places.0 || places.1;
            if !out && accepted.contains(&trade_id) && !rules.broker_lost {
                lost.add(|| format!("{product} {trade_id}"));
            }
            let may_be_missing = rules.feed_broken || rules.broker_lost;
            if !out && (!may_be_missing || (rules.gaps_expected && !in_gap)) {
                unaccounted.add(|| format!("{product} {trade_id}"));
            }
        }
        for (first, last, repaired, run) in gaps.get(product.as_str()).into_iter().flatten() {
            let there = stored.range(*first..=*last).count() as u64;
            if there != *repaired {
                twice.add(|| {
                    let runs = runs.get(product.as_str()).into_iter().flat_map(|runs| runs.range(*first..=*last));
                    let runs: BTreeSet<u32> = runs.map(|(_, run)| *run).collect();
                    format!(
                        "{product} {first}-{last} of run {run}: {there} stored, of runs {runs:?}, {repaired} counted \
                         as repaired"
                    )
                });
            }
        }
    }
    overlaps.into_iter().for_each(|overlap| twice.add(|| overlap));
    lost_on_the_way(evidence, rules, &mut lost);
    let missing = sums.in_gaps + sums.not_accepted;
    let mut lines = vec![
        lost.line("lost", "trades lost after the broker had accepted them"),
        unaccounted.line("accounted for", "trades neither stored nor rejected nor in a gap that explains it"),
        duplicated.line("duplicated", "trades stored twice"),
        twice.line("in one place", "trades in two places, or gaps that miscount"),
        unexpected.line("unexpected", "rows that the exchange did not send like that"),
    ];
    lines[1].told = format!(
        "sent {} = stored {} + rejected {} + missing {missing} (in gaps {}); {}",
        sums.sent, sums.stored, sums.rejected, sums.in_gaps, lines[1].told
    );
    // A comparison with nothing would hold always.
    lines[1].ok &= sums.stored > 0;
    (lines, sums)
}

/// What the exchange still has is fetched, so that a loss inside may end in its place after all. It is seen from the way
/// that a trade came: one that was accepted live is not stored as fetched, and where nothing was missed there is no gap. In a
/// feed that is out of order a gap is told over what comes late, which then fills it.
fn lost_on_the_way(evidence: &Evidence, rules: Rules, lost: &mut Found) {
    if rules.broker_lost {
        return;
    }
    let came = |product: &str, trade_id: u64| {
        evidence.accepted.live.get(product).is_some_and(|live| live.contains(&trade_id))
    };
    for gap in evidence.gaps.iter().filter(|_| !rules.feed_broken) {
        let came_late = rules.feed_disordered && (gap.first..=gap.last).all(|id| came(&gap.product, id));
        if !came_late {
            lost.add(|| format!("{gap:?}, and the feed missed nothing"));
        }
    }
    for row in evidence.stored.iter().filter(|row| row.sequence.is_none() && !rules.feed_disordered) {
        if came(&row.product, row.trade_id) {
            lost.add(|| {
                format!("{} {} was accepted live and is stored as fetched", row.product, row.trade_id)
            });
        }
    }
}

type Gaps<'a> = BTreeMap<&'a str, Vec<(u64, u64, u64, u32)>>;

/// The gaps of each product, by their first trade, and those that overlap.
fn gaps_of(evidence: &Evidence) -> (Gaps<'_>, Vec<String>) {
    let mut gaps = Gaps::new();
    for gap in &evidence.gaps {
        gaps.entry(&gap.product).or_default().push((gap.first, gap.last, gap.repaired, gap.run));
    }
    let mut overlaps = Vec::new();
    for (product, gaps) in &mut gaps {
        gaps.sort_unstable();
        for pair in gaps.windows(2) {
            if pair[1].0 <= pair[0].1 {
                overlaps.push(format!("{product}: gaps {:?} and {:?} overlap", pair[0], pair[1]));
            }
        }
    }
    (gaps, overlaps)
}

fn within(gaps: &[(u64, u64, u64, u32)], trade_id: u64) -> bool {
    let after = gaps.partition_point(|(first, ..)| *first <= trade_id);
    after > 0 && gaps[after - 1].1 >= trade_id
}

/// In the order of positions, trade_ids rise. (The exchange's own order is the order of its sequence.)
fn order_of_history(evidence: &Evidence, rules: Rules) -> Line {
    let mut reordered = Found::default();
    let live = || evidence.stored.iter().filter(|row| row.sequence.is_some());
    for (one, next) in live().zip(live().skip(1)) {
        let same = one.product == next.product;
        if same && (one.run, one.sequence) >= (next.run, next.sequence) {
            reordered.add(|| format!("{} {:?} is there twice", one.product, (one.run, one.sequence)));
        }
        if same && one.run == next.run && one.trade_id >= next.trade_id && !rules.feed_disordered {
            reordered.add(|| format!("{} trade {} before {}", one.product, one.trade_id, next.trade_id));
        }
    }
    reordered.line("reordered", "rows out of order")
}

/// What the exchange sent in good form has no place among the rejects. Where it sends faulty ticks, in order, each that was
/// accepted has its place there, once.
fn rejects(truth: &Truth, evidence: &Evidence, rules: Rules) -> Line {
    let mut good = Found::default();
    let mut filed: BTreeMap<(&str, u64), usize> = BTreeMap::new();
    for reject in &evidence.rejects {
        let of = |trade_id| (&*reject.product, trade_id);
        let known = reject.trade_id.map(of).filter(|(product, id)| truth.was_made(product, *id));
        if known.is_some_and(|(product, id)| !truth.is_faulty(product, id)) {
            good.add(|| format!("{} {:?} as {}", reject.product, reject.trade_id, reject.reason));
        }
        if let Some(known) = known {
            *filed.entry(known).or_default() += 1;
        }
    }
    let all = evidence.rejects.len();
    let mut line = good.line("rejects", "good ticks among them");
    let mut elsewhere = Found::default();
    let accepted = evidence.accepted.all.iter().filter(|_| rules.feed_faulty);
    for (product, trade_id) in accepted.flat_map(|(product, ids)| ids.iter().map(move |id| (product, *id))) {
        let times = filed.get(&(&**product, trade_id)).copied().unwrap_or_default();
        if truth.is_faulty(product, trade_id) && times != 1 {
            elsewhere.add(|| format!("{product} {trade_id} is faulty, and {times} times among them"));
        }
    }
    let elsewhere = elsewhere.line("rejects", "faulty ones that are not among them once");
    line.told = format!("{all} rejects, {}, {}", line.told, elsewhere.told);
    line.ok &= elsewhere.ok && (all > 0 || !rules.feed_faulty);
    line
}

#[cfg(test)]
mod tests;
