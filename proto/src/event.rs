//! Events of a feed.

use domain::{EventKind, FeedEvent, Instrument, Position, ProductDetails};
use thiserror::Error;

use crate::{
    gap::{InvalidGap, feed_state},
    instrument,
    instrument::InvalidName,
    number,
    number::InvalidDecimal,
    time::{InvalidTimestamp, required_time, timestamp},
    v1,
    v1::feed_event::Kind,
};

/// Why a message is no event.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum InvalidEvent {
    /// The event does not say of which product it is.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// The kind is absent or one that this version does not know.
    #[error("kind is missing or unknown")]
    MissingKind,
    /// The gap that it tells of is at fault.
    #[error("the gap of the event")]
    Gap(#[source] InvalidGap),
    /// The gap is one of another product.
    #[error("the gap is of {gap}, the event of {event}")]
    OtherInstrument {
        /// What the gap says.
        gap: Instrument,
        /// What the event says.
        event: Instrument,
    },
    /// An increment is no decimal.
    #[error(transparent)]
    Decimal(#[from] InvalidDecimal),
    /// The state of the feed is absent or one that this version does not know.
    #[error("feed_state {0} is unknown")]
    UnknownFeedState(i32),
    /// A time is missing or malformed.
    #[error(transparent)]
    Time(#[from] InvalidTimestamp),
}

impl From<&EventKind> for Kind {
    fn from(kind: &EventKind) -> Self {
        match kind {
            EventKind::Gap(gap) => Self::Gap(gap.into()),
            EventKind::Repaired(gap) => Self::Repaired(gap.into()),
            EventKind::NewRun { previous, first } => Self::NewRun(v1::NewRun {
                previous_run: previous.run,
                previous_sequence: previous.sequence,
                run: first.run,
                sequence: first.sequence,
            }),
            EventKind::FeedState(state) => Self::FeedState(v1::FeedState::from(*state).into()),
            EventKind::Overrun { stream, first_sequence, last_sequence } => Self::Overrun(v1::Overrun {
                stream: stream.clone(),
                first_sequence: *first_sequence,
                last_sequence: *last_sequence,
            }),
            EventKind::Product(details) => Self::ProductDetails(details.into()),
        }
    }
}

impl From<&FeedEvent> for v1::FeedEvent {
    fn from(event: &FeedEvent) -> Self {
        let (venue, product) = instrument::encode(&event.instrument);
        Self {
            venue,
            product,
            detect_time: Some(timestamp(event.time)),
            source: event.source.clone(),
            kind: Some((&event.kind).into()),
        }
    }
}

impl TryFrom<v1::FeedEvent> for FeedEvent {
    type Error = InvalidEvent;

    fn try_from(event: v1::FeedEvent) -> Result<Self, InvalidEvent> {
        let instrument = instrument::decode(&event.venue, &event.product)?;
        Ok(Self {
            time: required_time("detect_time", event.detect_time.as_ref())?,
            source: event.source,
            kind: decode_kind(&instrument, event.kind.ok_or(InvalidEvent::MissingKind)?)?,
            instrument,
        })
    }
}

fn decode_kind(instrument: &Instrument, kind: Kind) -> Result<EventKind, InvalidEvent> {
    Ok(match kind {
        Kind::Gap(gap) => EventKind::Gap(decode_gap(instrument, gap)?),
        Kind::Repaired(gap) => EventKind::Repaired(decode_gap(instrument, gap)?),
        Kind::NewRun(new) => EventKind::NewRun {
            previous: Position { run: new.previous_run, sequence: new.previous_sequence },
            first: Position { run: new.run, sequence: new.sequence },
        },
        Kind::FeedState(number) => match feed_state(number) {
            Ok(Some(state)) => EventKind::FeedState(state),
            _ => return Err(InvalidEvent::UnknownFeedState(number)),
        },
        Kind::Overrun(overrun) => EventKind::Overrun {
            stream: overrun.stream,
            first_sequence: overrun.first_sequence,
            last_sequence: overrun.last_sequence,
        },
        Kind::ProductDetails(details) => EventKind::Product(decode_details(details)?),
    })
}

impl From<&ProductDetails> for v1::ProductDetails {
    fn from(details: &ProductDetails) -> Self {
        Self {
            base_currency: details.base_currency.clone(),
            quote_currency: details.quote_currency.clone(),
            base_increment: number::encode(details.base_increment),
            quote_increment: number::encode(details.quote_increment),
            status: details.status.clone(),
        }
    }
}

fn decode_details(details: v1::ProductDetails) -> Result<ProductDetails, InvalidDecimal> {
    Ok(ProductDetails {
        base_increment: number::decode("product_details.base_increment", &details.base_increment)?,
        quote_increment: number::decode("product_details.quote_increment", &details.quote_increment)?,
        base_currency: details.base_currency,
        quote_currency: details.quote_currency,
        status: details.status,
    })
}

fn decode_gap(instrument: &Instrument, gap: v1::Gap) -> Result<domain::Gap, InvalidEvent> {
    let gap = domain::Gap::try_from(gap).map_err(InvalidEvent::Gap)?;
    if gap.instrument != *instrument {
        return Err(InvalidEvent::OtherInstrument { gap: gap.instrument, event: instrument.clone() });
    }
    Ok(gap)
}
