//! What only a process of its own can show: signals, exit codes, and the log as others read it. Each test starts this
//! test binary again, with the one ignored test that plays the process.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use runtime::{Shutdown, TaskSet, tasks::OnFailure, telemetry};
use rustix::process::{Pid, Signal, kill_process};

const PATIENCE: Duration = Duration::from_secs(30);

/// How the process behaves after the first signal.
const BEHAVIOUR: &str = "RUNTIME_TEST_BEHAVIOUR";

#[test]
#[ignore = "the process that the other tests start"]
fn process() {
    let Ok(behaviour) = std::env::var(BEHAVIOUR) else {
        return;
    };
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let config =
            telemetry::Config { log_format: telemetry::LogFormat::Json, ..telemetry::Config::default() };
        let _guard = telemetry::init(&config, "ledgerflux-test", "test-1").unwrap();
        let shutdown = Shutdown::from_signals().unwrap();
        if behaviour == "panics" {
            let mut tasks = TaskSet::new(shutdown.clone());
            tasks.spawn("writer", OnFailure::StopProcess, async {
                if true { panic!("index out of range") } else { Ok::<(), std::fmt::Error>(()) }
            });
            shutdown.requested().await;
            let failed = tasks.join(PATIENCE).await.is_err();
            std::process::exit(i32::from(failed) + 2);
        }
        tracing::info!("started");
        shutdown.requested().await;
        if behaviour == "sticks" {
            tracing::info!("stuck");
            // The only thread of this runtime: nothing else in it runs any more.
            loop {
                std::thread::park();
            }
        }
    });
}

struct Process {
    child: Child,
    log: BufReader<ChildStderr>,
}

impl Process {
    fn start(behaviour: &str) -> Process {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "process", "--ignored", "--nocapture"])
            .env(BEHAVIOUR, behaviour)
            .env_remove("RUST_BACKTRACE")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        Process { child, log }
    }

    /// The next line of the log whose message is `message`.
    fn logged(&mut self, message: &str) -> serde_json::Value {
        loop {
            let mut line = String::new();
            assert_ne!(self.log.read_line(&mut line).unwrap(), 0, "the log ended before {message:?}");
            let line: serde_json::Value = serde_json::from_str(&line).expect(&line);
            if line["message"] == message {
                return line;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn ended(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(started.elapsed() < PATIENCE, "the process does not end");
            std::thread::yield_now();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn each_signal_asks_for_a_shutdown() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut process = Process::start("ends");
        process.logged("started");
        process.signal(signal);
        assert_eq!(process.ended().code(), Some(0));
    }
}

#[test]
fn the_second_signal_ends_even_a_process_whose_threads_are_stuck() {
    let mut process = Process::start("sticks");
    process.logged("started");
    process.signal(Signal::TERM);
    process.logged("stuck");
    process.signal(Signal::INT);
    assert_eq!(process.ended().code(), Some(130));
}

#[test]
fn a_panic_is_a_log_line_with_the_task_and_stops_the_process() {
    let mut process = Process::start("panics");
    let line = process.logged("panicked");
    assert_eq!(line["level"], "ERROR");
    assert_eq!(line["panic"], "index out of range");
    assert_eq!(line["span"]["task"], "writer");
    assert!(line["location"].as_str().unwrap().contains("process.rs"));
    process.logged("a task failed, stopping the process");
    assert_eq!(process.ended().code(), Some(3));
    let mut rest = String::new();
    process.log.read_to_string(&mut rest).unwrap();
}
