//! `ledgerflux keys`: the file of API keys.

use std::io::IsTerminal as _;

use anyhow::Context as _;
use gateway::access::keys::{KeyFile, KeyRecord, NewKey, Quotas, now};
use humantime::format_rfc3339_seconds as time;

use crate::{
    args::{CreateArgs, KeysArgs, KeysCommand},
    settings::Settings,
};

/// Does what the command says. The file is small and local: it blocks nobody.
pub(crate) fn run(settings: &Settings, args: KeysArgs) -> anyhow::Result<()> {
    let path = settings.gateway.access.keys.as_deref().context("which file? --keys FILE or gateway.keys")?;
    match args.command {
        KeysCommand::Create(args) => {
            let (record, key) = KeyFile::edit(path, |file| file.create(new_key(args), now()))??;
            println!("key {} for {:?}: keep what follows, it is not shown again", record.id, record.name);
            println!("{key}");
        }
        KeysCommand::List(_) => list(&KeyFile::read(path)?),
        KeysCommand::Revoke(args) => {
            let revoked = KeyFile::edit(path, |file| file.revoke(&args.id))?;
            let revoked =
                revoked.with_context(|| format!("there is no key {:?} in {}", args.id, path.display()))?;
            println!("key {} for {:?} is revoked", revoked.id, revoked.name);
        }
    }
    Ok(())
}

fn new_key(args: CreateArgs) -> NewKey {
    let quotas = Quotas {
        connections_max: args.connections_max,
        products_max: args.products_max,
        messages_per_second: args.messages_per_second,
        calls_per_second: args.calls_per_second,
    };
    let products = args.products.iter().map(|name| name.trim().to_uppercase());
    // A venue is in lower case.
    let products = products.map(|name| match name.split_once(':') {
        Some((venue, product)) => format!("{}:{product}", venue.to_lowercase()),
        None => name,
    });
    NewKey { name: args.name, products: products.collect(), expires: args.expires, quotas }
}

fn list(file: &KeyFile) {
    if !std::io::stdout().is_terminal() {
        for key in &file.keys {
            println!("{}", json(key));
        }
        return;
    }
    println!("{:<10}{:<20}{:<22}{:<22}{:<30}quotas", "id", "name", "created", "expires", "products");
    for key in &file.keys {
        let expires = key.expires.map_or_else(|| "never".to_owned(), |expires| time(expires).to_string());
        let (created, products) = (time(key.created).to_string(), key.products.join(","));
        println!("{:<10}{:<20}{created:<22}{expires:<22}{products:<30}{}", key.id, key.name, quotas(key));
    }
}

fn quotas(key: &KeyRecord) -> String {
    let all = [
        ("connections", key.quotas.connections_max),
        ("products", key.quotas.products_max),
        ("messages/s", key.quotas.messages_per_second),
        ("calls/s", key.quotas.calls_per_second),
    ];
    let set = all.iter().filter_map(|(name, quota)| quota.map(|quota| format!("{quota} {name}")));
    set.collect::<Vec<_>>().join(", ")
}

fn json(key: &KeyRecord) -> serde_json::Value {
    serde_json::json!({
        "id": key.id,
        "name": key.name,
        "products": key.products,
        "created": time(key.created).to_string(),
        "expires": key.expires.map(|expires| time(expires).to_string()),
        "quotas": {
            "connections_max": key.quotas.connections_max,
            "products_max": key.quotas.products_max,
            "messages_per_second": key.quotas.messages_per_second,
            "calls_per_second": key.quotas.calls_per_second,
        },
    })
}
