//! Errors as statuses that answer a call.

use tonic::Status;

use crate::error::{Error, ErrorKind};
use crate::wire::grpc;

/// The status that answers a call that failed so.
pub(super) fn status(error: &Error) -> Status {
    if error.kind() == ErrorKind::Internal {
        // Nobody reads a server's defects off a client's screen: this is where they are kept.
        tracing::error!(?error, "internal error");
    }
    grpc::status(error)
}
