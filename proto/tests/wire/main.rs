//! The wire format from outside: that it loses nothing, names what is wrong, and stays what it was.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod arbitrary;
mod faults;
mod golden;
mod image;
mod limits;
mod report_faults;
mod round_trip;
mod samples;
