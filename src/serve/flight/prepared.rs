//! Prepared statements: handles that carry the statement.

use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::sql::{ActionCreatePreparedStatementRequest, Any, DoPutPreparedStatementResult};
use bytes::Bytes;
use prost::Message;

use super::Shared;
use super::call::CallOptions;
use super::columns::of_result;
use super::encode::schema_bytes;
use super::parameters::Parameters;
use super::statement::no_rows;
use super::ticket::Prepared;
use crate::error::Result;

/// `ActionCreatePreparedStatementResult` with the newest of its fields, which arrow-flight does not have.
#[derive(Clone, PartialEq, Message)]
pub(super) struct PrepareResult {
    #[prost(bytes = "bytes", tag = "1")]
    prepared_statement_handle: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    dataset_schema: Bytes,
    #[prost(bytes = "bytes", tag = "3")]
    parameter_schema: Bytes,
    /// Whether it is to be executed as an update.
    #[prost(bool, optional, tag = "4")]
    is_update: Option<bool>,
}

impl PrepareResult {
    /// As the body of a result.
    pub(super) fn pack(&self) -> Bytes {
        let any = Any {
            type_url:
                "type.googleapis.com/arrow.flight.protocol.sql.ActionCreatePreparedStatementResult"
                    .to_owned(),
            value: self.encode_to_vec().into(),
        };
        any.encode_to_vec().into()
    }
}

impl Shared {
    /// Plans the statement, so that its schema is known and mistakes show now; keeps nothing.
    ///
    /// What is to be executed as an update says so, and has a schema without columns too: by that older drivers know it.
    pub(super) async fn prepare(
        &self,
        request: ActionCreatePreparedStatementRequest,
        call: &CallOptions,
    ) -> Result<PrepareResult> {
        let prepared = Prepared {
            sql: request.query,
            parameters: Bytes::new(),
            transaction: request.transaction_id.unwrap_or_default(),
        };
        let transaction = self.transaction_of(&prepared.transaction, call)?;
        let session = self.session(&transaction, call).await?;
        let statement = self.plan(&prepared.sql, &session).await?;
        let is_update = statement.is_update() || statement.command().is_some();
        let dataset = if is_update {
            no_rows()
        } else {
            of_result(&statement.schema())
        };
        Ok(PrepareResult {
            prepared_statement_handle: self.seal_prepared(&prepared),
            dataset_schema: schema_bytes(&dataset)?,
            parameter_schema: schema_bytes(&statement.parameters())?,
            is_update: Some(is_update),
        })
    }

    /// Binds the rows that the client puts; answers the handle to execute instead of the one it had.
    pub(super) async fn bind_handle(
        &self,
        handle: &Bytes,
        messages: FlightRecordBatchStream,
        call: &CallOptions,
    ) -> Result<DoPutPreparedStatementResult> {
        let mut prepared = self.open_prepared(handle, call)?;
        prepared.parameters = Parameters::receive(messages).await?.pack()?;
        self.bindings
            .put(call.connection, handle, &prepared.parameters);
        Ok(DoPutPreparedStatementResult {
            prepared_statement_handle: Some(self.seal_prepared(&prepared)),
        })
    }

    /// Executes the handle's statement as an update, once for each row that the client puts.
    pub(super) async fn update_handle(
        &self,
        handle: &Bytes,
        messages: FlightRecordBatchStream,
        call: &CallOptions,
    ) -> Result<i64> {
        let prepared = self.open_prepared(handle, call)?;
        let rows = match Parameters::receive(messages).await?.rows()? {
            // Bound before, into the handle.
            None => super::parameters::unpack(&prepared.parameters)?,
            rows => rows,
        };
        self.update(&prepared, rows, call).await
    }
}
