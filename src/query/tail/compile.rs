//! From a plan to the steps of a tail, or to the reason why there are none.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::catalog::default_table_source::source_as_provider;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::TreeNode;
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::SessionState;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{Expr, FetchType, Limit, LogicalPlan, SkipType, TableScan};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_expr::PhysicalExpr;

use super::Source;
use super::steps::Step;
use crate::error::{Code, Error, Result};
use crate::query::errors::from_datafusion;
use crate::query::points::PointColumn;
use crate::query::selection::is_about_streams;
use crate::query::table::{PointsTable, StreamTable};

/// The nodes between the scan and the rows, from the scan up.
pub(super) fn chain(plan: &LogicalPlan) -> Result<(Vec<&LogicalPlan>, &TableScan)> {
    let mut nodes = Vec::new();
    let mut node = plan;
    loop {
        node = match node {
            LogicalPlan::TableScan(scan) => {
                nodes.reverse();
                return Ok((nodes, scan));
            }
            LogicalPlan::Projection(projection) => {
                nodes.push(node);
                &projection.input
            }
            LogicalPlan::Filter(filter) => {
                nodes.push(node);
                &filter.input
            }
            LogicalPlan::Limit(limit) => {
                nodes.push(node);
                &limit.input
            }
            LogicalPlan::SubqueryAlias(alias) => &alias.input,
            other => return Err(refused(other)),
        };
    }
}

fn refused(node: &LogicalPlan) -> Error {
    let (what, why) = match node {
        LogicalPlan::Aggregate(_) => (
            "an aggregate",
            "its rows have no end, so no total is ever final; add up what arrives, or ask for windows with DoGet",
        ),
        LogicalPlan::Sort(_) => (
            "ORDER BY",
            "rows come in the order in which they are inserted, and none can wait for all others",
        ),
        LogicalPlan::Distinct(_) => (
            "DISTINCT",
            "every row ever sent would have to be remembered",
        ),
        LogicalPlan::Window(_) => ("a window function", "it needs the rows that come later"),
        LogicalPlan::Join(_) => (
            "a join",
            "it follows one table; the columns uuid, collection, name and unit of points tell the streams apart",
        ),
        LogicalPlan::Union(_) => (
            "UNION",
            "it follows one table; points with a condition on uuid, collection or name is many streams at once",
        ),
        LogicalPlan::EmptyRelation(_) | LogicalPlan::Values(_) => {
            ("a statement without a table", "it follows points")
        }
        _ => (
            "this statement",
            "it is a SELECT from points or from a stream's table, with conditions on rows and expressions over them",
        ),
    };
    Error::unsupported(format!("a tail cannot have {what}: {why}"))
}

/// Makes steps of a chain of nodes.
pub(super) struct Compiler<'a> {
    state: &'a SessionState,
    nodes: &'a [&'a LogicalPlan],
    /// The places in the scan of the columns that steps need.
    kept: Vec<usize>,
    /// The fields of those columns.
    scanned: SchemaRef,
}

impl<'a> Compiler<'a> {
    pub(super) fn new(
        state: &'a SessionState,
        nodes: &'a [&'a LogicalPlan],
        scan: &TableScan,
    ) -> Result<Self> {
        let mut compiler = Self {
            state,
            nodes,
            kept: Vec::new(),
            scanned: Arc::new(Schema::empty()),
        };
        compiler.kept = compiler.needed(scan)?;
        let fields = scan.projected_schema.fields();
        let kept = compiler.kept.iter().map(|&index| fields[index].as_ref());
        compiler.scanned = Arc::new(Schema::new(kept.cloned().collect::<Vec<Field>>()));
        Ok(compiler)
    }

    /// How many nodes see the columns of the scan: those up to the first projection.
    fn low(&self) -> usize {
        let projection = self
            .nodes
            .iter()
            .position(|node| matches!(node, LogicalPlan::Projection(_)));
        projection.map_or(self.nodes.len(), |position| position + 1)
    }

    fn needed(&self, scan: &TableScan) -> Result<Vec<usize>> {
        let low = self.low();
        if low == self.nodes.len() && !matches!(self.nodes.last(), Some(LogicalPlan::Projection(_)))
        {
            return Ok((0..scan.projected_schema.fields().len()).collect());
        }
        let mut needed = BTreeSet::new();
        for node in &self.nodes[..low] {
            for expr in self.rowwise(node) {
                for column in expr.column_refs() {
                    let schema = node.inputs()[0].schema();
                    needed.insert(schema.index_of_column(column).map_err(from_datafusion)?);
                }
            }
        }
        Ok(needed.into_iter().collect())
    }

    /// The expressions of a node that sees the scan's columns, without those that choose streams.
    fn rowwise<'b>(&self, node: &'b LogicalPlan) -> Vec<&'b Expr> {
        match node {
            LogicalPlan::Projection(projection) => projection.expr.iter().collect(),
            LogicalPlan::Filter(filter) => split_conjunction(&filter.predicate)
                .into_iter()
                .filter(|expr| !is_about_streams(expr))
                .collect(),
            _ => Vec::new(),
        }
    }

    pub(super) fn scanned(&self) -> SchemaRef {
        Arc::clone(&self.scanned)
    }

    /// Whose points, and which of their columns.
    pub(super) fn source(&self, scan: &TableScan) -> Result<(Source, Vec<PointColumn>)> {
        let table = source_as_provider(&scan.source).map_err(from_datafusion)?;
        let (source, columns) = if let Some(table) = table.downcast_ref::<StreamTable>() {
            if let Some(version) = table.stream.version {
                return Err(Error::invalid(format!(
                    "version {version} of a stream never changes: a tail follows streams without a version"
                ))
                .with_code(Code::InvalidParameter));
            }
            let source = Source::Stream(table.stream.descriptor.id);
            (source, &PointColumn::OF_STREAM[..])
        } else if table.downcast_ref::<PointsTable>().is_some() {
            (Source::Points(self.choosers()), &PointColumn::OF_ALL[..])
        } else {
            return Err(Error::unsupported(format!(
                "a tail cannot follow {}: it follows points and the tables of streams",
                scan.table_name
            )));
        };
        Ok((
            source,
            self.kept.iter().map(|&index| columns[index]).collect(),
        ))
    }

    /// The predicates that choose streams.
    fn choosers(&self) -> Vec<Expr> {
        let mut choosers = Vec::new();
        for node in &self.nodes[..self.low()] {
            if let LogicalPlan::Filter(filter) = node {
                let conjuncts = split_conjunction(&filter.predicate).into_iter();
                choosers.extend(conjuncts.filter(|expr| is_about_streams(expr)).cloned());
            }
        }
        choosers
    }

    pub(super) fn steps(&self) -> Result<Vec<Step>> {
        let low = self.low();
        let mut steps = Vec::with_capacity(self.nodes.len());
        let mut schema = Arc::clone(&self.scanned);
        for (position, node) in self.nodes.iter().enumerate() {
            match node {
                LogicalPlan::Limit(limit) => steps.push(limit_step(limit)?),
                LogicalPlan::Filter(filter) => {
                    let predicate = if position < low {
                        conjunction(self.rowwise(node).into_iter().cloned())
                    } else {
                        Some(filter.predicate.clone())
                    };
                    if let Some(predicate) = predicate {
                        let input = self.input(node, position < low)?;
                        steps.push(Step::Filter(self.compile(predicate, &input)?));
                    }
                }
                LogicalPlan::Projection(projection) => {
                    let input = self.input(node, position < low)?;
                    let exprs = projection
                        .expr
                        .iter()
                        .map(|expr| self.compile(expr.clone(), &input))
                        .collect::<Result<Vec<_>>>()?;
                    schema = projected(&exprs, &schema, projection.schema.as_arrow())?;
                    steps.push(Step::Project(exprs, Arc::clone(&schema)));
                }
                other => return Err(refused(other)),
            }
        }
        Ok(steps)
    }

    /// The columns that a node sees, by the names it has for them.
    fn input(&self, node: &LogicalPlan, is_low: bool) -> Result<DFSchema> {
        let schema = node.inputs()[0].schema();
        if !is_low {
            return Ok(schema.as_ref().clone());
        }
        let fields = self.kept.iter().map(|&index| {
            let (qualifier, field) = schema.qualified_field(index);
            (qualifier.cloned(), Arc::clone(field))
        });
        DFSchema::new_with_metadata(fields.collect(), HashMap::new()).map_err(from_datafusion)
    }

    fn compile(&self, expr: Expr, input: &DFSchema) -> Result<Arc<dyn PhysicalExpr>> {
        if has_subquery(&expr)? {
            return Err(Error::unsupported(
                "a tail cannot have a sub-query: its answer would be of one moment; ask for it first, and write what it \
                 answers into the condition",
            ));
        }
        let context = SimplifyContext::builder()
            .with_schema(Arc::new(input.clone()))
            .with_config_options(Arc::clone(self.state.config_options()))
            // now() is when the tail began.
            .with_query_execution_start_time(
                self.state.execution_props().query_execution_start_time,
            )
            .build();
        ExprSimplifier::new(context)
            .simplify(expr)
            .and_then(|expr| self.state.create_physical_expr(expr, input))
            .map_err(from_datafusion)
    }
}

fn has_subquery(expr: &Expr) -> Result<bool> {
    expr.exists(|expr| {
        Ok(matches!(
            expr,
            Expr::ScalarSubquery(_)
                | Expr::Exists(_)
                | Expr::InSubquery(_)
                | Expr::SetComparison(_)
                | Expr::OuterReferenceColumn(..)
        ))
    })
    .map_err(from_datafusion)
}

fn limit_step(limit: &Limit) -> Result<Step> {
    let literal = || Error::unsupported("a tail's LIMIT and OFFSET are numbers");
    let SkipType::Literal(skip) = limit.get_skip_type().map_err(from_datafusion)? else {
        return Err(literal());
    };
    let FetchType::Literal(left) = limit.get_fetch_type().map_err(from_datafusion)? else {
        return Err(literal());
    };
    Ok(Step::Limit { skip, left })
}

/// What `exprs` make of rows of `input`; the names are those of the plan.
fn projected(exprs: &[Arc<dyn PhysicalExpr>], input: &Schema, named: &Schema) -> Result<SchemaRef> {
    let fields = exprs.iter().zip(named.fields()).map(|(expr, field)| {
        let data_type = expr.data_type(input)?;
        Ok(Field::new(field.name(), data_type, true))
    });
    let fields = fields.collect::<DataFusionResult<Vec<_>>>();
    Ok(Arc::new(Schema::new(fields.map_err(from_datafusion)?)))
}
