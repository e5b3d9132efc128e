//! What lies beneath a node: a table, seen through names, columns, predicates and orders.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::catalog::default_table_source::source_as_provider;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, DFSchemaRef};
use datafusion::error::Result;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Expr, LogicalPlan};

/// A scan with nothing above it but what renames, chooses and orders.
pub(super) struct Beneath {
    pub(super) table: Arc<dyn TableProvider>,
    /// Of the scan.
    pub(super) schema: DFSchemaRef,
    /// Each column of the node, as an expression over the scan's.
    pub(super) columns: Vec<Expr>,
    /// All predicates on the way, over the scan's columns.
    pub(super) predicates: Vec<Expr>,
}

impl Beneath {
    /// What `plan` comes down to, if it is nothing more than this.
    pub(super) fn of(plan: &LogicalPlan) -> Result<Option<Self>> {
        Ok(match plan {
            LogicalPlan::TableScan(scan) if scan.fetch.is_none() => {
                let schema = Arc::clone(&scan.projected_schema);
                let columns = (0..schema.fields().len())
                    .map(|index| Expr::Column(Column::from(schema.qualified_field(index))));
                Some(Self {
                    table: source_as_provider(&scan.source)?,
                    columns: columns.collect(),
                    predicates: scan.filters.clone(),
                    schema,
                })
            }
            LogicalPlan::SubqueryAlias(alias) => Self::of(&alias.input)?,
            // Rows of which no number is asked may come in any order.
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => Self::of(&sort.input)?,
            LogicalPlan::Filter(filter) => {
                let Some(mut beneath) = Self::of(&filter.input)? else {
                    return Ok(None);
                };
                for predicate in split_conjunction(&filter.predicate) {
                    let seen = beneath.see(predicate, filter.input.schema())?;
                    beneath.predicates.push(seen);
                }
                Some(beneath)
            }
            LogicalPlan::Projection(projection) => {
                if projection.expr.iter().any(Expr::is_volatile) {
                    return Ok(None);
                }
                let Some(mut beneath) = Self::of(&projection.input)? else {
                    return Ok(None);
                };
                let columns = projection.expr.iter();
                beneath.columns = columns
                    .map(|expr| beneath.see(expr, projection.input.schema()))
                    .collect::<Result<_>>()?;
                Some(beneath)
            }
            _ => None,
        })
    }

    /// `expr` over the node's columns, of which `schema` has the names, as one over the scan's.
    pub(super) fn see(&self, expr: &Expr, schema: &DFSchema) -> Result<Expr> {
        let seen = expr.clone().transform(|inner| {
            Ok(match &inner {
                Expr::Column(column) => match schema.maybe_index_of_column(column) {
                    Some(index) => {
                        Transformed::yes(self.columns[index].clone().unalias_nested().data)
                    }
                    None => Transformed::no(inner),
                },
                _ => Transformed::no(inner),
            })
        })?;
        Ok(seen.data)
    }
}
