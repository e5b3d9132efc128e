//! Statements that write: rows in, calls of the backend out, and what came of them.
//!
//! ```text
//! INSERT INTO points ...          rows --check, look up streams--> commits of a million points --> Backend::insert
//! DELETE FROM points WHERE ...    predicate --> streams x ranges --> count --> Backend::delete, where there are points
//! INSERT, UPDATE, DELETE streams  rows --check all of them--> create | set_tags, set_annotations | obliterate, each stream
//! ```
//!
//! [`plan`] takes a statement apart into a [`Change`] and a query; the query is planned, kept, bound and run like any other.
//! What has no BTrDB operation is refused by [`check`] before names are looked up, or while planning: never half way.
//!
//! BTrDB has no transactions over several operations. A statement that needs several checks all it can before the first, and
//! one that fails says what was applied and stays.

mod check;
mod delete;
mod explain;
pub(super) mod foreign;
mod insert;
mod plan;
mod source;
mod streams;
mod targets;
mod update;
mod values;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::sql::parser::Statement as Parsed;
use datafusion::sql::sqlparser::ast::Statement as Sql;

use super::statement::Statement;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{StreamDescriptor, StreamId, Version};

pub(super) use check::{check, lift_with, writes};

pub(super) use explain::{explain, explanation};
pub(super) use plan::plan;

/// What a write did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Rows that it inserted, changed or removed: points that an INSERT brought, whatever the merge policy made of them; points
    /// that a DELETE found; streams.
    pub rows: u64,
    /// The streams that it created, or whose points it changed, and the versions they have now; a stream stands here once, with
    /// its last version.
    pub versions: Vec<(StreamId, Version)>,
}

/// What a write did, and what kept it from doing more.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What was applied, and stays.
    pub written: Written,
    /// Why not everything was.
    pub error: Option<Error>,
}

impl Outcome {
    /// Nothing was applied.
    pub(super) fn refused(error: Error) -> Self {
        Self {
            written: Written::default(),
            error: Some(error),
        }
    }
}

/// What a statement does with the rows of its query.
#[derive(Clone, Debug)]
pub(super) enum Change {
    /// Each row is a point.
    InsertPoints(Destination),
    /// Each row is a stream.
    InsertStreams,
    /// Each row is a stream and its new properties.
    UpdateStreams {
        columns: Vec<super::catalogue::StreamColumn>,
        /// Whether the statement says which property version it is about.
        is_guarded: bool,
    },
    /// Each row is a stream.
    DeleteStreams {
        /// Whether it was chosen by what its points are.
        is_about_points: bool,
    },
    /// The rows are never read: the predicate on them says which streams and ranges.
    DeletePoints(Destination),
}

/// Where points go.
#[derive(Clone, Debug)]
pub(super) enum Destination {
    /// Where each row says.
    Points,
    /// Into one stream.
    Stream(Arc<StreamDescriptor>),
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Points => f.write_str("the streams of the rows"),
            Self::Stream(stream) => write!(f, "{}", stream.path()),
        }
    }
}

/// Runs `change` once for each of `rows`, which are values of the statement's parameters.
pub(super) async fn run(
    statement: &Statement,
    change: &Change,
    rows: &[Vec<ScalarValue>],
) -> Outcome {
    let once = [Vec::new()];
    let rows = match statement.parameters().fields().len() {
        0 => &once[..],
        expected => match rows.iter().position(|row| row.len() != expected) {
            None => rows,
            Some(at) => {
                return Outcome::refused(Error::invalid(format!(
                    "the statement has {expected} parameters, and row {} has {} values",
                    at + 1,
                    rows[at].len()
                )));
            }
        },
    };
    statement.frame().pin_reads();
    let mut ledger = Ledger::default();
    let done = match change {
        Change::InsertPoints(to) => insert::insert(statement, to, rows, &mut ledger).await,
        Change::InsertStreams => streams::create(statement, rows, &mut ledger).await,
        Change::UpdateStreams {
            columns,
            is_guarded,
        } => update::update(statement, columns, *is_guarded, rows, &mut ledger).await,
        Change::DeleteStreams { is_about_points } => {
            streams::obliterate(statement, *is_about_points, rows, &mut ledger).await
        }
        Change::DeletePoints(from) => delete::delete(statement, from, rows, &mut ledger).await,
    };
    Outcome {
        error: done.err().map(|error| ledger.explained(error)),
        written: ledger.written(),
    }
}

/// What a statement that writes answers.
pub(super) fn counted() -> SchemaRef {
    let count = Field::new("count", DataType::Int64, false);
    Arc::new(Schema::new(vec![count]))
}

/// The error of a write in a session that only reads.
pub(super) fn read_only() -> Error {
    Error::new(
        ErrorKind::Denied,
        "the session or transaction is read-only, and the statement writes: run it in one that may write",
    )
}

/// What was applied so far.
#[derive(Debug, Default)]
struct Ledger {
    rows: u64,
    versions: BTreeMap<StreamId, Version>,
    /// What was done to the rows, for errors: `points were inserted`.
    what: &'static str,
    /// Something was applied that does not count as a row yet, for errors.
    half: Option<String>,
}

impl Ledger {
    fn note(&mut self, stream: StreamId, version: Version) {
        self.versions.insert(stream, version);
    }

    fn written(self) -> Written {
        Written {
            rows: self.rows,
            versions: self.versions.into_iter().collect(),
        }
    }

    /// `error`, which also says what was applied before it.
    fn explained(&self, error: Error) -> Error {
        let mut applied = match self.rows {
            0 => "nothing was written".to_owned(),
            rows => format!("{rows} {} before, and that stays", self.what),
        };
        if let Some(half) = &self.half {
            applied = match self.rows {
                0 => format!("{half}, and that stays"),
                _ => format!("{half}; {applied}"),
            };
        }
        let message = format!("{}; {applied}", error.message());
        reworded(error, message)
    }
}

/// The same error in other words.
fn reworded(error: Error, message: String) -> Error {
    let new = Error::new(error.kind(), message);
    let new = match error.code() {
        Some(code) => new.with_code(code),
        None => new,
    };
    new.with_source(error)
}

/// `error` of one of many rows of parameters.
fn of_row(error: Error, at: usize, rows: &[Vec<ScalarValue>]) -> Error {
    match rows.len() {
        0 | 1 => error,
        count => {
            let message = format!("row {} of {count}: {}", at + 1, error.message());
            reworded(error, message)
        }
    }
}

/// The statement that writes, if `parsed` is one or explains one.
pub(super) fn writing(parsed: &Parsed) -> Option<&Sql> {
    match parsed {
        Parsed::Explain(explain) => writing(&explain.statement),
        Parsed::Statement(sql) if writes(sql) => Some(sql),
        _ => None,
    }
}

/// The error for a name that was not found, for those who hoped to create it by inserting.
pub(super) fn unresolved(error: Error, parsed: &Parsed) -> Error {
    let inserts = matches!(writing(parsed), Some(Sql::Insert(_)));
    if inserts && error.code() == Some(crate::error::Code::NoSuchStream) {
        let message = format!(
            "{}; inserting points creates no stream, INSERT INTO streams (collection, name) VALUES (...) does",
            error.message()
        );
        return reworded(error, message);
    }
    error
}

/// The statement with one row of values, if it takes any.
async fn bound(statement: &Statement, row: &[ScalarValue]) -> Result<Statement> {
    let parameters = statement.parameters();
    let fields = parameters.fields().iter();
    let row = row
        .iter()
        .zip(fields)
        .map(|(value, field)| match field.data_type() {
            DataType::Null => Ok(value.clone()),
            data_type => values::fitted(value, data_type).map_err(|error| {
                let message = format!(
                    "the value of {} is no {data_type}: {}",
                    field.name(),
                    error.message()
                );
                reworded(error, message)
            }),
        });
    let row = row.collect::<Result<Vec<ScalarValue>>>()?;
    statement.clone().bind(&row).await
}
