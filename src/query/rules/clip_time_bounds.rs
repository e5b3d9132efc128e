//! Bounds outside of what 64 bits of nanoseconds can tell, clipped instead of refused.
//!
//! ```text
//! time >= CAST('1600-01-01' AS TIMESTAMP)        time >= the first nanosecond there is
//! time <  CAST(DATE '9999-12-31' AS TIMESTAMP)   =>   time <  the last
//! ```
//!
//! Only bounds that something in a table is compared with: such a time lies far beyond every point, so that the comparison
//! comes out as it would on an endless axis. A time that is delivered stays the error it is.
//!
//! On the same way through the plan, times without seconds get them ([`with_seconds`]).

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Between, BinaryExpr, Expr, LogicalPlan};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

use super::short_times::with_seconds;
use crate::query::filter::is_comparison;

/// Clips bounds of times. Works with push-down off too: it is about what is allowed, not about what is fast.
#[derive(Debug)]
pub(in crate::query) struct ClipTimeBounds;

impl OptimizerRule for ClipTimeBounds {
    fn name(&self) -> &str {
        "clip_time_bounds"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        // Columns keep their names, whatever they are made of now.
        let names = NamePreserver::new(&plan);
        plan.map_expressions(|expr| {
            let name = names.save(&expr);
            let clipped = expr.transform_up(|inner| Ok(clipped(inner)))?;
            Ok(clipped.update_data(|expr| name.restore(expr)))
        })
    }
}

/// A predicate with its bounds clipped.
pub(in crate::query) fn clip(predicate: Expr) -> Result<Expr> {
    let clipped = predicate.transform_up(|inner| Ok(clipped(inner)))?;
    Ok(clipped.data)
}

fn clipped(expr: Expr) -> Transformed<Expr> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if is_comparison(op) => {
            let (new_left, new_right) = (
                clipped_bound(&left).filter(|_| varies(&right)),
                clipped_bound(&right).filter(|_| varies(&left)),
            );
            let changed = new_left.is_some() || new_right.is_some();
            let expr = Expr::BinaryExpr(BinaryExpr {
                left: new_left.map_or(left, Box::new),
                op,
                right: new_right.map_or(right, Box::new),
            });
            Transformed::new_transformed(expr, changed)
        }
        Expr::Between(between) if varies(&between.expr) => {
            let (low, high) = (clipped_bound(&between.low), clipped_bound(&between.high));
            let changed = low.is_some() || high.is_some();
            let expr = Expr::Between(Between {
                low: low.map_or(between.low, Box::new),
                high: high.map_or(between.high, Box::new),
                ..between
            });
            Transformed::new_transformed(expr, changed)
        }
        Expr::InList(mut list) if varies(&list.expr) => {
            let mut changed = false;
            for item in &mut list.list {
                if let Some(clipped) = clipped_bound(item) {
                    *item = clipped;
                    changed = true;
                }
            }
            Transformed::new_transformed(Expr::InList(list), changed)
        }
        other => with_seconds(other),
    }
}

fn varies(expr: &Expr) -> bool {
    expr.any_column_refs()
}

/// The end of time instead of a bound that lies beyond it.
fn clipped_bound(bound: &Expr) -> Option<Expr> {
    let Expr::Cast(cast) = bound else {
        return None;
    };
    let DataType::Timestamp(TimeUnit::Nanosecond, zone) = cast.field.data_type() else {
        return None;
    };
    let value = constant(&cast.expr)?;
    if value.is_null() || value.cast_to(cast.field.data_type()).is_ok() {
        return None;
    }
    let seconds = DataType::Timestamp(TimeUnit::Second, zone.clone());
    let ScalarValue::TimestampSecond(Some(seconds), _) = value.cast_to(&seconds).ok()? else {
        return None;
    };
    let end = if seconds < 0 { i64::MIN } else { i64::MAX };
    let clipped = ScalarValue::TimestampNanosecond(Some(end), zone.clone());
    Some(Expr::Literal(clipped, None))
}

/// A constant, or casts of one.
fn constant(expr: &Expr) -> Option<ScalarValue> {
    match expr {
        Expr::Literal(value, _) => Some(value.clone()),
        Expr::Cast(cast) => constant(&cast.expr)?.cast_to(cast.field.data_type()).ok(),
        Expr::Alias(alias) => constant(&alias.expr),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::{cast, col, lit};

    use super::*;

    fn ns() -> DataType {
        DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()))
    }

    fn end(of: i64) -> Expr {
        Expr::Literal(
            ScalarValue::TimestampNanosecond(Some(of), Some("UTC".into())),
            None,
        )
    }

    #[test]
    fn bounds_beyond_time_are_its_ends() {
        let early = col("time").gt_eq(cast(lit("1600-01-01"), ns()));
        assert_eq!(clipped(early).data, col("time").gt_eq(end(i64::MIN)));
        let date = cast(lit("9999-12-31"), DataType::Date32);
        let late = cast(date, ns()).gt(col("time"));
        assert_eq!(clipped(late).data, end(i64::MAX).gt(col("time")));
    }

    #[test]
    fn what_is_inside_or_compared_with_nothing_stays() {
        let inside = col("time").gt_eq(cast(lit("2024-01-01"), ns()));
        assert!(!clipped(inside).transformed);
        let constants = lit(1).lt(cast(lit("1600-01-01"), ns()));
        assert!(!clipped(constants).transformed);
        let nonsense = col("time").lt(cast(lit("yesterday"), ns()));
        assert!(!clipped(nonsense).transformed);
    }
}
