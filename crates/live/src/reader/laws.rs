//! The laws of a subscription under random arrivals and reads.

use std::{collections::HashMap, num::NonZeroU32};

use domain::{Position, Product};
use proptest::prelude::*;

use super::*;
use crate::{
    Config, Rate,
    state::samples::{batch_of, instrument, tick},
};

fn when(now: Instant) -> When {
    When { now, wall: UnixNanos::new(1), can_ask: false, is_caught_up: true }
}

const PRODUCTS: [&str; 3] = ["A", "B", "C"];

#[derive(Clone, Debug)]
enum Step {
    /// So many ticks of a product arrive; the run goes up first when `new_run`.
    Arrive { product: usize, count: u64, new_run: bool },
    /// The subscriber reads at most so many.
    Read { max: usize },
    /// Time passes.
    Wait { ms: u64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..PRODUCTS.len(), 1u64..12, prop::bool::weighted(0.05))
            .prop_map(|(product, count, new_run)| Step::Arrive { product, count, new_run }),
        3 => (1usize..20).prop_map(|max| Step::Read { max }),
        2 => (0u64..60).prop_map(|ms| Step::Wait { ms }),
    ];
    prop::collection::vec(step, 1..120)
}

fn policies() -> impl Strategy<Value = Policy> {
    (1u64..20, prop::option::of((1u32..300, 1u32..20))).prop_map(|(behind_max, rate)| Policy::Conflate {
        behind_max: behind_max.try_into().unwrap(),
        rate: rate.map(|(per_second, burst)| Rate {
            per_second: NonZeroU32::new(per_second).unwrap(),
            burst: NonZeroU32::new(burst).unwrap(),
        }),
        interval: None,
    })
}

/// What the subscriber has seen of a product.
#[derive(Default)]
struct Seen {
    last: Option<Position>,
    given: u64,
    skipped: u64,
}

struct World {
    state: LiveState,
    reader: Reader,
    now: Instant,
    newest: HashMap<usize, Position>,
    arrived: HashMap<usize, u64>,
    seen: HashMap<Product, Seen>,
}

impl World {
    fn new(policy: Policy, ring: usize) -> Self {
        let state = LiveState::new(Config { ring_ticks_max: ring.try_into().unwrap(), ..Config::default() });
        let mut reader = Reader::new(&state, policy);
        reader.add_all(&state, &Start::Now);
        Self {
            state,
            reader,
            now: Instant::now(),
            newest: HashMap::new(),
            arrived: HashMap::new(),
            seen: HashMap::new(),
        }
    }

    fn arrive(&mut self, product: usize, count: u64, new_run: bool) {
        let newest = self.newest.entry(product).or_default();
        if new_run {
            *newest = Position { run: newest.run + 1, sequence: 0 };
        }
        let ticks = (1..=count).map(|step| tick(PRODUCTS[product], newest.run, newest.sequence + step * 3));
        self.state.apply(1, batch_of(PRODUCTS[product], ticks.collect()));
        newest.sequence += count * 3;
        *self.arrived.entry(product).or_default() += count;
    }

    fn read(&mut self, max: usize) -> Result<Read, TestCaseError> {
        let read = self.reader.read(&self.state, when(self.now), max).unwrap();
        for delivery in &read.deliveries {
            let (product, position, skipped) = match delivery {
                Delivery::Tick { tick, skipped } => {
                    (tick.tick().instrument.product.clone(), tick.position(), *skipped)
                }
                Delivery::Event(Event::RateLimited { .. } | Event::Live) => continue,
                other => return Err(TestCaseError::fail(format!("unexpected {other:?}"))),
            };
            let seen = self.seen.entry(product).or_default();
            prop_assert!(seen.last.is_none_or(|last| last < position), "{:?} then {position}", seen.last);
            seen.last = Some(position);
            seen.given += 1;
            seen.skipped += skipped;
        }
        Ok(read)
    }

    /// The subscriber reads until there is nothing left, waiting as long as it is told to.
    fn finish(&mut self) -> Result<(), TestCaseError> {
        for _ in 0..10_000 {
            let read = self.read(7)?;
            match read.wait {
                Some(wait) => self.now += wait,
                None if read.deliveries.is_empty() => return Ok(()),
                None => {}
            }
        }
        Err(TestCaseError::fail("the subscriber never catches up"))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn order_completeness_and_counts(steps in steps(), policy in policies(), ring in 1usize..30) {
        let mut world = World::new(policy, ring);
        for step in steps {
            match step {
                Step::Arrive { product, count, new_run } => world.arrive(product, count, new_run),
                Step::Read { max } => drop(world.read(max)?),
                Step::Wait { ms } => world.now += Duration::from_millis(ms),
            }
        }
        world.finish()?;
        for (product, arrived) in &world.arrived {
            let seen = &world.seen[&instrument(PRODUCTS[*product]).product];
            // The newest is always delivered in the end, and nothing is left out uncounted.
            prop_assert_eq!(seen.last, world.newest.get(product).copied());
            prop_assert_eq!(seen.given + seen.skipped, *arrived);
        }
    }

    #[test]
    fn lossless_gives_every_tick_or_ends(steps in steps(), ring in 1usize..60) {
        let mut world = World::new(Policy::Lossless, ring);
        for step in steps {
            match step {
                Step::Arrive { product, count, new_run } => world.arrive(product, count, new_run),
                Step::Read { max } => {
                    let now = world.now;
                    let ended = world.reader.read(&world.state, when(now), max);
                    let Ok(read) = ended else { return Ok(()) };
                    for delivery in read.deliveries {
                        let is_expected = matches!(
                            delivery,
                            Delivery::Tick { skipped: 0, .. } | Delivery::Event(Event::Live)
                        );
                        prop_assert!(is_expected, "{delivery:?}");
                    }
                }
                Step::Wait { .. } => {}
            }
        }
    }
}
