//! What each minute of trades adds up to.

use sea_orm::entity::prelude::*;

use super::Number;

/// A row of `price_stats_1min`, without the means that the database derives.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "price_stats_1min")]
pub struct Model {
    /// The exchange.
    #[sea_orm(primary_key, auto_increment = false)]
    pub venue: String,
    /// The product.
    #[sea_orm(primary_key, auto_increment = false)]
    pub product: String,
    /// The start of the minute of event time.
    #[sea_orm(primary_key, auto_increment = false)]
    pub time_bucket: TimeDateTimeWithTimeZone,
    /// How many trades.
    pub tick_count: i64,
    /// The sum of the prices.
    pub sum_price: Number,
    /// The lowest price.
    pub min_price: Number,
    /// The highest price.
    pub max_price: Number,
    /// The first price in history order.
    pub open_price: Number,
    /// The last price in history order.
    pub close_price: Number,
    /// The sum of the sizes.
    pub sum_volume: Number,
    /// The event time of the first trade.
    pub open_ts_event: i64,
    /// The trade_id of the first trade.
    pub open_trade_id: Option<i64>,
    /// The sequence of the first trade.
    pub open_sequence: Option<i64>,
    /// The event time of the last trade.
    pub close_ts_event: i64,
    /// The trade_id of the last trade.
    pub close_trade_id: Option<i64>,
    /// The sequence of the last trade.
    pub close_sequence: Option<i64>,
}

impl ActiveModelBehavior for ActiveModel {}
