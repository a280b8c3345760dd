//! The types of messages, as a bounded set of labels.

/// What type a frame is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FrameKind {
    /// A trade with the quote after it.
    Ticker,
    /// A sign of life of one product, each second.
    Heartbeat,
    /// The answer to a subscription.
    Subscriptions,
    /// A complaint of the exchange.
    Error,
    /// The last trade before a subscription to `matches`.
    LastMatch,
    /// A trade.
    Match,
    /// A whole order book.
    Snapshot,
    /// Changed levels of an order book.
    L2Update,
    /// What is traded, and how.
    Status,
    /// An order has arrived (channel `full`).
    Received,
    /// An order is on the book (channel `full`).
    Open,
    /// An order has left the book (channel `full`).
    Done,
    /// An order has changed (channel `full`).
    Change,
    /// A stop order was activated (channel `full`).
    Activate,
    /// The state of an auction.
    Auction,
    /// Two parties have agreed on a price (channel `rfq_matches`).
    RfqMatch,
    /// A type that did not exist when this was written.
    Unknown,
    /// No message at all, or one that cannot be read.
    Malformed,
}

impl FrameKind {
    /// Every kind.
    pub const ALL: [Self; 18] = [
        Self::Ticker,
        Self::Heartbeat,
        Self::Subscriptions,
        Self::Error,
        Self::LastMatch,
        Self::Match,
        Self::Snapshot,
        Self::L2Update,
        Self::Status,
        Self::Received,
        Self::Open,
        Self::Done,
        Self::Change,
        Self::Activate,
        Self::Auction,
        Self::RfqMatch,
        Self::Unknown,
        Self::Malformed,
    ];

    /// The name, as the exchange writes it where it has one; used as a metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ticker => "ticker",
            Self::Heartbeat => "heartbeat",
            Self::Subscriptions => "subscriptions",
            Self::Error => "error",
            Self::LastMatch => "last_match",
            Self::Match => "match",
            Self::Snapshot => "snapshot",
            Self::L2Update => "l2update",
            Self::Status => "status",
            Self::Received => "received",
            Self::Open => "open",
            Self::Done => "done",
            Self::Change => "change",
            Self::Activate => "activate",
            Self::Auction => "auction",
            Self::RfqMatch => "rfq_match",
            Self::Unknown => "unknown",
            Self::Malformed => "malformed",
        }
    }

    /// The kind that the exchange calls `name`; what is not known is [`FrameKind::Unknown`] (rule 3).
    pub(crate) fn named(name: &str) -> Self {
        let known = Self::ALL.into_iter().find(|kind| kind.as_str() == name);
        known.filter(|kind| *kind != Self::Malformed).unwrap_or(Self::Unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart_and_new_ones_are_unknown() {
        for kind in FrameKind::ALL {
            let expected = if kind == FrameKind::Malformed { FrameKind::Unknown } else { kind };
            assert_eq!(FrameKind::named(kind.as_str()), expected);
        }
        assert_eq!(FrameKind::named("ticker_of_2031"), FrameKind::Unknown);
    }
}
