//! Trades that were missed.

use sea_orm::entity::prelude::*;

/// A row of `gaps`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "gaps")]
pub struct Model {
    /// The exchange.
    #[sea_orm(primary_key, auto_increment = false)]
    pub venue: String,
    /// The product.
    #[sea_orm(primary_key, auto_increment = false)]
    pub product: String,
    /// The run in which it was seen.
    #[sea_orm(primary_key, auto_increment = false)]
    pub run: i64,
    /// The first missing trade.
    #[sea_orm(primary_key, auto_increment = false)]
    pub first_trade_id: i64,
    /// The last missing trade.
    #[sea_orm(primary_key, auto_increment = false)]
    pub last_trade_id: i64,
    /// The event time of the last trade before it.
    pub ts_before: Option<i64>,
    /// The event time of the first trade after it.
    pub ts_after: Option<i64>,
    /// When it was noticed, in nanoseconds since 1970.
    pub detected_at: i64,
    /// Why.
    pub cause: String,
    /// What has become of it.
    pub state: String,
    /// How many of its trades were fetched.
    pub repaired_count: i64,
}

impl ActiveModelBehavior for ActiveModel {}
