//! The schema of the database, as steps that are applied once each, in order, on PostgreSQL (15 or newer) and SQLite alike.
//!
//! This crate knows tables and no ticks: `store` reads and writes what is defined here. Its entry is [`migrate`]; the
//! steps themselves are [`Migrator`]. A step that has been released is never edited; a change of the schema is a new step.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod columns;
mod m0001_meta;
mod m0002_tick_history;
mod m0003_bars;
mod m0004_state;
mod m0005_gaps;
mod m0006_partitions;
mod m0007_ledger;
mod migrate;
mod roles;

use sea_orm_migration::prelude::{MigrationTrait, MigratorTrait, async_trait};

pub use migrate::{MigrateError, migrate};

/// Every step, oldest first.
#[derive(Debug)]
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_meta::Migration),
            Box::new(m0002_tick_history::Migration),
            Box::new(m0003_bars::Migration),
            Box::new(m0004_state::Migration),
            Box::new(m0005_gaps::Migration),
            Box::new(m0006_partitions::Migration),
            Box::new(m0007_ledger::Migration),
        ]
    }
}
