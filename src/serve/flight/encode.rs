//! Batches on the wire: plain types, small messages, exactly the schema that was declared.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::writer::IpcWriteOptions;
use arrow_flight::encode::{DictionaryHandling, FlightDataEncoderBuilder};
use arrow_flight::error::FlightError;
use arrow_flight::{FlightData, IpcMessage, SchemaAsIpc};
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt, TryStreamExt};
use tonic::Status;

use super::status::status;
use crate::error::{Error, Result};
use crate::query::from_datafusion;

/// Aim of a message's size: 64 Ki rows of time and value. Half of what the smallest clients take is left as a margin.
const MESSAGE_BYTES: usize = 1 << 20;

/// No message with more than one row is larger.
const MESSAGE_BYTES_MAX: usize = 2 << 20;

/// Answers to DoGet.
pub(super) type DataStream = BoxStream<'static, std::result::Result<FlightData, Status>>;

/// `schema` in the types that every client knows: no views, no dictionaries, no run ends.
pub(super) fn plain_schema(schema: &SchemaRef) -> SchemaRef {
    let fields: Fields = schema.fields().iter().map(plain_field).collect();
    if fields == *schema.fields() {
        return Arc::clone(schema);
    }
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

fn plain_field(field: &FieldRef) -> FieldRef {
    let plain = plain_type(field.data_type());
    if plain == *field.data_type() {
        return Arc::clone(field);
    }
    Arc::new(Field::clone(field).with_data_type(plain))
}

fn plain_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::Dictionary(_, values) => plain_type(values),
        DataType::RunEndEncoded(_, values) => plain_type(values.data_type()),
        DataType::List(field) | DataType::ListView(field) => DataType::List(plain_field(field)),
        DataType::LargeList(field) | DataType::LargeListView(field) => {
            DataType::LargeList(plain_field(field))
        }
        DataType::FixedSizeList(field, size) => DataType::FixedSizeList(plain_field(field), *size),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(plain_field).collect()),
        DataType::Map(entries, sorted) => DataType::Map(plain_field(entries), *sorted),
        other => other.clone(),
    }
}

/// `batch` with exactly `schema`: nullability and metadata of plans differ from batch to batch, declarations must not.
fn conform(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let columns = batch
        .columns()
        .iter()
        .zip(schema.fields())
        .map(|(column, field)| {
            if column.data_type() == field.data_type() {
                Ok(Arc::clone(column))
            } else {
                cast(column, field.data_type())
            }
        })
        .collect::<Result<Vec<ArrayRef>, _>>()?;
    // A batch without columns still has a number of rows.
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
}

/// The bytes of the rows of `batch`, whatever memory they share with others.
///
/// arrow-flight's own splitter sizes a batch by the capacity of its buffers: a slice of a large chunk counts as the chunk, and
/// is cut to shreds.
fn slice_bytes(batch: &RecordBatch) -> usize {
    batch
        .columns()
        .iter()
        // Types that cannot tell are counted by capacity, which is never too little.
        .map(|column| {
            let data = column.to_data();
            data.get_slice_memory_size()
                .unwrap_or_else(|_| column.get_buffer_memory_size())
        })
        .sum()
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
    let declared = Arc::clone(&schema);
    let messages = batches
        .map_err(|error| FlightError::from(status(&error)))
        .map_ok(move |batch| {
            let pieces = match conform(&batch, &declared) {
                Ok(batch) => split(batch).into_iter().map(Ok).collect(),
                Err(error) => {
                    let error = Error::internal(format!(
                        "a result does not have the schema that was declared for it: {error}"
                    ));
                    vec![Err(FlightError::from(status(&error)))]
                }
            };
            stream::iter(pieces)
        })
        .try_flatten();
    FlightDataEncoderBuilder::new()
        .with_schema(schema)
        .with_dictionary_handling(DictionaryHandling::Hydrate)
        .with_max_flight_data_size(usize::MAX)
        .build(messages)
        .map_err(Status::from)
        .boxed()
}

/// Batches of a running statement.
pub(super) fn batches(
    stream: datafusion::execution::SendableRecordBatchStream,
) -> impl Stream<Item = Result<RecordBatch>> + Send + 'static {
    stream.map_err(from_datafusion)
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
    use arrow::array::{DictionaryArray, Float64Array, Int64Array, StringArray, StringViewArray};
    use arrow::datatypes::Int32Type;

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

    #[test]
    fn views_and_dictionaries_become_plain_text() {
        let views = Arc::new(StringViewArray::from(vec![Some("a"), None])) as ArrayRef;
        let words: DictionaryArray<Int32Type> = vec!["b", "b"].into_iter().collect();
        let batch = RecordBatch::try_from_iter_with_nullable([
            ("view", views, true),
            ("word", Arc::new(words) as ArrayRef, false),
        ])
        .expect("a batch");
        let schema = plain_schema(&batch.schema());
        let plain = conform(&batch, &schema).expect("castable");
        assert_eq!(plain.schema(), schema);
        for column in plain.columns() {
            assert_eq!(column.data_type(), &DataType::Utf8);
        }
        assert!(schema.field(0).is_nullable() && !schema.field(1).is_nullable());
    }
}
