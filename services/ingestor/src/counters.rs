//! Handles of the metrics that move with every frame, looked up once.

use std::collections::HashMap;
use std::time::Duration;

use domain::{Product, RejectReason};
use metrics::{Counter, Histogram, counter, histogram};
use venues::coinbase::FrameKind;

use crate::metrics::{BACK_PRESSURE, FRAMES, GIVEN_UP, RECEIVE_LAG, RECEIVED_BYTES, REJECTS, TICKS};

/// A shorter wait is the work itself, not a bus without room.
const WAIT_MIN: Duration = Duration::from_millis(1);

pub(crate) struct Counters {
    frames: HashMap<FrameKind, Counter>,
    bytes: Counter,
    ticks: HashMap<Product, Counter>,
    lag: Histogram,
    back_pressure: Histogram,
}

impl Counters {
    pub(crate) fn new(products: &[Product]) -> Self {
        let of_kind = |kind: FrameKind| (kind, counter!(FRAMES, "type" => kind.as_str()));
        let mut counters = Self {
            frames: FrameKind::ALL.into_iter().map(of_kind).collect(),
            bytes: counter!(RECEIVED_BYTES),
            ticks: HashMap::new(),
            lag: histogram!(RECEIVE_LAG),
            back_pressure: histogram!(BACK_PRESSURE),
        };
        counters.follow(products);
        counters
    }

    /// These are the products from now on.
    pub(crate) fn follow(&mut self, products: &[Product]) {
        let of_product =
            |product: &Product| (product.clone(), counter!(TICKS, "product" => product.to_string()));
        self.ticks = products.iter().map(of_product).collect();
    }

    pub(crate) fn frame(&self, kind: FrameKind, length: usize) {
        if let Some(counter) = self.frames.get(&kind) {
            counter.increment(1);
        }
        self.bytes.increment(u64::try_from(length).unwrap_or(u64::MAX));
    }

    pub(crate) fn tick(&self, product: &Product, lag: Duration) {
        if let Some(counter) = self.ticks.get(product) {
            counter.increment(1);
        }
        self.lag.record(lag.as_secs_f64());
    }

    pub(crate) fn back_pressure(&self, waited: Duration) {
        if waited >= WAIT_MIN {
            self.back_pressure.record(waited.as_secs_f64());
        }
    }

    pub(crate) fn given_up(&self, ticks: u64, rejects: u64) {
        for (kind, count) in [("tick", ticks), ("reject", rejects)] {
            counter!(GIVEN_UP, "kind" => kind).increment(count);
        }
    }

    pub(crate) fn reject(&self, reason: RejectReason) {
        counter!(REJECTS, "reason" => reason.as_str()).increment(1);
    }
}
