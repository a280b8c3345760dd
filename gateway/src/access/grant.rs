//! What a key or a token allows.

use std::{collections::BTreeSet, num::NonZeroU32};

use domain::{Instrument, InvalidInstrument};
use serde::{Deserialize, Serialize};

/// The products that may be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Granted {
    All,
    These(BTreeSet<Instrument>),
}

/// How much one key, or one subject of tokens, may take. What is absent is bounded by the configuration alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quotas {
    /// Streams and WebSockets that are open at one time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections_max: Option<NonZeroU32>,
    /// Products that one connection may follow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub products_max: Option<NonZeroU32>,
    /// Messages a second that one connection is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messages_per_second: Option<NonZeroU32>,
    /// Calls and subscriptions a second, over all connections, with twice as many at once after a pause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calls_per_second: Option<NonZeroU32>,
}

impl Granted {
    /// Reads a list of products: `*`, `BTC-USD`, or `coinbase:BTC-USD`.
    pub(crate) fn parse(names: &[String]) -> Result<Self, InvalidInstrument> {
        if names.iter().any(|name| name == "*") {
            return Ok(Self::All);
        }
        let read = |name: &String| match name.split_once(':') {
            Some((venue, product)) => Instrument::new(venue, product),
            None => Instrument::new("coinbase", name),
        };
        names.iter().map(read).collect::<Result<_, _>>().map(Self::These)
    }

    pub(crate) fn allows(&self, instrument: &Instrument) -> bool {
        match self {
            Self::All => true,
            Self::These(these) => these.contains(instrument),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_grants_what_it_names_and_a_star_everything() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let btc = Instrument::new("coinbase", "BTC-USD").unwrap();
        let elsewhere = Instrument::new("elsewhere", "BTC-USD").unwrap();
        let granted = Granted::parse(&names(&["BTC-USD", "other:ETH-USD"])).unwrap();
        assert!(granted.allows(&btc) && !granted.allows(&elsewhere));
        assert!(granted.allows(&Instrument::new("other", "ETH-USD").unwrap()));
        assert_eq!(Granted::parse(&names(&["BTC-USD", "*"])).unwrap(), Granted::All);
        assert!(!Granted::parse(&[]).unwrap().allows(&btc));
        assert!(Granted::parse(&names(&["B T C"])).is_err());
    }
}
