//! Moving the newest prices forward.

use std::collections::BTreeMap;

use domain::{Instrument, Position, UnixNanos};
use sea_orm::{
    Condition, ConnectionTrait, DatabaseTransaction, DbBackend, EntityTrait, IntoActiveModel, QueryFilter,
    Statement, sea_query::OnConflict,
};

use super::prepare::{Prepared, Row};
use crate::{
    LatestPrice, StoreError,
    entity::latest_prices::{Column, Entity},
    error::during,
    row::is,
};

/// Applies the live ticks among `inserted` that stand after what is known. Late and backfilled ones change nothing.
pub(super) async fn advance(
    transaction: &DatabaseTransaction,
    prepared: &Prepared<'_>,
    inserted: &[&Row<'_>],
    written_at: UnixNanos,
) -> Result<(), StoreError> {
    let mut live: BTreeMap<usize, Vec<(Position, &Row<'_>)>> = BTreeMap::new();
    for row in inserted.iter().filter(|row| !row.is_backfill()) {
        if let Some(position) = row.tick.position() {
            live.entry(row.instrument).or_default().push((position, row));
        }
    }
    if live.is_empty() {
        return Ok(());
    }
    let mut known = read(transaction, prepared, &live).await?;
    let mut changed = Vec::new();
    for (number, mut rows) in live {
        rows.sort_unstable_by_key(|(position, _)| *position);
        let mut latest = known.remove(&number);
        let before = latest.as_ref().map(|latest| latest.position);
        for (position, row) in rows {
            match &mut latest {
                Some(latest) => latest.advance(position, row.tick),
                None => latest = Some(LatestPrice::first(position, row.tick, written_at)),
            }
        }
        if let Some(mut latest) = latest.filter(|latest| Some(latest.position) != before) {
            latest.written_at = written_at;
            changed.push(latest.row()?.into_active_model());
        }
    }
    if changed.is_empty() {
        return Ok(());
    }
    let replace = OnConflict::columns([Column::Venue, Column::Product])
        .update_columns([
            Column::Price,
            Column::Bid,
            Column::Ask,
            Column::Volume,
            Column::TsEvent,
            Column::Timestamp,
            Column::Run,
            Column::LastSeq,
        ])
        .to_owned();
    Entity::insert_many(changed)
        .on_conflict(replace)
        .exec_without_returning(transaction)
        .await
        .map_err(during("write the newest prices"))?;
    Ok(())
}

async fn read(
    transaction: &DatabaseTransaction,
    prepared: &Prepared<'_>,
    live: &BTreeMap<usize, Vec<(Position, &Row<'_>)>>,
) -> Result<BTreeMap<usize, LatestPrice>, StoreError> {
    let names = live.values().filter_map(|rows| rows.first()).map(|(_, row)| &row.tick.instrument);
    let rows = if transaction.get_database_backend() == DbBackend::Postgres {
        // Planning a condition for each product takes longer than reading the rows.
        let (venues, products): (Vec<String>, Vec<String>) =
            names.map(|name| (name.venue.to_string(), name.product.to_string())).unzip();
        let select = Statement::from_sql_and_values(
            DbBackend::Postgres,
            "SELECT prices.* FROM unnest($1::text[], $2::text[]) AS wanted(venue, product) \
             JOIN latest_prices AS prices USING (venue, product)",
            [venues.into(), products.into()],
        );
        Entity::find().from_raw_sql(select).all(transaction).await
    } else {
        let wanted = names.fold(Condition::any(), |any, name: &Instrument| {
            any.add(is(Column::Venue, Column::Product, name))
        });
        Entity::find().filter(wanted).all(transaction).await
    };
    let rows = rows.map_err(during("read the newest prices"))?;
    rows.iter()
        .filter_map(|row| {
            let number = prepared.number_of(&row.venue, &row.product)?;
            Some(LatestPrice::read(row).map(|latest| (number, latest)))
        })
        .collect()
}
