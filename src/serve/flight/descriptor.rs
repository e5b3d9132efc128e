//! What descriptors and tickets say: a path, SQL text, or a Flight SQL command.

use std::sync::Arc;

use arrow_flight::FlightDescriptor;
use arrow_flight::flight_descriptor::DescriptorType;
use arrow_flight::sql::{Any, Command};
use bytes::Bytes;
use prost::Message;

use crate::backend::Backend;
use crate::error::{Code, Error, ErrorKind, Result};
use crate::model::{StreamDescriptor, StreamFilter, StreamId, Version};

/// Flight SQL messages are packed under names that begin so.
const COMMAND_PREFIX: &str = "type.googleapis.com/arrow.flight.protocol.sql.";

/// Uuids that an error lists before it says how many more there are.
const LISTED_MAX: usize = 10;

/// What a descriptor asks for.
#[derive(Debug)]
pub(super) enum Target {
    /// A stream.
    Path(StreamPath),
    /// The text of a statement.
    Sql(String),
    /// A command of Flight SQL.
    Command(Command),
}

/// A stream as a path names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum StreamPath {
    /// `[uuid]`, and the version behind an `@`.
    Id(StreamId, Option<Version>),
    /// `[collection, name]`: the name may end in `@version`.
    Named {
        /// The collection.
        collection: String,
        /// The name as given.
        name: String,
    },
}

impl Target {
    /// # Errors
    /// [`ErrorKind::Invalid`] with a sentence that says what is expected.
    pub(super) fn parse(descriptor: &FlightDescriptor) -> Result<Self> {
        match descriptor.r#type() {
            DescriptorType::Path => StreamPath::parse(&descriptor.path).map(Self::Path),
            DescriptorType::Cmd => Self::parse_bytes(&descriptor.cmd, "descriptor's command"),
            DescriptorType::Unknown => Err(Error::invalid(
                "the descriptor has no type: it takes a path or a command",
            )),
        }
    }

    /// What a command or a ticket says: a Flight SQL message if it is one, otherwise text.
    pub(super) fn parse_bytes(bytes: &Bytes, what: &str) -> Result<Self> {
        if let Ok(any) = Any::decode(bytes.clone())
            && any.type_url.starts_with(COMMAND_PREFIX)
        {
            let command = Command::try_from(any).map_err(|error| {
                Error::invalid(format!(
                    "the {what} is a damaged Flight SQL message: {error}"
                ))
            })?;
            return Ok(Self::Command(command));
        }
        match std::str::from_utf8(bytes) {
            Ok(sql) if is_text(sql) => Ok(Self::Sql(sql.to_owned())),
            _ => Err(Error::invalid(format!(
                "the {what} is neither a Flight SQL message nor SQL text"
            ))),
        }
    }
}

/// Whether `text` could be SQL: protobuf that happens to be UTF-8 has control characters.
fn is_text(text: &str) -> bool {
    !text.trim().is_empty()
        && !text
            .chars()
            .any(|char| char.is_control() && !char.is_whitespace())
}

impl StreamPath {
    /// # Errors
    /// [`ErrorKind::Invalid`] unless the path has the form `[uuid]` or `[collection, name]`.
    pub(super) fn parse(path: &[String]) -> Result<Self> {
        match path {
            [id] => {
                let (id, version) = split_version(id);
                let id = id.parse::<StreamId>().map_err(|_| {
                    Error::invalid(format!(
                        "the descriptor's path [\"{id}\"] is not a uuid: a path is [uuid] or [collection, name]"
                    ))
                    .with_code(Code::InvalidParameter)
                })?;
                Ok(Self::Id(id, version))
            }
            [collection, name] => Ok(Self::Named {
                collection: collection.clone(),
                name: name.clone(),
            }),
            _ => Err(Error::invalid(format!(
                "the descriptor's path has {} parts: a path is [uuid] or [collection, name]",
                path.len()
            ))
            .with_code(Code::InvalidParameter)),
        }
    }

    /// The stream that the path means, and the version if it names one.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is none, [`ErrorKind::Invalid`] listing the uuids if there are several.
    pub(super) async fn resolve(
        &self,
        backend: &dyn Backend,
    ) -> Result<(StreamId, Option<Version>)> {
        let (collection, name) = match self {
            Self::Id(id, version) => {
                check_ids(backend, &[*id]).await?;
                return Ok((*id, *version));
            }
            Self::Named { collection, name } => (collection, name),
        };
        if let Some(stream) = find_one(backend, collection, name).await? {
            return Ok((stream.id, None));
        }
        if let (short, Some(version)) = split_version(name)
            && let Some(stream) = find_one(backend, collection, short).await?
        {
            return Ok((stream.id, Some(version)));
        }
        Err(unknown_stream(collection, name))
    }
}

/// The one stream with this collection and name, if there is one.
///
/// # Errors
/// [`ErrorKind::Invalid`] listing the uuids if there are several.
pub(super) async fn find_one(
    backend: &dyn Backend,
    collection: &str,
    name: &str,
) -> Result<Option<Arc<StreamDescriptor>>> {
    let mut found = backend.find(StreamFilter::path(collection, name)).await?;
    if found.len() > 1 {
        let ids: Vec<_> = found.iter().map(|stream| stream.id).collect();
        return Err(ambiguous(collection, name, &ids));
    }
    Ok(found.pop())
}

/// Refuses uuids that no stream has.
///
/// # Errors
/// [`ErrorKind::NotFound`] naming the first: a backend need not say which of many it misses.
pub(super) async fn check_ids(backend: &dyn Backend, ids: &[StreamId]) -> Result<()> {
    match backend.describe(ids).await {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        described => return described.map(drop),
    }
    for id in ids {
        backend.describe(&[*id]).await.map_err(|error| {
            if error.kind() != ErrorKind::NotFound {
                return error;
            }
            Error::not_found(format!("no stream has the uuid {id}")).with_code(Code::NoSuchStream)
        })?;
    }
    // It came into being between the two looks.
    Ok(())
}

/// Several streams share a name.
pub(super) fn ambiguous(collection: &str, name: &str, ids: &[StreamId]) -> Error {
    let mut listed: Vec<_> = ids
        .iter()
        .take(LISTED_MAX)
        .map(StreamId::to_string)
        .collect();
    if ids.len() > LISTED_MAX {
        listed.push(format!("and {} more", ids.len() - LISTED_MAX));
    }
    Error::invalid(format!(
        "{} streams are named \"{collection}/{name}\", use a uuid: {}",
        ids.len(),
        listed.join(", ")
    ))
    .with_code(Code::AmbiguousStream)
}

/// No stream has this name.
pub(super) fn unknown_stream(collection: &str, name: &str) -> Error {
    Error::new(
        ErrorKind::NotFound,
        format!("no stream is named \"{collection}/{name}\""),
    )
    .with_code(Code::NoSuchStream)
}

/// `name@version` in two; a name without a version alone.
fn split_version(text: &str) -> (&str, Option<Version>) {
    match text.rsplit_once('@') {
        Some((name, digits))
            if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) =>
        {
            match digits.parse() {
                Ok(version) => (name, Some(Version(version))),
                Err(_) => (text, None),
            }
        }
        _ => (text, None),
    }
}

#[cfg(test)]
mod tests {
    use arrow_flight::sql::{CommandStatementQuery, ProstMessageExt};

    use super::*;

    fn path(parts: &[&str]) -> Result<StreamPath> {
        let parts: Vec<_> = parts.iter().map(|part| (*part).to_owned()).collect();
        StreamPath::parse(&parts)
    }

    #[test]
    fn paths_name_a_stream_by_uuid_or_by_collection_and_name() {
        let id = "0d22a53b-e2ef-4e0a-ab89-b2d48fb2592a";
        let parsed = id.parse().expect("a uuid");
        assert_eq!(path(&[id]).expect("uuid"), StreamPath::Id(parsed, None));
        assert_eq!(
            path(&[&format!("{id}@17")]).expect("uuid and version"),
            StreamPath::Id(parsed, Some(Version(17)))
        );
        assert!(matches!(
            path(&["a/b", "c@d"]).expect("named"),
            StreamPath::Named { .. }
        ));
        for bad in [&[][..], &["x"], &["a", "b", "c"]] {
            let error = path(bad).expect_err("must be refused");
            assert!(error.message().contains("[collection, name]"), "{error}");
        }
    }

    #[test]
    fn commands_are_messages_or_text_but_not_garbage() {
        let command = CommandStatementQuery {
            query: "select 1".into(),
            transaction_id: None,
        };
        let bytes = command.as_any().encode_to_vec().into();
        assert!(matches!(
            Target::parse_bytes(&bytes, "ticket"),
            Ok(Target::Command(Command::CommandStatementQuery(_)))
        ));
        assert!(matches!(
            Target::parse_bytes(&Bytes::from_static(b"select\n1"), "ticket"),
            Ok(Target::Sql(_))
        ));
        for garbage in [&b""[..], b"\xff\xfe", b"\x0a\x03abc", b"  "] {
            let error = Target::parse_bytes(&Bytes::copy_from_slice(garbage), "ticket")
                .expect_err("must be refused");
            assert_eq!(error.kind(), ErrorKind::Invalid);
        }
    }
}
