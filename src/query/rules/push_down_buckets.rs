//! Aggregates over time, answered from statistics instead of points.
//!
//! ```text
//! Aggregate(date_bin(w, time), count, avg, max)         Projection(the names of the aggregate)
//!   [SubqueryAlias | Projection | Filter on time]*  =>    TableScan(buckets: streams, range, grid)
//!     TableScan(a stream, raw_values(), points)
//! ```
//!
//! A table scan and no extension node: limits and projections go into a scan for nothing. First of all rules, so that the rest
//! of planning sees two nodes, where the plan would otherwise be split, repartitioned and sorted. All of an aggregate goes down
//! or none: what is not understood here stays as it was.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema};
use datafusion::catalog::default_table_source::{provider_as_source, source_as_provider};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, TableReference};
use datafusion::error::Result;
use datafusion::functions_aggregate::average::avg_udaf;
use datafusion::functions_aggregate::count::count_udaf;
use datafusion::functions_aggregate::min_max::{max_udaf, min_udaf};
use datafusion::functions_aggregate::stddev::{stddev_pop_udaf, stddev_udaf};
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::functions_aggregate::variance::{var_pop_udaf, var_samp_udaf};
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan, LogicalPlanBuilder, Projection};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

use super::grid::grid;
use crate::model::{Cuts, TimeRange};
use crate::query::buckets::{BucketsTable, Source};
use crate::query::filter::time_set_of_all;
use crate::query::points::Label;
use crate::query::selection::is_about_streams;
use crate::query::session::Frame;
use crate::query::stats::StatColumn;
use crate::query::table::{PointsTable, StreamTable, is_time_column};

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
    let Some(scan) = Beneath::of(aggregate)? else {
        return Ok(None);
    };
    let simplifier = ExprSimplifier::new(
        SimplifyContext::builder()
            .with_schema(Arc::clone(&scan.schema))
            .with_config_options(config.options())
            .with_query_execution_start_time(config.query_execution_start_time())
            .build(),
    );
    let simplify = |expr: &Expr| simplifier.simplify(expr.clone());

    let predicates = scan
        .predicates
        .iter()
        .map(simplify)
        .collect::<Result<Vec<_>>>()?;
    let Some((source, range)) = scan.source(&predicates) else {
        return Ok(None);
    };
    let mut grid = None;
    let mut columns = Vec::with_capacity(aggregate.schema.fields().len());
    for expr in &scan.groups {
        let column = match key(&simplify(expr)?, range) {
            Some(Key::Label(label)) if matches!(source, Source::Streams(_)) => {
                StatColumn::Label(label)
            }
            Some(Key::Grid(cuts)) if grid.is_none() => {
                grid = Some(cuts);
                StatColumn::Start
            }
            _ => return Ok(None),
        };
        columns.push(column);
    }
    for expr in &scan.aggregates {
        match answer(expr) {
            Some(column) => columns.push(column),
            None => return Ok(None),
        }
    }
    replace(aggregate, scan.frame, source, range, grid, columns)
}

/// The aggregate's expressions and all predicates below it, rewritten to the columns of the table at the bottom.
struct Beneath {
    frame: Arc<Frame>,
    table: Arc<dyn datafusion::catalog::TableProvider>,
    schema: Arc<DFSchema>,
    groups: Vec<Expr>,
    aggregates: Vec<Expr>,
    predicates: Vec<Expr>,
}

impl Beneath {
    /// Walks down from `aggregate` as long as nothing but names, columns and predicates is in between.
    fn of(aggregate: &Aggregate) -> Result<Option<Self>> {
        let mut groups = aggregate.group_expr.clone();
        let mut aggregates = aggregate.aggr_expr.clone();
        let mut predicates = Vec::<Expr>::new();
        let mut node = Arc::clone(&aggregate.input);
        loop {
            let below = match node.as_ref() {
                LogicalPlan::SubqueryAlias(alias) => {
                    let input = alias.input.schema();
                    let columns = (0..input.fields().len())
                        .map(|index| Expr::Column(Column::from(input.qualified_field(index))));
                    let columns: Vec<Expr> = columns.collect();
                    for exprs in [&mut groups, &mut aggregates, &mut predicates] {
                        substitute(exprs, &alias.schema, &columns)?;
                    }
                    Arc::clone(&alias.input)
                }
                LogicalPlan::Projection(projection) => {
                    if projection.expr.iter().any(Expr::is_volatile) {
                        return Ok(None);
                    }
                    for exprs in [&mut groups, &mut aggregates, &mut predicates] {
                        substitute(exprs, &projection.schema, &projection.expr)?;
                    }
                    Arc::clone(&projection.input)
                }
                LogicalPlan::Filter(filter) => {
                    predicates.extend(split_conjunction(&filter.predicate).into_iter().cloned());
                    Arc::clone(&filter.input)
                }
                LogicalPlan::TableScan(scan) if scan.fetch.is_none() => {
                    predicates.extend(scan.filters.iter().cloned());
                    let table = source_as_provider(&scan.source)?;
                    let frame = if let Some(table) = table.downcast_ref::<StreamTable>() {
                        Arc::clone(&table.frame)
                    } else if let Some(table) = table.downcast_ref::<PointsTable>() {
                        Arc::clone(&table.frame)
                    } else {
                        return Ok(None);
                    };
                    if !frame.pushdown {
                        return Ok(None);
                    }
                    return Ok(Some(Self {
                        frame,
                        schema: Arc::clone(&scan.projected_schema),
                        table,
                        groups,
                        aggregates,
                        predicates,
                    }));
                }
                _ => return Ok(None),
            };
            node = below;
        }
    }

    /// Whose statistics, and of which range; none if a predicate asks for more than these two.
    fn source(&self, predicates: &[Expr]) -> Option<(Source, Option<TimeRange>)> {
        let (about_streams, about_time): (Vec<&Expr>, Vec<&Expr>) = predicates
            .iter()
            .flat_map(split_conjunction)
            .partition(|predicate| is_about_streams(predicate));
        let range = time_set_of_all(about_time, &is_time_column)?.single_range()?;
        let source = match self.table.downcast_ref::<StreamTable>() {
            Some(table) if about_streams.is_empty() => Source::Stream(table.stream.clone()),
            Some(_) => return None,
            None => Source::Streams(about_streams.into_iter().cloned().collect()),
        };
        Some((source, range))
    }
}

/// Replaces columns of `schema` by what they are made of.
fn substitute(exprs: &mut [Expr], schema: &DFSchema, sources: &[Expr]) -> Result<()> {
    for expr in exprs {
        let rewritten = std::mem::take(expr).transform(|inner| {
            Ok(match &inner {
                Expr::Column(column) => match schema.maybe_index_of_column(column) {
                    Some(index) => Transformed::yes(sources[index].clone().unalias_nested().data),
                    None => Transformed::no(inner),
                },
                _ => Transformed::no(inner),
            })
        })?;
        *expr = rewritten.data;
    }
    Ok(())
}

/// What a GROUP BY expression groups by.
enum Key {
    Label(Label),
    Grid(Cuts),
}

fn key(expr: &Expr, range: Option<TimeRange>) -> Option<Key> {
    match expr {
        Expr::Alias(alias) => key(&alias.expr, range),
        Expr::Column(column) => Label::named(&column.name).map(Key::Label),
        Expr::ScalarFunction(call) => grid(call, range).map(Key::Grid),
        _ => None,
    }
}

/// The statistic that an aggregate asks for.
fn answer(expr: &Expr) -> Option<StatColumn> {
    let call = match expr {
        Expr::Alias(alias) => return answer(&alias.expr),
        Expr::AggregateFunction(call) => call,
        _ => return None,
    };
    let AggregateFunction { func, params } = call;
    let plain = !params.distinct
        && params.filter.is_none()
        && params.order_by.is_empty()
        && params.null_treatment.is_none();
    let [argument] = params.args.as_slice() else {
        return None;
    };
    if !plain {
        return None;
    }
    if *func == count_udaf() {
        return never_null(argument).then_some(StatColumn::Count);
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
    let is_value = matches!(argument, Expr::Column(column) if column.name == "value");
    answers
        .into_iter()
        .find(|(known, _)| is_value && func == known)
        .map(|(_, column)| column)
}

/// Whether counting `argument` is counting rows. No column of points has nulls.
fn never_null(argument: &Expr) -> bool {
    match argument {
        Expr::Literal(value, _) => !value.is_null(),
        Expr::Column(_) => true,
        _ => false,
    }
}

/// The scan, under the very schema of the aggregate.
fn replace(
    aggregate: &Aggregate,
    frame: Arc<Frame>,
    source: Source,
    range: Option<TimeRange>,
    grid: Option<Cuts>,
    columns: Vec<StatColumn>,
) -> Result<Option<LogicalPlan>> {
    let outputs = aggregate.schema.fields();
    let same_types = outputs.len() == columns.len()
        && outputs
            .iter()
            .zip(&columns)
            .all(|(field, column)| *field.data_type() == column.data_type());
    if !same_types {
        return Ok(None);
    }
    // Names may repeat under different qualifiers, which a table's columns do not have.
    let fields: Vec<Field> = outputs
        .iter()
        .enumerate()
        .map(|(position, field)| {
            let repeated = outputs[..position]
                .iter()
                .any(|other| other.name() == field.name());
            let name = if repeated {
                format!("{}:{position}", field.name())
            } else {
                field.name().clone()
            };
            Field::new(name, field.data_type().clone(), field.is_nullable())
        })
        .collect();
    let relation = TableReference::bare("buckets");
    let exprs = fields
        .iter()
        .zip(aggregate.schema.iter())
        .map(|(own, (qualifier, field))| {
            Expr::Column(Column::new(Some(relation.clone()), own.name()))
                .alias_qualified(qualifier.cloned(), field.name())
        })
        .collect();
    let table = BucketsTable {
        frame,
        source,
        range,
        grid,
        columns,
        schema: Arc::new(Schema::new(fields)),
    };
    let scan =
        LogicalPlanBuilder::scan(relation.clone(), provider_as_source(Arc::new(table)), None)?
            .build()?;
    let projection =
        Projection::try_new_with_schema(exprs, Arc::new(scan), Arc::clone(&aggregate.schema))?;
    Ok(Some(LogicalPlan::Projection(projection)))
}
