//! The tables as SeaORM sees them, the same on PostgreSQL and SQLite. The columns are described in the migrations.

pub mod gaps;
pub mod latest_prices;
pub mod meta;
mod number;
pub mod price_stats_1min;
pub mod snapshots;
pub mod tick_history;
pub mod trade_counts_1day;

pub use number::Number;
