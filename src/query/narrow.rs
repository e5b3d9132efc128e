//! What a scan need not read, told by predicates that only a running plan knows.
//!
//! ```text
//! hash join:  uuid >= a AND uuid <= b AND uuid IN (...)     =>   the streams that can match
//! sub-query:  time > (SELECT max(time) ...) - INTERVAL ...  =>   a range
//! top k:      value > 17.3, and soon value > 19.1           =>   bounds that move while the read goes on
//! ```
//!
//! Every answer may be too wide and never too narrow: rows that slip through are filtered afterwards.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::TreeNode;
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, Operator};
use datafusion::physical_expr::expressions::{
    BinaryExpr, Column, DynamicFilterTracking, InListExpr, IsNullExpr,
};
use datafusion::physical_expr::scalar_subquery::ScalarSubqueryExpr;
use datafusion::physical_expr::utils::{collect_columns, reassign_expr_columns};
use datafusion::physical_expr::{PhysicalExpr, split_conjunction};
use datafusion::physical_expr_common::physical_expr::{
    is_volatile, snapshot_generation, snapshot_physical_expr,
};

use super::catalogue::StreamColumn;
use super::filter::is_comparison;
use super::selection::told_batch;
use super::time_set::TimeSet;
use crate::model::{StreamDescriptor, ValueBounds};

/// Predicates over the rows of a scan, read for what they rule out.
#[derive(Debug)]
pub(super) struct Narrowing {
    filters: Vec<Arc<dyn PhysicalExpr>>,
    /// The bounds of values, kept up to date.
    values: Option<Arc<ValueBounds>>,
    generation: u64,
}

impl Narrowing {
    pub(super) fn new(filters: &[Arc<dyn PhysicalExpr>]) -> Self {
        let mut narrowing = Self {
            filters: filters.to_vec(),
            values: None,
            generation: 0,
        };
        let of_values = |filter: &Arc<dyn PhysicalExpr>| {
            let columns = collect_columns(filter);
            columns.iter().any(|column| column.name() == "value")
        };
        if narrowing.filters.iter().any(of_values) {
            let (low, high) = narrowing.value_hull();
            narrowing.values = Some(Arc::new(ValueBounds::new(low, high)));
            narrowing.generation = narrowing.generation_now();
        }
        narrowing
    }

    /// The times that rows may have.
    pub(super) fn times(&self) -> TimeSet {
        self.now()
            .iter()
            .flat_map(|filter| split_conjunction(filter))
            .filter_map(times_of)
            .fold(TimeSet::all(), |all, some| all.intersect(&some))
    }

    /// The bounds of values that are of use, which [`refresh`](Self::refresh) moves; none if all are.
    pub(super) fn values(&self) -> Option<Arc<ValueBounds>> {
        self.values.clone()
    }

    /// Whether the bounds of values may move while the read goes on.
    pub(super) fn is_moving(&self) -> bool {
        let moves = |filter: &Arc<dyn PhysicalExpr>| {
            DynamicFilterTracking::classify(filter).contains_dynamic_filter()
        };
        self.values.is_some() && self.filters.iter().any(moves)
    }

    /// Moves the bounds of values, if the predicates have moved.
    pub(super) fn refresh(&mut self) {
        let Some(bounds) = &self.values else { return };
        let generation = self.generation_now();
        if generation != self.generation {
            let (low, high) = self.value_hull();
            bounds.set(low, high);
            self.generation = generation;
        }
    }

    /// The places of the streams whose points can pass.
    pub(super) fn streams(&self, streams: &[Arc<StreamDescriptor>]) -> Result<Vec<usize>> {
        let now = self.now();
        let about_streams: Vec<_> = now
            .iter()
            .flat_map(|filter| split_conjunction(filter))
            .filter(|filter| is_about_streams(filter))
            .collect();
        let mut kept: Vec<usize> = (0..streams.len()).collect();
        if about_streams.is_empty() {
            return Ok(kept);
        }
        let mut columns: Vec<StreamColumn> = Vec::new();
        for column in about_streams
            .iter()
            .flat_map(|filter| collect_columns(filter))
        {
            if let Some(column) = StreamColumn::told(column.name())
                && !columns.contains(&column)
            {
                columns.push(column);
            }
        }
        let batch = told_batch(&columns, streams)?;
        for filter in about_streams {
            let filter = reassign_expr_columns(Arc::clone(filter), &batch.schema())?;
            let passes = filter.evaluate(&batch)?.into_array(batch.num_rows())?;
            let passes = passes.as_boolean();
            kept.retain(|&row| passes.is_valid(row) && passes.value(row));
        }
        Ok(kept)
    }

    /// The predicates as they stand now, moving parts replaced by what they say.
    fn now(&self) -> Vec<Arc<dyn PhysicalExpr>> {
        let filters = self.filters.iter();
        filters
            // What cannot be told now rules nothing out now.
            .filter_map(|filter| snapshot_physical_expr(Arc::clone(filter)).ok())
            .collect()
    }

    fn generation_now(&self) -> u64 {
        self.filters
            .iter()
            .map(snapshot_generation)
            .fold(0, u64::wrapping_add)
    }

    fn value_hull(&self) -> Hull {
        self.now()
            .iter()
            .map(hull_of)
            .fold(EVERY_VALUE, |(low, high), (from, to)| {
                (low.max(from), high.min(to))
            })
    }
}

/// Whether `filter` may rule out something that a scan of points could then leave unread.
pub(super) fn narrows(filter: &Arc<dyn PhysicalExpr>) -> bool {
    split_conjunction(filter)
        .into_iter()
        .any(|part| times_of(part).is_some() || hull_of(part) != EVERY_VALUE || waits(part))
}

/// Whether `filter` compares a time, a value or something about streams with the result of a sub-query, which is known only
/// at run time.
fn waits(filter: &Arc<dyn PhysicalExpr>) -> bool {
    let Some(binary) = filter.downcast_ref::<BinaryExpr>() else {
        return false;
    };
    let varies = |side: &Arc<dyn PhysicalExpr>| {
        let column = side.downcast_ref::<Column>().map(Column::name);
        matches!(column, Some("time" | "value")) || is_about_streams(side)
    };
    let (left, right) = (binary.left(), binary.right());
    (varies(left) && is_of_subquery(right)) || (varies(right) && is_of_subquery(left))
}

/// Whether `expr` is made of results of sub-queries and constants.
fn is_of_subquery(expr: &Arc<dyn PhysicalExpr>) -> bool {
    let subquery = expr.exists(|inner| Ok(inner.downcast_ref::<ScalarSubqueryExpr>().is_some()));
    subquery.unwrap_or(false) && collect_columns(expr).is_empty() && !is_volatile(expr)
}

fn is_about_streams(filter: &Arc<dyn PhysicalExpr>) -> bool {
    let columns = collect_columns(filter);
    !columns.is_empty()
        && columns
            .iter()
            .all(|column| StreamColumn::told(column.name()).is_some())
        && !is_volatile(filter)
}

/// A comparison of a column with a constant, the column to the left.
fn comparison(filter: &Arc<dyn PhysicalExpr>) -> Option<(&Column, Operator, ScalarValue)> {
    let binary = filter.downcast_ref::<BinaryExpr>()?;
    if let Some(column) = binary.left().downcast_ref::<Column>() {
        return Some((column, *binary.op(), constant(binary.right())?));
    }
    let column = binary.right().downcast_ref::<Column>()?;
    Some((column, binary.op().swap()?, constant(binary.left())?))
}

/// The column that `filter` says is the same in all rows.
pub(super) fn constant_column(filter: &Arc<dyn PhysicalExpr>) -> Option<Arc<dyn PhysicalExpr>> {
    let binary = filter.downcast_ref::<BinaryExpr>()?;
    let is_column = |side: &Arc<dyn PhysicalExpr>| side.downcast_ref::<Column>().is_some();
    let is_constant =
        |side: &Arc<dyn PhysicalExpr>| collect_columns(side).is_empty() && !is_volatile(side);
    let (left, right) = (binary.left(), binary.right());
    if *binary.op() != Operator::Eq {
        return None;
    }
    if is_column(left) && is_constant(right) {
        return Some(Arc::clone(left));
    }
    (is_column(right) && is_constant(left)).then(|| Arc::clone(right))
}

/// What an expression without columns comes to, if it can be told yet.
fn constant(expr: &Arc<dyn PhysicalExpr>) -> Option<ScalarValue> {
    if !collect_columns(expr).is_empty() || is_volatile(expr) {
        return None;
    }
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    let schema: SchemaRef = Arc::new(Schema::empty());
    let batch = RecordBatch::try_new_with_options(schema, Vec::new(), &options).ok()?;
    match expr.evaluate(&batch).ok()? {
        ColumnarValue::Scalar(value) => Some(value),
        ColumnarValue::Array(array) => ScalarValue::try_from_array(&array, 0).ok(),
    }
}

/// The times at which `filter` can be true, if it says anything of them.
fn times_of(filter: &Arc<dyn PhysicalExpr>) -> Option<TimeSet> {
    if let Some(binary) = filter.downcast_ref::<BinaryExpr>() {
        match binary.op() {
            Operator::And => {
                return match (times_of(binary.left()), times_of(binary.right())) {
                    (Some(left), Some(right)) => Some(left.intersect(&right)),
                    (left, right) => left.or(right),
                };
            }
            Operator::Or => {
                return Some(times_of(binary.left())?.union(&times_of(binary.right())?));
            }
            _ => {}
        }
    }
    if is_null_of(filter, "time") {
        return Some(TimeSet::none());
    }
    if let Some(list) = filter.downcast_ref::<InListExpr>() {
        let column = list.expr().downcast_ref::<Column>()?;
        if list.negated() || column.name() != "time" {
            return None;
        }
        let times = list.list().iter().map(|item| match constant(item)? {
            ScalarValue::TimestampNanosecond(time, _) => Some(time),
            _ => None,
        });
        let times: Option<Vec<_>> = times.collect();
        return Some(TimeSet::at(times?.into_iter().flatten()));
    }
    let (column, operator, value) = comparison(filter)?;
    let ScalarValue::TimestampNanosecond(time, _) = value else {
        return None;
    };
    if column.name() != "time" {
        return None;
    }
    let Some(time) = time.map(i128::from) else {
        return is_comparison(operator).then(TimeSet::none);
    };
    let (min, max) = (i64::MIN.into(), i64::MAX.into());
    Some(match operator {
        Operator::Eq => TimeSet::between(time, time),
        Operator::Lt => TimeSet::between(min, time - 1),
        Operator::LtEq => TimeSet::between(min, time),
        Operator::Gt => TimeSet::between(time + 1, max),
        Operator::GtEq => TimeSet::between(time, max),
        _ => return None,
    })
}

/// Whether `filter` asks for points without a time or value, of which there are none.
fn is_null_of(filter: &Arc<dyn PhysicalExpr>, column: &str) -> bool {
    filter.downcast_ref::<IsNullExpr>().is_some_and(|null| {
        let found = null.arg().downcast_ref::<Column>();
        found.is_some_and(|found| found.name() == column)
    })
}

type Hull = (f64, f64);

const EVERY_VALUE: Hull = (f64::NEG_INFINITY, f64::INFINITY);
const NO_VALUE: Hull = (f64::INFINITY, f64::NEG_INFINITY);

/// An interval that holds every value for which `filter` can be true.
fn hull_of(filter: &Arc<dyn PhysicalExpr>) -> Hull {
    if let Some(binary) = filter.downcast_ref::<BinaryExpr>() {
        let (left, right) = match binary.op() {
            Operator::And | Operator::Or => (hull_of(binary.left()), hull_of(binary.right())),
            _ => return hull_of_comparison(filter),
        };
        return match binary.op() {
            Operator::And => (left.0.max(right.0), left.1.min(right.1)),
            _ => (left.0.min(right.0), left.1.max(right.1)),
        };
    }
    if is_null_of(filter, "value") {
        return NO_VALUE;
    }
    if let Some(list) = filter.downcast_ref::<InListExpr>()
        && let Some(column) = list.expr().downcast_ref::<Column>()
        && column.name() == "value"
        && !list.negated()
    {
        let mut hull = NO_VALUE;
        for item in list.list() {
            match constant(item) {
                Some(ScalarValue::Float64(Some(value))) if !value.is_nan() => {
                    hull = (hull.0.min(value), hull.1.max(value));
                }
                Some(ScalarValue::Float64(None)) => {}
                _ => return EVERY_VALUE,
            }
        }
        return hull;
    }
    EVERY_VALUE
}

fn hull_of_comparison(filter: &Arc<dyn PhysicalExpr>) -> Hull {
    let Some((column, operator, ScalarValue::Float64(value))) = comparison(filter) else {
        return EVERY_VALUE;
    };
    if column.name() != "value" {
        return EVERY_VALUE;
    }
    let Some(value) = value else {
        return if is_comparison(operator) {
            NO_VALUE
        } else {
            EVERY_VALUE
        };
    };
    if value.is_nan() {
        return EVERY_VALUE;
    }
    match operator {
        Operator::Eq => (value, value),
        Operator::Lt | Operator::LtEq => (f64::NEG_INFINITY, value),
        Operator::Gt | Operator::GtEq => (value, f64::INFINITY),
        _ => EVERY_VALUE,
    }
}
