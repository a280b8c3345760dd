//! Two ingestors that lose trades, and owners of the shard that die at every step: what is published is right all the same.

use std::collections::{BTreeMap, btree_map::Entry};

use super::{
    places::{crossed, without_price},
    *,
};
use crate::round::Refusal;
use domain::FeedEvent;

/// The streams, and the owner of the shard at the moment.
struct World {
    state: ShardState,
    unacknowledged: BTreeMap<u64, TickBatch>,
    /// By identity.
    events: BTreeMap<String, FeedEvent>,
    last_gap: Option<Gap>,
    live: Vec<TickBatch>,
    fills: Vec<TickBatch>,
    /// By identity: the trade of each.
    rejects: BTreeMap<String, u64>,
    /// What the last reject for each reason says.
    refused: BTreeMap<RejectReason, RecoveredRefusals>,
}

impl World {
    fn new() -> Self {
        Self {
            state: ShardState::new(Duration::from_millis(250), NOW),
            unacknowledged: BTreeMap::new(),
            events: BTreeMap::new(),
            last_gap: None,
            live: Vec::new(),
            fills: Vec::new(),
            rejects: BTreeMap::new(),
            refused: BTreeMap::new(),
        }
    }

    /// A round of the owner with these messages; when it dies, another one is given everything that was not acknowledged.
    fn round(&mut self, messages: Vec<(u64, TickBatch)>, now: UnixNanos, death: Option<usize>) {
        self.unacknowledged.extend(messages.iter().cloned());
        if !self.attempt(messages, now, death) {
            self.state = ShardState::new(Duration::from_millis(250), now);
            if let Some(batch) = self.live.last() {
                self.state.recover_batch(batch, true);
            }
            if let Some(gap) = &self.last_gap {
                self.state.recover_gap(gap);
            }
            self.refused.values().for_each(|refused| self.state.recover_refused(refused));
            let again = self.unacknowledged.clone().into_iter().collect();
            assert!(self.attempt(again, now, None));
        }
    }

    fn attempt(&mut self, messages: Vec<(u64, TickBatch)>, now: UnixNanos, death: Option<usize>) -> bool {
        let mut round = Round::new("normalizer/test".into(), now);
        let raws: Vec<_> = messages.iter().map(|(raw, batch)| (*raw, batch.instrument.clone())).collect();
        for (raw, batch) in messages {
            if !self.state.is_done(&batch.instrument, raw) {
                self.state.live(batch, raw, &mut round);
            }
        }
        self.state.release(&mut round);
        // How much more goes out before the owner dies.
        let mut left = death.unwrap_or(usize::MAX);
        let mut goes_out = || {
            left = left.saturating_sub(1);
            left > 0
        };
        for Refusal { reject, trades } in round.rejects {
            if !goes_out() {
                return false;
            }
            let tick = reject.tick.unwrap();
            if self.rejects.insert(reject.identity, tick.trade_id().unwrap()).is_none() {
                let (instrument, received) = (tick.instrument, tick.receive_time);
                let recovered = RecoveredRefusals { instrument, trades: trades.unwrap(), received };
                self.refused.insert(reject.reason, recovered);
            }
        }
        for step in round.steps {
            for event in step.events {
                if !goes_out() {
                    return false;
                }
                // Said twice, it is stored once.
                if let Entry::Vacant(new) = self.events.entry(event.identity()) {
                    if let EventKind::Gap(gap) = &event.kind {
                        self.last_gap = Some(gap.clone());
                    }
                    new.insert(event);
                }
            }
            let [fills, live] = step.pending.into_batches();
            for (_, batch) in fills {
                if !goes_out() {
                    return false;
                }
                self.fills.push(batch);
            }
            for (_, batch) in live {
                if !goes_out() {
                    return false;
                }
                self.state.published(&batch.instrument, batch.raw_sequence.unwrap());
                self.live.push(batch);
            }
        }
        if death.is_some() {
            return false;
        }
        for (raw, instrument) in raws {
            if !self.state.holds(&instrument, raw) {
                self.unacknowledged.remove(&raw);
            }
        }
        let state = &self.state;
        self.unacknowledged.retain(|raw, batch| state.holds(&batch.instrument, *raw));
        true
    }

    fn is_in_order(&self) -> bool {
        let positions: Vec<_> =
            self.live.iter().flat_map(|batch| &batch.ticks).map(|tick| tick.position()).collect();
        positions.windows(2).all(|pair| pair[0] < pair[1])
    }

    fn trades(batches: &[TickBatch]) -> Vec<u64> {
        batches.iter().flat_map(|batch| &batch.ticks).filter_map(|tick| tick.trade_id()).collect()
    }

    /// The trades in gaps, each as often as it is in one.
    fn missing(&self) -> Vec<u64> {
        let gaps = self.events.values().filter_map(|event| match &event.kind {
            EventKind::Gap(gap) => Some(gap.first_trade_id..=gap.last_trade_id),
            _ => None,
        });
        gaps.flatten().collect()
    }
}

/// A trade on its way over both legs, and what befalls the owner when it arrives.
#[derive(Clone, Copy, Debug)]
struct Fate {
    kept: [bool; 2],
    delay_millis: [u64; 2],
    /// Whether the leg waits with it for the next one, so that they travel together.
    joins: [bool; 2],
    reconnects: bool,
    /// 1: its book is crossed, 2: its price is none.
    fault: u8,
    /// How much of a round goes out before the owner dies in it.
    death: Option<usize>,
}

fn fate() -> impl Strategy<Value = Fate> {
    let kept = proptest::bool::weighted(0.8);
    (
        [kept, kept],
        [0u64..60, 0u64..60],
        [proptest::bool::weighted(0.3), proptest::bool::weighted(0.3)],
        proptest::bool::weighted(0.05),
        prop_oneof![2 => Just(0u8), 1 => Just(1u8), 1 => Just(2u8)],
        proptest::option::weighted(0.1, 1usize..8),
    )
        .prop_map(|(kept, delay_millis, joins, reconnects, fault, death)| Fate {
            kept,
            delay_millis,
            joins,
            reconnects,
            fault,
            death,
        })
}

const FIRST: u64 = 1000;

/// The messages of both legs in the order in which they are stored: at how many milliseconds, which.
fn messages(fates: &[Fate], slowness: u64) -> Vec<(u64, TickBatch, Option<usize>)> {
    let mut messages = Vec::new();
    for leg in 0..2 {
        let (mut connection, mut stored, mut together) = (1, 0, Vec::new());
        for (index, fate) in fates.iter().enumerate() {
            let trade_id = FIRST + index as u64;
            stored = stored.max(index as u64 * 10 + fate.delay_millis[leg] * slowness);
            if fate.kept[leg] {
                let sound = trade(trade_id, trade_id * 10, index as i64 / 100);
                together.push(match fate.fault {
                    1 => crossed(sound),
                    2 => without_price(sound),
                    _ => sound,
                });
            }
            let last = index + 1 == fates.len();
            if !together.is_empty() && (last || !fate.joins[leg] || together.len() == 3) {
                connection += u32::from(fate.reconnects);
                let batch = batch(&format!("leg{leg}-{connection}"), std::mem::take(&mut together));
                messages.push((stored, batch, fate.death));
            }
        }
    }
    messages.sort_by_key(|(stored, ..)| *stored);
    messages
}

/// Everything that comes over both legs, handled in rounds of so many messages.
fn play(fates: &mut [Fate], per_round: usize, deaths: bool, slowness: u64) -> World {
    fates.first_mut().unwrap().kept = [true; 2];
    let end = fates.last_mut().unwrap();
    (end.kept, end.joins) = ([true; 2], [false; 2]);
    let mut world = World::new();
    let (mut waiting, mut death) = (Vec::new(), None);
    let messages = messages(fates, slowness);
    let count = messages.len();
    let mut millis = 0;
    for (index, (stored, batch, dies)) in messages.into_iter().enumerate() {
        waiting.push((index as u64 + 1, batch));
        death = death.or(dies).filter(|_| deaths);
        millis = stored;
        if waiting.len() == per_round || index + 1 == count {
            let now = NOW.saturating_add(Duration::from_millis(millis));
            world.round(std::mem::take(&mut waiting), now, death.take());
        }
    }
    world.round(Vec::new(), NOW.saturating_add(Duration::from_millis(millis + 250)), None);
    world
}

/// The trades that came over a leg, and those that came over none.
fn kept_and_lost(fates: &[Fate]) -> (Vec<u64>, Vec<u64>) {
    let is_kept = |trade_id: &u64| fates[usize::try_from(trade_id - FIRST).unwrap()].kept.contains(&true);
    (FIRST..).take(fates.len()).partition(is_kept)
}

proptest! {
    /// What either leg brings in time comes out once and in order, what neither brings is in one gap.
    #[test]
    fn whatever_dies_nothing_is_lost(
        mut fates in proptest::collection::vec(fate(), 2..120),
        per_round in 1usize..5,
        deaths in proptest::bool::ANY,
    ) {
        fates.iter_mut().for_each(|fate| fate.fault = 0);
        let world = play(&mut fates, per_round, deaths, 1);
        prop_assert_eq!((world.state.held(), world.unacknowledged.len(), world.rejects.len()), (0, 0, 0));
        prop_assert!(world.is_in_order());
        let (kept, lost) = kept_and_lost(&fates);
        prop_assert_eq!((world.missing(), World::trades(&world.fills)), (lost, vec![]));
        prop_assert_eq!(World::trades(&world.live), kept);
    }

    /// What comes when it was given up is a fill.
    #[test]
    fn what_comes_too_late_is_filled_in(
        mut fates in proptest::collection::vec(fate(), 2..120),
        per_round in 1usize..5,
    ) {
        fates.iter_mut().for_each(|fate| fate.fault = 0);
        let world = play(&mut fates, per_round, false, 20);
        prop_assert_eq!((world.state.held(), world.unacknowledged.len(), world.rejects.len()), (0, 0, 0));
        prop_assert!(world.is_in_order());
        let (kept, mut lost) = kept_and_lost(&fates);
        let fills = World::trades(&world.fills);
        lost.extend(&fills);
        lost.sort_unstable();
        prop_assert_eq!(world.missing(), lost);
        let mut out = [World::trades(&world.live), fills].concat();
        out.sort_unstable();
        prop_assert_eq!(out, kept);
    }

    /// What is faulty is in the rejects and nowhere else, however many there are in a row and whenever the owner dies.
    #[test]
    fn whatever_dies_what_is_refused_has_its_place(
        mut fates in proptest::collection::vec(fate(), 2..120),
        per_round in 1usize..5,
    ) {
        let end = fates.len() - 1;
        for (index, fate) in fates.iter_mut().enumerate() {
            fate.kept[1] = false;
            fate.fault = if index == 0 || index == end { 0 } else { fate.fault };
            // The other leg has the edges only, and is not to jump ahead with the last one.
            fate.delay_millis[1] = if index == end { 1_000 } else { 0 };
        }
        let world = play(&mut fates, per_round, true, 1);
        prop_assert_eq!((world.state.held(), world.unacknowledged.len()), (0, 0));
        prop_assert!(world.is_in_order());
        let (kept, lost) = kept_and_lost(&fates);
        let is_sound = |trade_id: &u64| fates[usize::try_from(trade_id - FIRST).unwrap()].fault == 0;
        let (sound, faulty): (Vec<_>, Vec<_>) = kept.into_iter().partition(is_sound);
        let mut filed: Vec<u64> = world.rejects.values().copied().collect();
        filed.sort_unstable();
        prop_assert_eq!((World::trades(&world.live), filed), (sound, faulty));
        prop_assert_eq!((world.missing(), World::trades(&world.fills)), (lost, vec![]));
    }
}
