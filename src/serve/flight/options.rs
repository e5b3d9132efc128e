//! Options of sessions, as actions set and tell them. arrow-flight has no messages for these.

use std::collections::HashMap;

use prost::{Enumeration, Message, Oneof};
use uuid::Uuid;

use super::Shared;
use super::call::CallOptions;
use super::cookie::take_cookie;
use super::metadata::CATALOG;
use crate::error::{Error, ErrorKind, Result};
use crate::query::SessionOptions;

/// The names that the protocol has for where names that stand alone are looked up.
const CATALOG_OPTION: &str = "catalog";
const SCHEMA_OPTION: &str = "schema";

const SCHEMA_SETTING: &str = "btrdb.schema";
const PUSHDOWN_SETTING: &str = "btrdb.pushdown";

/// A value of an option; one without a value clears it.
#[derive(Clone, PartialEq, Message)]
pub(super) struct SessionOptionValue {
    #[prost(oneof = "OptionValue", tags = "1, 2, 3, 4, 5")]
    value: Option<OptionValue>,
}

#[derive(Clone, PartialEq, Oneof)]
enum OptionValue {
    #[prost(string, tag = "1")]
    String(String),
    #[prost(bool, tag = "2")]
    Bool(bool),
    #[prost(sfixed64, tag = "3")]
    Int64(i64),
    #[prost(double, tag = "4")]
    Double(f64),
    #[prost(message, tag = "5")]
    StringList(StringListValue),
}

#[derive(Clone, PartialEq, Message)]
struct StringListValue {
    #[prost(string, repeated, tag = "1")]
    values: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SetSessionOptionsRequest {
    #[prost(map = "string, message", tag = "1")]
    session_options: HashMap<String, SessionOptionValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SetSessionOptionsResult {
    /// Of those that could not be set.
    #[prost(map = "string, message", tag = "1")]
    errors: HashMap<String, OptionError>,
}

#[derive(Clone, PartialEq, Message)]
struct OptionError {
    #[prost(enumeration = "ErrorValue", tag = "1")]
    value: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
enum ErrorValue {
    Unspecified = 0,
    InvalidName = 1,
    InvalidValue = 2,
    Error = 3,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct GetSessionOptionsRequest {}

#[derive(Clone, PartialEq, Message)]
pub(super) struct GetSessionOptionsResult {
    #[prost(map = "string, message", tag = "1")]
    session_options: HashMap<String, SessionOptionValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct CloseSessionRequest {}

#[derive(Clone, PartialEq, Message)]
pub(super) struct CloseSessionResult {
    #[prost(enumeration = "CloseStatus", tag = "1")]
    status: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
enum CloseStatus {
    Unspecified = 0,
    Closed = 1,
    Closing = 2,
    NotCloseable = 3,
}

impl Shared {
    /// Sets options of the client's session, which begins here if there is none. Each is set or not, whatever the others are.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] for a session that is gone, [`ErrorKind::Exhausted`] if too many are open.
    pub(super) fn set_options(
        &self,
        request: SetSessionOptionsRequest,
        call: &CallOptions,
    ) -> Result<SetSessionOptionsResult> {
        // Tried first: a session begins only for something that is set.
        let mut options = self.settings_of(call)?;
        let mut errors = HashMap::new();
        let mut changes = Vec::new();
        for (name, value) in &request.session_options {
            match set(&mut options, name, value) {
                Ok(()) => changes.push((name, value)),
                Err(error) => {
                    let error = OptionError {
                        value: error.into(),
                    };
                    errors.insert(name.clone(), error);
                }
            }
        }
        // Drivers name the only catalog when they connect, and need no session for that.
        let says_something = changes.iter().any(|(name, _)| *name != CATALOG_OPTION);
        if says_something {
            // The protocol lets any client begin one; if its cookie does not come back, the session ends soon.
            let id = call.client.id().unwrap_or_else(Uuid::new_v4);
            self.change_session(id, call, |session| {
                for (name, value) in &changes {
                    set(&mut session.options, name, value).map_err(|_| {
                        Error::internal("an option could be set, and then could not")
                    })?;
                }
                Ok(())
            })?;
        }
        Ok(SetSessionOptionsResult { errors })
    }

    /// The options of the client's session; the defaults where it has none.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] for a session that is gone.
    pub(super) fn get_options(&self, call: &CallOptions) -> Result<GetSessionOptionsResult> {
        let options = self.settings_of(call)?;
        let mut told = HashMap::from([(CATALOG_OPTION.to_owned(), text(CATALOG.to_owned()))]);
        for name in SessionOptions::names() {
            let value = options.get(name).unwrap_or_default();
            match *name {
                SCHEMA_SETTING => told.insert(SCHEMA_OPTION.to_owned(), text(value)),
                PUSHDOWN_SETTING => {
                    let value = SessionOptionValue {
                        value: Some(OptionValue::Bool(options.pushdown)),
                    };
                    told.insert((*name).to_owned(), value)
                }
                _ => told.insert((*name).to_owned(), text(value)),
            };
        }
        Ok(GetSessionOptionsResult {
            session_options: told,
        })
    }

    /// Ends the client's session, and the transaction in it.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] for a session that is gone.
    pub(super) fn close_session(&self, call: &CallOptions) -> Result<CloseSessionResult> {
        if let Some(transaction) = self.sessions.close(call.client)? {
            take_cookie(call);
            if !transaction.is_empty() {
                self.rolled_back(self.transactions.end(&transaction), call)?;
            }
        }
        Ok(CloseSessionResult {
            status: CloseStatus::Closed.into(),
        })
    }
}

fn text(value: String) -> SessionOptionValue {
    SessionOptionValue {
        value: Some(OptionValue::String(value)),
    }
}

fn set(
    options: &mut SessionOptions,
    name: &str,
    value: &SessionOptionValue,
) -> std::result::Result<(), ErrorValue> {
    let setting = match name {
        CATALOG_OPTION => return set_catalog(value),
        SCHEMA_OPTION => SCHEMA_SETTING,
        name if SessionOptions::names().contains(&name) => name,
        _ => return Err(ErrorValue::InvalidName),
    };
    let value = match &value.value {
        None => return options.reset(setting).map_err(refused),
        Some(OptionValue::String(value)) => value.clone(),
        // Where names are looked up is text, by the protocol's own rule.
        Some(_) if name == SCHEMA_OPTION => return Err(ErrorValue::InvalidValue),
        Some(OptionValue::Bool(value)) => value.to_string(),
        Some(OptionValue::Int64(value)) => value.to_string(),
        Some(OptionValue::Double(_) | OptionValue::StringList(_)) => {
            return Err(ErrorValue::InvalidValue);
        }
    };
    options.set(setting, &value).map_err(refused)
}

fn set_catalog(value: &SessionOptionValue) -> std::result::Result<(), ErrorValue> {
    match &value.value {
        None => Ok(()),
        Some(OptionValue::String(name)) if name == CATALOG => Ok(()),
        Some(_) => Err(ErrorValue::InvalidValue),
    }
}

fn refused(error: Error) -> ErrorValue {
    match error.kind() {
        ErrorKind::Invalid => ErrorValue::InvalidValue,
        _ => ErrorValue::Error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_set_by_values_of_their_types() {
        let mut options = SessionOptions::default();
        let mut tried = |name: &str, value: Option<OptionValue>| {
            set(&mut options, name, &SessionOptionValue { value })
        };
        let string = |value: &str| Some(OptionValue::String(value.to_owned()));
        for (name, value) in [
            ("catalog", string("btrdb")),
            ("catalog", None),
            ("schema", string("lab")),
            ("btrdb.pushdown", Some(OptionValue::Bool(false))),
            ("btrdb.pushdown", string("on")),
            ("btrdb.timeout", Some(OptionValue::Int64(1_500))),
            ("btrdb.merge", string("retain")),
        ] {
            assert_eq!(tried(name, value), Ok(()), "{name}");
        }
        for (name, value, error) in [
            ("catalog", string("other"), ErrorValue::InvalidValue),
            (
                "catalog",
                Some(OptionValue::Int64(1)),
                ErrorValue::InvalidValue,
            ),
            (
                "schema",
                Some(OptionValue::Bool(true)),
                ErrorValue::InvalidValue,
            ),
            ("btrdb.merge", string("maybe"), ErrorValue::InvalidValue),
            (
                "btrdb.merge",
                Some(OptionValue::Double(1.0)),
                ErrorValue::InvalidValue,
            ),
            ("btrdb.nothing", string("x"), ErrorValue::InvalidName),
        ] {
            assert_eq!(tried(name, value), Err(error), "{name}");
        }
        assert_eq!(tried("btrdb.merge", None), Ok(()));
        assert_eq!(options.schema, "lab");
        assert_eq!(options.merge, SessionOptions::default().merge);
    }

    /// Bytes as Go's implementation of the protocol writes them.
    #[test]
    fn messages_have_the_numbers_of_the_protocol() {
        let request = SetSessionOptionsRequest {
            session_options: HashMap::from([("n".to_owned(), text("v".to_owned()))]),
        };
        assert_eq!(
            request.encode_to_vec(),
            [0x0a, 8, 0x0a, 1, b'n', 0x12, 3, 0x0a, 1, b'v']
        );
        let number = SessionOptionValue {
            value: Some(OptionValue::Int64(2)),
        };
        assert_eq!(number.encode_to_vec(), [0x19, 2, 0, 0, 0, 0, 0, 0, 0]);
        let closed = CloseSessionResult {
            status: CloseStatus::Closed.into(),
        };
        assert_eq!(closed.encode_to_vec(), [0x08, 1]);
    }
}
