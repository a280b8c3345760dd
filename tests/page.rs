//! The page in a real browser, on gateways that die and come back and on one that asks for keys. What a person does and sees is in
//! `gateway/web/browser/`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod apart;
mod support;

use std::time::{Duration, Instant};

use apart::Apart;
use support::{SOON, START, demo_at, ledgerflux};
use testkit::{Process, ProcessBuilder, Scratch, workspace_root};

/// A script of `gateway/web/browser` on the page at `gateway`; its pictures go to `target/screenshots/{pictures}`.
fn browser(script: &str, gateway: &str, pictures: &str) -> ProcessBuilder {
    let web = workspace_root().join("gateway/web");
    assert!(
        web.join("node_modules/playwright-core").is_dir(),
        "the packages of the page are not there: run `make page`"
    );
    Process::builder("node")
        .arg(web.join("browser").join(script))
        .arg(format!("http://{gateway}/"))
        .arg(workspace_root().join("target/screenshots").join(pictures))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_with_a_browser_is_served_well_also_when_the_gateway_dies() {
    let data = Scratch::new();
    let mut first = demo_at(&data, "127.0.0.1:0", &[]).await;
    let address = first.address("gateway", START).await;
    let mut browser = browser("page.mjs", &address, "").spawn();

    said(&mut browser, "kill the gateway").await;
    first.kill().await;
    said(&mut browser, "start the gateway").await;
    let mut second = demo_at(&data, &address, &[]).await;
    said(&mut browser, "everything held").await;
    assert!(browser.wait(SOON).await.success(), "{}", browser.stderr());
    assert!(second.terminate(SOON).await.success(), "{}", second.stderr());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_trade_is_missing_on_the_page_when_the_gateway_dies_while_the_market_goes_on() {
    let mut world = Apart::start().await;
    let mut first = world.gateway("127.0.0.1:0").await;
    let address = first.address("gateway", START).await;
    let mut browser = browser("seam.mjs", &address, "seam").spawn();

    said(&mut browser, "kill the gateway").await;
    first.kill().await;
    said(&mut browser, "start the gateway").await;
    let mut second = world.gateway(&address).await;
    said(&mut browser, "everything held").await;
    assert!(browser.wait(SOON).await.success(), "{}", browser.stderr());
    assert!(second.terminate(SOON).await.success(), "{}", second.stderr());
}

/// A key of that file, and its name in `keys revoke`.
async fn key(file: &str, name: &str, products: &str) -> (String, String) {
    let create = ["keys", "create", "--keys", file, "--name", name, "--products", products];
    let mut create = ledgerflux().args(create).spawn();
    assert!(create.wait(SOON).await.success(), "{}", create.stderr());
    let key = create.stdout().lines().find(|line| line.starts_with("lf_")).expect("the key").to_owned();
    let id = key.split('_').nth(1).unwrap().to_owned();
    (key, id)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_asks_for_keys_gets_one_from_the_page_and_nobody_else_does() {
    let data = Scratch::new();
    let file = data.join("keys.toml").display().to_string();
    let (some, id) = key(&file, "some", "BTC-USD").await;
    let (all, _) = key(&file, "all", "*").await;
    let log = "info,gateway=trace,runtime=trace,hyper=debug,tower_http=trace";
    let mut demo = demo_at(&data, "127.0.0.1:0", &["--keys", &file, "--log", log]).await;
    let address = demo.address("gateway", START).await;
    let mut browser = browser("keys.mjs", &address, "keys").env("SOME", &some).env("ALL", &all).spawn();

    said(&mut browser, "revoke the key").await;
    let mut revoke = ledgerflux().args(["keys", "revoke", "--keys", &file, &id]).spawn();
    assert!(revoke.wait(SOON).await.success(), "{}", revoke.stderr());
    let revoked = Instant::now();
    said(&mut browser, "the page knows").await;
    assert!(revoked.elapsed() < Duration::from_secs(6), "it took {:?}", revoked.elapsed());
    said(&mut browser, "everything held").await;
    assert!(browser.wait(SOON).await.success(), "{}", browser.stderr());
    assert!(demo.terminate(SOON).await.success(), "{}", demo.stderr());
    let logged = format!("{}{}", demo.stdout(), demo.stderr());
    assert!(logged.contains("the API keys have changed"), "the log is there");
    for key in [some, all] {
        assert!(!logged.contains(key.rsplit('_').next().unwrap()), "a key is in the log");
    }
}

/// The build of the page where there is no Node: on a copy, for it takes a page away that was built before.
#[tokio::test]
async fn without_node_the_build_goes_on_and_says_what_is_missing() {
    let copy = Scratch::new();
    let (script, page) = (copy.join("scripts/page.py"), copy.join("gateway/web/embed/page"));
    std::fs::create_dir_all(copy.join("scripts")).unwrap();
    std::fs::create_dir_all(&page).unwrap();
    std::fs::write(page.join("index.html"), "of another version").unwrap();
    std::fs::copy(workspace_root().join("scripts/page.py"), &script).unwrap();
    let nowhere = "import os, runpy, sys; os.environ['PATH'] = '/nowhere'; sys.argv = sys.argv[1:]; \
                   runpy.run_path(sys.argv[0], run_name='__main__')";
    let build = || Process::builder("python3").args(["-c", nowhere]).arg(&script);
    let mut required = build().arg("--required").spawn();
    assert!(!required.wait(SOON).await.success());
    assert!(required.stderr().contains("node is not installed"), "{}", required.stderr());
    let mut plain = build().spawn();
    assert!(plain.wait(SOON).await.success(), "{}", plain.stderr());
    assert!(
        plain.stderr().contains("node is not installed, so the program gets a plain page"),
        "{}",
        plain.stderr()
    );
    assert!(!page.exists(), "an old page is not embedded");
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
