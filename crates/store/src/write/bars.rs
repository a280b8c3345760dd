//! Adding new trades to the bars of their minutes.

use std::collections::{BTreeMap, btree_map::Entry};

use domain::{Bar, Instrument, MINUTE, UnixNanos};
use metrics::counter;
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, DatabaseTransaction, DbBackend, EntityTrait, IntoActiveModel,
    QueryFilter, Statement, sea_query::OnConflict,
};
use time::OffsetDateTime;

use super::prepare::{Prepared, Row};
use crate::{
    StoreError,
    candles::{bar, bar_row},
    entity::price_stats_1min::{Column, Entity, Model},
    error::during,
    metrics as names,
    row::{instrument, is, nanos},
};

/// How many bars one statement reads or writes: up to 16 values each, of at most 32,766 on SQLite.
const BARS_MAX: usize = 500;

type Bars<'a> = BTreeMap<(&'a Instrument, UnixNanos), Bar>;

/// Adds the trades among `inserted` to the stored bars. Nobody else writes these products until the commit.
pub(super) async fn add(
    transaction: &DatabaseTransaction,
    prepared: &Prepared<'_>,
    inserted: &[&Row<'_>],
) -> Result<(), StoreError> {
    let mut bars = Bars::new();
    for row in inserted {
        if let Some(bar) = Bar::of(row.tick, MINUTE) {
            merge(&mut bars, (&row.tick.instrument, bar.start), bar);
        }
    }
    let keys: Vec<_> = bars.keys().copied().collect();
    for keys in keys.chunks(BARS_MAX) {
        for stored in read(transaction, keys).await? {
            let name = instrument("price_stats_1min", &stored.venue, &stored.product)?;
            let start = nanos("price_stats_1min", "time_bucket", stored.time_bucket)?;
            if let Some(known) = prepared.instruments().find(|known| **known == name) {
                merge(&mut bars, (known, start), bar(&stored)?);
            }
        }
    }
    let rows = bars
        .iter()
        .map(|((name, _), bar)| bar_row(name, bar).map(IntoActiveModel::into_active_model))
        .collect::<Result<Vec<_>, _>>()?;
    for rows in rows.chunks(BARS_MAX) {
        let replace = OnConflict::columns([Column::Venue, Column::Product, Column::TimeBucket])
            .update_columns(VALUES)
            .to_owned();
        Entity::insert_many(rows.iter().cloned())
            .on_conflict(replace)
            .exec_without_returning(transaction)
            .await
            .map_err(during("write bars"))?;
    }
    Ok(())
}

const VALUES: [Column; 13] = [
    Column::TickCount,
    Column::SumPrice,
    Column::MinPrice,
    Column::MaxPrice,
    Column::OpenPrice,
    Column::ClosePrice,
    Column::SumVolume,
    Column::OpenTsEvent,
    Column::OpenTradeId,
    Column::OpenSequence,
    Column::CloseTsEvent,
    Column::CloseTradeId,
    Column::CloseSequence,
];

fn merge<'a>(bars: &mut Bars<'a>, key: (&'a Instrument, UnixNanos), other: Bar) {
    match bars.entry(key) {
        Entry::Vacant(place) => {
            place.insert(other);
        }
        Entry::Occupied(mut place) => {
            if !place.get_mut().merge(&other) {
                // The trades are in history; only the sums of this minute cannot be told any more.
                counter!(names::BAR_OVERFLOWS).increment(other.tick_count.min(place.get().tick_count));
                tracing::error!(instrument = %key.0, minute = %key.1, "the sums of a bar exceed 28 digits");
                if other.tick_count > place.get().tick_count {
                    place.insert(other);
                }
            }
        }
    }
}

async fn read(
    transaction: &DatabaseTransaction,
    keys: &[(&Instrument, UnixNanos)],
) -> Result<Vec<Model>, StoreError> {
    if transaction.get_database_backend() == DbBackend::Postgres {
        return read_set(transaction, keys).await;
    }
    let mut minutes: BTreeMap<&Instrument, Vec<_>> = BTreeMap::new();
    for (name, start) in keys {
        minutes.entry(name).or_default().push(start.to_offset_date_time());
    }
    let wanted = minutes.into_iter().fold(Condition::any(), |any, (name, starts)| {
        any.add(is(Column::Venue, Column::Product, name).add(Column::TimeBucket.is_in(starts)))
    });
    Entity::find().filter(wanted).all(transaction).await.map_err(during("read bars"))
}

/// The same on PostgreSQL, where planning a condition for each product takes longer than reading the rows.
async fn read_set(
    transaction: &DatabaseTransaction,
    keys: &[(&Instrument, UnixNanos)],
) -> Result<Vec<Model>, StoreError> {
    let venues: Vec<String> = keys.iter().map(|(name, _)| name.venue.to_string()).collect();
    let products: Vec<String> = keys.iter().map(|(name, _)| name.product.to_string()).collect();
    let starts: Vec<OffsetDateTime> = keys.iter().map(|(_, start)| start.to_offset_date_time()).collect();
    let select = Statement::from_sql_and_values(
        DbBackend::Postgres,
        "SELECT bars.* FROM unnest($1::text[], $2::text[], $3::timestamptz[]) AS wanted(venue, product, time_bucket) \
         JOIN price_stats_1min AS bars USING (venue, product, time_bucket)",
        [venues.into(), products.into(), starts.into()],
    );
    Entity::find().from_raw_sql(select).all(transaction).await.map_err(during("read bars"))
}
