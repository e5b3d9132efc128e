//! Stock `datafusion-cli` with BTrDB in it, as the catalog `btrdb`: the streams of a store beside files, object stores and
//! whatever else DataFusion reads.
//!
//! ```sh
//! cargo run --release -p btrdb-datafusion-cli -- --data ./btrdb-data
//! ```

use std::error::Error;
use std::sync::Arc;

use btrdb_flight::backend::Backend;
use btrdb_flight::engine::{Engine, Settings};
use clap::Parser;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_cli::exec::{exec_from_commands, exec_from_files, exec_from_repl};
use datafusion_cli::object_storage::instrumented::InstrumentedObjectStoreRegistry;
use datafusion_cli::print_format::PrintFormat;
use datafusion_cli::print_options::{MaxRows, PrintOptions};

/// SQL over BTrDB's streams and everything else DataFusion reads.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The store: a folder, s3://bucket/prefix, or memory:
    #[arg(long, default_value = "./btrdb-data")]
    data: String,
    /// Statements to run, instead of a shell
    #[arg(short = 'c', long, value_name = "SQL")]
    command: Vec<String>,
    /// Files of statements to run, instead of a shell
    #[arg(short, long, value_name = "FILE", conflicts_with = "command")]
    file: Vec<String>,
    /// How rows are written
    #[arg(long, value_enum, default_value_t = PrintFormat::Automatic)]
    format: PrintFormat,
    /// Rows alone, no times and counts
    #[arg(short, long)]
    quiet: bool,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let engine = if arguments.data == "memory:" {
        Engine::memory()
    } else {
        Engine::open(&arguments.data, Settings::default()).await?
    };
    let backend: Arc<dyn Backend> = Arc::clone(&engine) as _;
    let config = SessionConfig::new().with_information_schema(true);
    let context = SessionContext::new_with_config(config);
    btrdb_flight::query::register(&context, backend)?;
    // Files by their paths, as the stock shell has them.
    let context = context.enable_url_table();
    let mut options = PrintOptions {
        format: arguments.format,
        quiet: arguments.quiet,
        maxrows: MaxRows::Unlimited,
        color: false,
        instrumented_registry: Arc::new(InstrumentedObjectStoreRegistry::new()),
    };
    let outcome: Result<(), Box<dyn Error>> = if !arguments.command.is_empty() {
        let ran = exec_from_commands(&context, arguments.command, &options).await;
        ran.map_err(Into::into)
    } else if !arguments.file.is_empty() {
        let ran = exec_from_files(&context, arguments.file, &options).await;
        ran.map_err(Into::into)
    } else {
        let ran = exec_from_repl(&context, &mut options).await;
        ran.map_err(Into::into)
    };
    engine.close().await?;
    outcome
}
