//! Replacing the stored states by newer ones.

use std::collections::BTreeMap;

use domain::{Instrument, Snapshot, UnixNanos};
use sea_orm::{
    DatabaseTransaction, EntityTrait, ExprTrait, IntoActiveModel,
    sea_query::{Expr, OnConflict},
};

use crate::{
    StoreError,
    entity::snapshots::{Column, Entity},
    error::during,
    snapshots,
};

/// Stores each of `given` that is newer than what is stored: by position, and by time where the position is the same.
pub(super) async fn replace(
    transaction: &DatabaseTransaction,
    given: &[Snapshot],
    written_at: UnixNanos,
) -> Result<(), StoreError> {
    let mut newest: BTreeMap<&Instrument, &Snapshot> = BTreeMap::new();
    for snapshot in given {
        let known = newest.entry(&snapshot.instrument).or_insert(snapshot);
        if age(known) < age(snapshot) {
            *known = snapshot;
        }
    }
    if newest.is_empty() {
        return Ok(());
    }
    let rows = newest
        .into_values()
        .map(|snapshot| snapshots::row(snapshot, written_at).map(IntoActiveModel::into_active_model))
        .collect::<Result<Vec<_>, _>>()?;
    let stored = [Column::Run, Column::LastSeq, Column::TsSnapshot].map(|column| Expr::col((Entity, column)));
    let excluded =
        [Column::Run, Column::LastSeq, Column::TsSnapshot].map(|column| Expr::col(("excluded", column)));
    let replace_older = OnConflict::columns([Column::Venue, Column::Product])
        .update_columns([
            Column::Version,
            Column::Run,
            Column::LastSeq,
            Column::TsSnapshot,
            Column::State,
            Column::UpdatedAt,
        ])
        .action_and_where(Expr::tuple(stored).lt(Expr::tuple(excluded)))
        .to_owned();
    Entity::insert_many(rows)
        .on_conflict(replace_older)
        .exec_without_returning(transaction)
        .await
        .map_err(during("write snapshots"))?;
    Ok(())
}

fn age(snapshot: &Snapshot) -> (domain::Position, UnixNanos) {
    (snapshot.position, snapshot.snapshot_time)
}
