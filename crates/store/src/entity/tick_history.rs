//! Every tick, once.

use sea_orm::entity::prelude::*;

use super::Number;

/// A row of `tick_history`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "tick_history")]
pub struct Model {
    /// In the order of insertion.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// The exchange.
    pub venue: String,
    /// The product.
    pub product: String,
    /// When the row was written.
    pub timestamp: TimeDateTimeWithTimeZone,
    /// The run in which `sequence` counts.
    pub run: i64,
    /// The exchange's sequence; absent for backfills.
    pub sequence: Option<i64>,
    /// The price of the trade.
    pub price: Option<Number>,
    /// The highest bid.
    pub bid: Option<Number>,
    /// The lowest ask.
    pub ask: Option<Number>,
    /// The size of the trade.
    pub volume: Option<Number>,
    /// What is wanted at the bid.
    pub bid_size: Option<Number>,
    /// What is offered at the ask.
    pub ask_size: Option<Number>,
    /// The taker's side, `buy` or `sell`.
    pub side: Option<String>,
    /// The exchange's number of the trade.
    pub trade_id: Option<i64>,
    /// Bit 0 backfilled, bit 1 locked book.
    pub flags: i32,
    /// When it happened, in nanoseconds since 1970.
    pub ts_event: i64,
    /// When it arrived, in nanoseconds since 1970.
    pub ts_ingest: i64,
    /// The message in `LF_TICKS` that brought it.
    pub tick_seq: Option<i64>,
}

impl ActiveModelBehavior for ActiveModel {}
