//! The arguments of `ledgerflux keys`.

use std::{num::NonZeroU32, time::SystemTime};

use clap::{Args, Subcommand};

use super::CommonArgs;

pub(super) const EXAMPLES: &str = "\
Examples:
  ledgerflux keys create --keys keys.toml --name research
  ledgerflux keys create --keys keys.toml --name bot --products BTC-USD,ETH-USD --expires 90d --connections-max 4
  ledgerflux keys list --keys keys.toml
  ledgerflux keys revoke --keys keys.toml 3fa9c2d1
  ledgerflux gateway --keys keys.toml --nats nats://127.0.0.1:4222

The file holds hashes, no keys. A running gateway reads it again within 2 s; a revocation ends open streams too.";

/// `ledgerflux keys`
#[derive(Args, Debug)]
#[command(arg_required_else_help = true)]
pub(crate) struct KeysArgs {
    #[command(subcommand)]
    pub(crate) command: KeysCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Make a key and print it: this once, it is kept nowhere.
    Create(CreateArgs),
    /// List the keys: a table on a terminal, one JSON object a line elsewhere.
    List(ListKeysArgs),
    /// Take a key away. What is open under it ends within 5 s.
    Revoke(RevokeArgs),
}

#[derive(Args, Debug)]
pub(crate) struct FileArgs {
    #[command(flatten)]
    common: CommonArgs,
    /// The file of keys; it is made when it is not there [default: gateway.keys].
    #[arg(long, value_name = "FILE")]
    keys: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct CreateArgs {
    #[command(flatten)]
    file: FileArgs,
    /// Who or what it is for.
    #[arg(long, value_name = "NAME")]
    pub(crate) name: String,
    /// The products it may see, separated by commas: BTC-USD, or a venue's: coinbase:BTC-USD. `*` is all of them.
    #[arg(long, value_name = "A,B", default_value = "*", value_delimiter = ',')]
    pub(crate) products: Vec<String>,
    /// When it ends: a duration from now such as 90d, or a time such as 2026-12-31T00:00:00Z [default: never].
    #[arg(long, value_name = "DURATION|TIME", value_parser = end)]
    pub(crate) expires: Option<SystemTime>,
    /// The most streams and WebSockets at a time.
    #[arg(long, value_name = "N")]
    pub(crate) connections_max: Option<NonZeroU32>,
    /// The most products that a connection may follow.
    #[arg(long, value_name = "N")]
    pub(crate) products_max: Option<NonZeroU32>,
    /// The most messages a second that a connection is sent.
    #[arg(long, value_name = "N")]
    pub(crate) messages_per_second: Option<NonZeroU32>,
    /// The most calls and subscriptions a second.
    #[arg(long, value_name = "N")]
    pub(crate) calls_per_second: Option<NonZeroU32>,
}

#[derive(Args, Debug)]
pub(crate) struct ListKeysArgs {
    #[command(flatten)]
    file: FileArgs,
}

#[derive(Args, Debug)]
pub(crate) struct RevokeArgs {
    #[command(flatten)]
    file: FileArgs,
    /// The id that `list` tells.
    #[arg(value_name = "ID")]
    pub(crate) id: String,
}

impl KeysArgs {
    fn file(&self) -> &FileArgs {
        match &self.command {
            KeysCommand::Create(args) => &args.file,
            KeysCommand::List(args) => &args.file,
            KeysCommand::Revoke(args) => &args.file,
        }
    }

    pub(super) fn common(&self) -> &CommonArgs {
        &self.file().common
    }

    pub(super) fn keys(&self) -> Option<&String> {
        self.file().keys.as_ref()
    }
}

fn end(text: &str) -> Result<SystemTime, String> {
    if let Ok(after) = humantime::parse_duration(text) {
        return gateway::access::keys::now().checked_add(after).ok_or_else(|| "that is too long".to_owned());
    }
    humantime::parse_rfc3339_weak(text)
        .map_err(|_| "a duration such as 90d, or a time such as 2026-12-31T00:00:00Z".to_owned())
}
