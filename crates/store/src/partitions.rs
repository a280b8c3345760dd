//! The daily partitions of `tick_history` on PostgreSQL.
//!
//! Each is a table of its own that is made first and attached then: attaching lets everyone go on reading and writing the
//! other days, which `CREATE TABLE … PARTITION OF` does not.

use std::{
    collections::{BTreeSet, HashSet},
    sync::{Mutex, PoisonError},
};

use domain::UnixNanos;
use metrics::counter;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, DbErr, Statement, TransactionTrait};
use time::{Date, Duration, Month, OffsetDateTime};

use crate::{
    Store, StoreError,
    error::{code, during},
    metrics as names,
};

/// The most partitions that are made for one batch. Further days go to the default partition.
const PARTITIONS_MAX: usize = 100;
/// The number of the advisory lock: "ledgerfp" in ASCII.
const PARTITION_LOCK: i64 = 0x6c65_6467_6572_6670;
const NANOS_PER_DAY: i64 = 86_400_000_000_000;
const PREFIX: &str = "tick_history_";

/// The days, counted from 1970, that need no partition to be made.
#[derive(Debug, Default)]
pub(crate) struct Partitions {
    settled: Mutex<HashSet<i64>>,
}

impl Partitions {
    fn missing(&self, days: &BTreeSet<i64>) -> Vec<i64> {
        let settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        days.iter().copied().filter(|day| !settled.contains(day)).collect()
    }

    fn settle(&self, days: impl IntoIterator<Item = i64>) {
        self.settled.lock().unwrap_or_else(PoisonError::into_inner).extend(days);
    }

    /// Retention has dropped these.
    pub(crate) fn forget(&self, days: &[i64]) {
        let mut settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        days.iter().for_each(|day| _ = settled.remove(day));
    }
}

impl Store {
    /// Sees to it that the days of `event_times` have their partitions. Days before the horizon get none.
    pub(crate) async fn make_partitions(
        &self,
        event_times: impl Iterator<Item = UnixNanos>,
    ) -> Result<(), StoreError> {
        let partitions = &self.inner.partitions;
        let days: BTreeSet<i64> = event_times.map(day_of).collect();
        if partitions.missing(&days).is_empty() {
            return Ok(());
        }
        let writer = &self.inner.writer;
        let existing = existing(writer).await.map_err(during("list the partitions"))?;
        partitions.settle(existing.iter().map(|(day, _)| *day));
        let oldest = self.horizon().await?.map_or(i64::MIN, day_of);
        let missing: Vec<i64> = partitions.missing(&days).into_iter().filter(|day| *day >= oldest).collect();
        for (made, day) in missing.into_iter().enumerate() {
            if made >= PARTITIONS_MAX {
                counter!(names::PARTITIONS_SKIPPED).increment(1);
                continue;
            }
            make(writer, day).await?;
            partitions.settle([day]);
        }
        Ok(())
    }
}

/// Makes the partition of `day`, unless another process was quicker.
async fn make(writer: &DatabaseConnection, day: i64) -> Result<(), StoreError> {
    let Some((name, from, until)) = bounds(day) else {
        counter!(names::PARTITIONS_SKIPPED).increment(1);
        return Ok(());
    };
    let result = async {
        let transaction = writer.begin().await?;
        // Attaching waits for whoever reads the default partition, and whoever comes later waits behind it.
        transaction.execute_unprepared("SET LOCAL lock_timeout = '5s'").await?;
        transaction.execute_unprepared(&format!("SELECT pg_advisory_xact_lock({PARTITION_LOCK})")).await?;
        let found = Statement::from_string(
            DbBackend::Postgres,
            format!("SELECT 1 WHERE to_regclass('{name}') IS NOT NULL"),
        );
        if transaction.query_one_raw(found).await?.is_some() {
            return Ok(false);
        }
        let create = format!(
            "CREATE TABLE {name} (LIKE tick_history INCLUDING ALL); \
             ALTER TABLE tick_history ATTACH PARTITION {name} FOR VALUES FROM ({from}) TO ({until})"
        );
        transaction.execute_unprepared(&create).await?;
        transaction.commit().await?;
        Ok::<bool, DbErr>(true)
    };
    match result.await {
        Ok(true) => counter!(names::PARTITIONS_CREATED).increment(1),
        Ok(false) => {}
        // The default partition holds rows of this day already: it goes on taking them.
        Err(error) if code(&error).as_deref() == Some("23514") => {
            counter!(names::PARTITIONS_SKIPPED).increment(1);
            tracing::warn!(partition = name, "the default partition of tick_history holds rows of this day");
        }
        Err(error) => return Err(during("make a partition")(error)),
    }
    Ok(())
}

/// The daily partitions that exist: the day, counted from 1970, and the name.
pub(crate) async fn existing(db: &DatabaseConnection) -> Result<Vec<(i64, String)>, DbErr> {
    let select = Statement::from_string(
        DbBackend::Postgres,
        "SELECT c.relname::text AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid \
         WHERE i.inhparent = 'tick_history'::regclass ORDER BY c.relname",
    );
    let mut partitions = Vec::new();
    for row in db.query_all_raw(select).await? {
        let name: String = row.try_get("", "name")?;
        partitions.extend(day_of_name(&name).map(|day| (day, name)));
    }
    Ok(partitions)
}

pub(crate) fn day_of(time: UnixNanos) -> i64 {
    time.nanos().div_euclid(NANOS_PER_DAY)
}

/// The name of a day's partition and its bounds in nanoseconds; `None` for the two days that the range of time cuts.
fn bounds(day: i64) -> Option<(String, i64, i64)> {
    let from = day.checked_mul(NANOS_PER_DAY)?;
    let until = from.checked_add(NANOS_PER_DAY)?;
    let date = (OffsetDateTime::UNIX_EPOCH + Duration::days(day)).date();
    let name = format!("{PREFIX}{:04}{:02}{:02}", date.year(), u8::from(date.month()), date.day());
    Some((name, from, until))
}

fn day_of_name(name: &str) -> Option<i64> {
    let digits = name.strip_prefix(PREFIX).filter(|digits| digits.len() == 8)?;
    let number = |range: std::ops::Range<usize>| digits.get(range)?.parse::<u16>().ok();
    let month = Month::try_from(u8::try_from(number(4..6)?).ok()?).ok()?;
    let date =
        Date::from_calendar_date(i32::from(number(0..4)?), month, u8::try_from(number(6..8)?).ok()?).ok()?;
    Some((date - OffsetDateTime::UNIX_EPOCH.date()).whole_days())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_days_belong_together() {
        for (day, name) in
            [(0, "tick_history_19700101"), (18_734, "tick_history_20210417"), (-1, "tick_history_19691231")]
        {
            let (made, from, until) = bounds(day).unwrap();
            assert_eq!((made.as_str(), day_of_name(&made)), (name, Some(day)));
            assert_eq!((day_of(UnixNanos::new(from)), day_of(UnixNanos::new(until - 1))), (day, day));
            assert_eq!(day_of(UnixNanos::new(until)), day + 1);
        }
        assert_eq!(bounds(day_of(UnixNanos::MIN)), None);
        assert_eq!(bounds(day_of(UnixNanos::MAX)), None);
        for name in
            ["tick_history_default", "tick_history_2021041", "tick_history_20211341", "other_20210417"]
        {
            assert_eq!(day_of_name(name), None, "{name}");
        }
    }
}
