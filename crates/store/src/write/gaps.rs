//! Counting new trades in the gaps that they lie in.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use domain::{Gap, Instrument};
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, DatabaseTransaction, DbBackend, EntityTrait, IntoActiveModel,
    QueryFilter, Statement, sea_query::OnConflict,
};

use super::prepare::{Prepared, Row};
use crate::{
    StoreError,
    entity::gaps::{Column, Entity, Model},
    error::during,
    gaps, ledger,
    row::is,
};

/// How many ranges of trades one statement looks at, and how many gaps one writes.
const RANGES_MAX: usize = 200;

/// A gap: the number of its product in the batch, its run, its first trade.
type Key = (usize, i64, i64);

/// The gaps around the trades of a batch. Nobody else changes them until the commit.
#[derive(Debug)]
pub(super) struct Around {
    gaps: BTreeMap<Key, Model>,
    touched: BTreeSet<Key>,
}

impl Around {
    /// Reads them, and gives each backfilled trade the run of its gap.
    pub(super) async fn of(
        transaction: &DatabaseTransaction,
        prepared: &mut Prepared<'_>,
    ) -> Result<Self, StoreError> {
        let mut gaps = BTreeMap::new();
        let ranges = ranges(prepared);
        for ranges in ranges.chunks(RANGES_MAX) {
            for gap in read(transaction, ranges).await? {
                if let Some(instrument) = prepared.number_of(&gap.venue, &gap.product) {
                    gaps.insert((instrument, gap.run, gap.first_trade_id), gap);
                }
            }
        }
        let mut around = Self { gaps, touched: BTreeSet::new() };
        for row in &mut prepared.rows {
            if let Some(key) = around.gap_of(row).or_else(|| around.gap_of_any_run(row)) {
                row.run = key.1;
                around.touched.insert(key);
            }
        }
        Ok(around)
    }

    /// The gap of its run that a trade lies in.
    pub(super) fn gap_of(&self, row: &Row<'_>) -> Option<Key> {
        let trade_id = row.trade_id?;
        let up_to = (row.instrument, row.run, trade_id);
        let (key, gap) = self.gaps.range((row.instrument, row.run, i64::MIN)..=up_to).next_back()?;
        (gap.last_trade_id >= trade_id).then_some(*key)
    }

    /// The gap of the newest run that a backfilled trade lies in.
    fn gap_of_any_run(&self, row: &Row<'_>) -> Option<Key> {
        let trade_id = row.trade_id.filter(|_| row.is_backfill())?;
        let of_product = (row.instrument, i64::MIN, i64::MIN)..=(row.instrument, i64::MAX, i64::MAX);
        let holds = |gap: &Model| (gap.first_trade_id..=gap.last_trade_id).contains(&trade_id);
        self.gaps.range(of_product).rev().find(|(_, gap)| holds(gap)).map(|(key, _)| *key)
    }

    /// Counts the trades that were stored in each gap. A trade that is stored twice, at two times, is one trade.
    pub(super) async fn fill(
        &mut self,
        transaction: &DatabaseTransaction,
        inserted: &[&Row<'_>],
    ) -> Result<(), StoreError> {
        let found: BTreeSet<(Key, i64)> =
            inserted.iter().filter_map(|row| Some((self.gap_of(row)?, row.trade_id?))).collect();
        let mut counts: BTreeMap<Key, i64> = BTreeMap::new();
        found.into_iter().for_each(|(key, _)| *counts.entry(key).or_default() += 1);
        let mut changed = Vec::with_capacity(counts.len());
        for (key, count) in counts {
            if let Some(gap) = self.gaps.get_mut(&key) {
                gap.repaired_count = gap.repaired_count.saturating_add(count);
                ledger::close_when_full(gap);
                changed.push(gap.clone().into_active_model());
            }
        }
        for gaps in changed.chunks(RANGES_MAX) {
            let replace = OnConflict::columns([
                Column::Venue,
                Column::Product,
                Column::Run,
                Column::FirstTradeId,
                Column::LastTradeId,
            ])
            .update_columns([Column::State, Column::RepairedCount])
            .to_owned();
            Entity::insert_many(gaps.iter().cloned())
                .on_conflict(replace)
                .exec_without_returning(transaction)
                .await
                .map_err(during("write gaps"))?;
        }
        Ok(())
    }

    /// The gaps that trades of the batch lie in, stored before or now.
    pub(super) fn touched(&self) -> Result<Vec<Gap>, StoreError> {
        self.touched.iter().filter_map(|key| self.gaps.get(key)).map(gaps::read).collect()
    }
}

/// The trades of a product: the first and the last one. Live and backfilled ones apart, which lie far from each other.
fn ranges<'a>(prepared: &Prepared<'a>) -> Vec<(&'a Instrument, i64, i64)> {
    let mut ranges: BTreeMap<(usize, bool), (&Instrument, i64, i64)> = BTreeMap::new();
    for row in &prepared.rows {
        let Some(trade_id) = row.trade_id else { continue };
        match ranges.entry((row.instrument, row.is_backfill())) {
            Entry::Vacant(place) => _ = place.insert((&row.tick.instrument, trade_id, trade_id)),
            Entry::Occupied(mut place) => {
                let (_, first, last) = place.get_mut();
                (*first, *last) = (trade_id.min(*first), trade_id.max(*last));
            }
        }
    }
    ranges.into_values().collect()
}

async fn read(
    transaction: &DatabaseTransaction,
    ranges: &[(&Instrument, i64, i64)],
) -> Result<Vec<Model>, StoreError> {
    let rows = if transaction.get_database_backend() == DbBackend::Postgres {
        // Planning a condition for each product takes longer than reading the rows.
        let text = |part: fn(&Instrument) -> String| -> Vec<String> {
            ranges.iter().map(|(name, ..)| part(name)).collect()
        };
        let number =
            |part: fn(&(&Instrument, i64, i64)) -> i64| -> Vec<i64> { ranges.iter().map(part).collect() };
        let select = Statement::from_sql_and_values(
            DbBackend::Postgres,
            "SELECT gaps.* FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[]) \
             AS wanted(venue, product, first, last) JOIN gaps USING (venue, product) \
             WHERE last_trade_id >= first AND first_trade_id <= last",
            [
                text(|name| name.venue.to_string()).into(),
                text(|name| name.product.to_string()).into(),
                number(|range| range.1).into(),
                number(|range| range.2).into(),
            ],
        );
        Entity::find().from_raw_sql(select).all(transaction).await
    } else {
        let wanted = ranges.iter().fold(Condition::any(), |any, (name, first, last)| {
            any.add(
                is(Column::Venue, Column::Product, name)
                    .add(Column::LastTradeId.gte(*first))
                    .add(Column::FirstTradeId.lte(*last)),
            )
        });
        Entity::find().filter(wanted).all(transaction).await
    };
    rows.map_err(during("read gaps"))
}
