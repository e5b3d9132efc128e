//! DoExchange: live tails.
//!
//! ```text
//! client: descriptor  ->                          path of a stream, [prefix/*], [points], or SQL
//!                     <-  schema                  from here on nothing is missed that is inserted into the streams there are
//!                     <-  batches, as points are inserted
//!                     <-  an empty batch          whenever nothing was sent for a while
//! client: half-close  ->  the end
//! ```
//!
//! The first message says what to follow, and is the only one: what is followed changes with a new exchange. Everything is done
//! while the answers are polled, so a client that leaves, or closes its side, frees the subscription at once; one that pauses
//! falls behind, and is told so with BTrDB's code 426.

use arrow::array::RecordBatch;
use arrow_flight::flight_descriptor::DescriptorType;
use arrow_flight::sql::Command;
use arrow_flight::{FlightData, FlightDescriptor};
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, Stream, StreamExt};
use tonic::Streaming;

use super::Shared;
use super::call::CallOptions;
use super::descriptor::{Place, StreamPath, Target, below_sql};
use super::encode::{DataStream, encode};
use super::statement::stream_sql;
use crate::error::{Code, Error, Result};
use crate::wire::grpc;

impl Shared {
    /// Answers new points for as long as the client keeps its side open.
    ///
    /// # Errors
    /// [`Invalid`](crate::error::ErrorKind::Invalid) for an exchange that begins without a descriptor, and those of
    /// [`Gateway::tail`](crate::query::Gateway::tail).
    pub(super) fn exchange<'a>(
        &'a self,
        mut messages: Streaming<FlightData>,
        call: &'a CallOptions,
    ) -> BoxFuture<'a, Result<DataStream>> {
        async move {
            let first = messages.message().await;
            let first = first
                .map_err(|status| Error::new(grpc::kind(status.code()), status.message()))?
                .ok_or_else(no_descriptor)?;
            if !first.data_body.is_empty() {
                return Err(takes_no_rows());
            }
            let descriptor = first.flight_descriptor.ok_or_else(no_descriptor)?;
            let sql = self.followed(&descriptor).await?;
            let mut session = crate::query::SessionOptions::default();
            call.apply(&mut session)?;
            let tail = self.gateway.tail(&sql, &session).await?;
            let schema = tail.schema();
            let exchange = Exchange {
                rows: tail.follow().await?,
                messages,
                is_over: false,
            };
            encode(schema, exchange.answers(), self.delivery(call.compression))
        }
        .boxed()
    }

    /// What the descriptor asks to follow, as SQL.
    async fn followed(&self, descriptor: &FlightDescriptor) -> Result<String> {
        if descriptor.r#type() == DescriptorType::Path {
            return match Place::parse(&descriptor.path)? {
                Place::Stream(path) => self.followed_stream(&path).await,
                Place::Below(prefix) => Ok(below_sql(&prefix)),
                Place::Relation(relation) => Ok(format!("SELECT * FROM {relation}")),
            };
        }
        match Target::parse(descriptor)? {
            Target::Sql(sql) => Ok(sql),
            Target::Path(path) => self.followed_stream(&path).await,
            Target::Command(Command::CommandStatementQuery(query)) => Ok(query.query),
            Target::Command(command) => Err(Error::unsupported(format!(
                "{} cannot be followed: an exchange takes a path or SQL text",
                command.type_url().rsplit('.').next().unwrap_or_default()
            ))),
        }
    }

    async fn followed_stream(&self, path: &StreamPath) -> Result<String> {
        let (id, version) = path.resolve(self.gateway.backend().as_ref()).await?;
        if let Some(version) = version {
            return Err(Error::invalid(format!(
                "version {version} of a stream never changes: read it with DoGet, or follow the stream without a version"
            ))
            .with_code(Code::InvalidParameter));
        }
        Ok(stream_sql(id, None))
    }
}

fn no_descriptor() -> Error {
    Error::invalid(
        "the exchange's first message has no descriptor: it says what to follow, by a path or by SQL text",
    )
}

fn takes_no_rows() -> Error {
    Error::invalid(
        "an exchange takes its descriptor and nothing more: rows go to DoPut, and something else is followed by another exchange",
    )
}

/// A tail on its way to the client.
struct Exchange {
    rows: BoxStream<'static, Result<RecordBatch>>,
    messages: Streaming<FlightData>,
    is_over: bool,
}

impl Exchange {
    fn answers(self) -> impl Stream<Item = Result<RecordBatch>> + Send + 'static {
        stream::unfold(self, |mut exchange| async {
            let next = exchange.next().await?;
            exchange.is_over = next.is_err();
            Some((next, exchange))
        })
    }

    async fn next(&mut self) -> Option<Result<RecordBatch>> {
        if self.is_over {
            return None;
        }
        // Both branches are cancel safe: reading a message and a stream's next lose nothing.
        tokio::select! {
            biased;
            message = self.messages.message() => match message {
                // Half-closed, or gone.
                Ok(None) | Err(_) => None,
                Ok(Some(_)) => Some(Err(takes_no_rows())),
            },
            rows = self.rows.next() => rows,
        }
    }
}
