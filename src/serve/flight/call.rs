//! What a call asks for beside its message: by its headers, and by the connection it comes on.

use std::net::SocketAddr;

use tonic::Request;
use tonic::metadata::MetadataMap;

use crate::error::{Error, Result};
use crate::model::MergePolicy;
use crate::query::SessionOptions;

/// Prefix of the headers that change how one call is served.
const PREFIX: &str = "x-btrdb-";

/// Headers that stand for a setting of the session, and its name.
const SETTINGS: [(&str, &str); 2] = [
    ("x-btrdb-pushdown", "btrdb.pushdown"),
    ("x-btrdb-merge", "btrdb.merge"),
];

/// Whether a put creates the stream that its path names.
const CREATE: &str = "x-btrdb-create";

/// What one call asks for beside its message.
#[derive(Clone, Debug, Default)]
pub(super) struct CallOptions {
    settings: Vec<(&'static str, String)>,
    /// What becomes of points whose time is taken, if the call says so.
    pub(super) merge: Option<MergePolicy>,
    /// Whether streams that do not exist are created; none is the default of the operation.
    pub(super) create: Option<bool>,
    /// The client's end of the connection; a Unix socket has none.
    pub(super) connection: Option<SocketAddr>,
}

impl CallOptions {
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) if a header of ours has a value that it cannot have, or does
    /// not exist: a misspelt header must not be ignored.
    pub(super) fn of<T>(request: &Request<T>) -> Result<Self> {
        let mut options = Self::from_headers(request.metadata())?;
        options.connection = request.remote_addr();
        Ok(options)
    }

    fn from_headers(headers: &MetadataMap) -> Result<Self> {
        let mut options = Self::default();
        for key in headers.keys() {
            let tonic::metadata::KeyRef::Ascii(key) = key else {
                continue;
            };
            let name = key.as_str();
            if !name.starts_with(PREFIX) {
                continue;
            }
            let value = headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .ok_or_else(|| Error::invalid(format!("header {name} is not text")))?;
            options.take(name, value)?;
        }
        Ok(options)
    }

    fn take(&mut self, name: &str, value: &str) -> Result<()> {
        if name == CREATE {
            self.create = Some(parse_bool(name, value)?);
            return Ok(());
        }
        let Some((_, setting)) = SETTINGS.iter().find(|(header, _)| *header == name) else {
            return Err(Error::invalid(format!(
                "header {name} is unknown: headers are x-btrdb-pushdown, x-btrdb-merge, x-btrdb-create"
            )));
        };
        // Tried on a scratch session, so that a bad value is refused whatever the call is.
        let mut scratch = SessionOptions::default();
        scratch.set(setting, value)?;
        if *setting == "btrdb.merge" {
            self.merge = Some(value.parse()?);
        }
        self.settings.push((setting, value.to_owned()));
        Ok(())
    }

    /// `session` as this call wants it: headers win over what was `SET`.
    ///
    /// # Errors
    /// As [`SessionOptions::set`].
    pub(super) fn apply(&self, session: &mut SessionOptions) -> Result<()> {
        for (name, value) in &self.settings {
            session.set(name, value)?;
        }
        Ok(())
    }
}

fn parse_bool(name: &str, value: &str) -> Result<bool> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "1" | "on" => Ok(true),
        "false" | "0" | "off" => Ok(false),
        _ => Err(Error::invalid(format!(
            "header {name} is \"{value}\": it takes true or false"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(headers: &[(&'static str, &str)]) -> Result<CallOptions> {
        let mut map = MetadataMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().expect("ascii"));
        }
        CallOptions::from_headers(&map)
    }

    #[test]
    fn our_headers_are_read_and_others_left_alone() {
        let options = parse(&[
            ("x-btrdb-create", "False"),
            ("x-btrdb-merge", "replace"),
            ("user-agent", "test"),
        ])
        .expect("valid");
        assert_eq!(options.create, Some(false));
        assert_eq!(options.merge, Some(MergePolicy::Replace));
        let mut session = SessionOptions::default();
        options.apply(&mut session).expect("valid");
        assert_eq!(session.merge, MergePolicy::Replace);
    }

    #[test]
    fn misspelt_headers_are_refused() {
        for (name, value) in [
            ("x-btrdb-create", "maybe"),
            ("x-btrdb-merge", "sometimes"),
            ("x-btrdb-pushdwn", "false"),
        ] {
            let error = parse(&[(name, value)]).expect_err("must be refused");
            assert!(
                error.message().contains(name) || error.message().contains(value),
                "{error}"
            );
        }
    }
}
