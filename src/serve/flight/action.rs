//! Actions: prepared statements, transactions, sessions, queries.

use arrow_flight::sql::{
    ActionBeginTransactionRequest, ActionBeginTransactionResult, ActionCancelQueryRequest,
    ActionClosePreparedStatementRequest, ActionCreatePreparedStatementRequest,
    ActionEndTransactionRequest, Any, EndTransaction, ProstMessageExt,
};
use arrow_flight::{Action, ActionType, CancelFlightInfoRequest, RenewFlightEndpointRequest};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use prost::Message;

use super::Shared;
use super::call::CallOptions;
use super::options::{CloseSessionRequest, GetSessionOptionsRequest, SetSessionOptionsRequest};
use super::transaction::Begin;
use crate::error::{Error, Result};

const CREATE_PREPARED: &str = "CreatePreparedStatement";
const CLOSE_PREPARED: &str = "ClosePreparedStatement";
const BEGIN_TRANSACTION: &str = "BeginTransaction";
const END_TRANSACTION: &str = "EndTransaction";
const SET_OPTIONS: &str = "SetSessionOptions";
const GET_OPTIONS: &str = "GetSessionOptions";
const CLOSE_SESSION: &str = "CloseSession";
const CANCEL: &str = "CancelFlightInfo";
const CANCEL_QUERY: &str = "CancelQuery";
const RENEW: &str = "RenewFlightEndpoint";

/// Actions of the protocol that there are not, and why.
const REFUSED: [(&str, &str); 3] = [
    (
        "CreatePreparedSubstraitPlan",
        "plans of Substrait are not understood here: send the statement as SQL",
    ),
    ("BeginSavepoint", NO_SAVEPOINTS),
    ("EndSavepoint", NO_SAVEPOINTS),
];

const NO_SAVEPOINTS: &str = "there are no savepoints: what is written in a transaction is applied at once, and nothing takes it back";

/// The actions, and what they are.
pub(super) fn action_types() -> Vec<ActionType> {
    [
        (
            CREATE_PREPARED,
            "Prepares a statement.\n\
             Request Message: ActionCreatePreparedStatementRequest\n\
             Response Message: ActionCreatePreparedStatementResult",
        ),
        (
            CLOSE_PREPARED,
            "Closes a prepared statement; its handle carries the statement, so nothing is kept and nothing is freed.\n\
             Request Message: ActionClosePreparedStatementRequest\n\
             Response Message: N/A",
        ),
        (
            BEGIN_TRANSACTION,
            "Begins a transaction: all its statements read the snapshot that the first one takes.\n\
             Request Message: ActionBeginTransactionRequest\n\
             Response Message: ActionBeginTransactionResult",
        ),
        (
            END_TRANSACTION,
            "Ends a transaction; what was written in it stays.\n\
             Request Message: ActionEndTransactionRequest\n\
             Response Message: N/A",
        ),
        (
            SET_OPTIONS,
            "Sets options of the session, which begins with the first: catalog, schema, and the settings that SET takes. For \
             clients that keep cookies.\n\
             Request Message: SetSessionOptionsRequest\n\
             Response Message: SetSessionOptionsResult",
        ),
        (
            GET_OPTIONS,
            "Tells the options of the session.\n\
             Request Message: GetSessionOptionsRequest\n\
             Response Message: GetSessionOptionsResult",
        ),
        (
            CLOSE_SESSION,
            "Closes the session, and ends the transaction in it.\n\
             Request Message: CloseSessionRequest\n\
             Response Message: CloseSessionResult",
        ),
        (
            CANCEL,
            "Ends a query by its FlightInfo, wherever its answer is read.\n\
             Request Message: CancelFlightInfoRequest\n\
             Response Message: CancelFlightInfoResult",
        ),
        (
            CANCEL_QUERY,
            "The same as CancelFlightInfo, which took its place.\n\
             Request Message: ActionCancelQueryRequest\n\
             Response Message: ActionCancelQueryResult",
        ),
        (
            RENEW,
            "Gives an endpoint a new ticket, and a new time until which it can be redeemed.\n\
             Request Message: RenewFlightEndpointRequest\n\
             Response Message: FlightEndpoint",
        ),
    ]
    .into_iter()
    .map(|(name, description)| ActionType {
        r#type: name.to_owned(),
        description: description.to_owned(),
    })
    .chain(super::operations::action_types())
    .collect()
}

impl Shared {
    /// Does what `action` says; answers the bodies of its results.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for an action that there is not, [`ErrorKind::Invalid`] for a body of another type.
    pub(super) fn act<'a>(
        &'a self,
        action: &'a Action,
        call: &'a CallOptions,
    ) -> BoxFuture<'a, Result<Vec<Bytes>>> {
        async move {
            match action.r#type.as_str() {
                CREATE_PREPARED => {
                    let request: ActionCreatePreparedStatementRequest = unpack(action)?;
                    let result = self.prepare(request, call).await?;
                    Ok(vec![result.pack()])
                }
                CLOSE_PREPARED => {
                    let _: ActionClosePreparedStatementRequest = unpack(action)?;
                    Ok(Vec::new())
                }
                BEGIN_TRANSACTION => {
                    let _: ActionBeginTransactionRequest = unpack(action)?;
                    let result = ActionBeginTransactionResult {
                        transaction_id: self.transactions.begin(Begin {
                            connection: call.connection,
                            read_only: false,
                        })?,
                    };
                    Ok(vec![pack(&result)])
                }
                END_TRANSACTION => {
                    self.end_transaction(&unpack(action)?, call)?;
                    Ok(Vec::new())
                }
                SET_OPTIONS => {
                    let request: SetSessionOptionsRequest = bare(action)?;
                    Ok(vec![encoded(&self.set_options(request, call)?)])
                }
                GET_OPTIONS => {
                    let _: GetSessionOptionsRequest = bare(action)?;
                    Ok(vec![encoded(&self.get_options(call)?)])
                }
                CLOSE_SESSION => {
                    let _: CloseSessionRequest = bare(action)?;
                    Ok(vec![encoded(&self.close_session(call)?)])
                }
                CANCEL => {
                    let request: CancelFlightInfoRequest = bare(action)?;
                    Ok(vec![encoded(&self.cancel(request).await?)])
                }
                CANCEL_QUERY => {
                    let request: ActionCancelQueryRequest = unpack(action)?;
                    Ok(vec![pack(&self.cancel_query(request).await?)])
                }
                RENEW => {
                    let request: RenewFlightEndpointRequest = bare(action)?;
                    Ok(vec![encoded(&self.renew(request)?)])
                }
                operation if super::operations::is_one(operation) => self.operate(action).await,
                other => Err(unknown(other)),
            }
        }
        .boxed()
    }

    fn end_transaction(
        &self,
        request: &ActionEndTransactionRequest,
        call: &CallOptions,
    ) -> Result<()> {
        let end = || self.transactions.end(&request.transaction_id);
        match request.action() {
            EndTransaction::Commit => end().map(drop),
            EndTransaction::Rollback => self.rolled_back(end(), call),
            EndTransaction::Unspecified => Err(Error::invalid(
                "a transaction ends with a commit or a rollback",
            )),
        }
    }
}

fn unknown(name: &str) -> Error {
    if let Some((_, why)) = REFUSED.iter().find(|(refused, _)| *refused == name) {
        return Error::unsupported(format!("action {name} is not supported: {why}"));
    }
    let known: Vec<_> = action_types()
        .into_iter()
        .map(|action| action.r#type)
        .collect();
    Error::unsupported(format!(
        "there is no action \"{name}\": actions are {}",
        known.join(", ")
    ))
}

/// The body of Flight's own actions: a message as it is, where Flight SQL has it in an `Any`.
fn bare<M: Message + Default>(action: &Action) -> Result<M> {
    M::decode(action.body.clone()).map_err(|error| {
        Error::invalid(format!(
            "the body of action {} is not its request",
            action.r#type
        ))
        .with_source(error)
    })
}

fn encoded(message: &impl Message) -> Bytes {
    message.encode_to_vec().into()
}

fn pack(message: &impl ProstMessageExt) -> Bytes {
    message.as_any().encode_to_vec().into()
}

fn unpack<M: ProstMessageExt>(action: &Action) -> Result<M> {
    let mismatch = || {
        Error::invalid(format!(
            "the body of action {} holds no {}",
            action.r#type,
            M::type_url().rsplit('.').next().unwrap_or_default()
        ))
    };
    let any = Any::decode(action.body.clone()).map_err(|error| mismatch().with_source(error))?;
    any.unpack()
        .map_err(|error| mismatch().with_source(error))?
        .ok_or_else(mismatch)
}
