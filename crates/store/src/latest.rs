//! The newest price of each product, and which products there are.

use std::collections::BTreeSet;

use domain::{Decimal, Instrument, Position, Tick, UnixNanos};
use sea_orm::{ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Statement};

use crate::{
    Store, StoreError,
    entity::{
        Number,
        latest_prices::{Column, Entity, Model},
        snapshots, trade_counts_1day,
    },
    error::during,
    row::{instrument, is, nanos, run, signed, unsigned},
};

const TABLE: &str = "latest_prices";

/// What a product cost last, by position: late and backfilled ticks never change it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LatestPrice {
    /// Where and what.
    pub instrument: Instrument,
    /// The newest tick.
    pub position: Position,
    /// Its event time.
    pub event_time: UnixNanos,
    /// The price of the newest trade.
    pub price: Option<Decimal>,
    /// The newest best bid.
    pub bid: Option<Decimal>,
    /// The newest best ask.
    pub ask: Option<Decimal>,
    /// The size of the newest trade.
    pub volume: Option<Decimal>,
    /// When the newest tick was stored.
    pub written_at: UnixNanos,
}

impl Store {
    /// The newest price of `wanted`; `None` before its first live tick.
    pub async fn latest(&self, wanted: &Instrument) -> Result<Option<LatestPrice>, StoreError> {
        self.within("read the newest price", async {
            let row = Entity::find()
                .filter(is(Column::Venue, Column::Product, wanted))
                .one(&self.inner.reader)
                .await
                .map_err(during("read the newest price"))?;
            row.as_ref().map(LatestPrice::read).transpose()
        })
        .await
    }

    /// The newest price of every product, by venue and product.
    pub async fn latest_prices(&self) -> Result<Vec<LatestPrice>, StoreError> {
        self.within("read the newest prices", async {
            let rows = Entity::find()
                .order_by_asc(Column::Venue)
                .order_by_asc(Column::Product)
                .all(&self.inner.reader)
                .await
                .map_err(during("read the newest prices"))?;
            rows.iter().map(LatestPrice::read).collect()
        })
        .await
    }

    /// Whether anything of `wanted` is stored: a live tick, a fetched one, or a gap.
    pub async fn knows(&self, wanted: &Instrument) -> Result<bool, StoreError> {
        let select = "SELECT 1 WHERE EXISTS (SELECT 1 FROM latest_prices WHERE venue = $1 AND product = $2) \
             OR EXISTS (SELECT 1 FROM trade_counts_1day WHERE venue = $1 AND product = $2) \
             OR EXISTS (SELECT 1 FROM gaps WHERE venue = $1 AND product = $2)";
        self.within("look for a product", async {
            let reader = &self.inner.reader;
            let names = [wanted.venue.as_str().into(), wanted.product.as_str().into()];
            let select = Statement::from_sql_and_values(reader.get_database_backend(), select, names);
            let row = reader.query_one_raw(select).await.map_err(during("look for a product"))?;
            Ok(row.is_some())
        })
        .await
    }

    /// Every product that has a live tick, a fetched one, or a snapshot, by venue and product.
    pub async fn instruments(&self) -> Result<Vec<Instrument>, StoreError> {
        self.within("list the products", async {
            let reader = &self.inner.reader;
            let priced: Vec<(String, String)> = Entity::find()
                .select_only()
                .columns([Column::Venue, Column::Product])
                .into_tuple()
                .all(reader)
                .await
                .map_err(during("list the products"))?;
            let pictured: Vec<(String, String)> = snapshots::Entity::find()
                .select_only()
                .columns([snapshots::Column::Venue, snapshots::Column::Product])
                .into_tuple()
                .all(reader)
                .await
                .map_err(during("list the products"))?;
            let counted: Vec<(String, String)> = trade_counts_1day::Entity::find()
                .select_only()
                .columns([trade_counts_1day::Column::Venue, trade_counts_1day::Column::Product])
                .distinct()
                .into_tuple()
                .all(reader)
                .await
                .map_err(during("list the products"))?;
            let names: BTreeSet<_> = priced.into_iter().chain(pictured).chain(counted).collect();
            names.iter().map(|(venue, product)| instrument(TABLE, venue, product)).collect()
        })
        .await
    }
}

impl LatestPrice {
    pub(crate) fn first(position: Position, tick: &Tick, written_at: UnixNanos) -> Self {
        let mut latest = Self {
            instrument: tick.instrument.clone(),
            position,
            event_time: tick.event_time,
            price: None,
            bid: None,
            ask: None,
            volume: None,
            written_at,
        };
        latest.apply(tick);
        latest
    }

    /// Takes over what `tick` says when it stands after what is known.
    pub(crate) fn advance(&mut self, position: Position, tick: &Tick) {
        if position > self.position {
            self.position = position;
            self.event_time = tick.event_time;
            self.apply(tick);
        }
    }

    fn apply(&mut self, tick: &Tick) {
        if let Some(trade) = &tick.last_trade {
            self.price = Some(trade.price);
            self.volume = Some(trade.size);
        }
        self.bid = tick.best_bid.as_ref().map(|bid| bid.price).or(self.bid);
        self.ask = tick.best_ask.as_ref().map(|ask| ask.price).or(self.ask);
    }

    pub(crate) fn read(row: &Model) -> Result<Self, StoreError> {
        Ok(Self {
            instrument: instrument(TABLE, &row.venue, &row.product)?,
            position: Position {
                run: run(TABLE, row.run)?,
                sequence: unsigned(TABLE, "last_seq", row.last_seq)?,
            },
            event_time: UnixNanos::new(row.ts_event),
            price: row.price.map(|number| number.0),
            bid: row.bid.map(|number| number.0),
            ask: row.ask.map(|number| number.0),
            volume: row.volume.map(|number| number.0),
            written_at: nanos(TABLE, "timestamp", row.timestamp)?,
        })
    }

    pub(crate) fn row(&self) -> Result<Model, StoreError> {
        Ok(Model {
            venue: self.instrument.venue.to_string(),
            product: self.instrument.product.to_string(),
            price: self.price.map(Number),
            bid: self.bid.map(Number),
            ask: self.ask.map(Number),
            volume: self.volume.map(Number),
            ts_event: self.event_time.nanos(),
            timestamp: self.written_at.to_offset_date_time(),
            run: i64::from(self.position.run),
            last_seq: signed(&self.instrument, "sequence", self.position.sequence)?,
        })
    }
}
