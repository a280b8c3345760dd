//! The database's roles as an operator sets them up.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use support::{SOON, ledgerflux};
use testkit::{Postgres, Scratch};

const ROLES: &str =
    "SELECT string_agg(rolname, ' ' ORDER BY rolname) FROM pg_roles WHERE rolname LIKE 'ledgerflux%'";

#[tokio::test]
async fn roles_are_set_up_when_asked_for() {
    let server = Postgres::start().await;
    let database = server.create_database().await;
    for (flags, roles) in [
        (&[][..], ""),
        (&["--roles"], "ledgerflux_owner ledgerflux_reader ledgerflux_writer"),
        (&["--roles"], "ledgerflux_owner ledgerflux_reader ledgerflux_writer"),
    ] {
        let mut migrate = ledgerflux().args(["migrate", "--database", &database]).args(flags).spawn();
        assert!(migrate.wait(SOON).await.success(), "{}", migrate.stderr());
        assert!(migrate.stdout().contains("the tables are up to date"), "{}", migrate.stdout());
        assert_eq!(server.psql(&database, ROLES).await, roles);
    }
    server.stop().await;

    let scratch = Scratch::new();
    let data = scratch.join("data").display().to_string();
    let mut migrate = ledgerflux().args(["migrate", "--roles", "--data-dir", &data]).spawn();
    assert!(!migrate.wait(SOON).await.success());
    assert!(migrate.stderr().contains("SQLite"), "{}", migrate.stderr());
}
