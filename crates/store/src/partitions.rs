//! The partitions of `tick_history` on PostgreSQL, each of the configured width of event time.
//!
//! Making and dropping them is left to two functions in the database, which run with the rights of its owner: a writer
//! needs no more than the right to call them.

use std::{
    collections::{BTreeSet, HashSet},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use domain::{MINUTE, UnixNanos};
use metrics::counter;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, DbErr, Statement, TransactionTrait};

use crate::{
    Store, StoreError,
    error::{code, during},
    metrics as names,
};

mod names_of;

use names_of::{name_of, start_of};

/// The most partitions that are made for one batch. Further ticks go to the default partition.
const PARTITIONS_MAX: usize = 100;
/// How long attaching or dropping may keep others waiting while it waits itself: with the change, well below the 100 ms that a
/// writer may be held up.
const LOCK_WAIT_MAX_MS: u64 = 50;
/// How long others have the table to themselves before the next attempt.
const ATTEMPT_PAUSE: Duration = Duration::from_millis(200);
/// After so many attempts, half a minute with the pauses, the caller is told. Retention comes again, and a batch is repeated.
const ATTEMPTS_MAX: u32 = 120;
/// What PostgreSQL says when the lock was not to be had in time.
const LOCK_NOT_AVAILABLE: &str = "55P03";
/// The number of the advisory lock: "ledgerfp" in ASCII.
const PARTITION_LOCK: i64 = 0x6c65_6467_6572_6670;

/// Which partitions there are to be, and which of them need not be made. A partition is known by its number: its start
/// divided by the width.
#[derive(Debug)]
pub(crate) struct Partitions {
    width: Duration,
    settled: Mutex<HashSet<i64>>,
}

impl Partitions {
    /// A width in whole minutes, so that no minute's bar is cut by the horizon.
    pub(crate) fn of_width(width: Duration) -> Self {
        let minutes = width.as_secs().div_euclid(MINUTE.as_secs()).clamp(1, 366 * 1440);
        Self { width: Duration::from_secs(minutes * MINUTE.as_secs()), settled: Mutex::default() }
    }

    pub(crate) fn width(&self) -> Duration {
        self.width
    }

    fn width_ns(&self) -> i64 {
        i64::try_from(self.width.as_nanos()).unwrap_or(i64::MAX)
    }

    /// The number of the partition that `time` falls into.
    pub(crate) fn number_of(&self, time: UnixNanos) -> i64 {
        time.nanos().div_euclid(self.width_ns())
    }

    /// The start and the end; `None` for the two that the range of time cuts.
    fn bounds(&self, number: i64) -> Option<(i64, i64)> {
        let from = number.checked_mul(self.width_ns())?;
        Some((from, from.checked_add(self.width_ns())?))
    }

    fn missing(&self, wanted: &BTreeSet<i64>) -> Vec<i64> {
        let settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        wanted.iter().copied().filter(|number| !settled.contains(number)).collect()
    }

    fn settle(&self, numbers: impl IntoIterator<Item = i64>) {
        self.settled.lock().unwrap_or_else(PoisonError::into_inner).extend(numbers);
    }

    /// Retention has dropped this one.
    pub(crate) fn forget(&self, number: i64) {
        self.settled.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
    }

    /// The partitions that exist: number and name, oldest first.
    pub(crate) async fn existing(&self, db: &DatabaseConnection) -> Result<Vec<(i64, String)>, DbErr> {
        let select = Statement::from_string(
            DbBackend::Postgres,
            "SELECT c.relname::text AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid \
             WHERE i.inhparent = 'tick_history'::regclass ORDER BY c.relname",
        );
        let mut partitions = Vec::new();
        for row in db.query_all_raw(select).await? {
            let name: String = row.try_get("", "name")?;
            partitions.extend(start_of(&name).map(|start| (self.number_of(start), name)));
        }
        Ok(partitions)
    }
}

impl Store {
    /// Sees to it that `event_times` have their partitions. What lies before the horizon gets none.
    pub(crate) async fn make_partitions(
        &self,
        event_times: impl Iterator<Item = UnixNanos>,
    ) -> Result<(), StoreError> {
        let partitions = &self.inner.partitions;
        let mut wanted = BTreeSet::new();
        let mut last = None;
        for number in event_times.map(|time| partitions.number_of(time)) {
            // Nearly all ticks of a batch fall into the partition of the tick before.
            if last.replace(number) != Some(number) {
                wanted.insert(number);
            }
        }
        if partitions.missing(&wanted).is_empty() {
            return Ok(());
        }
        let writer = &self.inner.writer;
        self.keep_width().await?;
        let existing = partitions.existing(writer).await.map_err(during("list the partitions"))?;
        partitions.settle(existing.iter().map(|(number, _)| *number));
        let oldest = self.horizon().await?.map_or(i64::MIN, |horizon| partitions.number_of(horizon));
        let missing: Vec<i64> =
            partitions.missing(&wanted).into_iter().filter(|number| *number >= oldest).collect();
        for (made, number) in missing.into_iter().enumerate() {
            if made >= PARTITIONS_MAX {
                counter!(names::PARTITIONS_SKIPPED).increment(1);
                continue;
            }
            make(writer, partitions, number).await?;
            partitions.settle([number]);
        }
        Ok(())
    }
}

/// Makes a partition, unless another process was quicker.
async fn make(writer: &DatabaseConnection, partitions: &Partitions, number: i64) -> Result<(), StoreError> {
    let Some((from, until)) = partitions.bounds(number) else {
        counter!(names::PARTITIONS_SKIPPED).increment(1);
        return Ok(());
    };
    let name = name_of(UnixNanos::new(from), partitions.width());
    let make = Statement::from_sql_and_values(
        DbBackend::Postgres,
        "SELECT ledgerflux_make_partition($1, $2, $3)",
        [name.as_str().into(), from.into(), until.into()],
    );
    match change(writer, make).await {
        Ok(true) => counter!(names::PARTITIONS_CREATED).increment(1),
        Ok(false) => {}
        // The default partition holds rows of this time already: it goes on taking them.
        Err(error) if code(&error).as_deref() == Some("23514") => {
            counter!(names::PARTITIONS_SKIPPED).increment(1);
            tracing::warn!(partition = name, "the default partition of tick_history holds rows of this time");
        }
        Err(error) => return Err(during("make a partition")(error)),
    }
    Ok(())
}

/// Drops a partition whose end is not after the horizon; `false` when somebody else has done it.
pub(crate) async fn drop_partition(writer: &DatabaseConnection, name: &str) -> Result<bool, DbErr> {
    let drop = Statement::from_sql_and_values(
        DbBackend::Postgres,
        "SELECT ledgerflux_drop_partition($1)",
        [name.into()],
    );
    change(writer, drop).await
}

/// Calls a function that attaches or drops a partition, and says whether it did.
///
/// Both need a table for a moment, dropping all of `tick_history`, attaching the default partition. While they wait for those
/// who use it, everyone who comes later waits behind them: so they wait for a moment only, and come again.
async fn change(writer: &DatabaseConnection, call: Statement) -> Result<bool, DbErr> {
    let mut attempt = 1;
    loop {
        match attempt_change(writer, call.clone()).await {
            Err(error) if code(&error).as_deref() == Some(LOCK_NOT_AVAILABLE) && attempt < ATTEMPTS_MAX => {
                counter!(names::PARTITION_LOCK_RETRIES).increment(1);
                attempt += 1;
                tokio::time::sleep(ATTEMPT_PAUSE).await;
            }
            outcome => return outcome,
        }
    }
}

async fn attempt_change(writer: &DatabaseConnection, call: Statement) -> Result<bool, DbErr> {
    let transaction = writer.begin().await?;
    // Two who change partitions take turns, and block nobody else meanwhile.
    transaction.execute_unprepared(&format!("SELECT pg_advisory_xact_lock({PARTITION_LOCK})")).await?;
    transaction.execute_unprepared(&format!("SET LOCAL lock_timeout = '{LOCK_WAIT_MAX_MS}ms'")).await?;
    let is_done = match transaction.query_one_raw(call).await? {
        Some(row) => row.try_get_by_index(0)?,
        None => false,
    };
    transaction.commit().await?;
    Ok(is_done)
}
