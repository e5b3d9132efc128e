//! Streams that points are asked to belong to, each once.
//!
//! ```text
//! LeftSemi(p.uuid = q.uuid)                    LeftSemi(p.uuid = q.uuid)
//!   ... p                                        ... p
//!   Projection(q.uuid)                   =>      Aggregate(groupBy q.uuid)
//!     Filter(q.value > x)                          Projection(q.uuid) ...
//!       TableScan(points) q
//! ```
//!
//! `uuid IN (SELECT uuid FROM points ...)` compares each point with as many equal keys as its stream has points, which for
//! millions of them does not end.

use std::sync::Arc;

use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, JoinType};
use datafusion::error::Result;
use datafusion::logical_expr::{Aggregate, Expr, Join, LogicalPlan};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

use super::beneath::Beneath;
use crate::query::selection::is_about_streams;
use crate::query::table::PointsTable;

/// Takes repeated streams out of what semi and anti joins compare with.
#[derive(Debug)]
pub(in crate::query) struct DistinctKeys;

impl OptimizerRule for DistinctKeys {
    fn name(&self) -> &str {
        "distinct_keys"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Join(join) = plan else {
            return Ok(Transformed::no(plan));
        };
        let (left, right) = match join.join_type {
            JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => {
                (None, distinct(&join.right)?)
            }
            JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => {
                (distinct(&join.left)?, None)
            }
            _ => (None, None),
        };
        let changed = left.is_some() || right.is_some();
        let join = Join {
            left: left.unwrap_or_else(|| Arc::clone(&join.left)),
            right: right.unwrap_or_else(|| Arc::clone(&join.right)),
            ..join
        };
        Ok(Transformed::new_transformed(
            LogicalPlan::Join(join),
            changed,
        ))
    }
}

/// The plan without repeated rows, if its columns are about streams and its rows are points.
fn distinct(plan: &Arc<LogicalPlan>) -> Result<Option<Arc<LogicalPlan>>> {
    let Some(beneath) = Beneath::of(plan)? else {
        return Ok(None);
    };
    let of_points = beneath.table.downcast_ref::<PointsTable>().is_some();
    if !of_points || !beneath.columns.iter().all(is_about_streams) {
        return Ok(None);
    }
    let schema = plan.schema();
    let keys = (0..schema.fields().len())
        .map(|index| Expr::Column(Column::from(schema.qualified_field(index))));
    let aggregate = Aggregate::try_new(Arc::clone(plan), keys.collect(), Vec::new())?;
    Ok(Some(Arc::new(LogicalPlan::Aggregate(aggregate))))
}
