//! Joins that give their thread back now and then, and end when they are told to.
//!
//! A scan yields after so many batches, and so does whatever waits for it. A join makes many batches of one that it was given,
//! and what lies above takes them without a pause: for minutes, if the other side is large. Nobody else has the thread until
//! then, and a statement that was cancelled goes on. So what joins make counts as well. And a join that makes nothing, because no
//! pair passes its filter, asks with each evaluation of the filter whether it is still wanted.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{
    CrossJoinExec, HashJoinExec, HashJoinExecBuilder, NestedLoopJoinExec,
    NestedLoopJoinExecBuilder, SortMergeJoinExec, SymmetricHashJoinExec,
};

use super::interrupt::{Interrupt, Interruptible};

/// `plan`, with a pause behind each of its joins, whose filters `interrupt` ends.
pub(super) fn yielding(
    plan: Arc<dyn ExecutionPlan>,
    interrupt: &Interrupt,
) -> Result<Arc<dyn ExecutionPlan>> {
    let paused = plan.transform_up(|node| {
        if !is_join(node.as_ref()) {
            return Ok(Transformed::no(node));
        }
        let join = interruptible(node, interrupt)?;
        Ok(Transformed::yes(
            Arc::new(CooperativeExec::new(join)) as Arc<dyn ExecutionPlan>
        ))
    });
    paused.map(|plan| plan.data)
}

fn is_join(node: &dyn ExecutionPlan) -> bool {
    node.is::<CrossJoinExec>()
        || node.is::<HashJoinExec>()
        || node.is::<NestedLoopJoinExec>()
        || node.is::<SortMergeJoinExec>()
        || node.is::<SymmetricHashJoinExec>()
}

/// The join with a filter that fails when it is interrupted, if it has one and is of a kind that may find nothing for long.
fn interruptible(
    join: Arc<dyn ExecutionPlan>,
    interrupt: &Interrupt,
) -> Result<Arc<dyn ExecutionPlan>> {
    if let Some(nested) = join.downcast_ref::<NestedLoopJoinExec>()
        && let Some(filter) = nested.filter()
    {
        let nested = NestedLoopJoinExecBuilder::from(nested);
        let nested = nested.with_filter(Some(asking(filter, interrupt)));
        return Ok(Arc::new(nested.build()?));
    }
    if let Some(hashed) = join.downcast_ref::<HashJoinExec>()
        && let Some(filter) = hashed.filter()
    {
        let hashed = HashJoinExecBuilder::from(hashed);
        return hashed
            .with_filter(Some(asking(filter, interrupt)))
            .build_exec();
    }
    Ok(join)
}

fn asking(filter: &JoinFilter, interrupt: &Interrupt) -> JoinFilter {
    JoinFilter::new(
        Arc::new(Interruptible::new(
            Arc::clone(filter.expression()),
            interrupt,
        )),
        filter.column_indices().to_vec(),
        Arc::clone(filter.schema()),
    )
}
