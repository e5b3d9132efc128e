//! BTrDB's SQL over metadata: SELECT in PostgreSQL's words, on the one table `streams`, answered as JSON objects.
//!
//! ```text
//! text, parameters --parse--> one SELECT --rewrite--> DataFusion's words --settle--> plan --execute--> rows --> JSON
//!                  limits,               operators of                  literals get
//!                  binding               hstore, names                 their types
//! ```
//!
//! It shares nothing with the statements of the gateway but the store and the memory they may take: this table has other
//! columns, and there is no way from here to points, files or settings. Parameters become literals of the parsed statement,
//! never text. What a caller wrote wrongly is code 441, whatever it was that noticed.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use datafusion::common::TableReference;
use datafusion::error::DataFusionError;
use datafusion::execution::{SessionState, SessionStateBuilder, SessionStateDefaults};
use datafusion::physical_plan::execute_stream;
use datafusion::prelude::SessionConfig;
use datafusion::sql::parser::Statement as Parsed;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt, TryStreamExt};

use super::Shared;
use super::errors::from_datafusion;
use crate::error::{Code, Error, ErrorKind, Result};

mod functions;
mod hstore;
mod literals;
mod names;
mod parse;
mod rewrite;
mod rows;
mod similar;
mod table;
mod types;

/// Rows of a metadata statement, in chunks: each row one JSON object, its keys in the order of the projection.
pub type MetadataRows = BoxStream<'static, Result<Vec<Bytes>>>;

/// The name of the table.
const STREAMS: &str = "streams";

/// The schema that PostgreSQL has it in.
const PUBLIC: &str = "public";

/// Plans the statement and starts it.
pub(super) async fn run(shared: &Shared, sql: &str, params: &[String]) -> Result<MetadataRows> {
    let started = AssertUnwindSafe(start(shared, sql, params)).catch_unwind();
    let rows = started.await.unwrap_or_else(|_| Err(panicked()));
    let rows = rows.map_err(about_statement)?;
    let rows = AssertUnwindSafe(rows)
        .catch_unwind()
        .map(|rows| rows.unwrap_or_else(|_| Err(panicked())))
        .map_err(about_statement);
    Ok(rows.boxed())
}

async fn start(shared: &Shared, sql: &str, params: &[String]) -> Result<MetadataRows> {
    let mut statement = parse::parse(sql, params)?;
    rewrite::rewrite(&mut statement)?;
    let state = state_of(shared)?;
    let plan = state
        .statement_to_plan(Parsed::Statement(Box::new(statement)))
        .await
        .and_then(types::settle)
        .map_err(failed)?;
    let plan = state.create_physical_plan(&plan).await.map_err(failed)?;
    let batches = execute_stream(plan, state.task_ctx()).map_err(failed)?;
    let chunks = batches
        .map_err(failed)
        .and_then(|batch| async move { rows::Chunks::of(&batch) })
        .map_ok(stream::iter)
        .try_flatten();
    Ok(chunks.boxed())
}

/// A session with the one table and PostgreSQL's functions, and nothing else to be had.
fn state_of(shared: &Shared) -> Result<SessionState> {
    static FUNCTIONS: LazyLock<functions::Functions> = LazyLock::new(functions::Functions::default);
    let config = SessionConfig::new()
        .with_default_catalog_and_schema(super::resolve::CATALOG, PUBLIC)
        .with_information_schema(false)
        // Rows come as the store has them: by collection, name, uuid.
        .with_target_partitions(1)
        .with_batch_size(rows::ROWS_MAX);
    let mut state = SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(Arc::clone(shared.state.runtime_env()))
        .with_expr_planners(SessionStateDefaults::default_expr_planners())
        .with_scalar_functions(FUNCTIONS.scalar.clone())
        .with_aggregate_functions(FUNCTIONS.aggregate.clone())
        .with_window_functions(FUNCTIONS.window.clone())
        .build();
    state.mark_start_execution();
    let table = table::StreamsTable::new(Arc::clone(&shared.backend));
    state
        .schema_for_ref(TableReference::bare(STREAMS))
        .and_then(|schema| schema.register_table(STREAMS.to_owned(), Arc::new(table)))
        .map_err(from_datafusion)?;
    Ok(state)
}

/// What DataFusion failed with. Plans are made of nothing but the statement, so what DataFusion asserts of them in vain is the
/// statement's, as are errors that are neither its own nor ours: those of the regular expression in a pattern.
fn failed(error: DataFusionError) -> Error {
    let is_of_statement = match error.find_root() {
        DataFusionError::External(inner) => !inner.is::<Error>(),
        DataFusionError::Internal(_) => true,
        _ => false,
    };
    let error = from_datafusion(error);
    if is_of_statement && error.kind() == ErrorKind::Internal {
        return Error::invalid(error.message()).with_source(error);
    }
    error
}

/// What is wrong with the statement is BTrDB's 441; what the store says of itself stays as it is.
fn about_statement(error: Error) -> Error {
    match error.kind() {
        _ if error.code().is_some() => error,
        ErrorKind::Invalid | ErrorKind::NotFound | ErrorKind::Unsupported => {
            Error::invalid(without_advice(error.message()))
                .with_code(Code::BadSqlValue)
                .with_source(error)
        }
        _ => error,
    }
}

/// The message without what DataFusion tells its developers, and those who can change its settings.
fn without_advice(message: &str) -> String {
    let is_advice = |line: &&str| {
        line.contains("bug in DataFusion's code")
            || line.contains("datafusion.sql_parser.enable_ident_normalization")
    };
    let message = message.trim_start_matches("Internal error: ");
    let lines: Vec<&str> = message.lines().filter(|line| !is_advice(line)).collect();
    lines.join("\n")
}

/// DataFusion asserts what it believes of its plans; the statement of one caller must not end the connection of others.
fn panicked() -> Error {
    Error::internal("the statement could not be run: the SQL engine failed an assertion")
}
