//! The newest stored state of each product.

use domain::{Instrument, Position, Snapshot, UnixNanos};
use sea_orm::{EntityTrait, QueryFilter, QueryOrder};

use crate::{
    Store, StoreError,
    entity::snapshots::{Column, Entity, Model},
    error::during,
    row::{instrument, is, run, signed, unsigned},
    state,
};

const TABLE: &str = "snapshots";

impl Store {
    /// The newest stored state of every product, by venue and product.
    pub async fn snapshots(&self) -> Result<Vec<Snapshot>, StoreError> {
        self.within("read the snapshots", async {
            let rows = Entity::find()
                .order_by_asc(Column::Venue)
                .order_by_asc(Column::Product)
                .all(&self.inner.reader)
                .await
                .map_err(during("read the snapshots"))?;
            rows.iter().map(read).collect()
        })
        .await
    }

    /// The newest stored state of `wanted`.
    pub async fn snapshot(&self, wanted: &Instrument) -> Result<Option<Snapshot>, StoreError> {
        self.within("read a snapshot", async {
            let row = Entity::find()
                .filter(is(Column::Venue, Column::Product, wanted))
                .one(&self.inner.reader)
                .await
                .map_err(during("read a snapshot"))?;
            row.as_ref().map(read).transpose()
        })
        .await
    }
}

fn read(row: &Model) -> Result<Snapshot, StoreError> {
    if row.version != state::VERSION {
        return Err(StoreError::corrupt(TABLE, "version", &row.version.to_string()));
    }
    Ok(Snapshot {
        instrument: instrument(TABLE, &row.venue, &row.product)?,
        position: Position {
            run: run(TABLE, row.run)?,
            sequence: unsigned(TABLE, "last_seq", row.last_seq)?,
        },
        snapshot_time: UnixNanos::new(row.ts_snapshot),
        state: state::read(&row.state)?,
    })
}

pub(crate) fn row(snapshot: &Snapshot, written_at: UnixNanos) -> Result<Model, StoreError> {
    let written_at = written_at.to_offset_date_time();
    Ok(Model {
        venue: snapshot.instrument.venue.to_string(),
        product: snapshot.instrument.product.to_string(),
        version: state::VERSION,
        run: i64::from(snapshot.position.run),
        last_seq: signed(&snapshot.instrument, "sequence", snapshot.position.sequence)?,
        ts_snapshot: snapshot.snapshot_time.nanos(),
        state: state::write(snapshot),
        created_at: written_at,
        updated_at: written_at,
    })
}
