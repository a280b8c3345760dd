//! The arguments of `ledgerflux watch`.

use std::num::NonZeroU64;

use clap::Args;

use super::CommonArgs;

pub(super) const EXAMPLES: &str = "\
Examples:
  ledgerflux watch                                   a live table of everything; q or Ctrl-C leaves
  ledgerflux watch BTC-USD,ETH-USD --server https://prices.example.com
  ledgerflux watch BTC-USD --count 10 | jq -r '.tick.tick.lastTrade.price // empty'

Into a pipe or a file it writes one JSON object a line: a `snapshot`, a `tick` or an `event` of ledgerflux.v1.SubscribeResponse, as
grpcurl writes them (prices are strings, with every digit), or a `connection` that was lost or made again. It connects again by
itself and goes on where it was. A key that the server asks for is taken from LEDGERFLUX_KEY.

Exit codes: 0 ended by you or by --count, 1 nobody answers at the start, or the server refuses, 2 a wrong command line.";

/// `ledgerflux watch`
#[derive(Args, Debug)]
pub(crate) struct WatchArgs {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    /// The products, separated by commas [default: all that there are].
    #[arg(value_name = "PRODUCTS", value_delimiter = ',', value_parser = product)]
    pub(crate) products: Vec<String>,
    /// The gateway.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8000", value_parser = server)]
    pub(crate) server: String,
    /// End after so many snapshots, ticks and events.
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<NonZeroU64>,
    /// In a pipe: only the newest tick of each product when they come faster than they are read, instead of every tick.
    #[arg(long)]
    pub(crate) conflate: bool,
}

/// Product names are in upper case.
fn product(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("a product has a name".to_owned()),
        name => Ok(name.to_uppercase()),
    }
}

/// `HOST:PORT` stands for `http://HOST:PORT`.
fn server(text: &str) -> Result<String, String> {
    match text.split_once("://") {
        Some(("http" | "https", host)) if !host.is_empty() => Ok(text.trim_end_matches('/').to_owned()),
        None if !text.is_empty() => Ok(format!("http://{text}")),
        _ => Err("no address such as http://127.0.0.1:8000".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_may_be_named_in_short() {
        assert_eq!(server("localhost:8000").unwrap(), "http://localhost:8000");
        assert_eq!(server("https://host/").unwrap(), "https://host");
        assert!(server("ftp://host").is_err() && server("").is_err() && server("http://").is_err());
        assert_eq!(product(" btc-usd ").unwrap(), "BTC-USD");
    }
}
