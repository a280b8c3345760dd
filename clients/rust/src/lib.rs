//! A client of LedgerFlux: the latest price, history, and live ticks, over gRPC.
//!
//! It is thin: one connection, calls with a deadline, pages followed by themselves, and the messages of
//! [`v1`] as they are. It does not reconnect; a subscription that ends hands out the token to go on with. Start with
//! [`Client::connect`] and the gRPC endpoint of the gateway (or, for history alone, of the query service).
//!
//! ```no_run
//! # async fn example() -> Result<(), ledgerflux_client::Error> {
//! use ledgerflux_client::{Client, Start, Update};
//!
//! let client = Client::connect("http://127.0.0.1:8000").await?;
//! let latest = client.latest_price("BTC-USD").await?;
//! if let Some(trade) = latest.last_trade {
//!     println!("last trade at {}", trade.price);
//! }
//! let mut updates = client.subscribe(["BTC-USD"], Start::Snapshot).await?;
//! while let Some(update) = updates.next().await? {
//!     if let Update::Tick(update) = update {
//!         println!("{:?}", update.tick);
//!     }
//! }
//! # Ok(())
//! # }
//! ```
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod client;
mod error;
mod history;
mod subscription;

pub use client::Client;
pub use error::Error;
pub use history::{Order, TickRange, Ticks};
/// Points in time and lengths of time as they stand in [`v1`].
pub use prost_types::{Duration, Timestamp};
pub use proto::v1;
pub use subscription::{Start, Subscription, Update};
