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
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, Stream, StreamExt, TryStreamExt};
use tonic::{Request, Response, Status, Streaming};

use super::Shared;
use super::call::CallOptions;
use super::columns::of_result;
use super::cookie::take_cookie;
use super::descriptor::Target;
use super::encode::{DataStream, encode, schema_bytes};
use super::flights::stream_schema;
use super::handshake;
use super::message::Message;
use super::metadata::is_metadata;
use super::put::Put;
use super::statement::flight_info;
use super::status::status;
use super::stop::Stoppable;
use super::ticket::Prepared;
use crate::error::{Error, Result};
use crate::query::Veil;
use crate::serve::auth;

/// Arrow Flight and Flight SQL over a gateway.
pub(super) struct FlightServer {
    shared: Veil<Shared>,
}

impl FlightServer {
    pub(super) fn new(shared: Shared) -> Self {
        Self {
            shared: Veil::new(shared),
        }
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

/// Whether the answers of a call offer a session to a client that may keep cookies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Offer {
    Yes,
    No,
}

impl FlightServer {
    /// What a call asks for beside its message, and who calls.
    fn call<T>(
        &self,
        request: &Request<T>,
        offer: Offer,
    ) -> std::result::Result<CallOptions, Status> {
        let mut call = CallOptions::of(request).map_err(|error| status(&error))?;
        let client = self.shared.client(request.metadata(), &call);
        let known = client.and_then(|client| {
            call.client = client;
            self.shared.check_session(&call)
        });
        if let Err(error) = known {
            // With the header that makes the client forget.
            call.reply.with::<()>(Err(status(&error)))?;
        }
        if offer == Offer::Yes {
            self.shared.offer_cookie(&call);
        }
        Ok(call)
    }

    /// What a ticket stands for.
    pub(super) async fn read(&self, request: Request<Ticket>) -> Answer<DataStream> {
        let call = self.call(&request, Offer::No)?;
        answer(&call, async {
            let data = self.shared.get(&request.into_inner().ticket, &call).await?;
            Ok(Stoppable::new(Arc::clone(&call.stop), data).boxed())
        })
        .await
    }
}

/// Does `work` for `call`, and sends its answer with the headers that were gathered on the way.
async fn answer<T>(call: &CallOptions, work: impl Future<Output = Result<T>>) -> Answer<T> {
    let work = async { work.await.map_err(|error| status(&error)) };
    let outcome = call.until_stopped(work).await;
    call.reply.with(outcome.map(Response::new))
}

/// For gRPC's own encoder.
fn in_one_piece(
    messages: impl Stream<Item = std::result::Result<Message, Status>> + Send + 'static,
) -> Answers<FlightData> {
    messages.map_ok(FlightData::from).boxed()
}

#[tonic::async_trait]
impl FlightService for FlightServer {
    type HandshakeStream = Answers<HandshakeResponse>;
    type ListFlightsStream = Answers<FlightInfo>;
    type DoGetStream = Answers<FlightData>;
    type DoPutStream = Answers<PutResult>;
    type DoActionStream = Answers<arrow_flight::Result>;
    type ListActionsStream = Answers<ActionType>;
    type DoExchangeStream = Answers<FlightData>;

    /// Gives the key, which was checked before, back as a bearer token: clients that log in expect one.
    async fn handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Answer<Self::HandshakeStream> {
        let call = self.call(&request, Offer::Yes)?;
        let token = match auth::key(request.metadata()).filter(|key| !key.is_empty()) {
            Some(key) => key,
            None => handshake::token(request.into_inner())
                .await
                .map_err(|error| status(&error))?,
        };
        // What came in a message was not looked at before.
        self.shared.gate.check(&token)?;
        let bearer = format!("Bearer {token}")
            .parse()
            .map_err(|_| Status::invalid_argument("the credentials are not a header's text"))?;
        let answer = HandshakeResponse {
            protocol_version: 0,
            payload: Bytes::from(token),
        };
        let mut response = Response::new(stream::iter([Ok(answer)]).boxed());
        response.metadata_mut().insert("authorization", bearer);
        call.reply.with(Ok(response))
    }

    async fn list_flights(&self, request: Request<Criteria>) -> Answer<Self::ListFlightsStream> {
        let call = self.call(&request, Offer::No)?;
        answer(&call, async {
            let flights = Shared::flights(&self.shared, request.get_ref(), &call).await?;
            let flights = flights.map(|flight| flight.map_err(|error| status(&error)));
            Ok(flights.boxed())
        })
        .await
    }

    async fn get_flight_info(&self, request: Request<FlightDescriptor>) -> Answer<FlightInfo> {
        let call = self.call(&request, Offer::Yes)?;
        answer(&call, self.shared.describe(request.into_inner(), &call)).await
    }

    async fn poll_flight_info(&self, request: Request<FlightDescriptor>) -> Answer<PollInfo> {
        let call = self.call(&request, Offer::Yes)?;
        let poll = Shared::poll(&self.shared, request.into_inner(), &call);
        let outcome = call.until_stopped(poll).await;
        call.reply.with(outcome.map(Response::new))
    }

    async fn get_schema(&self, request: Request<FlightDescriptor>) -> Answer<SchemaResult> {
        let call = self.call(&request, Offer::Yes)?;
        answer(&call, async {
            let schema = self.shared.schema(request.into_inner(), &call).await?;
            Ok(SchemaResult { schema })
        })
        .await
    }

    async fn do_get(&self, request: Request<Ticket>) -> Answer<Self::DoGetStream> {
        Ok(self.read(request).await?.map(in_one_piece))
    }

    async fn do_put(&self, request: Request<Streaming<FlightData>>) -> Answer<Self::DoPutStream> {
        let call = self.call(&request, Offer::No)?;
        answer(&call, async {
            let put = Put::open(self.shared.clone(), request.into_inner(), call.clone());
            Ok(Stoppable::new(Arc::clone(&call.stop), put.await?.answers()).boxed())
        })
        .await
    }

    async fn do_exchange(
        &self,
        request: Request<Streaming<FlightData>>,
    ) -> Answer<Self::DoExchangeStream> {
        let call = self.call(&request, Offer::No)?;
        answer(&call, async {
            let tail = self.shared.exchange(request.into_inner(), &call).await?;
            Ok(in_one_piece(Stoppable::new(Arc::clone(&call.stop), tail)))
        })
        .await
    }

    async fn do_action(&self, request: Request<Action>) -> Answer<Self::DoActionStream> {
        let call = self.call(&request, Offer::Yes)?;
        answer(&call, async {
            let bodies = self.shared.act(request.get_ref(), &call).await?;
            let results = bodies
                .into_iter()
                .map(|body| Ok(arrow_flight::Result { body }));
            Ok(stream::iter(results).boxed())
        })
        .await
    }

    async fn list_actions(&self, _request: Request<Empty>) -> Answer<Self::ListActionsStream> {
        let actions = super::action::action_types().into_iter().map(Ok);
        Ok(Response::new(stream::iter(actions).boxed()))
    }
}

impl Shared {
    pub(super) fn describe<'a>(
        &'a self,
        descriptor: FlightDescriptor,
        call: &'a CallOptions,
    ) -> BoxFuture<'a, Result<FlightInfo>> {
        async move {
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
        .boxed()
    }

    fn schema<'a>(
        &'a self,
        descriptor: FlightDescriptor,
        call: &'a CallOptions,
    ) -> BoxFuture<'a, Result<Bytes>> {
        async move {
            let schema = match Target::parse(&descriptor)? {
                Target::Path(path) => {
                    path.resolve(self.gateway.backend().as_ref()).await?;
                    return schema_bytes(&of_result(&stream_schema()));
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
                Target::Command(command) if is_metadata(&command) => {
                    self.metadata_schema(&command)?
                }
                Target::Command(command) => return Err(unserved(&command)),
            };
            schema_bytes(&schema)
        }
        .boxed()
    }

    /// That the client's session, if it has one, is still there.
    fn check_session(&self, call: &CallOptions) -> Result<()> {
        let known = self.sessions.read(call.client, |_| ());
        if known.is_err() {
            take_cookie(call);
        }
        known.map(drop)
    }

    fn get<'a>(
        &'a self,
        ticket: &'a Bytes,
        call: &'a CallOptions,
    ) -> BoxFuture<'a, Result<DataStream>> {
        async move {
            match Target::parse_bytes(ticket, "ticket")? {
                Target::Command(Command::TicketStatementQuery(ticket)) => {
                    self.redeem(&ticket.statement_handle, call).await
                }
                Target::Command(command) if is_metadata(&command) => {
                    let schema = self.metadata_schema(&command)?;
                    let rows = self.metadata(command).await?;
                    encode(schema, rows, self.delivery(call.compression))
                }
                Target::Sql(sql) => self.run_text(sql, call).await,
                Target::Command(command) => Err(unserved(&command)),
                Target::Path(_) => Err(Error::internal("a ticket was parsed as a path")),
            }
        }
        .boxed()
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
    let why = match command {
        Command::CommandStatementSubstraitPlan(_) => {
            "plans of Substrait are not understood here: send the statement as SQL"
        }
        Command::CommandStatementUpdate(_)
        | Command::CommandPreparedStatementUpdate(_)
        | Command::CommandStatementIngest(_) => "it goes with a DoPut",
        _ => "it is not a query",
    };
    Error::unsupported(format!("{name} is not served by this call: {why}"))
}
