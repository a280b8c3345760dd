//! What the page, README and `docs/` show with grpcurl, websocat, Python and Node does what they say, as it stands there.
//!
//! `make examples` fetches these programs and runs this; without them it fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::{collections::BTreeMap, path::Path};

use support::{SOON, START, counted, demo_at, http_get, ledgerflux};
use testkit::{Process, Scratch, eventually, workspace_root};

/// A running demo and what examples need to reach it.
struct Demo {
    process: Process,
    gateway: String,
    grpc: String,
    key: Option<String>,
    _data: Scratch,
}

impl Demo {
    async fn start(asks_for_keys: bool) -> Self {
        let data = Scratch::new();
        let file = data.join("keys.toml").display().to_string();
        let mut key = None;
        if asks_for_keys {
            let mut create = ledgerflux().args(["keys", "create", "--keys", &file, "--name", "all"]).spawn();
            assert!(create.wait(SOON).await.success(), "{}", create.stderr());
            key = create.stdout().lines().find(|line| line.starts_with("lf_")).map(str::to_owned);
            assert!(key.is_some(), "{}", create.stdout());
        }
        let arguments = ["--keys", &file];
        let arguments = if asks_for_keys { &arguments[..] } else { &[] };
        let mut process = demo_at(&data, "127.0.0.1:0", arguments).await;
        let ops = process.address("ops", START).await;
        // There is something to ask for.
        eventually(SOON, || async {
            counted(&http_get(&ops, "/metrics").await.1, "ledgerflux_snapshotter_ticks_total") > 20
        })
        .await;
        let (gateway, grpc) = (process.address("gateway", START).await, process.address("grpc", START).await);
        Self { process, gateway, grpc, key, _data: data }
    }

    /// What the page shows, name by name.
    async fn page(&self) -> BTreeMap<String, String> {
        let root = workspace_root();
        let mut browser = Process::builder("node")
            .arg(root.join("gateway/web/browser/examples.mjs"))
            .arg(format!("http://{}/", self.gateway))
            .arg(root.join("target/screenshots/examples"))
            .env("KEY", self.key.as_deref().unwrap_or_default())
            .spawn();
        assert!(browser.wait(SOON).await.success(), "{}", browser.stderr());
        serde_json::from_str(&browser.stdout()).unwrap()
    }

    /// Runs `program` until its output has each of `parts`, or to its end when there are none.
    async fn run(&self, program: &[&str], parts: &[&str]) {
        let tools = workspace_root().join(".tools");
        let ours = Path::new(env!("CARGO_BIN_EXE_ledgerflux")).parent().unwrap();
        let path =
            format!("{}:{}:{}", tools.join("bin").display(), ours.display(), std::env::var("PATH").unwrap());
        let key = self.key.as_deref().unwrap_or_default();
        // It has a group of its own, and passes the signal that ends it on to all of it.
        let mut example = Process::builder("timeout")
            .arg("120")
            .args(program)
            .env("PATH", path)
            .env("PYTHONPATH", tools.join("websockets"))
            .env("PYTHONUNBUFFERED", "1")
            .env("LEDGERFLUX_KEY", key)
            .env("KEY", key)
            .spawn();
        let shown = program.last().unwrap();
        if parts.is_empty() {
            let status = example.wait(SOON).await;
            assert!(status.success() && !example.stdout().is_empty(), "{shown}\n{}", example.stderr());
            return;
        }
        let waiting = std::time::Instant::now();
        while !parts.iter().all(|part| example.stdout().contains(part)) {
            let goes_on = example.is_running() && waiting.elapsed() < SOON;
            assert!(goes_on, "{shown}\nhas not said {parts:?}:\n{}\n{}", example.stdout(), example.stderr());
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        example.terminate(SOON).await;
    }

    /// As it stands on a page that says 127.0.0.1:8000 and 127.0.0.1:50051.
    async fn run_documented(&self, command: &str) {
        let command = command.replace("127.0.0.1:8000", &self.gateway).replace("127.0.0.1:50051", &self.grpc);
        let parts: &[&str] = match &command {
            socket if socket.contains("websocat") || socket.contains("new WebSocket") => &["\"op\":\"incr\""],
            stream if stream.contains("Subscribe") => &["\"tick\": {"],
            _ => &[],
        };
        let program = if command.contains("new WebSocket") {
            // Node 22 and newer have it without the flag.
            ["node", "--experimental-websocket", "-e", &command]
        } else {
            ["bash", "-o", "pipefail", "-c"]
        };
        let mut program = program.to_vec();
        if program[0] == "bash" {
            program.push(&command);
        }
        self.run(&program, parts).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs grpcurl, websocat and a library of Python: `make examples`"]
async fn what_the_page_offers_to_copy_works_with_a_key_and_without() {
    for asks_for_keys in [false, true] {
        let mut demo = Demo::start(asks_for_keys).await;
        let examples = demo.page().await;
        let incr = ["\"op\":\"snapshot\"", "\"op\":\"incr\"", "\"product\":\"BTC-USD\""];
        demo.run(&["bash", "-c", &examples["websocat"]], &incr).await;
        let calls = ["\"latestPrice\": {", "\"candles\": [", "\"tick\": {"];
        demo.run(&["bash", "-c", &examples["grpcurl"]], &calls).await;
        demo.run(&["python3", "-c", &examples["Python"]], &["BTC-USD ", ".", "\nBTC-USD "]).await;
        demo.run(&["bash", "-c", &examples["ledgerflux"]], &["{\"snapshot\":", "\n{\"tick\":"]).await;
        assert!(demo.process.terminate(SOON).await.success(), "{}", demo.process.stderr());
    }
}

/// The commands and scripts of a page that reach a pipeline: those of grpcurl and websocat, line by line, and whole scripts.
fn documented(page: &str) -> Vec<String> {
    let text = std::fs::read_to_string(workspace_root().join(page)).unwrap();
    let mut commands = Vec::new();
    for block in text.split("\n```").skip(1).step_by(2) {
        let (language, code) = block.split_once('\n').unwrap();
        match language {
            "js" => commands.push(code.to_owned()),
            "" | "sh" => commands.extend(
                code.replace("\\\n", "")
                    .lines()
                    .filter(|line| line.contains("grpcurl ") || line.contains("websocat "))
                    .map(str::to_owned),
            ),
            _ => {}
        }
    }
    commands
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs grpcurl, websocat and Node: `make examples`"]
async fn what_the_pages_of_documentation_show_works() {
    let (mut open, mut locked) = (Demo::start(false).await, Demo::start(true).await);
    for (page, least) in [("README.md", 6), ("docs/streaming.md", 2), ("docs/security.md", 2)] {
        let commands = documented(page);
        assert!(commands.len() >= least, "{page} shows {commands:#?}");
        for command in commands {
            println!("{page}: {command}");
            let demo = if command.contains("$KEY") { &locked } else { &open };
            demo.run_documented(&command).await;
        }
    }
    for demo in [&mut open, &mut locked] {
        assert!(demo.process.terminate(SOON).await.success(), "{}", demo.process.stderr());
    }
}
