//! What is known of each product and each connection, and what that makes of the feed as a whole.

use std::collections::BTreeMap;

use domain::{FeedState, Product};

/// How many products that are not live are named in a note.
const NAMED_MAX: usize = 10;

#[derive(Debug, Default)]
pub(super) struct Board {
    products: BTreeMap<Product, Standing>,
    connections: BTreeMap<usize, FeedState>,
    /// Why the connection that failed last did.
    why: String,
}

#[derive(Debug)]
struct Standing {
    state: FeedState,
    why: String,
    /// What its followers were told last.
    told: Option<FeedState>,
}

impl Board {
    /// Returns the products that are not followed any more.
    pub(super) fn follow(&mut self, products: &[Product]) -> Vec<Product> {
        let gone: Vec<Product> =
            self.products.keys().filter(|product| !products.contains(product)).cloned().collect();
        self.products.retain(|product, _| !gone.contains(product));
        for product in products {
            self.products.entry(product.clone()).or_insert_with(|| Standing {
                state: FeedState::Connecting,
                why: String::new(),
                told: None,
            });
        }
        gone
    }

    pub(super) fn follows(&self, product: &Product) -> bool {
        self.products.contains_key(product)
    }

    pub(super) fn state_of(&self, product: &Product) -> FeedState {
        self.products.get(product).map_or(FeedState::Connecting, |standing| standing.state)
    }

    /// Whether its followers have to be told. That an attempt is made is no news.
    pub(super) fn set_product(&mut self, product: &Product, state: FeedState, why: &str) -> bool {
        let Some(standing) = self.products.get_mut(product) else { return false };
        standing.state = state;
        why.clone_into(&mut standing.why);
        if state == FeedState::Connecting || standing.told == Some(state) {
            return false;
        }
        standing.told = Some(state);
        true
    }

    pub(super) fn set_connection(&mut self, connection: usize, state: FeedState, why: &str) {
        self.connections.insert(connection, state);
        if !why.is_empty() {
            why.clone_into(&mut self.why);
        }
    }

    pub(super) fn drop_connection(&mut self, connection: usize) {
        self.connections.remove(&connection);
    }

    pub(super) fn products(&self) -> impl Iterator<Item = (&Product, FeedState)> {
        self.products.iter().map(|(product, standing)| (product, standing.state))
    }

    /// Live as soon as one product is; otherwise the state of the connection that has come furthest.
    pub(super) fn overall(&self) -> FeedState {
        if self.products.values().any(|standing| standing.state == FeedState::Live) {
            return FeedState::Live;
        }
        let of_any = |state| self.connections.values().any(|other| *other == state);
        if of_any(FeedState::Live) || of_any(FeedState::Stale) {
            // A connection that is up and has no live product: mute.
            return if self.products.values().any(|standing| standing.state == FeedState::Stale) {
                FeedState::Stale
            } else {
                FeedState::Connecting
            };
        }
        let backing_off = of_any(FeedState::BackingOff) && !of_any(FeedState::Connecting);
        if backing_off { FeedState::BackingOff } else { FeedState::Connecting }
    }

    /// Why the feed is not live.
    pub(super) fn why(&self) -> String {
        if self.why.is_empty() { "not connected yet".to_owned() } else { self.why.clone() }
    }

    /// Which products are not live although the feed is, and why.
    pub(super) fn exceptions(&self) -> Option<String> {
        if self.overall() != FeedState::Live {
            return None;
        }
        let others: Vec<_> =
            self.products.iter().filter(|(_, standing)| standing.state != FeedState::Live).collect();
        let (count, all) = (others.len(), self.products.len());
        let named = others.iter().take(NAMED_MAX).map(|(product, standing)| match standing.why.as_str() {
            "" => product.to_string(),
            why => format!("{product}: {why}"),
        });
        let named = named.collect::<Vec<_>>().join("; ");
        let more = if count > NAMED_MAX { "; …" } else { "" };
        (count > 0).then(|| format!("{count} of {all} products are not live: {named}{more}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn products(names: &[&str]) -> Vec<Product> {
        names.iter().map(|name| Product::new(name).unwrap()).collect()
    }

    #[test]
    fn one_live_product_makes_the_feed_live_and_the_others_are_told() {
        let mut board = Board::default();
        let [a, b] = products(&["A-USD", "B-USD"]).try_into().unwrap();
        assert_eq!(board.follow(&[a.clone(), b.clone()]), []);
        assert_eq!(board.overall(), FeedState::Connecting);
        board.set_connection(1, FeedState::BackingOff, "refused");
        assert_eq!((board.overall(), board.why().as_str()), (FeedState::BackingOff, "refused"));
        board.set_connection(1, FeedState::Connecting, "");
        assert_eq!((board.overall(), board.why().as_str()), (FeedState::Connecting, "refused"));
        board.set_connection(1, FeedState::Live, "");
        assert!(board.set_product(&a, FeedState::Live, ""));
        assert!(!board.set_product(&a, FeedState::Live, ""), "said once");
        assert_eq!(board.overall(), FeedState::Live);
        assert!(board.set_product(&b, FeedState::BackingOff, "unknown to the exchange"));
        let told = board.exceptions().unwrap();
        assert_eq!(told, "1 of 2 products are not live: B-USD: unknown to the exchange");
        assert!(!board.set_product(&b, FeedState::Connecting, ""), "an attempt is no news");
        assert!(!board.set_product(&b, FeedState::BackingOff, "still"), "and nor is that it failed again");
        assert_eq!(board.follow(std::slice::from_ref(&a)), [b]);
        assert_eq!(board.exceptions(), None);
        board.set_product(&a, FeedState::Stale, "");
        assert_eq!(board.overall(), FeedState::Stale);
    }

    #[test]
    fn a_note_has_an_end() {
        let names: Vec<String> = (0..50).map(|number| format!("P{number}-USD")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let all = products(&names);
        let mut board = Board::default();
        board.follow(&all);
        board.set_product(&all[0], FeedState::Live, "");
        let told = board.exceptions().unwrap();
        assert!(told.starts_with("49 of 50") && told.ends_with('…') && told.len() < 300, "{told}");
    }
}
