//! The types that a client wishes for.

use std::sync::Arc;

use ::arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, RecordBatchOptions};
use ::arrow::datatypes::{DataType, Field, SchemaRef, TimeUnit, TimestampNanosecondType};
use bytes::Bytes;

use crate::error::{Code, Error, Result};
use crate::wire::arrow;

/// A schema that answers are cast to, by position: the first column a time, the others values.
#[derive(Clone, Debug)]
pub(super) struct Template {
    /// What the answer is before.
    source: SchemaRef,
    /// What it is told as; none is as it is.
    target: Option<SchemaRef>,
}

impl Template {
    /// What a client sent for an answer of the schema `source`; nothing at all is no wish.
    ///
    /// A time can be a timestamp of any unit and zone, or a whole number of nanoseconds; a value any floating-point number.
    ///
    /// # Errors
    /// Code 438 for bytes that are no schema, for more or fewer columns, and for other types.
    pub(super) fn of(bytes: Bytes, source: SchemaRef) -> Result<Self> {
        if bytes.is_empty() {
            return Ok(Self {
                source,
                target: None,
            });
        }
        let (target, _) = arrow::decode_plain(bytes)?;
        if target.fields().len() != source.fields().len() {
            return Err(refused(format!(
                "the template has {} columns, the answer {}",
                target.fields().len(),
                source.fields().len()
            )));
        }
        for (position, field) in target.fields().iter().enumerate() {
            let is_possible = match position {
                0 => is_time(field.data_type()),
                _ => field.data_type().is_floating(),
            };
            if !is_possible {
                return Err(refused(format!(
                    "the template has {} in column \"{}\", which a {} cannot be cast to",
                    field.data_type(),
                    field.name(),
                    if position == 0 { "time" } else { "value" }
                )));
            }
        }
        Ok(Self {
            source,
            target: Some(target),
        })
    }

    /// The schema of what [`encode`](Self::encode) takes.
    pub(super) fn source(&self) -> SchemaRef {
        Arc::clone(&self.source)
    }

    /// No rows, of the schema that [`encode`](Self::encode) takes.
    pub(super) fn no_rows(&self) -> RecordBatch {
        RecordBatch::new_empty(self.source())
    }

    /// Rows as one IPC stream, of exactly the schema wished for.
    ///
    /// # Errors
    /// Code 438 for a time that does not fit.
    pub(super) fn encode(&self, rows: RecordBatch) -> Result<Bytes> {
        match &self.target {
            None => arrow::encode(&rows),
            Some(target) => arrow::encode(&cast(&rows, target)?),
        }
    }
}

fn is_time(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Timestamp(_, _)) || data_type.is_integer()
}

fn cast(rows: &RecordBatch, target: &SchemaRef) -> Result<RecordBatch> {
    let columns = rows.columns().iter().zip(target.fields()).enumerate();
    let columns = columns.map(|(position, (column, field))| match position {
        0 => cast_time(column, field),
        _ => strict_cast(column, field),
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(target), columns, &options)
        .map_err(|error| Error::internal("columns do not make a batch").with_source(error))
}

/// Times in coarser units are cut off towards the past, where Arrow's own cast goes towards 1970. A zone says how an instant is
/// shown, and changes nothing about it.
fn cast_time(column: &ArrayRef, field: &Field) -> Result<ArrayRef> {
    let nanoseconds = column.as_primitive::<TimestampNanosecondType>().values();
    let per_unit = match field.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => 1_000_000_000,
        DataType::Timestamp(TimeUnit::Millisecond, _) => 1_000_000,
        DataType::Timestamp(TimeUnit::Microsecond, _) => 1000,
        _ => 1,
    };
    let numbers = match per_unit {
        1 => Int64Array::new(nanoseconds.clone(), None),
        _ => nanoseconds
            .iter()
            .map(|time| time.div_euclid(per_unit))
            .collect(),
    };
    let numbers: ArrayRef = Arc::new(numbers);
    strict_cast(&numbers, field)
}

fn strict_cast(column: &ArrayRef, field: &Field) -> Result<ArrayRef> {
    arrow::strict_cast(column, field.data_type()).map_err(|error| {
        refused(format!(
            "column \"{}\" of the template is {}, which does not hold all that there is",
            field.name(),
            field.data_type()
        ))
        .with_source(error)
    })
}

fn refused(message: String) -> Error {
    Error::invalid(message).with_code(Code::InvalidParameter)
}

#[cfg(test)]
mod tests {
    use ::arrow::array::{Array, Float32Array, Int16Array, TimestampSecondArray};
    use ::arrow::datatypes::Schema;

    use super::*;

    fn template(fields: Vec<Field>) -> Result<Template> {
        let schema = Arc::new(Schema::new(fields));
        let bytes = arrow::encode(&RecordBatch::new_empty(schema)).expect("a schema");
        Template::of(bytes, arrow::points_schema())
    }

    fn rows(times: Vec<i64>, values: Vec<f64>) -> RecordBatch {
        arrow::points_batch(arrow::points_schema(), times.into(), values.into()).expect("a batch")
    }

    #[test]
    fn coarser_times_are_cut_off_towards_the_past() {
        let seconds = DataType::Timestamp(TimeUnit::Second, Some("Europe/Zurich".into()));
        let template = template(vec![
            Field::new("t", seconds, true),
            Field::new("v", DataType::Float32, true),
        ])
        .expect("possible");
        let bytes = template
            .encode(rows(
                vec![-1_000_000_001, -1, 0, 1_999_999_999],
                vec![f64::NAN, 0.1, -0.0, 1e300],
            ))
            .expect("cast");
        let (schema, batches) = arrow::decode(bytes).expect("decoded");
        assert_eq!(Some(&schema), template.target.as_ref());
        let times: &TimestampSecondArray = batches[0].column(0).as_primitive();
        assert_eq!(times.values().to_vec(), [-2, -1, 0, 1]);
        let values: &Float32Array = batches[0].column(1).as_primitive();
        assert!(values.value(0).is_nan() && values.null_count() == 0);
        assert_eq!(values.value(1), 0.1_f32);
        assert!(values.value(2).is_sign_negative());
        assert_eq!(values.value(3), f32::INFINITY);
    }

    #[test]
    fn times_that_do_not_fit_are_refused() {
        let template = template(vec![
            Field::new("t", DataType::Int16, false),
            Field::new("v", DataType::Float16, false),
        ])
        .expect("possible");
        let bytes = template.encode(rows(vec![-5], vec![1.0])).expect("fits");
        let (_, batches) = arrow::decode(bytes).expect("decoded");
        let times: &Int16Array = batches[0].column(0).as_primitive();
        assert_eq!(times.value(0), -5);
        let error = template
            .encode(rows(vec![1 << 40], vec![1.0]))
            .expect_err("does not fit");
        assert_eq!(error.code(), Some(Code::InvalidParameter));
    }

    #[test]
    fn impossible_templates_are_refused() {
        let float = || Field::new("v", DataType::Float64, false);
        let int = || Field::new("t", DataType::Int64, false);
        for fields in [
            vec![int()],
            vec![int(), float(), float()],
            vec![Field::new("t", DataType::Utf8, false), float()],
            vec![int(), Field::new("v", DataType::Int64, false)],
        ] {
            let error = template(fields).expect_err("refused");
            assert_eq!(error.code(), Some(Code::InvalidParameter));
        }
        let garbage = Bytes::from_static(b"no schema at all, but long enough to look like one");
        let error = Template::of(garbage, arrow::points_schema()).expect_err("refused");
        assert_eq!(error.code(), Some(Code::InvalidParameter));
    }
}
