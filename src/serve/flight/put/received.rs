//! Batches as a client sends them.

use std::panic::AssertUnwindSafe;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use futures::{FutureExt, StreamExt};
use tonic::Code;

use crate::error::{Error, ErrorKind, Result};
use crate::wire::grpc;

/// What a put brings: a schema, then rows. Compressed bodies and dictionaries, grown by deltas too, are decoded.
pub(super) struct Received(FlightRecordBatchStream);

impl Received {
    pub(super) fn new(batches: FlightRecordBatchStream) -> Self {
        Self(batches)
    }

    /// The next rows; none at the end, where the schema is known at the latest.
    ///
    /// Cancel safe: a message is either handed on or still unread.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for what cannot be decoded, and for a put that ends without a schema.
    pub(super) async fn next(&mut self) -> Result<Option<RecordBatch>> {
        // Arrow's decoder checks much of what it reads and asserts the rest: a message made to trip it ends its put, no more.
        let next = AssertUnwindSafe(self.0.next()).catch_unwind().await;
        let next = next.map_err(|_| Error::invalid("the data of the put is damaged"))?;
        if next.is_none() && self.0.schema().is_none() {
            return Err(Error::invalid("the put ended before it had a schema"));
        }
        next.transpose().map_err(unreadable)
    }

    /// The schema, once it came.
    pub(super) fn schema(&self) -> Option<&SchemaRef> {
        self.0.schema()
    }
}

/// What went wrong while a client's rows were read.
pub(in super::super) fn unreadable(error: FlightError) -> Error {
    match error {
        FlightError::Tonic(status) if status.code() == Code::OutOfRange => Error::new(
            ErrorKind::Exhausted,
            format!(
                "a message of the put is too large ({}): send the rows in smaller batches, as pyarrow's \
                 write_table(table, max_chunksize=1000000) does",
                status.message()
            ),
        ),
        FlightError::Tonic(status) => Error::new(grpc::kind(status.code()), status.message()),
        other => Error::invalid(format!("the data of the put cannot be read: {other}")),
    }
}
