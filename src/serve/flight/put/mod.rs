//! DoPut: points in, versions out.
//!
//! ```text
//! path [collection, name] or [uuid]   columns time, value
//! path [points]                       long batches: uuid, or collection and name and perhaps unit; and time, value
//!                                     wide batches: time, and one column a stream named by uuid or collection/name
//! path [streams]                      streams to create: collection, name, and perhaps other tags, annotations, uuid
//! CommandStatementIngest              the same three, by the name of the table
//! other commands of Flight SQL        bound parameters, updates
//! ```
//!
//! Rows are checked as they arrive and applied in commits of about a million points or a quarter of a second, whichever comes
//! first. Each commit is answered by one PutResult whose metadata is JSON, `{"<uuid>": version, ...}`. While a commit is under way nothing
//! is read: a client that is faster than the store waits. When a put fails, what was answered stays applied, rows that were not are
//! dropped, and the error says how far it got.

use std::future::Future;

use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use arrow_flight::flight_descriptor::DescriptorType;
use arrow_flight::sql::{Command, DoPutUpdateResult};
use arrow_flight::{FlightData, FlightDescriptor, PutResult};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt, TryStreamExt};
use prost::Message;
use tonic::{Status, Streaming};

use super::Shared;
use super::call::CallOptions;
use super::descriptor::{
    POINTS, Place, STREAMS, StreamPath, Target, check_ids, find_one, unknown_stream,
};
use super::status::status;
use super::ticket::Prepared;
use crate::backend::Backend;
use crate::error::{Code, Error, Result};
use crate::model::{StreamId, Version};
use crate::query::Veil;

mod cells;
mod claims;
mod columns;
mod descriptions;
mod ingest;
mod pending;
mod points;
mod received;
mod streams;
mod targets;

use points::PointsPut;
use received::Received;
pub(super) use received::unreadable;
use streams::StreamsPut;
use targets::Targets;

/// How a put is answered.
enum Reply {
    /// The versions of each commit.
    Versions,
    /// The number of rows, once, as Flight SQL wants it.
    Count {
        /// The transaction that must see the rows; empty is none.
        transaction: Bytes,
    },
}

/// A put that was understood, and is done as its answers are read.
pub(super) enum Put {
    /// One answer, at hand.
    Done(PutResult),
    /// Points to insert.
    Points(Box<PointsPut>),
    /// Streams to create.
    Streams(Box<StreamsPut>),
}

impl Put {
    /// Reads the first message, and finds out what the rest is for.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a put that cannot be understood, [`ErrorKind::NotFound`] for a stream that there is not.
    pub(super) fn open(
        shared: Veil<Shared>,
        mut messages: Streaming<FlightData>,
        call: CallOptions,
    ) -> BoxFuture<'static, Result<Self>> {
        async move {
            let first = messages.message().await;
            let Some(first) = first.map_err(|error| unreadable(error.into()))? else {
                // As ADBC's drivers ingest a table without batches: nothing is said, not even where to.
                return Ok(Self::Done(count(0)));
            };
            let descriptor = first.flight_descriptor.clone().ok_or_else(|| {
                Error::invalid(
                    "the put's first message has no descriptor: it says where the points go",
                )
            })?;
            let rest = messages.map_err(FlightError::from);
            let messages = stream::iter([Ok(first)])
                .chain(rest)
                // Messages without a header carry a descriptor or metadata, and no rows.
                .try_filter(|message| std::future::ready(!message.data_header.is_empty()));
            let batches = FlightRecordBatchStream::new_from_flight_data(messages);
            Self::dispatch(shared, descriptor, batches, call).await
        }
        .boxed()
    }

    async fn dispatch(
        shared: Veil<Shared>,
        descriptor: FlightDescriptor,
        batches: FlightRecordBatchStream,
        call: CallOptions,
    ) -> Result<Self> {
        if descriptor.r#type() == DescriptorType::Path {
            let place = Place::parse(&descriptor.path)?;
            return Self::at(shared, place, Received::new(batches), &call).await;
        }
        match Target::parse(&descriptor)? {
            Target::Command(Command::CommandStatementIngest(ingest)) => {
                ingest::open(shared, ingest, Received::new(batches), &call).await
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
            Target::Sql(_) | Target::Path(_) => Err(Error::invalid(
                "SQL text takes no rows: a put goes to a path, [collection, name], [uuid], [points] or [streams]",
            )),
        }
    }

    /// Rows for a path.
    async fn at(
        shared: Veil<Shared>,
        place: Place,
        rows: Received,
        call: &CallOptions,
    ) -> Result<Self> {
        let create = call.create.unwrap_or(true);
        let targets = match place {
            Place::Stream(path) => {
                path_targets(shared.gateway.backend().as_ref(), path, create).await?
            }
            Place::Relation(POINTS) => Targets::long(create),
            Place::Relation(STREAMS) => {
                if !create {
                    return Err(Error::invalid(
                        "x-btrdb-create: false forbids what a put into streams is for",
                    ));
                }
                let put = StreamsPut::new(shared, rows, Reply::Versions);
                return Ok(Self::Streams(Box::new(put)));
            }
            Place::Relation(other) => {
                return Err(Error::unsupported(format!(
                    "nothing is put into {other}: collections are there as long as a stream is in them"
                )));
            }
            Place::Below(prefix) => {
                return Err(Error::invalid(format!(
                    "\"{prefix}/*\" names many streams: a put for many goes to [points], and each row says which"
                ))
                .with_code(Code::InvalidParameter));
            }
        };
        let put = PointsPut::new(shared, rows, targets, call.merge, Reply::Versions);
        Ok(Self::Points(Box::new(put)))
    }

    /// The answers; the work is done while they are read.
    pub(super) fn answers(self) -> BoxStream<'static, std::result::Result<PutResult, Status>> {
        match self {
            Self::Done(result) => stream::iter([Ok(result)]).boxed(),
            Self::Points(put) => answers(put),
            Self::Streams(put) => answers(put),
        }
    }
}

/// A put whose work is done step by step.
trait Work: Send + 'static {
    /// Works until there is something to answer; none is the end.
    fn step(&mut self) -> impl Future<Output = Result<Option<PutResult>>> + Send;

    /// The status that ends a put which failed with `error`.
    fn failure(&self, error: &Error) -> Status;
}

fn answers(work: Box<impl Work>) -> BoxStream<'static, std::result::Result<PutResult, Status>> {
    stream::unfold(Some(work), |work| async {
        let mut work = work?;
        match work.step().await {
            Ok(Some(result)) => Some((Ok(result), Some(work))),
            Ok(None) => None,
            Err(error) => Some((Err(work.failure(&error)), None)),
        }
    })
    .boxed()
}

async fn path_targets(backend: &dyn Backend, path: StreamPath, create: bool) -> Result<Targets> {
    match path {
        StreamPath::Id(_, Some(version)) => Err(written_version(version)),
        StreamPath::Id(id, None) => {
            check_ids(backend, &[id]).await?;
            Ok(Targets::stream(id))
        }
        StreamPath::Named { collection, name } => {
            match find_one(backend, &collection, &name).await? {
                Some(stream) => Ok(Targets::stream(stream.id)),
                None if create => Ok(Targets::missing(collection, name, false)),
                None => Err(unknown_stream(&collection, &name)),
            }
        }
    }
}

fn written_version(version: Version) -> Error {
    Error::invalid(format!(
        "version {version} cannot be written: points are added to the latest version"
    ))
    .with_code(Code::InvalidParameter)
}

fn versions(written: &[(StreamId, Version)]) -> PutResult {
    let versions: serde_json::Map<_, _> = written
        .iter()
        .map(|(stream, version)| (stream.to_string(), version.0.into()))
        .collect();
    PutResult {
        app_metadata: serde_json::Value::Object(versions).to_string().into(),
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

/// A status with the number of rows that stay applied, for programs to read.
fn failed(error: &Error, message: String, header: &'static str, applied: u64) -> Status {
    let mut described = Error::new(error.kind(), message);
    if let Some(code) = error.code() {
        described = described.with_code(code);
    }
    let mut status = status(&described);
    status.metadata_mut().insert(header, applied.into());
    status
}
