//! A running `ledgerflux` process.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::io::{BufRead as _, BufReader, Read};
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::Signal;

use crate::child::{EndWith, Guarded, bound_to_us};
use crate::{eventually, or_panic};

/// How long the last lines of an ended process may take to arrive.
const READERS_DEADLINE: Duration = Duration::from_secs(2);
/// A process that logs more keeps its newest lines.
const LINES_KEPT_MAX: usize = 20_000;

/// What is to be started; made by [`Process::builder`].
#[derive(Debug)]
pub struct ProcessBuilder {
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    directory: Option<PathBuf>,
}

impl ProcessBuilder {
    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Adds several arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// Sets an environment variable. `LEDGERFLUX_…` variables of the test process are never inherited.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Sets the working directory.
    #[must_use]
    pub fn current_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Starts the process. It does not wait for anything: ask for an address next.
    ///
    /// # Panics
    /// When the program cannot be started.
    pub fn spawn(self) -> Process {
        or_panic(self.try_spawn())
    }

    fn try_spawn(self) -> anyhow::Result<Process> {
        let mut command = bound_to_us(&self.program);
        command.args(self.arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"LEDGERFLUX_") {
                command.env_remove(name);
            }
        }
        command.envs(self.environment);
        if let Some(directory) = self.directory {
            command.current_dir(directory);
        }
        let mut child = Guarded::spawn(command, EndWith::Kill)?;
        let output = Arc::new(Mutex::new(Output::default()));
        let stdout = child.io().stdout.take().context("the process has no standard output")?;
        let stderr = child.io().stderr.take().context("the process has no standard error")?;
        let readers =
            [collect(stdout, &output, Output::add_stdout), collect(stderr, &output, Output::add_stderr)];
        Ok(Process { child, output, readers })
    }
}

#[derive(Debug, Default)]
struct Output {
    stdout: VecDeque<String>,
    stderr: VecDeque<String>,
    addresses: BTreeMap<String, String>,
}

impl Output {
    fn add_stdout(&mut self, line: String) {
        if let Some((name, address)) = address_in(&line) {
            self.addresses.insert(name.to_owned(), address.to_owned());
        }
        keep(&mut self.stdout, line);
    }

    fn add_stderr(&mut self, line: String) {
        keep(&mut self.stderr, line);
    }
}

fn keep(lines: &mut VecDeque<String>, line: String) {
    lines.push_back(line);
    if lines.len() > LINES_KEPT_MAX {
        lines.pop_front();
    }
}

/// A running process; dropping it is SIGKILL.
#[derive(Debug)]
pub struct Process {
    child: Guarded,
    output: Arc<Mutex<Output>>,
    readers: [JoinHandle<()>; 2],
}

impl Process {
    /// Begins to describe a process; tests of the binary pass `env!("CARGO_BIN_EXE_ledgerflux")`.
    pub fn builder(program: impl Into<PathBuf>) -> ProcessBuilder {
        ProcessBuilder {
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            directory: None,
        }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the line `name=address` that `--print-addresses` writes, and returns the address.
    ///
    /// # Panics
    /// When the process ends before, or `deadline` passes; the message has its output.
    pub async fn address(&mut self, name: &str, deadline: Duration) -> String {
        let started = tokio::time::Instant::now();
        loop {
            if let Some(address) = self.lock().addresses.get(name) {
                return address.clone();
            }
            let ended = or_panic(self.child.exit_status());
            if ended.is_some() || started.elapsed() > deadline {
                // The readers of a process that has just ended may be a line behind.
                tokio::time::sleep(Duration::from_millis(50)).await;
                if let Some(address) = self.lock().addresses.get(name) {
                    return address.clone();
                }
                panic!("no line `{name}=…` within {deadline:?} (exit: {ended:?})\n{}", self.all_output());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until a line of its output contains `text`, and returns the line.
    ///
    /// # Panics
    /// When `deadline` passes.
    pub async fn output_with(&self, text: &str, deadline: Duration) -> String {
        eventually(deadline, || async {
            let output = self.lock();
            let found = output.stdout.iter().chain(&output.stderr).find(|line| line.contains(text)).cloned();
            drop(output);
            found.ok_or_else(|| format!("no line with {text:?}\n{}", self.all_output()))
        })
        .await
    }

    /// Whether it has not ended yet.
    pub fn is_running(&mut self) -> bool {
        or_panic(self.child.exit_status()).is_none()
    }

    /// Sends it a signal; no effect when it has ended.
    pub fn signal(&mut self, signal: Signal) {
        or_panic(self.child.signal(signal));
    }

    /// Freezes it (SIGSTOP), until it gets [`Signal::CONT`] or is killed.
    pub async fn pause(&mut self) {
        or_panic(self.child.pause().await);
    }

    /// Asks it to end (SIGTERM) and waits.
    ///
    /// # Panics
    /// When it has not ended within `deadline`; the message has its output.
    pub async fn terminate(&mut self, deadline: Duration) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait(deadline).await
    }

    /// Kills it (SIGKILL) and waits until it is gone.
    pub async fn kill(&mut self) -> ExitStatus {
        self.signal(Signal::KILL);
        self.wait(Duration::from_secs(10)).await
    }

    /// Waits until it ends by itself.
    ///
    /// # Panics
    /// When it has not ended within `deadline`; the message has its output.
    pub async fn wait(&mut self, deadline: Duration) -> ExitStatus {
        or_panic(self.try_wait(deadline).await)
    }

    async fn try_wait(&mut self, deadline: Duration) -> anyhow::Result<ExitStatus> {
        match self.child.wait(deadline).await? {
            Some(status) => {
                self.output_is_complete().await;
                Ok(status)
            }
            None => bail!("the process did not end within {deadline:?}\n{}", self.all_output()),
        }
    }

    /// The readers end when the pipes are closed, a moment after the process: without this, what it wrote last could be
    /// missing. Bounded, because a child of its own may hold the pipes.
    async fn output_is_complete(&self) {
        let until = tokio::time::Instant::now() + READERS_DEADLINE;
        while !self.readers.iter().all(JoinHandle::is_finished) && tokio::time::Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// What it wrote to standard output so far.
    pub fn stdout(&self) -> String {
        joined(&self.lock().stdout)
    }

    /// What it wrote to standard error so far.
    pub fn stderr(&self) -> String {
        joined(&self.lock().stderr)
    }

    fn all_output(&self) -> String {
        format!("--- standard output\n{}\n--- standard error\n{}", self.stdout(), self.stderr())
    }

    fn lock(&self) -> MutexGuard<'_, Output> {
        self.output.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn joined(lines: &VecDeque<String>) -> String {
    lines.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
}

/// Reads lines until the process closes the pipe. The thread ends with the process, whose handle kills it.
fn collect<R: Read + Send + 'static>(
    source: R,
    output: &Arc<Mutex<Output>>,
    add: fn(&mut Output, String),
) -> JoinHandle<()> {
    let output = Arc::clone(output);
    std::thread::spawn(move || {
        let mut source = BufReader::new(source);
        let mut line = Vec::new();
        while matches!(source.read_until(b'\n', &mut line), Ok(length) if length > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            line.clear();
            add(&mut output.lock().unwrap_or_else(PoisonError::into_inner), text);
        }
    })
}

/// `name=address`, where the name is one lower-case word and the address has a port.
fn address_in(line: &str) -> Option<(&str, &str)> {
    let (name, address) = line.split_once('=')?;
    let is_name =
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || b"-_".contains(&byte));
    (is_name && address.contains(':') && !address.contains(' ')).then_some((name, address))
}
