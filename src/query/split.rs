//! A statement in parts: spans of time whose rows, one part after the other, are the statement's.
//!
//! ```text
//! Projection, Filter, Sort by time                 the same, three times:
//!   TableScan(stream, time < t)           =>         TableScan(stream, time < t, time >= s1, time < s2)
//! ```
//!
//! Several readers then share what one would have to read alone. It works for what is read straight off one stream in order of
//! time, and for its buckets: every row has one time, and all rows of a time are in one part. Everything else stays whole.

use datafusion::catalog::default_table_source::source_as_provider;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::logical_expr::{Expr, LogicalPlan, Sort, TableScan, lit};
use futures::TryStreamExt;

use super::buckets::{BucketsTable, Source};
use super::errors::from_datafusion;
use super::points::ZONE;
use super::session::Frame;
use super::stat_column::StatColumn;
use super::statement::Statement;
use super::table::{NamedStream, StreamTable, accepted_times};
use crate::error::{Error, Result};
use crate::model::time::MAX_POINT_TIME;
use crate::model::{
    Cuts, Direction, NearestQuery, Probe, Snapshot, StatQuery, StreamRead, TimeRange, Timestamp,
};

/// Every time there is, and the starts of windows before it.
const EVERYTHING: TimeRange = TimeRange::new(Timestamp::MIN, Timestamp::MAX);

/// Windows whose counts say where to cut, for each part: parts differ by less than a hundredth where points lie evenly.
const WINDOWS_PER_PART: u64 = 128;

/// A statement divided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Division {
    /// What each part is [within](Statement::within), in the order of the statement's rows; there is one at least.
    pub spans: Vec<TimeRange>,
    /// How many rows all parts have, if that is known exactly.
    pub rows: Option<u64>,
}

impl Division {
    fn whole(rows: Option<u64>) -> Self {
        Self {
            spans: vec![EVERYTHING],
            rows,
        }
    }
}

impl Statement {
    /// The statement in at most so many parts of about the same number of points; one if it cannot be divided.
    ///
    /// Costs a few looks into the statistics of its stream, and none where that is a call to another machine: there is one
    /// part then.
    ///
    /// # Errors
    /// Those of the backend.
    pub async fn split(&self, parts: usize) -> Result<Division> {
        let Some(plan) = self.lasting_plan(parts > 1)? else {
            return Ok(Division::whole(None));
        };
        match Chain::of(&plan) {
            Some(chain) => chain.divide(parts).await,
            None => Ok(Division::whole(None)),
        }
    }

    /// The rows of one part of a [division](Self::split).
    ///
    /// # Errors
    /// Internal if the statement cannot be divided.
    pub fn within(self, span: TimeRange) -> Result<Self> {
        if span == EVERYTHING {
            return Ok(self);
        }
        let not_divisible = || Error::internal("a part was asked of a statement that has none");
        let plan = self.lasting_plan(true)?.ok_or_else(not_divisible)?;
        let time = Chain::of(&plan).ok_or_else(not_divisible)?.key;
        let narrowed = plan.transform_down(|node| {
            let LogicalPlan::TableScan(mut scan) = node else {
                return Ok(Transformed::no(node));
            };
            scan.filters.push(time.clone().gt_eq(instant(span.start)));
            scan.filters.push(time.clone().lt(instant(span.end)));
            Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
        });
        Ok(self.with_plan(narrowed.map_err(from_datafusion)?.data))
    }
}

fn instant(time: Timestamp) -> Expr {
    lit(ScalarValue::TimestampNanosecond(
        Some(time),
        Some(ZONE.into()),
    ))
}

/// What the rows of a plan are read off.
#[derive(Clone, Copy)]
enum Table<'a> {
    Points(&'a StreamTable),
    Buckets(&'a BucketsTable, &'a NamedStream),
}

impl Table<'_> {
    fn frame(&self) -> &Frame {
        match self {
            Self::Points(table) => &table.frame,
            Self::Buckets(table, _) => &table.frame,
        }
    }

    fn read(&self) -> StreamRead {
        match self {
            Self::Points(table) => table.stream.read(&table.frame),
            Self::Buckets(table, stream) => stream.read(&table.frame),
        }
    }

    /// The column that says which part a row is in.
    fn key(&self) -> Option<String> {
        match self {
            Self::Points(_) => Some("time".to_owned()),
            Self::Buckets(table, _) => {
                table.grid.as_ref()?;
                let starts = |column: &StatColumn| *column == StatColumn::Start;
                let index = table.columns.iter().position(starts)?;
                Some(table.schema.field(index).name().clone())
            }
        }
    }
}

/// A plan that is one scan, and nodes above it that keep its rows apart and in order.
struct Chain {
    scan: TableScan,
    /// The key in the scan.
    key: Expr,
    /// The same among the columns of the plan, if it got there.
    delivered: Option<Column>,
    direction: Direction,
    /// Whether each row of the scan is a row of the plan.
    is_whole: bool,
}

impl Chain {
    fn of(plan: &LogicalPlan) -> Option<Self> {
        if !plan.expressions().iter().all(is_of_its_row) {
            return None;
        }
        match plan {
            LogicalPlan::TableScan(scan) => Self::of_scan(scan),
            LogicalPlan::Filter(filter) => {
                let chain = Self::of(&filter.input)?;
                Some(Self {
                    is_whole: false,
                    ..chain
                })
            }
            LogicalPlan::SubqueryAlias(alias) => {
                let chain = Self::of(&alias.input)?;
                let place = chain
                    .delivered
                    .as_ref()
                    .and_then(|column| alias.input.schema().maybe_index_of_column(column));
                Some(Self {
                    delivered: place.map(|place| column(&alias.schema, place)),
                    ..chain
                })
            }
            LogicalPlan::Projection(projection) => {
                let chain = Self::of(&projection.input)?;
                let is_key = |expr: &Expr| match (bare(expr), &chain.delivered) {
                    (Expr::Column(column), Some(key)) => column == key,
                    _ => false,
                };
                let place = projection.expr.iter().position(is_key);
                Some(Self {
                    delivered: place.map(|place| column(&projection.schema, place)),
                    ..chain
                })
            }
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => Self::of(&sort.input)?.sorted(sort),
            _ => None,
        }
    }

    fn of_scan(scan: &TableScan) -> Option<Self> {
        if scan.fetch.is_some() {
            return None;
        }
        let provider = source_as_provider(&scan.source).ok()?;
        let table = table_of(provider.as_ref())?;
        // Without push-down predicates do not reach the scan.
        if !table.frame().pushdown || table.frame().snapshot() == Snapshot::Latest {
            return None;
        }
        let key = table.key()?;
        let place = scan.projected_schema.index_of_column_by_name(None, &key);
        Some(Self {
            key: Expr::Column(Column::new(Some(scan.table_name.clone()), key)),
            delivered: place.map(|place| column(&scan.projected_schema, place)),
            scan: scan.clone(),
            direction: Direction::Forward,
            is_whole: true,
        })
    }

    /// The chain in another order, if that is an order of its time.
    fn sorted(self, sort: &Sort) -> Option<Self> {
        let first = sort.expr.first()?;
        let is_by_key = match (&first.expr, &self.delivered) {
            (Expr::Column(column), Some(key)) => column == key,
            _ => false,
        };
        is_by_key.then_some(Self {
            direction: if first.asc {
                Direction::Forward
            } else {
                Direction::Backward
            },
            ..self
        })
    }

    async fn divide(&self, parts: usize) -> Result<Division> {
        let provider = source_as_provider(&self.scan.source).map_err(from_datafusion)?;
        let Some(table) = table_of(provider.as_ref()) else {
            return Ok(Division::whole(None));
        };
        let ranges = match table {
            Table::Points(_) => accepted_times(&self.scan.filters)
                .map_err(from_datafusion)?
                .ranges(),
            Table::Buckets(buckets, _) => buckets.ranges.clone(),
        };
        let counts_rows = self.is_whole && matches!(table, Table::Points(_));
        let points = Points {
            frame: table.frame(),
            read: table.read(),
            ranges,
        };
        if parts <= 1 {
            let rows = if counts_rows {
                Some(points.count().await?)
            } else {
                None
            };
            return Ok(Division::whole(rows));
        }
        let counts = points.windows(parts).await?;
        let mut spans = spans(&counts, parts);
        if self.direction == Direction::Backward {
            spans.reverse();
        }
        let rows = counts.iter().map(|(_, count)| count).sum();
        Ok(Division {
            spans,
            rows: counts_rows.then_some(rows),
        })
    }
}

fn table_of(provider: &dyn datafusion::catalog::TableProvider) -> Option<Table<'_>> {
    if let Some(table) = provider.downcast_ref::<StreamTable>() {
        return Some(Table::Points(table));
    }
    let table = provider.downcast_ref::<BucketsTable>()?;
    match &table.source {
        Source::Stream(stream) => Some(Table::Buckets(table, stream)),
        Source::Streams(_) => None,
    }
}

/// Whether an expression depends on nothing but the row it is evaluated for.
fn is_of_its_row(expr: &Expr) -> bool {
    let looks_elsewhere = expr.exists(|inner| {
        Ok(matches!(
            inner,
            Expr::ScalarSubquery(_)
                | Expr::Exists(_)
                | Expr::InSubquery(_)
                | Expr::SetComparison(_)
                | Expr::OuterReferenceColumn(_, _)
                | Expr::AggregateFunction(_)
                | Expr::WindowFunction(_)
                | Expr::Unnest(_)
        ))
    });
    matches!(looks_elsewhere, Ok(false))
}

/// The expression beneath its names.
fn bare(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => bare(&alias.expr),
        other => other,
    }
}

fn column(schema: &DFSchema, place: usize) -> Column {
    Column::from(schema.qualified_field(place))
}

/// The points that a scan reads.
struct Points<'a> {
    frame: &'a Frame,
    read: StreamRead,
    ranges: Vec<TimeRange>,
}

impl Points<'_> {
    async fn count(&self) -> Result<u64> {
        let [first, ..] = self.ranges.as_slice() else {
            return Ok(0);
        };
        let end = self.ranges[self.ranges.len() - 1].end;
        let counts = self.counts(Cuts::whole(TimeRange::new(first.start, end)));
        Ok(counts.await?.iter().map(|(_, count)| count).sum())
    }

    /// Counts of equal windows from the first point to the last; windows without points are absent.
    async fn windows(&self, parts: usize) -> Result<Vec<(Timestamp, u64)>> {
        let (Some(first), Some(last)) = (self.ranges.first(), self.ranges.last()) else {
            return Ok(Vec::new());
        };
        let first = self.nearest(first.start, Direction::Forward).await?;
        let end = last.end.min(MAX_POINT_TIME);
        let last = self.nearest(end, Direction::Backward).await?;
        let (Some(first), Some(last)) = (first, last) else {
            return Ok(Vec::new());
        };
        if first > last {
            return Ok(Vec::new());
        }
        let windows = WINDOWS_PER_PART.saturating_mul(parts as u64);
        self.counts(Cuts::Every {
            origin: first,
            width: (first.abs_diff(last) + 1).div_ceil(windows),
        })
        .await
    }

    async fn nearest(&self, time: Timestamp, direction: Direction) -> Result<Option<Timestamp>> {
        let query = NearestQuery {
            snapshot: self.frame.snapshot(),
            ..NearestQuery::new(vec![self.read], time, direction)
        };
        let answers = self.frame.backend.nearest(query).await?;
        let points = answers.into_iter().filter_map(|(_, point)| point);
        Ok(points.map(|point| point.time).next())
    }

    async fn counts(&self, cuts: Cuts) -> Result<Vec<(Timestamp, u64)>> {
        let query = StatQuery {
            streams: vec![self.read],
            ranges: self.ranges.clone(),
            cuts,
            limit: None,
            snapshot: self.frame.snapshot(),
            probe: Probe::default(),
        };
        let mut batches = self.frame.backend.stats(query);
        let mut counts = Vec::new();
        while let Some(batch) = batches.try_next().await? {
            let windows = batch.times.iter().zip(&batch.stats);
            counts.extend(windows.map(|(&start, stat)| (start, stat.count)));
        }
        Ok(counts)
    }
}

/// Spans of about the same count, cut where windows begin: at most so many, and together every time there is.
fn spans(counts: &[(Timestamp, u64)], parts: usize) -> Vec<TimeRange> {
    let total: u128 = counts.iter().map(|&(_, count)| u128::from(count)).sum();
    let parts = parts as u128;
    let mut spans = Vec::new();
    let mut start = EVERYTHING.start;
    let (mut before, mut cuts) = (0, 1);
    for &(window, count) in counts {
        // As many points lie before this window as all parts so far should have.
        if before * parts >= cuts * total && before > 0 && cuts < parts {
            spans.push(TimeRange::new(start, window));
            start = window;
            cuts = before * parts / total + 1;
        }
        before += u128::from(count);
    }
    spans.push(TimeRange::new(start, EVERYTHING.end));
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_cover_everything_once_in_about_equal_parts() {
        let even: Vec<_> = (0..1_000).map(|window| (window * 10, 7)).collect();
        for parts in [1, 2, 3, 7, 64] {
            let spans = spans(&even, parts);
            assert_eq!(spans.len(), parts);
            assert_eq!(spans[0].start, EVERYTHING.start);
            assert_eq!(spans[parts - 1].end, EVERYTHING.end);
            assert!(spans.windows(2).all(|pair| pair[0].end == pair[1].start));
            for span in &spans {
                let inside = even.iter().filter(|(start, _)| span.contains(*start));
                let share = inside.count() * parts;
                assert!((900..=1_100).contains(&share), "{span:?} of {parts}");
            }
        }
    }

    #[test]
    fn what_lies_in_one_window_is_one_part() {
        assert_eq!(spans(&[], 8), [EVERYTHING]);
        assert_eq!(spans(&[(5, 1_000)], 8), [EVERYTHING]);
        let heap = [(0, 1), (10, 1_000_000), (20, 1)];
        let parts = spans(&heap, 4);
        assert!(parts.len() <= 3, "{parts:?}");
        assert_eq!(parts.last().map(|span| span.end), Some(EVERYTHING.end));
    }
}
