//! What descriptors and tickets say: a path, SQL text, or a Flight SQL command.
//!
//! ```text
//! path [collection, name]         a stream; name@version is that version of it, where it is read
//!      [collection/name], [uuid]  the same in one part: the stream arguments of SQL
//!      [prefix/*]                 all points of collection prefix and of those that begin with prefix/, long
//!      [points] [streams] [collections]   the relations
//! text  SQL; or one word that is a path of one part
//! ```
//!
//! DoPut and DoExchange take the same paths, as far as these can be written and followed.

use std::sync::Arc;

use arrow_flight::FlightDescriptor;
use arrow_flight::flight_descriptor::DescriptorType;
use arrow_flight::sql::{Any, Command};
use bytes::Bytes;
use prost::Message;

use crate::backend::Backend;
use crate::error::{Code, Error, ErrorKind, Result};
use crate::model::{CollectionMatch, StreamDescriptor, StreamFilter, StreamId, Version};

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
    /// `[collection, name]` or `[collection/name]`: the name may end in `@version`.
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
            DescriptorType::Path => Ok(match Place::parse(&descriptor.path)? {
                Place::Stream(path) => Self::Path(path),
                Place::Below(prefix) => Self::Sql(below_sql(&prefix)),
                Place::Relation(relation) => Self::Sql(format!("SELECT * FROM {relation}")),
            }),
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
            Ok(text) if is_text(text) => {
                Ok(Self::Sql(word_sql(text).unwrap_or_else(|| text.to_owned())))
            }
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

/// The relations that a path can name.
pub(super) const POINTS: &str = "points";
/// One row a stream.
pub(super) const STREAMS: &str = "streams";
const COLLECTIONS: &str = "collections";

/// What a path points at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Stream(StreamPath),
    /// Collection `prefix`, and those that begin with `prefix/`.
    Below(String),
    Relation(&'static str),
}

const FORMS: &str = "a path is [collection, name], [collection/name], [uuid], [prefix/*], [points], [streams] or [collections]";

impl Place {
    /// # Errors
    /// [`ErrorKind::Invalid`] for a path of another form.
    pub(super) fn parse(path: &[String]) -> Result<Self> {
        match path {
            [word] => Self::of_word(word).ok_or_else(|| {
                Error::invalid(format!(
                    "the descriptor's path [\"{}\"] is neither a uuid nor collection/name: {FORMS}",
                    word.escape_debug()
                ))
                .with_code(Code::InvalidParameter)
            }),
            [collection, name] => Ok(Self::Stream(StreamPath::Named {
                collection: collection.clone(),
                name: name.clone(),
            })),
            _ => Err(Error::invalid(format!(
                "the descriptor's path has {} parts: {FORMS}",
                path.len()
            ))
            .with_code(Code::InvalidParameter)),
        }
    }

    /// A path of one part: as the stream arguments of SQL, and the relations.
    pub(super) fn of_word(word: &str) -> Option<Self> {
        let relations = [POINTS, STREAMS, COLLECTIONS];
        if let Some(relation) = relations.into_iter().find(|relation| *relation == word) {
            return Some(Self::Relation(relation));
        }
        let (id, version) = split_version(word);
        if let Ok(id) = id.parse::<StreamId>() {
            return Some(Self::Stream(StreamPath::Id(id, version)));
        }
        if let Some(prefix) = word.strip_suffix("/*") {
            return Some(Self::Below(prefix.to_owned()));
        }
        let (collection, name) = word.rsplit_once('/')?;
        Some(Self::Stream(StreamPath::Named {
            collection: collection.to_owned(),
            name: name.to_owned(),
        }))
    }
}

/// The points of all streams below a prefix.
pub(super) fn below_sql(prefix: &str) -> String {
    let prefix = quoted(prefix);
    format!(
        "SELECT uuid, collection, name, unit, time, value FROM points \
         WHERE collection = '{prefix}' OR starts_with(collection, '{prefix}/')"
    )
}

fn quoted(text: &str) -> String {
    text.replace('\'', "''")
}

/// SQL for text that is one word and a path. No statement is: it has a space, or at least a parenthesis.
fn word_sql(text: &str) -> Option<String> {
    let word = text.trim();
    let is_word = |char: char| !char.is_whitespace() && !"()'\";".contains(char);
    if !word.chars().all(is_word) {
        return None;
    }
    Some(match Place::of_word(word)? {
        Place::Stream(_) => format!("SELECT time, value FROM raw_values('{word}')"),
        Place::Below(prefix) => below_sql(&prefix),
        Place::Relation(relation) => format!("SELECT * FROM {relation}"),
    })
}

impl StreamPath {
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

/// The streams of collection `prefix`, and of those that begin with `prefix/`; there may be none.
pub(super) async fn find_below(
    backend: &dyn Backend,
    prefix: &str,
) -> Result<Vec<Arc<StreamDescriptor>>> {
    let below = format!("{prefix}/");
    let filter = StreamFilter::collection(CollectionMatch::Prefix(prefix.to_owned()));
    let mut found = backend.find(filter).await?;
    found.retain(|stream| stream.collection == prefix || stream.collection.starts_with(&below));
    Ok(found)
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

    fn path(parts: &[&str]) -> Result<Place> {
        let parts: Vec<_> = parts.iter().map(|part| (*part).to_owned()).collect();
        Place::parse(&parts)
    }

    fn named(collection: &str, name: &str) -> Place {
        Place::Stream(StreamPath::Named {
            collection: collection.to_owned(),
            name: name.to_owned(),
        })
    }

    #[test]
    fn paths_name_a_stream_by_uuid_or_by_collection_and_name() {
        let id = "0d22a53b-e2ef-4e0a-ab89-b2d48fb2592a";
        let parsed = id.parse().expect("a uuid");
        let versioned = format!("{id}@17");
        for (parts, expected) in [
            (&[id][..], Place::Stream(StreamPath::Id(parsed, None))),
            (
                &[versioned.as_str()],
                Place::Stream(StreamPath::Id(parsed, Some(Version(17)))),
            ),
            (&["a/b", "c@d"], named("a/b", "c@d")),
            (&["a/b/c"], named("a/b", "c")),
            (&["points", "c"], named("points", "c")),
            (&["a/b/*"], Place::Below("a/b".to_owned())),
            (&["streams"], Place::Relation(STREAMS)),
        ] {
            assert_eq!(path(parts).expect("a path"), expected, "{parts:?}");
        }
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
        for (text, expected) in [
            (
                "lab/it@12",
                "SELECT time, value FROM raw_values('lab/it@12')",
            ),
            (" collections\n", "SELECT * FROM collections"),
            ("VALUES(1),(2)", "VALUES(1),(2)"),
            ("SELECT 4/2", "SELECT 4/2"),
            ("o'neil/*", "o'neil/*"),
        ] {
            let bytes = Bytes::copy_from_slice(text.as_bytes());
            match Target::parse_bytes(&bytes, "ticket").expect("text") {
                Target::Sql(sql) => assert_eq!(sql, expected),
                other => panic!("{text} is {other:?}"),
            }
        }
        for garbage in [&b""[..], b"\xff\xfe", b"\x0a\x03abc", b"  "] {
            let error = Target::parse_bytes(&Bytes::copy_from_slice(garbage), "ticket")
                .expect_err("must be refused");
            assert_eq!(error.kind(), ErrorKind::Invalid);
        }
    }
}
