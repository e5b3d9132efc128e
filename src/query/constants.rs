//! Constants of a statement: what they are in nanoseconds, and how they are written.

use arrow::datatypes::{DataType, IntervalUnit};
use arrow::util::display::array_value_to_string;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;

use super::points::time_type;
use super::selection::text_of;

const NANOS_PER_DAY: i128 = 86_400_000_000_000;

/// The value of an expression that is one.
pub(super) fn literal(arg: &Expr) -> Option<&ScalarValue> {
    match arg {
        Expr::Literal(value, _) => Some(value),
        Expr::Alias(alias) => literal(&alias.expr),
        _ => None,
    }
}

pub(super) fn integer_of(value: &ScalarValue) -> Option<i128> {
    Some(match value {
        ScalarValue::Int8(Some(number)) => (*number).into(),
        ScalarValue::Int16(Some(number)) => (*number).into(),
        ScalarValue::Int32(Some(number)) => (*number).into(),
        ScalarValue::Int64(Some(number)) => (*number).into(),
        ScalarValue::UInt8(Some(number)) => (*number).into(),
        ScalarValue::UInt16(Some(number)) => (*number).into(),
        ScalarValue::UInt32(Some(number)) => (*number).into(),
        ScalarValue::UInt64(Some(number)) => (*number).into(),
        _ => return None,
    })
}

/// A span in nanoseconds, which may be written as text: `'10 minutes'`.
pub(super) fn span_of(value: &ScalarValue) -> Option<i128> {
    if text_of(value).is_none() {
        return nanos_of(value);
    }
    let interval = DataType::Interval(IntervalUnit::MonthDayNano);
    nanos_of(&value.cast_to(&interval).ok()?)
}

/// A constant as it is printed in rows.
pub(super) fn shown(value: &ScalarValue) -> String {
    if value.is_null() {
        return "NULL".to_owned();
    }
    let rows = value.to_array().ok();
    let text = rows.and_then(|rows| array_value_to_string(&rows, 0).ok());
    text.unwrap_or_else(|| value.to_string())
}

/// A span in nanoseconds: an integer, or an interval without months, which have no one length.
pub(super) fn nanos_of(value: &ScalarValue) -> Option<i128> {
    Some(match value {
        ScalarValue::IntervalMonthDayNano(Some(span)) if span.months == 0 => {
            i128::from(span.days) * NANOS_PER_DAY + i128::from(span.nanoseconds)
        }
        ScalarValue::IntervalDayTime(Some(span)) => {
            i128::from(span.days) * NANOS_PER_DAY + i128::from(span.milliseconds) * 1_000_000
        }
        ScalarValue::DurationNanosecond(Some(nanos)) => (*nanos).into(),
        ScalarValue::DurationMicrosecond(Some(micros)) => i128::from(*micros) * 1_000,
        ScalarValue::DurationMillisecond(Some(millis)) => i128::from(*millis) * 1_000_000,
        ScalarValue::DurationSecond(Some(seconds)) => i128::from(*seconds) * 1_000_000_000,
        other => return integer_of(other),
    })
}

/// A time in nanoseconds since 1970: an integer, a timestamp, or a text of one.
pub(super) fn time_of(value: &ScalarValue) -> Option<i64> {
    if let Some(nanos) = integer_of(value) {
        return i64::try_from(nanos).ok();
    }
    let completed = text_of(value).and_then(|text| completed(&text));
    let completed = completed.map(ScalarValue::from);
    match completed.as_ref().unwrap_or(value).cast_to(&time_type()) {
        Ok(ScalarValue::TimestampNanosecond(nanos, _)) => nanos,
        _ => None,
    }
}

/// Length of a date, a separator, hours and minutes.
const SHORT: usize = "2024-06-01 12:30".len();

/// A time that is written to the minute, with its seconds.
pub(super) fn completed(text: &str) -> Option<String> {
    let (short, zone) = text.split_at_checked(SHORT)?;
    let shape = short.bytes().zip("dddd-dd-dd dd:dd".bytes());
    let fits = shape
        .enumerate()
        .all(|(position, (byte, like))| match like {
            b'd' => byte.is_ascii_digit(),
            b' ' => matches!(byte, b' ' | b'T' | b't') && position == 10,
            other => byte == other,
        });
    let ends = zone.is_empty() || zone.starts_with(['Z', 'z', '+', '-', ' ']);
    (fits && ends).then(|| format!("{short}:00{zone}"))
}
