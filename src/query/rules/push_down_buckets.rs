//! Aggregates over time, answered from statistics.
use datafusion::common::tree_node::Transformed;
use datafusion::error::Result;
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

/// Turns aggregates of points into reads of statistics.
#[derive(Debug)]
pub(in crate::query) struct PushDownBuckets;

impl OptimizerRule for PushDownBuckets {
    fn name(&self) -> &str {
        "push_down_buckets"
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        Ok(Transformed::no(plan))
    }
}
