//! The rules over one plan, as few as it takes.
//!
//! Once an aggregate has become a scan of statistics there is little left to improve, and DataFusion's rules, all of them and
//! twice, would cost more than the answer. So our own rules run first, and where they leave nothing but such scans and what
//! arranges their rows, a handful of the others is enough.

use std::sync::Arc;

use datafusion::catalog::default_table_source::source_as_provider;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::eliminate_filter::EliminateFilter;
use datafusion::optimizer::eliminate_limit::EliminateLimit;
use datafusion::optimizer::optimize_projections::OptimizeProjections;
use datafusion::optimizer::propagate_empty_relation::PropagateEmptyRelation;
use datafusion::optimizer::push_down_filter::PushDownFilter;
use datafusion::optimizer::push_down_limit::PushDownLimit;
use datafusion::optimizer::simplify_expressions::SimplifyExpressions;
use datafusion::optimizer::{Optimizer, OptimizerConfig, OptimizerContext};

use super::buckets::BucketsTable;
use super::rules;

/// Optimizers that are made once.
#[derive(Debug)]
pub(super) struct Optimizers {
    ours: Optimizer,
    few: Optimizer,
}

impl Default for Optimizers {
    fn default() -> Self {
        Self {
            ours: Optimizer::with_rules(rules::first()),
            few: Optimizer::with_rules(vec![
                Arc::new(SimplifyExpressions::new()),
                Arc::new(EliminateFilter::new()),
                Arc::new(EliminateLimit::new()),
                Arc::new(PropagateEmptyRelation::new()),
                Arc::new(PushDownLimit::new()),
                Arc::new(PushDownFilter::new()),
                Arc::new(OptimizeProjections::new()),
            ]),
        }
    }
}

impl Optimizers {
    /// A plan whose types are settled, as the rules leave it.
    pub(super) fn optimize(&self, state: &SessionState, plan: &LogicalPlan) -> Result<LogicalPlan> {
        let options = OptimizerConfig::options(state);
        let once = OptimizerContext::new_with_config_options(options).with_max_passes(1);
        let once = match state.execution_props().query_execution_start_time {
            Some(start) => once.with_query_execution_start_time(start),
            None => once,
        };
        let plan = self.ours.optimize(plan.clone(), &once, |_, _| {})?;
        if is_settled(&plan)? {
            return self.few.optimize(plan, &once, |_, _| {});
        }
        state.optimizer().optimize(plan, state, |_, _| {})
    }
}

/// Whether nothing is left but scans of statistics, and what chooses, computes, orders and counts off their rows.
fn is_settled(plan: &LogicalPlan) -> Result<bool> {
    let mut settled = true;
    plan.apply(|node| {
        settled &= match node {
            LogicalPlan::TableScan(scan) => source_as_provider(&scan.source)?
                .downcast_ref::<BucketsTable>()
                .is_some(),
            LogicalPlan::Projection(_)
            | LogicalPlan::Filter(_)
            | LogicalPlan::Sort(_)
            | LogicalPlan::Limit(_)
            | LogicalPlan::SubqueryAlias(_) => !has_subquery(node)?,
            _ => false,
        };
        Ok(if settled {
            TreeNodeRecursion::Continue
        } else {
            TreeNodeRecursion::Stop
        })
    })?;
    Ok(settled)
}

fn has_subquery(node: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    node.apply_expressions(|expr| {
        expr.apply(|inner| {
            found |= matches!(
                inner,
                Expr::ScalarSubquery(_)
                    | Expr::Exists(_)
                    | Expr::InSubquery(_)
                    | Expr::SetComparison(_)
            );
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    Ok(found)
}
