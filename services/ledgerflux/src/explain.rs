//! `ledgerflux explain`: one number followed back through everything that touched it; or why it is not there.

use anyhow::{Context as _, bail};
use bus::{Bus, TickMessage};
use domain::{Bar, Gap, Instrument, Interval, RejectedTick, ShardCount, Tick, TimeRange, UnixNanos, Venue};
use store::{CandleQuery, Order, Store, StoreError, StoredTick, TickNumber, TradeAt};

use crate::{
    args::{By, ExplainArgs},
    rejects::{Reading, say},
    settings::Settings,
};

mod json;
mod refused;
mod table;

/// How many products an error names.
const NAMED_MAX: usize = 20;
/// How many rejects of one trade are told.
const REJECTS_MAX: usize = 10;

/// Everything that is known of a number.
#[derive(Debug)]
struct Explanation {
    instrument: Instrument,
    number: u64,
    by: Option<By>,
    /// The ticks that have it: mostly one, more where a sequence began anew, or where one trade's trade_id is another's
    /// sequence.
    ticks: Vec<Explained>,
    /// Where no tick has it: why not, as far as anybody knows.
    absence: Option<Absence>,
    /// What cannot be told, and what would tell it.
    untold: Vec<String>,
}

/// What is known of a stored tick.
#[derive(Debug)]
struct Explained {
    by: By,
    stored: StoredTick,
    /// What the stream still knows of it: the message, and the place of the tick in it.
    message: Option<(TickMessage, usize)>,
    /// The shard, and of how many.
    shard: (u16, ShardCount),
    /// The gap that it lies in: it was missing once.
    gap: Option<Gap>,
    /// The minute that it went into.
    bar: Option<Bar>,
}

/// What is known of a number that no stored tick has.
#[derive(Debug)]
struct Absence {
    gap: Option<Gap>,
    rejects: Vec<(u64, RejectedTick)>,
    horizon: Option<UnixNanos>,
    /// The oldest and the newest trade that are stored.
    oldest: Option<TradeAt>,
    newest: Option<TradeAt>,
}

/// Answers, and changes nothing.
pub(crate) async fn run(settings: &Settings, args: ExplainArgs) -> anyhow::Result<()> {
    let instrument = instrument(&args.product)?;
    let store = open(settings).await?;
    let bus = match settings.bus.nats {
        Some(_) => Some(Bus::connect(&settings.bus).await?),
        None => None,
    };
    if !store.knows(&instrument).await? {
        let known = store.instruments().await?;
        let names: Vec<String> = known.iter().take(NAMED_MAX).map(ToString::to_string).collect();
        let more = if known.len() > NAMED_MAX { " and others" } else { "" };
        let there = if names.is_empty() { "nothing at all".to_owned() } else { names.join(", ") };
        bail!("nothing of {instrument} is stored; there is {there}{more}");
    }
    let explained = Explainer { settings, store: &store, bus: bus.as_ref(), instrument };
    let explanation = explained.explain(args.number, args.by).await?;
    store.close().await;
    let text = if args.json {
        serde_json::to_string_pretty(&json::explanation(&explanation))?
    } else {
        table::text(&explanation)
    };
    say(text.trim_end())
}

fn instrument(text: &str) -> anyhow::Result<Instrument> {
    let (venue, product) = match text.split_once(':') {
        Some((venue, product)) => (venue.to_lowercase(), product),
        None => (Venue::coinbase().to_string(), text),
    };
    Instrument::new(&venue, &product.to_uppercase()).with_context(|| format!("{text:?} is no product"))
}

/// The database, to be read alone: it may be that of an `up` that runs.
async fn open(settings: &Settings) -> anyhow::Result<Store> {
    let url = settings.database();
    let url = match url.strip_prefix("sqlite:") {
        Some(rest) => {
            let file = rest.split('?').next().unwrap_or(rest);
            format!("sqlite:{file}?mode=ro")
        }
        None => url,
    };
    let config = store::Config { url, pool_size_max: 2, ..settings.store.clone() };
    match Store::connect(&config).await {
        Err(error @ StoreError::Connect(_)) if settings.store_url.is_none() => {
            let dir = settings.data.dir.display();
            Err(error).with_context(|| format!("{dir} has no history: name it with --data-dir or --database"))
        }
        connected => Ok(connected?),
    }
}

struct Explainer<'a> {
    settings: &'a Settings,
    store: &'a Store,
    bus: Option<&'a Bus>,
    instrument: Instrument,
}

impl Explainer<'_> {
    async fn explain(self, number: u64, by: Option<By>) -> anyhow::Result<Explanation> {
        let shards = match self.bus {
            Some(bus) => {
                bus.recorded_shards().await?.context("the streams do not say for how many shards they are")?
            }
            None => self.settings.bus.shards,
        };
        let mut ticks: Vec<Explained> = Vec::new();
        for way in By::ALL.into_iter().filter(|way| by.is_none_or(|by| by == *way)) {
            let number = match way {
                By::TradeId => TickNumber::TradeId(number),
                By::Sequence => TickNumber::Sequence(number),
            };
            for stored in self.store.find_ticks(&self.instrument, number).await? {
                // Both numbers of one tick may be the same.
                if !ticks.iter().any(|known| known.stored == stored) {
                    ticks.push(self.follow(way, stored, shards).await?);
                }
            }
        }
        let absence = match ticks.is_empty() {
            true => Some(self.absence(number, by).await?),
            false => None,
        };
        let untold = self.untold(&ticks);
        Ok(Explanation { instrument: self.instrument, number, by, ticks, absence, untold })
    }

    async fn follow(&self, by: By, stored: StoredTick, shards: ShardCount) -> anyhow::Result<Explained> {
        let tick = &stored.tick;
        let message = match (self.bus, stored.tick_sequence) {
            (Some(bus), Some(sequence)) => bus.tick_message(sequence).await?,
            _ => None,
        };
        // A stream that was made anew has other messages under the same sequences.
        let is_it = |other: &Tick| {
            other.instrument == tick.instrument
                && (other.trade_id(), other.position()) == (tick.trade_id(), tick.position())
        };
        let message = message.and_then(|message| {
            let place = message.batch.ticks.iter().position(is_it)?;
            Some((message, place))
        });
        let shard = match &message {
            Some((message, _)) => message.shard,
            None => shards.shard_of(&self.instrument).get(),
        };
        let gap = match tick.trade_id() {
            Some(trade_id) => {
                self.gap(trade_id).await?.filter(|gap| gap.run == tick.run || tick.sequence.is_none())
            }
            None => None,
        };
        let bar = self.bar(tick).await?;
        Ok(Explained { by, message, shard: (shard, shards), gap, bar, stored })
    }

    /// The newest gap that the trade lies in.
    async fn gap(&self, trade_id: u64) -> anyhow::Result<Option<Gap>> {
        let among = (trade_id, trade_id);
        let gaps =
            self.store.gaps_among(&self.instrument, among, TimeRange::ALL, Order::Descending, 1).await?;
        Ok(gaps.into_iter().next())
    }

    /// The minute that a trade went into; a change of the book goes into none.
    async fn bar(&self, tick: &Tick) -> anyhow::Result<Option<Bar>> {
        if tick.last_trade.is_none() {
            return Ok(None);
        }
        let from = tick.event_time.floor_to(domain::MINUTE);
        let query = CandleQuery {
            instrument: self.instrument.clone(),
            interval: Interval::OneMinute,
            range: TimeRange { from, until: from.saturating_add(domain::MINUTE) },
            order: Order::Ascending,
            after: None,
            limit: 1,
        };
        Ok(self.store.candles(&query).await?.into_iter().next().map(|candle| candle.bar))
    }

    async fn absence(&self, number: u64, by: Option<By>) -> anyhow::Result<Absence> {
        let gap = match by {
            Some(By::Sequence) => None,
            _ => self.gap(number).await?,
        };
        let rejects = match self.bus {
            Some(bus) => refused::find(Reading::new(bus, 0).await?, &self.instrument, number, by).await?,
            None => Vec::new(),
        };
        Ok(Absence {
            gap,
            rejects,
            horizon: self.store.horizon().await?,
            oldest: self.store.trade_from(&self.instrument, UnixNanos::MIN).await?,
            newest: self.store.trade_before(&self.instrument, UnixNanos::MAX).await?,
        })
    }

    fn untold(&self, ticks: &[Explained]) -> Vec<String> {
        let gone = ticks.iter().any(|tick| tick.message.is_none());
        let told = match (self.bus, ticks.is_empty()) {
            (Some(_), true) => return Vec::new(),
            (Some(_), false) if !gone => return Vec::new(),
            (Some(_), false) => {
                "the message of LF_TICKS is gone: when it was normalised, and its connection, is not known any more"
            }
            (None, true) => {
                "whether it was refused: name the broker with --nats (that of `up` without --nats is in its memory)"
            }
            (None, false) => {
                "when it was normalised, its connection and its message in LF_RAW: name the broker with --nats (that of `up` \
                 without --nats is in its memory)"
            }
        };
        vec![told.to_owned()]
    }
}
