//! What a `SubscribeRequest` asks for, checked.

use std::collections::BTreeSet;

use domain::{Instrument, Venue};
use live::{Policy, Products, Start};
use proto::v1::{self, delivery_policy, subscribe_request};
use tonic::Status;

use super::status::{invalid, not_there_yet};
use crate::{
    Config,
    access::{self, Caller},
};

/// A checked request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) products: Products,
    pub(super) start: Start,
    pub(super) policy: Policy,
}

impl Plan {
    pub(super) fn new(request: &v1::SubscribeRequest, config: &Config) -> Result<Self, Status> {
        let venue = match request.venue.as_str() {
            "" => Venue::coinbase(),
            name => Venue::new(name).map_err(|error| invalid("venue", error.to_string()))?,
        };
        Ok(Self {
            start: start(request.start.as_ref())?,
            policy: policy(request.delivery.as_ref(), config)?,
            products: products(&venue, &request.products, config)?,
        })
    }

    /// The same plan within what `caller` may see and take.
    pub(super) fn limited_to(mut self, caller: &Caller, config: &Config) -> Result<Self, Status> {
        self.products = access::narrowed(self.products, caller, config.products_max)?;
        if let Policy::Conflate { rate: Some(rate), .. } = &mut self.policy {
            *rate = caller.rate(*rate);
        }
        Ok(self)
    }
}

fn products(venue: &Venue, names: &[String], config: &Config) -> Result<Products, Status> {
    if names.is_empty() {
        return Err(invalid("products", r#"name at least one product, or "*" for all"#));
    }
    if names.iter().any(|name| name == "*") {
        return match names {
            [_] => Ok(Products::All),
            _ => Err(invalid("products", r#""*" stands alone"#)),
        };
    }
    let mut instruments = BTreeSet::new();
    for (at, name) in names.iter().enumerate() {
        let instrument = Instrument::new(venue.as_str(), name)
            .map_err(|error| invalid(&format!("products[{at}]"), error.to_string()))?;
        instruments.insert(instrument);
        if instruments.len() > config.products_max {
            let max = config.products_max;
            return Err(invalid("products", format!("more than {max} products in one subscription")));
        }
    }
    Ok(Products::These(instruments.into_iter().collect()))
}

fn start(start: Option<&subscribe_request::Start>) -> Result<Start, Status> {
    use subscribe_request::Start as Asked;
    match start {
        Some(Asked::Now(_)) => Ok(Start::Now),
        None | Some(Asked::Snapshot(_)) => Ok(Start::Snapshot),
        Some(Asked::StartTime(_)) => Err(not_there_yet("a start at a time")),
        Some(Asked::ResumeToken(_)) => Err(not_there_yet("a start at a token")),
        Some(Asked::Positions(_)) => Err(not_there_yet("a start at positions")),
    }
}

fn policy(delivery: Option<&v1::DeliveryPolicy>, config: &Config) -> Result<Policy, Status> {
    use delivery_policy::Policy as Asked;
    match delivery.and_then(|delivery| delivery.policy.as_ref()) {
        Some(Asked::Lossless(_)) => Ok(Policy::Lossless),
        Some(Asked::Conflate(conflate)) if conflate.interval.is_some() => {
            Err(not_there_yet("conflation at an interval"))
        }
        None | Some(Asked::Conflate(_)) => Ok(config.conflate()),
    }
}
