//! The `btrdb-flight` binary: arguments in, exit code out.

use std::process::ExitCode;

use btrdb_flight::cli::{self, Cli};
use clap::Parser;

fn main() -> ExitCode {
    match cli::run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", cli::exit::sentence(&error));
            ExitCode::from(cli::exit::code(error.kind()))
        }
    }
}
