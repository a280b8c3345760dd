//! What was refused.

use domain::{RejectReason, RejectedTick};
use thiserror::Error;

use crate::{
    instrument,
    instrument::InvalidName,
    tick::InvalidTick,
    time::{InvalidTimestamp, required_time, timestamp},
    v1,
};

/// Why a message is no rejected tick.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum InvalidReject {
    /// Venue and product are present together or not at all.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// The tick that was refused cannot be read either.
    #[error("the refused tick")]
    Tick(#[source] InvalidTick),
    /// The reason is absent or one that this version does not know.
    #[error("reason {0} is unknown")]
    UnknownReason(i32),
    /// The identity must not be empty.
    #[error("identity is missing")]
    MissingIdentity,
    /// A time is missing or malformed.
    #[error(transparent)]
    Time(#[from] InvalidTimestamp),
}

impl From<RejectReason> for v1::RejectReason {
    fn from(reason: RejectReason) -> Self {
        match reason {
            RejectReason::Undecodable => Self::Undecodable,
            RejectReason::MissingField => Self::MissingField,
            RejectReason::InvalidNumber => Self::InvalidNumber,
            RejectReason::NotPositive => Self::NotPositive,
            RejectReason::CrossedBook => Self::CrossedBook,
            RejectReason::ImplausibleTime => Self::ImplausibleTime,
            RejectReason::OutOfOrder => Self::OutOfOrder,
            RejectReason::UnknownProduct => Self::UnknownProduct,
            RejectReason::TooOld => Self::TooOld,
            RejectReason::Unstorable => Self::Unstorable,
            RejectReason::Unprocessable => Self::Unprocessable,
        }
    }
}

impl From<&RejectedTick> for v1::RejectedTick {
    fn from(rejected: &RejectedTick) -> Self {
        let (venue, product) = rejected.instrument.as_ref().map(instrument::encode).unwrap_or_default();
        Self {
            venue,
            product,
            tick: rejected.tick.as_ref().map(Into::into),
            raw: rejected.raw.clone(),
            raw_length: rejected.raw_length,
            reason: v1::RejectReason::from(rejected.reason).into(),
            detail: rejected.detail.clone(),
            source: rejected.source.clone(),
            reject_time: Some(timestamp(rejected.time)),
            identity: rejected.identity.clone(),
        }
    }
}

impl TryFrom<v1::RejectedTick> for RejectedTick {
    type Error = InvalidReject;

    fn try_from(rejected: v1::RejectedTick) -> Result<Self, InvalidReject> {
        let unnamed = rejected.venue.is_empty() && rejected.product.is_empty();
        let instrument =
            if unnamed { None } else { Some(instrument::decode(&rejected.venue, &rejected.product)?) };
        if rejected.identity.is_empty() {
            return Err(InvalidReject::MissingIdentity);
        }
        Ok(Self {
            instrument,
            tick: rejected.tick.map(TryInto::try_into).transpose().map_err(InvalidReject::Tick)?,
            raw: rejected.raw,
            raw_length: rejected.raw_length,
            reason: decode_reason(rejected.reason)?,
            detail: rejected.detail,
            source: rejected.source,
            time: required_time("reject_time", rejected.reject_time.as_ref())?,
            identity: rejected.identity,
        })
    }
}

fn decode_reason(number: i32) -> Result<RejectReason, InvalidReject> {
    let unknown = InvalidReject::UnknownReason(number);
    match v1::RejectReason::try_from(number) {
        Ok(v1::RejectReason::Undecodable) => Ok(RejectReason::Undecodable),
        Ok(v1::RejectReason::MissingField) => Ok(RejectReason::MissingField),
        Ok(v1::RejectReason::InvalidNumber) => Ok(RejectReason::InvalidNumber),
        Ok(v1::RejectReason::NotPositive) => Ok(RejectReason::NotPositive),
        Ok(v1::RejectReason::CrossedBook) => Ok(RejectReason::CrossedBook),
        Ok(v1::RejectReason::ImplausibleTime) => Ok(RejectReason::ImplausibleTime),
        Ok(v1::RejectReason::OutOfOrder) => Ok(RejectReason::OutOfOrder),
        Ok(v1::RejectReason::UnknownProduct) => Ok(RejectReason::UnknownProduct),
        Ok(v1::RejectReason::TooOld) => Ok(RejectReason::TooOld),
        Ok(v1::RejectReason::Unstorable) => Ok(RejectReason::Unstorable),
        Ok(v1::RejectReason::Unprocessable) => Ok(RejectReason::Unprocessable),
        Ok(v1::RejectReason::Unspecified) | Err(_) => Err(unknown),
    }
}
