//! A client that comes back with its tokens after every break, and keeps account of what it was given.

use std::collections::BTreeMap;
use std::sync::Mutex;

use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite;

use crate::{
    evidence::Seen,
    subscribers::{self, Watched, lock},
};

/// The token of the newest tick of each product.
type Tokens = BTreeMap<String, String>;

/// Follows every tick over WebSocket; what it missed while it was away it asks for, product by product.
pub(crate) fn resuming(address: String, products: Vec<String>) -> Watched<Seen> {
    Watched::new(async move |seen| {
        let mut tokens = Tokens::new();
        loop {
            // A connection that ends is made anew: why it ended does not matter here.
            let _ = follow(&address, &products, &mut tokens, &seen).await;
            tokio::time::sleep(subscribers::RECONNECT_DELAY).await;
        }
    })
}

async fn follow(
    address: &str,
    products: &[String],
    tokens: &mut Tokens,
    seen: &Mutex<Seen>,
) -> Result<(), tungstenite::Error> {
    let (mut socket, _) =
        tokio_tungstenite::connect_async(format!("ws://{address}/ws?numbers=string")).await?;
    lock(seen).connected();
    for product in products {
        let mut subscribe = json!({ "op": "subscribe", "products": [product], "want": "lossless" });
        match tokens.get(product) {
            Some(token) => subscribe["token"] = Value::from(token.as_str()),
            None => {
                subscribe["want_snapshot"] = Value::from(true);
                lock(seen).begins(product);
            }
        }
        socket.send(tungstenite::Message::text(subscribe.to_string())).await?;
    }
    while let Some(message) = socket.next().await {
        let tungstenite::Message::Text(text) = message? else { continue };
        let message: Value = serde_json::from_str(&text).expect("a message in JSON");
        let (op, data) = (message["op"].as_str(), &message["data"]);
        match op {
            Some("error") => lock(seen).refused.push(text.to_string()),
            Some("event") if data["type"] == "not_recovered" => not_recovered(data, products, tokens, seen),
            _ => {}
        }
        let product = data["product"].as_str();
        subscribers::take(&message, seen, true);
        if let (Some("snapshot" | "incr"), Some(product), Some(token)) = (op, product, data["token"].as_str())
        {
            tokens.insert(product.to_owned(), token.to_owned());
        }
    }
    Ok(())
}

/// Said of one product, or of all.
fn not_recovered(data: &Value, products: &[String], tokens: &mut Tokens, seen: &Mutex<Seen>) {
    let of = data["product"].as_str();
    for product in products.iter().filter(|product| of.is_none_or(|of| of == **product)) {
        tokens.remove(product);
        let mut seen = lock(seen);
        seen.not_recovered.push(format!("{product}: {}", data["detail"].as_str().unwrap_or_default()));
        seen.begins(product);
    }
}
