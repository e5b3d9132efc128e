//! DELETE of points: a choice of streams times a set of ranges, exactly, or nothing.
//!
//! ```text
//! WHERE unit = 'V' AND uuid IN (SELECT ...) AND time < '2024-01-01' AND time <> x
//!       --------- streams ----------------     ------------ ranges -------------
//! ```
//!
//! BTrDB deletes ranges, whatever the values in them, and counts nothing. So what each range holds in the latest version of
//! each stream is asked first; ranges that hold nothing are left alone, and their streams get no version.

use std::fmt;
use std::sync::Arc;

use arrow::array::AsArray;
use datafusion::catalog::default_table_source::provider_as_source;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Subquery, lit};
use futures::TryStreamExt;
use futures::stream::{self, StreamExt};

use super::plan::predicate_of;
use super::values::simplified;
use super::{Destination, Ledger, bound, of_row, reworded};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::model::{
    Cuts, Snapshot, StatQuery, StreamDescriptor, StreamId, StreamRead, TimeRange, Version,
};
use crate::query::catalogue::StreamColumn;
use crate::query::errors::from_datafusion;
use crate::query::filter::time_set;
use crate::query::metadata::StreamsTable;
use crate::query::rules::clip;
use crate::query::selection::{is_about_streams, select};
use crate::query::statement::Statement;
use crate::query::table::is_time_column;
use crate::query::time_set::TimeSet;

/// Streams that are worked on side by side.
const STREAMS_AT_ONCE: usize = 64;

/// Deletes what the statement's predicate says, for each of `rows`.
pub(super) async fn delete(
    statement: &Statement,
    from: &Destination,
    rows: &[Vec<ScalarValue>],
    ledger: &mut Ledger,
) -> Result<()> {
    ledger.what = "points were deleted";
    // All of them are understood before the first is carried out.
    let mut deletions = Vec::with_capacity(rows.len());
    for (at, row) in rows.iter().enumerate() {
        let understood = async { Deletion::of(&bound(statement, row).await?, from).await };
        deletions.push(understood.await.map_err(|error| of_row(error, at, rows))?);
    }
    let backend = statement.frame().backend.as_ref();
    for (at, deletion) in deletions.into_iter().enumerate() {
        let found = deletion.count(backend).await;
        let carried_out = match found {
            Ok(found) => carry_out(backend, found, ledger).await,
            Err(error) => Err(error),
        };
        carried_out.map_err(|error| of_row(error, at, rows))?;
    }
    Ok(())
}

/// What one DELETE means.
pub(super) struct Deletion {
    streams: Vec<Arc<StreamDescriptor>>,
    ranges: Vec<TimeRange>,
}

/// The ranges of a stream that hold points, and how many.
type Found = (StreamId, Vec<(TimeRange, u64)>);

impl Deletion {
    /// # Errors
    /// Unsupported for a predicate that is not streams times ranges, saying which part of it.
    pub(super) async fn of(statement: &Statement, from: &Destination) -> Result<Self> {
        let meant = Meant::of(statement).await?;
        let ranges = meant.times.ranges();
        let streams = match from {
            Destination::Stream(stream) => vec![Arc::clone(stream)],
            Destination::Points => meant.streams(statement).await?,
        };
        Ok(Self { streams, ranges })
    }

    /// What the latest versions hold there.
    pub(super) async fn count(&self, backend: &dyn Backend) -> Result<Vec<Found>> {
        let ids: Vec<StreamId> = self.streams.iter().map(|stream| stream.id).collect();
        let mut found: Vec<Found> = ids.iter().map(|id| (*id, Vec::new())).collect();
        if ids.is_empty() || self.ranges.is_empty() {
            return Ok(Vec::new());
        }
        let mut cuts: Vec<i64> = self
            .ranges
            .iter()
            .flat_map(|range| [range.start, range.end])
            .collect();
        cuts.dedup();
        let mut batches = backend.stats(StatQuery {
            streams: ids.into_iter().map(StreamRead::latest).collect(),
            ranges: self.ranges.clone(),
            cuts: Cuts::At(cuts.into()),
            limit: None,
            snapshot: Snapshot::Latest,
            probe: Default::default(),
        });
        while let Some(batch) = batches.try_next().await? {
            let of_stream = &mut found[batch.stream].1;
            for (time, stat) in batch.times.iter().zip(&batch.stats) {
                let range = self.ranges.partition_point(|range| range.end <= *time);
                if let Some(range) = self.ranges.get(range).filter(|_| stat.count > 0) {
                    of_stream.push((*range, stat.count));
                }
            }
        }
        found.retain(|(_, ranges)| !ranges.is_empty());
        Ok(found)
    }
}

/// What it would do, for people.
impl fmt::Display for Deletion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN_MAX: usize = 5;
        write!(f, "Delete, streams={}", self.streams.len())?;
        let paths: Vec<String> = self.streams.iter().map(|stream| stream.path()).collect();
        let shown: Vec<&str> = paths.iter().take(SHOWN_MAX).map(String::as_str).collect();
        let more = if paths.len() > SHOWN_MAX { ", ..." } else { "" };
        write!(f, " [{}{more}]", shown.join(", "))?;
        let ranges: Vec<String> = self.ranges.iter().map(TimeRange::to_string).collect();
        let more = if ranges.len() > SHOWN_MAX {
            ", ..."
        } else {
            ""
        };
        let shown: Vec<&str> = ranges.iter().take(SHOWN_MAX).map(String::as_str).collect();
        match shown.as_slice() {
            [] => f.write_str(", range=none"),
            shown => write!(f, ", range={}{more}", shown.join(", ")),
        }
    }
}

/// A predicate taken apart.
struct Meant {
    times: TimeSet,
    /// About streams, decided over the catalogue.
    told: Vec<Expr>,
    /// About streams, with sub-queries.
    asked: Vec<Expr>,
    /// What is beneath the predicate.
    table: Arc<LogicalPlan>,
}

impl Meant {
    async fn of(statement: &Statement) -> Result<Self> {
        let input = match statement.plan() {
            LogicalPlan::Projection(projection) => Arc::clone(&projection.input),
            other => Arc::new(other.clone()),
        };
        let mut meant = Self {
            times: TimeSet::all(),
            told: Vec::new(),
            asked: Vec::new(),
            table: match input.as_ref() {
                LogicalPlan::Filter(filter) => Arc::clone(&filter.input),
                _ => Arc::clone(&input),
            },
        };
        let Some(predicate) = predicate_of(&input) else {
            return Ok(meant);
        };
        let mut parts = Vec::new();
        for part in split_conjunction(predicate) {
            parts.push(with_answers(statement, part).await?);
        }
        let clipped = clip(conjunction(parts).unwrap_or_else(|| lit(true)));
        let clipped = clipped.map_err(from_datafusion)?;
        let predicate = simplified(statement.state(), clipped, input.schema())?;
        for part in split_conjunction(&predicate) {
            meant.take(part)?;
        }
        Ok(meant)
    }

    fn take(&mut self, part: &Expr) -> Result<()> {
        if is_about_streams(part) {
            self.told.push(part.clone());
        } else if let Some(times) = time_set(part, &is_time_column) {
            self.times = self.times.intersect(&times);
        } else if asks_about_streams(part)? {
            self.asked.push(part.clone());
        } else {
            return Err(not_ranges(part));
        }
        Ok(())
    }

    /// The streams it chooses.
    async fn streams(&self, statement: &Statement) -> Result<Vec<Arc<StreamDescriptor>>> {
        let frame = statement.frame();
        if self.asked.is_empty() {
            let selected = select(frame, statement.state().as_ref(), &self.told).await;
            return selected.map_err(from_datafusion);
        }
        let (qualifier, _) = self.table.schema().qualified_field(0);
        let qualifier = qualifier
            .cloned()
            .ok_or_else(|| Error::internal("a table has no name"))?;
        let parts = self.told.iter().chain(&self.asked).cloned();
        let predicate = conjunction(parts).unwrap_or_else(|| lit(true));
        let uuid = Expr::Column(Column::new(Some(qualifier.clone()), "uuid"));
        let table = provider_as_source(Arc::new(StreamsTable::new(Arc::clone(frame))));
        let plan = LogicalPlanBuilder::scan(qualifier, table, None)
            .and_then(|scan| scan.filter(predicate))
            .and_then(|filter| filter.project([uuid]))
            .and_then(LogicalPlanBuilder::build)
            .map_err(from_datafusion)?;
        let mut ids = Vec::new();
        let mut batches = statement.query(&plan).await?;
        while let Some(batch) = batches.try_next().await.map_err(from_datafusion)? {
            for text in batch.column(0).as_string_view().iter().flatten() {
                ids.push(text.parse::<StreamId>()?);
            }
        }
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        frame.backend.describe(&ids).await
    }
}

/// A part of a predicate about time, with the values of its sub-queries in their places.
async fn with_answers(statement: &Statement, part: &Expr) -> Result<Expr> {
    if !part.any_column_refs() || !mentions(part, "time") {
        return Ok(part.clone());
    }
    let mut asked = Vec::new();
    part.apply(|expr| {
        if let Expr::ScalarSubquery(subquery) = expr
            && subquery.outer_ref_columns.is_empty()
        {
            asked.push(subquery.clone());
        }
        Ok(TreeNodeRecursion::Continue)
    })
    .map_err(from_datafusion)?;
    let mut answers = Vec::with_capacity(asked.len());
    for subquery in asked {
        answers.push((answer(statement, &subquery).await?, subquery));
    }
    let filled = part.clone().transform(|expr| {
        Ok(match &expr {
            Expr::ScalarSubquery(subquery) => {
                match answers.iter().find(|(_, asked)| asked == subquery) {
                    Some((value, _)) => Transformed::yes(lit(value.clone())),
                    None => Transformed::no(expr),
                }
            }
            _ => Transformed::no(expr),
        })
    });
    Ok(filled.map_err(from_datafusion)?.data)
}

/// The value of a sub-query that has one.
async fn answer(statement: &Statement, subquery: &Subquery) -> Result<ScalarValue> {
    let nothing = ScalarValue::try_from(subquery.subquery.schema().field(0).data_type());
    let mut value = None;
    let mut batches = statement.query(&subquery.subquery).await?;
    while let Some(batch) = batches.try_next().await.map_err(from_datafusion)? {
        if batch.num_rows() + usize::from(value.is_some()) > 1 {
            return Err(Error::invalid(
                "a sub-query that is compared with time returned more than one row, where one value is wanted",
            ));
        }
        if batch.num_rows() == 1 {
            value = Some(ScalarValue::try_from_array(batch.column(0), 0));
        }
    }
    value.unwrap_or(nothing).map_err(from_datafusion)
}

fn mentions(expr: &Expr, column: &str) -> bool {
    expr.column_refs().iter().any(|found| found.name == column)
}

/// Whether a part with sub-queries can be decided once for each stream.
fn asks_about_streams(part: &Expr) -> Result<bool> {
    let (mut asks, mut only_streams) = (false, true);
    let mut see = |column: &Column| only_streams &= StreamColumn::told(&column.name).is_some();
    part.apply(|expr| {
        let subquery = match expr {
            Expr::Column(column) => {
                see(column);
                None
            }
            Expr::ScalarSubquery(subquery) => Some(subquery),
            Expr::Exists(exists) => Some(&exists.subquery),
            Expr::InSubquery(within) => Some(&within.subquery),
            Expr::SetComparison(comparison) => Some(&comparison.subquery),
            _ => None,
        };
        if let Some(subquery) = subquery {
            asks = true;
            for outer in &subquery.outer_ref_columns {
                match outer {
                    Expr::OuterReferenceColumn(_, column) | Expr::Column(column) => see(column),
                    _ => {}
                }
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })
    .map_err(from_datafusion)?;
    Ok(asks && only_streams)
}

fn not_ranges(part: &Expr) -> Error {
    let why = if mentions(part, "value") {
        "BTrDB deletes ranges of time whatever the values in them; SELECT the times first, and DELETE these"
    } else if mentions(part, "time") {
        "a condition on time stands by itself, joined to those on streams by AND, and compares time with constants"
    } else {
        "it can be decided neither for each stream nor for each time"
    };
    Error::unsupported(format!(
        "DELETE WHERE {part} is not supported: points are deleted by stream and range of time: {why}"
    ))
}

/// Deletes what was found, many streams side by side.
async fn carry_out(backend: &dyn Backend, found: Vec<Found>, ledger: &mut Ledger) -> Result<()> {
    for some in found.chunks(STREAMS_AT_ONCE) {
        let streams: Vec<_> = some.iter().map(|found| delete_in(backend, found)).collect();
        let done: Vec<Done> = stream::iter(streams)
            .buffer_unordered(STREAMS_AT_ONCE)
            .collect()
            .await;
        let mut failure = None;
        for done in done {
            ledger.rows += done.points;
            if let Some(version) = done.version {
                ledger.note(done.stream, version);
            }
            failure = failure.or(done.error);
        }
        if let Some(error) = failure {
            return Err(error);
        }
    }
    Ok(())
}

/// What became of the ranges of one stream.
struct Done {
    stream: StreamId,
    points: u64,
    version: Option<Version>,
    error: Option<Error>,
}

async fn delete_in(backend: &dyn Backend, (stream, ranges): &Found) -> Done {
    let mut done = Done {
        stream: *stream,
        points: 0,
        version: None,
        error: None,
    };
    for (range, points) in ranges {
        match backend.delete(*stream, *range).await {
            Ok(version) => {
                done.points += points;
                done.version = Some(version);
            }
            Err(error) => {
                let message = format!("stream {stream}: {}", error.message());
                done.error = Some(reworded(error, message));
                break;
            }
        }
    }
    done
}
