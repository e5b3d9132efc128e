//! Columns in Arrow's IPC format: one whole stream (schema, batches, end) in each message.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, PrimitiveArray, RecordBatch, TimestampNanosecondArray,
    UInt64Array,
};
use arrow::buffer::{Buffer, ScalarBuffer};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{
    DataType, Field, Float64Type, Int64Type, Schema, SchemaRef, TimeUnit, TimestampNanosecondType,
    UInt64Type,
};
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamDecoder;
use arrow::ipc::root_as_message;
use arrow::ipc::writer::StreamWriter;
use bytes::Bytes;

use super::windows::told;
use crate::error::{Code, Error, Result};
use crate::model::{MultiBatch, Stat, StreamId, Timestamp};

/// Rows of one message of points, at most: 1 MiB.
pub const MESSAGE_ROWS: usize = 64 * 1024;

/// Bytes of one message, about: clients that never raised gRPC's limit take 4 MiB.
pub const MESSAGE_BYTES: usize = 1 << 20;

/// What comes before the length of a message.
const CONTINUATION_MARKER: [u8; 4] = [0xff; 4];

/// The end of a stream: a message of no length.
const END: [u8; 8] = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];

/// The type of every time: nanoseconds in a zone that is called UTC, not +00:00.
pub fn time_type() -> DataType {
    DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()))
}

fn field(name: impl Into<String>, data_type: DataType) -> Field {
    Field::new(name, data_type, false)
}

/// `time, value`: of points.
pub fn points_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        field("time", time_type()),
        field("value", DataType::Float64),
    ]))
}

/// `time, min, mean, max, count, stddev`: of windows.
pub fn windows_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        field("time", time_type()),
        field("min", DataType::Float64),
        field("mean", DataType::Float64),
        field("max", DataType::Float64),
        field("count", DataType::UInt64),
        field("stddev", DataType::Float64),
    ]))
}

/// `time`, and a column named by its uuid for each stream.
pub fn multi_schema(streams: impl Iterator<Item = StreamId>) -> SchemaRef {
    let columns = streams.map(|id| field(id.to_string(), DataType::Float64));
    let fields: Vec<Field> = std::iter::once(field("time", time_type()))
        .chain(columns)
        .collect();
    Arc::new(Schema::new(fields))
}

fn times(times: ScalarBuffer<i64>) -> ArrayRef {
    Arc::new(TimestampNanosecondArray::new(times, None).with_timezone("UTC"))
}

fn batch(schema: SchemaRef, columns: Vec<ArrayRef>) -> Result<RecordBatch> {
    RecordBatch::try_new(schema, columns)
        .map_err(|error| Error::internal("columns do not make a batch").with_source(error))
}

/// Points as a batch.
///
/// # Errors
/// Internal if the columns are not of one length.
pub fn points_batch(
    schema: SchemaRef,
    time: ScalarBuffer<i64>,
    values: ScalarBuffer<f64>,
) -> Result<RecordBatch> {
    let values = Arc::new(Float64Array::new(values, None));
    batch(schema, vec![times(time), values])
}

/// Windows as a batch; empty ones are all zeros.
///
/// # Errors
/// Internal if the columns are not of one length.
pub fn windows_batch(
    schema: SchemaRef,
    time: Vec<Timestamp>,
    stats: &[Stat],
) -> Result<RecordBatch> {
    // All columns in one pass: the statistics are large, and read once.
    let count: Vec<u64> = stats.iter().map(|stat| stat.count).collect();
    let [mut min, mut mean, mut max, mut stddev] = [(); 4].map(|()| vec![0.0; stats.len()]);
    let numbers = min.iter_mut().zip(&mut mean).zip(&mut max).zip(&mut stddev);
    for (stat, (((min, mean), max), stddev)) in stats.iter().zip(numbers) {
        if stat.count > 0 {
            (*min, *mean, *max, *stddev) = (stat.min, stat.mean, stat.max, stat.stddev());
        }
    }
    let column =
        |values: Vec<f64>| -> ArrayRef { Arc::new(Float64Array::new(values.into(), None)) };
    batch(
        schema,
        vec![
            times(time.into()),
            column(min),
            column(mean),
            column(max),
            Arc::new(UInt64Array::new(count.into(), None)),
            column(stddev),
        ],
    )
}

/// Streams side by side as a batch; where a stream has no point there is NaN, for the columns take no nulls.
///
/// # Errors
/// Internal if the columns are not of one length.
pub fn multi_batch(schema: SchemaRef, rows: &MultiBatch) -> Result<RecordBatch> {
    let values = rows.columns.iter().map(|column| -> ArrayRef {
        match column.nulls() {
            Some(nulls) if nulls.null_count() > 0 => {
                let values = column.values().iter().zip(nulls);
                let values = values.map(|(&value, valid)| if valid { value } else { f64::NAN });
                Arc::new(Float64Array::from_iter_values(values))
            }
            _ => Arc::new(Float64Array::new(column.values().clone(), None)),
        }
    });
    let columns = std::iter::once(times(rows.times.clone()))
        .chain(values)
        .collect();
    batch(schema, columns)
}

/// A schema and a batch as one IPC stream.
///
/// # Errors
/// Internal if Arrow cannot write it.
pub fn encode(batch: &RecordBatch) -> Result<Bytes> {
    let bytes = Vec::with_capacity(batch.get_array_memory_size().min(2 * MESSAGE_BYTES) + 1024);
    let write = || -> Result<Vec<u8>, ArrowError> {
        let mut writer = StreamWriter::try_new(bytes, &batch.schema())?;
        if batch.num_rows() > 0 {
            writer.write(batch)?;
        }
        writer.into_inner()
    };
    write()
        .map(Bytes::from)
        .map_err(|error| Error::internal("a batch cannot be written").with_source(error))
}

/// The schema and the batches of one IPC stream; the schema alone is one too, with or without an end. Nothing at all is no
/// stream.
///
/// # Errors
/// Code 438 for bytes that are no IPC stream, and for one that ends before its time.
pub fn decode(bytes: Bytes) -> Result<(SchemaRef, Vec<RecordBatch>)> {
    // Arrow asserts what it expects of types and offsets, and bytes may come from anyone.
    let decoded = catch_unwind(AssertUnwindSafe(|| decode_stream(bytes)));
    decoded.unwrap_or_else(|_| {
        let message = "the Arrow bytes contradict themselves".to_owned();
        Err(parameter(message))
    })
}

/// As [`decode`], of bytes from someone who is not trusted: bodies that are compressed are refused, for they may become, or say
/// that they become, any number of bytes.
///
/// # Errors
/// As those of [`decode`], and code 438 for compressed bodies.
pub fn decode_plain(bytes: Bytes) -> Result<(SchemaRef, Vec<RecordBatch>)> {
    let mut rest = bytes.as_ref();
    while let Some((message, after)) = next_message(rest) {
        let message = root_as_message(message)
            .map_err(|error| malformed(ArrowError::IpcError(error.to_string())))?;
        let batch = message.header_as_record_batch().or_else(|| {
            let dictionary = message.header_as_dictionary_batch()?;
            dictionary.data()
        });
        if batch.is_some_and(|batch| batch.compression().is_some()) {
            return Err(parameter("the Arrow bytes are compressed".to_owned()));
        }
        let body = usize::try_from(message.bodyLength()).ok();
        // Where a body is cut short, decoding says so.
        rest = body.and_then(|body| after.get(body..)).unwrap_or_default();
    }
    decode(bytes)
}

/// The first message of a stream, and what comes after it; none at the stream's end, and where there is no whole one.
fn next_message(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let bytes = bytes.strip_prefix(&CONTINUATION_MARKER).unwrap_or(bytes);
    let (size, bytes) = bytes.split_first_chunk::<4>()?;
    let size = usize::try_from(u32::from_le_bytes(*size)).ok()?;
    if size == 0 {
        return None;
    }
    bytes.split_at_checked(size)
}

fn decode_stream(bytes: Bytes) -> Result<(SchemaRef, Vec<RecordBatch>)> {
    // The decoder takes a message in when it sees what comes after it, which may be nothing.
    let is_one_message = next_message(&bytes).is_some_and(|(_, after)| after.is_empty());
    let mut bytes = Buffer::from(bytes);
    let mut decoder = StreamDecoder::new();
    let mut batches = Vec::new();
    while let Some(batch) = decoder.decode(&mut bytes).map_err(malformed)? {
        batches.push(batch);
    }
    if is_one_message {
        let mut end = Buffer::from(END);
        decoder.decode(&mut end).map_err(malformed)?;
    }
    decoder.finish().map_err(malformed)?;
    match decoder.schema() {
        Some(schema) => Ok((schema, batches)),
        None => Err(parameter("the Arrow bytes hold no schema".to_owned())),
    }
}

/// Refuses a schema that is not that of points: a timestamp of any unit and zone or whole nanoseconds, then numbers.
///
/// # Errors
/// Code 438.
pub fn check_points(schema: &Schema) -> Result<()> {
    let [time, value] = schema.fields().as_ref() else {
        return Err(not_two_columns(schema.fields().len()));
    };
    match time.data_type() {
        DataType::Timestamp(_, _) | DataType::Int64 => check_numbers(value.data_type()),
        other => Err(no_time(other)),
    }
}

/// Times and values of a batch, by position: a timestamp of any unit and zone or whole nanoseconds, then numbers.
///
/// # Errors
/// Code 438 for other columns, 425 for nulls.
pub fn points_of(batch: &RecordBatch) -> Result<(ScalarBuffer<i64>, ScalarBuffer<f64>)> {
    let [time, value] = batch.columns() else {
        return Err(not_two_columns(batch.num_columns()));
    };
    for (name, column) in [("time", time), ("value", value)] {
        if column.null_count() > 0 {
            return Err(
                Error::invalid(format!("insert contains {name}s that are null"))
                    .with_code(Code::BadValue),
            );
        }
    }
    Ok((nanoseconds(time)?, numbers(value)?))
}

/// Windows of a batch, by name: a newer server may put columns beside those it must have.
///
/// # Errors
/// Code 438 if one of them is missing, or of another type.
pub fn windows_of(batch: &RecordBatch) -> Result<(ScalarBuffer<i64>, Vec<Stat>)> {
    let column = |name: &str| {
        batch
            .column_by_name(name)
            .ok_or_else(|| parameter(format!("windows without a column \"{name}\"")))
    };
    let time = nanoseconds(column("time")?)?;
    let count = column("count")?;
    let count = cast(count, &DataType::UInt64)?;
    let count = count.as_primitive::<UInt64Type>().values().clone();
    let [min, mean, max, stddev] = [
        numbers(column("min")?)?,
        numbers(column("mean")?)?,
        numbers(column("max")?)?,
        numbers(column("stddev")?)?,
    ];
    let stats = (0..batch.num_rows()).map(|row| match count[row] {
        0 => Stat::EMPTY,
        count => told(count, min[row], mean[row], max[row], stddev[row]),
    });
    let stats = stats.collect();
    Ok((time, stats))
}

/// Rows of a batch of many streams, by position.
///
/// # Errors
/// Code 438 if there are not `streams` columns of numbers beside the time.
pub fn multi_of(batch: &RecordBatch, streams: usize) -> Result<MultiBatch> {
    let Some((time, columns)) = batch.columns().split_first() else {
        return Err(parameter("rows without a time".to_owned()));
    };
    if columns.len() != streams {
        return Err(parameter(format!(
            "rows of {} streams, not {streams}",
            columns.len()
        )));
    }
    let columns = columns.iter().map(|column| {
        let column = cast(column, &DataType::Float64)?;
        let column = column.as_primitive::<Float64Type>();
        let values = column.values().clone();
        // What no point stores tells that there is none.
        let missing = values.iter().any(|value| value.is_nan()) || column.null_count() > 0;
        let nulls = missing.then(|| {
            let valid = values
                .iter()
                .enumerate()
                .map(|(row, value)| !value.is_nan() && column.is_valid(row));
            valid.collect::<Vec<bool>>().into()
        });
        Ok(Float64Array::new(values, nulls))
    });
    Ok(MultiBatch {
        times: nanoseconds(time)?,
        columns: columns.collect::<Result<_>>()?,
    })
}

fn nanoseconds(column: &ArrayRef) -> Result<ScalarBuffer<i64>> {
    match column.data_type() {
        DataType::Timestamp(TimeUnit::Nanosecond, _) => Ok(column
            .as_primitive::<TimestampNanosecondType>()
            .values()
            .clone()),
        DataType::Int64 => Ok(column.as_primitive::<Int64Type>().values().clone()),
        DataType::Timestamp(_, zone) => {
            let nanoseconds = DataType::Timestamp(TimeUnit::Nanosecond, zone.clone());
            // A time too far away to be told in nanoseconds is no null.
            let column = strict_cast(column, &nanoseconds).map_err(|error| {
                Error::invalid("a time is outside of what nanoseconds can tell")
                    .with_code(Code::InvalidTimeRange)
                    .with_source(error)
            })?;
            let column: &PrimitiveArray<TimestampNanosecondType> = column.as_primitive();
            Ok(column.values().clone())
        }
        other => Err(no_time(other)),
    }
}

fn not_two_columns(columns: usize) -> Error {
    parameter(format!(
        "points have two columns, time and value, not {columns}"
    ))
}

fn no_time(data_type: &DataType) -> Error {
    parameter(format!(
        "the first column is {data_type}, not a timestamp or whole nanoseconds"
    ))
}

fn check_numbers(data_type: &DataType) -> Result<()> {
    if data_type.is_numeric() {
        return Ok(());
    }
    Err(parameter(format!(
        "a column of values is {data_type}, not numbers"
    )))
}

fn numbers(column: &ArrayRef) -> Result<ScalarBuffer<f64>> {
    check_numbers(column.data_type())?;
    let column = cast(column, &DataType::Float64)?;
    Ok(column.as_primitive::<Float64Type>().values().clone())
}

fn cast(column: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    strict_cast(column, to).map_err(|error| {
        parameter(format!("a column is {}, not {to}", column.data_type())).with_source(error)
    })
}

/// Without turning what does not fit into nulls.
pub fn strict_cast(column: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    if column.data_type() == to {
        return Ok(Arc::clone(column));
    }
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    cast_with_options(column, to, &options)
}

fn malformed(error: ArrowError) -> Error {
    parameter("the Arrow bytes are no whole IPC stream".to_owned()).with_source(error)
}

fn parameter(message: String) -> Error {
    Error::invalid(message).with_code(Code::InvalidParameter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_survive_the_wire() {
        let (times, values) = (vec![-1, 5], vec![0.5, -0.0]);
        let batch = points_batch(points_schema(), times.clone().into(), values.clone().into());
        let bytes = encode(&batch.expect("a batch")).expect("encoded");
        let (schema, batches) = decode(bytes).expect("decoded");
        assert_eq!(schema, points_schema());
        let (t, v) = points_of(&batches[0]).expect("points");
        assert_eq!((t.to_vec(), v.to_vec()), (times, values));
    }

    #[test]
    fn nothing_still_has_a_schema() {
        let empty = RecordBatch::new_empty(windows_schema());
        let (schema, batches) = decode(encode(&empty).expect("encoded")).expect("decoded");
        assert_eq!(schema, windows_schema());
        assert!(batches.is_empty());
    }

    #[test]
    fn a_missing_point_is_nan_on_the_wire() {
        let rows = MultiBatch {
            times: vec![1, 2].into(),
            columns: vec![
                vec![Some(1.0), None].into(),
                vec![Some(3.0), Some(4.0)].into(),
            ],
        };
        let ids = [1_u128, 2].map(|id| StreamId(uuid::Uuid::from_u128(id)));
        let batch = multi_batch(multi_schema(ids.into_iter()), &rows).expect("a batch");
        let (_, batches) = decode(encode(&batch).expect("encoded")).expect("decoded");
        assert!(
            batches[0]
                .column(1)
                .as_primitive::<Float64Type>()
                .value(1)
                .is_nan()
        );
        let back = multi_of(&batches[0], 2).expect("rows");
        assert_eq!(back.columns, rows.columns);
    }

    #[test]
    fn bytes_that_are_no_stream_are_refused() {
        let batch = points_batch(points_schema(), vec![1].into(), vec![1.0].into());
        let whole = encode(&batch.expect("a batch")).expect("encoded");
        for bytes in [
            Bytes::new(),
            Bytes::from_static(b"not arrow at all, but long enough to look"),
            whole.slice(..whole.len() / 2),
        ] {
            for decode in [decode, decode_plain] {
                let error = decode(bytes.clone()).expect_err("refused");
                assert_eq!(error.code(), Some(Code::InvalidParameter));
            }
        }
    }

    #[test]
    fn a_schema_needs_no_end() {
        let whole = encode(&RecordBatch::new_empty(points_schema())).expect("encoded");
        for bytes in [whole.clone(), whole.slice(..whole.len() - END.len())] {
            let (schema, batches) = decode_plain(bytes).expect("decoded");
            assert_eq!(schema, points_schema());
            assert!(batches.is_empty());
        }
        decode_plain(whole.slice(..whole.len() - END.len() - 1)).expect_err("cut short");
    }

    #[test]
    fn damaged_bytes_are_refused_or_read_and_never_fatal() {
        let batch = points_batch(points_schema(), vec![1, 2].into(), vec![1.0, 2.0].into());
        let whole = encode(&batch.expect("a batch")).expect("encoded");
        for at in 0..whole.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut bytes = whole.to_vec();
                bytes[at] = value;
                if let Ok((_, batches)) = decode_plain(bytes.into()) {
                    for batch in batches {
                        let _read_or_refused = points_of(&batch);
                    }
                }
            }
            if let Ok((_, batches)) = decode_plain(whole.slice(..at)) {
                assert!(batches.is_empty() || at + END.len() >= whole.len());
            }
        }
    }
}
