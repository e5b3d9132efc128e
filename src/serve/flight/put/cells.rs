//! A client's cells: which types are taken for what, and what they become.
//!
//! Taken is what has one meaning and loses nothing: a timestamp of any unit, a decimal of up to 15 digits, a dictionary of
//! texts. What could mean several things, as an int32 that may be seconds, or would be rounded, is refused by its column, type
//! and row, with what to do about it.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, PrimitiveArray, StringArray};
use arrow::buffer::ScalarBuffer;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Date64Type, Decimal128Type, Field, Float64Type,
    Int64Type, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType, UInt64Type,
};

use crate::error::{Code, Error, Result};
use crate::model::time::{MAX_POINT_TIME, MIN_TIME};

/// Integers up to here are float64 without a gap.
const EXACT_MAX: i128 = 1 << 53;

/// The largest power of ten that is a float64.
const EXACT_SCALE_MAX: i8 = 22;

const DAY_NANOS: i64 = 86_400_000_000_000;

/// What a column is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Time,
    Number,
    Text,
    Uuid,
    /// Texts by key: a map, or a struct with a field for each key.
    Properties,
}

impl Kind {
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) naming the column, its type, and what it takes.
    pub(super) fn check(self, field: &Field) -> Result<()> {
        let data_type = field.data_type();
        if self.takes(unwrapped(data_type)) {
            return Ok(());
        }
        Err(invalid(format!(
            "column \"{}\" is {data_type}: it takes {}",
            field.name(),
            self.taken()
        )))
    }

    fn takes(self, data_type: &DataType) -> bool {
        match self {
            Self::Time => matches!(
                data_type,
                DataType::Timestamp(_, _)
                    | DataType::Int64
                    | DataType::UInt64
                    | DataType::Date32
                    | DataType::Date64
            ),
            Self::Number => {
                data_type.is_numeric() || matches!(data_type, DataType::Boolean | DataType::Null)
            }
            // Nothing but nulls: where a text has to be, its row says so.
            Self::Text => is_text(data_type) || *data_type == DataType::Null,
            Self::Uuid => {
                is_text(data_type)
                    || matches!(data_type, DataType::FixedSizeBinary(16) | DataType::Null)
            }
            Self::Properties => match data_type {
                DataType::Map(entries, _) => match entries.data_type() {
                    DataType::Struct(fields) => fields
                        .iter()
                        .all(|field| is_text(unwrapped(field.data_type()))),
                    _ => false,
                },
                DataType::Struct(fields) => fields.iter().all(|field| {
                    let data_type = unwrapped(field.data_type());
                    is_text(data_type) || *data_type == DataType::Null
                }),
                DataType::Null => true,
                _ => false,
            },
        }
    }

    fn taken(self) -> &'static str {
        match self {
            Self::Time => {
                "a timestamp, a date, or int64 nanoseconds since 1970; cast it before it is sent"
            }
            Self::Number => "a number or a boolean; cast it before it is sent",
            Self::Text => "text; cast it before it is sent",
            Self::Uuid => "text, or 16 bytes",
            Self::Properties => "a map of text to text, or a struct of texts",
        }
    }
}

/// The type of the values, however they are encoded.
fn unwrapped(data_type: &DataType) -> &DataType {
    match data_type {
        DataType::Dictionary(_, values) => unwrapped(values),
        DataType::RunEndEncoded(_, values) => unwrapped(values.data_type()),
        other => other,
    }
}

fn is_text(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
    )
}

/// The column with its values in place, if they stood in a dictionary or in runs.
pub(super) fn plain(name: &str, column: &ArrayRef) -> Result<ArrayRef> {
    let mut column = Arc::clone(column);
    loop {
        column = match column.data_type() {
            DataType::Dictionary(_, values) => cast_to(name, &column, values)?,
            DataType::RunEndEncoded(_, values) => cast_to(name, &column, values.data_type())?,
            _ => return Ok(column),
        };
    }
}

/// Times in nanoseconds; `first` is the number of the first row, for errors.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) naming the row that is null or outside BTrDB's time.
pub(super) fn times(name: &str, column: &ArrayRef, first: u64) -> Result<ScalarBuffer<i64>> {
    check_nulls(name, column, first)?;
    let column = plain(name, column)?;
    let times = match column.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => {
            scaled(column.as_primitive::<TimestampSecondType>(), 1_000_000_000)
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            scaled(column.as_primitive::<TimestampMillisecondType>(), 1_000_000)
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            scaled(column.as_primitive::<TimestampMicrosecondType>(), 1_000)
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => column
            .as_primitive::<TimestampNanosecondType>()
            .values()
            .clone(),
        DataType::Date32 => scaled(column.as_primitive::<Date32Type>(), DAY_NANOS),
        DataType::Date64 => scaled(column.as_primitive::<Date64Type>(), 1_000_000),
        DataType::UInt64 => scaled(column.as_primitive::<UInt64Type>(), 1),
        _ => column.as_primitive::<Int64Type>().values().clone(),
    };
    let outside = times
        .iter()
        .position(|time| !(MIN_TIME..=MAX_POINT_TIME).contains(time));
    match outside {
        None => Ok(times),
        Some(row) => Err(Error::invalid(format!(
            "column \"{name}\", row {}: the time is outside BTrDB's, which goes from {MIN_TIME} ns to {MAX_POINT_TIME} ns \
             (1933-06-20 to 2079-08-08)",
            first + row as u64
        ))
        .with_code(Code::InvalidTimeRange)),
    }
}

/// Nanoseconds, saturating: what overflows is outside BTrDB's time, and refused for that.
fn scaled<T>(column: &PrimitiveArray<T>, nanoseconds: i64) -> ScalarBuffer<i64>
where
    T: ArrowPrimitiveType,
    T::Native: TryInto<i64>,
{
    column
        .values()
        .iter()
        .map(|&time| {
            let time: i64 = time.try_into().unwrap_or(i64::MAX);
            time.saturating_mul(nanoseconds)
        })
        .collect::<Vec<_>>()
        .into()
}

/// Numbers, nulls among them.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) naming the row of a number that no float64 equals.
pub(super) fn numbers(name: &str, column: &ArrayRef, first: u64) -> Result<Float64Array> {
    let column = plain(name, column)?;
    let inexact = |row: usize, number: &dyn std::fmt::Display| {
        Err(Error::invalid(format!(
            "column \"{name}\", row {}: {number} has more digits than a float64 keeps; cast the column to float64 to have \
             it rounded",
            first + row as u64
        ))
        .with_code(Code::BadValue))
    };
    match column.data_type() {
        DataType::Int64 => {
            let numbers = column.as_primitive::<Int64Type>();
            if let Some(row) = inexact_row(numbers) {
                return inexact(row, &numbers.value(row));
            }
        }
        DataType::UInt64 => {
            let numbers = column.as_primitive::<UInt64Type>();
            if let Some(row) = inexact_row(numbers) {
                return inexact(row, &numbers.value(row));
            }
        }
        DataType::Decimal32(_, scale)
        | DataType::Decimal64(_, scale)
        | DataType::Decimal128(_, scale)
        | DataType::Decimal256(_, scale) => {
            let scale = *scale;
            let wide = cast_to(name, &column, &DataType::Decimal128(38, scale))?;
            let numbers = wide.as_primitive::<Decimal128Type>();
            let is_exact =
                |number: i128| number.abs() <= EXACT_MAX && (0..=EXACT_SCALE_MAX).contains(&scale);
            let mut rows = valid(numbers);
            if let Some((row, _)) = rows.find(|(_, number)| !is_exact(*number)) {
                return inexact(row, &numbers.value_as_string(row));
            }
            // Both are exact, so that the quotient is the float64 nearest to the decimal.
            let power = 10_f64.powi(scale.into());
            return Ok(numbers.unary(|number| number as f64 / power));
        }
        _ => {}
    }
    let column = cast_to(name, &column, &DataType::Float64)?;
    Ok(column.as_primitive::<Float64Type>().clone())
}

fn inexact_row<T>(numbers: &PrimitiveArray<T>) -> Option<usize>
where
    T: ArrowPrimitiveType,
    T::Native: Into<i128>,
{
    let mut rows = valid(numbers);
    let found = rows.find(|(_, number)| {
        let number: i128 = (*number).into();
        number.abs() > EXACT_MAX && (number as f64) as i128 != number
    });
    found.map(|(row, _)| row)
}

/// The rows that are not null.
fn valid<T: ArrowPrimitiveType>(
    column: &PrimitiveArray<T>,
) -> impl Iterator<Item = (usize, T::Native)> {
    let values = column.values().iter().copied().enumerate();
    values.filter(|(row, _)| column.is_valid(*row))
}

/// Texts, nulls among them.
pub(super) fn text(name: &str, column: &ArrayRef) -> Result<StringArray> {
    let column = cast_to(name, &plain(name, column)?, &DataType::Utf8)?;
    Ok(column.as_string::<i32>().clone())
}

/// Refuses values that BTrDB does not store; `row_of` numbers the row of a value.
pub(super) fn check_finite(
    name: &str,
    values: &[f64],
    row_of: impl Fn(usize) -> u64,
) -> Result<()> {
    let Some(position) = values.iter().position(|value| !value.is_finite()) else {
        return Ok(());
    };
    let what = if values[position].is_nan() {
        "NaN"
    } else {
        "infinite"
    };
    Err(Error::invalid(format!(
        "column \"{name}\", row {}: the value is {what}, which BTrDB does not store",
        row_of(position)
    ))
    .with_code(Code::BadValue))
}

/// Refuses nulls.
pub(super) fn check_nulls(name: &str, column: &ArrayRef, first: u64) -> Result<()> {
    // Logical: a dictionary's values may be null where its keys are not.
    let Some(nulls) = column
        .logical_nulls()
        .filter(|nulls| nulls.null_count() > 0)
    else {
        return Ok(());
    };
    let row = nulls.iter().position(|valid| !valid).unwrap_or_default();
    Err(invalid(format!(
        "column \"{name}\", row {}: the value is null",
        first + row as u64
    )))
}

fn cast_to(name: &str, column: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    if column.data_type() == to {
        return Ok(Arc::clone(column));
    }
    // A cell that does not fit is an error, and not a null.
    let exactly = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    cast_with_options(column, to, &exactly)
        .map_err(|error| invalid(format!("column \"{name}\" cannot be read as {to}: {error}")))
}

pub(super) fn invalid(message: String) -> Error {
    Error::invalid(message).with_code(Code::InvalidParameter)
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        BooleanArray, Date32Array, Decimal128Array, DictionaryArray, Int32Array, Int64Array,
        NullArray, RunArray, UInt64Array,
    };
    use arrow::datatypes::Int32Type;

    use super::*;

    fn values(column: ArrayRef) -> Result<Vec<Option<f64>>> {
        Kind::Number.check(&Field::new("n", column.data_type().clone(), true))?;
        Ok(numbers("n", &column, 0)?.iter().collect())
    }

    #[test]
    fn numbers_of_every_exact_kind_are_taken() {
        let decimals = Decimal128Array::from(vec![Some(6001), None])
            .with_precision_and_scale(38, 2)
            .expect("a decimal");
        let keys = Int32Array::from(vec![1, 0]);
        let floats = Arc::new(Float64Array::from(vec![0.5, 1.5])) as ArrayRef;
        let runs: ArrayRef = Arc::new(
            RunArray::<Int32Type>::try_new(&Int32Array::from(vec![2, 3]), &floats).expect("runs"),
        );
        for (column, expected) in [
            (Arc::new(decimals) as ArrayRef, vec![Some(60.01), None]),
            (
                Arc::new(DictionaryArray::new(keys, Arc::clone(&floats))),
                vec![Some(1.5), Some(0.5)],
            ),
            (runs, vec![Some(0.5), Some(0.5), Some(1.5)]),
            (
                Arc::new(BooleanArray::from(vec![true, false])),
                vec![Some(1.0), Some(0.0)],
            ),
            (Arc::new(NullArray::new(2)), vec![None, None]),
            (
                Arc::new(Int64Array::from(vec![Some(1 << 53), None, Some(1 << 62)])),
                vec![Some(2_f64.powi(53)), None, Some(2_f64.powi(62))],
            ),
        ] {
            assert_eq!(values(column).expect("exact"), expected);
        }
    }

    #[test]
    fn numbers_that_would_be_rounded_are_refused() {
        let decimal = |number: i128, scale: i8| {
            let decimals = Decimal128Array::from(vec![0, number]);
            let decimals = decimals.with_precision_and_scale(38, scale);
            Arc::new(decimals.expect("a decimal")) as ArrayRef
        };
        for (column, said) in [
            (
                Arc::new(Int64Array::from(vec![0, (1 << 53) + 1])) as ArrayRef,
                "9007199254740993",
            ),
            (
                Arc::new(Int64Array::from(vec![0, i64::MAX])),
                "9223372036854775807",
            ),
            (
                Arc::new(UInt64Array::from(vec![0, u64::MAX])),
                "18446744073709551615",
            ),
            (decimal(123_456_789_012_345_678, 17), "1.23456789012345678"),
        ] {
            let error = values(column).expect_err("must be refused");
            let message = error.message();
            assert!(
                message.contains("row 1") && message.contains(said),
                "{message}"
            );
        }
        let error = values(Arc::new(StringArray::from(vec!["1"]))).expect_err("text");
        assert!(error.message().contains("\"n\" is Utf8"), "{error}");
    }

    #[test]
    fn times_are_what_has_one_meaning() {
        let check = |column: &ArrayRef| {
            Kind::Time.check(&Field::new("t", column.data_type().clone(), true))
        };
        let days: ArrayRef = Arc::new(Date32Array::from(vec![1]));
        check(&days).expect("a date");
        assert_eq!(times("t", &days, 0).expect("a day")[..], [DAY_NANOS]);
        let far: ArrayRef = Arc::new(UInt64Array::from(vec![u64::MAX]));
        check(&far).expect("nanoseconds");
        let error = times("t", &far, 7).expect_err("beyond the end");
        assert!(error.message().contains("row 7"), "{error}");
        for unclear in [
            Arc::new(Int32Array::from(vec![1])) as ArrayRef,
            Arc::new(Float64Array::from(vec![1.0])),
            Arc::new(StringArray::from(vec!["2024-01-01"])),
        ] {
            let error = check(&unclear).expect_err("must be refused");
            assert!(error.message().contains("cast it"), "{error}");
        }
    }
}
