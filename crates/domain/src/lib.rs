//! The vocabulary of LedgerFlux: what a tick, a snapshot, a bar and a gap are, and the rules they obey.
//!
//! Everything here is plain and synchronous. There is no I/O, no clock, no environment, no async, no wire format: time
//! comes in as an argument, and other crates convert to and from [`Tick`], the entry type, at their edges.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]
#![deny(clippy::float_arithmetic)]

mod bar;
mod batch;
mod continuity;
mod event;
mod instrument;
mod merge;
mod number;
mod position;
mod reject;
mod sequence;
mod shard;
mod snapshot;
mod status;
mod tick;
mod timestamp;
mod validate;

pub use bar::{Bar, Candle, CandleState, Completeness, HistoryOrder, Interval, MINUTE};
pub use batch::{BATCH_BYTES_MAX, BATCH_TICKS_MAX, FeedSession, Heartbeat, TickBatch};
pub use continuity::{
    MissingTrades, OPEN_GAPS_MAX, REFUSED_ROWS_MAX, RefusedTrades, TradePlace, TradeTracker,
};
pub use event::{EventKind, FeedEvent, FeedState, Gap, GapCause, GapState, ProductDetails};
pub use instrument::{Instrument, InvalidInstrument, PRODUCT_BYTES_MAX, Product, VENUE_BYTES_MAX, Venue};
pub use merge::{HELD_TICKS_MAX, Held, Hold, LEG_ALIVE_FOR, LEGS_MAX, LegId, Legs, Race, Released};
pub use number::{Decimal, InvalidNumber, parse_number};
pub use position::Position;
pub use reject::{REJECT_RAW_BYTES_MAX, RejectReason, RejectedTick};
pub use sequence::{NEW_RUN_AFTER, ProductTracker, RECENT_SEQUENCES_MAX, Verdict};
pub use shard::{InvalidShardCount, SHARDS_DEFAULT, SHARDS_MAX, Shard, ShardCount};
pub use snapshot::{MarketState, Snapshot};
pub use status::{RoleStatus, ShardProgress};
pub use tick::{DayStats, Quote, Side, Tick, TickFlags, Trade};
pub use timestamp::{InvalidTime, TimeRange, UnixNanos};
pub use validate::{EARLIEST_EVENT_TIME, FUTURE_TOLERANCE, Fault, validate};
