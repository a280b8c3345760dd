//! A child process that cannot outlive the test process, and whose handle ends it.

use std::io;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{OnceLock, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// How the handle asks the child to end when it is dropped.
#[derive(Debug, Clone, Copy)]
pub(crate) enum EndWith {
    /// At once, without a chance to clean up.
    Kill,
    /// With this signal first; SIGKILL follows when the child has not ended in time.
    Signal(Signal, Duration),
}

/// A running child. Dropping it ends the child and waits for it.
#[derive(Debug)]
pub(crate) struct Guarded {
    child: Child,
    end_with: EndWith,
}

impl Guarded {
    pub(crate) fn spawn(command: Command, end_with: EndWith) -> anyhow::Result<Guarded> {
        let program = format!("{command:?}");
        let child = spawn_from_lasting_thread(command).with_context(|| format!("cannot start {program}"))?;
        Ok(Guarded { child, end_with })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn io(&mut self) -> &mut Child {
        &mut self.child
    }

    pub(crate) fn exit_status(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        self.child.try_wait().context("cannot ask for the state of a child process")
    }

    /// Sends a signal; nothing happens when the child has already been waited for.
    pub(crate) fn signal(&mut self, signal: Signal) -> anyhow::Result<()> {
        if self.exit_status()?.is_some() {
            return Ok(());
        }
        kill_process(Pid::from_child(&self.child), signal).context("cannot send a signal to a child process")
    }

    /// Stops it (SIGSTOP) and returns when none of its threads runs any more, which is a moment after the signal.
    pub(crate) async fn pause(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::STOP)?;
        let options = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG;
        while waitid(WaitId::Pid(Pid::from_child(&self.child)), options)?.is_none() {
            if let Some(status) = self.exit_status()? {
                bail!("the process ended instead of being stopped: {status}");
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        Ok(())
    }

    pub(crate) async fn wait(&mut self, deadline: Duration) -> anyhow::Result<Option<ExitStatus>> {
        let started = Instant::now();
        loop {
            let status = self.exit_status()?;
            if status.is_some() || started.elapsed() > deadline {
                return Ok(status);
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// The same without an executor, for `Drop`.
    fn wait_blocking(&mut self, deadline: Duration) -> bool {
        let started = Instant::now();
        while started.elapsed() <= deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return true;
            }
            #[allow(
                clippy::disallowed_methods,
                reason = "drop has no executor; it polls a child that is ending"
            )]
            std::thread::sleep(POLL_INTERVAL);
        }
        false
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        if let EndWith::Signal(signal, patience) = self.end_with {
            let pid = Pid::from_child(&self.child);
            // A stopped process would not see the signal before it is continued.
            let asked = kill_process(pid, signal).and_then(|()| kill_process(pid, Signal::CONT));
            if asked.is_ok() && self.wait_blocking(patience) {
                return;
            }
        }
        // Neither can fail in a way that something could be done about: the child is ours and has not been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A command whose process is killed by the kernel when the thread that started it ends, where the system can do that
/// (`setpriv` of util-linux; otherwise only the handle's drop ends it). The process keeps the pid of the command.
pub(crate) fn bound_to_us(program: &Path) -> Command {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    let available = AVAILABLE.get_or_init(|| {
        let mut probe = Command::new("setpriv");
        probe.args(["--pdeathsig", "KILL", "true"]).stdout(Stdio::null()).stderr(Stdio::null());
        probe.status().is_ok_and(|status| status.success())
    });
    if !available {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

struct Request {
    command: Command,
    reply: mpsc::SyncSender<io::Result<Child>>,
}

/// The kernel's death signal goes out when the spawning *thread* ends, and each test runs in a thread of its own; one
/// thread that lasts as long as the process starts all children, so that tests may share a server.
fn spawn_from_lasting_thread(command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<mpsc::SyncSender<Request>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, receiver) = mpsc::sync_channel::<Request>(16);
        std::thread::spawn(move || {
            for mut request in receiver {
                // The requester waits for the answer, so it is there.
                let _ = request.reply.send(request.command.spawn());
            }
        });
        sender
    });
    let (reply, answer) = mpsc::sync_channel(1);
    let gone = |_| io::Error::other("the thread that starts child processes is gone");
    spawner
        .send(Request { command, reply })
        .map_err(|_| io::Error::other("no thread starts child processes"))?;
    answer.recv().map_err(gone)?
}

/// The end of a server's log file, for error messages.
pub(crate) fn tail(log: &Path) -> String {
    let text =
        std::fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
