//! What the exchange says of the products themselves: asked at start, when the list changes, and from time to time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::{EventKind, Product, ProductDetails};
use metrics::gauge;
use runtime::{ErrorChain, LogGate};
use tracing::{debug, error, info, warn};
use venues::coinbase::rest::{ListedProduct, PRODUCTS_PATH, ProductList, parse_products};

use crate::metrics::UNKNOWN_PRODUCTS;
use crate::reading::Products;
use crate::rest::Rest;
use crate::surroundings::Surroundings;

/// How many unknown products are named.
const NAMED_MAX: usize = 20;
/// How often a failure that repeats itself is told.
const FAILURE_PERIOD: Duration = Duration::from_secs(60);
/// How long to wait after an answer that says that it will not change.
const REFUSED_DELAY: Duration = Duration::from_secs(60);

/// Publishes the details of each configured product, until the shutdown is requested.
pub(crate) async fn run(around: Arc<Surroundings>, rest: Arc<Rest>, mut products: Products) {
    let gate = LogGate::new(FAILURE_PERIOD);
    let mut told = Vec::new();
    let shutdown = &around.ctx.shutdown;
    loop {
        let wait = match shutdown.run_until(rest.ask(PRODUCTS_PATH, parse_products)).await {
            None => return,
            Some(Ok(list)) => {
                let wanted = products.borrow_and_update().clone();
                announce(&around, &list, &wanted, &mut told).await;
                around.config.details_period
            }
            Some(Err(error)) => {
                if let Some(swallowed) = gate.pass(Instant::now()) {
                    warn!(error = %ErrorChain(&error), swallowed, "the exchange does not say what its products are");
                }
                // Before the next request the API is left alone for a while anyway.
                if error.is_retryable() { Duration::ZERO } else { REFUSED_DELAY }
            }
        };
        tokio::select! {
            () = shutdown.requested() => return,
            () = tokio::time::sleep(wait) => {}
            Ok(()) = products.changed() => {}
        }
    }
}

/// Publishes what is said of the configured products, and tells which of them the exchange does not know, whenever those
/// are others than in `told`.
async fn announce(around: &Surroundings, list: &ProductList, wanted: &[Product], told: &mut Vec<Product>) {
    if let Some(fault) = list.faults.first() {
        warn!(
            error = fault.detail(),
            count = list.faults.len(),
            "entries of the exchange's products are unusable"
        );
    }
    let listed: HashMap<&Product, &ListedProduct> =
        list.products.iter().map(|listed| (&listed.product, listed)).collect();
    for product in wanted {
        if let Some(listed) = listed.get(product) {
            around.tell(product, EventKind::Product(details(listed))).await;
        }
    }
    let unknown: Vec<Product> =
        wanted.iter().filter(|product| !listed.contains_key(product)).cloned().collect();
    // The number of products is far below what a float holds exactly.
    gauge!(UNKNOWN_PRODUCTS).set(u32::try_from(unknown.len()).map_or(f64::MAX, f64::from));
    if unknown != *told {
        if unknown.is_empty() {
            info!("the exchange lists every configured product now");
        } else {
            let named: Vec<&str> = unknown.iter().take(NAMED_MAX).map(Product::as_str).collect();
            let (count, named) = (unknown.len(), named.join(", "));
            error!(products = named, count, "the exchange has no such products: correct feed.products");
        }
        *told = unknown;
    }
    debug!(listed = list.products.len(), "the exchange has said what its products are");
}

fn details(listed: &ListedProduct) -> ProductDetails {
    ProductDetails {
        base_currency: listed.base_currency.clone(),
        quote_currency: listed.quote_currency.clone(),
        base_increment: listed.base_increment,
        quote_increment: listed.quote_increment,
        status: listed.status.clone(),
    }
}
