//! The page in a real browser, on a demo that dies and comes back. What a person does and sees is in `gateway/web/browser/`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use support::{SOON, START, ledgerflux, ready};
use testkit::{Process, Scratch, workspace_root};

async fn demo(data: &Scratch, gateway: &str) -> Process {
    let mut demo = ledgerflux()
        .args(["demo", "--listen", gateway, "--grpc-listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"])
        .args(["--print-addresses", "--data-dir"])
        .arg(data.path())
        .spawn();
    ready(&demo.address("ops", START).await).await;
    demo
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_with_a_browser_is_served_well_also_when_the_gateway_dies() {
    let data = Scratch::new();
    let mut first = demo(&data, "127.0.0.1:0").await;
    let address = first.address("gateway", START).await;
    let web = workspace_root().join("gateway/web");
    assert!(
        web.join("node_modules/playwright-core").is_dir(),
        "the packages of the page are not there: run `make page`"
    );
    let mut browser = Process::builder("node")
        .arg(web.join("browser/page.mjs"))
        .arg(format!("http://{address}/"))
        .arg(workspace_root().join("target/screenshots"))
        .spawn();

    said(&mut browser, "kill the gateway").await;
    first.kill().await;
    said(&mut browser, "start the gateway").await;
    let mut second = demo(&data, &address).await;
    said(&mut browser, "everything held").await;
    assert!(browser.wait(SOON).await.success(), "{}", browser.stderr());
    assert!(second.terminate(SOON).await.success(), "{}", second.stderr());
}

/// Waits for a line of the browser's script; what it complains about when it ends before is the message.
async fn said(browser: &mut Process, line: &str) {
    let waiting = tokio::time::Instant::now();
    while !browser.stdout().lines().any(|said| said == line) {
        assert!(browser.is_running(), "{}", browser.stderr());
        assert!(
            waiting.elapsed() < SOON * 2,
            "never said {line:?}\n{}\n{}",
            browser.stdout(),
            browser.stderr()
        );
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn the_parts_of_the_page_hold() {
    let web = workspace_root().join("gateway/web");
    let mut tests = Process::builder("node")
        .arg(web.join("node_modules/vitest/vitest.mjs"))
        .args(["run", "--root"])
        .arg(&web)
        .spawn();
    assert!(
        tests.wait(SOON).await.success(),
        "run `make page`, then see\n{}\n{}",
        tests.stdout(),
        tests.stderr()
    );
}
