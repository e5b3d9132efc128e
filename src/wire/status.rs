//! Errors inside of answers: BTrDB's own way to say what went wrong.

use super::proto;
use crate::error::{Code, Error, ErrorKind, Result};

/// The `stat` that says `error`.
///
/// An unknown stream is told in the words that clients compare; everything else in ours.
pub fn stat(error: &Error) -> proto::Status {
    let code = error.code().unwrap_or(match error.kind() {
        ErrorKind::Invalid | ErrorKind::Conflict => Code::InvalidParameter,
        ErrorKind::NotFound | ErrorKind::Denied => Code::GenericError,
        ErrorKind::Unavailable => Code::ContextError,
        ErrorKind::Exhausted => Code::ResourceDepleted,
        ErrorKind::Unsupported => Code::NotImplemented,
        ErrorKind::Corrupt => Code::StoreFailure,
        ErrorKind::Internal => Code::InvariantFailure,
    });
    let msg = match code {
        Code::NoSuchStream => "stream does not exist".to_owned(),
        _ => error.message().to_owned(),
    };
    proto::Status {
        code: code as u32,
        msg,
        mash: None,
    }
}

/// What a server said by a `stat`: nothing wrong if it is absent, or its code 0.
///
/// # Errors
/// What it says, with BTrDB's number if it is one that is known here, and in the message if it is not.
pub fn check(stat: Option<proto::Status>) -> Result<()> {
    match stat {
        None => Ok(()),
        Some(stat) if stat.code == 0 => Ok(()),
        Some(stat) => Err(error(stat.code, stat.msg)),
    }
}

/// The error that a number of BTrDB's stands for.
pub fn error(number: u32, message: String) -> Error {
    match Code::of_number(number) {
        Some(code) => Error::new(kind(code), message).with_code(code),
        None => Error::new(
            ErrorKind::Internal,
            format!("the server answered error {number}: {message}"),
        ),
    }
}

/// What a caller can do about a code.
pub fn kind(code: Code) -> ErrorKind {
    match code {
        Code::InvalidCollection
        | Code::InvalidTagKey
        | Code::InvalidTagValue
        | Code::InvalidTimeRange
        | Code::InsertTooBig
        | Code::InvalidPointWidth
        | Code::WrongArgs
        | Code::BadValue
        | Code::InvalidVersions
        | Code::InvalidParameter
        | Code::BadSqlValue => ErrorKind::Invalid,
        Code::NoSuchPoint | Code::NoSuchStream | Code::VersionNotAvailable => ErrorKind::NotFound,
        Code::SameStream
        | Code::AmbiguousStream
        | Code::AnnotationVersionMismatch
        | Code::ReusedUuid => ErrorKind::Conflict,
        Code::ContextError
        | Code::WrongEndpoint
        | Code::ClusterDegraded
        | Code::StoreFailure
        | Code::MetadataConnection => ErrorKind::Unavailable,
        Code::ResourceDepleted => ErrorKind::Exhausted,
        Code::Unauthorized | Code::ObliterateDisabled => ErrorKind::Denied,
        Code::FaultInjectionDisabled | Code::NotImplemented => ErrorKind::Unsupported,
        Code::InsertFailure | Code::GenericError | Code::InvariantFailure => ErrorKind::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn success_is_silence_or_zero() {
        check(None).expect("absent");
        check(Some(proto::Status::default())).expect("code 0");
    }

    #[test]
    fn errors_keep_their_codes_and_words() {
        let told = stat(&Error::not_found("stream 5 does not exist").with_code(Code::NoSuchStream));
        assert_eq!(
            (told.code, told.msg.as_str()),
            (404, "stream does not exist")
        );
        let error = check(Some(told)).expect_err("an error");
        assert_eq!(error.code(), Some(Code::NoSuchStream));
        assert_eq!(error.kind(), ErrorKind::NotFound);
        let error = check(Some(proto::Status {
            code: 459,
            msg: "tier".to_owned(),
            mash: None,
        }));
        assert!(error.expect_err("an error").message().contains("459"));
    }
}
