//! How complete a range of history is: the trades that are stored against those that the exchange numbered.
//!
//! Nothing here looks at the ticks of a range: days and minutes are counted by the writer, and of ticks at most those of the
//! two minutes at the edges are looked at. So an answer takes the same time whatever the length of the history.

use std::time::Duration;

use domain::{Completeness, Instrument, MINUTE, Tick, TimeRange, UnixNanos};
use sea_orm::{ConnectionTrait, Statement, Value};

use crate::{
    HistoryKey, Store, StoreError,
    candles::bound,
    error::during,
    row::{unsigned, unsigned_option},
};

pub(crate) const DAY: Duration = Duration::from_secs(86_400);
/// How many starts of runs are looked at. Who has had more within the range gets no number of expected trades.
const RUNS_MAX: u32 = 16;

/// A trade at the edge of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TradeAt {
    /// When it happened.
    pub event_time: UnixNanos,
    /// Its number, where it has one.
    pub trade_id: Option<u64>,
}

impl TradeAt {
    /// Whether `next` is the trade after this one by its number: then there is none between them.
    pub fn is_followed_by(&self, next: &Self) -> bool {
        match (self.trade_id, next.trade_id) {
            (Some(this), Some(next)) => this.checked_add(1) == Some(next),
            _ => false,
        }
    }
}

impl Store {
    /// How complete the trades of `instrument` in `range` are, as far as they are kept: before the horizon nothing is
    /// expected and nothing counted. A range without a start begins with the oldest trade that is kept, one without an end
    /// ends with the newest.
    ///
    /// The number of expected trades is known when the trades at the edges of the range and their neighbours outside are
    /// consecutive, and when the exchange did not begin to number anew in between.
    pub async fn completeness(
        &self,
        instrument: &Instrument,
        range: TimeRange,
    ) -> Result<Completeness, StoreError> {
        self.within("count the trades", self.count_range(instrument, range, None)).await
    }

    /// The same, for who has read all ticks of `range` already: what lies within is then taken from them.
    pub async fn completeness_of(
        &self,
        instrument: &Instrument,
        range: TimeRange,
        ticks: &[(HistoryKey, Tick)],
    ) -> Result<Completeness, StoreError> {
        self.within("count the trades", self.count_range(instrument, range, Some(ticks))).await
    }

    /// The newest trade of `instrument` before `time`.
    pub async fn trade_before(
        &self,
        instrument: &Instrument,
        time: UnixNanos,
    ) -> Result<Option<TradeAt>, StoreError> {
        self.within("find the trade before", self.edge_before(instrument, time)).await
    }

    /// The oldest trade of `instrument` at or after `time`.
    pub async fn trade_from(
        &self,
        instrument: &Instrument,
        time: UnixNanos,
    ) -> Result<Option<TradeAt>, StoreError> {
        self.within("find the trade after", self.edge_from(instrument, time)).await
    }

    async fn count_range(
        &self,
        name: &Instrument,
        asked: TimeRange,
        ticks: Option<&[(HistoryKey, Tick)]>,
    ) -> Result<Completeness, StoreError> {
        let horizon = self.horizon().await?;
        let kept = TimeRange { from: asked.from.max(horizon.unwrap_or(UnixNanos::MIN)), until: asked.until };
        let mut completeness = Completeness { horizon, ..Completeness::default() };
        if kept.from >= kept.until {
            completeness.open_gaps = self.count_open_gaps(name, asked, None, None).await?;
            return Ok(completeness);
        }
        let before = match asked.from {
            UnixNanos::MIN => None,
            _ => self.edge_before(name, kept.from).await?,
        };
        let after = match asked.until {
            UnixNanos::MAX => None,
            until => self.edge_from(name, until).await?,
        };
        completeness.open_gaps = self.count_open_gaps(name, asked, before, after).await?;
        let (stored, edges) = match ticks {
            Some(ticks) => trades_of(ticks, kept),
            None => {
                let first =
                    self.edge_from(name, kept.from).await?.filter(|edge| edge.event_time < kept.until);
                let last =
                    self.edge_before(name, kept.until).await?.filter(|edge| edge.event_time >= kept.from);
                (self.count_trades(name, kept).await?, first.zip(last))
            }
        };
        completeness.stored_trades = stored;
        completeness.expected_trades = match edges {
            Some((first, last)) => {
                let is_start_known = asked.from == UnixNanos::MIN
                    || before.is_some_and(|before| before.is_followed_by(&first));
                let is_end_known =
                    asked.until == UnixNanos::MAX || after.is_some_and(|after| last.is_followed_by(&after));
                let is_known = is_start_known
                    && is_end_known
                    && !self.is_numbered_anew(name, kept, first.event_time).await?;
                // More than the numbers allow: they do not count these trades.
                span(first, last).filter(|span| is_known && *span >= stored)
            }
            None => before.zip(after).filter(|(before, after)| before.is_followed_by(after)).map(|_| 0),
        };
        Ok(completeness)
    }

    /// How many trades are stored with an event time in `range`.
    async fn count_trades(&self, name: &Instrument, range: TimeRange) -> Result<u64, StoreError> {
        let from = range.from.max(UnixNanos::new(0));
        let until = if range.until == UnixNanos::MAX { range.until.floor_to(DAY) } else { range.until };
        let (first_minute, last_minute) = (ceil(from, MINUTE), until.floor_to(MINUTE));
        if first_minute >= last_minute {
            return self.count_ticks(name, from, until).await;
        }
        let (first_day, last_day) = (ceil(first_minute, DAY), last_minute.floor_to(DAY));
        let minutes = match first_day <= last_day {
            true => {
                self.count_minutes(name, first_minute, first_day).await?
                    + self.count_days(name, first_day, last_day).await?
                    + self.count_minutes(name, last_day, last_minute).await?
            }
            false => self.count_minutes(name, first_minute, last_minute).await?,
        };
        let head = self.count_ticks(name, from, first_minute).await?;
        Ok(head + minutes + self.count_ticks(name, last_minute, until).await?)
    }

    async fn count_ticks(
        &self,
        name: &Instrument,
        from: UnixNanos,
        until: UnixNanos,
    ) -> Result<u64, StoreError> {
        // Each kind of tick has an index by time of its own, which is found by its condition only.
        let sql = "SELECT CAST((SELECT count(*) FROM tick_history WHERE venue = $1 AND product = $2 \
                   AND trade_id IS NOT NULL AND ts_event >= $3 AND ts_event < $4) + \
                   (SELECT count(*) FROM tick_history WHERE venue = $1 AND product = $2 \
                   AND trade_id IS NULL AND price IS NOT NULL AND ts_event >= $3 AND ts_event < $4) AS BIGINT)";
        self.count(sql, name, from, until, |time| time.nanos().into()).await
    }

    async fn count_minutes(
        &self,
        name: &Instrument,
        from: UnixNanos,
        until: UnixNanos,
    ) -> Result<u64, StoreError> {
        let sql = "SELECT CAST(coalesce(sum(tick_count), 0) AS BIGINT) FROM price_stats_1min \
                   WHERE venue = $1 AND product = $2 AND time_bucket >= $3 AND time_bucket < $4";
        self.count(sql, name, from, until, |time| bound(time).into()).await
    }

    async fn count_days(
        &self,
        name: &Instrument,
        from: UnixNanos,
        until: UnixNanos,
    ) -> Result<u64, StoreError> {
        let sql = "SELECT CAST(coalesce(sum(trades), 0) AS BIGINT) FROM trade_counts_1day \
                   WHERE venue = $1 AND product = $2 AND ts_day >= $3 AND ts_day < $4";
        self.count(sql, name, from, until, |time| time.nanos().into()).await
    }

    async fn count(
        &self,
        sql: &str,
        name: &Instrument,
        from: UnixNanos,
        until: UnixNanos,
        value: fn(UnixNanos) -> Value,
    ) -> Result<u64, StoreError> {
        if from >= until {
            return Ok(0);
        }
        let reader = &self.inner.reader;
        let arguments = [name.venue.as_str().into(), name.product.as_str().into(), value(from), value(until)];
        let select = Statement::from_sql_and_values(reader.get_database_backend(), sql, arguments);
        let counting = during("count the trades");
        let row = reader.query_one_raw(select).await.map_err(&counting)?;
        let count = row.map_or(Ok(0), |row| row.try_get_by_index(0)).map_err(&counting)?;
        unsigned("trade_counts_1day", "trades", count)
    }

    /// Open gaps whose trades may lie in `range`, between the trades `before` and `after` it.
    async fn count_open_gaps(
        &self,
        name: &Instrument,
        range: TimeRange,
        before: Option<TradeAt>,
        after: Option<TradeAt>,
    ) -> Result<u64, StoreError> {
        let number = |edge: Option<TradeAt>| edge.and_then(|edge| i64::try_from(edge.trade_id?).ok());
        let (first, last) = (number(before).unwrap_or(-1), number(after).unwrap_or(i64::MAX));
        let reader = &self.inner.reader;
        let select = Statement::from_sql_and_values(
            reader.get_database_backend(),
            "SELECT count(*) FROM gaps WHERE venue = $1 AND product = $2 AND state = 'open' \
             AND last_trade_id > $3 AND first_trade_id < $4 \
             AND coalesce(ts_before, ts_after, detected_at) < $5 AND coalesce(ts_after, detected_at) >= $6",
            [
                name.venue.as_str().into(),
                name.product.as_str().into(),
                first.into(),
                last.into(),
                range.until.nanos().into(),
                range.from.nanos().into(),
            ],
        );
        let row = reader.query_one_raw(select).await.map_err(during("count the open gaps"))?;
        let count = row.map_or(Ok(0), |row| row.try_get_by_index(0));
        unsigned("gaps", "state", count.map_err(during("count the open gaps"))?)
    }

    async fn edge_before(&self, name: &Instrument, time: UnixNanos) -> Result<Option<TradeAt>, StoreError> {
        let minute = time.floor_to(MINUTE);
        let within = "SELECT ts_event, trade_id FROM tick_history WHERE venue = $1 AND product = $2 \
                      AND trade_id IS NOT NULL AND ts_event >= $3 AND ts_event < $4 \
                      ORDER BY ts_event DESC, trade_id DESC LIMIT 1";
        let bars = "SELECT close_ts_event, close_trade_id FROM price_stats_1min WHERE venue = $1 AND product = $2 \
                    AND time_bucket < $3 ORDER BY time_bucket DESC LIMIT 1";
        if minute < time && time != UnixNanos::MAX {
            let found = self.edge(within, name, vec![minute.nanos().into(), time.nanos().into()]).await?;
            if found.is_some() {
                return Ok(found);
            }
        }
        self.edge(bars, name, vec![bound(minute).into()]).await
    }

    async fn edge_from(&self, name: &Instrument, time: UnixNanos) -> Result<Option<TradeAt>, StoreError> {
        let time = time.max(UnixNanos::new(0));
        let minute = ceil(time, MINUTE);
        let within = "SELECT ts_event, trade_id FROM tick_history WHERE venue = $1 AND product = $2 \
                      AND trade_id IS NOT NULL AND ts_event >= $3 AND ts_event < $4 \
                      ORDER BY ts_event, trade_id LIMIT 1";
        let bars = "SELECT open_ts_event, open_trade_id FROM price_stats_1min WHERE venue = $1 AND product = $2 \
                    AND time_bucket >= $3 ORDER BY time_bucket LIMIT 1";
        if time < minute {
            let found = self.edge(within, name, vec![time.nanos().into(), minute.nanos().into()]).await?;
            if found.is_some() {
                return Ok(found);
            }
        }
        self.edge(bars, name, vec![bound(minute).into()]).await
    }

    async fn edge(
        &self,
        sql: &str,
        name: &Instrument,
        times: Vec<Value>,
    ) -> Result<Option<TradeAt>, StoreError> {
        let reader = &self.inner.reader;
        let names = [name.venue.as_str().into(), name.product.as_str().into()];
        let arguments: Vec<Value> = names.into_iter().chain(times).collect();
        let select = Statement::from_sql_and_values(reader.get_database_backend(), sql, arguments);
        let finding = during("find the trade at an edge");
        let Some(row) = reader.query_one_raw(select).await.map_err(&finding)? else { return Ok(None) };
        let event_time = UnixNanos::new(row.try_get_by_index(0).map_err(&finding)?);
        let trade_id: Option<i64> = row.try_get_by_index(1).map_err(&finding)?;
        Ok(Some(TradeAt { event_time, trade_id: unsigned_option("tick_history", "trade_id", trade_id)? }))
    }

    /// Whether the exchange began to number the trades anew after `first` and within `range`: at the start of a run, which
    /// most products never see.
    async fn is_numbered_anew(
        &self,
        name: &Instrument,
        range: TimeRange,
        first: UnixNanos,
    ) -> Result<bool, StoreError> {
        let newest = self.latest(name).await?.map_or(0, |latest| latest.position.run);
        let start = "SELECT ts_event, trade_id FROM tick_history WHERE venue = $1 AND product = $2 AND run = $3 \
                     AND trade_id IS NOT NULL AND sequence IS NOT NULL ORDER BY sequence LIMIT 1";
        let oldest = newest.saturating_sub(RUNS_MAX);
        for run in (oldest.max(1)..=newest).rev() {
            let Some(start) = self.edge(start, name, vec![i64::from(run).into()]).await? else { continue };
            if start.event_time <= first {
                return Ok(false);
            }
            if run == oldest {
                return Ok(true);
            }
            if start.event_time < range.until {
                let before = self.edge_before(name, start.event_time).await?;
                if before.is_none_or(|before| before.trade_id >= start.trade_id) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

/// How many trades `ticks` have in `range`, and the first and the last of those with a number.
fn trades_of(ticks: &[(HistoryKey, Tick)], range: TimeRange) -> (u64, Option<(TradeAt, TradeAt)>) {
    let within = |key: &HistoryKey| key.event_time >= range.from && key.event_time < range.until;
    let trades = ticks.iter().filter(|(key, tick)| tick.last_trade.is_some() && within(key));
    let stored = u64::try_from(trades.clone().count()).unwrap_or(u64::MAX);
    let numbered = trades.map(|(key, _)| key).filter(|key| key.trade_id.is_some());
    let at = |key: &HistoryKey| TradeAt { event_time: key.event_time, trade_id: key.trade_id };
    (stored, numbered.clone().min().map(at).zip(numbered.max().map(at)))
}

/// How many trades the numbers from `first` to `last` are.
fn span(first: TradeAt, last: TradeAt) -> Option<u64> {
    last.trade_id?.checked_sub(first.trade_id?)?.checked_add(1)
}

/// The first multiple of `width` at or after `time`.
fn ceil(time: UnixNanos, width: Duration) -> UnixNanos {
    let floor = time.floor_to(width);
    if floor == time { floor } else { floor.saturating_add(width) }
}
