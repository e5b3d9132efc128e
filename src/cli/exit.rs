//! How a run ends: exit codes, and errors as sentences.

use std::error::Error as StdError;
use std::io;

use crate::error::{Error, ErrorKind};

/// The exit codes, for `--help`.
pub const TABLE: &str = "\
Exit codes:
  0  success
  1  a defect of this program
  2  the request is wrong: arguments, SQL, or data that cannot be taken
  3  what was named does not exist
  4  the state changed underneath, or the name, the address or the store is taken
  5  passing trouble, such as no server at the address: try again
  6  over a limit: ask for less
  7  not allowed
  8  not supported
  9  stored bytes are damaged";

/// What the process exits with for an error of `kind`; arguments that clap refuses exit with 2 as well.
pub fn code(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::Internal => 1,
        ErrorKind::Invalid => 2,
        ErrorKind::NotFound => 3,
        ErrorKind::Conflict => 4,
        ErrorKind::Unavailable => 5,
        ErrorKind::Exhausted => 6,
        ErrorKind::Denied => 7,
        ErrorKind::Unsupported => 8,
        ErrorKind::Corrupt => 9,
    }
}

/// The message and its causes in one line, without causes that only repeat what was said.
pub fn sentence(error: &Error) -> String {
    let mut text = error.message().to_owned();
    let mut cause = StdError::source(error);
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) && !more.ends_with(&text) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

/// An error of the operating system, with what was being done.
pub fn from_io(what: impl Into<String>, error: io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        io::ErrorKind::PermissionDenied => ErrorKind::Denied,
        io::ErrorKind::AddrInUse | io::ErrorKind::AlreadyExists => ErrorKind::Conflict,
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::IsADirectory => {
            ErrorKind::Invalid
        }
        io::ErrorKind::StorageFull | io::ErrorKind::OutOfMemory => ErrorKind::Exhausted,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, what).with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_names_each_cause_once() {
        let repeated = io::Error::other("Plan error: no such column");
        let error = Error::invalid("no such column").with_source(repeated);
        assert_eq!(sentence(&error), "no such column");
        let error = Error::invalid("outer says inner")
            .with_source(Error::invalid("inner").with_source(io::Error::other("root")));
        assert_eq!(sentence(&error), "outer says inner: root");
    }
}
