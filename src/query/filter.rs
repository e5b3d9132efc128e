//! Predicates on time, read as sets of nanoseconds.
//!
//! ```text
//! time >= '2024-01-01' AND time < '2024-01-02' AND NOT (time = ...)   =>   [a, b) and [b + 1, c)
//! ```
//!
//! Pure, and certain or silent: an expression that is not understood to the last nanosecond is `None`, and stays with
//! DataFusion.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};

use super::grid::grid;
use super::time_set::{TimeSet, first_start};
use crate::model::{Cuts, TimeRange};

const NANOS_PER_DAY: i64 = 86_400_000_000_000;

/// The times for which `predicate` is true, if that can be told exactly; `is_time` knows the column, which has no nulls.
pub(super) fn time_set(predicate: &Expr, is_time: &dyn Fn(&Expr) -> bool) -> Option<TimeSet> {
    truth(predicate, false, is_time)
}

/// The times that satisfy all of `predicates`; `None` if one of them is not understood.
pub(super) fn time_set_of_all<'a>(
    predicates: impl IntoIterator<Item = &'a Expr>,
    is_time: &dyn Fn(&Expr) -> bool,
) -> Option<TimeSet> {
    predicates
        .into_iter()
        .try_fold(TimeSet::all(), |set, predicate| {
            Some(set.intersect(&time_set(predicate, is_time)?))
        })
}

/// Where `expr`, or its negation, is true. Unknown (a comparison with NULL) is neither, whichever way it is turned, so that
/// De Morgan holds and NOT can travel down to the comparisons.
fn truth(expr: &Expr, negated: bool, is_time: &dyn Fn(&Expr) -> bool) -> Option<TimeSet> {
    match expr {
        Expr::Alias(alias) => truth(&alias.expr, negated, is_time),
        Expr::Not(inner) => truth(inner, !negated, is_time),
        Expr::Literal(ScalarValue::Boolean(value), _) => Some(match value {
            Some(value) if *value != negated => TimeSet::all(),
            _ => TimeSet::none(),
        }),
        Expr::Literal(value, _) if value.is_null() => Some(TimeSet::none()),
        Expr::BinaryExpr(binary) => match binary.op {
            Operator::And | Operator::Or => {
                let left = truth(&binary.left, negated, is_time)?;
                let right = truth(&binary.right, negated, is_time)?;
                Some(if (binary.op == Operator::And) != negated {
                    left.intersect(&right)
                } else {
                    left.union(&right)
                })
            }
            _ => comparison(binary, negated, is_time),
        },
        Expr::Between(between) => {
            let time = Stair::of(&between.expr, is_time)?;
            let low = time.compare(Operator::GtEq, &between.low)?;
            let high = time.compare(Operator::LtEq, &between.high)?;
            if between.negated == negated {
                Some(low.holds().intersect(&high.holds()))
            } else {
                Some(low.fails().union(&high.fails()))
            }
        }
        Expr::InList(list) => {
            let time = Stair::of(&list.expr, is_time)?;
            let mut equal = Vec::with_capacity(list.list.len());
            let mut unknown = false;
            for item in &list.list {
                match time.compare(Operator::Eq, item)? {
                    Outcome::Known(set) => equal.push(set),
                    Outcome::Unknown => unknown = true,
                }
            }
            let equal = TimeSet::union_of(equal);
            Some(match list.negated != negated {
                false => equal,
                true if unknown => TimeSet::none(),
                true => equal.complement(),
            })
        }
        Expr::IsNotNull(inner) if is_time(inner) => Some(if negated {
            TimeSet::none()
        } else {
            TimeSet::all()
        }),
        Expr::IsNull(inner) if is_time(inner) => Some(if negated {
            TimeSet::all()
        } else {
            TimeSet::none()
        }),
        _ => None,
    }
}

fn comparison(
    binary: &BinaryExpr,
    negated: bool,
    is_time: &dyn Fn(&Expr) -> bool,
) -> Option<TimeSet> {
    let outcome = if let Some(time) = Stair::of(&binary.left, is_time) {
        time.compare(binary.op, &binary.right)?
    } else {
        Stair::of(&binary.right, is_time)?.compare(binary.op.swap()?, &binary.left)?
    };
    Some(if negated {
        outcome.fails()
    } else {
        outcome.holds()
    })
}

/// Where a comparison is true; with NULL it is neither true nor false.
enum Outcome {
    Known(TimeSet),
    Unknown,
}

impl Outcome {
    fn holds(&self) -> TimeSet {
        match self {
            Self::Known(set) => set.clone(),
            Self::Unknown => TimeSet::none(),
        }
    }

    fn fails(&self) -> TimeSet {
        match self {
            Self::Known(set) => set.complement(),
            Self::Unknown => TimeSet::none(),
        }
    }
}

/// A non-decreasing function of time: time itself, the start of its bin, or a cast of either to another type.
struct Stair {
    /// The bins, if time goes into some.
    bins: Option<Cuts>,
    /// The type compared in.
    data_type: DataType,
    /// Nanoseconds per step.
    step: i64,
    /// How a time that is no whole number of steps is cut to one.
    rounding: Rounding,
}

#[derive(Clone, Copy, PartialEq)]
enum Rounding {
    /// Towards the past: dates.
    Floor,
    /// Towards 1970: Arrow's casts between units divide, and so do we.
    TowardsZero,
}

impl Stair {
    /// `expr` as such a function, if it is one that is known.
    fn of(expr: &Expr, is_time: &dyn Fn(&Expr) -> bool) -> Option<Self> {
        let plain = |bins| Self {
            bins,
            data_type: DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())),
            step: 1,
            rounding: Rounding::Floor,
        };
        if is_time(expr) {
            return Some(plain(None));
        }
        match expr {
            Expr::Alias(alias) => Self::of(&alias.expr, is_time),
            Expr::ScalarFunction(call) => Some(plain(Some(grid(call, is_time, TimeRange::ALL)?))),
            Expr::Cast(cast) => {
                let inner = Self::of(&cast.expr, is_time)?;
                // A cast of a cast is left alone: what the first cannot hold would be an error, and no time.
                if inner.step != 1 || !matches!(inner.data_type, DataType::Timestamp(..)) {
                    return None;
                }
                let data_type = cast.field.data_type().clone();
                let (step, rounding) = match &data_type {
                    DataType::Timestamp(unit, _) => (nanos_per(*unit), Rounding::TowardsZero),
                    DataType::Int64 => (1, Rounding::Floor),
                    DataType::Date32 => (NANOS_PER_DAY, Rounding::Floor),
                    _ => return None,
                };
                Some(Self {
                    bins: inner.bins,
                    data_type,
                    step,
                    rounding,
                })
            }
            _ => None,
        }
    }

    /// Compares with a constant of the same type.
    fn compare(&self, operator: Operator, constant: &Expr) -> Option<Outcome> {
        let Expr::Literal(value, _) = constant else {
            return None;
        };
        if value.is_null() {
            return is_comparison(operator).then_some(Outcome::Unknown);
        }
        let (reached, passed) = self.thresholds(self.constant(value)?);
        let (min, max) = (i64::MIN.into(), i64::MAX.into());
        Some(Outcome::Known(match operator {
            Operator::Eq => TimeSet::between(reached, passed - 1),
            Operator::NotEq => TimeSet::between(reached, passed - 1).complement(),
            Operator::Lt => TimeSet::between(min, reached - 1),
            Operator::LtEq => TimeSet::between(min, passed - 1),
            Operator::Gt => TimeSet::between(passed, max),
            Operator::GtEq => TimeSet::between(reached, max),
            _ => return None,
        }))
    }

    /// The constant in steps, if it has the type that the comparison is made in.
    fn constant(&self, value: &ScalarValue) -> Option<i64> {
        match (&self.data_type, value) {
            (
                DataType::Timestamp(TimeUnit::Nanosecond, _),
                ScalarValue::TimestampNanosecond(value, _),
            )
            | (
                DataType::Timestamp(TimeUnit::Microsecond, _),
                ScalarValue::TimestampMicrosecond(value, _),
            )
            | (
                DataType::Timestamp(TimeUnit::Millisecond, _),
                ScalarValue::TimestampMillisecond(value, _),
            )
            | (DataType::Timestamp(TimeUnit::Second, _), ScalarValue::TimestampSecond(value, _)) => {
                *value
            }
            (DataType::Int64, ScalarValue::Int64(value)) => *value,
            (DataType::Date32, ScalarValue::Date32(value)) => value.map(i64::from),
            _ => None,
        }
    }

    /// The first time at which the function has reached `step`, and the first at which it has passed it.
    fn thresholds(&self, step: i64) -> (i128, i128) {
        let (first, last) = self.preimage(step);
        match &self.bins {
            None => (first, last + 1),
            Some(bins) => (first_start(bins, first), first_start(bins, last + 1)),
        }
    }

    /// The first and the last nanosecond that stand on this step, on an endless axis.
    fn preimage(&self, step: i64) -> (i128, i128) {
        let (width, step) = (i128::from(self.step), i128::from(step));
        match self.rounding {
            Rounding::TowardsZero if step < 0 => (step * width - (width - 1), step * width),
            Rounding::TowardsZero if step == 0 => (-(width - 1), width - 1),
            _ => (step * width, step * width + width - 1),
        }
    }
}

/// Whether the operator orders two values, and answers NULL for a NULL.
pub(super) fn is_comparison(operator: Operator) -> bool {
    matches!(
        operator,
        Operator::Eq
            | Operator::NotEq
            | Operator::Lt
            | Operator::LtEq
            | Operator::Gt
            | Operator::GtEq
    )
}

fn nanos_per(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1_000_000_000,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray};
    use arrow::compute::cast;
    use datafusion::logical_expr::{cast as cast_to, col, lit};

    use super::*;
    use crate::model::time::MAX_TIME;

    fn is_time(expr: &Expr) -> bool {
        matches!(expr, Expr::Column(column) if column.name == "time")
    }

    fn ns(time: i64) -> Expr {
        lit(ScalarValue::TimestampNanosecond(
            Some(time),
            Some("UTC".into()),
        ))
    }

    fn null() -> Expr {
        lit(ScalarValue::TimestampNanosecond(None, Some("UTC".into())))
    }

    fn set(expr: &Expr) -> Option<TimeSet> {
        time_set(expr, &is_time)
    }

    fn intervals(expr: &Expr) -> Vec<(i64, i64)> {
        set(expr).expect("understood").intervals().to_vec()
    }

    #[test]
    fn comparisons_are_intervals_either_way_round() {
        let time = || col("time");
        let cases = [
            (time().lt(ns(5)), vec![(i64::MIN, 4)]),
            (time().lt_eq(ns(5)), vec![(i64::MIN, 5)]),
            (time().gt(ns(5)), vec![(6, i64::MAX)]),
            (time().gt_eq(ns(5)), vec![(5, i64::MAX)]),
            (time().eq(ns(5)), vec![(5, 5)]),
            (time().not_eq(ns(5)), vec![(i64::MIN, 4), (6, i64::MAX)]),
            (ns(5).lt(time()), vec![(6, i64::MAX)]),
            (ns(5).gt_eq(time()), vec![(i64::MIN, 5)]),
            (time().between(ns(3), ns(5)), vec![(3, 5)]),
            (
                time().not_between(ns(3), ns(5)),
                vec![(i64::MIN, 2), (6, i64::MAX)],
            ),
            (
                time().in_list(vec![ns(1), ns(2), ns(9)], false),
                vec![(1, 2), (9, 9)],
            ),
            (
                time().in_list(vec![ns(1), ns(2)], true),
                vec![(i64::MIN, 0), (3, i64::MAX)],
            ),
        ];
        for (expr, expected) in cases {
            assert_eq!(intervals(&expr), expected, "{expr}");
        }
    }

    #[test]
    fn contradictions_are_empty_and_unions_stay_apart() {
        let time = || col("time");
        assert_eq!(intervals(&time().gt(ns(5)).and(time().lt(ns(5)))), []);
        assert_eq!(
            intervals(&time().lt(ns(0)).or(time().between(ns(10), ns(20)))),
            [(i64::MIN, -1), (10, 20)]
        );
        assert_eq!(
            intervals(&time().lt(ns(10)).or(time().gt_eq(ns(10)))),
            [(i64::MIN, i64::MAX)]
        );
    }

    #[test]
    fn the_ends_of_the_type_do_not_wrap() {
        let time = || col("time");
        assert_eq!(intervals(&time().gt(ns(i64::MAX))), []);
        assert_eq!(intervals(&time().lt(ns(i64::MIN))), []);
        assert_eq!(
            set(&time().lt_eq(ns(i64::MAX))).expect("known").ranges(),
            [TimeRange::ALL]
        );
        assert_eq!(
            set(&time().gt_eq(ns(MAX_TIME))).expect("known").ranges(),
            []
        );
    }

    #[test]
    fn unknown_is_neither_true_nor_false() {
        let time = || col("time");
        for expr in [
            time().lt(null()),
            Expr::Not(Box::new(time().lt(null()))),
            time().between(null(), ns(5)),
            time().in_list(vec![ns(1), null()], true),
            Expr::Not(Box::new(time().lt(null()).and(time().gt_eq(ns(i64::MIN))))),
        ] {
            assert_eq!(intervals(&expr), [], "{expr}");
        }
        // NOT (NULL <= time <= 5) is true where the second half alone is false.
        assert_eq!(
            intervals(&time().not_between(null(), ns(5))),
            [(6, i64::MAX)]
        );
        assert_eq!(
            intervals(&time().in_list(vec![ns(1), null()], false)),
            [(1, 1)]
        );
    }

    #[test]
    fn what_is_not_certain_is_left_alone() {
        let time = || col("time");
        for expr in [
            time().lt(col("other")),
            col("value").lt(lit(1.0)),
            time().lt(ns(5)).and(col("value").gt(lit(0.0))),
            cast_to(time(), DataType::Utf8).eq(lit("x")),
            time().lt(lit(5_i64)),
            cast_to(
                cast_to(time(), DataType::Date32),
                DataType::Timestamp(TimeUnit::Second, None),
            )
            .lt(lit(ScalarValue::TimestampSecond(Some(0), None))),
        ] {
            assert_eq!(set(&expr), None, "{expr}");
        }
    }

    /// Each claim about a cast is compared with Arrow's own cast, around steps and on both sides of 1970.
    #[test]
    fn casts_agree_with_arrow() {
        let day = NANOS_PER_DAY;
        let mut times = Vec::new();
        for step in [1, 1_000, 1_000_000, 1_000_000_000, day] {
            for around in [-2 * step, -step, 0, step, 2 * step] {
                times.extend((-2..=2).map(|offset| around + offset));
            }
        }
        let array =
            arrow::array::TimestampNanosecondArray::from(times.clone()).with_timezone("UTC");
        let types = [
            (DataType::Date32, day),
            (DataType::Int64, 1),
            (DataType::Timestamp(TimeUnit::Nanosecond, None), 1),
            (DataType::Timestamp(TimeUnit::Microsecond, None), 1_000),
            (
                DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
                1_000_000,
            ),
            (DataType::Timestamp(TimeUnit::Second, None), 1_000_000_000),
        ];
        for (data_type, _) in types {
            let stairs = cast(&array, &data_type).expect("castable");
            let numbers: Vec<i64> = match &data_type {
                DataType::Date32 => stairs
                    .as_primitive::<arrow::datatypes::Date32Type>()
                    .values()
                    .iter()
                    .map(|&day| i64::from(day))
                    .collect(),
                _ => cast(&stairs, &DataType::Int64)
                    .expect("castable")
                    .as_primitive::<arrow::datatypes::Int64Type>()
                    .values()
                    .to_vec(),
            };
            for row in 0..stairs.len() {
                let constant = ScalarValue::try_from_array(&stairs, row).expect("scalar");
                let expr = cast_to(col("time"), data_type.clone()).lt_eq(lit(constant));
                let claimed = set(&expr).expect("understood");
                for (time, &step) in times.iter().zip(&numbers) {
                    let truth = step <= numbers[row];
                    let one = TimeSet::between((*time).into(), (*time).into());
                    assert_eq!(claimed.intersect(&one) == one, truth, "{expr} at {time}");
                }
            }
        }
    }

    #[test]
    fn windows_are_chosen_by_their_start() {
        let windows = |expr: &Expr, origin, width| {
            let starts = set(expr).expect("understood");
            starts.windows(&Cuts::Every { origin, width }).ranges()
        };
        let time = || col("time");
        let from = time().gt_eq(ns(11)).and(time().lt(ns(30)));
        assert_eq!(
            windows(&from, 0, 10),
            [TimeRange::new(20, 30)],
            "the window at 10 starts too early, the one at 30 too late"
        );
        assert_eq!(
            windows(&time().between(ns(10), ns(30)), 0, 10),
            [TimeRange::new(10, 40)]
        );
        let between = time().between(ns(11), ns(19));
        assert_eq!(windows(&between, 0, 10), []);
        assert_eq!(windows(&between, 5, 10), [TimeRange::new(15, 25)]);
        assert_eq!(windows(&lit(false), 0, 10), []);
        assert_eq!(
            windows(&time().eq(ns(10)).or(time().eq(ns(30))), 0, 10),
            [TimeRange::new(10, 20), TimeRange::new(30, 40)]
        );
        for (origin, width) in [(0, 1), (7, 1 << 40), (0, 1 << 63)] {
            assert_eq!(windows(&lit(true), origin, width), [TimeRange::ALL]);
        }
    }

    #[test]
    fn bins_are_stairs() {
        use datafusion::functions::datetime::date_trunc;
        let minute = 60_000_000_000;
        let trunc = || {
            Expr::ScalarFunction(datafusion::logical_expr::expr::ScalarFunction::new_udf(
                date_trunc(),
                vec![lit("minute"), col("time")],
            ))
        };
        assert_eq!(intervals(&trunc().gt(ns(5))), [(minute, i64::MAX)]);
        assert_eq!(intervals(&trunc().gt_eq(ns(0))), [(0, i64::MAX)]);
        assert_eq!(
            intervals(&trunc().eq(ns(minute))),
            [(minute, 2 * minute - 1)]
        );
        assert_eq!(intervals(&trunc().eq(ns(5))), [], "no minute starts there");
        assert_eq!(intervals(&trunc().lt_eq(ns(-1))), [(i64::MIN, -1)]);
    }
}
