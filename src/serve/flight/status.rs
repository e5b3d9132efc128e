//! Errors as gRPC statuses, and back.

use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

use crate::error::{Error, ErrorKind};

/// The trailer that carries BTrDB's number for a mistake, where it has one.
pub const CODE_TRAILER: &str = "x-btrdb-code";

/// The gRPC code for a kind of error.
pub fn code(kind: ErrorKind) -> Code {
    match kind {
        ErrorKind::Invalid => Code::InvalidArgument,
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::Conflict => Code::Aborted,
        ErrorKind::Unavailable => Code::Unavailable,
        ErrorKind::Exhausted => Code::ResourceExhausted,
        ErrorKind::Denied => Code::PermissionDenied,
        ErrorKind::Unsupported => Code::Unimplemented,
        ErrorKind::Corrupt => Code::DataLoss,
        ErrorKind::Internal => Code::Internal,
    }
}

/// What a caller can do about a gRPC code: the inverse of [`code`], and the nearest kind for codes that it never gives.
pub fn kind(code: Code) -> ErrorKind {
    match code {
        Code::InvalidArgument | Code::OutOfRange => ErrorKind::Invalid,
        Code::NotFound => ErrorKind::NotFound,
        Code::Aborted | Code::AlreadyExists | Code::FailedPrecondition => ErrorKind::Conflict,
        Code::Unavailable | Code::Cancelled | Code::DeadlineExceeded => ErrorKind::Unavailable,
        Code::ResourceExhausted => ErrorKind::Exhausted,
        Code::PermissionDenied | Code::Unauthenticated => ErrorKind::Denied,
        Code::Unimplemented => ErrorKind::Unsupported,
        Code::DataLoss => ErrorKind::Corrupt,
        Code::Ok | Code::Unknown | Code::Internal => ErrorKind::Internal,
    }
}

/// The status that answers a call that failed so.
pub(super) fn status(error: &Error) -> Status {
    let mut status = Status::new(code(error.kind()), error.message());
    if let Some(code) = error.code() {
        let number = MetadataValue::from(code as u32);
        status.metadata_mut().insert(CODE_TRAILER, number);
    }
    if error.kind() == ErrorKind::Internal {
        // Nobody reads a server's defects off a client's screen: this is where they are kept.
        tracing::error!(?error, "internal error");
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code as BtrdbCode;

    #[test]
    fn every_kind_survives_the_wire() {
        for expected in [
            ErrorKind::Invalid,
            ErrorKind::NotFound,
            ErrorKind::Conflict,
            ErrorKind::Unavailable,
            ErrorKind::Exhausted,
            ErrorKind::Denied,
            ErrorKind::Unsupported,
            ErrorKind::Corrupt,
            ErrorKind::Internal,
        ] {
            let status = status(&Error::new(expected, "why"));
            assert_eq!(kind(status.code()), expected);
            assert_eq!(status.message(), "why");
        }
    }

    #[test]
    fn btrdb_codes_travel_in_a_trailer() {
        let status = status(&Error::not_found("gone").with_code(BtrdbCode::NoSuchStream));
        let trailer = status.metadata().get(CODE_TRAILER).expect("a trailer");
        assert_eq!(trailer.to_str().expect("text"), "404");
    }
}
