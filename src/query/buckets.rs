//! The private table that stands where an aggregate stood: its rows are answers, its columns are the aggregate's.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::compute::cast;
use arrow::datatypes::SchemaRef;
use arrow::row::{RowConverter, SortField};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use futures::FutureExt;

use super::errors::to_datafusion;
use super::filter::time_set;
use super::provider::{Planning, scan_by_plan};
use super::scan::ScanExec;
use super::selection::{evaluate, is_about_streams, select};
use super::session::Frame;
use super::stat_column::StatColumn;
use super::stats::{Grouping, StatRead};
use super::table::{NamedStream, exact_if, not_accepted, project};
use super::time_set::TimeSet;
use crate::model::{Cuts, TimeRange};

/// Whose statistics.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// One stream's.
    Stream(NamedStream),
    /// Those of all streams that the predicates choose.
    Streams(Vec<Expr>),
}

/// Statistics of streams, grouped by a grid of time and by what can be told of streams.
#[derive(Clone, Debug)]
pub(super) struct BucketsTable {
    pub(super) frame: Arc<Frame>,
    pub(super) source: Source,
    /// None reads nothing.
    pub(super) ranges: Vec<TimeRange>,
    /// `None` is one bucket for all ranges.
    pub(super) grid: Option<Cuts>,
    /// What streams are grouped by: expressions about streams.
    pub(super) keys: Vec<Expr>,
    pub(super) columns: Vec<StatColumn>,
    pub(super) schema: SchemaRef,
}

/// A predicate over the rows of the table, as one on what they are made of.
enum Condition {
    Streams(Expr),
    Starts(TimeSet),
}

impl BucketsTable {
    pub(super) fn with_frame(&self, frame: Arc<Frame>) -> Self {
        Self {
            frame,
            ..self.clone()
        }
    }

    /// What `filter` means for the streams, or for the windows; none if it is about what is in them.
    fn condition(&self, filter: &Expr) -> Option<Condition> {
        let column_of = |expr: &Expr| match expr {
            Expr::Column(column) => {
                let index = self.schema.index_of(&column.name).ok()?;
                Some(self.columns[index])
            }
            _ => None,
        };
        let is_start = |expr: &Expr| column_of(expr) == Some(StatColumn::Start);
        if self.grid.is_some()
            && let Some(starts) = time_set(filter, &is_start)
        {
            return Some(Condition::Starts(starts));
        }
        let mut only_keys = true;
        let rewritten = filter.clone().transform(|expr| {
            Ok(match column_of(&expr) {
                Some(StatColumn::Key(key)) => Transformed::yes(self.keys[key].clone()),
                Some(_) => {
                    only_keys = false;
                    Transformed::no(expr)
                }
                None => Transformed::no(expr),
            })
        });
        let rewritten = rewritten.ok()?.data;
        (only_keys && is_about_streams(&rewritten)).then_some(Condition::Streams(rewritten))
    }

    /// Streams with the same keys have the same number; the numbers ascend from 0.
    fn grouping(&self, keys: &[ArrayRef], streams: usize) -> Result<Grouping> {
        if self.grid.is_none() && self.keys.is_empty() {
            return Ok(Grouping::Whole);
        }
        if streams <= 1 {
            return Ok(Grouping::PerStream);
        }
        if keys.is_empty() {
            return Ok(Grouping::Merged(vec![0; streams].into()));
        }
        let fields = keys
            .iter()
            .map(|key| SortField::new(key.data_type().clone()));
        let rows = RowConverter::new(fields.collect())?.convert_columns(keys)?;
        let mut seen = HashMap::with_capacity(streams);
        let numbers: Vec<usize> = rows
            .iter()
            .map(|row| {
                let next = seen.len();
                *seen.entry(row).or_insert(next)
            })
            .collect();
        Ok(if seen.len() == streams {
            Grouping::PerStream
        } else {
            Grouping::Merged(numbers.into())
        })
    }
}

impl TableProvider for BucketsTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        // Without a key there is a row even where nothing is.
        let groups = self.grid.is_some() || !self.keys.is_empty();
        Ok(exact_if(filters, |filter| {
            groups && self.condition(filter).is_some()
        }))
    }

    scan_by_plan!();
}

impl BucketsTable {
    fn plan_scan<'a>(
        &'a self,
        state: &'a dyn Session,
        projection: Option<&'a Vec<usize>>,
        filters: &'a [Expr],
        limit: Option<usize>,
    ) -> Planning<'a> {
        async move {
            let frame = self.frame.pinned().await.map_err(to_datafusion)?;
            let mut times = TimeSet::of_ranges(&self.ranges);
            let mut chosen = Vec::new();
            for filter in filters {
                match (self.condition(filter), &self.grid) {
                    (Some(Condition::Streams(filter)), _) => chosen.push(filter),
                    (Some(Condition::Starts(starts)), Some(grid)) => {
                        times = times.intersect(&starts.windows(grid));
                    }
                    _ => return Err(not_accepted(filters)),
                }
            }
            let streams: Vec<_> = match &self.source {
                Source::Stream(stream) => {
                    vec![(Arc::clone(&stream.descriptor), stream.read(&frame))]
                }
                Source::Streams(filters) => {
                    chosen.extend(filters.iter().cloned());
                    let selected = select(&frame, state, &chosen).await?;
                    let streams = selected.into_iter().map(|descriptor| {
                        let read = frame.read(descriptor.id, None);
                        (descriptor, read)
                    });
                    streams.collect()
                }
            };
            let schema = match projection {
                Some(indices) => Arc::new(self.schema.project(indices)?),
                None => Arc::clone(&self.schema),
            };
            let mut read = StatRead::of(frame, &streams);
            let keys = self.keys.iter().enumerate().map(|(place, key)| {
                let values = evaluate(state, key.clone(), &read.streams.descriptors)?;
                let column = self
                    .columns
                    .iter()
                    .position(|column| *column == StatColumn::Key(place));
                match column.map(|column| self.schema.field(column).data_type()) {
                    Some(data_type) if data_type != values.data_type() => {
                        Ok(cast(&values, data_type)?)
                    }
                    _ => Ok(values),
                }
            });
            let keys = keys.collect::<Result<Vec<_>>>()?;
            read.ranges = times.ranges();
            read.cuts = match (&self.grid, read.ranges.as_slice()) {
                (Some(grid), _) => grid.clone(),
                (None, [first, .., last]) => Cuts::whole(TimeRange::new(first.start, last.end)),
                (None, [range]) => Cuts::whole(*range),
                (None, []) => Cuts::whole(TimeRange::ALL),
            };
            read.grouping = self.grouping(&keys, streams.len())?;
            read.keys = keys.into();
            read.columns = project(&self.columns, projection);
            read.schema = schema;
            Ok(ScanExec::planned(read, limit))
        }
        .boxed()
    }
}
