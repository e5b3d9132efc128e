//! Bound values: from a client's batch, through a handle, to the statement.

use arrow::array::RecordBatch;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use bytes::{Buf, Bytes};
use datafusion::common::ScalarValue;

use crate::error::{Error, Result};

/// The row of `batch`, as a handle carries it; a batch without columns is no values.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) unless there is exactly one row.
pub(super) fn pack(batch: &RecordBatch) -> Result<Bytes> {
    if batch.num_columns() == 0 {
        return Ok(Bytes::new());
    }
    if batch.num_rows() != 1 {
        return Err(Error::invalid(format!(
            "a statement binds one row of parameters, not {}: execute it once for each row",
            batch.num_rows()
        )));
    }
    let invalid = |error| Error::invalid(format!("the parameters cannot be kept: {error}"));
    let mut writer = StreamWriter::try_new(Vec::new(), batch.schema_ref()).map_err(invalid)?;
    writer.write(batch).map_err(invalid)?;
    Ok(writer.into_inner().map_err(invalid)?.into())
}

/// The values of a packed row, by position.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) if a value has a type that SQL does not.
pub(super) fn unpack(packed: &Bytes) -> Result<Vec<ScalarValue>> {
    if packed.is_empty() {
        return Ok(Vec::new());
    }
    let damaged = |error| Error::invalid(format!("the parameters cannot be read: {error}"));
    let mut reader = StreamReader::try_new(packed.clone().reader(), None).map_err(damaged)?;
    let batch = reader
        .next()
        .transpose()
        .map_err(damaged)?
        .filter(|batch| batch.num_rows() == 1)
        .ok_or_else(|| Error::invalid("the parameters are not one row"))?;
    batch
        .columns()
        .iter()
        .enumerate()
        .map(|(position, column)| {
            ScalarValue::try_from_array(column, 0)
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

/// The value inside the wrappings that clients use: dense unions (flightsql-dbapi) and dictionaries.
fn unwrap(value: ScalarValue) -> ScalarValue {
    match value {
        ScalarValue::Union(Some((_, value)), _, _) => unwrap(*value),
        ScalarValue::Union(None, _, _) => ScalarValue::Null,
        ScalarValue::Dictionary(_, value) => unwrap(*value),
        value => value,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray};

    use super::*;

    #[test]
    fn one_row_survives_and_two_are_refused() {
        let batch = RecordBatch::try_from_iter([
            (
                "0",
                Arc::new(Int64Array::from(vec![Some(1), None])) as ArrayRef,
            ),
            ("1", Arc::new(StringArray::from(vec!["a", "b"]))),
        ])
        .expect("a batch");
        let packed = pack(&batch.slice(1, 1)).expect("one row");
        assert_eq!(
            unpack(&packed).expect("our own bytes"),
            [ScalarValue::Int64(None), ScalarValue::from("b")]
        );
        assert!(pack(&batch).is_err());
        assert!(pack(&batch.slice(0, 0)).is_err());
        assert!(unpack(&Bytes::from_static(b"garbage")).is_err());
    }
}
