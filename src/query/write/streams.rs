//! INSERT and DELETE of streams: creating and obliterating them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, UInt64Type};
use datafusion::common::ScalarValue;
use futures::TryStreamExt;
use futures::future::join_all;
use futures::stream::{self, StreamExt};
use uuid::Uuid;

use super::values::evaluate;
use super::{Ledger, bound, of_row, reworded};
use crate::backend::Backend;
use crate::error::{Code, Error, ErrorKind, Result};
use crate::model::{
    Annotations, CollectionMatch, Snapshot, StreamDescriptor, StreamFilter, StreamId, TagKey, Tags,
    Version,
};
use crate::query::errors::from_datafusion;
use crate::query::statement::Statement;

/// Calls under way at a time: enough for their commits to be grouped.
const CALLS_AT_ONCE: usize = 256;

/// New streams of one collection from which all its streams are looked up at once.
const LOOK_UP_ALL_FROM: usize = 8;

/// Creates the streams that the statement's query delivers for each of `rows`.
pub(super) async fn create(
    statement: &Statement,
    rows: &[Vec<ScalarValue>],
    ledger: &mut Ledger,
) -> Result<()> {
    let mut creation = Creation::default();
    let parameters = statement.parameters();
    if let Some(batch) = evaluate(statement.state(), statement.plan(), &parameters, rows)? {
        creation.accept(&batch)?;
    } else {
        for (at, row) in rows.iter().enumerate() {
            let one = async {
                let statement = bound(statement, row).await?;
                let mut batches = statement.query(statement.plan()).await?;
                while let Some(batch) = batches.try_next().await.map_err(from_datafusion)? {
                    creation.accept(&batch)?;
                }
                Ok(())
            };
            one.await.map_err(|error| of_row(error, at, rows))?;
        }
    }
    creation
        .run(statement.frame().backend.as_ref(), ledger)
        .await
}

/// Streams to create.
#[derive(Default)]
pub(super) struct Creation(Vec<New>);

impl Creation {
    /// Reads the streams of a batch.
    pub(super) fn accept(&mut self, batch: &RecordBatch) -> Result<()> {
        read(batch, &mut self.0)
    }

    /// Checks all of them, and creates them.
    pub(super) async fn run(self, backend: &dyn Backend, ledger: &mut Ledger) -> Result<()> {
        ledger.what = "streams were created";
        check(backend, &self.0).await?;
        for some in self.0.chunks(CALLS_AT_ONCE) {
            let calls = some.iter().map(|new| backend.create(new.stream.clone()));
            let mut failure = None;
            for (New { stream, .. }, done) in some.iter().zip(join_all(calls).await) {
                match done {
                    Ok(()) => {
                        ledger.rows += 1;
                        ledger.note(stream.id, Version::CREATED);
                    }
                    Err(error) => failure = failure.or(Some((stream, error))),
                }
            }
            if let Some((stream, error)) = failure {
                let message = format!("stream {}: {}", stream.path(), error.message());
                return Err(reworded(error, message));
            }
        }
        Ok(())
    }
}

/// A stream to create.
struct New {
    stream: StreamDescriptor,
    /// Whether the statement gave the uuid: one made here is nobody's.
    is_named: bool,
}

/// The streams of a batch, behind those that are known.
fn read(batch: &RecordBatch, streams: &mut Vec<New>) -> Result<()> {
    let uuids = texts(batch, "uuid")?;
    let collections = texts(batch, "collection")?;
    let tags = maps(batch, "tags")?;
    let annotations = maps(batch, "annotations")?;
    let columns: Vec<(TagKey, Option<Texts>)> = TagKey::ALL
        .into_iter()
        .map(|key| Ok((key, texts(batch, key.as_str())?)))
        .collect::<Result<_>>()?;
    for row in 0..batch.num_rows() {
        let number = streams.len() + 1;
        let new = || -> Result<New> {
            let uuid = uuids.as_ref().and_then(|uuids| uuids[row].as_deref());
            let id = match uuid {
                Some(text) => text.parse()?,
                None => StreamId(Uuid::new_v4()),
            };
            let collection = collections.as_ref().and_then(|texts| texts[row].clone());
            let mut given = Vec::new();
            for (key, column) in &columns {
                if let Some(value) = column.as_ref().and_then(|texts| texts[row].clone()) {
                    given.push((*key, value));
                }
            }
            let stream = StreamDescriptor {
                id,
                collection: collection
                    .ok_or_else(|| Error::invalid("collection is NULL, and a stream is in one"))?,
                tags: combined(tags.as_ref().and_then(|maps| maps[row].as_ref()), given)?,
                annotations: annotations
                    .as_ref()
                    .and_then(|maps| maps[row].clone())
                    .unwrap_or_default(),
                property_version: 1,
            };
            stream.check()?;
            Ok(New {
                stream,
                is_named: uuid.is_some(),
            })
        };
        let new = new().map_err(|error| {
            let message = format!("row {number}: {}", error.message());
            reworded(error, message)
        })?;
        streams.push(new);
    }
    Ok(())
}

/// The tags that a map and columns of their own give; they may not contradict each other.
pub(super) fn combined(map: Option<&Annotations>, columns: Vec<(TagKey, String)>) -> Result<Tags> {
    let mut tags = Tags::default();
    let mut from_map = BTreeSet::new();
    for (key, value) in map.into_iter().flatten() {
        let known: TagKey = key.parse()?;
        let value = value.clone().ok_or_else(|| {
            Error::invalid(format!(
                "tag {key} is NULL: a tag that is not set is '', or left out"
            ))
            .with_code(Code::InvalidTagValue)
        })?;
        from_map.insert(known.as_str());
        tags.set(known, value);
    }
    for (key, value) in columns {
        if from_map.contains(key.as_str()) && tags.get(key) != value {
            return Err(Error::invalid(format!(
                "column {} says \"{value}\" and tags say \"{}\": give one of them",
                key.as_str(),
                tags.get(key)
            ))
            .with_code(Code::WrongArgs));
        }
        tags.set(key, value);
    }
    Ok(tags)
}

/// A column of texts; none where it is null.
pub(super) type Texts = Vec<Option<String>>;

/// The texts of a column, if the batch has it.
pub(super) fn texts(batch: &RecordBatch, name: &str) -> Result<Option<Texts>> {
    let Some(column) = batch.column_by_name(name) else {
        return Ok(None);
    };
    let column = cast(column, &DataType::Utf8View).map_err(|e| from_datafusion(e.into()))?;
    let texts = column.as_string_view().iter();
    Ok(Some(texts.map(|text| text.map(str::to_owned)).collect()))
}

/// The maps of a column, if the batch has it; none where one is null.
pub(super) fn maps(batch: &RecordBatch, name: &str) -> Result<Option<Vec<Option<Annotations>>>> {
    let Some(column) = batch.column_by_name(name) else {
        return Ok(None);
    };
    let Some(column) = column.as_map_opt() else {
        return Err(Error::invalid(format!(
            "column {name} is {}, and takes a map, as in MAP {{'key': 'value'}}",
            column.data_type()
        )));
    };
    let text = |array: &Arc<dyn Array>| {
        let texts = cast(array, &DataType::Utf8View).map_err(|e| from_datafusion(e.into()))?;
        Ok::<_, Error>(texts.as_string_view().clone())
    };
    let (keys, values) = (text(column.keys())?, text(column.values())?);
    let offsets = column.value_offsets();
    let maps = (0..column.len()).map(|row| {
        column.is_valid(row).then(|| {
            let entries = offsets[row] as usize..offsets[row + 1] as usize;
            let entry = |at: usize| {
                let value = values.is_valid(at).then(|| values.value(at).to_owned());
                (keys.value(at).to_owned(), value)
            };
            entries.map(entry).collect::<BTreeMap<_, _>>()
        })
    });
    Ok(Some(maps.collect()))
}

/// Refuses streams of which the store has one already, or the statement two.
async fn check(backend: &dyn Backend, streams: &[New]) -> Result<()> {
    let taken = |row: usize, message: String| {
        let message = format!("row {}: {message}", row + 1);
        Error::new(ErrorKind::Conflict, message).with_code(Code::SameStream)
    };
    let named = streams.iter().enumerate().filter(|(_, new)| new.is_named);
    let named: Vec<(usize, StreamId)> = named.map(|(row, new)| (row, new.stream.id)).collect();
    let mut ids = BTreeSet::new();
    for (row, id) in &named {
        if !ids.insert(*id) {
            return Err(taken(*row, format!("uuid {id} stands twice")));
        }
    }
    let found: Vec<(usize, StreamId, Result<_>)> = stream::iter(named)
        .map(|(row, id)| async move { (row, id, backend.describe(&[id]).await) })
        .buffered(CALLS_AT_ONCE)
        .collect()
        .await;
    for (row, id, found) in found {
        match found {
            Ok(_) => {
                return Err(taken(
                    row,
                    format!("stream {id} exists: UPDATE streams changes it"),
                ));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    let wanted: Vec<(StreamId, &str, &Tags)> = streams
        .iter()
        .map(|New { stream, .. }| (stream.id, stream.collection.as_str(), &stream.tags))
        .collect();
    check_free(backend, &wanted).await
}

/// Refuses collections and tags that another stream has, in the store or among `wanted`. Streams of `wanted` that the store
/// has may give theirs up.
///
/// # Errors
/// Conflict, with code 418, naming the row.
pub(super) async fn check_free(
    backend: &dyn Backend,
    wanted: &[(StreamId, &str, &Tags)],
) -> Result<()> {
    let mut taken = HashMap::new();
    let mut names: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (row, (_, collection, tags)) in wanted.iter().enumerate() {
        if let Some(earlier) = taken.insert((*collection, *tags), row) {
            return Err(ambiguous(
                row,
                collection,
                tags,
                &format!("row {}", earlier + 1),
            ));
        }
        names.entry(*collection).or_default().insert(&tags.name);
    }
    let own: BTreeSet<StreamId> = wanted.iter().map(|(id, ..)| *id).collect();
    for (collection, names) in names {
        let mut found = Vec::new();
        if names.len() >= LOOK_UP_ALL_FROM {
            let exact = CollectionMatch::Exact(collection.to_owned());
            found = backend.find(StreamFilter::collection(exact)).await?;
        } else {
            for name in names {
                found.extend(backend.find(StreamFilter::path(collection, name)).await?);
            }
        }
        for stream in found.iter().filter(|stream| !own.contains(&stream.id)) {
            if let Some(row) = taken.get(&(collection, &stream.tags)) {
                let other = format!("stream {}", stream.id);
                return Err(ambiguous(*row, collection, &stream.tags, &other));
            }
        }
    }
    Ok(())
}

fn ambiguous(row: usize, collection: &str, tags: &Tags, other: &str) -> Error {
    let message = format!(
        "row {}: {other} has the collection {collection} and the same tags (name \"{}\", unit \"{}\", ingress \"{}\", \
         distiller \"{}\")",
        row + 1,
        tags.name,
        tags.unit,
        tags.ingress,
        tags.distiller
    );
    Error::new(ErrorKind::Conflict, message).with_code(Code::AmbiguousStream)
}

/// Obliterates the streams that the statement's query delivers for each of `rows`.
///
/// Streams that were chosen by what their points are must still be at the versions that were looked at.
pub(super) async fn obliterate(
    statement: &Statement,
    is_about_points: bool,
    rows: &[Vec<ScalarValue>],
    ledger: &mut Ledger,
) -> Result<()> {
    ledger.what = "streams were obliterated";
    let backend = statement.frame().backend.as_ref();
    for (at, row) in rows.iter().enumerate() {
        let one = async {
            let chosen = chosen(&bound(statement, row).await?).await?;
            if is_about_points {
                check_unchanged(backend, &chosen).await?;
            }
            remove(backend, &chosen, ledger).await
        };
        one.await.map_err(|error| of_row(error, at, rows))?;
    }
    Ok(())
}

/// The streams that a query delivers, and their versions if it tells them.
async fn chosen(statement: &Statement) -> Result<Vec<(StreamId, Option<Version>)>> {
    let mut chosen = Vec::new();
    let mut batches = statement.query(statement.plan()).await?;
    while let Some(batch) = batches.try_next().await.map_err(from_datafusion)? {
        let ids = texts(&batch, "uuid")?.unwrap_or_default();
        let versions = batch.column_by_name("version");
        for (row, id) in ids.into_iter().flatten().enumerate() {
            let version =
                versions.map(|column| Version(column.as_primitive::<UInt64Type>().value(row)));
            chosen.push((id.parse()?, version));
        }
    }
    Ok(chosen)
}

async fn check_unchanged(
    backend: &dyn Backend,
    chosen: &[(StreamId, Option<Version>)],
) -> Result<()> {
    if chosen.is_empty() {
        return Ok(());
    }
    let ids: Vec<StreamId> = chosen.iter().map(|(id, _)| *id).collect();
    let versions = backend.versions(&ids, Snapshot::Latest).await?;
    for ((id, seen), now) in chosen.iter().zip(versions) {
        if seen.is_some_and(|seen| seen != now) {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!(
                    "the points of stream {id} changed after the statement looked at them, so that it may be chosen wrongly: \
                     run it again"
                ),
            ));
        }
    }
    Ok(())
}

async fn remove(
    backend: &dyn Backend,
    chosen: &[(StreamId, Option<Version>)],
    ledger: &mut Ledger,
) -> Result<()> {
    for some in chosen.chunks(CALLS_AT_ONCE) {
        let calls = some.iter().map(|(id, _)| backend.obliterate(*id));
        let mut failure = None;
        for ((id, _), done) in some.iter().zip(join_all(calls).await) {
            match done {
                Ok(()) => ledger.rows += 1,
                // Somebody else was faster: it is gone.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => failure = failure.or(Some((id, error))),
            }
        }
        if let Some((id, error)) = failure {
            let message = format!("stream {id}: {}", error.message());
            return Err(reworded(error, message));
        }
    }
    Ok(())
}
