//! The arguments of `ledgerflux explain`.

use clap::{Args, ValueEnum};

use super::{BusArgs, CommonArgs, StoreArgs};

pub(super) const EXAMPLES: &str = "\
Examples:
  ledgerflux explain BTC-USD 1234567                 what `up` stores in .ledgerflux/, also while it runs
  ledgerflux explain BTC-USD 1234567 --by trade_id --nats nats://127.0.0.1:4222 \\
      --database postgres://reader@127.0.0.1/ledgerflux
  ledgerflux explain coinbase:BTC-USD 1234567 --json | jq .ticks[0].hops

It changes nothing. Without --nats it cannot tell what only the streams know: when a tick was normalised, by which connection
it came, and what was refused.";

/// `ledgerflux explain`
#[derive(Args, Debug)]
pub(crate) struct ExplainArgs {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    #[command(flatten)]
    pub(crate) bus: BusArgs,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
    /// The product, e.g. BTC-USD, or that of a venue, e.g. coinbase:BTC-USD.
    #[arg(value_name = "PRODUCT")]
    pub(crate) product: String,
    /// The trade_id, or the sequence, of the exchange.
    #[arg(value_name = "SEQUENCE|TRADE_ID")]
    pub(crate) number: u64,
    /// Which of the two it is; without this both are tried, and the answer says which it was.
    #[arg(long, value_enum)]
    pub(crate) by: Option<By>,
    /// Answer with one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum By {
    /// The exchange's order of everything that happens to a product.
    #[value(name = "sequence")]
    Sequence,
    /// The exchange's number of a trade.
    #[value(name = "trade_id")]
    TradeId,
}

impl By {
    pub(crate) const ALL: [Self; 2] = [Self::TradeId, Self::Sequence];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Sequence => "sequence",
            Self::TradeId => "trade_id",
        }
    }
}
