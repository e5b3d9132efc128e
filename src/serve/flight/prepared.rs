//! Prepared statements: handles that carry the statement.

use std::panic::AssertUnwindSafe;

use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::sql::{
    ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult,
    DoPutPreparedStatementResult,
};
use bytes::Bytes;
use futures::{FutureExt, TryStreamExt};

use super::Shared;
use super::call::CallOptions;
use super::columns::of_result;
use super::encode::schema_bytes;
use super::parameters::pack;
use super::statement::no_rows;
use super::ticket::Prepared;
use crate::error::{Error, Result};

impl Shared {
    /// Plans the statement, so that its schema is known and mistakes show now; keeps nothing.
    pub(super) async fn prepare(
        &self,
        request: ActionCreatePreparedStatementRequest,
        call: &CallOptions,
    ) -> Result<ActionCreatePreparedStatementResult> {
        let prepared = Prepared {
            sql: request.query,
            parameters: Bytes::new(),
            transaction: request.transaction_id.unwrap_or_default(),
        };
        let session = self.session(&prepared.transaction, call).await?;
        let statement = self.gateway.prepare(&prepared.sql, &session).await?;
        let dataset = if statement.setting().is_some() {
            no_rows()
        } else {
            of_result(&statement.schema())
        };
        Ok(ActionCreatePreparedStatementResult {
            prepared_statement_handle: self.seal_prepared(&prepared),
            dataset_schema: schema_bytes(&dataset)?,
            parameter_schema: schema_bytes(&statement.parameters())?,
        })
    }

    /// Binds the row that the client puts; answers the handle to execute instead of the one it had.
    pub(super) async fn bind(
        &self,
        handle: &Bytes,
        rows: FlightRecordBatchStream,
        call: &CallOptions,
    ) -> Result<DoPutPreparedStatementResult> {
        let prepared = self.bound(handle, rows, call).await?;
        self.bindings
            .put(call.connection, handle, &prepared.parameters);
        Ok(DoPutPreparedStatementResult {
            prepared_statement_handle: Some(self.seal_prepared(&prepared)),
        })
    }

    /// The statement of `handle` with the row that the client puts, if it puts one.
    pub(super) async fn bound(
        &self,
        handle: &Bytes,
        mut rows: FlightRecordBatchStream,
        call: &CallOptions,
    ) -> Result<Prepared> {
        let mut prepared = self.open_prepared(handle, call)?;
        let mut bound = false;
        loop {
            // As for puts: a message made to trip Arrow's decoder ends its own call, and no more.
            let next = AssertUnwindSafe(rows.try_next()).catch_unwind().await;
            let next = next.map_err(|_| Error::invalid("the data of the parameters is damaged"))?;
            let Some(batch) = next.map_err(super::put::unreadable)? else {
                break;
            };
            // A statement without parameters is executed with an empty batch, and empty batches keep connections alive.
            if batch.num_rows() == 0 || batch.num_columns() == 0 {
                continue;
            }
            if bound {
                return Err(Error::invalid(
                    "a statement binds one row of parameters, not several batches: execute it once for each row",
                ));
            }
            bound = true;
            prepared.parameters = pack(&batch)?;
        }
        Ok(prepared)
    }
}
