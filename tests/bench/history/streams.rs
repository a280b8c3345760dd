//! Whole ranges: how many ticks a second leave, and what memory that takes.

use std::time::{Duration, Instant};

use bytes::Buf;
use futures::StreamExt as _;
use proto::v1;
use sqlx::{Connection as _, PgConnection};
use testkit::Postgres;
use tonic::{
    Status,
    codec::{Codec, DecodeBuf, Decoder},
    codegen::http::uri::PathAndQuery,
    transport::Endpoint,
};
use tonic_prost::ProstEncoder;

use crate::{
    load::{self, History},
    service::Service,
};

/// Each product is streamed once and copied once, in turns.
const ROUNDS: u64 = 5;
/// What peak memory may lie above that of the idle process.
const MEMORY_KIB_MAX: u64 = 64 * 1024;

pub(crate) async fn measure(service: &Service, server: &Postgres, history: &History) {
    let (idle, _) = service.memory_kib();
    service.forget_peak();
    let (mut streamed, mut copied) = (Vec::new(), Vec::new());
    for product in 0..=ROUNDS {
        let name = load::instrument(product).product.to_string();
        let expected = history.ticks / load::PRODUCTS;
        let started = Instant::now();
        assert_eq!(stream(service, &name).await, expected);
        let rate = expected as f64 / started.elapsed().as_secs_f64();
        let copy_rate = expected as f64 / copy(history, &name).await.as_secs_f64();
        // The first round warms both up.
        if product > 0 {
            streamed.push(rate);
            copied.push(copy_rate);
        }
    }
    let (_, peak) = service.memory_kib();
    let [streamed, copied] = [streamed, copied].map(|mut rates| {
        rates.sort_by(f64::total_cmp);
        rates
    });
    let row = |rates: &[f64]| {
        format!("{:>9.0} (min {:.0}, max {:.0})", rates[rates.len() / 2], rates[0], rates[rates.len() - 1])
    };
    let middle = streamed.len() / 2;
    println!("  StreamTicks, ticks/s                 {}", row(&streamed));
    println!("  COPY (SELECT …) TO STDOUT, rows/s    {}", row(&copied));
    println!("  COPY / StreamTicks {:.2}", copied[middle] / streamed[middle]);
    println!("  memory of the service: idle {} MiB, peak {} MiB", idle / 1024, peak / 1024);
    assert!(peak.saturating_sub(idle) <= MEMORY_KIB_MAX, "streaming took {} KiB", peak - idle);
    let plan = "SELECT pg_size_pretty(pg_database_size(current_database()))";
    println!("  size of the database: {}", server.psql(&history.url, plan).await);
}

/// All ticks of a product. The client only counts them: what is measured is the service.
async fn stream(service: &Service, product: &str) -> u64 {
    let channel = Endpoint::from_shared(service.address().to_owned()).unwrap().connect().await.unwrap();
    let mut client = tonic::client::Grpc::new(channel).max_decoding_message_size(64 * 1024 * 1024);
    client.ready().await.unwrap();
    let request = v1::StreamTicksRequest { product: product.to_owned(), ..Default::default() };
    let path = PathAndQuery::from_static("/ledgerflux.v1.MarketDataService/StreamTicks");
    let answer = client.server_streaming(tonic::Request::new(request), path, Counting).await.unwrap();
    let mut messages = answer.into_inner();
    let mut ticks = 0;
    while let Some(count) = messages.message().await.unwrap() {
        ticks += count;
    }
    ticks
}

/// What the database itself needs to hand out the same rows in the same order.
async fn copy(history: &History, product: &str) -> Duration {
    let mut connection = PgConnection::connect(&history.url).await.unwrap();
    let statement = format!(
        "COPY (SELECT id, venue, product, run, sequence, price, bid, ask, volume, bid_size, ask_size, side, trade_id, flags, \
         ts_event, ts_ingest FROM tick_history WHERE venue = 'coinbase' AND product = '{product}' AND trade_id IS NOT NULL \
         ORDER BY ts_event, trade_id) TO STDOUT"
    );
    let started = Instant::now();
    let mut rows = connection.copy_out_raw(&statement).await.unwrap();
    let mut bytes = 0;
    while let Some(row) = rows.next().await {
        bytes += row.unwrap().len();
    }
    assert!(bytes > 0);
    started.elapsed()
}

/// Counts the ticks of a message without making anything of them.
struct Counting;

impl Codec for Counting {
    type Encode = v1::StreamTicksRequest;
    type Decode = u64;
    type Encoder = ProstEncoder<v1::StreamTicksRequest>;
    type Decoder = Self;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::default()
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Decoder for Counting {
    type Item = u64;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<u64>, Status> {
        let mut ticks = 0;
        while buffer.has_remaining() {
            // Both fields of the answer are length-delimited; the first holds the ticks.
            let tag = prost::encoding::decode_varint(buffer).unwrap();
            let length = prost::encoding::decode_varint(buffer).unwrap();
            buffer.advance(usize::try_from(length).unwrap());
            ticks += u64::from(tag >> 3 == 1);
        }
        Ok(Some(ticks))
    }
}
