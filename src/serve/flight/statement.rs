//! Statements: planned for a FlightInfo, run for a DoGet.
//!
//! What a statement changes, it changes when the FlightInfo is asked for, once: a client that executes it may never redeem the
//! ticket, and another redeems it twice. The ticket delivers what there is to tell of it.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow_flight::sql::{ProstMessageExt, TicketStatementQuery};
use arrow_flight::{FlightDescriptor, FlightEndpoint, FlightInfo};
use bytes::Bytes;
use datafusion::common::ScalarValue;
use datafusion::execution::SendableRecordBatchStream;
use futures::{StreamExt, stream};
use prost::Message;

use super::Shared;
use super::belt::Maker;
use super::call::CallOptions;
use super::columns::of_result;
use super::descriptor::StreamPath;
use super::encode::{DataStream, Delivery, encode, schema_bytes, slice_bytes};
use super::parameters::{Rows, unpack};
use super::ticket::{Prepared, Ticket};
use super::update::{count_schema, counted};
use crate::error::{Code, Error, ErrorKind, Result};
use crate::model::{StreamId, Version};
use crate::query::{Interrupt, SessionOptions, Statement, from_datafusion};

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

/// A statement that only reads, as often as rows are bound to it.
struct Reading {
    /// With the first row.
    first: Statement,
    /// Without any, and the rows behind the first.
    again: Option<(Statement, Rows)>,
}

impl Reading {
    /// What it delivers. A value of a later row may be NULL where the first one's is not.
    fn schema(&self) -> SchemaRef {
        let schema = self.first.schema();
        if self.again.is_none() {
            return of_result(&schema);
        }
        let fields = schema.fields().iter();
        let nullable = fields.map(|field| field.as_ref().clone().with_nullable(true));
        of_result(&Schema::new(nullable.collect::<Vec<_>>()))
    }
}

impl Shared {
    /// The transaction that a statement is in: the one that its message names, or else the one that the client's session is in.
    /// Empty is none.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] for a session that is gone.
    pub(super) fn transaction_of(&self, named: &Bytes, call: &CallOptions) -> Result<Bytes> {
        if !named.is_empty() {
            return Ok(named.clone());
        }
        let begun = self
            .sessions
            .read(call.client, |session| session.transaction.clone())?;
        Ok(begun.unwrap_or_default())
    }

    /// What a statement reads and how: by transaction if it is in one (empty is none), by the client's session, and by the
    /// headers of the call. Its limit of time counts from here.
    ///
    /// # Errors
    /// Those of the transaction and of the headers.
    pub(super) async fn session(
        &self,
        transaction: &[u8],
        call: &CallOptions,
    ) -> Result<SessionOptions> {
        let backend = self.gateway.backend().as_ref();
        let base = self.settings_of(call)?;
        let mut session = if transaction.is_empty() {
            SessionOptions {
                snapshot: backend.snapshot().await?,
                ..base
            }
        } else {
            self.transactions
                .session(transaction, base, backend)
                .await?
        };
        call.apply(&mut session)?;
        self.limit(&session, call);
        Ok(session)
    }

    /// The settings of the client's session.
    pub(super) fn settings_of(&self, call: &CallOptions) -> Result<SessionOptions> {
        let options = self
            .sessions
            .read(call.client, |session| session.options.clone())?;
        Ok(options.unwrap_or_default())
    }

    /// Makes the call end when its statement has run for as long as it may.
    fn limit(&self, session: &SessionOptions, call: &CallOptions) {
        let limits = [self.settings.statement_timeout, session.timeout];
        for timeout in limits.into_iter().flatten() {
            call.stop.at_timeout(timeout);
        }
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
    /// A statement that changes something takes effect here.
    pub(super) async fn statement_info(
        &self,
        prepared: Prepared,
        descriptor: FlightDescriptor,
        call: &CallOptions,
    ) -> Result<FlightInfo> {
        let transaction = self.transaction_of(&prepared.transaction, call)?;
        let Some((statement, session)) = self.planned(&prepared, &transaction, call).await? else {
            return self.info(&no_rows(), &Ticket::told(None), descriptor, None);
        };
        let rows = unpack(&prepared.parameters)?;
        if statement.is_update() {
            let count = self.write(statement, rows, &transaction, call).await?;
            let ticket = Ticket::told(Some(count));
            return self.info(&count_schema(), &ticket, descriptor, None);
        }
        let reading = self.bind(statement, rows).await?;
        let schema = reading.schema();
        let mut ticket = Ticket::new(prepared.sql, prepared.parameters, &session)
            .named(self.queries.name(), self.queries.process())
            .compressed(call.compression);
        if session.pins_reads {
            ticket.transaction = transaction;
        }
        let division = match reading.again {
            // Several executions follow one another, each over all times.
            Some(_) => None,
            None => Some(reading.first.split(call.endpoints.unwrap_or(1)).await?),
        };
        let is_whole = division
            .as_ref()
            .is_none_or(|division| division.spans.len() <= 1);
        let kept = (reading.again.is_none() && is_whole).then_some(reading.first);
        let info = self.info(&schema, &ticket, descriptor, kept)?;
        Ok(match division {
            Some(division) => self.divided(info, &ticket, &division),
            None => info,
        })
    }

    /// The schema that a statement would deliver, by the query path.
    pub(super) async fn statement_schema(
        &self,
        prepared: &Prepared,
        call: &CallOptions,
    ) -> Result<SchemaRef> {
        let transaction = self.transaction_of(&prepared.transaction, call)?;
        let session = self.session(&transaction, call).await?;
        let statement = self.plan(&prepared.sql, &session).await?;
        Ok(if statement.command().is_some() {
            no_rows()
        } else if statement.is_update() {
            count_schema()
        } else {
            of_result(&statement.schema())
        })
    }

    /// Runs what a ticket carries.
    pub(super) async fn redeem(&self, sealed: &Bytes, call: &CallOptions) -> Result<DataStream> {
        let ticket = self.open_ticket(sealed)?;
        let delivery = self.delivery(call.compression.or(ticket.compression()?));
        if ticket.sql.is_empty() {
            return match ticket.count {
                Some(count) => counted(count, delivery),
                None => encode(no_rows(), stream::empty(), delivery),
            };
        }
        let mut session = ticket.session()?;
        call.apply(&mut session)?;
        self.limit(&session, call);
        let running = self.queries.begin(&ticket, &call.stop)?;
        let reading = match self.recent.take(sealed) {
            Some(first) => Reading {
                first: first.done().await?,
                again: None,
            },
            None => {
                let mut session = ticket.session()?;
                // What was read since the ticket was given out is pinned there; a transaction that is over pins no more.
                if let Ok(pins) = self.transactions.pins(&ticket.transaction) {
                    session.pins = pins;
                }
                let statement = self.plan(&ticket.sql, &session).await?;
                self.bind(statement, unpack(&ticket.parameters)?).await?
            }
        };
        let reading = match ticket.span() {
            Some(span) => Reading {
                first: reading.first.within(span)?,
                ..reading
            },
            None => reading,
        };
        self.read(reading, call, running, delivery).await
    }

    /// Runs SQL text that came in the place of a ticket.
    pub(super) async fn run_text(&self, sql: String, call: &CallOptions) -> Result<DataStream> {
        let delivery = self.delivery(call.compression);
        let prepared = Prepared {
            sql,
            ..Prepared::default()
        };
        let transaction = self.transaction_of(&Bytes::new(), call)?;
        let Some((statement, _)) = self.planned(&prepared, &transaction, call).await? else {
            return encode(no_rows(), stream::empty(), delivery);
        };
        if statement.is_update() {
            let count = self.write(statement, None, &transaction, call).await?;
            return counted(count, delivery);
        }
        let reading = self.bind(statement, None).await?;
        self.read(reading, call, (), delivery).await
    }

    /// The statement, and what it runs under; none if it was about the session and that is done.
    pub(super) async fn planned(
        &self,
        prepared: &Prepared,
        transaction: &Bytes,
        call: &CallOptions,
    ) -> Result<Option<(Statement, SessionOptions)>> {
        let is_named = !prepared.transaction.is_empty();
        let session = match self.session(transaction, call).await {
            Ok(session) => session,
            // In a transaction that is gone, its end is all that can be asked for.
            Err(error) if error.kind() == ErrorKind::NotFound && !is_named => {
                return if self.ends_lost(&prepared.sql, transaction, call)? {
                    Ok(None)
                } else {
                    Err(error)
                };
            }
            Err(error) => return Err(error),
        };
        let statement = self.plan(&prepared.sql, &session).await?;
        if let Some(command) = statement.command() {
            self.obey(command, transaction, is_named, call)?;
            return Ok(None);
        }
        Ok(Some((statement, session)))
    }

    /// Plans on the crew.
    pub(super) async fn plan(&self, sql: &str, session: &SessionOptions) -> Result<Statement> {
        let gateway = self.gateway.clone();
        let (sql, session) = (sql.to_owned(), session.clone());
        self.crew
            .run(async move { gateway.prepare(&sql, &session).await })
            .await
    }

    /// Binds `rows` to the parameters: the first one now, the others when it is their turn.
    async fn bind(&self, statement: Statement, rows: Option<Rows>) -> Result<Reading> {
        let wanted = statement.parameters().fields().len();
        let rows = rows.unwrap_or_default();
        check_count(wanted, rows.first().map_or(0, Vec::len))?;
        if wanted == 0 {
            return Ok(Reading {
                first: statement,
                again: None,
            });
        }
        let mut rest = rows;
        let first: Vec<ScalarValue> = rest.remove(0);
        let again = (!rest.is_empty()).then(|| (statement.clone(), rest));
        let bound = async move { statement.bind(&first).await };
        Ok(Reading {
            first: self.crew.run(bound).await?,
            again,
        })
    }

    /// Starts reading; `held` is dropped when nothing of the statement runs any more.
    async fn read<H: Send + 'static>(
        &self,
        reading: Reading,
        call: &CallOptions,
        held: H,
        delivery: Delivery,
    ) -> Result<DataStream> {
        let schema = reading.schema();
        let Reading { first, again } = reading;
        let interrupt = Interrupt::default();
        let waiting = interrupt.on_drop();
        let first = first.until(&interrupt);
        let again = again.map(|(statement, rows)| (statement.until(&interrupt), rows));
        let declared = Arc::clone(&schema);
        let sent = self.crew.stream(
            Arc::clone(&call.stop),
            held,
            made_bytes,
            |batches| async move {
                if let Err(error) = pump(first, again, &declared, &batches).await {
                    // Whoever does not want to know has left.
                    let _ = batches.put(Err(error)).await;
                }
            },
        );
        let sent = sent.map(move |batch| {
            // Goes with the stream: that is when nobody waits any more.
            let _ = &waiting;
            batch.flatten()
        });
        encode(of_result(&schema), sent, delivery)
    }

    pub(super) fn info(
        &self,
        schema: &Schema,
        ticket: &Ticket,
        descriptor: FlightDescriptor,
        statement: Option<Statement>,
    ) -> Result<FlightInfo> {
        let (sealed, expiry) = self.seal_ticket(ticket);
        if let Some(statement) = statement {
            let ready = self.crew.begin(async { Ok(statement.made_ready().await) });
            self.recent.put(sealed.clone(), ready);
        }
        flight_info(schema, statement_ticket(sealed), Some(expiry), descriptor)
    }
}

/// Refuses more or fewer values than parameters.
pub(super) fn check_count(wanted: usize, bound: usize) -> Result<()> {
    if wanted == bound {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "the statement takes {wanted} parameter{}, and {} bound",
        if wanted == 1 { "" } else { "s" },
        match bound {
            1 => "1 is".to_owned(),
            count => format!("{count} are"),
        }
    ))
    .with_code(Code::InvalidParameter))
}

type Batches = Maker<Result<RecordBatch>>;

fn made_bytes(batch: &Result<RecordBatch>) -> usize {
    batch.as_ref().map_or(0, slice_bytes)
}

/// Sends the batches of the first row of parameters, and then of each row that waits, in their order.
async fn pump(
    first: Statement,
    again: Option<(Statement, Rows)>,
    declared: &SchemaRef,
    batches: &Batches,
) -> Result<()> {
    forward(first.execute().await?, batches).await?;
    let Some((statement, rows)) = again else {
        return Ok(());
    };
    for (position, values) in rows.iter().enumerate() {
        check_count(statement.parameters().fields().len(), values.len())?;
        let bound = statement.clone().bind(values).await?;
        let types = |schema: &Schema| -> Vec<DataType> {
            let fields = schema.fields().iter();
            fields.map(|field| field.data_type().clone()).collect()
        };
        if types(&bound.schema()) != types(declared) {
            return Err(Error::invalid(format!(
                "row {} of the parameters makes the statement answer other columns than the first row does",
                position + 2
            ))
            .with_code(Code::InvalidParameter));
        }
        forward(bound.execute().await?, batches).await?;
    }
    Ok(())
}

async fn forward(mut from: SendableRecordBatchStream, batches: &Batches) -> Result<()> {
    while let Some(batch) = from.next().await {
        let batch = batch.map_err(from_datafusion)?;
        if batches.put(Ok(batch)).await.is_err() {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "nobody reads the answer any more",
            ));
        }
    }
    Ok(())
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
