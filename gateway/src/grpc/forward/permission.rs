//! Which calls a caller that may see some products only may make.
//!
//! Only then is a request decoded, and of it only which products it is about. A list of all products is narrowed on its way
//! back ([`listing`]). A method that is not known here is not for such callers.

use prost::Message as _;
use proto::v1;
use tonic::Status;

use super::{call::Call, listing};
use crate::access::{Caller, status};

/// What a call is about.
type Asked = (String, Vec<String>);

/// Refuses what `caller` may not see.
pub(super) fn check(caller: &Caller, call: &Call) -> Result<(), Status> {
    if caller.only().is_none() {
        return Ok(());
    }
    if listing::concerns(call, caller) {
        return Ok(());
    }
    let (venue, products) = asked(call.method(), message(&call.body)?)?;
    if products.iter().all(String::is_empty) {
        return Err(status::not_for_restricted("name the products"));
    }
    for product in &products {
        // What is no instrument at all is for query to refuse, precisely.
        if let Ok(instrument) = proto::requested_instrument(&venue, product)
            && !caller.allows(&instrument)
        {
            return Err(status::product_not_allowed(&instrument));
        }
    }
    Ok(())
}

/// The one message of a request. A compressed one would have to be unpacked first.
fn message(body: &[u8]) -> Result<&[u8], Status> {
    match body {
        [0, a, b, c, d, message @ ..] if message.len() == u32::from_be_bytes([*a, *b, *c, *d]) as usize => {
            Ok(message)
        }
        [1, ..] => {
            Err(Status::unimplemented("send requests without compression, the key allows some products only"))
        }
        _ => Err(Status::invalid_argument("the request is not one message")),
    }
}

fn asked(method: &str, message: &[u8]) -> Result<Asked, Status> {
    macro_rules! one {
        ($request:ty) => {
            <$request>::decode(message).map(|request| (request.venue, vec![request.product]))
        };
    }
    macro_rules! several {
        ($request:ty) => {
            <$request>::decode(message).map(|request| (request.venue, request.products))
        };
    }
    let asked = match method {
        "GetLatestPrice" => one!(v1::GetLatestPriceRequest),
        "BatchGetLatestPrices" => several!(v1::BatchGetLatestPricesRequest),
        "ListTicks" => one!(v1::ListTicksRequest),
        "StreamTicks" => one!(v1::StreamTicksRequest),
        "GetSnapshot" => one!(v1::GetSnapshotRequest),
        "ListCandles" => one!(v1::ListCandlesRequest),
        "ListGaps" => one!(v1::ListGapsRequest),
        "GetPipelineStatus" => several!(v1::GetPipelineStatusRequest),
        other => return Err(status::not_for_restricted(&format!("{other} is not known here"))),
    };
    asked.map_err(|error| Status::invalid_argument(error.to_string()))
}
