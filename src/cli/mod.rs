//! The command line: arguments, settings, wiring, exit codes.
//!
//! One file (or folder) for each subcommand. This is the only module that sees every other one, and the only one that knows
//! which backend is behind the seam. Stdout is for data, stderr for people.

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::error::{Error, ErrorKind, Result};

pub mod check;
mod connect;
pub mod demo;
pub mod exit;
pub mod import;
mod listen;
mod output;
mod remote;
pub mod serve;
mod sessions;
pub mod sql;
pub mod stats;
mod store;
mod units;

/// SQL and Apache Arrow for BTrDB.
#[derive(Debug, Parser)]
#[command(name = "btrdb-flight", version, after_help = exit::TABLE)]
pub struct Cli {
    /// What is logged to stderr: a level, or a filter such as `info,btrdb_flight=debug`.
    #[arg(
        long,
        global = true,
        value_name = "FILTER",
        env = "RUST_LOG",
        default_value = "warn"
    )]
    log: String,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::ServeArgs),
    Sql(sql::SqlArgs),
    Import(Box<import::ImportArgs>),
    Check(check::CheckArgs),
    Stats(stats::StatsArgs),
}

/// Stack of each thread, of which only what is used takes memory. SQL of a few thousand operators is a tree as deep.
const STACK_BYTES: usize = 64 << 20;

/// Does what the arguments say, to the end.
///
/// # Errors
/// Whatever stopped it; [`exit::code`] says what the process should exit with.
pub fn run(cli: Cli) -> Result<()> {
    start_log(&cli.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_stack_size(STACK_BYTES)
        .enable_all()
        .build()
        .map_err(|error| exit::from_io("the async runtime does not start", error))?;
    // On a thread of the runtime: the main thread's stack is whatever the shell allows.
    let command = async {
        match cli.command {
            Command::Serve(args) => serve::run(args).await,
            Command::Sql(args) => sql::run(args).await,
            Command::Import(args) => import::run(*args).await,
            Command::Check(args) => check::run(args).await,
            Command::Stats(args) => stats::run(args).await,
        }
    };
    let result = std::thread::scope(|scope| {
        std::thread::Builder::new()
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, || runtime.block_on(command))
            .map_err(|error| exit::from_io("a thread does not start", error))?
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    // A blocking read of stdin or of a slow file would otherwise hold the process up after the answer is known.
    runtime.shutdown_background();
    result
}

fn start_log(filter: &str) -> Result<()> {
    let filter = EnvFilter::try_new(filter).map_err(|error| {
        Error::invalid(format!("log filter \"{filter}\" is invalid")).with_source(error)
    })?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .try_init()
        .map_err(|error| {
            Error::new(ErrorKind::Internal, "the log does not start").with_source(error)
        })
}
