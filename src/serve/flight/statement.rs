//! Statements: planned for a FlightInfo, run for a DoGet.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use arrow_flight::sql::{ProstMessageExt, TicketStatementQuery};
use arrow_flight::{FlightDescriptor, FlightEndpoint, FlightInfo};
use bytes::Bytes;
use datafusion::common::ScalarValue;
use futures::stream;
use prost::Message;

use super::Shared;
use super::call::CallOptions;
use super::descriptor::StreamPath;
use super::encode::{DataStream, Delivery, batches, encode, schema_bytes};
use super::parameters::unpack;
use super::ticket::{Prepared, Ticket};
use crate::error::{Code, Error, Result};
use crate::model::{StreamId, Version};
use crate::query::{SessionOptions, Statement};

/// What a `SET` answers: nothing, with no columns; JDBC takes that for an update.
pub(super) fn no_rows() -> SchemaRef {
    Arc::new(Schema::empty())
}

/// All points of a stream.
pub(super) fn stream_sql(id: StreamId, version: Option<Version>) -> String {
    match version {
        None => format!("SELECT time, value FROM raw_values('{id}')"),
        Some(version) => format!("SELECT time, value FROM raw_values('{id}@{version}')"),
    }
}

impl Shared {
    /// What a statement reads and how: by transaction if it is in one (empty is none), and by the headers of the call.
    ///
    /// # Errors
    /// Those of the transaction and of the headers.
    pub(super) async fn session(
        &self,
        transaction: &[u8],
        call: &CallOptions,
    ) -> Result<SessionOptions> {
        let backend = self.gateway.backend().as_ref();
        let mut session = if transaction.is_empty() {
            SessionOptions {
                snapshot: backend.snapshot().await?,
                ..SessionOptions::default()
            }
        } else {
            self.transactions.session(transaction, backend).await?
        };
        call.apply(&mut session)?;
        Ok(session)
    }

    /// The FlightInfo of a stream.
    pub(super) async fn path_info(
        &self,
        path: &StreamPath,
        descriptor: FlightDescriptor,
        call: &CallOptions,
    ) -> Result<FlightInfo> {
        let (id, version) = path.resolve(self.gateway.backend().as_ref()).await?;
        let statement = Prepared {
            sql: stream_sql(id, version),
            ..Prepared::default()
        };
        self.statement_info(statement, descriptor, call).await
    }

    /// The FlightInfo of a statement: its schema, and a ticket that reads what the store holds now.
    ///
    /// A `SET` takes effect here. A client that executes it may never redeem the ticket.
    pub(super) async fn statement_info(
        &self,
        prepared: Prepared,
        descriptor: FlightDescriptor,
        call: &CallOptions,
    ) -> Result<FlightInfo> {
        let session = self.session(&prepared.transaction, call).await?;
        let statement = self
            .plan(&prepared.sql, &prepared.parameters, &session)
            .await?;
        if self.set(&statement, &prepared.transaction)? {
            let ticket = Ticket::new(String::new(), Bytes::new(), &session);
            return self.info(&no_rows(), &ticket, descriptor, None);
        }
        let schema = statement.schema();
        let mut ticket =
            Ticket::new(prepared.sql, prepared.parameters, &session).compressed(call.compression);
        if session.pins_reads {
            ticket.transaction = prepared.transaction;
        }
        let division = statement.split(call.endpoints.unwrap_or(1)).await?;
        let info = self.info(&schema, &ticket, descriptor, Some(statement))?;
        Ok(self.divided(info, &ticket, &division))
    }

    /// The schema that a statement would deliver.
    pub(super) async fn statement_schema(
        &self,
        prepared: &Prepared,
        call: &CallOptions,
    ) -> Result<SchemaRef> {
        let session = self.session(&prepared.transaction, call).await?;
        let statement = self.gateway.prepare(&prepared.sql, &session).await?;
        Ok(if statement.setting().is_some() {
            no_rows()
        } else {
            statement.schema()
        })
    }

    /// Runs what a ticket carries.
    pub(super) async fn redeem(&self, sealed: &Bytes, call: &CallOptions) -> Result<DataStream> {
        let ticket = self.open_ticket(sealed)?;
        let delivery = self.delivery(call.compression.or(ticket.compression()?));
        if ticket.sql.is_empty() {
            return encode(no_rows(), stream::empty(), delivery);
        }
        let statement = match self.recent.take(sealed) {
            Some(statement) => statement,
            None => {
                let mut session = ticket.session()?;
                // What was read since the ticket was given out is pinned there; a transaction that is over pins no more.
                if let Ok(pins) = self.transactions.pins(&ticket.transaction) {
                    session.pins = pins;
                }
                self.plan(&ticket.sql, &ticket.parameters, &session).await?
            }
        };
        let statement = match ticket.span() {
            Some(span) => statement.within(span)?,
            None => statement,
        };
        run(&statement, delivery).await
    }

    /// Runs SQL text that came in the place of a ticket.
    pub(super) async fn run_text(&self, sql: &str, call: &CallOptions) -> Result<DataStream> {
        let session = self.session(&[], call).await?;
        let statement = self.plan(sql, &Bytes::new(), &session).await?;
        self.set(&statement, &[])?;
        run(&statement, self.delivery(call.compression)).await
    }

    /// Runs a statement for its effect; answers how many rows it changed.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::error::ErrorKind::Unsupported) for a statement that only reads.
    pub(super) async fn update(&self, prepared: &Prepared, call: &CallOptions) -> Result<i64> {
        let session = self.session(&prepared.transaction, call).await?;
        let statement = self
            .plan(&prepared.sql, &prepared.parameters, &session)
            .await?;
        if self.set(&statement, &prepared.transaction)? {
            return Ok(0);
        }
        Err(Error::unsupported(
            "the statement changes nothing: execute it as a query; what can be executed as an update is SET",
        ))
    }

    /// Plans and binds.
    async fn plan(
        &self,
        sql: &str,
        parameters: &Bytes,
        session: &SessionOptions,
    ) -> Result<Statement> {
        let statement = self.gateway.prepare(sql, session).await?;
        bind(statement, &unpack(parameters)?).await
    }

    /// Applies `statement` if it is a `SET`; answers whether it was.
    fn set(&self, statement: &Statement, transaction: &[u8]) -> Result<bool> {
        let Some((name, value)) = statement.setting() else {
            return Ok(false);
        };
        if transaction.is_empty() {
            return Err(Error::invalid(format!(
                "SET {name} would not last: there is no transaction to keep it; send a call header instead, as in \
                 x-btrdb-{}: {value}",
                name.rsplit('.').next().unwrap_or(&name)
            ))
            .with_code(Code::InvalidParameter));
        }
        self.transactions.set(transaction, &name, &value)?;
        Ok(true)
    }

    fn info(
        &self,
        schema: &Schema,
        ticket: &Ticket,
        descriptor: FlightDescriptor,
        statement: Option<Statement>,
    ) -> Result<FlightInfo> {
        let (sealed, expiry) = self.seal_ticket(ticket);
        if let Some(statement) = statement {
            self.recent.put(sealed.clone(), statement);
        }
        flight_info(schema, statement_ticket(sealed), Some(expiry), descriptor)
    }
}

/// Sealed bytes in the message that Flight SQL has for them.
pub(super) fn statement_ticket(sealed: Bytes) -> Bytes {
    let command = TicketStatementQuery {
        statement_handle: sealed,
    };
    command.as_any().encode_to_vec().into()
}

/// An endpoint on the connection that asked.
pub(super) fn endpoint(ticket: Bytes, expiry: Option<i64>) -> FlightEndpoint {
    let mut endpoint = FlightEndpoint::new().with_ticket(arrow_flight::Ticket { ticket });
    if let Some(expiry) = expiry {
        endpoint.expiration_time.get_or_insert_default().seconds = expiry;
    }
    endpoint
}

/// A FlightInfo with one endpoint.
///
/// One, because several clients (Grafana, Superset) read only the first.
pub(super) fn flight_info(
    schema: &Schema,
    ticket: Bytes,
    expiry: Option<i64>,
    descriptor: FlightDescriptor,
) -> Result<FlightInfo> {
    let mut info = FlightInfo::new()
        .with_descriptor(descriptor)
        .with_endpoint(endpoint(ticket, expiry))
        .with_total_records(-1)
        .with_total_bytes(-1)
        .with_ordered(true);
    info.schema = schema_bytes(schema)?;
    Ok(info)
}

/// `statement` with `values` in the place of its parameters.
async fn bind(statement: Statement, values: &[ScalarValue]) -> Result<Statement> {
    let wanted = statement.parameters().fields().len();
    if wanted != values.len() {
        return Err(Error::invalid(format!(
            "the statement takes {wanted} parameters, {} are bound",
            values.len()
        ))
        .with_code(Code::InvalidParameter));
    }
    if values.is_empty() {
        return Ok(statement);
    }
    statement.bind(values).await
}

async fn run(statement: &Statement, delivery: Delivery) -> Result<DataStream> {
    let schema = statement.schema();
    let stream = statement.execute().await?;
    encode(schema, batches(stream), delivery)
}
