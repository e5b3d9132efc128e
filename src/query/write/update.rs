//! UPDATE of streams: tags, collection and annotations, each stream under the property version that was read.
//!
//! New values may be made of old ones (`SET name = name || '_old'`), so a stream that changed meanwhile is never overwritten. A
//! statement that says `property_version = n` is told so, and decides; any other looks at the stream again, as often as it takes.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::UInt64Type;
use datafusion::common::ScalarValue;
use futures::TryStreamExt;
use futures::future::join_all;

use super::streams::{check_free, combined, maps, texts};
use super::{Ledger, bound, of_row, reworded};
use crate::backend::Backend;
use crate::error::{Code, Error, ErrorKind, Result};
use crate::model::stream::{check_annotation, check_collection, check_tag};
use crate::model::{
    AnnotationUpdate, Annotations, StreamDescriptor, StreamId, TagKey, TagUpdate, Tags,
};
use crate::query::catalogue::StreamColumn;
use crate::query::errors::from_datafusion;
use crate::query::statement::Statement;

/// Calls under way at a time: enough for their commits to be grouped.
const CALLS_AT_ONCE: usize = 256;

/// How often streams that others change at the same time are looked at again.
const ATTEMPTS_MAX: usize = 10;

/// Changes the streams that the statement's query delivers for each of `rows`.
pub(super) async fn update(
    statement: &Statement,
    columns: &[StreamColumn],
    is_guarded: bool,
    rows: &[Vec<ScalarValue>],
    ledger: &mut Ledger,
) -> Result<()> {
    ledger.what = "streams were changed";
    for (at, row) in rows.iter().enumerate() {
        let one = async {
            let statement = bound(statement, row).await?;
            run(&statement, columns, is_guarded, ledger).await
        };
        one.await.map_err(|error| of_row(error, at, rows))?;
    }
    Ok(())
}

async fn run(
    statement: &Statement,
    columns: &[StreamColumn],
    is_guarded: bool,
    ledger: &mut Ledger,
) -> Result<()> {
    let backend = statement.frame().backend.as_ref();
    let mut done = BTreeSet::new();
    for _ in 0..ATTEMPTS_MAX {
        let mut wanted = read(statement, columns).await?;
        wanted.retain(|change| !done.contains(&change.id));
        let changes = settle(backend, wanted, is_guarded).await?;
        check(backend, &changes.ready).await?;
        let mut stale = changes.stale;
        for some in changes.ready.chunks(CALLS_AT_ONCE) {
            let outcomes = join_all(some.iter().map(|change| apply(backend, change))).await;
            let mut failure = None;
            for (change, outcome) in some.iter().zip(outcomes) {
                match outcome {
                    Applied::All => {
                        done.insert(change.id);
                        ledger.rows += 1;
                    }
                    Applied::Nothing(error) if is_stale(&error) && !is_guarded => stale = true,
                    Applied::Nothing(error) => failure = failure.or(Some((change, error))),
                    Applied::Tags(error) => {
                        let path = change.stream.path();
                        ledger.half = Some(format!(
                            "of stream {path} the tags and collection were changed and the annotations were not"
                        ));
                        failure = Some((change, error));
                    }
                }
            }
            if let Some((change, error)) = failure {
                let message = format!("stream {}: {}", change.stream.path(), error.message());
                return Err(reworded(error, message));
            }
        }
        if !stale {
            return Ok(());
        }
    }
    Err(Error::new(
        ErrorKind::Conflict,
        format!("streams were changed by others {ATTEMPTS_MAX} times while this statement changed them: run it again"),
    )
    .with_code(Code::AnnotationVersionMismatch))
}

fn is_stale(error: &Error) -> bool {
    error.code() == Some(Code::AnnotationVersionMismatch)
}

/// What a row of the query wants.
struct Wanted {
    id: StreamId,
    property_version: u64,
    collection: Option<String>,
    columns: Vec<(TagKey, String)>,
    /// All tags at once.
    tags: Option<Annotations>,
    annotations: Option<Annotations>,
}

async fn read(statement: &Statement, columns: &[StreamColumn]) -> Result<Vec<Wanted>> {
    let mut wanted = Vec::new();
    let mut batches = statement.query(statement.plan()).await?;
    while let Some(batch) = batches.try_next().await.map_err(from_datafusion)? {
        read_batch(&batch, columns, &mut wanted)?;
    }
    Ok(wanted)
}

fn read_batch(
    batch: &RecordBatch,
    columns: &[StreamColumn],
    wanted: &mut Vec<Wanted>,
) -> Result<()> {
    let uuids = texts(batch, "uuid")?.unwrap_or_default();
    let versions = batch
        .column_by_name("property_version")
        .ok_or_else(|| Error::internal("an UPDATE was planned without its guard"))?;
    let versions = versions.as_primitive::<UInt64Type>();
    let collections = texts(batch, "collection")?;
    let tags = maps(batch, "tags")?;
    let annotations = maps(batch, "annotations")?;
    let keys = TagKey::ALL.into_iter().filter(|key| {
        let name = key.as_str();
        columns.iter().any(|column| column.as_str() == name)
    });
    let keys: Vec<_> = keys
        .map(|key| Ok((key, texts(batch, key.as_str())?.unwrap_or_default())))
        .collect::<Result<_>>()?;
    for (row, uuid) in uuids.into_iter().flatten().enumerate() {
        let null = |column: &str, instead: &str| {
            Error::invalid(format!("stream {uuid}: {column} is set to NULL: {instead}"))
        };
        let mut given = Vec::new();
        for (key, texts) in &keys {
            let text = texts[row].clone();
            given.push((
                *key,
                text.ok_or_else(|| null(key.as_str(), "'' unsets it"))?,
            ));
        }
        let collection = match &collections {
            Some(texts) => Some(
                texts[row]
                    .clone()
                    .ok_or_else(|| null("collection", "a stream is in one"))?,
            ),
            None => None,
        };
        let all_tags = match &tags {
            Some(maps) => Some(
                maps[row]
                    .clone()
                    .ok_or_else(|| null("tags", "each may be ''"))?,
            ),
            None => None,
        };
        wanted.push(Wanted {
            id: uuid.parse()?,
            property_version: versions.value(row),
            collection,
            columns: given,
            tags: all_tags,
            // Nothing is what remains where there are none.
            annotations: annotations
                .as_ref()
                .map(|maps| maps[row].clone().unwrap_or_default()),
        });
    }
    Ok(())
}

/// A stream as it is, and what it is to become.
struct Ready {
    id: StreamId,
    stream: Arc<StreamDescriptor>,
    collection: Option<String>,
    tags: Vec<(TagKey, String)>,
    annotations: Option<Annotations>,
}

struct Settled {
    ready: Vec<Ready>,
    /// Whether streams changed after they were read, and have to be looked at again.
    stale: bool,
}

/// What each stream is to become, if it still is what was read.
async fn settle(backend: &dyn Backend, wanted: Vec<Wanted>, is_guarded: bool) -> Result<Settled> {
    let mut settled = Settled {
        ready: Vec::with_capacity(wanted.len()),
        stale: false,
    };
    if wanted.is_empty() {
        return Ok(settled);
    }
    let ids: Vec<StreamId> = wanted.iter().map(|change| change.id).collect();
    let streams = backend.describe(&ids).await?;
    for (change, stream) in wanted.into_iter().zip(streams) {
        if stream.property_version != change.property_version {
            if is_guarded {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    format!(
                        "stream {} has property version {} and not {} any more",
                        stream.path(),
                        stream.property_version,
                        change.property_version
                    ),
                )
                .with_code(Code::AnnotationVersionMismatch));
            }
            settled.stale = true;
            continue;
        }
        let tags = match change.tags {
            None => change.columns,
            Some(map) => {
                let is_named = map.keys().any(|key| key == TagKey::Name.as_str())
                    || change.columns.iter().any(|(key, _)| *key == TagKey::Name);
                let tags = combined(Some(&map), change.columns)?;
                TagKey::ALL
                    .into_iter()
                    // The name is what a stream is found by: it goes only if the map says so.
                    .filter(|key| is_named || *key != TagKey::Name)
                    .map(|key| (key, tags.get(key).to_owned()))
                    .collect()
            }
        };
        settled.ready.push(Ready {
            id: change.id,
            stream,
            collection: change.collection,
            tags,
            annotations: change.annotations,
        });
    }
    Ok(settled)
}

/// Refuses, before the first is changed, what BTrDB does not store, or would give two streams one name.
async fn check(backend: &dyn Backend, changes: &[Ready]) -> Result<()> {
    let mut named: Vec<(StreamId, String, Tags)> = Vec::new();
    for change in changes {
        let checked = change.check();
        checked.map_err(|error| {
            let message = format!("stream {}: {}", change.stream.path(), error.message());
            reworded(error, message)
        })?;
        if change.collection.is_some() || !change.tags.is_empty() {
            let (collection, tags) = change.becomes();
            named.push((change.id, collection, tags));
        }
    }
    let named: Vec<(StreamId, &str, &Tags)> = named
        .iter()
        .map(|(id, collection, tags)| (*id, collection.as_str(), tags))
        .collect();
    check_free(backend, &named).await
}

impl Ready {
    fn check(&self) -> Result<()> {
        if let Some(collection) = &self.collection {
            check_collection(collection)?;
        }
        for (key, value) in &self.tags {
            check_tag(*key, value)?;
        }
        for (key, value) in self.annotations.iter().flatten() {
            check_annotation(key, value.as_deref())?;
        }
        Ok(())
    }

    fn becomes(&self) -> (String, Tags) {
        let mut tags = self.stream.tags.clone();
        for (key, value) in &self.tags {
            tags.set(*key, value.clone());
        }
        let collection = self.collection.as_ref();
        let collection = collection.unwrap_or(&self.stream.collection);
        (collection.clone(), tags)
    }
}

enum Applied {
    All,
    Nothing(Error),
    /// Tags and collection, but not the annotations.
    Tags(Error),
}

async fn apply(backend: &dyn Backend, change: &Ready) -> Applied {
    let mut expected = change.stream.property_version;
    let sets_tags = change.collection.is_some() || !change.tags.is_empty();
    if sets_tags {
        let update = TagUpdate {
            stream: change.id,
            expected: Some(expected),
            collection: change.collection.clone(),
            tags: change.tags.clone(),
        };
        match backend.set_tags(update).await {
            Ok(version) => expected = version,
            Err(error) => return Applied::Nothing(error),
        }
    }
    let Some(annotations) = &change.annotations else {
        return Applied::All;
    };
    let old = change.stream.annotations.keys();
    let update = AnnotationUpdate {
        stream: change.id,
        expected: Some(expected),
        changes: annotations.clone(),
        removals: old
            .filter(|key| !annotations.contains_key(*key))
            .cloned()
            .collect(),
    };
    match backend.set_annotations(update).await {
        Ok(_) => Applied::All,
        Err(error) if sets_tags => Applied::Tags(error),
        Err(error) => Applied::Nothing(error),
    }
}
