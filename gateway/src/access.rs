//! Who may call, and what for: API keys, tokens, what each of them may see and how much, and where browsers may come from.
//!
//! A request that passes has a [`Caller`] among its extensions, also where nobody is asked for credentials. What it may see,
//! how much it may take and when its time is over are questions to the caller, and to nobody else.

mod caller;
mod config;
mod credentials;
mod files;
mod grant;
mod guard;
mod jwt;
pub mod keys;
mod layer;
mod origin;
mod products;
mod ring_provider;
pub(crate) mod status;
mod stream;

pub use config::AccessConfig;
pub use files::AccessError;

pub(crate) use caller::{Caller, Ended, Seat};
pub(crate) use credentials::{SECRET_HEADERS, subprotocol_token};
pub(crate) use guard::{Guard, Refused};
pub(crate) use layer::{Need, admit, caller_of, check_origin, sit_down};
pub(crate) use products::narrowed;
pub(crate) use stream::{FAREWELL, Meter, until_ended};
