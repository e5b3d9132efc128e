//! Errors across the border with DataFusion, both ways.

use std::error::Error as StdError;

use arrow::error::ArrowError;
use datafusion::error::DataFusionError;

use crate::error::{Error, ErrorKind};

/// Wraps one of our errors for a trip through DataFusion; [`from_datafusion`] finds it again.
pub(super) fn to_datafusion(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// What a failure of DataFusion means to the caller.
///
/// One of our own errors inside the chain comes out as it went in, kind and code. The rest is told apart by what the caller
/// can do: text that does not parse or plan is [`ErrorKind::Invalid`], what SQL here cannot do is
/// [`ErrorKind::Unsupported`], memory is [`ErrorKind::Exhausted`].
pub fn from_datafusion(error: DataFusionError) -> Error {
    if let Some(own) = find_own(&error) {
        return copy(own);
    }
    let root = error.find_root();
    let kind = kind_of(root);
    let message = message_of(root);
    Error::new(kind, message).with_source(error)
}

/// How errors of the regex crate begin.
const NO_REGEX: &str = "regex parse error";

fn kind_of(error: &DataFusionError) -> ErrorKind {
    match error {
        DataFusionError::SQL(..)
        | DataFusionError::Plan(_)
        | DataFusionError::SchemaError(..)
        | DataFusionError::Configuration(_)
        | DataFusionError::Execution(_) => ErrorKind::Invalid,
        DataFusionError::NotImplemented(_) => ErrorKind::Unsupported,
        DataFusionError::ResourcesExhausted(_) => ErrorKind::Exhausted,
        DataFusionError::ArrowError(error, _) => kind_of_arrow(error),
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => {
            kind_of(inner)
        }
        DataFusionError::Shared(inner) => kind_of(inner),
        DataFusionError::Collection(errors) => errors.first().map_or(ErrorKind::Internal, kind_of),
        DataFusionError::External(error) if error.to_string().contains(NO_REGEX) => {
            ErrorKind::Invalid
        }
        _ => ErrorKind::Internal,
    }
}

/// Arrow's errors at run time are about values that the statement chose: casts, divisions, overflows.
fn kind_of_arrow(error: &ArrowError) -> ErrorKind {
    match error {
        ArrowError::CastError(_)
        | ArrowError::ParseError(_)
        | ArrowError::ComputeError(_)
        | ArrowError::DivideByZero
        | ArrowError::ArithmeticOverflow(_)
        | ArrowError::InvalidArgumentError(_) => ErrorKind::Invalid,
        ArrowError::ExternalError(error) if error.to_string().contains(NO_REGEX) => {
            ErrorKind::Invalid
        }
        ArrowError::MemoryError(_) => ErrorKind::Exhausted,
        ArrowError::NotYetImplemented(_) => ErrorKind::Unsupported,
        _ => ErrorKind::Internal,
    }
}

fn message_of(error: &DataFusionError) -> String {
    let message = match error {
        DataFusionError::SQL(error, _) => error.to_string(),
        DataFusionError::SchemaError(error, _) => error.to_string(),
        DataFusionError::ArrowError(error, _) => error.to_string(),
        DataFusionError::Collection(errors) => match errors.first() {
            Some(first) => message_of(first.find_root()),
            None => error.strip_backtrace(),
        },
        other => other.message().into_owned(),
    };
    let message = match message.split_once(DataFusionError::BACK_TRACE_SEP) {
        Some((message, _)) => message,
        None => &message,
    };
    let message = without_alarm(message).trim_end();
    match (without_tree(message), hint(message)) {
        (Some(form), _) => format!("this form of SQL is not supported: {form}"),
        (None, Some(hint)) => format!("{message}: {hint}"),
        (None, None) => message.to_owned(),
    }
}

/// What to write instead of a value that is no time.
fn hint(message: &str) -> Option<&'static str> {
    if message.contains("Error parsing timestamp from") {
        Some("times are written '2026-01-31', '2026-01-31 12:30' or '2026-01-31T12:30:00.5Z'")
    } else if message.starts_with("Cannot infer common argument type")
        && message.contains("Timestamp(")
        && message.contains("Int64")
    {
        Some("to_timestamp_nanos(n) is the time n nanoseconds after 1970")
    } else {
        None
    }
}

/// The name of the form that DataFusion does not plan, where it prints the parser's whole tree of it.
fn without_tree(message: &str) -> Option<&str> {
    if !message.contains("Span(Location(") {
        return None;
    }
    let head = message.split([' ', '{', '(']).collect::<Vec<_>>();
    head.iter()
        .find(|word| word.starts_with(char::is_uppercase) && **word != "Unsupported")
        .copied()
}

/// A function that fits no argument is called a defect of DataFusion before the message comes to the point.
fn without_alarm(message: &str) -> &str {
    match (
        message.starts_with("Internal error: "),
        message.find("No function matches "),
    ) {
        (true, Some(point)) => &message[point..],
        _ => message,
    }
}

/// Our own error somewhere inside: DataFusion wraps with context, shares between partitions, and boxes through Arrow.
fn find_own(error: &DataFusionError) -> Option<&Error> {
    match error {
        DataFusionError::External(inner) => find_in(inner.as_ref()),
        DataFusionError::ArrowError(inner, _) => find_in_arrow(inner),
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => {
            find_own(inner)
        }
        DataFusionError::Shared(inner) => find_own(inner),
        DataFusionError::Collection(errors) => errors.iter().find_map(find_own),
        _ => None,
    }
}

fn find_in_arrow(error: &ArrowError) -> Option<&Error> {
    match error {
        ArrowError::ExternalError(inner) => find_in(inner.as_ref()),
        _ => None,
    }
}

fn find_in<'a>(error: &'a (dyn StdError + Send + Sync + 'static)) -> Option<&'a Error> {
    if let Some(own) = error.downcast_ref::<Error>() {
        Some(own)
    } else if let Some(inner) = error.downcast_ref::<DataFusionError>() {
        find_own(inner)
    } else {
        error.downcast_ref::<ArrowError>().and_then(find_in_arrow)
    }
}

/// The error again: the one inside may be shared by several readers. Its causes stay with the original.
fn copy(error: &Error) -> Error {
    let copy = Error::new(error.kind(), error.message());
    match error.code() {
        Some(code) => copy.with_code(code),
        None => copy,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::error::Code;

    #[test]
    fn our_own_errors_survive_every_wrapping() {
        let own = || Error::not_found("stream x").with_code(Code::NoSuchStream);
        let wrapped = [
            to_datafusion(own()),
            to_datafusion(own()).context("while scanning"),
            DataFusionError::Shared(Arc::new(to_datafusion(own()))),
            DataFusionError::from(ArrowError::ExternalError(Box::new(to_datafusion(own())))),
            DataFusionError::Collection(vec![to_datafusion(own())]),
        ];
        for error in wrapped {
            let found = from_datafusion(error);
            assert_eq!(
                (found.kind(), found.code(), found.message()),
                (ErrorKind::NotFound, Some(Code::NoSuchStream), "stream x")
            );
        }
    }

    #[test]
    fn functions_that_do_not_fit_are_no_defects() {
        let error = DataFusionError::Plan(
            "Internal error: Function 'sum' failed, a bug in DataFusion's code. No function matches the given name".into(),
        );
        let error = from_datafusion(error);
        assert_eq!(error.message(), "No function matches the given name");
    }

    #[test]
    fn trees_of_the_parser_are_not_shown() {
        let tree = "Unsupported ast node in sqltorel: RLike { negated: false, span: Span(Location(1,32)..Location(1,36)) }";
        let error = from_datafusion(DataFusionError::NotImplemented(tree.into()));
        assert_eq!(error.message(), "this form of SQL is not supported: RLike");
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }

    #[test]
    fn times_that_are_none_tell_how_they_are_written() {
        let parse = ArrowError::ParseError("Error parsing timestamp from 'noon': why".into());
        let error = from_datafusion(DataFusionError::from(parse));
        assert!(error.message().contains("'2026-01-31 12:30'"), "{error}");
        let plan = "Cannot infer common argument type for comparison operation Timestamp(ns, \"UTC\") > Int64";
        let error = from_datafusion(DataFusionError::Plan(plan.into()));
        assert!(error.message().contains("to_timestamp_nanos"), "{error}");
    }

    #[test]
    fn kinds_say_what_the_caller_can_do() {
        let cases = [
            (DataFusionError::Plan("p".into()), ErrorKind::Invalid),
            (
                DataFusionError::NotImplemented("n".into()),
                ErrorKind::Unsupported,
            ),
            (
                DataFusionError::ResourcesExhausted("r".into()),
                ErrorKind::Exhausted,
            ),
            (DataFusionError::Internal("i".into()), ErrorKind::Internal),
            (
                DataFusionError::from(ArrowError::DivideByZero).context("projecting"),
                ErrorKind::Invalid,
            ),
        ];
        for (error, kind) in cases {
            assert_eq!(from_datafusion(error).kind(), kind);
        }
    }
}
