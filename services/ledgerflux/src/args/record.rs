//! The arguments of `ledgerflux record`.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::{CommonArgs, FeedArgs};

pub(super) const EXAMPLES: &str = "\
Examples:
  ledgerflux record --out recordings --products BTC-USD,ETH-USD
  ledgerflux record --out recordings --rotate-size 64MiB --rotate-every 1h
  ledgerflux up --feed replay:recordings             all files of the directory, in order

It connects as the ingestor does, and needs neither broker nor database. Ctrl-C or SIGTERM ends it.";

/// The smallest file that a new one is begun after.
const ROTATE_SIZE_MIN: u64 = 1024;

/// `ledgerflux record`
#[derive(Args, Debug)]
pub(crate) struct RecordArgs {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    #[command(flatten)]
    pub(crate) feed: FeedArgs,
    /// The channels, separated by commas [default: ticker,heartbeat].
    #[arg(long, value_name = "A,B")]
    pub(crate) channels: Option<String>,
    /// The directory for the files; it is made where it is missing.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Begin a new file once one has this size on disk (compressed): bytes, or a number of KiB, MiB or GiB.
    #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = size)]
    pub(crate) rotate_size: u64,
    /// Begin a new file also after this time.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) rotate_every: Option<Duration>,
}

/// Reads a number of bytes.
fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|letter: char| !letter.is_ascii_digit());
    let (number, unit) = (digits.parse::<u64>().ok(), text[digits.len()..].trim());
    let factor = match unit {
        "" | "B" => Some(1),
        "KiB" => Some(1 << 10),
        "MiB" => Some(1 << 20),
        "GiB" => Some(1 << 30),
        _ => None,
    };
    let size = number.zip(factor).and_then(|(number, factor)| number.checked_mul(factor));
    size.filter(|size| *size >= ROTATE_SIZE_MIN)
        .ok_or_else(|| "no size such as 64MiB, of at least 1KiB".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_sizes() {
        assert_eq!(size("256MiB"), Ok(268_435_456));
        assert_eq!(size("64 KiB"), Ok(65_536));
        assert_eq!(size("2048"), Ok(2048));
        for bad in ["", "MiB", "1", "0KiB", "1.5MiB", "64mb", "99999999999GiB", "-1KiB"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }
}
