//! Who may do what in PostgreSQL: three roles that nobody logs in as, to be granted to those who do.

use sea_orm_migration::sea_orm::{ConnectionTrait, DatabaseConnection, DbErr};

/// Repeatable: each run brings owners and rights to what is said here, also for tables that came since.
///
/// - `ledgerflux_owner` owns everything and migrates.
/// - `ledgerflux_writer` stores: it adds ticks and never changes or deletes one; partitions are made and dropped by
///   functions that run as the owner.
/// - `ledgerflux_reader` reads.
const ROLES: &str = r#"
DO $$
DECLARE
    role_name text;
    home text := current_schema();
    object record;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['ledgerflux_owner', 'ledgerflux_writer', 'ledgerflux_reader'] LOOP
        -- Roles belong to the whole server: another database may have made them, perhaps at this moment.
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', role_name);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL;
            END;
        END IF;
    END LOOP;
    -- Only a member of the owner can hand something over to it; who has made the role may become one.
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        BEGIN
            EXECUTE format('GRANT ledgerflux_owner TO %I', current_user);
        EXCEPTION WHEN insufficient_privilege OR invalid_grant_operation THEN
            NULL;
        END;
    END IF;

    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('REVOKE ALL ON SCHEMA %I FROM PUBLIC', home);
    EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA %I FROM PUBLIC', home);
    EXECUTE format('REVOKE ALL ON ALL SEQUENCES IN SCHEMA %I FROM PUBLIC', home);
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO ledgerflux_owner, ledgerflux_writer, ledgerflux_reader',
                   current_database());
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO ledgerflux_owner, ledgerflux_writer, ledgerflux_reader', home);
    EXECUTE format('GRANT CREATE ON SCHEMA %I TO ledgerflux_owner', home);

    -- A sequence follows the table that it belongs to.
    FOR object IN
        SELECT c.oid::regclass AS name FROM pg_class c
        WHERE c.relnamespace = home::regnamespace AND c.relkind IN ('r', 'p')
        AND (c.relname IN ('meta', 'tick_history', 'price_stats_1min', 'trade_counts_1day', 'latest_prices', 'snapshots', 'gaps',
                           'seaql_migrations')
             OR c.oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = 'tick_history'::regclass))
        AND c.relowner <> 'ledgerflux_owner'::regrole
    LOOP
        EXECUTE format('ALTER TABLE %s OWNER TO ledgerflux_owner', object.name);
    END LOOP;
    ALTER FUNCTION ledgerflux_make_partition(text, bigint, bigint) OWNER TO ledgerflux_owner;
    ALTER FUNCTION ledgerflux_drop_partition(text) OWNER TO ledgerflux_owner;

    EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA %I TO ledgerflux_writer, ledgerflux_reader', home);
    -- What the owner makes later, partitions above all, is readable without another run of this.
    EXECUTE format('ALTER DEFAULT PRIVILEGES FOR ROLE ledgerflux_owner IN SCHEMA %I '
                   'GRANT SELECT ON TABLES TO ledgerflux_writer, ledgerflux_reader', home);
    GRANT INSERT ON tick_history TO ledgerflux_writer;
    GRANT USAGE ON SEQUENCE tick_history_id_seq TO ledgerflux_writer;
    GRANT INSERT, UPDATE ON price_stats_1min, trade_counts_1day, latest_prices, snapshots, gaps TO ledgerflux_writer;
    -- The horizon moves, and the width of partitions is written once. The epoch stays: no key can be changed.
    GRANT INSERT, UPDATE (value) ON meta TO ledgerflux_writer;
    GRANT EXECUTE ON FUNCTION ledgerflux_make_partition(text, bigint, bigint), ledgerflux_drop_partition(text)
        TO ledgerflux_writer;
END
$$
"#;

pub(crate) async fn set_up(db: &DatabaseConnection) -> Result<(), DbErr> {
    db.execute_unprepared(ROLES).await.map(|_| ())
}
