//! Where the database stands: stored snapshots may be a moment older than the newest stored ticks.

use domain::{Instrument, Snapshot, UnixNanos};
use store::{Order, Store, StoreError, TickQuery, TickRange};

/// Ticks of one page. A snapshot is written once a second, so one page is all there is but after a crash.
const PAGE: usize = 1_000;

/// The newest state of each product that `wanted` names, as the stored ticks tell it: the stored snapshot, advanced by what
/// was stored after it. Statistics of the day are those of the snapshot; ticks are stored without.
pub(crate) async fn newest_states(
    store: &Store,
    wanted: impl Fn(&Instrument) -> bool,
) -> Result<Vec<Snapshot>, StoreError> {
    let mut states = Vec::new();
    let mut snapshots = store.snapshots().await?;
    for latest in store.latest_prices().await? {
        if !wanted(&latest.instrument) {
            continue;
        }
        let at = snapshots.iter().position(|snapshot| snapshot.instrument == latest.instrument);
        let state = match at {
            Some(at) => Some(snapshots.swap_remove(at)),
            // No snapshot was written before the end: the newest tick is the whole of what is known.
            None => newest_tick(store, &latest.instrument, latest.position.run).await?,
        };
        let Some(mut state) = state else { continue };
        for run in state.position.run..=latest.position.run {
            advance(store, &mut state, run).await?;
        }
        states.push(state);
    }
    states.extend(snapshots.into_iter().filter(|snapshot| wanted(&snapshot.instrument)));
    Ok(states)
}

async fn advance(store: &Store, state: &mut Snapshot, run: u32) -> Result<(), StoreError> {
    let from = if run == state.position.run { state.position.sequence.saturating_add(1) } else { 0 };
    let mut query = TickQuery {
        instrument: state.instrument.clone(),
        range: TickRange::Sequence { run, from, until: u64::MAX },
        order: Order::Ascending,
        after: None,
        limit: PAGE,
    };
    loop {
        let page = store.ticks(&query).await?;
        for (_, tick) in &page {
            state.advance(tick);
        }
        match page.last() {
            Some((key, _)) if page.len() == PAGE => query.after = Some(*key),
            _ => return Ok(()),
        }
    }
}

async fn newest_tick(
    store: &Store,
    instrument: &Instrument,
    run: u32,
) -> Result<Option<Snapshot>, StoreError> {
    let query = TickQuery {
        instrument: instrument.clone(),
        range: TickRange::Sequence { run, from: 0, until: u64::MAX },
        order: Order::Descending,
        after: None,
        limit: 1,
    };
    let newest = store.ticks(&query).await?;
    let snapshot = newest.first().and_then(|(_, tick)| Snapshot::first(tick));
    Ok(snapshot.map(|snapshot| Snapshot { snapshot_time: UnixNanos::now(), ..snapshot }))
}
