//! The configured products, made once so that a tick costs no allocation for its names.

use std::collections::HashMap;

use domain::{Instrument, Product, Venue};

use super::fault::{FrameFault, clip};

/// The instruments by the exchange's name of the product.
#[derive(Clone, Debug)]
pub struct Instruments(HashMap<Box<str>, Instrument>);

impl Instruments {
    /// Makes an instrument of each product.
    pub fn new(products: &[Product]) -> Self {
        let venue = Venue::coinbase();
        let named = |product: &Product| {
            let instrument = Instrument { venue: venue.clone(), product: product.clone() };
            (product.as_str().into(), instrument)
        };
        Self(products.iter().map(named).collect())
    }

    /// The instrument of `product`; a product that is not configured is a fault.
    pub fn find(&self, product: &str) -> Result<&Instrument, FrameFault> {
        self.0.get(product).ok_or_else(|| FrameFault::UnknownProduct { product: clip(product) })
    }
}
