//! Generates messages, client and server from `proto/btrdb.proto`.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto/btrdb.proto");
    let files = protox::compile(["btrdb.proto"], ["proto"])?;
    // The comments of the file are no doc comments of Rust: text in them would be run as doc tests.
    tonic_prost_build::configure()
        .bytes(".")
        .disable_comments(["."])
        .compile_fds(files)?;
    Ok(())
}
