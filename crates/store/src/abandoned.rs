//! Ending on the server what nobody waits for any more.
//!
//! A call that is cancelled or runs out of time is dropped here, and its connection goes back to the pool. The pool would
//! wait for the statement to end by itself, and the server would work on it for nobody.

use std::{sync::Arc, time::Duration};

use sea_orm::SqlxPostgresConnector;
use sqlx::{Connection as _, Executor as _, PgPool, postgres::PgConnection};

use crate::Store;

/// How long a connection that comes back may take to answer. One that does not is in the middle of a statement.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(200);
/// While it works on a statement, PostgreSQL looks so often whether its client is still there.
const CHECK_FOR_CLIENT: &str = "SET client_connection_check_interval = 250";

impl Store {
    /// On PostgreSQL, from now on whatever is dropped halfway ends on the server too, within half a second: its connection is
    /// closed, which the server notices. (SQLite ends at the next row.) Nobody else may have the store yet.
    pub(crate) async fn end_what_is_abandoned(&mut self) {
        if self.is_postgres()
            && let Some(inner) = Arc::get_mut(&mut self.inner)
        {
            let first = inner.writer.get_postgres_connection_pool().clone();
            let pool = SqlxPostgresConnector::from_sqlx_postgres_pool(ending_abandoned(&first));
            inner.reader = pool.clone();
            inner.writer = pool;
            first.close().await;
        }
    }
}

/// The same pool, whose connections are closed when they come back in the middle of a statement.
fn ending_abandoned(pool: &PgPool) -> PgPool {
    let options = pool.options().clone();
    options
        .after_connect(|connection, _| {
            Box::pin(async move {
                // A server on a system that cannot tell refuses the setting, and then a statement ends by its timeout.
                if let Err(error) = connection.execute(CHECK_FOR_CLIENT).await {
                    tracing::debug!(%error, "the server cannot notice that a client is gone");
                }
                Ok(())
            })
        })
        .after_release(|connection, _| Box::pin(async move { Ok(is_idle(connection).await) }))
        .connect_lazy_with((*pool.connect_options()).clone())
}

async fn is_idle(connection: &mut PgConnection) -> bool {
    matches!(tokio::time::timeout(ANSWER_TIMEOUT, connection.ping()).await, Ok(Ok(())))
}
