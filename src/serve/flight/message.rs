//! One message of data, in the parts that it is made of.
//!
//! ```text
//! length | field 2: header | field 1000: its length | buffer of Arrow | padding | buffer of Arrow | ...
//! |<----------- written together ----------------->|<-- as it lies -->|         |<-- as it lies -->|
//! ```
//!
//! A column of a hot scan is memory that the engine's cache holds. Arrow's encoder hands its buffers out as they lie, and as
//! parts they go on to the socket: no byte of a large buffer is copied on the way.

use std::collections::VecDeque;

use arrow::buffer::Buffer;
use arrow::error::ArrowError;
use arrow::ipc::{MessageHeader, root_as_message};
use arrow_flight::FlightData;
use bytes::{BufMut, Bytes, BytesMut};
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};
use tonic::Status;

use crate::error::{Error, Result};

/// Parts from here on travel as they lie. A frame of their own costs more than copying smaller ones.
const PART_BYTES_MIN: usize = 16 << 10;

/// What stands before each message of an IPC stream: a mark, and the length of its header.
const PREFIX_BYTES: usize = 8;

/// The fields of FlightData that are sent.
const DATA_HEADER: u32 = 2;
const DATA_BODY: u32 = 1000;

/// One message of an answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Message {
    /// Arrow's description of the body.
    header: Bytes,
    /// The body, one part behind the other.
    body: Vec<Bytes>,
}

impl Message {
    /// A message without a body.
    pub(super) fn of_header(header: Bytes) -> Self {
        Self {
            header,
            body: Vec::new(),
        }
    }

    /// The record batch that `parts` are, as Arrow's encoder of streams makes them.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`](crate::error::ErrorKind::Internal) if they are something else.
    pub(super) fn of_batch(parts: Vec<Buffer>) -> Result<Self> {
        let not_one = || Error::internal("an answer is not encoded as one message for each batch");
        let mut parts = parts.into_iter();
        let prefix = parts.next().ok_or_else(not_one)?;
        let length = match prefix.as_slice() {
            [0xff, 0xff, 0xff, 0xff, length @ ..] if prefix.len() == PREFIX_BYTES => length,
            _ => return Err(not_one()),
        };
        let length = length
            .iter()
            .rfold(0, |length: usize, byte| length << 8 | usize::from(*byte));
        let mut header = BytesMut::with_capacity(length);
        while header.len() < length {
            header.extend_from_slice(&parts.next().ok_or_else(not_one)?);
        }
        let body: Vec<Bytes> = parts.map(|part| Bytes::from_owner(Part(part))).collect();
        let message = Self {
            header: header.freeze(),
            body,
        };
        let described = root_as_message(&message.header).map_err(|error| {
            Error::internal("an answer is not encoded as a message")
                .with_source(ArrowError::ParseError(error.to_string()))
        })?;
        // With a dictionary before the batch, neither is so.
        let is_batch = described.header_type() == MessageHeader::RecordBatch
            && usize::try_from(described.bodyLength()) == Ok(message.body_bytes());
        if is_batch {
            Ok(message)
        } else {
            Err(not_one())
        }
    }

    fn body_bytes(&self) -> usize {
        self.body.iter().map(Bytes::len).sum()
    }

    /// Adds the message as gRPC frames it to what `frames` hold.
    ///
    /// # Errors
    /// `OUT_OF_RANGE` for a message of 4 GiB or more, which gRPC cannot frame.
    pub(super) fn write_to(self, frames: &mut Frames) -> std::result::Result<(), Status> {
        let body_bytes = self.body_bytes();
        let mut length = field_bytes(DATA_HEADER, self.header.len());
        if body_bytes > 0 {
            length += field_bytes(DATA_BODY, body_bytes);
        }
        let length = u32::try_from(length).map_err(|_| {
            Status::out_of_range(format!(
                "a row of {length} bytes is more than gRPC sends in a message, which is 4 GiB: select fewer columns"
            ))
        })?;
        let head = &mut frames.gathered;
        head.put_u8(0);
        head.put_u32(length);
        begin_field(DATA_HEADER, self.header.len(), head);
        head.extend_from_slice(&self.header);
        if body_bytes > 0 {
            begin_field(DATA_BODY, body_bytes, head);
        }
        for part in self.body {
            frames.push(part);
        }
        Ok(())
    }
}

fn field_bytes(field: u32, length: usize) -> usize {
    key_len(field) + encoded_len_varint(length as u64) + length
}

fn begin_field(field: u32, length: usize, to: &mut BytesMut) {
    encode_key(field, WireType::LengthDelimited, to);
    encode_varint(length as u64, to);
}

/// In one piece, for calls that gRPC's own encoder answers.
impl From<Message> for FlightData {
    fn from(message: Message) -> Self {
        let mut body = BytesMut::with_capacity(message.body_bytes());
        for part in &message.body {
            body.extend_from_slice(part);
        }
        Self {
            data_header: message.header,
            data_body: body.freeze(),
            ..Self::default()
        }
    }
}

/// Arrow's memory as bytes.
struct Part(Buffer);

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        self.0.as_slice()
    }
}

/// Bytes on their way out, in pieces that are worth a frame.
#[derive(Debug, Default)]
pub(super) struct Frames {
    ready: VecDeque<Bytes>,
    /// Behind what is ready.
    gathered: BytesMut,
}

impl Frames {
    fn push(&mut self, part: Bytes) {
        if part.len() < PART_BYTES_MIN {
            self.gathered.extend_from_slice(&part);
            return;
        }
        self.flush();
        self.ready.push_back(part);
    }

    fn flush(&mut self) {
        if !self.gathered.is_empty() {
            self.ready.push_back(self.gathered.split().freeze());
        }
    }

    /// Whether there is enough to be sent, though more may follow at once.
    pub(super) fn is_worth_sending(&self) -> bool {
        !self.ready.is_empty() || self.gathered.len() >= PART_BYTES_MIN
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.gathered.is_empty()
    }

    /// The next frame, if there is one.
    pub(super) fn next(&mut self) -> Option<Bytes> {
        if self.ready.is_empty() {
            self.flush();
        }
        self.ready.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, AsArray, Float64Array, RecordBatch, StringArray};
    use arrow::datatypes::Float64Type;
    use arrow::ipc::writer::StreamEncoder;
    use prost::Message as _;

    use super::*;

    fn encoded(batch: &RecordBatch) -> Message {
        let mut encoder = StreamEncoder::try_new(&batch.schema()).expect("a schema");
        encoder
            .encode(&RecordBatch::new_empty(batch.schema()))
            .expect("the schema");
        Message::of_batch(encoder.encode(batch).expect("encodes")).expect("one message")
    }

    fn batch(rows: usize) -> RecordBatch {
        let values = (0..rows).map(|row| row as f64);
        let values = Arc::new(Float64Array::from_iter_values(values)) as ArrayRef;
        let texts = (0..rows).map(|row| (row % 3 > 0).then(|| row.to_string()));
        let texts = Arc::new(StringArray::from_iter(texts)) as ArrayRef;
        RecordBatch::try_from_iter([("value", values), ("text", texts)]).expect("a batch")
    }

    #[test]
    fn frames_are_what_grpc_makes_of_flight_data() {
        let mut frames = Frames::default();
        let mut expected = BytesMut::new();
        let messages = [
            Message::of_header(Bytes::from_static(b"no body")),
            encoded(&batch(0)),
            encoded(&batch(7)),
            encoded(&batch(100_000)),
            encoded(&batch(1)),
        ];
        for message in messages {
            let data = FlightData::from(message.clone());
            expected.put_u8(0);
            expected.put_u32(data.encoded_len() as u32);
            data.encode(&mut expected).expect("room");
            message.write_to(&mut frames).expect("small enough");
        }
        assert!(frames.is_worth_sending());
        let mut sent = BytesMut::new();
        let mut count = 0;
        while let Some(frame) = frames.next() {
            sent.extend_from_slice(&frame);
            count += 1;
        }
        assert_eq!(sent, expected);
        assert!(count < 10, "{count} frames");
        assert!(!frames.is_worth_sending());
    }

    #[test]
    fn large_buffers_travel_as_they_lie() {
        let batch = batch(100_000).slice(1_000, 50_000);
        let values = batch.column(0).as_primitive::<Float64Type>().values();
        let mut frames = Frames::default();
        encoded(&batch).write_to(&mut frames).expect("small enough");
        let mut places = std::iter::from_fn(|| frames.next()).map(|frame| frame.as_ptr().addr());
        assert!(places.any(|place| place == values.inner().as_ptr().addr()));
    }

    #[test]
    fn what_is_no_batch_is_refused() {
        let mut encoder = StreamEncoder::try_new(&batch(1).schema()).expect("a schema");
        let with_schema = encoder.encode(&batch(1)).expect("encodes");
        for parts in [Vec::new(), with_schema] {
            assert!(Message::of_batch(parts).is_err());
        }
        let end = encoder.finish().expect("an end");
        assert!(Message::of_batch(end).is_err());
    }
}
