//! The windows that a call of `date_bin` or `date_trunc` sorts times into.

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime};
use datafusion::common::ScalarValue;
use datafusion::functions::datetime::{date_bin, date_trunc};
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::expr::ScalarFunction;

use super::constants::nanos_of;
use super::selection::text_of;
use crate::model::{Cuts, TimeRange};

const SECOND: u64 = 1_000_000_000;
/// Nanoseconds of a day.
pub(super) const DAY: i64 = 86_400 * SECOND as i64;
/// 1970-01-05, the first Monday: weeks begin on Mondays.
const FIRST_MONDAY: i64 = 4 * DAY;

/// The windows of `call` over the times of `range`, if it names every time's window by its start; `is_time` knows the column.
pub(super) fn grid(
    call: &ScalarFunction,
    is_time: &dyn Fn(&Expr) -> bool,
    range: TimeRange,
) -> Option<Cuts> {
    let cuts = if call.func == date_bin() {
        bins(&call.args, is_time, range)?
    } else if call.func == date_trunc() {
        units(&call.args, is_time, range)?
    } else {
        return None;
    };
    cuts.check(range).is_ok().then_some(cuts)
}

/// `date_bin(width, time [, origin])`. Where the function would overflow it answers NULL, which names no window.
fn bins(args: &[Expr], is_time: &dyn Fn(&Expr) -> bool, range: TimeRange) -> Option<Cuts> {
    let (width, time, origin) = match args {
        [width, time] => (width, time, 0),
        [
            width,
            time,
            Expr::Literal(ScalarValue::TimestampNanosecond(Some(origin), _), _),
        ] => (width, time, *origin),
        _ => return None,
    };
    let Expr::Literal(width, _) = width else {
        return None;
    };
    if !is_time(time) {
        return None;
    }
    match width {
        ScalarValue::IntervalYearMonth(Some(months)) => return months_from(*months, origin, range),
        ScalarValue::IntervalMonthDayNano(Some(span)) if span.months != 0 => {
            let whole = span.days == 0 && span.nanoseconds == 0;
            return whole
                .then(|| months_from(span.months, origin, range))
                .flatten();
        }
        ScalarValue::IntervalMonthDayNano(_) | ScalarValue::IntervalDayTime(_) => {}
        _ => return None,
    }
    // The function computes in 64 bits, so that a wider interval is its error to report.
    let width = i64::try_from(nanos_of(width)?).ok()?;
    let fits = |time: i64| {
        // Rounding towards the past subtracts at most another width, from a distance that is already rounded.
        let distance = i128::from(time) - i128::from(origin);
        let lowest = distance - i128::from(width);
        i64::try_from(distance).is_ok() && i64::try_from(lowest).is_ok()
    };
    let width = u64::try_from(width).ok().filter(|width| *width > 0)?;
    (fits(range.start) && fits(range.end)).then_some(Cuts::Every { origin, width })
}

/// `date_trunc(unit, time)` in UTC: units of one length are a grid, those of the calendar are listed.
fn units(args: &[Expr], is_time: &dyn Fn(&Expr) -> bool, range: TimeRange) -> Option<Cuts> {
    let [Expr::Literal(unit, _), time] = args else {
        return None;
    };
    if !is_time(time) {
        return None;
    }
    let every = |width| Some(Cuts::Every { origin: 0, width });
    match text_of(unit)?.to_lowercase().as_str() {
        "microsecond" => every(1_000),
        "millisecond" => every(1_000_000),
        "second" => every(SECOND),
        "minute" => every(60 * SECOND),
        "hour" => every(3_600 * SECOND),
        "day" => every(DAY as u64),
        "week" => Some(Cuts::Every {
            origin: FIRST_MONDAY,
            width: 7 * DAY as u64,
        }),
        "month" => months_from(1, 0, range),
        "quarter" => months_from(3, 0, range),
        "year" => months_from(12, 0, range),
        _ => None,
    }
}

/// Steps of so many months from `origin`: the starts of those that touch `range`, and the one behind it. There are few: all of
/// BTrDB's time is 1,755 months. From the 29th on, months differ in whether they have the day, and steps are left alone.
fn months_from(months: i32, origin: i64, range: TimeRange) -> Option<Cuts> {
    let months = i64::from(months);
    let from = DateTime::from_timestamp_nanos(origin).naive_utc();
    if months <= 0 || from.day() > 28 {
        return None;
    }
    let count = |date: NaiveDateTime| i64::from(date.year()) * 12 + i64::from(date.month0());
    let start_of = |step: i64| {
        let month = count(from).checked_add(step.checked_mul(months)?)?;
        let year = i32::try_from(month.div_euclid(12)).ok()?;
        NaiveDate::from_ymd_opt(year, month.rem_euclid(12) as u32 + 1, from.day())?
            .and_time(from.time())
            .and_utc()
            .timestamp_nanos_opt()
    };
    let first = DateTime::from_timestamp_nanos(range.start).naive_utc();
    let mut step = (count(first) - count(from)).div_euclid(months);
    if start_of(step)? > range.start {
        step -= 1;
    }
    let mut cuts = vec![start_of(step)?];
    while cuts.last().is_some_and(|&cut| cut < range.end) {
        step += 1;
        cuts.push(start_of(step)?);
    }
    Some(Cuts::At(cuts.into()))
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::{col, lit};

    use super::*;
    use crate::model::time::{MAX_TIME, MIN_TIME};
    use crate::query::table::is_time_column;

    fn trunc(unit: &str, range: TimeRange) -> Option<Cuts> {
        let args = vec![lit(unit), col("time")];
        grid(
            &ScalarFunction::new_udf(date_trunc(), args),
            &is_time_column,
            range,
        )
    }

    #[test]
    fn calendar_units_are_listed() {
        let february = 31 * DAY;
        let march = february + 28 * DAY;
        assert_eq!(
            trunc("MONTH", TimeRange::new(5, february + 1)),
            Some(Cuts::At([0, february, march].into()))
        );
        let whole = trunc("month", TimeRange::ALL).expect("listed");
        for time in [MIN_TIME, -1, 0, MAX_TIME - 1] {
            let window = whole.window_of(time).expect("every time has a month");
            assert!(window.contains(time));
        }
    }

    #[test]
    fn weeks_begin_on_mondays() {
        let week = trunc("week", TimeRange::ALL).expect("a grid");
        let window = week.window_of(0).expect("a window");
        assert_eq!(window.start, -3 * DAY, "1969-12-29 was a Monday");
    }

    #[test]
    fn what_overflows_or_has_no_length_is_left_alone() {
        let bin = |months, nanoseconds, origin| {
            let width = ScalarValue::IntervalMonthDayNano(Some(
                arrow::datatypes::IntervalMonthDayNano::new(months, 0, nanoseconds),
            ));
            let origin = ScalarValue::TimestampNanosecond(Some(origin), None);
            let args = vec![lit(width), col("time"), lit(origin)];
            grid(
                &ScalarFunction::new_udf(date_bin(), args),
                &is_time_column,
                TimeRange::ALL,
            )
        };
        assert!(bin(0, 1, 0).is_some());
        assert!(bin(1, 0, 0).is_some());
        assert_eq!(bin(1, 1, 0), None);
        assert_eq!(bin(1, 0, 30 * DAY), None, "not every month has a 31st");
        assert_eq!(bin(0, 0, 0), None);
        assert_eq!(bin(0, 1, i64::MIN), None);
        assert_eq!(bin(0, i64::MAX, 0), None);
    }

    /// The function itself is asked around every start that is claimed.
    #[test]
    fn steps_of_months_agree_with_the_function() {
        use datafusion::prelude::{Expr, SessionContext};
        let context = SessionContext::new();
        let ns = |time: i64| {
            Expr::Literal(
                ScalarValue::TimestampNanosecond(Some(time), Some("UTC".into())),
                None,
            )
        };
        let day = DAY;
        for months in [1, 2, 5, 12] {
            for origin in [0, 9 * day + 12_345, -40 * day, 20_000 * day + 1] {
                let width = ScalarValue::IntervalMonthDayNano(Some(
                    arrow::datatypes::IntervalMonthDayNano::new(months, 0, 0),
                ));
                let call = |time: Expr| {
                    let args = vec![lit(width.clone()), time, ns(origin)];
                    ScalarFunction::new_udf(date_bin(), args)
                };
                let range = TimeRange::new(-4_000 * day, 4_000 * day);
                let cuts = grid(&call(col("time")), &is_time_column, range);
                let Some(Cuts::At(cuts)) = cuts else {
                    continue;
                };
                for pair in cuts.windows(2) {
                    for (time, start) in [(pair[0], pair[0]), (pair[1] - 1, pair[0])] {
                        let expr = Expr::ScalarFunction(call(ns(time)));
                        let schema = datafusion::common::DFSchema::empty();
                        let expr = context.create_physical_expr(expr, &schema).expect("plans");
                        let batch = arrow::array::RecordBatch::new_empty(
                            arrow::datatypes::Schema::empty().into(),
                        );
                        let found = match expr.evaluate(&batch).expect("evaluates") {
                            datafusion::logical_expr::ColumnarValue::Scalar(value) => value,
                            other => panic!("no scalar: {other:?}"),
                        };
                        let ScalarValue::TimestampNanosecond(found, _) = found else {
                            panic!("no time: {found}");
                        };
                        assert_eq!(
                            found,
                            Some(start),
                            "{months} months from {origin} at {time}"
                        );
                    }
                }
            }
        }
    }
}
