//! Functions that make texts as long as they are told to, with a limit: `repeat`, `lpad` and `rpad`.
//!
//! What they make is in no memory limit, and a call of a few bytes could ask for gigabytes, or for minutes of a thread.

use std::sync::Arc;

use arrow::array::{Array, AsArray, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef, Int64Type};
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

/// The functions of `functions` that need a limit, with one.
pub(super) fn bounded(functions: impl IntoIterator<Item = Arc<ScalarUDF>>) -> Vec<ScalarUDF> {
    let functions = functions.into_iter();
    let wanted = functions.filter(|function| matches!(function.name(), "repeat" | "lpad" | "rpad"));
    wanted
        .map(|inner| ScalarUDF::new_from_impl(Bounded { inner }))
        .collect()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Bounded {
    inner: Arc<ScalarUDF>,
}

impl Bounded {
    /// Refuses arguments that ask for too much.
    fn check(&self, args: &ScalarFunctionArgs) -> Result<()> {
        let [text, count, ..] = args.args.as_slice() else {
            return Ok(());
        };
        let counts = self.rows(count, args.number_rows)?;
        let counts = cast(&counts, &DataType::Int64)?;
        let counts: &Int64Array = counts.as_primitive::<Int64Type>();
        let repeats = self.name() == "repeat";
        let bytes: u64 = if repeats {
            let texts = cast(&self.rows(text, args.number_rows)?, &DataType::Utf8View)?;
            let texts = texts.as_string_view();
            // A scalar beside a column stands for each of its rows.
            let each = (0..texts.len().max(counts.len())).map(|row| {
                let text = if texts.len() == 1 { 0 } else { row };
                let count = if counts.len() == 1 { 0 } else { row };
                if texts.is_null(text) || counts.is_null(count) {
                    return 0;
                }
                let count = u64::try_from(counts.value(count)).unwrap_or(0);
                count.saturating_mul(texts.value(text).len() as u64)
            });
            each.fold(0, u64::saturating_add)
        } else {
            let each = counts.iter().flatten();
            let each = each.map(|count| u64::try_from(count).unwrap_or(0));
            let all = each.fold(0, u64::saturating_add);
            let rows = if counts.len() == 1 {
                args.number_rows as u64
            } else {
                1
            };
            all.saturating_mul(CHARACTER_BYTES).saturating_mul(rows)
        };
        if bytes > BYTES_MAX {
            let message = format!(
                "{} would make {bytes} bytes at once, {BYTES_MAX} at most",
                self.name()
            );
            return Err(to_datafusion(Error::new(ErrorKind::Exhausted, message)));
        }
        Ok(())
    }

    /// A column as it is, a scalar as one row.
    fn rows(&self, value: &ColumnarValue, rows: usize) -> Result<Arc<dyn Array>> {
        match value {
            ColumnarValue::Array(_) => value.to_array(rows),
            ColumnarValue::Scalar(scalar) => scalar.to_array(),
        }
    }
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

    fn call(name: &str, text: &str, count: i64, rows: usize) -> Result<ColumnarValue> {
        let functions = bounded(SessionStateDefaults::default_scalar_functions());
        let function = functions.iter().find(|function| function.name() == name);
        let field = |data_type| Arc::new(Field::new("argument", data_type, true));
        function
            .expect("there")
            .invoke_with_args(ScalarFunctionArgs {
                args: vec![
                    ColumnarValue::Scalar(ScalarValue::Utf8(Some(text.to_owned()))),
                    ColumnarValue::Scalar(ScalarValue::Int64(Some(count))),
                ],
                arg_fields: vec![field(DataType::Utf8), field(DataType::Int64)],
                number_rows: rows,
                return_field: field(DataType::Utf8),
                config_options: Arc::new(ConfigOptions::new()),
            })
    }

    #[test]
    fn what_would_be_too_long_is_refused_before_it_is_made() {
        for (name, text, count) in [
            ("repeat", "xyz", 1 << 40),
            ("repeat", "xyz", i64::MAX),
            ("lpad", "x", i32::MAX.into()),
            ("rpad", "x", i32::MAX.into()),
        ] {
            let error = call(name, text, count, 1).expect_err(name).to_string();
            assert!(error.contains("at most"), "{error}");
        }
        for (name, count) in [("repeat", 3), ("lpad", 3), ("rpad", 3), ("repeat", -1)] {
            call(name, "x", count, 1).expect(name);
        }
    }
}
