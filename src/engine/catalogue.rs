//! Which streams there are, and what they are called.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use parking_lot::{Mutex, RwLock};

use super::history::History;
use crate::error::{Code, Error, ErrorKind, Result};
use crate::model::stream::{check_annotation, check_collection, check_tag};
use crate::model::{
    AnnotationUpdate, CollectionMatch, MetadataUsage, StreamDescriptor, StreamFilter, StreamId,
    TagKey, TagUpdate, Tags,
};

/// One stream: its history, and the lock under which its mutations are worked out.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) id: StreamId,
    /// What the store's bytes call it: never used twice.
    pub(crate) number: u32,
    /// Held while a mutation is worked out and sequenced, which may need nodes from the store.
    pub(crate) writing: Arc<tokio::sync::Mutex<()>>,
    /// Whether it waits to be folded.
    pub(crate) fold_is_due: AtomicBool,
    /// Whether a damaged tree keeps it from being folded.
    pub(crate) cannot_fold: AtomicBool,
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
    by_number: HashMap<u32, StreamId>,
    next_number: u32,
}

/// Everything about the streams of a store at one moment.
#[derive(Debug)]
pub(crate) struct Captured {
    pub(crate) streams: Vec<(u32, Arc<StreamDescriptor>, History)>,
    pub(crate) burned: Vec<StreamId>,
    pub(crate) next_number: u32,
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

    /// Adds a stream; answers its number.
    pub(crate) fn create(&self, stream: &StreamDescriptor) -> Result<u32> {
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
        names.claim(stream)?;
        let number = names.next_number;
        names.add(number, stream.clone(), History::default());
        Ok(number)
    }

    /// Adds a stream as it was recorded.
    pub(crate) fn restore(&self, number: u32, stream: StreamDescriptor, history: History) {
        let mut names = self.names.write();
        names.by_name.insert(name_of(&stream), stream.id);
        names.add(number, stream, history);
    }

    /// Burns uuids and numbers as they were recorded.
    pub(crate) fn restore_burned(&self, burned: Vec<StreamId>, next_number: u32) {
        let mut names = self.names.write();
        names.burned.extend(burned);
        names.next_number = names.next_number.max(next_number);
    }

    /// Sets properties as they were recorded; answers whether there is such a stream.
    pub(crate) fn restore_properties(&self, number: u32, stream: StreamDescriptor) -> bool {
        let mut names = self.names.write();
        let Some((_, known)) = names.streams.get(&stream.id) else {
            return false;
        };
        let before = name_of(known);
        names.by_name.remove(&before);
        names.by_name.insert(name_of(&stream), stream.id);
        let id = stream.id;
        if let Some((_, entry)) = names.streams.get_mut(&id) {
            *entry = Arc::new(stream);
        }
        names.by_number.get(&number) == Some(&id)
    }

    /// Removes a stream, of which nobody works out a mutation.
    pub(crate) fn remove(&self, id: StreamId) -> Result<()> {
        let mut names = self.names.write();
        let (stream, known) = names
            .streams
            .remove(&id)
            .ok_or_else(|| no_such_stream(id))?;
        names.by_name.remove(&name_of(&known));
        names.by_number.remove(&stream.number);
        names.burned.insert(id);
        *stream.history.lock() = None;
        Ok(())
    }

    /// The stream with this number.
    pub(crate) fn by_number(&self, number: u32) -> Option<Arc<Stream>> {
        let names = self.names.read();
        let id = names.by_number.get(&number)?;
        names.streams.get(id).map(|(stream, _)| Arc::clone(stream))
    }

    /// Every stream, ascending by uuid.
    pub(crate) fn all(&self) -> Vec<Arc<Stream>> {
        let names = self.names.read();
        let mut all: Vec<_> = names
            .streams
            .values()
            .map(|(stream, _)| Arc::clone(stream))
            .collect();
        all.sort_by_key(|stream| stream.id);
        all
    }

    /// Everything, for a checkpoint.
    pub(crate) fn capture(&self) -> Captured {
        let names = self.names.read();
        let mut streams: Vec<_> = names
            .streams
            .values()
            .filter_map(|(stream, known)| {
                let history = stream.history.lock().clone()?;
                Some((stream.number, Arc::clone(known), history))
            })
            .collect();
        streams.sort_by_key(|&(number, ..)| number);
        let mut burned: Vec<_> = names.burned.iter().copied().collect();
        burned.sort_unstable();
        Captured {
            streams,
            burned,
            next_number: names.next_number,
        }
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

    pub(crate) fn set_tags(&self, update: TagUpdate) -> Result<(u32, Arc<StreamDescriptor>)> {
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

    pub(crate) fn set_annotations(
        &self,
        update: AnnotationUpdate,
    ) -> Result<(u32, Arc<StreamDescriptor>)> {
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
    ) -> Result<(u32, Arc<StreamDescriptor>)> {
        let mut names = self.names.write();
        let (stream, known) = names.streams.get(&id).ok_or_else(|| no_such_stream(id))?;
        let (number, known) = (stream.number, Arc::clone(known));
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
        if name_of(&changed) != name_of(&known) {
            names.claim(&changed)?;
            names.by_name.remove(&name_of(&known));
        }
        let changed = Arc::new(changed);
        if let Some((_, entry)) = names.streams.get_mut(&id) {
            *entry = Arc::clone(&changed);
        }
        Ok((number, changed))
    }
}

impl Names {
    fn add(&mut self, number: u32, stream: StreamDescriptor, history: History) {
        let cell = Arc::new(Stream {
            id: stream.id,
            number,
            writing: Arc::default(),
            fold_is_due: AtomicBool::new(false),
            cannot_fold: AtomicBool::new(false),
            history: Mutex::new(Some(history)),
        });
        self.next_number = self.next_number.max(number + 1);
        self.by_number.insert(number, stream.id);
        self.streams.insert(stream.id, (cell, Arc::new(stream)));
    }

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

pub(crate) fn no_such_stream(id: StreamId) -> Error {
    // BTrDB's exact words; which stream it was is the cause.
    Error::not_found("stream does not exist")
        .with_code(Code::NoSuchStream)
        .with_source(format!("no stream has uuid {id}"))
}
