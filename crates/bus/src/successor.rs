//! Who took over the work of a shard, for roles that publish nothing that could be fenced.

use std::time::Duration;

use domain::{RoleStatus, Shard};

use crate::{BrokerError, Bus, Owner, StreamKind, headers::OWNER, latest::decoded};

/// Whoever lives says so within this time: a status is published once a second.
const SPEAKS_WITHIN: Duration = Duration::from_millis(2500);

impl Bus {
    /// Who started later than this participant and has the same role and shard. One that falls silent does not count, by
    /// whichever clock: when somebody is found, it takes seconds to hear whether they still speak.
    pub async fn successor(&self, role: &str, shard: Shard) -> Result<Option<Owner>, BrokerError> {
        let Some((said, _)) = self.newest_successor(role, shard).await? else {
            return Ok(None);
        };
        tokio::time::sleep(SPEAKS_WITHIN).await;
        let newest = self.newest_successor(role, shard).await?;
        Ok(newest.filter(|(again, _)| *again != said).map(|(_, owner)| owner))
    }

    /// The newest word of those who started later, and whose it is.
    async fn newest_successor(&self, role: &str, shard: Shard) -> Result<Option<(u64, Owner)>, BrokerError> {
        let stored = self.broker.last_per_subject(StreamKind::Status).await?;
        let later = stored.iter().filter_map(|stored| {
            let owner = stored.headers.get(OWNER)?.parse::<Owner>().ok()?;
            let status = decoded::<RoleStatus>(StreamKind::Status, stored)?;
            let is_ours = status.role == role && status.worker_shard() == Some(shard.get());
            (is_ours && owner > *self.owner).then_some((stored.sequence, owner))
        });
        Ok(later.max_by_key(|(sequence, _)| *sequence))
    }
}
