//! One pass over the names of a statement, before it is planned.
//!
//! DataFusion asks for schemas and table functions synchronously, while the backend may be across a network. So the statement
//! is parsed once, its table names and stream arguments are collected and looked up together, and planning reads the answers.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::common::{ResolvedTableReference, TableReference};
use futures::future::try_join_all;

use super::information_schema::View;
use super::metadata::{CollectionsTable, StreamsTable};
use super::names::{StreamName, Target, names_version, near_misses};
use super::session::Frame;
use super::table::{NamedStream, PointsTable, StreamTable};
use crate::error::{Code, Error, ErrorKind, Result};
use crate::model::{
    CollectionMatch, StreamDescriptor, StreamFilter, StreamId, StreamRead, Version,
};

/// The one catalog.
pub(super) const CATALOG: &str = "btrdb";
/// The schema of our own relations, where bare names are looked up.
pub(super) const PUBLIC: &str = "public";
/// The schema about schemas.
pub(super) const INFORMATION_SCHEMA: &str = "information_schema";

/// The relations of schema `public`.
pub(super) const RELATIONS: [&str; 3] = ["streams", "collections", "points"];

/// What the names of one statement stand for.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) frame: Arc<Frame>,
    /// By schema and table.
    tables: HashMap<(String, String), Arc<dyn TableProvider>>,
    /// By the text of the argument.
    arguments: HashMap<String, Vec<NamedStream>>,
    /// The streams that all names stand for, in the order in which they were wanted.
    meaning: Meaning,
    /// Where DataFusion looks up names that stand alone.
    default_schema: String,
}

/// What names stand for: streams with their property versions, and the versions in the names.
pub(super) type Meaning = Vec<(StreamId, u64, Option<Version>)>;

/// What to look up.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    pub(super) tables: Vec<ResolvedTableReference>,
    pub(super) arguments: BTreeSet<String>,
    /// Whether the statement asks about schemas and settings, of whatever kind.
    pub(super) is_about_schemas: bool,
    /// Where DataFusion will look up names that stand alone.
    pub(super) default_schema: String,
}

/// Where a table is looked up whose name may stand alone: what `public` has is found there wherever the session's schema
/// points, or tools that ask for `streams` would break.
pub(super) fn default_schema<'a>(schema: &'a str, table: &TableReference) -> &'a str {
    let is_public = RELATIONS.contains(&table.table()) || StreamName::uuid(table.table()).is_some();
    if is_public { PUBLIC } else { schema }
}

impl Names {
    /// Looks everything up.
    ///
    /// # Errors
    /// NotFound for names of no stream, Invalid for names of several, both with what would help.
    pub(super) async fn resolve(frame: Arc<Frame>, wanted: &Wanted) -> Result<Self> {
        let tables = try_join_all(wanted.tables.iter().map(|table| find_table(&frame, table)));
        let arguments = try_join_all(wanted.arguments.iter().map(|text| find_all(&frame, text)));
        let (found_tables, found_arguments) = futures::try_join!(tables, arguments)?;
        let of_tables = found_tables.iter().flatten().filter_map(|table| {
            let table = table.downcast_ref::<StreamTable>();
            table.map(|table| &table.stream)
        });
        let meaning = of_tables
            .chain(found_arguments.iter().flatten())
            .map(|stream| {
                let descriptor = &stream.descriptor;
                (descriptor.id, descriptor.property_version, stream.version)
            })
            .collect();
        let keys = wanted
            .tables
            .iter()
            .map(|table| (table.schema.to_string(), table.table.to_string()));
        Ok(Self {
            tables: keys
                .zip(found_tables)
                .filter_map(|(key, table)| Some((key, table?)))
                .collect(),
            arguments: wanted
                .arguments
                .iter()
                .cloned()
                .zip(found_arguments)
                .collect(),
            meaning,
            default_schema: wanted.default_schema.clone(),
            frame,
        })
    }

    /// What the names stand for.
    pub(super) fn meaning(&self) -> &Meaning {
        &self.meaning
    }

    /// The table of that name, if the statement names it.
    pub(super) fn table(&self, schema: &str, table: &str) -> Option<Arc<dyn TableProvider>> {
        let key = (schema.to_owned(), table.to_owned());
        if let Some(found) = self.tables.get(&key) {
            return Some(Arc::clone(found));
        }
        if schema == self.default_schema && schema != PUBLIC {
            // It stood alone, and was looked up in `public`.
            let public = self.tables.get(&(PUBLIC.to_owned(), key.1));
            if let Some(public) = public {
                return Some(Arc::clone(public));
            }
        }
        if schema == PUBLIC {
            return relation(&self.frame, table);
        }
        None
    }

    /// The schema in which the statement means a table whose name stands alone.
    pub(super) fn schema_of(&self, table: &TableReference) -> &str {
        default_schema(&self.default_schema, table)
    }

    /// The columns of the table of that name, as [`table`](Self::table) finds it, or of a view.
    pub(super) fn columns(&self, schema: &str, table: &str) -> Option<SchemaRef> {
        if schema == INFORMATION_SCHEMA {
            return Some(View::named(table)?.schema());
        }
        Some(self.table(schema, table)?.schema())
    }

    /// The streams that an argument of a table function stands for.
    pub(super) fn argument(&self, text: &str) -> Option<&[NamedStream]> {
        self.arguments.get(text).map(Vec::as_slice)
    }

    /// The schemas that the statement names, and our own.
    pub(super) fn schemas(&self) -> BTreeSet<&str> {
        let named = self.tables.keys().map(|(schema, _)| schema.as_str());
        named
            .chain([PUBLIC, INFORMATION_SCHEMA, self.default_schema.as_str()])
            .filter(|schema| !schema.is_empty())
            .collect()
    }

    /// The tables of one schema that the statement names, in order.
    pub(super) fn tables(&self, schema: &str) -> BTreeSet<&str> {
        let named = self
            .tables
            .keys()
            .filter(|(own, _)| own == schema)
            .map(|(_, table)| table.as_str());
        let relations = (schema == PUBLIC)
            .then_some(RELATIONS)
            .into_iter()
            .flatten();
        named.chain(relations).collect()
    }
}

fn relation(frame: &Arc<Frame>, name: &str) -> Option<Arc<dyn TableProvider>> {
    let frame = Arc::clone(frame);
    Some(match name {
        "streams" => Arc::new(StreamsTable::new(frame)),
        "collections" => Arc::new(CollectionsTable::new(frame)),
        "points" => Arc::new(PointsTable::new(frame)),
        _ => return None,
    })
}

/// Streams by schema and table name. Those that no path names for certain are listed by uuid in `public`.
pub(super) fn listing_of(
    streams: Vec<Arc<StreamDescriptor>>,
) -> HashMap<String, Vec<(String, NamedStream)>> {
    let mut counts = HashMap::<(String, String), usize>::new();
    let key = |stream: &StreamDescriptor| (stream.collection.clone(), stream.tags.name.clone());
    for stream in &streams {
        *counts.entry(key(stream)).or_default() += 1;
    }
    let mut listing = HashMap::<String, Vec<(String, NamedStream)>>::new();
    for descriptor in streams {
        let reserved = [PUBLIC, INFORMATION_SCHEMA].contains(&descriptor.collection.as_str())
            || names_version(&descriptor.tags.name);
        let (schema, table) = if reserved || counts[&key(&descriptor)] > 1 {
            (PUBLIC.to_owned(), descriptor.id.to_string())
        } else {
            key(&descriptor)
        };
        let stream = NamedStream {
            descriptor,
            version: None,
        };
        listing.entry(schema).or_default().push((table, stream));
    }
    listing
}

/// The table that a reference means; none for views of the information schema.
pub(super) async fn find_table(
    frame: &Arc<Frame>,
    table: &ResolvedTableReference,
) -> Result<Option<Arc<dyn TableProvider>>> {
    let (schema, name) = (table.schema.as_ref(), table.table.as_ref());
    if *table.catalog != *CATALOG {
        return Err(Error::not_found(format!(
            "catalog \"{}\" does not exist: the only one is {CATALOG}",
            table.catalog
        )));
    }
    if schema == INFORMATION_SCHEMA {
        return match View::named(name) {
            Some(_) => Ok(None),
            None => Err(unknown_view(name)),
        };
    }
    if schema == PUBLIC && RELATIONS.contains(&name) {
        return Ok(relation(frame, name));
    }
    let wanted = if schema == PUBLIC {
        StreamName::uuid(name).ok_or_else(|| unknown_relation(name))?
    } else {
        StreamName::table(schema, name)
    };
    let stream = find_one(frame, &wanted).await?;
    Ok(Some(Arc::new(StreamTable::new(Arc::clone(frame), stream))))
}

fn unknown_view(name: &str) -> Error {
    let views = View::ALL.map(View::as_str);
    let hint = match near_misses(name, views).as_slice() {
        [near, ..] => format!("did you mean {near}"),
        [] => format!("views are {}", views.join(", ")),
    };
    Error::not_found(format!(
        "view {INFORMATION_SCHEMA}.\"{name}\" does not exist: {hint}"
    ))
}

fn unknown_relation(name: &str) -> Error {
    let hint = if let Some((collection, stream)) = name.rsplit_once('/') {
        format!("a stream is written \"{collection}\".\"{stream}\"")
    } else if let [near, ..] = near_misses(name, RELATIONS).as_slice() {
        format!("did you mean {near}")
    } else {
        format!(
            "relations are {}, and streams are written \"collection\".\"name\" or \"uuid\"",
            RELATIONS.join(", ")
        )
    };
    Error::not_found(format!("table \"{name}\" does not exist: {hint}"))
}

/// The streams of an argument, which is one stream or `prefix/*`.
pub(super) async fn find_all(frame: &Arc<Frame>, text: &str) -> Result<Vec<NamedStream>> {
    let wanted = StreamName::argument(text)?;
    let Target::Below(prefix) = &wanted.target else {
        return Ok(vec![find_one(frame, &wanted).await?]);
    };
    if wanted.version.is_some() {
        return Err(Error::invalid(format!(
            "\"{text}\" asks for one version of many streams: versions are counted per stream"
        ))
        .with_code(Code::InvalidParameter));
    }
    let below = format!("{prefix}/");
    let candidates = frame
        .backend
        .find(StreamFilter::collection(CollectionMatch::Prefix(
            prefix.clone(),
        )))
        .await?;
    let streams: Vec<_> = candidates
        .into_iter()
        .filter(|stream| stream.collection == *prefix || stream.collection.starts_with(&below))
        .map(|descriptor| NamedStream {
            descriptor,
            version: None,
        })
        .collect();
    if streams.is_empty() {
        return Err(unknown_collection(frame, prefix).await);
    }
    Ok(streams)
}

/// The one stream of a name, at a version that exists.
async fn find_one(frame: &Arc<Frame>, wanted: &StreamName) -> Result<NamedStream> {
    let (descriptor, version) = match find_descriptor(frame, wanted).await {
        Ok(descriptor) => (descriptor, wanted.version),
        Err(error) if error.kind() == ErrorKind::NotFound => match wanted.verbatim() {
            // The error about the name as most people mean it is the better one.
            Some(verbatim) => match find_descriptor(frame, &verbatim).await {
                Ok(descriptor) => (descriptor, None),
                Err(_) => return Err(error),
            },
            None => return Err(error),
        },
        Err(error) => return Err(error),
    };
    if let Some(version) = version {
        check_version(frame, &descriptor, version).await?;
    }
    Ok(NamedStream {
        descriptor,
        version,
    })
}

async fn find_descriptor(frame: &Arc<Frame>, wanted: &StreamName) -> Result<Arc<StreamDescriptor>> {
    match &wanted.target {
        Target::Uuid(id) => by_uuid(frame, *id).await,
        Target::Path { collection, name } => by_path(frame, collection, name).await,
        Target::Below(prefix) => Err(Error::invalid(format!(
            "\"{prefix}/*\" names many streams, where one is wanted"
        ))),
    }
}

async fn by_uuid(frame: &Arc<Frame>, id: StreamId) -> Result<Arc<StreamDescriptor>> {
    let found = frame.backend.describe(&[id]).await.map_err(|error| {
        if error.code() == Some(Code::NoSuchStream) {
            // BTrDB's words leave out which.
            return Error::not_found(format!("no stream has the uuid {id}"))
                .with_code(Code::NoSuchStream)
                .with_source(error);
        }
        error
    })?;
    found.into_iter().next().ok_or_else(|| {
        Error::not_found(format!("stream {id} does not exist")).with_code(Code::NoSuchStream)
    })
}

async fn by_path(
    frame: &Arc<Frame>,
    collection: &str,
    name: &str,
) -> Result<Arc<StreamDescriptor>> {
    let mut found = frame
        .backend
        .find(StreamFilter::path(collection, name))
        .await?;
    match found.len() {
        0 => Err(unknown_path(frame, collection, name).await),
        1 => Ok(found.remove(0)),
        count => {
            let uuids: Vec<String> = found.iter().map(|stream| stream.id.to_string()).collect();
            Err(Error::invalid(format!(
                "stream {collection}/{name} is ambiguous, {count} streams have that name; use a uuid: {}",
                uuids.join(", ")
            ))
            .with_code(Code::AmbiguousStream))
        }
    }
}

/// The error for a path of no stream. Its suggestions cost one look-up, in a case that has failed anyway.
async fn unknown_path(frame: &Arc<Frame>, collection: &str, name: &str) -> Error {
    let siblings = frame
        .backend
        .find(StreamFilter::collection(CollectionMatch::Exact(
            collection.to_owned(),
        )))
        .await;
    let siblings = match siblings {
        Ok(siblings) => siblings,
        Err(error) => return error,
    };
    if siblings.is_empty() {
        return unknown_collection(frame, collection).await;
    }
    let names = siblings.iter().map(|stream| stream.tags.name.as_str());
    let names = names.filter(|name| !name.is_empty());
    let near = near_misses(name, names.clone());
    let hint = if near.is_empty() {
        match names.take(5).collect::<Vec<_>>().join(", ") {
            names if names.is_empty() => "the streams of the collection have no names".to_owned(),
            names => format!("the collection has {names}"),
        }
    } else {
        did_you_mean(name, &near)
    };
    Error::not_found(format!("stream {collection}/{name} does not exist: {hint}"))
        .with_code(Code::NoSuchStream)
}

/// Names that are near, written as SQL takes them.
fn did_you_mean(wanted: &str, near: &[&str]) -> String {
    let quoted: Vec<String> = near.iter().map(|name| format!("\"{name}\"")).collect();
    let is_case = near.iter().any(|name| name.to_lowercase() == wanted);
    format!(
        "did you mean {}{}",
        quoted.join(", "),
        if is_case {
            "? Names with capitals stand in double quotes"
        } else {
            ""
        }
    )
}

async fn unknown_collection(frame: &Arc<Frame>, collection: &str) -> Error {
    let collections = match frame.backend.collections("").await {
        Ok(collections) => collections,
        Err(error) => return error,
    };
    let near = near_misses(collection, collections.iter().map(String::as_str));
    let hint = if near.is_empty() {
        "SELECT collection FROM collections lists them".to_owned()
    } else {
        did_you_mean(collection, &near)
    };
    Error::not_found(format!(
        "collection \"{collection}\" does not exist: {hint}"
    ))
    .with_code(Code::NoSuchStream)
}

async fn check_version(
    frame: &Arc<Frame>,
    stream: &StreamDescriptor,
    version: Version,
) -> Result<()> {
    let StreamRead { version: pin, .. } = frame.read(stream.id, None);
    let latest = match pin {
        Some(pin) => pin,
        None => {
            let versions = frame
                .backend
                .versions(&[stream.id], frame.snapshot())
                .await?;
            versions.first().copied().unwrap_or_default()
        }
    };
    if (Version::CREATED..=latest).contains(&version) {
        return Ok(());
    }
    Err(Error::not_found(format!(
        "version {version} of stream {} ({}) does not exist: versions are {} to {latest}",
        stream.path(),
        stream.id,
        Version::CREATED
    ))
    .with_code(Code::VersionNotAvailable))
}
