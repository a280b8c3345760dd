//! `ListProducts` for a caller that may see some of them.

use domain::{Instrument, Tick};
use gateway::access::keys::{KeyFile, NewKey, Quotas, now};
use proto::v1::{
    ListProductsRequest, ListProductsResponse, market_data_service_client::MarketDataServiceClient,
};
use runtime::config::Flag;
use tonic::{Code, Request, Status, codec::CompressionEncoding};

use crate::world::{Gateway, World, tick};

async fn listed(
    gateway: &Gateway,
    key: &str,
    request: ListProductsRequest,
) -> Result<ListProductsResponse, Status> {
    let client = MarketDataServiceClient::connect(format!("http://{}", gateway.address)).await.unwrap();
    // What is narrowed must not come compressed, whatever the client takes.
    let mut client = client.accept_compressed(CompressionEncoding::Gzip);
    let mut request = Request::new(request);
    request.metadata_mut().insert("x-api-key", key.parse().unwrap());
    client.list_products(request).await.map(tonic::Response::into_inner)
}

fn names(response: &ListProductsResponse) -> Vec<&str> {
    response.products.iter().map(|product| product.product.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restricted_key_is_told_of_its_products() {
    let world = World::start().await;
    for name in ["ADA-USD", "BTC-USD", "ETH-USD", "SOL-USD"] {
        let instrument = Instrument::new("coinbase", name).unwrap();
        world.keep_ticks(&[Tick { instrument, ..tick(1) }]).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.toml");
    let create = |products: &[&str]| {
        let products = products.iter().map(|name| (*name).to_owned()).collect();
        let new = NewKey { name: "test".into(), products, expires: None, quotas: Quotas::default() };
        KeyFile::edit(&path, |file| file.create(new, now())).unwrap().unwrap().1
    };
    let (full, some) = (create(&["*"]), create(&["BTC-USD", "SOL-USD", "NEW-USD"]));
    let flags = vec![Flag::new("gateway.keys", path.to_str().unwrap(), "the test")];
    let gateway = world.gateway_of(32, flags).await;

    let all = listed(&gateway, &full, ListProductsRequest::default()).await.unwrap();
    assert_eq!(names(&all), ["ADA-USD", "BTC-USD", "ETH-USD", "SOL-USD"]);
    let mine = listed(&gateway, &some, ListProductsRequest::default()).await.unwrap();
    assert_eq!(names(&mine), ["BTC-USD", "SOL-USD"]);
    assert_eq!(mine.products[0], all.products[1]);
    // Page by page, as query cuts them.
    let (mut pages, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListProductsRequest { page_size: 1, page_token, ..ListProductsRequest::default() };
        let page = listed(&gateway, &some, request).await.unwrap();
        pages.push(names(&page).join(" "));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(pages, ["", "BTC-USD", "", "SOL-USD"]);
    // What query refuses comes as it is.
    let wrong = ListProductsRequest { page_token: "garbage".into(), ..ListProductsRequest::default() };
    assert_eq!(listed(&gateway, &some, wrong).await.unwrap_err().code(), Code::InvalidArgument);
    gateway.stop().await;
}
