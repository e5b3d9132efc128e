//! The `btrdb-flight` binary: arguments in, exit code out.

use std::process::ExitCode;

use btrdb_flight::cli::{self, Cli};
use clap::Parser;

/// Gives memory that is not used any more back to the system; `.cargo/config.toml` says how soon.
#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    match cli::run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", cli::exit::sentence(&error));
            ExitCode::from(cli::exit::code(error.kind()))
        }
    }
}
