//! The database's roles as an operator sets them up.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use support::{SOON, START, ledgerflux, ready};
use testkit::{NatsServer, Postgres, Scratch};

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

/// What the manifests do: log-ins made by the script of the database's image, rights by `migrate --roles`, and roles that
/// were started before either.
#[tokio::test(flavor = "multi_thread")]
async fn the_roles_of_the_cluster_work_with_the_least_rights() {
    let server = Postgres::start().await;
    let nats = NatsServer::start().await;
    let database = server.create_database().await;
    let (_, name) = database.rsplit_once('/').unwrap();
    let script = testkit::workspace_root().join("kustomize/components/postgres/users.sh");
    let programs = testkit::tool("psql");
    let status = std::process::Command::new("sh")
        .arg(script)
        .env("PATH", format!("{}:{}", programs.parent().unwrap().display(), std::env::var("PATH").unwrap()))
        .envs([("PGHOST", "127.0.0.1"), ("PGPORT", &server.port().to_string())])
        .envs([("POSTGRES_USER", "postgres"), ("POSTGRES_DB", name)])
        .envs([("WRITER_USERNAME", "writer"), ("WRITER_PASSWORD", "a'b")])
        .envs([("READER_USERNAME", "reader"), ("READER_PASSWORD", "c\"d")])
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    let url = |user: &str| database.replace("postgres@", &format!("{user}@"));
    let nats_url = nats.url();
    let role = |arguments: &[&str], user: &str| {
        ledgerflux()
            .args(arguments)
            .args(["--nats", &nats_url, "--database", &url(user)])
            .args(["--ops-listen", "127.0.0.1:0", "--print-addresses"])
            .spawn()
    };
    let mut snapshotter = role(&["snapshotter", "--shard-id", "0"], "writer");
    let mut query = role(&["query", "--grpc-listen", "127.0.0.1:0"], "reader");
    let ops = [snapshotter.address("ops", START).await, query.address("ops", START).await];
    let mut migrate = ledgerflux().args(["migrate", "--roles", "--database", &database]).spawn();
    assert!(migrate.wait(SOON).await.success(), "{}", migrate.stderr());
    for ops in &ops {
        ready(ops).await;
    }
    let keep = ["retention", "--keep", "1h", "--database", &url("writer")];
    let mut retention = ledgerflux().args(keep).spawn();
    assert!(retention.wait(SOON).await.success(), "{}", retention.stderr());
    let mut refused = ledgerflux().args(["retention", "--keep", "1h", "--database", &url("reader")]).spawn();
    assert!(!refused.wait(SOON).await.success());
    assert!(refused.stderr().contains("permission denied"), "{}", refused.stderr());
}
