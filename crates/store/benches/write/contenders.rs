//! The three ways to write a batch that are compared.

use std::{future::Future, pin::Pin};

use domain::{Decimal, Snapshot, Tick, UnixNanos};
use sqlx::{
    Connection, Encode, Executor, PgConnection, Postgres, encode::IsNull, postgres::PgArgumentBuffer,
};
use store::{Config, Store, TickRow, WriteBatch};

use crate::load;

const COLUMNS: &str = "venue, product, \"timestamp\", run, sequence, price, bid, ask, volume, bid_size, ask_size, side, \
                       trade_id, flags, ts_event, ts_ingest, tick_seq";

/// A batch in the form that a contender writes.
pub(crate) enum Batch {
    Ticks(Vec<Tick>, Vec<Snapshot>),
    Columns(Box<Columns>),
}

/// Someone who writes batches.
pub(crate) trait Contender {
    fn prepare(&self, ticks: &[Tick]) -> Batch {
        Batch::Columns(Box::new(Columns::of(ticks)))
    }

    fn write(&mut self, batch: Batch) -> Pin<Box<dyn Future<Output = ()> + '_>>;
}

/// (a) What the snapshotter calls.
pub(crate) struct Writer(Store);

impl Writer {
    pub(crate) async fn new(url: &str) -> Self {
        migrations::migrate(url, false).await.unwrap();
        Self(Store::connect(&Config { url: url.into(), ..Config::default() }).await.unwrap())
    }
}

impl Contender for Writer {
    fn prepare(&self, ticks: &[Tick]) -> Batch {
        Batch::Ticks(ticks.to_vec(), load::snapshots(ticks))
    }

    fn write(&mut self, batch: Batch) -> Pin<Box<dyn Future<Output = ()> + '_>> {
        Box::pin(async move {
            let Batch::Ticks(ticks, snapshots) = batch else { unreachable!("made by prepare") };
            let rows: Vec<_> = ticks.iter().map(|tick| TickRow { tick, tick_seq: Some(7) }).collect();
            let written_at = ticks.last().unwrap().receive_time;
            let batch = WriteBatch { ticks: &rows, snapshots: &snapshots, written_at };
            assert_eq!(self.0.write(&batch).await.unwrap().inserted, ticks.len());
        })
    }
}

/// (b) The least that puts the ticks into the table once.
pub(crate) struct Bare(PgConnection);

impl Bare {
    pub(crate) async fn new(url: &str) -> Self {
        Self(empty_history(url).await)
    }

    pub(crate) fn connection(&mut self) -> &mut PgConnection {
        &mut self.0
    }
}

const INSERT_UNNEST: &str = "INSERT INTO tick_history (venue, product, \"timestamp\", run, sequence, price, bid, ask, volume, \
     bid_size, ask_size, side, trade_id, flags, ts_event, ts_ingest, tick_seq) \
     SELECT venue, product, $1, run, sequence, price, bid, ask, volume, bid_size, ask_size, side, trade_id, flags, ts_event, \
     ts_ingest, tick_seq FROM unnest($2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::numeric[], $7::numeric[], \
     $8::numeric[], $9::numeric[], $10::numeric[], $11::numeric[], $12::text[], $13::bigint[], $14::integer[], \
     $15::bigint[], $16::bigint[], $17::bigint[]) AS t(venue, product, run, sequence, price, bid, ask, volume, bid_size, \
     ask_size, side, trade_id, flags, ts_event, ts_ingest, tick_seq) ON CONFLICT DO NOTHING";

impl Contender for Bare {
    fn write(&mut self, batch: Batch) -> Pin<Box<dyn Future<Output = ()> + '_>> {
        Box::pin(async move {
            let Batch::Columns(columns) = batch else { unreachable!("made by prepare") };
            let Columns { texts: [venue, product, side], integers, numbers, flags, .. } = *columns;
            let [run, sequence, trade_id, ts_event, ts_ingest, tick_seq] = integers;
            let [price, bid, ask, volume, bid_size, ask_size] = numbers;
            let count = flags.len() as u64;
            let query = sqlx::query(INSERT_UNNEST).bind(columns_time()).bind(venue).bind(product).bind(run);
            let query = query.bind(sequence).bind(price).bind(bid).bind(ask).bind(volume).bind(bid_size);
            let query = query.bind(ask_size).bind(side).bind(trade_id).bind(flags).bind(ts_event);
            let done = query.bind(ts_ingest).bind(tick_seq).execute(&mut self.0).await.unwrap();
            assert_eq!(done.rows_affected(), count);
        })
    }
}

/// (c) COPY in the binary form, which cannot skip what is there already, and a second step that can.
pub(crate) struct Staged(PgConnection);

impl Staged {
    pub(crate) async fn new(url: &str) -> Self {
        let mut connection = empty_history(url).await;
        let create = "CREATE TEMPORARY TABLE stage ON COMMIT DELETE ROWS AS \
                      SELECT venue, product, \"timestamp\", run, sequence, price, bid, ask, volume, bid_size, ask_size, side, \
                      trade_id, flags, ts_event, ts_ingest, tick_seq FROM tick_history WITH NO DATA";
        connection.execute(create).await.unwrap();
        Self(connection)
    }
}

impl Contender for Staged {
    fn write(&mut self, batch: Batch) -> Pin<Box<dyn Future<Output = ()> + '_>> {
        Box::pin(async move {
            let Batch::Columns(columns) = batch else { unreachable!("made by prepare") };
            let mut transaction = self.0.begin().await.unwrap();
            let mut copy = transaction.copy_in_raw("COPY stage FROM STDIN (FORMAT binary)").await.unwrap();
            copy.send(columns.binary()).await.unwrap();
            copy.finish().await.unwrap();
            let insert = "INSERT INTO tick_history (venue, product, \"timestamp\", run, sequence, price, bid, ask, volume, \
                          bid_size, ask_size, side, trade_id, flags, ts_event, ts_ingest, tick_seq) SELECT * FROM stage \
                          ON CONFLICT DO NOTHING";
            let done = sqlx::query(insert).execute(&mut *transaction).await.unwrap();
            assert_eq!(done.rows_affected(), columns.flags.len() as u64);
            transaction.commit().await.unwrap();
        })
    }
}

/// A migrated database with an empty partition for the day of the load.
async fn empty_history(url: &str) -> PgConnection {
    let mut writer = Writer::new(url).await;
    let batch = writer.prepare(&load::Load::default().trades(1));
    writer.write(batch).await;
    writer.0.close().await;
    let mut connection = PgConnection::connect(url).await.unwrap();
    connection.execute("TRUNCATE tick_history").await.unwrap();
    connection
}

fn columns_time() -> time::OffsetDateTime {
    UnixNanos::new(1_795_305_600_000_000_000).to_offset_date_time()
}

/// Ticks column by column.
#[derive(Default)]
pub(crate) struct Columns {
    /// venue, product, side
    texts: [Vec<Option<String>>; 3],
    /// run, sequence, trade_id, ts_event, ts_ingest, tick_seq
    integers: [Vec<Option<i64>>; 6],
    /// price, bid, ask, volume, bid_size, ask_size
    numbers: [Vec<Option<Decimal>>; 6],
    flags: Vec<i32>,
}

impl Columns {
    fn of(ticks: &[Tick]) -> Self {
        let signed = |value: u64| i64::try_from(value).unwrap();
        let mut columns = Self::default();
        for tick in ticks {
            let (trade, bid, ask) = (&tick.last_trade, &tick.best_bid, &tick.best_ask);
            let texts = [
                Some(tick.instrument.venue.to_string()),
                Some(tick.instrument.product.to_string()),
                trade.as_ref().and_then(|trade| trade.side).map(|side| side.as_str().to_owned()),
            ];
            let integers = [
                Some(i64::from(tick.run)),
                tick.sequence.map(signed),
                tick.trade_id().map(signed),
                Some(tick.event_time.nanos()),
                Some(tick.receive_time.nanos()),
                Some(7),
            ];
            let numbers = [
                trade.as_ref().map(|trade| trade.price),
                bid.as_ref().map(|bid| bid.price),
                ask.as_ref().map(|ask| ask.price),
                trade.as_ref().map(|trade| trade.size),
                bid.as_ref().and_then(|bid| bid.size),
                ask.as_ref().and_then(|ask| ask.size),
            ];
            columns.texts.iter_mut().zip(texts).for_each(|(column, value)| column.push(value));
            columns.integers.iter_mut().zip(integers).for_each(|(column, value)| column.push(value));
            columns.numbers.iter_mut().zip(numbers).for_each(|(column, value)| column.push(value));
            columns.flags.push(0);
        }
        columns
    }

    /// The binary form of COPY, in the order of [`COLUMNS`].
    fn binary(&self) -> Vec<u8> {
        let mut buffer = PgArgumentBuffer::default();
        buffer.extend_from_slice(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0");
        let fields = i16::try_from(COLUMNS.split(", ").count()).unwrap();
        for row in 0..self.flags.len() {
            buffer.extend_from_slice(&fields.to_be_bytes());
            let [run, sequence, trade_id, ts_event, ts_ingest, tick_seq] = &self.integers;
            field(&mut buffer, &self.texts[0][row]);
            field(&mut buffer, &self.texts[1][row]);
            field(&mut buffer, &Some(columns_time()));
            field(&mut buffer, &run[row]);
            field(&mut buffer, &sequence[row]);
            self.numbers.iter().for_each(|column| field(&mut buffer, &column[row]));
            field(&mut buffer, &self.texts[2][row]);
            field(&mut buffer, &trade_id[row]);
            field(&mut buffer, &Some(self.flags[row]));
            for column in [ts_event, ts_ingest, tick_seq] {
                field(&mut buffer, &column[row]);
            }
        }
        buffer.extend_from_slice(&(-1i16).to_be_bytes());
        std::mem::take(&mut *buffer)
    }
}

/// The length, and the value as the server receives it; -1 for NULL.
fn field<'q, T: Encode<'q, Postgres>>(buffer: &mut PgArgumentBuffer, value: &Option<T>) {
    let start = buffer.len();
    buffer.extend_from_slice(&(-1i32).to_be_bytes());
    let Some(value) = value else { return };
    if matches!(value.encode_by_ref(buffer).unwrap(), IsNull::No) {
        let length = i32::try_from(buffer.len() - start - 4).unwrap();
        buffer[start..start + 4].copy_from_slice(&length.to_be_bytes());
    }
}
