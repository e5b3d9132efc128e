//! What is said about streams: look-ups, descriptions, changes of them.

use std::sync::Arc;

use futures::{FutureExt, StreamExt, TryStreamExt, stream};

use super::calls::{
    Create, GetMetadataUsage, ListCollections, LookupStreams, Obliterate, SetStreamAnnotations,
    SetStreamTags, StreamInfo,
};
use super::failure::Failure;
use super::link::{Link, Repeat};
use super::reads::unreadable;
use crate::error::{Code, Error, ErrorKind, Result};
use crate::model::stream::check_collection;
use crate::model::{
    AnnotationUpdate, CollectionMatch, MetadataUsage, StreamDescriptor, StreamFilter, StreamId,
    TagKey, TagUpdate,
};
use crate::wire::{proto, streams};

/// Creates a stream.
pub(super) async fn create(link: &Link, stream: StreamDescriptor) -> Result<()> {
    let ask = proto::CreateParams {
        uuid: streams::uuid(stream.id),
        collection: stream.collection,
        tags: streams::tags(&stream.tags),
        annotations: streams::annotations(&stream.annotations),
    };
    let answer = link.ask::<Create>(ask, Repeat::IfUnsent).await;
    answer
        .map_err(|failure| failure.of_change(format_args!("stream {} was created", stream.id)))?;
    Ok(())
}

/// The streams that match, ascending by collection, name, uuid.
pub(super) async fn find(link: &Link, filter: StreamFilter) -> Result<Vec<Arc<StreamDescriptor>>> {
    let (collection, is_collection_prefix) = match &filter.collection {
        CollectionMatch::Any => ("", true),
        CollectionMatch::Prefix(prefix) => (&**prefix, true),
        // No collection has no name, but not every server knows.
        CollectionMatch::Exact(name) if name.is_empty() => return Ok(Vec::new()),
        CollectionMatch::Exact(name) => (&**name, false),
    };
    // All streams have all tags, if only empty ones, but not every server stores them: these conditions are met here.
    let tags = filter.tags.iter().filter_map(|(key, value)| {
        let value = value.as_deref().filter(|value| !value.is_empty())?;
        Some(streams::key_value(key.as_str(), Some(value)))
    });
    let annotations = filter.annotations.iter();
    let annotations = annotations.map(|(key, value)| streams::key_value(key, value.as_deref()));
    let ask = proto::LookupStreamsParams {
        collection: collection.to_owned(),
        is_collection_prefix,
        tags: tags.collect(),
        annotations: annotations.collect(),
        role: None,
    };
    let answers = link.collect::<LookupStreams>(ask).await;
    let answers = answers.map_err(Failure::told)?;
    let mut found = Vec::new();
    for stream in answers.into_iter().flat_map(|answer| answer.results) {
        let stream = streams::into_descriptor(stream).map_err(|error| unreadable(&error))?;
        if filter.matches(&stream) {
            found.push(Arc::new(stream));
        }
    }
    found.sort_by(|a, b| {
        let key = |stream: &Arc<StreamDescriptor>| stream.id;
        (&a.collection, &a.tags.name, key(a)).cmp(&(&b.collection, &b.tags.name, key(b)))
    });
    found.dedup_by_key(|stream| stream.id);
    Ok(found)
}

/// The descriptors of `ids`, in their order.
pub(super) async fn describe(
    link: &Arc<Link>,
    ids: &[StreamId],
) -> Result<Vec<Arc<StreamDescriptor>>> {
    let calls = ids.iter().map(|&id| {
        let link = Arc::clone(link);
        async move { describe_one(&link, id).await }.boxed()
    });
    stream::iter(calls.collect::<Vec<_>>())
        .buffered(link.settings.calls_in_flight.max(1))
        .try_collect()
        .await
}

/// The descriptor of a stream as it is now.
async fn describe_one(link: &Link, id: StreamId) -> Result<Arc<StreamDescriptor>> {
    let ask = proto::StreamInfoParams {
        uuid: streams::uuid(id),
        omit_version: true,
        ..proto::StreamInfoParams::default()
    };
    let info = link.ask::<StreamInfo>(ask, Repeat::Always).await;
    let info = info.map_err(Failure::told)?;
    let stream = info
        .descriptor
        .ok_or_else(|| Error::internal(format!("btrdb describes stream {id} by nothing")))?;
    let stream = streams::into_descriptor(stream).map_err(|error| unreadable(&error))?;
    Ok(Arc::new(stream))
}

/// The property version to name in a change: 0 is whatever it is.
fn expected(expected: Option<u64>) -> Result<u64> {
    match expected {
        Some(0) => Err(Error::new(
            ErrorKind::Conflict,
            "no stream has property version 0: they start at 1",
        )
        .with_code(Code::AnnotationVersionMismatch)),
        expected => Ok(expected.unwrap_or(0)),
    }
}

/// The property version after a change was made.
async fn after(link: &Link, id: StreamId, expected: Option<u64>) -> Result<u64> {
    match expected {
        Some(version) => Ok(version + 1),
        None => Ok(describe_one(link, id).await?.property_version),
    }
}

/// Changes tags and collection.
pub(super) async fn set_tags(link: &Link, update: TagUpdate) -> Result<u64> {
    if let Some(collection) = &update.collection {
        // An empty one would stay on the wire what it is.
        check_collection(collection)?;
    }
    let id = update.stream;
    let tags = update.tags.iter();
    let tags = tags.map(|(key, value)| streams::key_value(key.as_str(), Some(value)));
    let ask = proto::SetStreamTagsParams {
        uuid: streams::uuid(id),
        expected_property_version: expected(update.expected)?,
        tags: tags.collect(),
        collection: update.collection.unwrap_or_default(),
        remove: Vec::new(),
    };
    let answer = link.ask::<SetStreamTags>(ask, Repeat::IfUnsent).await;
    answer.map_err(|failure| failure.of_change(format_args!("stream {id} has the new tags")))?;
    after(link, id, update.expected).await
}

/// Changes annotations.
pub(super) async fn set_annotations(link: &Link, update: AnnotationUpdate) -> Result<u64> {
    let id = update.stream;
    let ask = proto::SetStreamAnnotationsParams {
        uuid: streams::uuid(id),
        expected_property_version: expected(update.expected)?,
        changes: streams::annotations(&update.changes),
        removals: update.removals,
    };
    let answer = link
        .ask::<SetStreamAnnotations>(ask, Repeat::IfUnsent)
        .await;
    answer.map_err(|failure| {
        failure.of_change(format_args!("stream {id} has the new annotations"))
    })?;
    after(link, id, update.expected).await
}

/// Removes a stream for ever.
pub(super) async fn obliterate(link: &Link, id: StreamId) -> Result<()> {
    let ask = proto::ObliterateParams {
        uuid: streams::uuid(id),
    };
    let answer = link.ask::<Obliterate>(ask, Repeat::IfUnsent).await;
    answer.map_err(|failure| failure.of_change(format_args!("stream {id} was obliterated")))?;
    Ok(())
}

/// The collections that begin with `prefix`, ascending.
pub(super) async fn collections(link: &Link, prefix: &str) -> Result<Vec<String>> {
    if !prefix.is_empty() {
        check_collection(prefix)?;
    }
    let ask = proto::ListCollectionsParams {
        prefix: prefix.to_owned(),
        role: None,
    };
    let answers = link.collect::<ListCollections>(ask).await;
    let answers = answers.map_err(Failure::told)?;
    let mut names: Vec<String> = answers
        .into_iter()
        .flat_map(|answer| answer.collections)
        .filter(|name| name.starts_with(prefix))
        .collect();
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

/// Which keys the streams of some collections use. Tag keys that are none of the four are left out.
pub(super) async fn usage(link: &Link, prefix: &str) -> Result<MetadataUsage> {
    let ask = proto::MetadataUsageParams {
        prefix: prefix.to_owned(),
        role: None,
    };
    let answer = link.ask::<GetMetadataUsage>(ask, Repeat::Always).await;
    let answer = answer.map_err(Failure::told)?;
    let count = |key: TagKey| {
        let mut counts = answer.tags.iter();
        counts
            .find(|count| count.key == key.as_str())
            .map_or(0, |count| count.count)
    };
    let tags = TagKey::ALL.map(|key| (key, count(key))).to_vec();
    let annotations = answer.annotations.iter();
    let mut annotations: Vec<(String, u64)> = annotations
        .map(|count| (count.key.clone(), count.count))
        .collect();
    annotations.sort_unstable();
    Ok(MetadataUsage { tags, annotations })
}
