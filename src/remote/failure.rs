//! What a call failed of, and what is known about what the server did.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use tonic::{ConnectError, Status};

use crate::error::{Code, Error, ErrorKind};
use crate::wire::{grpc, proto, status};

/// A call that failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: Error,
    pub(super) outcome: Outcome,
}

/// What the server did about a call that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Nothing: there was no connection.
    Unsent,
    /// Nothing: it says that another node is to be asked, or that it cannot for now: a cluster lacks members, too much is asked
    /// of it at once.
    Declined,
    /// Nobody knows: the connection broke, or something between here and there gave up.
    Unknown,
    /// Nobody knows: no answer came in time.
    Late,
    /// What it says.
    Told,
}

impl Failure {
    /// What a status of a call to `endpoint` stands for.
    pub(super) fn of_status(status: &Status, endpoint: &str) -> Self {
        let unsent = status.message().starts_with("Service was not ready");
        if status.source().is_some() || unsent {
            return Self::of_transport(status, endpoint, unsent);
        }
        // Servers behind a proxy of their own tell their errors so.
        if let Some((number, message)) = numbered(status.message()) {
            return Self::of_stat(number, message.to_owned(), endpoint);
        }
        let told = grpc::from_status(status);
        let code = told.code();
        let error = Error::new(
            told.kind(),
            format!("btrdb at {endpoint} answers: {}", told.message()),
        );
        Self {
            error: match code {
                Some(code) => error.with_code(code),
                None => error,
            },
            outcome: match status.code() {
                tonic::Code::Unavailable => Outcome::Unknown,
                _ => Outcome::Told,
            },
        }
    }

    fn of_transport(status: &Status, endpoint: &str, unsent: bool) -> Self {
        let mut unsent = unsent;
        let mut cause = status.message().to_owned();
        let mut next = status.source();
        while let Some(error) = next {
            unsent |= error.is::<ConnectError>();
            cause = error.to_string();
            next = error.source();
        }
        Self {
            error: Error::new(
                ErrorKind::Unavailable,
                format!("btrdb at {endpoint} does not answer: {cause}"),
            ),
            outcome: match unsent {
                true => Outcome::Unsent,
                false => Outcome::Unknown,
            },
        }
    }

    /// What an answer itself says.
    pub(super) fn of_answer(stat: proto::Status, endpoint: &str) -> Self {
        Self::of_stat(stat.code, stat.msg, endpoint)
    }

    fn of_stat(number: u32, message: String, endpoint: &str) -> Self {
        let error = status::error(number, message);
        match error.code() {
            Some(code @ (Code::WrongEndpoint | Code::ClusterDegraded | Code::ResourceDepleted)) => {
                Self {
                    error: Error::new(
                        error.kind(),
                        format!("btrdb at {endpoint} cannot answer: {}", error.message()),
                    )
                    .with_code(code),
                    outcome: Outcome::Declined,
                }
            }
            _ => Self {
                error,
                outcome: Outcome::Told,
            },
        }
    }

    /// No answer came for so long.
    pub(super) fn late(waited: Duration, endpoint: &str) -> Self {
        Self {
            error: Error::new(
                ErrorKind::Unavailable,
                format!("btrdb at {endpoint} does not answer: waited {waited:?}"),
            ),
            outcome: Outcome::Late,
        }
    }

    /// What is told of it where nothing was to be changed. It is no `From`, so that errors elsewhere can still be inferred.
    pub(super) fn told(self) -> Error {
        self.error
    }

    /// Whether the server may have done what it was asked for.
    pub(super) fn is_unknown(&self) -> bool {
        matches!(self.outcome, Outcome::Unknown | Outcome::Late)
    }

    /// The error of a call that changes something, with a word about whether it did. `change` is a sentence about what was asked
    /// for: "stream 5 was created".
    pub(super) fn of_change(self, change: impl fmt::Display) -> Error {
        match self.is_unknown() {
            false => self.error,
            true => reworded(
                &self.error,
                format!(
                    "{}; whether {change} is unknown: it may or may not have been applied",
                    self.error.message()
                ),
            ),
        }
    }
}

/// The same error in other words.
pub(super) fn reworded(error: &Error, message: String) -> Error {
    let reworded = Error::new(error.kind(), message);
    match error.code() {
        Some(code) => reworded.with_code(code),
        None => reworded,
    }
}

impl From<Error> for Failure {
    /// Of what went wrong on this side.
    fn from(error: Error) -> Self {
        Self {
            error,
            outcome: Outcome::Told,
        }
    }
}

/// `[404] stream does not exist` in its parts.
fn numbered(message: &str) -> Option<(u32, &str)> {
    let (number, message) = message.strip_prefix('[')?.split_once(']')?;
    Some((number.parse().ok()?, message.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_in_brackets_are_those_of_answers() {
        let status = Status::unknown("[404] stream does not exist");
        let failure = Failure::of_status(&status, "h:1");
        assert_eq!(failure.error.code(), Some(Code::NoSuchStream));
        assert_eq!(failure.error.message(), "stream does not exist");
        assert_eq!(failure.outcome, Outcome::Told);
        let declined = Failure::of_status(&Status::unknown("[405] wrong endpoint"), "h:1");
        assert_eq!(declined.outcome, Outcome::Declined);
        assert!(
            declined.error.message().contains("h:1"),
            "{}",
            declined.error
        );
    }

    #[test]
    fn a_wrong_key_is_denied() {
        let failure = Failure::of_status(&Status::unauthenticated("invalid api key"), "h:1");
        assert_eq!(failure.error.kind(), ErrorKind::Denied);
        assert!(failure.error.message().contains("invalid api key"));
    }

    #[test]
    fn changes_of_unknown_outcome_say_so() {
        let late = Failure::late(Duration::from_secs(30), "h:1").of_change("stream 5 was created");
        assert_eq!(
            late.message(),
            "btrdb at h:1 does not answer: waited 30s; whether stream 5 was created is unknown: it may or may not have been applied"
        );
        let told = Failure::of_status(&Status::unknown("[417] taken"), "h:1").of_change("x");
        assert_eq!(told.message(), "taken");
    }
}
