//! How many trades of each day are stored.

use sea_orm::entity::prelude::*;

/// A row of `trade_counts_1day`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "trade_counts_1day")]
pub struct Model {
    /// The exchange.
    #[sea_orm(primary_key, auto_increment = false)]
    pub venue: String,
    /// The product.
    #[sea_orm(primary_key, auto_increment = false)]
    pub product: String,
    /// The start of the day of event time, in nanoseconds since 1970.
    #[sea_orm(primary_key, auto_increment = false)]
    pub ts_day: i64,
    /// How many trades.
    pub trades: i64,
}

impl ActiveModelBehavior for ActiveModel {}
