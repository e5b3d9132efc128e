//! The streams that rows of points name: looked up as they first appear, and never created.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, StringViewArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;

use crate::backend::Backend;
use crate::error::{Code, Error, ErrorKind, Result};
use crate::model::{CollectionMatch, StreamDescriptor, StreamFilter, StreamId};

/// New names of one collection from which all its streams are looked up at once.
const LOOK_UP_ALL_FROM: usize = 8;

/// How a row names its stream. Whatever else it says of it must be true.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Key<'a> {
    uuid: Option<&'a str>,
    collection: Option<&'a str>,
    name: Option<&'a str>,
    unit: Option<&'a str>,
}

/// A [`Key`] that was not looked up yet, and the row that has it.
struct Wanted {
    slot: usize,
    row: u64,
    uuid: Option<String>,
    collection: Option<String>,
    name: Option<String>,
    unit: Option<String>,
}

/// The columns that name streams.
struct Keys {
    uuid: Option<StringViewArray>,
    collection: Option<StringViewArray>,
    name: Option<StringViewArray>,
    unit: Option<StringViewArray>,
}

/// The streams of a statement, each key in a numbered slot.
#[derive(Default)]
pub(super) struct Targets {
    ids: Vec<StreamId>,
    slots: HashMap<String, usize>,
}

impl Targets {
    /// The rows of `batch` in runs of one stream, and how many rows each has; `first` is the number of its first row.
    ///
    /// # Errors
    /// Invalid for rows that name no stream or contradict themselves, NotFound for streams that there are not.
    pub(super) async fn runs(
        &mut self,
        backend: &dyn Backend,
        batch: &RecordBatch,
        first: u64,
    ) -> Result<Vec<(StreamId, usize)>> {
        let keys = Keys::of(batch)?;
        let (runs, wanted) = self.slots_of(&keys, batch.num_rows(), first);
        self.look_up(backend, wanted).await?;
        let runs = runs.into_iter();
        Ok(runs.map(|(slot, rows)| (self.ids[slot], rows)).collect())
    }

    fn slots_of(
        &mut self,
        keys: &Keys,
        rows: usize,
        first: u64,
    ) -> (Vec<(usize, usize)>, Vec<Wanted>) {
        let mut runs: Vec<(usize, usize)> = Vec::new();
        let mut wanted = Vec::new();
        let mut last: Option<Key<'_>> = None;
        for row in 0..rows {
            let key = keys.row(row);
            if let (true, Some(run)) = (last == Some(key), runs.last_mut()) {
                run.1 += 1;
                continue;
            }
            last = Some(key);
            let next = self.slots.len();
            let slot = *self.slots.entry(key.text()).or_insert_with(|| {
                wanted.push(key.wanted(next, first + row as u64));
                next
            });
            runs.push((slot, 1));
        }
        (runs, wanted)
    }

    async fn look_up(&mut self, backend: &dyn Backend, wanted: Vec<Wanted>) -> Result<()> {
        self.ids
            .resize(self.slots.len(), StreamId(uuid::Uuid::nil()));
        let (by_uuid, by_path): (Vec<Wanted>, Vec<Wanted>) =
            wanted.into_iter().partition(|key| key.uuid.is_some());
        self.look_up_uuids(backend, by_uuid).await?;
        let mut collections: HashMap<String, Vec<Wanted>> = HashMap::new();
        for key in by_path {
            let (Some(collection), Some(_)) = (&key.collection, &key.name) else {
                return Err(invalid(
                    key.row,
                    "it does not say which stream its point belongs to: give uuid, or collection and name",
                ));
            };
            let collection = collection.clone();
            collections.entry(collection).or_default().push(key);
        }
        for (collection, keys) in collections {
            self.look_up_paths(backend, &collection, keys).await?;
        }
        Ok(())
    }

    async fn look_up_uuids(&mut self, backend: &dyn Backend, wanted: Vec<Wanted>) -> Result<()> {
        if wanted.is_empty() {
            return Ok(());
        }
        let mut ids = Vec::with_capacity(wanted.len());
        for key in &wanted {
            let text = key.uuid.as_deref().unwrap_or_default();
            let id: StreamId = text.parse().map_err(|_| {
                let text = text.escape_debug();
                invalid(key.row, format!("\"{text}\" is not a uuid"))
            })?;
            ids.push(id);
        }
        let streams = match backend.describe(&ids).await {
            Ok(streams) => streams,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(first_missing(backend, &ids, &wanted, error).await);
            }
            Err(error) => return Err(error),
        };
        for (key, stream) in wanted.iter().zip(streams) {
            if !key.is_true_of(&stream) {
                return Err(invalid(
                    key.row,
                    format!(
                        "stream {} is {}, unit \"{}\", and the row says otherwise: leave out collection, name and unit, or the \
                         uuid",
                        stream.id,
                        stream.path(),
                        stream.tags.unit
                    ),
                ));
            }
            self.ids[key.slot] = stream.id;
        }
        Ok(())
    }

    async fn look_up_paths(
        &mut self,
        backend: &dyn Backend,
        collection: &str,
        wanted: Vec<Wanted>,
    ) -> Result<()> {
        let at_once = wanted.len() >= LOOK_UP_ALL_FROM;
        let mut known: HashMap<String, Vec<Arc<StreamDescriptor>>> = HashMap::new();
        if at_once {
            let exact = CollectionMatch::Exact(collection.to_owned());
            for stream in backend.find(StreamFilter::collection(exact)).await? {
                let name = stream.tags.name.clone();
                known.entry(name).or_default().push(stream);
            }
        }
        for key in wanted {
            let name = key.name.as_deref().unwrap_or_default();
            if !at_once {
                let streams = backend.find(StreamFilter::path(collection, name)).await?;
                known.insert(name.to_owned(), streams);
            }
            let candidates = known.get(name).into_iter().flatten();
            let mut found: Vec<StreamId> = candidates
                .filter(|stream| key.is_true_of(stream))
                .map(|stream| stream.id)
                .collect();
            match (found.pop(), found.as_slice()) {
                (Some(id), []) => self.ids[key.slot] = id,
                (None, _) => return Err(no_such_path(&key, collection, name)),
                (Some(last), others) => {
                    let mut uuids: Vec<String> = others.iter().map(StreamId::to_string).collect();
                    uuids.push(last.to_string());
                    return Err(Error::invalid(format!(
                        "row {}: stream {collection}/{name} is ambiguous, {} streams have that name; use a uuid: {}",
                        key.row,
                        uuids.len(),
                        uuids.join(", ")
                    ))
                    .with_code(Code::AmbiguousStream));
                }
            }
        }
        Ok(())
    }
}

fn no_such_path(key: &Wanted, collection: &str, name: &str) -> Error {
    let unit = match &key.unit {
        Some(unit) => format!(" with unit \"{unit}\""),
        None => String::new(),
    };
    Error::not_found(format!(
        "row {}: there is no stream {collection}/{name}{unit}: INSERT INTO points creates none, INSERT INTO streams does",
        key.row
    ))
    .with_code(Code::NoSuchStream)
}

/// The error for uuids of which one is of no stream: which, BTrDB does not say.
async fn first_missing(
    backend: &dyn Backend,
    ids: &[StreamId],
    wanted: &[Wanted],
    error: Error,
) -> Error {
    for (id, key) in ids.iter().zip(wanted) {
        match backend.describe(&[*id]).await {
            Ok(_) => {}
            Err(one) if one.kind() == ErrorKind::NotFound => {
                return Error::not_found(format!(
                    "row {}: no stream has the uuid {id}: INSERT INTO points creates none, INSERT INTO streams does",
                    key.row
                ))
                .with_code(Code::NoSuchStream)
                .with_source(one);
            }
            Err(other) => return other,
        }
    }
    error
}

fn invalid(row: u64, message: impl AsRef<str>) -> Error {
    Error::invalid(format!("row {row}: {}", message.as_ref())).with_code(Code::InvalidParameter)
}

impl Keys {
    fn of(batch: &RecordBatch) -> Result<Self> {
        let column = |name: &str| {
            let Some(column) = batch.column_by_name(name) else {
                return Ok(None);
            };
            let text = cast(column, &DataType::Utf8View)
                .map_err(|error| Error::invalid(format!("column {name}: {error}")))?;
            Ok::<_, Error>(Some(text.as_string_view().clone()))
        };
        Ok(Self {
            uuid: column("uuid")?,
            collection: column("collection")?,
            name: column("name")?,
            unit: column("unit")?,
        })
    }

    fn row(&self, row: usize) -> Key<'_> {
        Key {
            uuid: text_at(self.uuid.as_ref(), row),
            collection: text_at(self.collection.as_ref(), row),
            name: text_at(self.name.as_ref(), row),
            unit: text_at(self.unit.as_ref(), row),
        }
    }
}

fn text_at(column: Option<&StringViewArray>, row: usize) -> Option<&str> {
    column
        .filter(|column| column.is_valid(row))
        .map(|column| column.value(row))
}

impl Key<'_> {
    /// A text that no other key has: no stored name holds a NUL.
    fn text(&self) -> String {
        let mut text = String::new();
        for part in [self.uuid, self.collection, self.name, self.unit] {
            match part {
                Some(part) => text.push_str(part),
                None => text.push('\0'),
            }
            text.push('\0');
        }
        text
    }

    fn wanted(&self, slot: usize, row: u64) -> Wanted {
        Wanted {
            slot,
            row,
            uuid: self.uuid.map(str::to_owned),
            collection: self.collection.map(str::to_owned),
            name: self.name.map(str::to_owned),
            unit: self.unit.map(str::to_owned),
        }
    }
}

impl Wanted {
    /// Whether what the row says of its stream is so.
    fn is_true_of(&self, stream: &StreamDescriptor) -> bool {
        let agrees =
            |said: &Option<String>, is: &str| said.as_deref().is_none_or(|said| said == is);
        agrees(&self.collection, &stream.collection)
            && agrees(&self.name, &stream.tags.name)
            && agrees(&self.unit, &stream.tags.unit)
    }
}
