//! Batches on the wire: small messages, behind the schema that was declared.
//!
//! Statements deliver exactly their schema, in types that every client knows; nothing is converted here.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::writer::IpcWriteOptions;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::{FlightData, IpcMessage, SchemaAsIpc};
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt, TryStreamExt};
use tonic::Status;

use super::status::status;
use crate::error::{Error, Result};

/// Aim of a message's size: 64 Ki rows of time and value. Half of what the smallest clients take is left as a margin.
const MESSAGE_BYTES: usize = 1 << 20;

/// No message with more than one row is larger.
const MESSAGE_BYTES_MAX: usize = 2 << 20;

/// Answers to DoGet.
pub(super) type DataStream = BoxStream<'static, std::result::Result<FlightData, Status>>;

/// The bytes of the rows of `batch`, whatever memory they share with others.
///
/// arrow-flight's own splitter sizes a batch by the capacity of its buffers: a slice of a large chunk counts as the chunk, and
/// is cut to shreds.
fn slice_bytes(batch: &RecordBatch) -> usize {
    batch
        .columns()
        .iter()
        .map(|column| column_bytes(column.as_ref()))
        .sum()
}

fn column_bytes(column: &dyn Array) -> usize {
    // Arrow counts the whole child of a sliced list, which is the same however short the slice.
    let nested = |offsets: &[i32], child: &dyn Array| {
        let (first, last) = (offsets[0] as usize, offsets[offsets.len() - 1] as usize);
        size_of_val(offsets) + column_bytes(child.slice(first, last - first).as_ref())
    };
    match column.data_type() {
        DataType::Map(_, _) => {
            let map = column.as_map();
            nested(map.value_offsets(), map.entries())
        }
        DataType::List(_) => {
            let list = column.as_list::<i32>();
            nested(list.value_offsets(), list.values().as_ref())
        }
        DataType::Struct(_) => {
            let fields = column.as_struct().columns();
            fields
                .iter()
                .map(|field| column_bytes(field.as_ref()))
                .sum()
        }
        // Types that cannot tell are counted by capacity, which is never too little.
        _ => column
            .to_data()
            .get_slice_memory_size()
            .unwrap_or_else(|_| column.get_buffer_memory_size()),
    }
}

/// `batch` in messages of about [`MESSAGE_BYTES`].
fn split(batch: RecordBatch) -> Vec<RecordBatch> {
    let bytes = slice_bytes(&batch);
    let rows = batch.num_rows();
    if bytes <= MESSAGE_BYTES_MAX || rows <= 1 {
        return vec![batch];
    }
    let step = rows.div_ceil(bytes.div_ceil(MESSAGE_BYTES)).max(1);
    // Whole bytes of validity: slices at multiples of eight rows need no bit shifting.
    let step = if step > 8 { step & !7 } else { step };
    (0..rows)
        .step_by(step)
        // Rows of very different length make some slices too large still.
        .flat_map(|row| split(batch.slice(row, step.min(rows - row))))
        .collect()
}

/// `batches` as answers to DoGet, with `schema` declared first.
pub(super) fn encode<S>(schema: SchemaRef, batches: S) -> DataStream
where
    S: Stream<Item = Result<RecordBatch>> + Send + 'static,
{
    let messages = batches
        .map_err(|error| FlightError::from(status(&error)))
        .map_ok(|batch| stream::iter(split(batch).into_iter().map(Ok)))
        .try_flatten();
    FlightDataEncoderBuilder::new()
        .with_schema(schema)
        .with_max_flight_data_size(usize::MAX)
        .build(messages)
        .map_err(Status::from)
        .boxed()
}

/// A schema as Flight's messages carry it.
///
/// # Errors
/// [`ErrorKind::Internal`](crate::error::ErrorKind::Internal) if Arrow cannot encode it.
pub(super) fn schema_bytes(schema: &Schema) -> Result<Bytes> {
    let options = IpcWriteOptions::default();
    let IpcMessage(bytes) =
        SchemaAsIpc::new(schema, &options)
            .try_into()
            .map_err(|error: ArrowError| {
                Error::internal("a schema could not be encoded").with_source(error)
            })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Float64Array, Int64Array, StringArray};

    use super::*;

    #[test]
    fn slices_are_sized_by_their_rows() {
        let times = Arc::new(Int64Array::from_iter_values(0..1_000_000)) as ArrayRef;
        let values = Arc::new(Float64Array::from(vec![1.0; 1_000_000])) as ArrayRef;
        let batch =
            RecordBatch::try_from_iter([("time", times), ("value", values)]).expect("a batch");
        let slice = batch.slice(10, 65_536);
        assert_eq!(slice_bytes(&slice), 1 << 20);
        assert_eq!(split(slice).len(), 1, "64 Ki rows are one message");
        let pieces = split(batch);
        assert!(
            pieces
                .iter()
                .all(|piece| slice_bytes(piece) <= MESSAGE_BYTES_MAX)
        );
        assert_eq!(
            pieces.iter().map(RecordBatch::num_rows).sum::<usize>(),
            1_000_000
        );
        assert!(pieces.len() <= 17, "{} pieces", pieces.len());
    }

    #[test]
    fn long_rows_get_messages_of_their_own() {
        let texts: Vec<_> = (0..10)
            .map(|row| "x".repeat(if row == 3 { 3 << 20 } else { 10 }))
            .collect();
        let texts = Arc::new(StringArray::from(texts)) as ArrayRef;
        let batch = RecordBatch::try_from_iter([("text", texts)]).expect("a batch");
        let pieces = split(batch);
        assert_eq!(pieces.iter().map(RecordBatch::num_rows).sum::<usize>(), 10);
        for piece in pieces {
            assert!(piece.num_rows() == 1 || slice_bytes(&piece) <= MESSAGE_BYTES_MAX);
        }
    }
}
