//! The exchange that an ingestor is given: the real one, another address, or a simulator in this process.

use std::{collections::BTreeSet, net::Ipv4Addr};

use anyhow::Context as _;
use domain::{Instrument, Product, Venue};
use runtime::{RoleContext, TaskSet, tasks::OnFailure};
use simulator::{GenerateConfig, ReplayConfig, Source};
use tokio::net::TcpListener;

use crate::{feed::Feed, settings::FeedSettings};

/// Where the ingestor will connect.
pub(crate) struct Exchange {
    address: String,
    products: Vec<Product>,
    /// A simulator in this process that serves `address`, not started yet.
    local: Option<(simulator::Config, TcpListener)>,
    /// What a person is told about the data.
    pub(crate) note: String,
}

impl Exchange {
    /// Looks into the recording, if it is one, and binds the simulator's listener.
    pub(crate) async fn prepare(feed: &FeedSettings) -> anyhow::Result<Self> {
        let products = feed.products.clone();
        match &feed.source {
            Feed::Live | Feed::Address(_) => {
                let address = feed.source.address().unwrap_or_default().to_owned();
                let note = format!("feed                    {address}");
                Ok(Self { address, products, local: None, note })
            }
            Feed::Simulated => {
                let source =
                    Source::Generate(GenerateConfig { products: products.clone(), ..Default::default() });
                let note = "DATA IS SIMULATED: the market is generated, no price in it is real".to_owned();
                Self::local(source, products, note).await
            }
            Feed::Replay(path) => {
                let recorded = simulator::recorded_products(path)
                    .await
                    .with_context(|| format!("{} cannot be replayed", path.display()))?;
                let products = if feed.products_named { products } else { recorded };
                let source = Source::Replay(ReplayConfig { path: path.clone(), speed: feed.replay_speed });
                let note = format!("DATA IS A RECORDING: {} is replayed", path.display());
                Self::local(source, products, note).await
            }
        }
    }

    /// What the ingestor will follow.
    pub(crate) fn instruments(&self) -> BTreeSet<Instrument> {
        let of_venue = |product: &Product| Instrument { venue: Venue::coinbase(), product: product.clone() };
        self.products.iter().map(of_venue).collect()
    }

    async fn local(source: Source, products: Vec<Product>, note: String) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("no free loopback port")?;
        let address = format!("ws://{}", listener.local_addr()?);
        let config = simulator::Config { source, ..simulator::Config::default() };
        Ok(Self { address, products, local: Some((config, listener)), note })
    }

    /// Starts the simulator, if there is one, and returns what the ingestor needs to know.
    /// `among_others` says whether roles that serve clients share the process: a mute exchange must not take them away.
    pub(crate) fn start(
        self,
        feed: &FeedSettings,
        among_others: bool,
        tasks: &mut TaskSet,
        context: &RoleContext,
    ) -> ingestor::Config {
        if let Some((config, listener)) = self.local {
            tasks.spawn(
                "simulator",
                OnFailure::StopProcess,
                simulator::run(config, listener, context.clone()),
            );
        }
        ingestor::Config {
            url: self.address,
            products: self.products,
            feed_decides_readiness: !among_others,
            ..feed.ingestor.clone()
        }
    }
}
