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

#[cfg(test)]
mod tests {
    use http_body_util::Full;
    use prost_types::FileDescriptorSet;
    use proto::v1::market_data_service_server::SERVICE_NAME;
    use runtime::config::Sources;
    use tonic::{Code, body::Body};
    use tonic_types::StatusExt as _;

    use super::*;
    use crate::Config;

    const VENUE: &str = "coinbase";

    /// A request of so many bytes of gRPC.
    async fn call(method: &str, body: Vec<u8>) -> Call {
        let mut sources = Sources::load(None, [], Vec::new()).unwrap();
        let config = sources.read("gateway", Config::read);
        let mut request = http::Request::new(Body::new(Full::new(body.into())));
        *request.uri_mut() = format!("/{SERVICE_NAME}/{method}").parse().unwrap();
        Call::read(request, &config).await.unwrap()
    }

    fn framed(compressed: u8, message: &[u8]) -> Vec<u8> {
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        [[compressed].as_slice(), &length, message].concat()
    }

    /// The request of a method about `products`, of which only those with several take more than the first; `None` for one that
    /// is about all.
    fn request(method: &str, products: &[&str]) -> Option<Vec<u8>> {
        let venue = VENUE.to_owned();
        let product = products.first().copied().unwrap_or_default().to_owned();
        let products = products.iter().map(|name| (*name).to_owned()).collect();
        macro_rules! one {
            ($request:ident) => {
                v1::$request { venue, product, ..v1::$request::default() }.encode_to_vec()
            };
        }
        macro_rules! several {
            ($request:ident) => {
                v1::$request { venue, products, ..v1::$request::default() }.encode_to_vec()
            };
        }
        Some(match method {
            "GetLatestPrice" => one!(GetLatestPriceRequest),
            "BatchGetLatestPrices" => several!(BatchGetLatestPricesRequest),
            "ListTicks" => one!(ListTicksRequest),
            "StreamTicks" => one!(StreamTicksRequest),
            "GetSnapshot" => one!(GetSnapshotRequest),
            "ListCandles" => one!(ListCandlesRequest),
            "ListGaps" => one!(ListGapsRequest),
            "GetPipelineStatus" => several!(GetPipelineStatusRequest),
            "ListProducts" => return None,
            other => panic!("{other} is new: may it be called by who may see some products only?"),
        })
    }

    /// Every method that the service has.
    fn methods() -> Vec<String> {
        let files = FileDescriptorSet::decode(proto::FILE_DESCRIPTOR_SET).unwrap().file;
        let services =
            files.iter().filter(|file| file.package() == "ledgerflux.v1").flat_map(|file| &file.service);
        let service = services.into_iter().find(|service| SERVICE_NAME.ends_with(service.name())).unwrap();
        service.method.iter().map(|method| method.name().to_owned()).collect()
    }

    async fn checked(method: &str, body: Vec<u8>) -> Result<(), (Code, String)> {
        let caller = Caller::of_products(&["BTC-USD", "ETH-USD"]);
        check(&caller, &call(method, body).await).map_err(|status| {
            let reason = status.get_error_details().error_info().map(|info| info.reason.clone());
            (status.code(), reason.unwrap_or_default())
        })
    }

    #[tokio::test]
    async fn every_method_is_bound_to_the_products_of_its_caller() {
        let refused = Err((Code::PermissionDenied, "PRODUCT_NOT_ALLOWED".to_owned()));
        let methods = methods();
        assert!(methods.len() >= 9, "{methods:?}");
        for method in &methods {
            let Some(own) = request(method, &["BTC-USD"]) else {
                assert_eq!(
                    checked(method, framed(0, &[])).await,
                    Ok(()),
                    "{method} is narrowed on its way back"
                );
                continue;
            };
            assert_eq!(checked(method, framed(0, &own)).await, Ok(()), "{method}");
            // The one that is not allowed stands first: of two, a single field would keep the other.
            for products in [&["SOL-USD"][..], &["SOL-USD", "BTC-USD"], &[], &[""]] {
                let asked = framed(0, &request(method, products).unwrap());
                assert_eq!(checked(method, asked).await, refused, "{method} {products:?}");
            }
            let free = call(method, framed(0, &request(method, &["SOL-USD"]).unwrap())).await;
            check(&Caller::anonymous(), &free).unwrap();

            // What cannot be looked into is let through by nobody.
            let code = |checked: Result<(), (Code, String)>| checked.unwrap_err().0;
            assert_eq!(code(checked(method, framed(1, &own)).await), Code::Unimplemented, "{method}");
            let two = [framed(0, &own), framed(0, &request(method, &["SOL-USD"]).unwrap())].concat();
            assert_eq!(code(checked(method, two).await), Code::InvalidArgument, "{method}");
            assert_eq!(code(checked(method, Vec::new()).await), Code::InvalidArgument, "{method}");
            assert_eq!(code(checked(method, framed(0, b"\xff")).await), Code::InvalidArgument, "{method}");
        }
        let unknown = framed(0, &request("GetSnapshot", &["BTC-USD"]).unwrap());
        assert_eq!(checked("GetSomethingNew", unknown).await, refused);
    }
}
