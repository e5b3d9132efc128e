//! Actions: prepared statements, transactions, sessions.

use arrow_flight::sql::{
    ActionBeginTransactionRequest, ActionBeginTransactionResult,
    ActionClosePreparedStatementRequest, ActionCreatePreparedStatementRequest,
    ActionEndTransactionRequest, Any, EndTransaction, ProstMessageExt,
};
use arrow_flight::{Action, ActionType};
use bytes::Bytes;
use prost::Message;

use super::Shared;
use super::call::CallOptions;
use crate::error::{Error, ErrorKind, Result};

const CREATE_PREPARED: &str = "CreatePreparedStatement";
const CLOSE_PREPARED: &str = "ClosePreparedStatement";
const BEGIN_TRANSACTION: &str = "BeginTransaction";
const END_TRANSACTION: &str = "EndTransaction";
const CLOSE_SESSION: &str = "CloseSession";

/// `CloseSessionResult { status: CLOSED }`: arrow-flight does not have the message.
const SESSION_CLOSED: &[u8] = &[0x08, 0x01];

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
            CLOSE_SESSION,
            "Closes the session; there are none, so it is closed.\n\
             Request Message: CloseSessionRequest\n\
             Response Message: CloseSessionResult",
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
    pub(super) async fn act(&self, action: &Action, call: &CallOptions) -> Result<Vec<Bytes>> {
        match action.r#type.as_str() {
            CREATE_PREPARED => {
                let request: ActionCreatePreparedStatementRequest = unpack(action)?;
                let result = self.prepare(request, call).await?;
                Ok(vec![pack(&result)])
            }
            CLOSE_PREPARED => {
                let _: ActionClosePreparedStatementRequest = unpack(action)?;
                Ok(Vec::new())
            }
            BEGIN_TRANSACTION => {
                let _: ActionBeginTransactionRequest = unpack(action)?;
                let result = ActionBeginTransactionResult {
                    transaction_id: self.transactions.begin(call.connection)?,
                };
                Ok(vec![pack(&result)])
            }
            END_TRANSACTION => {
                self.end_transaction(&unpack(action)?)?;
                Ok(Vec::new())
            }
            CLOSE_SESSION => Ok(vec![Bytes::from_static(SESSION_CLOSED)]),
            operation if super::operations::is_one(operation) => self.operate(action).await,
            other => {
                let known: Vec<_> = action_types()
                    .into_iter()
                    .map(|action| action.r#type)
                    .collect();
                Err(Error::unsupported(format!(
                    "there is no action \"{other}\": actions are {}",
                    known.join(", ")
                )))
            }
        }
    }

    fn end_transaction(&self, request: &ActionEndTransactionRequest) -> Result<()> {
        match request.action() {
            EndTransaction::Commit => self.transactions.end(&request.transaction_id),
            EndTransaction::Rollback => match self.transactions.end(&request.transaction_id) {
                // A transaction that is gone is rolled back: a client that lost it must be able to begin another.
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
                ended => ended,
            },
            EndTransaction::Unspecified => Err(Error::invalid(
                "a transaction ends with a commit or a rollback",
            )),
        }
    }
}

fn pack(message: &impl ProstMessageExt) -> Bytes {
    message.as_any().encode_to_vec().into()
}

fn unpack<M: ProstMessageExt>(action: &Action) -> Result<M> {
    let mismatch = || {
        Error::invalid(format!(
            "the body of action {} is not a {}",
            action.r#type,
            M::type_url().rsplit('.').next().unwrap_or_default()
        ))
    };
    let any = Any::decode(action.body.clone()).map_err(|error| mismatch().with_source(error))?;
    any.unpack()
        .map_err(|error| mismatch().with_source(error))?
        .ok_or_else(mismatch)
}
