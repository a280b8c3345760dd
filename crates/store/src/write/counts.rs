//! Adding new trades to the counts of their days.

use std::collections::BTreeMap;

use domain::Instrument;
use sea_orm::{
    DatabaseTransaction, EntityTrait, ExprTrait, IntoActiveModel,
    sea_query::{Expr, OnConflict},
};

use super::prepare::Row;
use crate::{
    StoreError,
    completeness::DAY,
    entity::trade_counts_1day::{Column, Entity, Model},
    error::during,
};

/// How many counts one statement writes.
const COUNTS_MAX: usize = 500;

/// Counts the trades among `inserted`. Nobody else writes these products until the commit.
pub(super) async fn add(transaction: &DatabaseTransaction, inserted: &[&Row<'_>]) -> Result<(), StoreError> {
    let mut days: BTreeMap<(&Instrument, i64), i64> = BTreeMap::new();
    for row in inserted.iter().filter(|row| row.tick.last_trade.is_some()) {
        *days.entry((&row.tick.instrument, row.tick.event_time.floor_to(DAY).nanos())).or_default() += 1;
    }
    let rows: Vec<_> = days
        .into_iter()
        .map(|((name, ts_day), trades)| {
            let (venue, product) = (name.venue.to_string(), name.product.to_string());
            Model { venue, product, ts_day, trades }.into_active_model()
        })
        .collect();
    for rows in rows.chunks(COUNTS_MAX) {
        let more = Expr::col((Entity, Column::Trades)).add(Expr::col(("excluded", Column::Trades)));
        let add = OnConflict::columns([Column::Venue, Column::Product, Column::TsDay])
            .value(Column::Trades, more)
            .to_owned();
        Entity::insert_many(rows.iter().cloned())
            .on_conflict(add)
            .exec_without_returning(transaction)
            .await
            .map_err(during("count the trades"))?;
    }
    Ok(())
}
