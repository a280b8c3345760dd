//! What is true of the database as a whole.

use sea_orm::entity::prelude::*;

/// The row with the random id of this history.
pub const EPOCH: &str = "epoch";
/// The row with the time before which ticks have been dropped.
pub const HORIZON: &str = "horizon";
/// The row with the seconds of event time in one partition (PostgreSQL); absent before the first partition.
pub const PARTITION_WIDTH: &str = "partition_width";

/// A row of `meta`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "meta")]
pub struct Model {
    /// The name.
    #[sea_orm(primary_key, auto_increment = false)]
    pub key: String,
    /// The value.
    pub value: Option<String>,
}

impl ActiveModelBehavior for ActiveModel {}
