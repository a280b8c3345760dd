//! The newest price of each product.

use sea_orm::entity::prelude::*;

use super::Number;

/// A row of `latest_prices`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "latest_prices")]
pub struct Model {
    /// The exchange.
    #[sea_orm(primary_key, auto_increment = false)]
    pub venue: String,
    /// The product.
    #[sea_orm(primary_key, auto_increment = false)]
    pub product: String,
    /// The price of the newest trade.
    pub price: Option<Number>,
    /// The newest bid.
    pub bid: Option<Number>,
    /// The newest ask.
    pub ask: Option<Number>,
    /// The size of the newest trade.
    pub volume: Option<Number>,
    /// The event time of the newest tick.
    pub ts_event: i64,
    /// When the row was written.
    pub timestamp: TimeDateTimeWithTimeZone,
    /// The run of the newest tick.
    pub run: i64,
    /// The sequence of the newest tick.
    pub last_seq: i64,
}

impl ActiveModelBehavior for ActiveModel {}
