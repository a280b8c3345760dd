//! Looks whether the page is built, so that the gateway embeds it, or the plain page that says what is missing.

use std::path::Path;

fn main() {
    println!("cargo::rustc-check-cfg=cfg(page_is_built)");
    // The folder is always there: a path that is not would make every build start anew.
    println!("cargo::rerun-if-changed=web/embed");
    if Path::new("web/embed/page/index.html").is_file() {
        println!("cargo::rustc-cfg=page_is_built");
    } else {
        println!(
            "cargo::warning=the page is not built, a plain one is embedded: `make page` builds it (Node 20.19 or newer)"
        );
    }
}
