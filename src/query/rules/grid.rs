//! The windows that a call of `date_bin` or `date_trunc` sorts times into.

use chrono::{DateTime, Datelike, Months, NaiveDate};
use datafusion::common::ScalarValue;
use datafusion::functions::datetime::{date_bin, date_trunc};
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::expr::ScalarFunction;

use crate::model::{Cuts, TimeRange};
use crate::query::functions::nanos_of;
use crate::query::selection::text_of;
use crate::query::table::is_time_column;

const SECOND: u64 = 1_000_000_000;
const DAY: u64 = 86_400 * SECOND;
/// 1970-01-05, the first Monday: weeks begin on Mondays.
const FIRST_MONDAY: i64 = 4 * DAY as i64;

/// The windows of `call` over the times of `range`, if it names every time's window by its start.
pub(super) fn grid(call: &ScalarFunction, range: Option<TimeRange>) -> Option<Cuts> {
    let range = range.unwrap_or(TimeRange::ALL);
    let cuts = if call.func == date_bin() {
        bins(&call.args, range)?
    } else if call.func == date_trunc() {
        units(&call.args, range)?
    } else {
        return None;
    };
    cuts.check(range).is_ok().then_some(cuts)
}

/// `date_bin(width, time [, origin])`. Widths in months are left alone. Where the function would overflow it answers NULL,
/// which names no window.
fn bins(args: &[Expr], range: TimeRange) -> Option<Cuts> {
    let (width, time, origin) = match args {
        [width, time] => (width, time, 0),
        [
            width,
            time,
            Expr::Literal(ScalarValue::TimestampNanosecond(Some(origin), _), _),
        ] => (width, time, *origin),
        _ => return None,
    };
    let Expr::Literal(
        width @ (ScalarValue::IntervalMonthDayNano(_) | ScalarValue::IntervalDayTime(_)),
        _,
    ) = width
    else {
        return None;
    };
    // The function computes in 64 bits, so that a wider interval is its error to report.
    let width = i64::try_from(nanos_of(width)?).ok()?;
    let fits = |time: i64| {
        // Rounding towards the past subtracts at most another width, from a distance that is already rounded.
        let distance = i128::from(time) - i128::from(origin);
        let lowest = distance - i128::from(width);
        i64::try_from(distance).is_ok() && i64::try_from(lowest).is_ok()
    };
    let width = u64::try_from(width).ok().filter(|width| *width > 0)?;
    (is_time_column(time) && fits(range.start) && fits(range.end))
        .then_some(Cuts::Every { origin, width })
}

/// `date_trunc(unit, time)` in UTC: units of one length are a grid, those of the calendar are listed.
fn units(args: &[Expr], range: TimeRange) -> Option<Cuts> {
    let [Expr::Literal(unit, _), time] = args else {
        return None;
    };
    if !is_time_column(time) {
        return None;
    }
    let every = |width| Some(Cuts::Every { origin: 0, width });
    match text_of(unit)?.to_lowercase().as_str() {
        "microsecond" => every(1_000),
        "millisecond" => every(1_000_000),
        "second" => every(SECOND),
        "minute" => every(60 * SECOND),
        "hour" => every(3_600 * SECOND),
        "day" => every(DAY),
        "week" => Some(Cuts::Every {
            origin: FIRST_MONDAY,
            width: 7 * DAY,
        }),
        "month" => calendar(1, range),
        "quarter" => calendar(3, range),
        "year" => calendar(12, range),
        _ => None,
    }
}

/// The starts of the steps of so many months that touch `range`, and the one behind it. There are few: all of BTrDB's time is
/// 1,755 months.
fn calendar(months: u32, range: TimeRange) -> Option<Cuts> {
    let first = DateTime::from_timestamp_nanos(range.start).date_naive();
    let month = first.month0() / months * months;
    let mut start = NaiveDate::from_ymd_opt(first.year(), month + 1, 1)?;
    let mut cuts = Vec::new();
    loop {
        let cut = start
            .and_hms_opt(0, 0, 0)?
            .and_utc()
            .timestamp_nanos_opt()?;
        cuts.push(cut);
        if cut >= range.end {
            return Some(Cuts::At(cuts.into()));
        }
        start = start.checked_add_months(Months::new(months))?;
    }
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::{col, lit};

    use super::*;
    use crate::model::time::{MAX_TIME, MIN_TIME};

    fn trunc(unit: &str, range: TimeRange) -> Option<Cuts> {
        let args = vec![lit(unit), col("time")];
        grid(&ScalarFunction::new_udf(date_trunc(), args), Some(range))
    }

    #[test]
    fn calendar_units_are_listed() {
        let february = 31 * DAY as i64;
        let march = february + 28 * DAY as i64;
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
        assert_eq!(window.start, -3 * DAY as i64, "1969-12-29 was a Monday");
    }

    #[test]
    fn what_overflows_or_has_no_length_is_left_alone() {
        let bin = |months, nanoseconds, origin| {
            let width = ScalarValue::IntervalMonthDayNano(Some(
                arrow::datatypes::IntervalMonthDayNano::new(months, 0, nanoseconds),
            ));
            let origin = ScalarValue::TimestampNanosecond(Some(origin), None);
            let args = vec![lit(width), col("time"), lit(origin)];
            grid(&ScalarFunction::new_udf(date_bin(), args), None)
        };
        assert!(bin(0, 1, 0).is_some());
        assert_eq!(bin(1, 0, 0), None);
        assert_eq!(bin(0, 0, 0), None);
        assert_eq!(bin(0, 1, i64::MIN), None);
        assert_eq!(bin(0, i64::MAX, 0), None);
    }
}
