//! Batches on the wire: small messages, behind the schema that was declared.
//!
//! ```text
//! batches --keep_alive--> and signs of life --split--> pieces --encode--> messages --idle--> until nobody reads them
//! ```
//!
//! Statements deliver exactly their schema, in types that every client knows; nothing is converted here.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::writer::{IpcWriteOptions, StreamEncoder};
use arrow_flight::{FlightData, IpcMessage, SchemaAsIpc};
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt, TryStreamExt};
use tonic::Status;

use super::Shared;
use super::compression::Compression;
use super::idle::while_read;
use super::keep_alive::keep_alive;
use super::message::Message;
use super::status::status;
use crate::error::{Error, Result};

/// Aim of a message's size: 64 Ki rows of time and value. Half of what the smallest clients take is left as a margin.
const MESSAGE_BYTES: usize = 1 << 20;

/// Aim of the first message's size, which each one after it may have four times of: whoever waits for the first rows gets
/// them before a whole message was filled and sent.
const FIRST_MESSAGE_BYTES: usize = 64 << 10;

/// Answers to DoGet.
pub(super) type DataStream = BoxStream<'static, std::result::Result<Message, Status>>;

/// How answers travel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Delivery {
    pub(super) compression: Compression,
    /// After so long without rows an empty batch is sent.
    pub(super) keep_alive: Duration,
    /// After so long without taking a message a reader is given up.
    pub(super) idle_max: Duration,
}

impl Shared {
    /// How answers travel, with bodies as a call or its ticket asks for.
    pub(super) fn delivery(&self, compression: Option<Compression>) -> Delivery {
        Delivery {
            compression: compression.unwrap_or_default(),
            keep_alive: self.settings.keep_alive,
            idle_max: self.settings.idle_max,
        }
    }
}

/// The bytes of the rows of `batch`, whatever memory they share with others.
///
/// arrow-flight's own splitter sizes a batch by the capacity of its buffers: a slice of a large chunk counts as the chunk, and
/// is cut to shreds.
pub(super) fn slice_bytes(batch: &RecordBatch) -> usize {
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

/// `batch` in pieces of about `aim` bytes: none with more than one row has more than twice that.
fn split(batch: RecordBatch, aim: usize) -> Vec<RecordBatch> {
    let bytes = slice_bytes(&batch);
    let rows = batch.num_rows();
    if bytes <= 2 * aim || rows <= 1 {
        return vec![batch];
    }
    let step = rows.div_ceil(bytes.div_ceil(aim)).max(1);
    // Whole bytes of validity: slices at multiples of eight rows need no bit shifting.
    let step = if step > 8 { step & !7 } else { step };
    (0..rows)
        .step_by(step)
        // Rows of very different length make some slices too large still.
        .flat_map(|row| split(batch.slice(row, step.min(rows - row)), aim))
        .collect()
}

/// Cuts the batches of one answer: small pieces first, large ones once the reader has something to do.
struct Splitter {
    aim: usize,
}

impl Splitter {
    fn new() -> Self {
        Self {
            aim: FIRST_MESSAGE_BYTES,
        }
    }

    fn split(&mut self, mut batch: RecordBatch) -> Vec<RecordBatch> {
        let mut pieces = Vec::new();
        while self.aim < MESSAGE_BYTES {
            let bytes = slice_bytes(&batch);
            if bytes > 2 * self.aim && batch.num_rows() > 1 {
                let (first, rest) = head(&batch, self.aim, bytes);
                pieces.extend(split(first, self.aim));
                self.aim *= 4;
                batch = rest;
            } else {
                // Signs of life are no rows.
                if bytes > 0 {
                    self.aim *= 4;
                }
                pieces.push(batch);
                return pieces;
            }
        }
        pieces.extend(split(batch, MESSAGE_BYTES));
        pieces
    }
}

/// About the first `aim` of the `bytes` of a batch, and the rest of it.
fn head(batch: &RecordBatch, aim: usize, bytes: usize) -> (RecordBatch, RecordBatch) {
    let rows = batch.num_rows();
    let step = (rows / bytes.div_ceil(aim)).max(1);
    let step = if step > 8 { step & !7 } else { step };
    let step = step.min(rows);
    (batch.slice(0, step), batch.slice(step, rows - step))
}

/// Batches to messages.
struct Encoder(StreamEncoder);

impl Encoder {
    /// The schema's message, and what encodes the batches behind it.
    fn new(schema: &SchemaRef, compression: Compression) -> Result<(Message, Self)> {
        let options = IpcWriteOptions::default().try_with_compression(compression.codec());
        let options = options.map_err(unencodable)?;
        let declared = FlightData::from(SchemaAsIpc::new(schema, &options));
        let batches = StreamEncoder::try_new_with_options(schema, options);
        let mut batches = batches.map_err(unencodable)?;
        // Before its first batch it encodes the schema, which Flight frames in its own way.
        let _schema = batches
            .encode(&RecordBatch::new_empty(Arc::clone(schema)))
            .map_err(unencodable)?;
        let declared = Message::of_header(declared.data_header);
        Ok((declared, Self(batches)))
    }

    fn batch(&mut self, batch: &RecordBatch) -> Result<Message> {
        Message::of_batch(self.0.encode(batch).map_err(unencodable)?)
    }
}

fn unencodable(error: ArrowError) -> Error {
    Error::internal("an answer could not be encoded").with_source(error)
}

/// `batches` as answers to DoGet, with `schema` declared first.
///
/// # Errors
/// [`ErrorKind::Internal`](crate::error::ErrorKind::Internal) if Arrow cannot encode as asked.
pub(super) fn encode<S>(schema: SchemaRef, batches: S, delivery: Delivery) -> Result<DataStream>
where
    S: Stream<Item = Result<RecordBatch>> + Send + 'static,
{
    let (declared, mut encoder) = Encoder::new(&schema, delivery.compression)?;
    let mut splitter = Splitter::new();
    let pieces = keep_alive(batches, schema, delivery.keep_alive)
        .map_ok(move |batch| stream::iter(splitter.split(batch).into_iter().map(Ok)))
        .try_flatten();
    let messages = pieces.map(move |piece| {
        piece
            .and_then(|piece| encoder.batch(&piece))
            .map_err(|error| status(&error))
    });
    let messages = stream::iter([Ok(declared)]).chain(messages);
    Ok(while_read(messages.boxed(), delivery.idle_max))
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
    use arrow::array::{ArrayRef, Float64Array, Int64Array, StringArray};
    use arrow_flight::decode::FlightRecordBatchStream;
    use arrow_flight::error::FlightError;

    use super::*;

    const FOREVER: Duration = Duration::from_secs(3600);

    fn plain(compression: Compression) -> Delivery {
        Delivery {
            compression,
            keep_alive: FOREVER,
            idle_max: FOREVER,
        }
    }

    fn points(count: i64) -> RecordBatch {
        let times = Arc::new(Int64Array::from_iter_values(0..count)) as ArrayRef;
        let values = Arc::new(Float64Array::from(vec![1.0; count as usize])) as ArrayRef;
        RecordBatch::try_from_iter([("time", times), ("value", values)]).expect("a batch")
    }

    fn rows(pieces: &[RecordBatch]) -> usize {
        pieces.iter().map(RecordBatch::num_rows).sum()
    }

    #[test]
    fn slices_are_sized_by_their_rows() {
        let batch = points(1_000_000);
        let slice = batch.slice(10, 65_536);
        assert_eq!(slice_bytes(&slice), 1 << 20);
        let pieces = split(slice, MESSAGE_BYTES);
        assert_eq!(pieces.len(), 1, "64 Ki rows are one message");
        let pieces = split(batch, MESSAGE_BYTES);
        assert!(
            pieces
                .iter()
                .all(|piece| slice_bytes(piece) <= 2 * MESSAGE_BYTES)
        );
        assert_eq!(rows(&pieces), 1_000_000);
        assert!(pieces.len() <= 17, "{} pieces", pieces.len());
    }

    #[test]
    fn long_rows_get_messages_of_their_own() {
        let texts: Vec<_> = (0..10)
            .map(|row| "x".repeat(if row == 3 { 3 << 20 } else { 10 }))
            .collect();
        let texts = Arc::new(StringArray::from(texts)) as ArrayRef;
        let batch = RecordBatch::try_from_iter([("text", texts)]).expect("a batch");
        for pieces in [
            split(batch.clone(), MESSAGE_BYTES),
            Splitter::new().split(batch),
        ] {
            assert_eq!(rows(&pieces), 10);
            for piece in pieces {
                assert!(piece.num_rows() == 1 || slice_bytes(&piece) <= 2 * MESSAGE_BYTES);
            }
        }
    }

    #[test]
    fn the_first_message_is_small_and_those_behind_it_grow() {
        let batch = points(300_000);
        let pieces = Splitter::new().split(batch.clone());
        assert_eq!(rows(&pieces), 300_000);
        let sizes: Vec<_> = pieces.iter().map(slice_bytes).collect();
        assert!(sizes[0] <= 2 * FIRST_MESSAGE_BYTES, "{sizes:?}");
        assert!(sizes[1] <= 8 * FIRST_MESSAGE_BYTES, "{sizes:?}");
        assert!(pieces.len() <= 8, "{sizes:?}");
        let mut splitter = Splitter::new();
        for small in [points(1_000), points(0), points(1_000)] {
            assert_eq!(splitter.split(small).len(), 1);
        }
        assert_eq!(splitter.split(batch).len(), 5, "grown by what went before");
    }

    #[tokio::test]
    async fn batches_arrive_as_they_were_under_every_compression() {
        for (compression, small) in [
            (Compression::None, false),
            (Compression::Lz4, true),
            (Compression::Zstd, true),
        ] {
            let sent = points(200_000);
            let batches = stream::iter([Ok(sent.slice(0, 0)), Ok(sent.clone())]);
            let messages = encode(sent.schema(), batches, plain(compression)).expect("encodes");
            let messages: Vec<_> = messages
                .map_ok(FlightData::from)
                .try_collect()
                .await
                .expect("encodes");
            let bytes: usize = messages.iter().map(|data| data.data_body.len()).sum();
            assert_eq!(bytes < 2_000_000, small, "{compression:?}: {bytes} bytes");
            let messages = stream::iter(messages.into_iter().map(Ok::<_, FlightError>));
            let received: Vec<_> = FlightRecordBatchStream::new_from_flight_data(messages)
                .try_collect()
                .await
                .expect("decodes");
            assert_eq!(received[0].num_rows(), 0, "empty batches are sent too");
            let received =
                arrow::compute::concat_batches(&sent.schema(), &received).expect("one schema");
            assert_eq!(received, sent);
        }
    }

    #[tokio::test]
    async fn an_error_ends_the_answer_with_its_status() {
        let sent = points(10);
        let batches = stream::iter([Ok(sent.clone()), Err(Error::invalid("a bad row"))]);
        let messages = encode(sent.schema(), batches, plain(Compression::None)).expect("encodes");
        let mut messages: Vec<_> = messages.collect().await;
        assert_eq!(messages.len(), 3);
        let error = messages.pop().expect("three").expect_err("an error");
        assert_eq!(error.code(), tonic::Code::InvalidArgument);
    }
}
