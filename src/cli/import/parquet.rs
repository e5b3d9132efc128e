//! Rows of a Parquet file.

use std::fs::File;
use std::sync::Arc;

use ::parquet::arrow::ProjectionMask;
use ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use arrow::array::cast::AsArray;
use arrow::array::{Array, ArrayRef, FixedSizeBinaryArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit};
use uuid::Uuid;

use super::columns::{Source, Stream};
use super::rows::{Demand, Reason, Row, Sink, Tally, Value};
use super::time::{Parsed, in_range};
use super::{Columns, ImportArgs, TimeParser};
use crate::error::{Error, Result};

/// Rows decoded at once.
const READ_ROWS: usize = 16 * 1024;

pub(super) fn read(
    file: File,
    args: &ImportArgs,
    mut times: TimeParser,
    mut sink: Sink,
) -> Result<Tally> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(unreadable)?;
    let schema = builder.schema();
    let names: Vec<String> = (schema.fields().iter())
        .map(|field| field.name().clone())
        .collect();
    let columns = Columns::find(&names, args)?;
    sink.begin(&columns.stream);
    // Only what is needed is decoded; `kept` is where it then stands.
    let mut kept = used(&columns);
    kept.sort_unstable();
    kept.dedup();
    let mask = ProjectionMask::roots(builder.parquet_schema(), kept.iter().copied());
    let reader = builder
        .with_projection(mask)
        .with_batch_size(READ_ROWS)
        .build()
        .map_err(unreadable)?;
    let mut first_row = 1;
    for batch in reader {
        let batch = batch.map_err(unreadable)?;
        let decoded = Decoded::new(&batch, &columns, &kept)?;
        for row in 0..batch.num_rows() {
            let time = decoded.time.get(row, &mut times)?;
            let row_read = Row {
                stream: decoded.stream(row),
                time,
                value: decoded.value(row),
            };
            let place = || format!("row {}", first_row + row);
            if sink.push(&row_read, place)? == Demand::Nothing {
                return sink.finish();
            }
        }
        first_row += batch.num_rows();
    }
    sink.finish()
}

fn unreadable(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::invalid("the file is not Parquet that can be read").with_source(error)
}

fn used(columns: &Columns) -> Vec<usize> {
    let sources = match &columns.stream {
        Stream::Uuid(uuid) => vec![uuid],
        Stream::Path {
            collection,
            name,
            unit,
        } => [Some(collection), Some(name), unit.as_ref()]
            .into_iter()
            .flatten()
            .collect(),
    };
    let by_column = sources.into_iter().filter_map(|source| match source {
        Source::Column(column) => Some(*column),
        Source::Constant(_) => None,
    });
    by_column.chain([columns.time, columns.value]).collect()
}

/// The columns of a batch in the few types that rows are made of.
struct Decoded<'a> {
    stream: [Option<Text<'a>>; 3],
    time: Time,
    value: ArrayRef,
    /// Before its conversion to a float, which makes nulls of what is no number.
    value_raw: ArrayRef,
}

enum Text<'a> {
    Constant(&'a str),
    Column(StringArray),
}

enum Time {
    /// Ticks of so many nanoseconds; before their conversion, which makes nulls of what does not fit.
    Ticks(ArrayRef, ArrayRef, i64),
    Integer(ArrayRef, ArrayRef),
    Float(ArrayRef),
    Text(StringArray),
}

impl<'a> Decoded<'a> {
    fn new(batch: &RecordBatch, columns: &'a Columns, kept: &[usize]) -> Result<Self> {
        let column = |column: usize| {
            // `used` put every column asked for among `kept`.
            let position = kept.partition_point(|&other| other < column);
            batch.column(position)
        };
        let text = |source: &'a Source| match source {
            Source::Constant(text) => Ok(Text::Constant(text)),
            Source::Column(index) => as_text(column(*index)).map(Text::Column),
        };
        let stream = match &columns.stream {
            Stream::Uuid(uuid) => [Some(text(uuid)?), None, None],
            Stream::Path {
                collection,
                name,
                unit,
            } => [
                Some(text(collection)?),
                Some(text(name)?),
                unit.as_ref().map(text).transpose()?,
            ],
        };
        let value_raw = Arc::clone(column(columns.value));
        Ok(Self {
            stream,
            time: Time::new(column(columns.time))?,
            value: cast(&value_raw, &DataType::Float64)
                .map_err(|error| Error::invalid("the values are not numbers").with_source(error))?,
            value_raw,
        })
    }

    fn stream(&self, row: usize) -> [Option<&str>; 3] {
        self.stream.each_ref().map(|text| match text {
            None => None,
            Some(Text::Constant(text)) => Some(*text),
            Some(Text::Column(texts)) => texts.is_valid(row).then(|| texts.value(row)),
        })
    }

    fn value(&self, row: usize) -> Value {
        if self.value_raw.is_null(row) {
            return Err(Reason::ValueMissing);
        }
        if self.value.is_null(row) {
            return Err(Reason::ValueUnreadable);
        }
        Ok(self.value.as_primitive::<Float64Type>().value(row))
    }
}

impl Time {
    fn new(column: &ArrayRef) -> Result<Self> {
        let to = |data_type| {
            cast(column, &data_type)
                .map_err(|error| Error::invalid("the times are not understood").with_source(error))
        };
        let raw = || Arc::clone(column);
        match column.data_type() {
            DataType::Timestamp(unit, _) => {
                let nanoseconds = match unit {
                    TimeUnit::Second => 1_000_000_000,
                    TimeUnit::Millisecond => 1_000_000,
                    TimeUnit::Microsecond => 1_000,
                    TimeUnit::Nanosecond => 1,
                };
                Ok(Self::Ticks(to(DataType::Int64)?, raw(), nanoseconds))
            }
            data_type if data_type.is_integer() => Ok(Self::Integer(to(DataType::Int64)?, raw())),
            data_type if data_type.is_floating() => Ok(Self::Float(to(DataType::Float64)?)),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
                as_text(column).map(Self::Text)
            }
            other => Err(Error::invalid(format!(
                "times of type {other} are not understood: use timestamps, numbers or text"
            ))),
        }
    }

    fn get(&self, row: usize, times: &mut TimeParser) -> Result<Parsed> {
        let whole = |column: &ArrayRef, raw: &ArrayRef| {
            if raw.is_null(row) {
                Err(Reason::TimeMissing)
            } else if column.is_null(row) {
                Err(Reason::TimeOutOfRange)
            } else {
                Ok(column.as_primitive::<Int64Type>().value(row))
            }
        };
        match self {
            Self::Ticks(column, raw, nanoseconds) => Ok(whole(column, raw)
                .and_then(|ticks| in_range(i128::from(ticks) * i128::from(*nanoseconds)))),
            Self::Integer(column, raw) => match whole(column, raw) {
                Ok(number) => times.integer(number),
                Err(reason) => Ok(Err(reason)),
            },
            Self::Float(column) if column.is_null(row) => Ok(Err(Reason::TimeMissing)),
            Self::Float(column) => times.float(column.as_primitive::<Float64Type>().value(row)),
            Self::Text(texts) if texts.is_null(row) => Ok(Err(Reason::TimeMissing)),
            Self::Text(texts) => times.text(texts.value(row)),
        }
    }
}

/// Text of any width, or 16 bytes of a uuid.
fn as_text(column: &ArrayRef) -> Result<StringArray> {
    if let Some(bytes) = column.as_any().downcast_ref::<FixedSizeBinaryArray>()
        && bytes.value_length() == 16
    {
        let uuids = bytes.iter().map(|bytes| {
            let uuid = Uuid::from_slice(bytes?).ok()?;
            Some(uuid.hyphenated().to_string())
        });
        return Ok(uuids.collect());
    }
    let text = cast(column, &DataType::Utf8).map_err(|error| {
        Error::invalid("a column that names streams is not text").with_source(error)
    })?;
    Ok(text.as_string::<i32>().clone())
}
