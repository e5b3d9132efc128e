//! `points` joined with `streams` on the uuid, as one scan.
//!
//! ```text
//! Join(p.uuid = s.uuid)                           Projection(p.*, s.*)
//!   [SubqueryAlias | Projection | Filter]*          Filter(all of them)
//!     TableScan(points) p                     =>      TableScan(points with the columns of streams)
//!   [SubqueryAlias | Projection | Filter]*
//!     TableScan(streams) s
//! ```
//!
//! Each point has a stream, and each stream has one row, so that nothing is lost or doubled: inner joins, joins that keep
//! all points, and `uuid [NOT] IN (SELECT uuid FROM streams ...)`, which are joins by now. What was a predicate on `streams`
//! chooses the streams to read, and an aggregate above sees one scan beneath.

use std::sync::Arc;

use datafusion::catalog::default_table_source::provider_as_source;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, JoinType, NullEquality, TableReference};
use datafusion::error::Result;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, Join, LogicalPlan, LogicalPlanBuilder, Projection, lit};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

use super::beneath::Beneath;
use crate::query::metadata::StreamsTable;
use crate::query::session::Frame;
use crate::query::table::PointsTable;

/// Takes joins of `points` with `streams` away.
#[derive(Debug)]
pub(in crate::query) struct JoinStreams;

impl OptimizerRule for JoinStreams {
    fn name(&self) -> &str {
        "join_streams"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Join(join) = &plan else {
            return Ok(Transformed::no(plan));
        };
        Ok(match one_scan(join)? {
            Some(scan) => Transformed::yes(scan),
            None => Transformed::no(plan),
        })
    }
}

/// Which side `points` is on.
#[derive(Clone, Copy, PartialEq)]
enum Side {
    Left,
    Right,
}

/// What the join does with a point whose stream the conditions pass over.
enum Kept {
    Matches,
    Others,
}

fn one_scan(join: &Join) -> Result<Option<LogicalPlan>> {
    if join.on.is_empty() || join.null_equality != NullEquality::NullEqualsNothing {
        return Ok(None);
    }
    let (Some(left), Some(right)) = (Beneath::of(&join.left)?, Beneath::of(&join.right)?) else {
        return Ok(None);
    };
    let Some((side, frame)) = sides(&left, &right) else {
        return Ok(None);
    };
    let of_streams = match side {
        Side::Left => &right,
        Side::Right => &left,
    };
    // Conditions of the join, over both sides.
    let mut conditions = Vec::new();
    let mut on_uuid = false;
    for (one, other) in &join.on {
        let one = left.see(one, join.left.schema())?;
        let other = right.see(other, join.right.schema())?;
        if is_uuid(&one) && is_uuid(&other) {
            on_uuid = true;
        } else {
            conditions.push(of_points(&one)?.eq(of_points(&other)?));
        }
    }
    if let Some(filter) = &join.filter {
        let seen = left.see(filter, join.left.schema())?;
        conditions.push(of_points(&right.see(&seen, join.right.schema())?)?);
    }
    for predicate in &of_streams.predicates {
        conditions.push(of_points(predicate)?);
    }
    let kept = match (join.join_type, side) {
        (JoinType::Inner, _)
        | (JoinType::LeftSemi, Side::Left)
        | (JoinType::RightSemi, Side::Right) => Kept::Matches,
        (JoinType::LeftAnti, Side::Left) | (JoinType::RightAnti, Side::Right) => Kept::Others,
        // Every point has its stream, so nothing is ever filled with NULL.
        (JoinType::Left, Side::Left) | (JoinType::Right, Side::Right) if conditions.is_empty() => {
            Kept::Matches
        }
        _ => return Ok(None),
    };
    if !on_uuid {
        return Ok(None);
    }
    let mut predicates = match kept {
        Kept::Matches => conditions,
        Kept::Others => {
            let matched = conjunction(conditions).unwrap_or(lit(true));
            vec![matched.is_not_true()]
        }
    };
    let points = match side {
        Side::Left => &left,
        Side::Right => &right,
    };
    for predicate in &points.predicates {
        predicates.push(of_points(predicate)?);
    }
    let outputs = match join.join_type {
        JoinType::LeftSemi | JoinType::LeftAnti => left.columns,
        JoinType::RightSemi | JoinType::RightAnti => right.columns,
        _ => left.columns.into_iter().chain(right.columns).collect(),
    };
    let outputs = outputs
        .iter()
        .zip(join.schema.iter())
        .map(|(expr, (qualifier, field))| {
            Ok(of_points(expr)?.alias_qualified(qualifier.cloned(), field.name()))
        })
        .collect::<Result<Vec<_>>>()?;
    let source = provider_as_source(Arc::new(PointsTable::joined(frame)));
    let mut scan = LogicalPlanBuilder::scan(relation(), source, None)?;
    if let Some(predicate) = conjunction(predicates) {
        scan = scan.filter(predicate)?;
    }
    let input = Arc::new(scan.build()?);
    let projection = Projection::try_new_with_schema(outputs, input, Arc::clone(&join.schema))?;
    Ok(Some(LogicalPlan::Projection(projection)))
}

/// Where `points` is, if the other side is `streams` in the same state.
fn sides(left: &Beneath, right: &Beneath) -> Option<(Side, Arc<Frame>)> {
    let (side, points, streams) = match left.table.downcast_ref::<PointsTable>() {
        Some(points) => (
            Side::Left,
            points,
            right.table.downcast_ref::<StreamsTable>()?,
        ),
        None => (
            Side::Right,
            right.table.downcast_ref::<PointsTable>()?,
            left.table.downcast_ref::<StreamsTable>()?,
        ),
    };
    (Arc::ptr_eq(&points.frame, &streams.frame) && points.frame.pushdown)
        .then(|| (side, Arc::clone(&points.frame)))
}

fn is_uuid(expr: &Expr) -> bool {
    matches!(expr, Expr::Column(column) if column.name == "uuid")
}

fn relation() -> TableReference {
    TableReference::bare("points")
}

/// The expression over the one scan: what both sides have, they have in common, by the same names.
fn of_points(expr: &Expr) -> Result<Expr> {
    let moved = expr.clone().transform(|inner| {
        Ok(match inner {
            Expr::Column(column) => {
                Transformed::yes(Expr::Column(Column::new(Some(relation()), column.name)))
            }
            other => Transformed::no(other),
        })
    })?;
    Ok(moved.data)
}
