//! The arguments of the commands that look after the streams.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use domain::RejectReason;

use super::CommonArgs;

pub(super) const REJECTS_EXAMPLES: &str = "\
Examples:
  ledgerflux rejects list --nats nats://127.0.0.1:4222 --since 1h
  ledgerflux rejects list --nats nats://127.0.0.1:4222 --product BTC-USD --reason crossed_book --all | jq .detail
  ledgerflux rejects show 17 --nats nats://127.0.0.1:4222 | jq .tick > tick.json
  ledgerflux rejects resubmit 17 --file tick.json --nats nats://127.0.0.1:4222

Rejects are kept for 7 days. Those of `up` without --nats are in its memory: its log and metrics tell of them.";

pub(super) const RESHARD_EXAMPLES: &str = "\
Example:
  ledgerflux reshard 8 --nats nats://127.0.0.1:4222

What waits in the streams goes to the new shards, in order. It refuses while an ingestor, normalizer or snapshotter is at work, and
none starts meanwhile. Interrupted, run it again.";

/// `ledgerflux rejects`
#[derive(Args, Debug)]
#[command(arg_required_else_help = true)]
pub(crate) struct RejectsArgs {
    #[command(subcommand)]
    pub(crate) command: RejectsCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RejectsCommand {
    /// List rejects, oldest first: a table on a terminal, one JSON object a line elsewhere.
    List(ListArgs),
    /// Show one, with the tick as JSON that can be edited, or the bytes as they came.
    Show(ShowArgs),
    /// Submit ticks again, as they were or corrected: they are validated anew, and go into history like backfilled ones.
    ///
    /// They are stored once, however often they are submitted: what makes a trade the same one is its product and trade_id.
    /// The reject itself stays where it is until its time is over.
    Resubmit(ResubmitArgs),
}

#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    pub(crate) access: AccessArgs,
    /// Only those of this reason.
    #[arg(long, value_name = "REASON", value_parser = reason)]
    pub(crate) reason: Option<RejectReason>,
    /// Only those of this product, e.g. BTC-USD, or of a venue's, e.g. coinbase:BTC-USD.
    #[arg(long, value_name = "PRODUCT")]
    pub(crate) product: Option<String>,
    /// Only those refused since then: a time such as 2026-04-17T16:44:06Z, or how long ago, such as 2h.
    #[arg(long, value_name = "TIME|AGO")]
    pub(crate) since: Option<String>,
    /// Only those refused before then: a time, or how long ago.
    #[arg(long, value_name = "TIME|AGO")]
    pub(crate) until: Option<String>,
    /// The most that are listed.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) limit: usize,
    /// List all of them.
    #[arg(long, conflicts_with = "limit")]
    pub(crate) all: bool,
    /// The next page: those after this id.
    #[arg(long, value_name = "ID", default_value_t = 0)]
    pub(crate) after: u64,
}

#[derive(Args, Debug)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    pub(crate) access: AccessArgs,
    /// The id that `list` tells.
    #[arg(value_name = "ID")]
    pub(crate) id: u64,
}

#[derive(Args, Debug)]
pub(crate) struct ResubmitArgs {
    #[command(flatten)]
    pub(crate) access: AccessArgs,
    /// The ids that `list` tells.
    #[arg(value_name = "ID", required = true)]
    pub(crate) ids: Vec<u64>,
    /// The corrected tick, as `show` prints it under `tick`; `-` reads standard input. For one id only.
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Check them, and submit nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Where the rejects are.
#[derive(Args, Debug)]
pub(crate) struct AccessArgs {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    /// The NATS server.
    #[arg(long, value_name = "URL")]
    pub(crate) nats: Option<String>,
}

impl RejectsArgs {
    pub(super) fn common(&self) -> &CommonArgs {
        &self.access().common
    }

    pub(super) fn nats(&self) -> Option<&String> {
        self.access().nats.as_ref()
    }

    fn access(&self) -> &AccessArgs {
        match &self.command {
            RejectsCommand::List(args) => &args.access,
            RejectsCommand::Show(args) => &args.access,
            RejectsCommand::Resubmit(args) => &args.access,
        }
    }
}

/// `ledgerflux reshard`
#[derive(Args, Debug)]
pub(crate) struct ReshardArgs {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    /// How many shards there are to be.
    #[arg(value_name = "N")]
    pub(crate) shards: String,
    /// The NATS server.
    #[arg(long, value_name = "URL")]
    pub(crate) nats: Option<String>,
}

fn reason(text: &str) -> Result<RejectReason, String> {
    let known = RejectReason::ALL.into_iter().find(|reason| reason.as_str() == text);
    known.ok_or_else(|| format!("there are {}", RejectReason::ALL.map(RejectReason::as_str).join(", ")))
}
