//! Compiles `ledgerflux/v1/*.proto` without a system `protoc`.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=ledgerflux");
    let mut files = Vec::new();
    for entry in fs::read_dir("ledgerflux/v1")? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "proto") {
            files.push(path);
        }
    }
    files.sort();

    // With the comments, which become the documentation of the generated types.
    let mut compiler = protox::Compiler::new(["."])?;
    compiler.include_imports(true).include_source_info(true).open_files(&files)?;
    let commented = compiler.file_descriptor_set();
    tonic_prost_build::configure().compile_fds(commented.clone())?;

    // Without them, for reflection: a tenth of the size.
    let mut plain = commented;
    for file in &mut plain.file {
        file.source_code_info = None;
    }
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out_dir.join("ledgerflux_descriptor.bin"), plain.encode_to_vec())?;
    Ok(())
}
