//! What the connections and the feed share.

use std::time::Duration;

use crate::clients::Clients;
use crate::config::Config;
use crate::faults::live::Faults;
use crate::listing::Listing;
use crate::rest::Rest;
use crate::subscribing::Offer;

/// The exchange as everyone finds it: its clients, what REST tells, and what goes wrong.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) clients: Clients,
    pub(crate) rest: Rest,
    pub(crate) faults: Faults,
    pub(crate) subscribe_timeout: Duration,
}

impl Exchange {
    pub(crate) fn new(config: &Config, channels: Vec<&'static str>, listings: Vec<Listing>) -> Self {
        let products = listings.iter().map(|listing| listing.id.clone()).collect();
        let offer = Offer { channels, products };
        Self {
            clients: Clients::new(offer, config.queue_messages_max, config.queue_bytes_max),
            rest: Rest::new(listings, &config.rest),
            faults: Faults::new(&config.faults),
            subscribe_timeout: config.subscribe_timeout,
        }
    }
}
