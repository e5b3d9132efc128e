//! Statements that write.
//!
//! They are run once, however they come: as an update by DoPut, as a query when its FlightInfo is asked for, or as text in the
//! place of a ticket. What failed after a part of it was applied is an error that says how much was: clients take the count that
//! an update answers for success, and look no further.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use bytes::Bytes;
use futures::stream;

use super::Shared;
use super::call::CallOptions;
use super::encode::{DataStream, Delivery, encode};
use super::parameters::Rows;
use super::statement::check_count;
use super::ticket::Prepared;
use crate::error::{Error, Result};
use crate::query::{Interrupt, Outcome, Statement};

/// What a statement that writes answers as a query.
pub(super) fn count_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new(
        "count",
        DataType::Int64,
        false,
    )]))
}

/// The one row that such a statement answers.
///
/// # Errors
/// As [`encode`].
pub(super) fn counted(count: i64, delivery: Delivery) -> Result<DataStream> {
    let counts = Arc::new(Int64Array::from(vec![count])) as ArrayRef;
    let batch = RecordBatch::try_new(count_schema(), vec![counts]).map_err(|error| {
        Error::internal("the count of an update could not be built").with_source(error)
    });
    encode(count_schema(), stream::iter([batch]), delivery)
}

impl Shared {
    /// Runs a statement for its effect; answers how many rows it changed.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::error::ErrorKind::Unsupported) for a statement that only reads.
    pub(super) async fn update(
        &self,
        prepared: &Prepared,
        rows: Option<Rows>,
        call: &CallOptions,
    ) -> Result<i64> {
        let transaction = self.transaction_of(&prepared.transaction, call)?;
        let Some((statement, _)) = self.planned(prepared, &transaction, call).await? else {
            return Ok(0);
        };
        if !statement.is_update() {
            return Err(Error::unsupported(
                "the statement changes nothing: execute it as a query",
            ));
        }
        self.write(statement, rows, &transaction, call).await
    }

    /// Writes, once for each of `rows`, or once if none are bound.
    ///
    /// # Errors
    /// Those of the statement. What was applied before stays, and the message and a trailer say how much.
    pub(super) async fn write(
        &self,
        statement: Statement,
        rows: Option<Rows>,
        transaction: &Bytes,
        call: &CallOptions,
    ) -> Result<i64> {
        let wanted = statement.parameters().fields().len();
        // No rows with columns are no executions; no columns are one, of a statement without parameters.
        let rows = match rows {
            Some(rows) if rows.is_empty() && wanted > 0 => return Ok(0),
            Some(rows) => rows,
            None => vec![Vec::new()],
        };
        for row in &rows {
            check_count(wanted, row.len())?;
        }
        let interrupt = Interrupt::default();
        let _waiting = interrupt.on_drop();
        let statement = statement.until(&interrupt);
        let outcome = self
            .crew
            .run(async move { Ok(statement.write(&rows).await) })
            .await?;
        let Outcome { written, error } = outcome;
        let seen = if transaction.is_empty() {
            Ok(())
        } else {
            self.transactions
                .wrote(transaction, written.rows, &written.versions)
        };
        match error.map_or(seen, Err) {
            Ok(()) => Ok(i64::try_from(written.rows).unwrap_or(i64::MAX)),
            Err(error) => {
                // Its message says it to people, the trailer to programs.
                call.reply.applied_rows(written.rows);
                Err(error)
            }
        }
    }
}
