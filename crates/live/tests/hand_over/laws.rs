//! The laws, under random interleavings of arrivals, store lag, reads, restarts, losses and retention.

use live::Policy;
use proptest::prelude::*;

use crate::world::{How, PRODUCTS, World};

#[derive(Clone, Debug)]
enum Step {
    Arrive { product: usize, count: usize, new_run: bool },
    Store { product: usize, count: usize },
    Read { max: usize },
    Restart { last_batch: usize },
    Leave,
    Lose { product: usize, count: usize },
    Down(bool),
    Retain { product: usize, count: usize },
    Drop { product: usize },
    Again { product: usize, back: usize, how: How },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let how = prop::sample::select(vec![How::Now, How::Snapshot, How::Time, How::After]);
    let step = prop_oneof![
        6 => (0..2usize, 1usize..200, prop::bool::weighted(0.1))
            .prop_map(|(product, count, new_run)| Step::Arrive { product, count, new_run }),
        5 => (0..2usize, 1usize..300).prop_map(|(product, count)| Step::Store { product, count }),
        8 => (1usize..40).prop_map(|max| Step::Read { max }),
        1 => (1usize..20).prop_map(|last_batch| Step::Restart { last_batch }),
        1 => Just(Step::Leave),
        1 => (0..2usize, 0usize..50).prop_map(|(product, count)| Step::Lose { product, count }),
        1 => any::<bool>().prop_map(Step::Down),
        1 => (0..2usize, 0usize..50).prop_map(|(product, count)| Step::Retain { product, count }),
        1 => (0..2usize).prop_map(|product| Step::Drop { product }),
        3 => (0..2usize, 0usize..400, how)
            .prop_map(|(product, back, how)| Step::Again { product, back, how }),
    ];
    prop::collection::vec(step, 1..80)
}

fn run(test: impl Future<Output = Result<(), TestCaseError>>) -> Result<(), TestCaseError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(test)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_hole_no_duplicate_no_step_back(steps in steps(), ring in 1usize..60, lossless: bool) {
        run(async {
            let policy = if lossless { Policy::Lossless } else { Policy::default() };
            let mut world = World::new(ring, policy);
            for step in steps {
                match step {
                    Step::Arrive { product, count, new_run } => world.arrive(PRODUCTS[product], count, new_run),
                    Step::Store { product, count } => world.store(PRODUCTS[product], count),
                    Step::Read { max } => drop(world.read(max).await?),
                    Step::Restart { last_batch } => world.restart(last_batch),
                    Step::Leave => world.ended = true,
                    Step::Lose { product, count } => world.lose(PRODUCTS[product], count),
                    Step::Down(is_down) => *world.list.is_down.lock().unwrap() = is_down,
                    Step::Drop { product } => world.drop(PRODUCTS[product]),
                    Step::Again { product, back, how } => world.again(PRODUCTS[product], back, how),
                    Step::Retain { product, count } => world.list.with(PRODUCTS[product], |stored| {
                        stored.from = (stored.from + count).min(stored.until.saturating_sub(1));
                    }),
                }
            }
            world.finish().await
        })?;
    }
}
