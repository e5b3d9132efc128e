//! What is said about streams: look-ups, descriptions, changes of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use parking_lot::Mutex;
use tokio::time::Instant;

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

/// Descriptions that are kept for a moment.
const RECENT_MAX: usize = 16 * 1024;

/// Descriptions that were read a moment ago: whoever finds a stream describes it next.
#[derive(Debug, Default)]
pub(super) struct Recent {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    streams: HashMap<StreamId, (Instant, Arc<StreamDescriptor>)>,
    /// Goes up with each change. What was asked for before a change is not kept after it.
    changes: u64,
    /// When old ones were last looked for to make room.
    swept: Option<Instant>,
}

impl Recent {
    fn get(&self, id: StreamId, ttl: Duration) -> Option<Arc<StreamDescriptor>> {
        let state = self.state.lock();
        let (read, stream) = state.streams.get(&id)?;
        (read.elapsed() < ttl).then(|| Arc::clone(stream))
    }

    /// The moment from which on changes count.
    fn now(&self) -> (Instant, u64) {
        (Instant::now(), self.state.lock().changes)
    }

    fn keep(
        &self,
        (asked, changes): (Instant, u64),
        stream: &Arc<StreamDescriptor>,
        ttl: Duration,
    ) {
        let mut state = self.state.lock();
        if state.changes != changes || asked.elapsed() >= ttl {
            return;
        }
        if state.streams.len() >= RECENT_MAX && state.swept.is_none_or(|at| at.elapsed() >= ttl) {
            state.swept = Some(Instant::now());
            state.streams.retain(|_, (read, _)| read.elapsed() < ttl);
        }
        if state.streams.len() < RECENT_MAX {
            state.streams.insert(stream.id, (asked, Arc::clone(stream)));
        }
    }

    fn forget(&self, id: StreamId) {
        let mut state = self.state.lock();
        state.changes += 1;
        state.streams.remove(&id);
    }
}

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
pub(super) async fn find(
    link: &Link,
    recent: &Recent,
    filter: StreamFilter,
) -> Result<Vec<Arc<StreamDescriptor>>> {
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
    let asked = recent.now();
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
    for stream in &found {
        recent.keep(asked, stream, link.settings.metadata_ttl);
    }
    Ok(found)
}

/// The descriptors of `ids`, in their order.
pub(super) async fn describe(
    link: &Arc<Link>,
    recent: &Arc<Recent>,
    ids: &[StreamId],
) -> Result<Vec<Arc<StreamDescriptor>>> {
    let calls = ids.iter().map(|&id| {
        let (link, recent) = (Arc::clone(link), Arc::clone(recent));
        async move {
            match recent.get(id, link.settings.metadata_ttl) {
                Some(stream) => Ok(stream),
                None => describe_one(&link, &recent, id).await,
            }
        }
        .boxed()
    });
    stream::iter(calls.collect::<Vec<_>>())
        .buffered(link.settings.calls_in_flight.max(1))
        .try_collect()
        .await
}

/// The descriptor of a stream as it is now.
async fn describe_one(link: &Link, recent: &Recent, id: StreamId) -> Result<Arc<StreamDescriptor>> {
    let ask = proto::StreamInfoParams {
        uuid: streams::uuid(id),
        omit_version: true,
        ..proto::StreamInfoParams::default()
    };
    let asked = recent.now();
    let info = link.ask::<StreamInfo>(ask, Repeat::Always).await;
    let info = info.map_err(Failure::told)?;
    let stream = info
        .descriptor
        .ok_or_else(|| Error::internal(format!("btrdb describes stream {id} by nothing")))?;
    let stream = streams::into_descriptor(stream).map_err(|error| unreadable(&error))?;
    let stream = Arc::new(stream);
    recent.keep(asked, &stream, link.settings.metadata_ttl);
    Ok(stream)
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
async fn after(link: &Link, recent: &Recent, id: StreamId, expected: Option<u64>) -> Result<u64> {
    match expected {
        Some(version) => Ok(version + 1),
        None => Ok(describe_one(link, recent, id).await?.property_version),
    }
}

/// Changes tags and collection.
pub(super) async fn set_tags(link: &Link, recent: &Recent, update: TagUpdate) -> Result<u64> {
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
    recent.forget(id);
    answer.map_err(|failure| failure.of_change(format_args!("stream {id} has the new tags")))?;
    after(link, recent, id, update.expected).await
}

/// Changes annotations.
pub(super) async fn set_annotations(
    link: &Link,
    recent: &Recent,
    update: AnnotationUpdate,
) -> Result<u64> {
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
    recent.forget(id);
    answer.map_err(|failure| {
        failure.of_change(format_args!("stream {id} has the new annotations"))
    })?;
    after(link, recent, id, update.expected).await
}

/// Removes a stream for ever.
pub(super) async fn obliterate(link: &Link, recent: &Recent, id: StreamId) -> Result<()> {
    let ask = proto::ObliterateParams {
        uuid: streams::uuid(id),
    };
    let answer = link.ask::<Obliterate>(ask, Repeat::IfUnsent).await;
    recent.forget(id);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Annotations, Tags};

    fn stream(id: u128) -> Arc<StreamDescriptor> {
        Arc::new(StreamDescriptor {
            id: StreamId(uuid::Uuid::from_u128(id)),
            collection: "c".to_owned(),
            tags: Tags::default(),
            annotations: Annotations::new(),
            property_version: 1,
        })
    }

    const TTL: Duration = Duration::from_millis(250);

    #[tokio::test(start_paused = true)]
    async fn descriptions_are_kept_for_a_moment() {
        let (recent, stream) = (Recent::default(), stream(1));
        recent.keep(recent.now(), &stream, TTL);
        assert_eq!(recent.get(stream.id, TTL), Some(Arc::clone(&stream)));
        tokio::time::advance(TTL).await;
        assert_eq!(recent.get(stream.id, TTL), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_asked_before_a_change_is_not_kept_after_it() {
        let (recent, stream) = (Recent::default(), stream(1));
        let asked = recent.now();
        recent.forget(stream.id);
        recent.keep(asked, &stream, TTL);
        assert_eq!(recent.get(stream.id, TTL), None);
    }

    #[tokio::test(start_paused = true)]
    async fn they_are_not_kept_without_bound() {
        let recent = Recent::default();
        for id in 0..2 * RECENT_MAX as u128 {
            recent.keep(recent.now(), &stream(id), TTL);
        }
        assert_eq!(recent.state.lock().streams.len(), RECENT_MAX);
        tokio::time::advance(TTL).await;
        let last = stream(u128::MAX);
        recent.keep(recent.now(), &last, TTL);
        assert_eq!(recent.state.lock().streams.len(), 1, "old ones make room");
    }
}
