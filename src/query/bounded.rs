//! Functions that make texts and lists as long as they are told to, with a limit: `repeat`, `lpad`, `rpad`, `array_repeat`,
//! `array_resize`, `range` and `generate_series`.
//!
//! What they make is in no memory limit, and a call of a few bytes could ask for more than the machine has, or for minutes of a
//! thread.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, FieldRef, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType,
    TimeUnit, TimestampNanosecondType,
};
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature,
};

use super::errors::to_datafusion;
use crate::error::{Error, ErrorKind};

/// Bytes that one call makes of a batch, at most.
const BYTES_MAX: u64 = 256 << 20;

/// Bytes of the longest character, which pads are counted in.
const CHARACTER_BYTES: u64 = 4;

/// Bytes of what points to an element of a list that has no fixed width.
const POINTER_BYTES: u64 = 16;

/// Bytes of a number, and of a time.
const NUMBER_BYTES: u64 = 8;

const NANOS_PER_DAY: u128 = 86_400_000_000_000;

/// Of the shortest month.
const DAYS_PER_MONTH: u128 = 28;

/// The functions of `functions` that need a limit, with one.
pub(super) fn bounded(functions: impl IntoIterator<Item = Arc<ScalarUDF>>) -> Vec<ScalarUDF> {
    let bounded = functions.into_iter().filter_map(|inner| {
        let made = match inner.name() {
            "repeat" => Made::RepeatedText,
            "lpad" | "rpad" => Made::PaddedText,
            "array_repeat" => Made::RepeatedElement,
            "array_resize" => Made::ResizedList,
            "range" | "generate_series" => Made::Series,
            _ => return None,
        };
        Some(ScalarUDF::new_from_impl(Bounded { inner, made }))
    });
    bounded.collect()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Bounded {
    inner: Arc<ScalarUDF>,
    made: Made,
}

/// What a function makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Made {
    RepeatedText,
    PaddedText,
    RepeatedElement,
    ResizedList,
    Series,
}

impl Made {
    /// Bytes of it, at most. An argument of one row stands for each of so many.
    fn bytes(self, columns: &[ArrayRef], rows: usize) -> Result<u64> {
        match self {
            Self::RepeatedText => repeated_text(columns, rows),
            Self::PaddedText => padded_text(columns, rows),
            Self::RepeatedElement => repeated_element(columns, rows),
            Self::ResizedList => resized_list(columns, rows),
            Self::Series => series(columns, rows),
        }
    }
}

impl Bounded {
    /// Refuses arguments that ask for too much.
    fn check(&self, args: &ScalarFunctionArgs) -> Result<()> {
        let is_column = |value: &ColumnarValue| matches!(value, ColumnarValue::Array(_));
        // Of scalars it is made once.
        let rows = if args.args.iter().any(is_column) {
            args.number_rows
        } else {
            1
        };
        let columns = args.args.iter().map(|value| match value {
            ColumnarValue::Array(array) => Ok(Arc::clone(array)),
            ColumnarValue::Scalar(scalar) => scalar.to_array(),
        });
        let columns = columns.collect::<Result<Vec<ArrayRef>>>()?;
        let bytes = self.made.bytes(&columns, rows)?;
        if bytes > BYTES_MAX {
            let message = format!(
                "{} would make {bytes} bytes at once, {BYTES_MAX} at most",
                self.name()
            );
            return Err(to_datafusion(Error::new(ErrorKind::Exhausted, message)));
        }
        Ok(())
    }
}

fn at(column: &dyn Array, row: usize) -> usize {
    if column.len() == 1 { 0 } else { row }
}

fn sum(each: impl Iterator<Item = u64>) -> u64 {
    each.fold(0, u64::saturating_add)
}

fn numbers(column: &ArrayRef) -> Result<Int64Array> {
    let column = cast(column, &DataType::Int64)?;
    Ok(column.as_primitive::<Int64Type>().clone())
}

fn number(numbers: &Int64Array, row: usize) -> Option<i64> {
    let row = at(numbers, row);
    numbers.is_valid(row).then(|| numbers.value(row))
}

/// How many are asked for: none for NULL and below 0.
fn count(counts: &Int64Array, row: usize) -> u64 {
    let count = number(counts, row).unwrap_or(0);
    u64::try_from(count).unwrap_or(0)
}

fn repeated_text(columns: &[ArrayRef], rows: usize) -> Result<u64> {
    let [text, counts, ..] = columns else {
        return Ok(0);
    };
    let (texts, counts) = (cast(text, &DataType::Utf8View)?, numbers(counts)?);
    let texts = texts.as_string_view();
    Ok(sum((0..rows).map(|row| {
        let text = at(texts, row);
        let length = if texts.is_null(text) {
            0
        } else {
            texts.value(text).len()
        };
        count(&counts, row).saturating_mul(length as u64)
    })))
}

fn padded_text(columns: &[ArrayRef], rows: usize) -> Result<u64> {
    let [_, counts, ..] = columns else {
        return Ok(0);
    };
    let counts = numbers(counts)?;
    let each = (0..rows).map(|row| count(&counts, row).saturating_mul(CHARACTER_BYTES));
    Ok(sum(each))
}

fn repeated_element(columns: &[ArrayRef], rows: usize) -> Result<u64> {
    let [elements, counts, ..] = columns else {
        return Ok(0);
    };
    let counts = numbers(counts)?;
    let each = (0..rows).map(|row| count(&counts, row).saturating_mul(bytes_of(elements, row)));
    Ok(sum(each))
}

fn resized_list(columns: &[ArrayRef], rows: usize) -> Result<u64> {
    let [_, counts, fill @ ..] = columns else {
        return Ok(0);
    };
    let counts = numbers(counts)?;
    let each = (0..rows).map(|row| {
        let unit = fill
            .first()
            .map_or(POINTER_BYTES, |fill| bytes_of(fill, row));
        count(&counts, row).saturating_mul(unit)
    });
    Ok(sum(each))
}

/// Bytes of one row of a column, not less than a list takes to have it among its elements.
fn bytes_of(column: &ArrayRef, row: usize) -> u64 {
    let bytes = range_bytes(column, at(column, row), 1);
    (bytes as u64).max(NUMBER_BYTES)
}

/// Bytes of so many rows of a column. Arrow would count the whole child of a sliced list.
fn range_bytes(column: &dyn Array, start: usize, count: usize) -> usize {
    let nested = |child: &dyn Array, first: usize, behind: usize| {
        size_of::<i64>() * count + range_bytes(child, first, behind - first)
    };
    let end = start + count;
    match column.data_type() {
        DataType::Utf8View => {
            let texts = column.as_string_view();
            (start..end).map(|row| texts.value(row).len()).sum()
        }
        DataType::BinaryView => {
            let texts = column.as_binary_view();
            (start..end).map(|row| texts.value(row).len()).sum()
        }
        DataType::List(_) => {
            let (list, offsets) = (column.as_list::<i32>(), column.as_list::<i32>().offsets());
            nested(
                list.values(),
                offsets[start] as usize,
                offsets[end] as usize,
            )
        }
        DataType::LargeList(_) => {
            let (list, offsets) = (column.as_list::<i64>(), column.as_list::<i64>().offsets());
            nested(
                list.values(),
                offsets[start] as usize,
                offsets[end] as usize,
            )
        }
        DataType::Map(_, _) => {
            let (map, offsets) = (column.as_map(), column.as_map().offsets());
            nested(
                map.entries(),
                offsets[start] as usize,
                offsets[end] as usize,
            )
        }
        DataType::Struct(_) => {
            let columns = column.as_struct().columns().iter();
            columns
                .map(|column| range_bytes(column, start, count))
                .sum()
        }
        _ => {
            let slice = column.slice(start, count);
            // Types that cannot tell are counted by capacity, which is never too little.
            let bytes = slice.to_data().get_slice_memory_size();
            bytes.unwrap_or_else(|_| slice.get_buffer_memory_size())
        }
    }
}

fn series(columns: &[ArrayRef], rows: usize) -> Result<u64> {
    let timestamp = DataType::Timestamp(TimeUnit::Nanosecond, None);
    let lengths: Vec<u128> = match columns {
        [first, _, steps] if steps.data_type() != &DataType::Int64 => {
            let DataType::Interval(_) = steps.data_type() else {
                return Ok(0);
            };
            let is_date = matches!(first.data_type(), DataType::Date32 | DataType::Date64);
            let nanos = |column: &ArrayRef| -> Result<Vec<Option<i128>>> {
                if is_date {
                    let days = cast(column, &DataType::Date32)?;
                    let days = days.as_primitive::<Date32Type>().iter();
                    Ok(days
                        .map(|day| day.map(|day| i128::from(day) * NANOS_PER_DAY as i128))
                        .collect())
                } else {
                    let times = cast(column, &timestamp)?;
                    let times = times.as_primitive::<TimestampNanosecondType>().iter();
                    Ok(times.map(|time| time.map(i128::from)).collect())
                }
            };
            let (starts, stops) = (nanos(&columns[0])?, nanos(&columns[1])?);
            let steps = steps.as_primitive::<IntervalMonthDayNanoType>();
            let bound = |ends: &[Option<i128>], row: usize| {
                if ends.len() == 1 { ends[0] } else { ends[row] }
            };
            (0..rows)
                .map(|row| {
                    let step = at(steps, row);
                    match (bound(&starts, row), bound(&stops, row)) {
                        (Some(start), Some(stop)) if steps.is_valid(step) => {
                            steps_between(start, stop, steps.value(step))
                        }
                        _ => 0,
                    }
                })
                .collect()
        }
        [stops] => {
            let stops = numbers(stops)?;
            let each = (0..rows).map(|row| count(&stops, row).into());
            each.collect()
        }
        [starts, stops, steps @ ..] => {
            let (starts, stops) = (numbers(starts)?, numbers(stops)?);
            let steps = steps.first().map(numbers).transpose()?;
            let each = (0..rows).map(|row| {
                let step = match &steps {
                    Some(steps) => number(steps, row),
                    None => Some(1),
                };
                match (number(&starts, row), number(&stops, row), step) {
                    (Some(start), Some(stop), Some(step)) if (step > 0) == (stop > start) => {
                        u128::from(start.abs_diff(stop)) / u128::from(step.unsigned_abs().max(1))
                    }
                    _ => 0,
                }
            });
            each.collect()
        }
        [] => return Ok(0),
    };
    let bytes = lengths.into_iter().map(|length| {
        let length = u64::try_from(length.saturating_add(1)).unwrap_or(u64::MAX);
        length.saturating_mul(NUMBER_BYTES)
    });
    Ok(sum(bytes))
}

/// How often a step fits, at most.
fn steps_between(start: i128, stop: i128, step: IntervalMonthDayNano) -> u128 {
    let signs = [
        step.months.signum(),
        step.days.signum(),
        step.nanoseconds.signum() as i32,
    ];
    let (is_up, is_down) = (signs.contains(&1), signs.contains(&-1));
    if is_up && is_down {
        // It may go back and forth.
        return u128::MAX;
    }
    if (is_up && stop < start) || (is_down && stop > start) {
        return 0;
    }
    let days = u128::from(step.months.unsigned_abs()) * DAYS_PER_MONTH
        + u128::from(step.days.unsigned_abs());
    let width = days * NANOS_PER_DAY + u128::from(step.nanoseconds.unsigned_abs());
    // A step of nothing is refused by the function itself.
    start.abs_diff(stop).checked_div(width).unwrap_or(0)
}

impl ScalarUDFImpl for Bounded {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arg_types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.check(&args)?;
        self.inner.invoke_with_args(args)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::Field;
    use datafusion::common::ScalarValue;
    use datafusion::common::config::ConfigOptions;
    use datafusion::execution::SessionStateDefaults;

    use super::*;

    fn call(name: &str, values: Vec<ScalarValue>, rows: usize) -> Result<ColumnarValue> {
        let functions = bounded(SessionStateDefaults::default_scalar_functions());
        let functions = functions.iter().find(|function| function.name() == name);
        let field = |data_type| Arc::new(Field::new("argument", data_type, true));
        let arg_fields: Vec<_> = values
            .iter()
            .map(|value| field(value.data_type()))
            .collect();
        let arg_types: Vec<_> = values.iter().map(ScalarValue::data_type).collect();
        let function = functions.expect("there");
        function.invoke_with_args(ScalarFunctionArgs {
            return_field: field(function.return_type(&arg_types)?),
            args: values.into_iter().map(ColumnarValue::Scalar).collect(),
            arg_fields,
            number_rows: rows,
            config_options: Arc::new(ConfigOptions::new()),
        })
    }

    #[test]
    fn what_would_be_too_long_is_refused_before_it_is_made() {
        let text = |text: &str| ScalarValue::Utf8(Some(text.to_owned()));
        let number = |number: i64| ScalarValue::Int64(Some(number));
        let list = |elements: &[i64]| {
            let elements: Vec<_> = elements.iter().map(|&element| number(element)).collect();
            ScalarValue::List(ScalarValue::new_list_nullable(&elements, &DataType::Int64))
        };
        let time = |nanos: i64| ScalarValue::TimestampNanosecond(Some(nanos), None);
        let step = |months, days, nanos| ScalarValue::new_interval_mdn(months, days, nanos);
        for (name, values) in [
            ("repeat", vec![text("xyz"), number(1 << 40)]),
            ("repeat", vec![text("xyz"), number(i64::MAX)]),
            ("lpad", vec![text("x"), number(i32::MAX.into())]),
            ("rpad", vec![text("x"), number(i32::MAX.into())]),
            ("array_repeat", vec![number(1), number(800_000_000)]),
            ("array_repeat", vec![list(&[1; 1000]), number(100_000)]),
            (
                "array_repeat",
                vec![text(&"x".repeat(1000)), number(1_000_000)],
            ),
            ("array_resize", vec![list(&[1]), number(800_000_000)]),
            (
                "array_resize",
                vec![list(&[1]), number(800_000_000), number(2)],
            ),
            ("range", vec![number(1 << 30)]),
            ("range", vec![number(0), number(i64::MIN), number(-1)]),
            ("generate_series", vec![number(i64::MIN), number(i64::MAX)]),
            ("range", vec![time(0), time(i64::MAX), step(0, 0, 1)]),
            ("range", vec![time(0), time(1), step(1, -31, 0)]),
        ] {
            let error = call(name, values, 1).expect_err(name).to_string();
            assert!(error.contains("at most"), "{error}");
        }
        for (name, values) in [
            ("repeat", vec![text("x"), number(3)]),
            ("repeat", vec![text("x"), number(-1)]),
            ("lpad", vec![text("x"), number(3)]),
            ("rpad", vec![text("x"), number(3)]),
            ("array_repeat", vec![number(1), number(3)]),
            ("array_resize", vec![list(&[1, 2]), number(3), number(0)]),
            ("range", vec![number(5)]),
            ("range", vec![number(5), number(1)]),
            ("generate_series", vec![number(10), number(0), number(-2)]),
            ("range", vec![time(0), time(1 << 60), step(1, 0, 0)]),
            ("range", vec![time(1 << 60), time(0), step(0, 0, 1)]),
        ] {
            call(name, values, 1).expect(name);
        }
    }

    #[test]
    fn lists_of_lists_are_measured_by_what_is_in_them() {
        let one = |element: i64| {
            let list = ScalarValue::new_list_nullable(
                &[ScalarValue::Int64(Some(element))],
                &DataType::Int64,
            );
            ScalarValue::List(list)
        };
        let inner = DataType::List(Arc::new(Field::new_list_field(DataType::Int64, true)));
        let nested: Vec<ArrayRef> = (0..1000)
            .map(|row| ScalarValue::new_list_nullable(&[one(row)], &inner) as ArrayRef)
            .collect();
        let nested: Vec<&dyn Array> = nested.iter().map(AsRef::as_ref).collect();
        let column = arrow::compute::concat(&nested).expect("one type");
        let bytes: u64 = (0..1000).map(|row| bytes_of(&column, row)).sum();
        assert!((8_000..80_000).contains(&bytes), "{bytes}");
    }
}
