//! What a `SubscribeRequest` asks for, checked.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use domain::{Instrument, Position, Venue};
use live::{Policy, Products, Start, Subscription, Token};
use proto::v1::{self, delivery_policy, subscribe_request};
use tonic::Status;

use super::status::invalid;
use crate::{
    Config,
    access::{self, Caller},
};

/// The longest time between two ticks of a product that a client may ask for.
const INTERVAL_MAX: Duration = Duration::from_secs(3_600);
const INTERVAL_MIN: Duration = Duration::from_millis(1);

/// A checked request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) products: Products,
    /// Where products start that are not among `places`.
    pub(crate) start: Start,
    /// Where single products start.
    pub(crate) places: BTreeMap<Instrument, Start>,
    pub(crate) policy: Policy,
}

impl Plan {
    pub(crate) fn new(request: &v1::SubscribeRequest, config: &Config) -> Result<Self, Status> {
        use subscribe_request::Start as Asked;
        let venue = venue(&request.venue)?;
        let mut places = BTreeMap::new();
        let start = match &request.start {
            Some(Asked::Now(_)) => Start::Now,
            None | Some(Asked::Snapshot(_)) => Start::Snapshot,
            Some(Asked::StartTime(time)) => {
                let time = proto::time("start_time", time);
                Start::Time(time.map_err(|error| invalid("start_time", error.fault.to_string()))?)
            }
            Some(Asked::ResumeToken(text)) => {
                let token = Token::parse(text).map_err(|error| invalid("resume_token", error.to_string()))?;
                Start::Token(token)
            }
            Some(Asked::Positions(positions)) => {
                places = self::places(&venue, &positions.positions)?;
                Start::Snapshot
            }
        };
        let products = match &start {
            Start::Token(token) if request.products.is_empty() && token.is_of_subscription() => {
                check_count(token.instruments().count(), config)?;
                Products::of(token)
            }
            _ => products(&venue, &request.products, config)?,
        };
        check_places(&products, &start, &places)?;
        Ok(Self { start, places, policy: policy(request.delivery.as_ref(), config)?, products })
    }

    /// Adds what was asked for.
    pub(crate) fn apply(&self, subscription: &mut Subscription) {
        match &self.products {
            Products::All => {
                // Whoever has a place of its own starts there, before all the others are added.
                for (instrument, start) in &self.places {
                    subscription.add(instrument.clone(), start);
                }
                subscription.add_all(&self.start);
            }
            Products::These(instruments) => {
                for instrument in instruments {
                    let start = self.places.get(instrument).unwrap_or(&self.start);
                    subscription.add(instrument.clone(), start);
                }
            }
        }
    }

    /// The same plan within what `caller` may see and take.
    pub(crate) fn limited_to(mut self, caller: &Caller, config: &Config) -> Result<Self, Status> {
        if let Some(other) = self.places.keys().find(|instrument| !caller.allows(instrument)) {
            return Err(access::status::product_not_allowed(other));
        }
        self.products = access::narrowed(self.products, caller, config.products_max)?;
        if let Policy::Conflate { rate: Some(rate), .. } = &mut self.policy {
            *rate = caller.rate(*rate);
        }
        Ok(self)
    }
}

pub(super) fn venue(name: &str) -> Result<Venue, Status> {
    match name {
        "" => Ok(Venue::coinbase()),
        name => Venue::new(name).map_err(|error| invalid("venue", error.to_string())),
    }
}

/// Where single products start.
fn places(venue: &Venue, positions: &[v1::ProductPosition]) -> Result<BTreeMap<Instrument, Start>, Status> {
    let mut places = BTreeMap::new();
    for (at, place) in positions.iter().enumerate() {
        let field = format!("positions.positions[{at}]");
        let instrument = Instrument::new(venue.as_str(), &place.product)
            .map_err(|error| invalid(&format!("{field}.product"), error.to_string()))?;
        let start = match place.run {
            Some(run) => Start::After(Position { run, sequence: place.sequence }),
            None => Start::Sequence(place.sequence.saturating_add(1)),
        };
        if places.insert(instrument, start).is_some() {
            return Err(invalid(&field, "the product has a position already"));
        }
    }
    Ok(places)
}

/// Nothing that was asked for may be left out silently.
fn check_places(
    products: &Products,
    start: &Start,
    places: &BTreeMap<Instrument, Start>,
) -> Result<(), Status> {
    let Products::These(instruments) = products else {
        return Ok(());
    };
    let named: BTreeSet<&Instrument> = instruments.iter().collect();
    if let Some(stray) = places.keys().find(|place| !named.contains(place)) {
        return Err(invalid("positions", format!("{stray} is not among the products")));
    }
    match start {
        Start::Token(token) if !token.is_of_subscription() => {
            match token.instruments().find(|instrument| !named.contains(instrument)) {
                Some(stray) => {
                    Err(invalid("resume_token", format!("it is of {stray}, which is not among the products")))
                }
                None => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

fn check_count(count: usize, config: &Config) -> Result<(), Status> {
    let max = config.products_max;
    if count > max {
        return Err(invalid("products", format!("more than {max} products in one subscription")));
    }
    Ok(())
}

pub(super) fn products(venue: &Venue, names: &[String], config: &Config) -> Result<Products, Status> {
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
        check_count(instruments.len(), config)?;
    }
    Ok(Products::These(instruments.into_iter().collect()))
}

fn policy(delivery: Option<&v1::DeliveryPolicy>, config: &Config) -> Result<Policy, Status> {
    use delivery_policy::Policy as Asked;
    let wanted = match delivery.and_then(|delivery| delivery.policy.as_ref()) {
        Some(Asked::Lossless(_)) => return Ok(Policy::Lossless),
        Some(Asked::Conflate(conflate)) => conflate.interval,
        None => None,
    };
    let interval = match wanted.map(Duration::try_from) {
        None => None,
        Some(Ok(interval)) if (INTERVAL_MIN..=INTERVAL_MAX).contains(&interval) => Some(interval),
        Some(_) => return Err(invalid("delivery.conflate.interval", "allowed: 1 ms to 1 h")),
    };
    Ok(match config.conflate() {
        Policy::Conflate { behind_max, rate, .. } => Policy::Conflate { behind_max, rate, interval },
        Policy::Lossless => Policy::Lossless,
    })
}
