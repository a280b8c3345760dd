//! The ledger is true, whatever is recorded, written and delivered again in whichever order.

use std::collections::{BTreeMap, BTreeSet};

use domain::{Gap, GapState, Instrument, Tick, UnixNanos};
use proptest::{prelude::*, test_runner::TestRunner};
use store::Store;
use tokio::runtime::Runtime;

use crate::{
    database::{Database, history, write},
    gaps::{gap, query},
    ticks::{at, backfilled, instrument, trade},
};

#[derive(Clone, Debug)]
enum Step {
    Record {
        run: u32,
        first: u64,
        length: u64,
    },
    GiveUp {
        run: u32,
        first: u64,
        length: u64,
    },
    /// Trades as they come from the feed, or from REST: their numbers, and how far beside its own time each is.
    Write {
        run: u32,
        is_fill: bool,
        trades: Vec<(u64, i64)>,
    },
    /// A batch from before once more.
    Again(prop::sample::Index),
}

fn step() -> impl Strategy<Value = Step> {
    let span = || (0u32..2, 1u64..30, 1u64..12);
    let trades = proptest::collection::vec((1u64..40, 0i64..3), 1..12);
    prop_oneof![
        3 => span().prop_map(|(run, first, length)| Step::Record { run, first, length }),
        1 => span().prop_map(|(run, first, length)| Step::GiveUp { run, first, length }),
        4 => (0u32..2, any::<bool>(), trades)
            .prop_map(|(run, is_fill, trades)| Step::Write { run, is_fill, trades }),
        2 => any::<prop::sample::Index>().prop_map(Step::Again),
    ]
}

fn ticks(product: &Instrument, run: u32, is_fill: bool, trades: &[(u64, i64)]) -> Vec<Tick> {
    let tick = |(id, beside): &(u64, i64)| {
        let time = UnixNanos::new(at(i64::try_from(*id).unwrap()).nanos() + beside);
        let live = Tick { instrument: product.clone(), run, ..trade(*id, time, "5.25") };
        // Whoever fetches a trade may not know its run.
        if is_fill { Tick { run: 0, ..backfilled(&live) } } else { live }
    };
    trades.iter().map(tick).collect()
}

async fn check(store: &Store, product: &Instrument, steps: &[Step]) -> Result<(), TestCaseError> {
    let mut written: Vec<Vec<Tick>> = Vec::new();
    let mut recorded: BTreeSet<(u32, u64)> = BTreeSet::new();
    let span =
        |run, first, length| Gap { instrument: product.clone(), run, ..gap(first, first + length - 1) };
    for step in steps {
        let batch = match step {
            Step::Record { run, first, length } | Step::GiveUp { run, first, length } => {
                let gap = span(*run, *first, *length);
                let now = match step {
                    Step::Record { .. } => store.record_gap(&gap).await.unwrap(),
                    _ => store.give_up_gap(&gap).await.unwrap(),
                };
                let all = gaps(store, product).await;
                prop_assert!(now.iter().all(|gap| all.contains(gap)), "what is returned is what is there");
                recorded.extend((*first..first + length).map(|trade| (*run, trade)));
                None
            }
            Step::Write { run, is_fill, trades } => Some(ticks(product, *run, *is_fill, trades)),
            Step::Again(index) if !written.is_empty() => Some(written[index.index(written.len())].clone()),
            Step::Again(_) => None,
        };
        if let Some(batch) = batch {
            let result = write(store, &batch).await;
            let all = gaps(store, product).await;
            prop_assert!(result.gaps.iter().all(|gap| all.contains(gap)));
            let repeated = write(store, &batch).await;
            prop_assert_eq!((repeated.inserted, repeated.gaps), (0, result.gaps), "delivered again");
            written.push(batch);
        }
        check_ledger(store, product, &recorded).await?;
    }
    Ok(())
}

async fn gaps(store: &Store, product: &Instrument) -> Vec<Gap> {
    store.gaps(&query(product.product.as_str())).await.unwrap()
}

async fn check_ledger(
    store: &Store,
    product: &Instrument,
    recorded: &BTreeSet<(u32, u64)>,
) -> Result<(), TestCaseError> {
    let mut stored: BTreeMap<(u32, u64), usize> = BTreeMap::new();
    let ticks = history(store, product).await;
    for (_, tick) in &ticks {
        *stored.entry((tick.run, tick.trade_id().unwrap())).or_default() += 1;
    }
    let mut missing = BTreeSet::new();
    for gap in gaps(store, product).await {
        let trades = (gap.first_trade_id..=gap.last_trade_id).map(|trade| (gap.run, trade));
        let inside: Vec<_> = trades.clone().filter(|trade| stored.contains_key(trade)).collect();
        prop_assert_eq!(gap.repaired_count, inside.len() as u64, "{:?}", gap);
        let is_full = inside.len() == trades.clone().count();
        prop_assert_eq!(gap.state == GapState::Repaired, is_full, "{:?}", gap);
        for trade in trades {
            prop_assert!(missing.insert(trade), "{:?} is in two gaps", trade);
        }
    }
    prop_assert_eq!(&missing, recorded, "every trade that was said to be missing is in a gap, and no other");
    let completeness = store.completeness(product, domain::TimeRange::ALL).await.unwrap();
    prop_assert_eq!(completeness.stored_trades, ticks.len() as u64);
    Ok(())
}

fn the_ledger_is_true(db: &Database, runtime: &Runtime) {
    let config = ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() };
    let case = std::cell::Cell::new(0);
    TestRunner::new(config)
        .run(&proptest::collection::vec(step(), 1..14), |steps| {
            // A product of its own stands for a database of its own.
            case.set(case.get() + 1);
            let product = instrument(&format!("CASE-{}", case.get()));
            runtime.block_on(check(&db.store, &product, &steps))
        })
        .unwrap();
}

#[test]
fn the_ledger_is_true_on_sqlite() {
    let runtime = Runtime::new().unwrap();
    let db = runtime.block_on(Database::sqlite());
    the_ledger_is_true(&db, &runtime);
}

#[test]
fn the_ledger_is_true_on_postgres() {
    let runtime = Runtime::new().unwrap();
    let db = runtime.block_on(Database::postgres());
    the_ledger_is_true(&db, &runtime);
}
