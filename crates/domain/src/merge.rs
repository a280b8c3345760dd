//! Several ingestors that bring the same feed, as one: what one of them misses the others fill in, in order.
//!
//! [`Legs`] knows who is there, [`Hold`] waits with what comes behind missing trades, and [`Race`] keeps score.

mod hold;
mod legs;
mod race;

pub use hold::{HELD_TICKS_MAX, Held, Hold, Released};
pub use legs::{LEG_ALIVE_FOR, LEGS_MAX, LegId, Legs};
pub use race::Race;
