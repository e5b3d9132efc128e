//! DoPut: points in, versions out.
//!
//! ```text
//! path [collection, name] or [uuid]   columns time, value
//! path ["points"]                     long batches: uuid, or collection and name and perhaps unit; and time, value
//!                                     wide batches: time, and one column a stream named by uuid or collection/name
//! CommandStatementIngest              the same two, by the name of the table
//! other commands of Flight SQL        bound parameters, updates
//! ```
//!
//! Rows are checked as they arrive and applied in commits of about a million points or a quarter of a second, whichever comes
//! first. Each commit is answered by one PutResult whose metadata is JSON, `{"<uuid>": version, ...}`. While a commit is under way nothing
//! is read: a client that is faster than the store waits. When a put fails, what was answered stays applied, rows that were not are
//! dropped, and the error says how far it got.

use std::sync::Arc;

use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use arrow_flight::sql::{
    Command, CommandStatementIngest, DoPutUpdateResult, TableExistsOption, TableNotExistOption,
};
use arrow_flight::{FlightData, FlightDescriptor, PutResult};
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use prost::Message;
use tonic::{Status, Streaming};

use super::Shared;
use super::call::CallOptions;
use super::descriptor::{StreamPath, Target, check_ids, find_one, unknown_stream};
use super::metadata::{CATALOG, PUBLIC};
use super::status::status;
use super::ticket::Prepared;
use crate::backend::Backend;
use crate::error::{Code, Error, ErrorKind, Result};
use crate::model::MergePolicy;
use crate::wire::grpc;

mod columns;
mod points;
mod targets;

use points::{PointsPut, Reply};
use targets::Targets;

/// The path, and the table, of long batches.
const POINTS: &str = "points";

/// A put that was understood, and is done as its answers are read.
pub(super) enum Put {
    /// One answer, at hand.
    Done(PutResult),
    /// Points to insert.
    Points(Box<PointsPut>),
}

impl Put {
    /// Reads the first message, and finds out what the rest is for.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a put that cannot be understood, [`ErrorKind::NotFound`] for a stream that there is not.
    pub(super) async fn open(
        shared: Arc<Shared>,
        mut messages: Streaming<FlightData>,
        call: CallOptions,
    ) -> Result<Self> {
        let first = messages
            .message()
            .await
            .map_err(|error| unreadable(error.into()))?
            .ok_or_else(|| {
                Error::invalid("the put is empty: its first message carries a descriptor")
            })?;
        let descriptor = first.flight_descriptor.clone().ok_or_else(|| {
            Error::invalid("the put's first message has no descriptor: it says where the points go")
        })?;
        let rest = messages.map_err(FlightError::from);
        let messages = stream::iter([Ok(first)])
            .chain(rest)
            // Messages without a header carry a descriptor or metadata, and no rows.
            .try_filter(|message| std::future::ready(!message.data_header.is_empty()));
        let batches = FlightRecordBatchStream::new_from_flight_data(messages);
        Self::dispatch(shared, descriptor, batches, call).await
    }

    async fn dispatch(
        shared: Arc<Shared>,
        descriptor: FlightDescriptor,
        batches: FlightRecordBatchStream,
        call: CallOptions,
    ) -> Result<Self> {
        if let [table] = descriptor.path.as_slice()
            && table == POINTS
        {
            let targets = Targets::long(call.create.unwrap_or(true));
            let put = PointsPut::new(shared, batches, targets, call.merge, Reply::Versions);
            return Ok(Self::Points(Box::new(put)));
        }
        match Target::parse(&descriptor)? {
            Target::Path(path) => {
                let create = call.create.unwrap_or(true);
                let targets = path_targets(shared.gateway.backend().as_ref(), path, create).await?;
                let put = PointsPut::new(shared, batches, targets, call.merge, Reply::Versions);
                Ok(Self::Points(Box::new(put)))
            }
            Target::Command(Command::CommandStatementIngest(ingest)) => {
                ingest_put(shared, ingest, batches, &call).await
            }
            Target::Command(Command::CommandPreparedStatementQuery(query)) => {
                let result = shared
                    .bind_handle(&query.prepared_statement_handle, batches, &call)
                    .await?;
                Ok(Self::Done(answer(&result)))
            }
            Target::Command(Command::CommandPreparedStatementUpdate(update)) => {
                let changed = shared
                    .update_handle(&update.prepared_statement_handle, batches, &call)
                    .await?;
                Ok(Self::Done(count(changed)))
            }
            Target::Command(Command::CommandStatementUpdate(update)) => {
                let statement = Prepared {
                    sql: update.query,
                    parameters: Bytes::new(),
                    transaction: update.transaction_id.unwrap_or_default(),
                };
                Ok(Self::Done(count(
                    shared.update(&statement, None, &call).await?,
                )))
            }
            Target::Command(command) => Err(Error::unsupported(format!(
                "{} takes no put",
                command.type_url().rsplit('.').next().unwrap_or_default()
            ))),
            Target::Sql(_) => Err(Error::invalid(
                "SQL text takes no rows: a put goes to a path, [uuid] or [collection, name] or [\"points\"]",
            )),
        }
    }

    /// The answers; the work is done while they are read.
    pub(super) fn answers(self) -> BoxStream<'static, std::result::Result<PutResult, Status>> {
        match self {
            Self::Done(result) => stream::iter([Ok(result)]).boxed(),
            Self::Points(put) => stream::unfold(Some(put), |put| async {
                let mut put = put?;
                match put.step().await {
                    Ok(Some(result)) => Some((Ok(result), Some(put))),
                    Ok(None) => None,
                    Err(error) => Some((Err(put.failure(&error)), None)),
                }
            })
            .boxed(),
        }
    }
}

async fn path_targets(backend: &dyn Backend, path: StreamPath, create: bool) -> Result<Targets> {
    match path {
        StreamPath::Id(_, Some(version)) => Err(Error::invalid(format!(
            "version {version} cannot be written: points are added to the latest version"
        ))
        .with_code(Code::InvalidParameter)),
        StreamPath::Id(id, None) => {
            check_ids(backend, &[id]).await?;
            Ok(Targets::stream(id))
        }
        StreamPath::Named { collection, name } => {
            match find_one(backend, &collection, &name).await? {
                Some(stream) => Ok(Targets::stream(stream.id)),
                None if create => Ok(Targets::missing(collection, name)),
                None => Err(unknown_stream(&collection, &name)),
            }
        }
    }
}

/// ADBC's bulk ingest: into `points`, or into a stream as `"<collection>"."<name>"`.
async fn ingest_put(
    shared: Arc<Shared>,
    ingest: CommandStatementIngest,
    batches: FlightRecordBatchStream,
    call: &CallOptions,
) -> Result<Put> {
    if ingest.temporary {
        return Err(Error::unsupported("there are no temporary tables"));
    }
    if let Some(catalog) = ingest.catalog.as_deref().filter(|name| !name.is_empty())
        && catalog != CATALOG
    {
        return Err(Error::not_found(format!(
            "there is no catalog \"{catalog}\": the only one is {CATALOG}"
        )));
    }
    let definition = ingest.table_definition_options.unwrap_or_default();
    let schema = ingest.schema.as_deref().unwrap_or_default();
    let backend = shared.gateway.backend().as_ref();
    let targets = if ingest.table == POINTS && matches!(schema, "" | PUBLIC) {
        check_exists(POINTS, definition.if_exists())?;
        Targets::long(call.create.unwrap_or(true))
    } else if schema.is_empty() {
        return Err(Error::not_found(format!(
            "there is no table \"{}\" to ingest into: there is \"{POINTS}\", and each stream is a table, with its \
             collection as the schema",
            ingest.table
        )));
    } else {
        match find_one(backend, schema, &ingest.table).await? {
            Some(stream) => {
                check_exists(&stream.path(), definition.if_exists())?;
                Targets::stream(stream.id)
            }
            None if definition.if_not_exist() == TableNotExistOption::Create
                && call.create.unwrap_or(true) =>
            {
                Targets::missing(schema.to_owned(), ingest.table.clone())
            }
            None => return Err(unknown_stream(schema, &ingest.table)),
        }
    };
    // ADBC's drivers are in a transaction, and do not say so when they ingest.
    let named = ingest.transaction_id.unwrap_or_default();
    let transaction = match shared.transaction_of(&named, call)? {
        none if none.is_empty() => shared.transactions.of_connection(call.connection),
        transaction => transaction,
    };
    let merge = shared.merge_of(&transaction, call)?;
    let reply = Reply::Count { transaction };
    let put = PointsPut::new(shared, batches, targets, merge, reply);
    Ok(Put::Points(Box::new(put)))
}

impl Shared {
    /// What becomes of ingested points whose time is taken, if the call, its transaction or its session says so: the header of a
    /// call says more than a SET before it.
    fn merge_of(&self, transaction: &Bytes, call: &CallOptions) -> Result<Option<MergePolicy>> {
        if call.merge.is_some() {
            return Ok(call.merge);
        }
        let base = self.settings_of(call)?;
        let options = if transaction.is_empty() {
            base
        } else {
            self.transactions.settings(transaction, base)?
        };
        if options.read_only {
            return Err(Error::new(
                ErrorKind::Denied,
                "the transaction was begun READ ONLY: end it, and ingest in another",
            ));
        }
        Ok(Some(options.merge).filter(|merge| *merge != MergePolicy::default()))
    }
}

fn check_exists(table: &str, option: TableExistsOption) -> Result<()> {
    match option {
        TableExistsOption::Append | TableExistsOption::Unspecified => Ok(()),
        TableExistsOption::Fail => Err(Error::new(
            ErrorKind::Conflict,
            format!("table {table} exists: ingest with mode append"),
        )),
        TableExistsOption::Replace => Err(Error::unsupported(format!(
            "table {table} cannot be replaced: delete its points first, then ingest with mode append"
        ))),
    }
}

fn answer(message: &impl Message) -> PutResult {
    PutResult {
        app_metadata: message.encode_to_vec().into(),
    }
}

fn count(record_count: i64) -> PutResult {
    answer(&DoPutUpdateResult { record_count })
}

/// What went wrong while a client's rows were read.
pub(super) fn unreadable(error: FlightError) -> Error {
    match error {
        FlightError::Tonic(status) => Error::new(grpc::kind(status.code()), status.message()),
        other => Error::invalid(format!("the data of the put cannot be read: {other}")),
    }
}

/// A status with the points that stay applied, for programs to read.
fn failed(error: &Error, message: String, applied_points: u64) -> Status {
    let mut described = Error::new(error.kind(), message);
    if let Some(code) = error.code() {
        described = described.with_code(code);
    }
    let mut status = status(&described);
    status
        .metadata_mut()
        .insert("x-btrdb-applied-points", applied_points.into());
    status
}
