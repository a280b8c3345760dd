//! What happened to a feed, as opposed to what happened on the market.

use crate::{Decimal, Instrument, Position, UnixNanos};

/// How a feed is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FeedState {
    /// Not connected yet, or not confirmed yet.
    Connecting,
    /// Connected, confirmed and heard of lately.
    Live,
    /// Connected, but not heard of for too long.
    Stale,
    /// Waiting before the next attempt.
    BackingOff,
}

/// Why trades are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GapCause {
    /// The connection was lost.
    Disconnect,
    /// The ingestor was not running.
    Restart,
    /// The connection was up and the feed left them out.
    Drop,
    /// The exchange put several matches into one ticker.
    Batched,
    /// We had no room for them.
    Overflow,
}

impl GapCause {
    /// The name, as it stands in labels and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disconnect => "disconnect",
            Self::Restart => "restart",
            Self::Drop => "drop",
            Self::Batched => "batched",
            Self::Overflow => "overflow",
        }
    }
}

/// What has become of a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GapState {
    /// Still missing.
    Open,
    /// Fetched afterwards.
    Repaired,
    /// The exchange does not have them any more.
    Unrepairable,
}

/// Trades that the exchange made and we do not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Where and what.
    pub instrument: Instrument,
    /// The run in which it was seen.
    pub run: u32,
    /// The first missing trade.
    pub first_trade_id: u64,
    /// The last missing trade, which belongs to the gap.
    pub last_trade_id: u64,
    /// The event time of the last trade before it, where known.
    pub after: Option<UnixNanos>,
    /// The event time of the first trade after it, where known.
    pub before: Option<UnixNanos>,
    /// When it was noticed, by our clock.
    pub detected_at: UnixNanos,
    /// Why.
    pub cause: GapCause,
    /// What has become of it.
    pub state: GapState,
    /// How many of its trades were fetched afterwards.
    pub repaired_count: u64,
}

/// What the exchange says of a product itself, as opposed to its market.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProductDetails {
    /// The currency that is traded, e.g. `BTC` of `BTC-USD`.
    pub base_currency: String,
    /// The currency that prices are in, e.g. `USD` of `BTC-USD`.
    pub quote_currency: String,
    /// Sizes are multiples of it; base currency.
    pub base_increment: Decimal,
    /// Prices are multiples of it; quote currency.
    pub quote_increment: Decimal,
    /// What the exchange says, e.g. `online` or `delisted`.
    pub status: String,
}

/// What kind of event, and what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// Trades are missing.
    Gap(Gap),
    /// Missing trades were fetched, or were found to be unrepairable: the gap as it is now.
    Repaired(Gap),
    /// The exchange's sequence started anew.
    NewRun {
        /// The last position of the run before.
        previous: Position,
        /// The first position of the new run.
        first: Position,
    },
    /// The feed changed its state.
    FeedState(FeedState),
    /// The broker dropped messages before they were read.
    Overrun {
        /// The stream, e.g. `LF_TICKS`.
        stream: String,
        /// The first message that is gone.
        first_sequence: u64,
        /// The last message that is gone.
        last_sequence: u64,
    },
    /// What the exchange says of the product, said at start and from time to time.
    Product(ProductDetails),
}

impl EventKind {
    /// The name of the kind, as it stands in subjects and labels.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Gap(_) => "gap",
            Self::Repaired(_) => "repaired",
            Self::NewRun { .. } => "new_run",
            Self::FeedState(_) => "feed_state",
            Self::Overrun { .. } => "overrun",
            Self::Product(_) => "product",
        }
    }
}

/// Something that happened to the feed of a product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedEvent {
    /// Where and what.
    pub instrument: Instrument,
    /// When, by our clock.
    pub time: UnixNanos,
    /// Which role and instance says so.
    pub source: String,
    /// What.
    pub kind: EventKind,
}

impl FeedEvent {
    /// What makes this event the same one when it is said twice.
    pub fn identity(&self) -> String {
        let what = match &self.kind {
            EventKind::Gap(gap) => format!("{}/{}-{}", gap.run, gap.first_trade_id, gap.last_trade_id),
            EventKind::Repaired(gap) => {
                let (first, last) = (gap.first_trade_id, gap.last_trade_id);
                format!("{}/{first}-{last}/{:?}/{}", gap.run, gap.state, gap.repaired_count)
            }
            EventKind::NewRun { first, .. } => first.to_string(),
            EventKind::FeedState(state) => format!("{state:?}/{}/{}", self.source, self.time.nanos()),
            EventKind::Overrun { stream, first_sequence, last_sequence } => {
                format!("{stream}/{first_sequence}-{last_sequence}")
            }
            EventKind::Product(_) => format!("{}/{}", self.source, self.time.nanos()),
        };
        format!("{}/{}/{what}", self.kind.name(), self.instrument)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gap() -> Gap {
        Gap {
            instrument: Instrument::new("coinbase", "BTC-USD").unwrap(),
            run: 1,
            first_trade_id: 5,
            last_trade_id: 9,
            after: None,
            before: None,
            detected_at: UnixNanos::new(7),
            cause: GapCause::Disconnect,
            state: GapState::Open,
            repaired_count: 2,
        }
    }

    fn details() -> ProductDetails {
        ProductDetails {
            base_currency: "BTC".into(),
            quote_currency: "USD".into(),
            base_increment: Decimal::new(1, 8),
            quote_increment: Decimal::new(1, 2),
            status: "online".into(),
        }
    }

    /// The identity is what the broker removes repetitions by: the same event said twice has one, different ones differ.
    #[test]
    fn each_event_has_an_identity_of_its_own() {
        let previous = Position { run: 0, sequence: 10 };
        let overrun = EventKind::Overrun { stream: "LF_TICKS".into(), first_sequence: 3, last_sequence: 4 };
        let kinds = [
            (EventKind::Gap(gap()), "gap", "gap/coinbase:BTC-USD/1/5-9"),
            (EventKind::Repaired(gap()), "repaired", "repaired/coinbase:BTC-USD/1/5-9/Open/2"),
            (
                EventKind::NewRun { previous, first: Position { run: 1, sequence: 2 } },
                "new_run",
                "new_run/coinbase:BTC-USD/1/2",
            ),
            (
                EventKind::FeedState(FeedState::Stale),
                "feed_state",
                "feed_state/coinbase:BTC-USD/Stale/ingestor/a/8",
            ),
            (overrun, "overrun", "overrun/coinbase:BTC-USD/LF_TICKS/3-4"),
            (EventKind::Product(details()), "product", "product/coinbase:BTC-USD/ingestor/a/8"),
        ];
        for (kind, name, identity) in kinds {
            assert_eq!(kind.name(), name);
            let event = FeedEvent {
                instrument: gap().instrument,
                time: UnixNanos::new(8),
                source: "ingestor/a".into(),
                kind,
            };
            assert_eq!(event.identity(), identity);
        }
    }
}
