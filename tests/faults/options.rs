//! What is asked for: `FAULTS="--only kill-normalizer --seed 7"`.

use std::time::Duration;

use crate::{live::LIVE_WITHIN, world::Setup};

pub(crate) const USAGE: &str = "--only NAME[,NAME…]  run these scenarios (a part of the name is enough)\n\
    --skip NAME[,NAME…]  leave these out\n--seed N  what is random starts from here\n\
    --rate N  ticks a second\n--products N  how many products\n--shards N  how many shards\n\
    --count N  how often a process is killed\n--minutes N  how long the soak takes\n\
    --gaps yes|no  whether trades that were not accepted must lie in recorded gaps\n--list  name the scenarios";

/// The options of a run.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) only: Vec<String>,
    pub(crate) skip: Vec<String>,
    pub(crate) seed: u64,
    pub(crate) rate: u32,
    pub(crate) products: u16,
    pub(crate) shards: u16,
    pub(crate) count: u32,
    pub(crate) soak: Duration,
    pub(crate) gaps_expected: bool,
    pub(crate) list: bool,
    /// How long it may take from the end of an outage until everything is live again.
    pub(crate) live_within: Duration,
}

impl Options {
    /// A few faults on a small load, within `make test`.
    pub(crate) fn short() -> Self {
        // Not the promise: builds of developers on machines that do other things as well must not fail for being slow.
        let live_within = Duration::from_secs(30);
        Self { rate: 200, products: 4, shards: 1, count: 2, live_within, ..Self::long() }.overridden()
    }

    /// Everything, under the load that the promises are made for.
    pub(crate) fn long() -> Self {
        Self {
            only: Vec::new(),
            skip: Vec::new(),
            seed: u64::try_from(crate::subscribers::now() / 1_000_000_000).unwrap_or(1),
            rate: 2_000,
            products: 20,
            shards: 2,
            count: 20,
            soak: Duration::from_secs(600),
            gaps_expected: true,
            list: false,
            live_within: LIVE_WITHIN,
        }
    }

    /// With what the environment says.
    pub(crate) fn overridden(mut self) -> Self {
        let asked = std::env::var("FAULTS").unwrap_or_default();
        let mut words = asked.split_whitespace();
        while let Some(flag) = words.next() {
            if flag == "--list" {
                self.list = true;
                continue;
            }
            let value = words.next().unwrap_or_else(|| panic!("{flag} needs a value\n{USAGE}"));
            let number =
                || value.parse::<u32>().unwrap_or_else(|_| panic!("{flag} {value}: a number\n{USAGE}"));
            let small = || u16::try_from(number()).unwrap_or_else(|_| panic!("{flag} {value}: too many"));
            let names = || value.split(',').map(str::to_owned).collect();
            match flag {
                "--only" => self.only = names(),
                "--skip" => self.skip = names(),
                "--seed" => self.seed = u64::from(number()),
                "--rate" => self.rate = number(),
                "--products" => self.products = small(),
                "--shards" => self.shards = small(),
                "--count" => self.count = number(),
                "--minutes" => self.soak = Duration::from_secs(u64::from(number()) * 60),
                "--gaps" => self.gaps_expected = value == "yes",
                other => panic!("{other} is not known\n{USAGE}"),
            }
        }
        self
    }

    pub(crate) fn wants(&self, name: &str) -> bool {
        let named = |names: &[String]| names.iter().any(|wanted| name.contains(wanted.as_str()));
        (self.only.is_empty() || named(&self.only)) && !named(&self.skip)
    }

    pub(crate) fn setup(&self) -> Setup {
        Setup {
            seed: self.seed,
            rate: self.rate,
            products: self.products,
            shards: self.shards,
            ingestors: 1,
            count: self.count,
            soak: self.soak,
            calm: Duration::from_secs(2),
            environment: Vec::new(),
            exchange: Vec::new(),
            nats_nodes: 1,
            nats_store: None,
            postgres_data: None,
        }
    }
}
