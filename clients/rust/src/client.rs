//! The connection and the calls.

use std::time::Duration;

use tonic::{
    Request,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, ClientTlsConfig, Endpoint},
};

use crate::{
    Error, Start, Subscription, TickRange, Ticks,
    history::Order,
    v1::{
        self, market_data_service_client::MarketDataServiceClient,
        streaming_service_client::StreamingServiceClient,
    },
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The deadline of a call that has one answer.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// A dead connection is noticed within the sum of both; servers take pings more frequent than 20 s as an attack.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// The channel, with the key on every call.
pub(crate) type Calls = InterceptedService<Channel, Key>;

/// What a call says of its caller.
#[derive(Clone, Debug, Default)]
pub(crate) struct Key(Option<MetadataValue<Ascii>>);

impl Interceptor for Key {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, tonic::Status> {
        if let Some(key) = &self.0 {
            request.metadata_mut().insert("authorization", key.clone());
        }
        Ok(request)
    }
}

/// A connection to a gateway. Cheap to clone; clones share the connection.
#[derive(Clone, Debug)]
pub struct Client {
    channel: Channel,
    market_data: MarketDataServiceClient<Calls>,
    streaming: StreamingServiceClient<Calls>,
    venue: String,
}

impl Client {
    /// Connects to `endpoint`, e.g. `http://127.0.0.1:8000`. With `https://` the certificate is checked against the
    /// roots of this machine.
    pub async fn connect(endpoint: &str) -> Result<Self, Error> {
        let invalid = |source| Error::InvalidEndpoint { endpoint: endpoint.to_owned(), source };
        let mut target = Endpoint::from_shared(endpoint.to_owned())
            .map_err(invalid)?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT);
        if target.uri().scheme_str() == Some("https") {
            target = target.tls_config(ClientTlsConfig::new().with_native_roots()).map_err(invalid)?;
        }
        let connected = target.connect().await;
        let channel = connected.map_err(|source| Error::Connect { endpoint: endpoint.to_owned(), source })?;
        Ok(Self::new(channel))
    }

    /// A client on a connection that the caller made, e.g. with certificates of their own.
    pub fn new(channel: Channel) -> Self {
        Self::with(channel, Key::default(), String::new())
    }

    fn with(channel: Channel, key: Key, venue: String) -> Self {
        Self {
            market_data: MarketDataServiceClient::with_interceptor(channel.clone(), key.clone()),
            streaming: StreamingServiceClient::with_interceptor(channel.clone(), key),
            channel,
            venue,
        }
    }

    /// The same connection with an API key (or a JWT) on every call, for a gateway that asks for one.
    pub fn with_key(self, key: &str) -> Result<Self, Error> {
        let mut value: MetadataValue<Ascii> =
            format!("Bearer {key}").parse().map_err(|_| Error::InvalidKey)?;
        // It shows up in no log of ours.
        value.set_sensitive(true);
        Ok(Self::with(self.channel, Key(Some(value)), self.venue))
    }

    /// The same connection for the products of `venue`; without this they are those of `coinbase`.
    #[must_use]
    pub fn at_venue(mut self, venue: impl Into<String>) -> Self {
        self.venue = venue.into();
        self
    }

    /// The newest that is known of `product`.
    pub async fn latest_price(&self, product: &str) -> Result<v1::LatestPrice, Error> {
        const CALL: &str = "GetLatestPrice";
        let mut request = Request::new(v1::GetLatestPriceRequest {
            venue: self.venue.clone(),
            product: product.to_owned(),
        });
        request.set_timeout(CALL_TIMEOUT);
        let response = self.market_data.clone().get_latest_price(request).await.map_err(Error::call(CALL))?;
        let latest_price = response.into_inner().latest_price;
        latest_price.ok_or(Error::Incomplete { call: CALL, field: "latest_price" })
    }

    /// The stored ticks of `product` in `range`. Nothing is asked until the first one is read.
    pub fn list_ticks(&self, product: &str, range: TickRange, order: Order) -> Ticks {
        let request = v1::ListTicksRequest {
            venue: self.venue.clone(),
            product: product.to_owned(),
            range: range.into(),
            order: v1::SortOrder::from(order).into(),
            page_size: 0,
            page_token: String::new(),
        };
        Ticks::new(self.market_data.clone(), request)
    }

    /// The ticks of `products` from `start` on, as they happen; `*` stands for all products. When they come faster than
    /// they are read, the newest of each product counts, and each says how many were skipped before it.
    pub async fn subscribe<P: Into<String>>(
        &self,
        products: impl IntoIterator<Item = P>,
        start: Start,
    ) -> Result<Subscription, Error> {
        let request = v1::SubscribeRequest {
            venue: self.venue.clone(),
            products: products.into_iter().map(Into::into).collect(),
            start: Some(start.into()),
            delivery: None,
        };
        self.subscribe_with(request).await
    }

    /// A subscription with everything that a request may say.
    pub async fn subscribe_with(&self, request: v1::SubscribeRequest) -> Result<Subscription, Error> {
        let response = self.streaming.clone().subscribe(request).await;
        Ok(Subscription::new(response.map_err(Error::call(Subscription::CALL))?.into_inner()))
    }
}
