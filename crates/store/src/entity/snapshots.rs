//! The newest state of each product.

use sea_orm::entity::prelude::*;

/// A row of `snapshots`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "snapshots")]
pub struct Model {
    /// The exchange.
    #[sea_orm(primary_key, auto_increment = false)]
    pub venue: String,
    /// The product.
    #[sea_orm(primary_key, auto_increment = false)]
    pub product: String,
    /// The form of `state`; 1.
    pub version: i32,
    /// The run of the last tick.
    pub run: i64,
    /// The sequence of the last tick.
    pub last_seq: i64,
    /// When it was taken, in nanoseconds since 1970.
    pub ts_snapshot: i64,
    /// The state.
    pub state: Json,
    /// When the product was first seen.
    pub created_at: TimeDateTimeWithTimeZone,
    /// When the row was written.
    pub updated_at: TimeDateTimeWithTimeZone,
}

impl ActiveModelBehavior for ActiveModel {}
