//! Partitions of any width, made and dropped by whoever may call for it; and an index for filters on `timestamp`.

use sea_orm_migration::prelude::*;

use crate::columns::Dialect;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// The original's dashboards filter on the time of writing. Rows lie in the table in that order, so a summary of each 32
/// blocks finds them: less than a byte a row and no time that `make bench-store` could tell from none, where a B-tree with
/// growing entries costs 22 bytes and some per cent. SQLite has no such index, and no dashboard reads SQLite.
const TIMESTAMP_INDEX: &str = "CREATE INDEX tick_history_timestamp ON tick_history USING brin (\"timestamp\") \
                               WITH (pages_per_range = 32, autosummarize = on)";

/// Databases from before partitions had a width have daily ones.
const KNOWN_WIDTH: &str = "INSERT INTO meta (key, value) SELECT 'partition_width', '86400' \
     WHERE EXISTS (SELECT FROM pg_inherits WHERE inhparent = 'tick_history'::regclass \
                   AND inhrelid <> 'tick_history_default'::regclass)";

/// Making and dropping a table takes its owner. The writer is not the owner, so it calls functions that run as the owner
/// and do nothing else: they take no SQL, only names of one form, and drop only what retention has given up.
///
/// The table is made first and attached then: attaching lets everyone go on reading and writing the other partitions,
/// which `CREATE TABLE … PARTITION OF` does not. `%1$I` is the schema.
const FUNCTIONS: &str = r#"
DO $outer$
DECLARE
    home text := quote_ident(current_schema());
BEGIN
    EXECUTE format($sql$
CREATE FUNCTION ledgerflux_make_partition(partition text, first_ns bigint, end_ns bigint) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = %1$s, pg_temp AS $body$
BEGIN
    IF partition !~ '^tick_history_[0-9]{8}(_[0-9]{4})?$' OR first_ns >= end_ns THEN
        RAISE EXCEPTION 'no partition of tick_history: %%', partition USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF to_regclass(partition) IS NOT NULL THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE %%I (LIKE tick_history INCLUDING ALL)', partition);
    EXECUTE format('ALTER TABLE tick_history ATTACH PARTITION %%I FOR VALUES FROM (%%s) TO (%%s)',
                   partition, first_ns, end_ns);
    RETURN true;
END
$body$ $sql$, home);
    EXECUTE format($sql$
CREATE FUNCTION ledgerflux_drop_partition(partition text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = %1$s, pg_temp AS $body$
DECLARE
    end_ns bigint;
    horizon bigint;
BEGIN
    SELECT substring(pg_get_expr(c.relpartbound, c.oid) FROM 'TO \(''?(-?[0-9]+)''?\)')::bigint INTO end_ns
        FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'tick_history'::regclass AND c.oid = to_regclass(partition)
        AND c.relname ~ '^tick_history_[0-9]{8}(_[0-9]{4})?$';
    IF end_ns IS NULL THEN
        RETURN false;
    END IF;
    SELECT value::bigint INTO horizon FROM meta WHERE key = 'horizon';
    IF horizon IS NULL OR end_ns > horizon THEN
        RAISE EXCEPTION 'partition %% is not behind the horizon', partition USING ERRCODE = 'invalid_parameter_value';
    END IF;
    EXECUTE format('DROP TABLE %%I', partition);
    RETURN true;
END
$body$ $sql$, home);
END
$outer$;
REVOKE ALL ON FUNCTION ledgerflux_make_partition(text, bigint, bigint), ledgerflux_drop_partition(text) FROM PUBLIC;
"#;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if Dialect::of(manager)? == Dialect::PostgreSql {
            for step in [TIMESTAMP_INDEX, KNOWN_WIDTH, FUNCTIONS] {
                manager.get_connection().execute_unprepared(step).await?;
            }
        }
        Ok(())
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if Dialect::of(manager)? == Dialect::PostgreSql {
            let steps = "DROP FUNCTION ledgerflux_drop_partition(text); \
                         DROP FUNCTION ledgerflux_make_partition(text, bigint, bigint); \
                         DROP INDEX tick_history_timestamp; DELETE FROM meta WHERE key = 'partition_width'";
            manager.get_connection().execute_unprepared(steps).await?;
        }
        Ok(())
    }
}
