//! Bound values: from a client's batches, through a handle, to the statement.

use std::panic::AssertUnwindSafe;

use arrow::array::RecordBatch;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use arrow_flight::decode::FlightRecordBatchStream;
use bytes::{Buf, Bytes};
use datafusion::common::ScalarValue;
use futures::{FutureExt, TryStreamExt};

use crate::error::{Error, ErrorKind, Result};

/// Values of each execution, by position.
pub(super) type Rows = Vec<Vec<ScalarValue>>;

/// Values bound at a time: each takes some 64 bytes on its way into the statement.
const VALUES_MAX: usize = 1 << 20;

/// Bytes that a handle may carry: it travels with every call, and the smallest clients take messages of 4 MiB.
const HANDLE_BYTES_MAX: usize = 2 << 20;

/// What a client puts behind a command that takes parameters: batches of one schema.
#[derive(Debug, Default)]
pub(super) struct Parameters {
    /// Those with rows.
    batches: Vec<RecordBatch>,
    /// Whether there were columns, with rows or without.
    has_columns: bool,
}

impl Parameters {
    /// Reads all of it.
    ///
    /// A statement without parameters is executed with an empty batch, and empty batches keep connections alive.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for damaged data, [`ErrorKind::Exhausted`] for more values than one call may bind.
    pub(super) async fn receive(mut messages: FlightRecordBatchStream) -> Result<Self> {
        let mut parameters = Self::default();
        let mut values = 0;
        loop {
            // As for puts: a message made to trip Arrow's decoder ends its own call, and no more.
            let next = AssertUnwindSafe(messages.try_next()).catch_unwind().await;
            let next = next.map_err(|_| Error::invalid("the data of the parameters is damaged"))?;
            let Some(batch) = next.map_err(super::put::unreadable)? else {
                break;
            };
            if batch.num_columns() == 0 {
                continue;
            }
            parameters.has_columns = true;
            values += batch.num_columns() * batch.num_rows();
            if values > VALUES_MAX {
                return Err(Error::new(
                    ErrorKind::Exhausted,
                    format!(
                        "more than {VALUES_MAX} values are bound at a time: execute the statement several times, or put many \
                         points by bulk ingest"
                    ),
                ));
            }
            if batch.num_rows() > 0 {
                parameters.batches.push(batch);
            }
        }
        // Clients may leave out a batch that has no rows.
        let schema = messages.schema();
        parameters.has_columns |= schema.is_some_and(|schema| !schema.fields().is_empty());
        Ok(parameters)
    }

    /// The values of each row; none if there were no columns.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if a value has a type that SQL does not.
    pub(super) fn rows(&self) -> Result<Option<Rows>> {
        if !self.has_columns {
            return Ok(None);
        }
        let mut rows = Rows::new();
        for batch in &self.batches {
            for row in 0..batch.num_rows() {
                rows.push(values(batch, row)?);
            }
        }
        Ok(Some(rows))
    }

    /// The rows, as a handle carries them; empty if there are none.
    ///
    /// # Errors
    /// [`ErrorKind::Exhausted`] if they are too many for a handle.
    pub(super) fn pack(&self) -> Result<Bytes> {
        let Some(first) = self.batches.first() else {
            return Ok(Bytes::new());
        };
        let invalid = |error| Error::invalid(format!("the parameters cannot be kept: {error}"));
        let mut writer = StreamWriter::try_new(Vec::new(), first.schema_ref()).map_err(invalid)?;
        for batch in &self.batches {
            writer.write(batch).map_err(invalid)?;
            if writer.get_ref().len() > HANDLE_BYTES_MAX {
                return Err(Error::new(
                    ErrorKind::Exhausted,
                    format!(
                        "the rows bound to a query take more than {HANDLE_BYTES_MAX} bytes: execute it with fewer at a time"
                    ),
                ));
            }
        }
        Ok(writer.into_inner().map_err(invalid)?.into())
    }
}

/// The rows of packed ones; none if nothing is bound.
///
/// # Errors
/// [`ErrorKind::Invalid`] if a value has a type that SQL does not.
pub(super) fn unpack(packed: &Bytes) -> Result<Option<Rows>> {
    if packed.is_empty() {
        return Ok(None);
    }
    let damaged = |error| Error::invalid(format!("the parameters cannot be read: {error}"));
    let reader = StreamReader::try_new(packed.clone().reader(), None).map_err(damaged)?;
    let parameters = Parameters {
        batches: reader.collect::<Result<_, _>>().map_err(damaged)?,
        has_columns: true,
    };
    parameters.rows()
}

fn values(batch: &RecordBatch, row: usize) -> Result<Vec<ScalarValue>> {
    let columns = batch.columns().iter().enumerate();
    columns
        .map(|(position, column)| {
            ScalarValue::try_from_array(column, row)
                .map(unwrap)
                .map_err(|error| {
                    Error::invalid(format!(
                        "parameter {} has no SQL value: {error}",
                        position + 1
                    ))
                })
        })
        .collect()
}

/// The value inside the wrappings that clients use: dense unions (flightsql-dbapi), dictionaries, run ends.
fn unwrap(value: ScalarValue) -> ScalarValue {
    match value {
        ScalarValue::Union(Some((_, value)), _, _) => unwrap(*value),
        ScalarValue::Union(None, _, _) => ScalarValue::Null,
        ScalarValue::Dictionary(_, value) | ScalarValue::RunEndEncoded(_, _, value) => {
            unwrap(*value)
        }
        value => value,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, DictionaryArray, Int64Array, StringArray};
    use arrow::datatypes::Int8Type;

    use super::*;

    fn parameters(batches: Vec<RecordBatch>) -> Parameters {
        Parameters {
            batches,
            has_columns: true,
        }
    }

    fn batch(numbers: Vec<Option<i64>>, texts: Vec<&str>) -> RecordBatch {
        let texts: DictionaryArray<Int8Type> = texts.into_iter().collect();
        RecordBatch::try_from_iter([
            ("0", Arc::new(Int64Array::from(numbers)) as ArrayRef),
            ("1", Arc::new(texts)),
        ])
        .expect("a batch")
    }

    #[test]
    fn rows_of_several_batches_survive_the_handle_in_their_order() {
        let batches = vec![
            batch(vec![Some(1), None], vec!["a", "b"]),
            batch(vec![Some(3)], vec!["b"]),
        ];
        let parameters = parameters(batches);
        let rows = parameters.rows().expect("SQL values").expect("bound");
        let expected = [(Some(1), "a"), (None, "b"), (Some(3), "b")]
            .map(|(number, text)| vec![ScalarValue::Int64(number), ScalarValue::from(text)]);
        assert_eq!(rows, expected);
        let packed = parameters.pack().expect("a few");
        assert_eq!(unpack(&packed).expect("our own bytes"), Some(rows));
        assert!(unpack(&Bytes::from_static(b"garbage")).is_err());
        assert_eq!(unpack(&Bytes::new()).expect("nothing"), None);
    }

    #[test]
    fn a_handle_has_a_limit() {
        let long = "x".repeat(HANDLE_BYTES_MAX);
        let texts = Arc::new(StringArray::from(vec![long])) as ArrayRef;
        let batch = RecordBatch::try_from_iter([("0", texts)]).expect("a batch");
        let error = parameters(vec![batch]).pack().expect_err("too large");
        assert_eq!(error.kind(), ErrorKind::Exhausted);
    }
}
