//! Errors as gRPC statuses, and back.

use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

use crate::error::{self, Error, ErrorKind};

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

/// The gRPC code for an error: what is there already is told from other conflicts, which trying again may solve.
fn code_of(error: &Error) -> Code {
    match error.code() {
        Some(error::Code::SameStream | error::Code::ReusedUuid | error::Code::AmbiguousStream) => {
            Code::AlreadyExists
        }
        _ => code(error.kind()),
    }
}

/// The status that says `error`, with BTrDB's number for it in a trailer.
pub fn status(error: &Error) -> Status {
    let mut status = Status::new(code_of(error), error.message());
    if let Some(code) = error.code() {
        let number = MetadataValue::from(code as u32);
        status.metadata_mut().insert(CODE_TRAILER, number);
    }
    status
}

/// What a server said by a status.
pub fn from_status(status: &Status) -> Error {
    let message = match status.message() {
        "" => format!("the server answered {:?}", status.code()),
        message => message.to_owned(),
    };
    let error = Error::new(kind(status.code()), message);
    let number = status.metadata().get(CODE_TRAILER);
    let number = number.and_then(|number| number.to_str().ok()?.parse().ok());
    match number.and_then(error::Code::of_number) {
        Some(code) => error.with_code(code),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let error = Error::not_found("gone").with_code(error::Code::NoSuchStream);
        let status = status(&error);
        let trailer = status.metadata().get(CODE_TRAILER).expect("a trailer");
        assert_eq!(trailer.to_str().expect("text"), "404");
        assert_eq!(from_status(&status).code(), Some(error::Code::NoSuchStream));
    }
}
