//! Aggregates over time, answered from statistics instead of points.
//!
//! ```text
//! Aggregate(date_bin(w, time), count, avg, max)         Projection(the names of the aggregate)
//!   [SubqueryAlias | Projection | Filter on time]*  =>    TableScan(buckets: streams, range, grid)
//!     TableScan(a stream, raw_values(), points)
//! ```
//!
//! The keys are `date_bin`, `date_trunc`, the date, and over `points` whatever can be told of a stream. Without a window among
//! them the first and last value, and the least and greatest time, come from the nearest points.
//!
//! A table scan and no extension node: limits and projections go into a scan for nothing. First of all rules, so that the rest
//! of planning sees two nodes, where the plan would otherwise be split, repartitioned and sorted. All of an aggregate goes down
//! or none: what is not understood here stays as it was.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use datafusion::catalog::default_table_source::provider_as_source;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, TableReference};
use datafusion::error::Result;
use datafusion::functions_aggregate::average::avg_udaf;
use datafusion::functions_aggregate::count::count_udaf;
use datafusion::functions_aggregate::first_last::{first_value_udaf, last_value_udaf};
use datafusion::functions_aggregate::min_max::{max_udaf, min_udaf};
use datafusion::functions_aggregate::stddev::{stddev_pop_udaf, stddev_udaf};
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::functions_aggregate::variance::{var_pop_udaf, var_samp_udaf};
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{
    Aggregate, Expr, LogicalPlan, LogicalPlanBuilder, Projection, cast,
};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

use super::beneath::Beneath;
use crate::model::{Cuts, TimeRange};
use crate::query::buckets::{BucketsTable, Source};
use crate::query::filter::time_set;
use crate::query::grid::{DAY, grid};
use crate::query::selection::is_about_streams;
use crate::query::session::Frame;
use crate::query::stat_column::StatColumn;
use crate::query::table::{
    NamedStream, PointsTable, StreamTable, is_time_column, is_time_of_any_zone,
};
use crate::query::time_set::TimeSet;

/// Turns aggregates of points into reads of statistics.
#[derive(Debug)]
pub(in crate::query) struct PushDownBuckets;

impl OptimizerRule for PushDownBuckets {
    fn name(&self) -> &str {
        "push_down_buckets"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Aggregate(aggregate) = &plan else {
            return Ok(Transformed::no(plan));
        };
        Ok(match push_down(aggregate, config)? {
            Some(pushed) => Transformed::yes(pushed),
            None => Transformed::no(plan),
        })
    }
}

fn push_down(aggregate: &Aggregate, config: &dyn OptimizerConfig) -> Result<Option<LogicalPlan>> {
    let Some(beneath) = Beneath::of(&aggregate.input)? else {
        return Ok(None);
    };
    let Some((frame, stream)) = source(&beneath) else {
        return Ok(None);
    };
    let simplifier = ExprSimplifier::new(
        SimplifyContext::builder()
            .with_schema(Arc::clone(&beneath.schema))
            .with_config_options(config.options())
            .with_query_execution_start_time(config.query_execution_start_time())
            .build(),
    );
    let see = |expr: &Expr| simplifier.simplify(beneath.see(expr, aggregate.input.schema())?);

    let (mut about_streams, mut times) = (Vec::new(), TimeSet::all());
    for predicate in &beneath.predicates {
        let predicate = simplifier.simplify(predicate.clone())?;
        for predicate in split_conjunction(&predicate) {
            if stream.is_none() && is_about_streams(predicate) {
                about_streams.push(predicate.clone());
            } else if let Some(set) = time_set(predicate, &is_time_column) {
                times = times.intersect(&set);
            } else {
                return Ok(None);
            }
        }
    }
    let ranges = times.ranges();
    let reach = match ranges.as_slice() {
        [] => TimeRange::new(0, 1),
        [first, ..] => TimeRange::new(first.start, ranges[ranges.len() - 1].end),
    };
    let (mut grid, mut keys) = (None, Vec::new());
    let mut columns = Vec::with_capacity(aggregate.schema.fields().len());
    for (expr, field) in aggregate.group_expr.iter().zip(aggregate.schema.fields()) {
        columns.push(match key(see(expr)?, reach) {
            Some(Key::Grid(cuts)) if grid.is_none() => {
                grid = Some(cuts);
                StatColumn::Start
            }
            Some(Key::Streams(key)) if stream.is_none() && !field.data_type().is_nested() => {
                keys.push(key);
                StatColumn::Key(keys.len() - 1)
            }
            Some(Key::Constant(key)) if !field.data_type().is_nested() => {
                keys.push(key);
                StatColumn::Key(keys.len() - 1)
            }
            _ => return Ok(None),
        });
    }
    for expr in &aggregate.aggr_expr {
        match answer(expr, &see)? {
            // What statistics of windows do not tell.
            Some(column) if column.is_extreme() && grid.is_some() => return Ok(None),
            Some(column) => columns.push(column),
            None => return Ok(None),
        }
    }
    let table = Buckets {
        frame,
        source: match stream {
            Some(stream) => Source::Stream(stream),
            None => Source::Streams(about_streams),
        },
        ranges,
        grid,
        keys,
        columns,
    };
    replace(aggregate, table)
}

/// Whose points lie beneath: one stream's, or without one those of streams to be chosen; none if they are not ours to push.
fn source(beneath: &Beneath) -> Option<(Arc<Frame>, Option<NamedStream>)> {
    let (frame, stream) = match beneath.table.downcast_ref::<StreamTable>() {
        Some(table) => (&table.frame, Some(table.stream.clone())),
        None => (&beneath.table.downcast_ref::<PointsTable>()?.frame, None),
    };
    frame.pushdown.then(|| (Arc::clone(frame), stream))
}

/// What a GROUP BY expression groups by.
enum Key {
    Streams(Expr),
    /// The same for all.
    Constant(Expr),
    Grid(Cuts),
}

/// `reach` is from the first to the last time there can be.
fn key(expr: Expr, reach: TimeRange) -> Option<Key> {
    match expr {
        Expr::Alias(alias) => key(*alias.expr, reach),
        expr if is_about_streams(&expr) => Some(Key::Streams(expr)),
        expr @ Expr::Literal(..) => Some(Key::Constant(expr)),
        Expr::ScalarFunction(call) => grid(&call, &is_time_of_any_zone, reach).map(Key::Grid),
        Expr::Cast(cast) => {
            let step = match cast.field.data_type() {
                DataType::Date32 => DAY,
                DataType::Timestamp(TimeUnit::Nanosecond, _) => 1,
                _ => return None,
            };
            if is_time_column(&cast.expr) && step > 1 {
                return Some(Key::Grid(Cuts::Every {
                    origin: 0,
                    width: step as u64,
                }));
            }
            // Two windows must not become one.
            match key(*cast.expr, reach)? {
                Key::Grid(cuts) if starts_on(&cuts, step) => Some(Key::Grid(cuts)),
                _ => None,
            }
        }
        _ => None,
    }
}

/// Whether all windows of `cuts` start on whole multiples of `step`.
fn starts_on(cuts: &Cuts, step: i64) -> bool {
    match cuts {
        Cuts::Every { origin, width } => origin % step == 0 && width % step as u64 == 0,
        Cuts::At(cuts) => cuts.iter().all(|cut| cut % step == 0),
    }
}

/// The statistic that an aggregate asks for.
fn answer(expr: &Expr, see: &dyn Fn(&Expr) -> Result<Expr>) -> Result<Option<StatColumn>> {
    let call = match expr {
        Expr::Alias(alias) => return answer(&alias.expr, see),
        Expr::AggregateFunction(call) => call,
        _ => return Ok(None),
    };
    let AggregateFunction { func, params } = call;
    let [argument] = params.args.as_slice() else {
        return Ok(None);
    };
    if params.distinct || params.filter.is_some() {
        return Ok(None);
    }
    let argument = see(argument)?;
    let is_value = matches!(&argument, Expr::Column(column) if column.name == "value");
    let is_time = is_time_column(&argument);
    let is_first = *func == first_value_udaf();
    if is_first || *func == last_value_udaf() {
        let [key] = params.order_by.as_slice() else {
            return Ok(None);
        };
        if !is_time_column(&see(&key.expr)?) {
            return Ok(None);
        }
        // No point has a NULL, so that it is all the same what becomes of them.
        return Ok(match (is_first == key.asc, is_value, is_time) {
            (true, true, _) => Some(StatColumn::FirstValue),
            (true, _, true) => Some(StatColumn::FirstTime),
            (false, true, _) => Some(StatColumn::LastValue),
            (false, _, true) => Some(StatColumn::LastTime),
            _ => None,
        });
    }
    if !params.order_by.is_empty() || params.null_treatment.is_some() {
        return Ok(None);
    }
    if *func == count_udaf() {
        return Ok(never_null(&argument).then_some(StatColumn::Count));
    }
    if is_time {
        let extremes = [
            (min_udaf(), StatColumn::FirstTime),
            (max_udaf(), StatColumn::LastTime),
        ];
        let found = extremes.into_iter().find(|(known, _)| func == known);
        return Ok(found.map(|(_, column)| column));
    }
    let answers = [
        (min_udaf(), StatColumn::Min),
        (max_udaf(), StatColumn::Max),
        (avg_udaf(), StatColumn::Mean),
        (sum_udaf(), StatColumn::Sum),
        (stddev_udaf(), StatColumn::StddevSample),
        (stddev_pop_udaf(), StatColumn::StddevPopulation),
        (var_samp_udaf(), StatColumn::VarianceSample),
        (var_pop_udaf(), StatColumn::VariancePopulation),
    ];
    let found = answers
        .into_iter()
        .find(|(known, _)| is_value && func == known);
    Ok(found.map(|(_, column)| column))
}

/// Whether counting `argument` is counting rows.
fn never_null(argument: &Expr) -> bool {
    match argument {
        Expr::Literal(value, _) => !value.is_null(),
        // The only columns beside points that may be empty.
        Expr::Column(column) => column.name != "earliest" && column.name != "latest",
        _ => false,
    }
}

/// The table to be, all but its schema.
struct Buckets {
    frame: Arc<Frame>,
    source: Source,
    ranges: Vec<TimeRange>,
    grid: Option<Cuts>,
    keys: Vec<Expr>,
    columns: Vec<StatColumn>,
}

impl Buckets {
    /// A name that differs where anything that is read differs: DataFusion takes scans of one name for the same.
    fn name(&self) -> String {
        let source = match &self.source {
            Source::Stream(stream) => stream.to_string(),
            Source::Streams(filters) => format!("{filters:?}"),
        };
        let mut hasher = DefaultHasher::new();
        let read = (&self.ranges, &self.grid, &self.keys, &self.columns);
        format!("{source} {read:?}").hash(&mut hasher);
        format!("buckets_{:016x}", hasher.finish())
    }
}

/// The scan, under the very schema of the aggregate.
fn replace(aggregate: &Aggregate, buckets: Buckets) -> Result<Option<LogicalPlan>> {
    let outputs = aggregate.schema.fields();
    if outputs.len() != buckets.columns.len() {
        return Ok(None);
    }
    let mut fields = Vec::with_capacity(outputs.len());
    for (position, (field, column)) in outputs.iter().zip(&buckets.columns).enumerate() {
        // Names may repeat under different qualifiers, which a table's columns do not have.
        let repeated = outputs[..position]
            .iter()
            .any(|other| other.name() == field.name());
        let name = if repeated {
            format!("{}:{position}", field.name())
        } else {
            field.name().clone()
        };
        let data_type = match column.data_type() {
            Some(data_type) if *column == StatColumn::Start => data_type,
            Some(data_type) if data_type == *field.data_type() => data_type,
            Some(_) => return Ok(None),
            None => field.data_type().clone(),
        };
        fields.push(Field::new(name, data_type, field.is_nullable()));
    }
    let relation = TableReference::bare(buckets.name());
    let exprs = fields
        .iter()
        .zip(aggregate.schema.iter())
        .map(|(own, (qualifier, field))| {
            let column = Expr::Column(Column::new(Some(relation.clone()), own.name()));
            let column = if own.data_type() == field.data_type() {
                column
            } else {
                cast(column, field.data_type().clone())
            };
            column.alias_qualified(qualifier.cloned(), field.name())
        })
        .collect();
    let table = BucketsTable {
        frame: buckets.frame,
        source: buckets.source,
        ranges: buckets.ranges,
        grid: buckets.grid,
        keys: buckets.keys,
        columns: buckets.columns,
        schema: Arc::new(Schema::new(fields)),
    };
    let scan =
        LogicalPlanBuilder::scan(relation.clone(), provider_as_source(Arc::new(table)), None)?
            .build()?;
    let projection =
        Projection::try_new_with_schema(exprs, Arc::new(scan), Arc::clone(&aggregate.schema))?;
    Ok(Some(LogicalPlan::Projection(projection)))
}
