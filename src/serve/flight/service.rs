//! The calls of Flight, each decoded and passed on.

use std::fmt;
use std::sync::Arc;

use arrow_flight::flight_service_server::FlightService;
use arrow_flight::sql::{Command, CommandStatementQuery};
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo,
    HandshakeRequest, HandshakeResponse, PollInfo, PutResult, SchemaResult, Ticket,
};
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use super::Shared;
use super::call::CallOptions;
use super::descriptor::Target;
use super::encode::{DataStream, encode, schema_bytes};
use super::flights::stream_schema;
use super::metadata::is_metadata;
use super::put::Put;
use super::statement::flight_info;
use super::status::status;
use super::ticket::Prepared;
use crate::error::{Error, Result};
use crate::serve::auth;

/// Arrow Flight and Flight SQL over a gateway.
pub struct FlightServer {
    shared: Arc<Shared>,
}

impl FlightServer {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

impl fmt::Debug for FlightServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlightServer")
            .field("gateway", &self.shared.gateway)
            .finish_non_exhaustive()
    }
}

type Answer<T> = std::result::Result<Response<T>, Status>;
type Answers<T> = BoxStream<'static, std::result::Result<T, Status>>;

fn options<T>(request: &Request<T>) -> std::result::Result<CallOptions, Status> {
    CallOptions::of(request).map_err(|error| status(&error))
}

#[tonic::async_trait]
impl FlightService for FlightServer {
    type HandshakeStream = Answers<HandshakeResponse>;
    type ListFlightsStream = Answers<FlightInfo>;
    type DoGetStream = DataStream;
    type DoPutStream = Answers<PutResult>;
    type DoActionStream = Answers<arrow_flight::Result>;
    type ListActionsStream = Answers<ActionType>;
    type DoExchangeStream = Answers<FlightData>;

    /// Gives the key, which was checked before, back as a bearer token: clients that log in expect one.
    async fn handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Answer<Self::HandshakeStream> {
        let token = auth::key(request.metadata())
            .filter(|key| !key.is_empty())
            .unwrap_or_else(|| "anonymous".to_owned());
        let bearer = format!("Bearer {token}")
            .parse()
            .map_err(|_| Status::invalid_argument("the credentials are not a header's text"))?;
        let answer = HandshakeResponse {
            protocol_version: 0,
            payload: Bytes::from(token),
        };
        let mut response = Response::new(stream::iter([Ok(answer)]).boxed());
        response.metadata_mut().insert("authorization", bearer);
        Ok(response)
    }

    async fn list_flights(&self, request: Request<Criteria>) -> Answer<Self::ListFlightsStream> {
        let call = options(&request)?;
        let flights = self
            .shared
            .flights(request.get_ref(), &call)
            .await
            .map_err(|error| status(&error))?
            .map(|flight| flight.map_err(|error| status(&error)));
        Ok(Response::new(stream::iter(flights).boxed()))
    }

    async fn get_flight_info(&self, request: Request<FlightDescriptor>) -> Answer<FlightInfo> {
        let call = options(&request)?;
        self.shared
            .describe(request.into_inner(), &call)
            .await
            .map(Response::new)
            .map_err(|error| status(&error))
    }

    /// Answers are planned in milliseconds, so the first poll is the last.
    async fn poll_flight_info(&self, request: Request<FlightDescriptor>) -> Answer<PollInfo> {
        let info = self.get_flight_info(request).await?.into_inner();
        PollInfo::new()
            .with_info(info)
            .try_with_progress(1.0)
            .map(Response::new)
            .map_err(|error| Status::internal(error.to_string()))
    }

    async fn get_schema(&self, request: Request<FlightDescriptor>) -> Answer<SchemaResult> {
        let call = options(&request)?;
        self.shared
            .schema(request.into_inner(), &call)
            .await
            .map(|schema| Response::new(SchemaResult { schema }))
            .map_err(|error| status(&error))
    }

    async fn do_get(&self, request: Request<Ticket>) -> Answer<Self::DoGetStream> {
        let call = options(&request)?;
        self.shared
            .get(&request.into_inner().ticket, &call)
            .await
            .map(Response::new)
            .map_err(|error| status(&error))
    }

    async fn do_put(&self, request: Request<Streaming<FlightData>>) -> Answer<Self::DoPutStream> {
        let call = options(&request)?;
        Put::open(Arc::clone(&self.shared), request.into_inner(), call)
            .await
            .map(|put| Response::new(put.answers()))
            .map_err(|error| status(&error))
    }

    async fn do_exchange(
        &self,
        _request: Request<Streaming<FlightData>>,
    ) -> Answer<Self::DoExchangeStream> {
        Err(status(&Error::unsupported(
            "DoExchange is not served: read with DoGet, write with DoPut",
        )))
    }

    async fn do_action(&self, request: Request<Action>) -> Answer<Self::DoActionStream> {
        let call = options(&request)?;
        let bodies = self
            .shared
            .act(request.get_ref(), &call)
            .await
            .map_err(|error| status(&error))?;
        let results = bodies
            .into_iter()
            .map(|body| Ok(arrow_flight::Result { body }));
        Ok(Response::new(stream::iter(results).boxed()))
    }

    async fn list_actions(&self, _request: Request<Empty>) -> Answer<Self::ListActionsStream> {
        let actions = super::action::action_types().into_iter().map(Ok);
        Ok(Response::new(stream::iter(actions).boxed()))
    }
}

impl Shared {
    async fn describe(
        &self,
        descriptor: FlightDescriptor,
        call: &CallOptions,
    ) -> Result<FlightInfo> {
        match Target::parse(&descriptor)? {
            Target::Path(path) => self.path_info(&path, descriptor, call).await,
            Target::Sql(sql) => {
                let statement = Prepared {
                    sql,
                    ..Prepared::default()
                };
                self.statement_info(statement, descriptor, call).await
            }
            Target::Command(Command::CommandStatementQuery(query)) => {
                self.statement_info(of_query(query), descriptor, call).await
            }
            Target::Command(Command::CommandPreparedStatementQuery(query)) => {
                let prepared = self.open_prepared(&query.prepared_statement_handle, call)?;
                self.statement_info(prepared, descriptor, call).await
            }
            // What the catalog says is its own ticket: it is small, and as fresh as it is read.
            Target::Command(command) if is_metadata(&command) => {
                let schema = self.metadata_schema(&command)?;
                let ticket = descriptor.cmd.clone();
                flight_info(&schema, ticket, None, descriptor)
            }
            Target::Command(command) => Err(unserved(&command)),
        }
    }

    async fn schema(&self, descriptor: FlightDescriptor, call: &CallOptions) -> Result<Bytes> {
        let schema = match Target::parse(&descriptor)? {
            Target::Path(path) => {
                path.resolve(self.gateway.backend().as_ref()).await?;
                return schema_bytes(&stream_schema());
            }
            Target::Sql(sql) => {
                let statement = Prepared {
                    sql,
                    ..Prepared::default()
                };
                self.statement_schema(&statement, call).await?
            }
            Target::Command(Command::CommandStatementQuery(query)) => {
                self.statement_schema(&of_query(query), call).await?
            }
            Target::Command(Command::CommandPreparedStatementQuery(query)) => {
                let prepared = self.open_prepared(&query.prepared_statement_handle, call)?;
                self.statement_schema(&prepared, call).await?
            }
            Target::Command(command) if is_metadata(&command) => self.metadata_schema(&command)?,
            Target::Command(command) => return Err(unserved(&command)),
        };
        schema_bytes(&schema)
    }

    async fn get(&self, ticket: &Bytes, call: &CallOptions) -> Result<DataStream> {
        match Target::parse_bytes(ticket, "ticket")? {
            Target::Command(Command::TicketStatementQuery(ticket)) => {
                self.redeem(&ticket.statement_handle, call).await
            }
            Target::Command(command) if is_metadata(&command) => {
                let batch = self.metadata(command).await?;
                let delivery = self.delivery(call.compression);
                encode(batch.schema(), stream::iter([Ok(batch)]), delivery)
            }
            Target::Sql(sql) => self.run_text(&sql, call).await,
            Target::Command(command) => Err(unserved(&command)),
            Target::Path(_) => Err(Error::internal("a ticket was parsed as a path")),
        }
    }
}

fn of_query(query: CommandStatementQuery) -> Prepared {
    Prepared {
        sql: query.query,
        parameters: Bytes::new(),
        transaction: query.transaction_id.unwrap_or_default(),
    }
}

fn unserved(command: &Command) -> Error {
    let name = command.type_url().rsplit('.').next().unwrap_or_default();
    Error::unsupported(format!("{name} is not served here"))
}
