//! Which streams there are, and what they are called.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use super::history::{History, View};
use crate::error::{Code, Error, ErrorKind, Result};
use crate::model::stream::{check_annotation, check_collection, check_tag};
use crate::model::{
    AnnotationUpdate, CollectionMatch, MetadataUsage, Snapshot, StreamDescriptor, StreamFilter,
    StreamId, StreamRead, TagKey, TagUpdate, Tags, Version,
};

/// One stream: its history, and the lock under which its mutations are worked out.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) id: StreamId,
    /// Held while a mutation is worked out and made visible. Taken before `history`, never after it.
    pub(crate) writing: Mutex<()>,
    /// Held for moments; none once the stream is obliterated.
    history: Mutex<Option<History>>,
}

/// All streams of a store.
#[derive(Debug, Default)]
pub(crate) struct Catalogue {
    names: RwLock<Names>,
}

#[derive(Debug, Default)]
struct Names {
    streams: HashMap<StreamId, (Arc<Stream>, Arc<StreamDescriptor>)>,
    /// Every live stream under its unique name. The order is that of collections, then names.
    by_name: BTreeMap<(String, Tags), StreamId>,
    /// Uuids that may never be used again.
    burned: HashSet<StreamId>,
}

impl Stream {
    /// Works on the history.
    pub(crate) fn with_history<T>(&self, work: impl FnOnce(&mut History) -> T) -> Result<T> {
        self.history
            .lock()
            .as_mut()
            .map(work)
            .ok_or_else(|| no_such_stream(self.id))
    }

    /// The view that a read of the stream sees.
    pub(crate) fn view(&self, read: StreamRead, snapshot: Snapshot) -> Result<View> {
        self.with_history(|history| {
            let version = match (read.version, snapshot) {
                (Some(version), _) => version,
                (None, Snapshot::Latest) => history.latest(),
                (None, Snapshot::Commit(commit)) => history.version_at(commit),
            };
            history.view(version)
        })?
        .map_err(|error| {
            let message = format!("stream {}: {}", self.id, error.message());
            Error::new(error.kind(), message).with_code(Code::VersionNotAvailable)
        })
    }
}

impl Catalogue {
    pub(crate) fn len(&self) -> usize {
        self.names.read().streams.len()
    }

    pub(crate) fn stream(&self, id: StreamId) -> Result<Arc<Stream>> {
        let names = self.names.read();
        names
            .streams
            .get(&id)
            .map(|(stream, _)| Arc::clone(stream))
            .ok_or_else(|| no_such_stream(id))
    }

    pub(crate) fn describe(&self, ids: &[StreamId]) -> Result<Vec<Arc<StreamDescriptor>>> {
        let names = self.names.read();
        ids.iter()
            .map(|&id| {
                names
                    .streams
                    .get(&id)
                    .map(|(_, known)| Arc::clone(known))
                    .ok_or_else(|| no_such_stream(id))
            })
            .collect()
    }

    pub(crate) fn create(&self, mut stream: StreamDescriptor) -> Result<()> {
        stream.check()?;
        stream.property_version = 1;
        let mut names = self.names.write();
        let id = stream.id;
        if names.streams.contains_key(&id) {
            let message = format!("a stream already exists with uuid {id}");
            return Err(Error::new(ErrorKind::Conflict, message).with_code(Code::SameStream));
        }
        if names.burned.contains(&id) {
            let message = format!("uuid \"{id}\" has been used before with a (now deleted) stream");
            return Err(Error::new(ErrorKind::Conflict, message).with_code(Code::ReusedUuid));
        }
        names.claim(&stream)?;
        let history = Mutex::new(Some(History::default()));
        let cell = Arc::new(Stream {
            id,
            writing: Mutex::new(()),
            history,
        });
        names.streams.insert(id, (cell, Arc::new(stream)));
        Ok(())
    }

    pub(crate) fn obliterate(&self, id: StreamId) -> Result<()> {
        let stream = self.stream(id)?;
        // A write that is under way finishes first, and none begins on what is about to go.
        let _writing = stream.writing.lock();
        let mut names = self.names.write();
        let (_, known) = names
            .streams
            .remove(&id)
            .ok_or_else(|| no_such_stream(id))?;
        names.by_name.remove(&name_of(&known));
        names.burned.insert(id);
        *stream.history.lock() = None;
        Ok(())
    }

    pub(crate) fn find(&self, filter: &StreamFilter) -> Vec<Arc<StreamDescriptor>> {
        let names = self.names.read();
        let mut found: Vec<_> = names
            .in_collections(&filter.collection, filter_name(filter))
            .filter_map(|id| names.streams.get(id))
            .map(|(_, known)| known)
            .filter(|known| filter.matches(known))
            .map(Arc::clone)
            .collect();
        found.sort_by(|a, b| {
            (&a.collection, &a.tags.name, a.id).cmp(&(&b.collection, &b.tags.name, b.id))
        });
        found
    }

    pub(crate) fn collections(&self, prefix: &str) -> Vec<String> {
        let names = self.names.read();
        let mut found: Vec<String> = Vec::new();
        let from = (
            Bound::Included((prefix.to_owned(), Tags::default())),
            Bound::Unbounded,
        );
        for (collection, _) in names.by_name.range(from).map(|(name, _)| name) {
            if !collection.starts_with(prefix) {
                break;
            }
            if found.last() != Some(collection) {
                found.push(collection.clone());
            }
        }
        found
    }

    pub(crate) fn metadata_usage(&self, prefix: &str) -> MetadataUsage {
        let streams = self.find(&StreamFilter::collection(CollectionMatch::Prefix(
            prefix.to_owned(),
        )));
        let mut annotations: BTreeMap<&str, u64> = BTreeMap::new();
        for key in streams.iter().flat_map(|stream| stream.annotations.keys()) {
            *annotations.entry(key).or_default() += 1;
        }
        MetadataUsage {
            // BTrDB answers the four keys with a count of 0, and so does this.
            tags: TagKey::ALL.map(|key| (key, 0)).to_vec(),
            annotations: annotations
                .into_iter()
                .map(|(key, count)| (key.to_owned(), count))
                .collect(),
        }
    }

    pub(crate) fn set_tags(&self, update: TagUpdate) -> Result<u64> {
        if let Some(collection) = &update.collection {
            check_collection(collection)?;
        }
        for (key, value) in &update.tags {
            check_tag(*key, value)?;
        }
        self.change(update.stream, update.expected, |known| {
            if let Some(collection) = update.collection {
                known.collection = collection;
            }
            for (key, value) in update.tags {
                known.tags.set(key, value);
            }
        })
    }

    pub(crate) fn set_annotations(&self, update: AnnotationUpdate) -> Result<u64> {
        for (key, value) in &update.changes {
            check_annotation(key, value.as_deref())?;
        }
        self.change(update.stream, update.expected, |known| {
            known.annotations.extend(update.changes);
            for key in &update.removals {
                known.annotations.remove(key);
            }
        })
    }

    /// Changes a descriptor, if its property version is the one expected and its new name is free.
    fn change(
        &self,
        id: StreamId,
        expected: Option<u64>,
        change: impl FnOnce(&mut StreamDescriptor),
    ) -> Result<u64> {
        let mut names = self.names.write();
        let (_, known) = names.streams.get(&id).ok_or_else(|| no_such_stream(id))?;
        let known = Arc::clone(known);
        if let Some(expected) = expected.filter(|&expected| expected != known.property_version) {
            let message = format!(
                "stream annotation version does not match: stream {id} has {}, expected was {expected}",
                known.property_version
            );
            return Err(
                Error::new(ErrorKind::Conflict, message).with_code(Code::AnnotationVersionMismatch)
            );
        }
        let mut changed = known.as_ref().clone();
        change(&mut changed);
        changed.property_version += 1;
        let property_version = changed.property_version;
        if name_of(&changed) != name_of(&known) {
            names.claim(&changed)?;
            names.by_name.remove(&name_of(&known));
        }
        if let Some((_, entry)) = names.streams.get_mut(&id) {
            *entry = Arc::new(changed);
        }
        Ok(property_version)
    }

    /// The versions that a read under `snapshot` sees.
    pub(crate) fn versions(&self, ids: &[StreamId], snapshot: Snapshot) -> Result<Vec<Version>> {
        let version_of = |history: &mut History| match snapshot {
            Snapshot::Latest => history.latest(),
            Snapshot::Commit(commit) => history.version_at(commit),
        };
        ids.iter()
            .map(|&id| self.stream(id)?.with_history(version_of))
            .collect()
    }
}

impl Names {
    /// Takes a name for a stream, if it is free.
    fn claim(&mut self, stream: &StreamDescriptor) -> Result<()> {
        let name = name_of(stream);
        if let Some(holder) = self.by_name.get(&name) {
            let message = format!(
                "a stream already exists in that collection with identical tags: {holder} is \"{}\"",
                stream.path()
            );
            return Err(Error::new(ErrorKind::Conflict, message).with_code(Code::AmbiguousStream));
        }
        self.by_name.insert(name, stream.id);
        Ok(())
    }

    /// Streams of the collections that match, those of one name only where both collection and name are given.
    fn in_collections<'a>(
        &'a self,
        collections: &'a CollectionMatch,
        name: Option<&'a str>,
    ) -> Box<dyn Iterator<Item = &'a StreamId> + 'a> {
        let from = |collection: &str, name: &str| {
            let tags = Tags {
                name: name.to_owned(),
                ..Tags::default()
            };
            self.by_name.range((
                Bound::Included((collection.to_owned(), tags)),
                Bound::Unbounded,
            ))
        };
        match (collections, name) {
            (CollectionMatch::Any, _) => Box::new(self.by_name.values()),
            (CollectionMatch::Prefix(prefix), _) => {
                let all = from(prefix, "").take_while(move |((collection, _), _)| {
                    collection.starts_with(prefix.as_str())
                });
                Box::new(all.map(|(_, id)| id))
            }
            (CollectionMatch::Exact(exact), None) => {
                let all =
                    from(exact, "").take_while(move |((collection, _), _)| collection == exact);
                Box::new(all.map(|(_, id)| id))
            }
            (CollectionMatch::Exact(exact), Some(name)) => {
                let all = from(exact, name).take_while(move |((collection, tags), _)| {
                    collection == exact && tags.name == name
                });
                Box::new(all.map(|(_, id)| id))
            }
        }
    }
}

fn name_of(stream: &StreamDescriptor) -> (String, Tags) {
    (stream.collection.clone(), stream.tags.clone())
}

fn filter_name(filter: &StreamFilter) -> Option<&str> {
    filter
        .tags
        .iter()
        .find_map(|(key, value)| value.as_deref().filter(|_| *key == TagKey::Name))
}

fn no_such_stream(id: StreamId) -> Error {
    // BTrDB's exact words; which stream it was is the cause.
    Error::not_found("stream does not exist")
        .with_code(Code::NoSuchStream)
        .with_source(format!("no stream has uuid {id}"))
}
