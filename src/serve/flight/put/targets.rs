//! The streams a put writes to: found, or created, as their names first appear.

use std::collections::HashMap;

use futures::{StreamExt, TryStreamExt, stream};
use uuid::Uuid;

use super::super::descriptor::{ambiguous, check_ids, find_one, unknown_stream};
use super::claims::Claims;
use super::columns::{Keys, Uuids};
use crate::backend::Backend;
use crate::error::{Code, Error, Result};
use crate::model::{CollectionMatch, StreamDescriptor, StreamFilter, StreamId, Tags};

/// Streams created at a time: enough for their commits to be grouped.
const CREATE_CONCURRENCY: usize = 256;

/// New names of one collection from which all its streams are looked up at once.
const LOOK_UP_ALL_FROM: usize = 8;

/// The streams of one put, each in a numbered slot.
pub(super) struct Targets {
    long: bool,
    create: bool,
    must_be_new: bool,
    slots: Vec<Slot>,
    by_id: HashMap<Uuid, usize>,
    /// By collection and name with a NUL between them, which no stored name has.
    by_name: HashMap<String, usize>,
    /// What rows say of the streams they name by uuid.
    claims: Claims,
    created_count: u64,
}

#[derive(Clone, Debug)]
enum Slot {
    Known(StreamId),
    /// A uuid that was not looked up yet.
    Unchecked(StreamId),
    /// A name that was not looked up yet.
    Named {
        collection: String,
        name: String,
        unit: String,
    },
}

impl Targets {
    /// One stream.
    pub(super) fn stream(id: StreamId) -> Self {
        Self::new(false, true, vec![Slot::Known(id)])
    }

    /// One stream, to be created with the first points; if it must be new, it is not if somebody else creates it meanwhile.
    pub(super) fn missing(collection: String, name: String, must_be_new: bool) -> Self {
        let slot = Slot::Named {
            collection,
            name,
            unit: String::new(),
        };
        Self {
            must_be_new,
            ..Self::new(false, true, vec![slot])
        }
    }

    /// The streams that the rows, or the columns, name.
    pub(super) fn long(create: bool) -> Self {
        Self::new(true, create, Vec::new())
    }

    fn new(long: bool, create: bool, slots: Vec<Slot>) -> Self {
        Self {
            long,
            create,
            must_be_new: false,
            slots,
            by_id: HashMap::new(),
            by_name: HashMap::new(),
            claims: Claims::default(),
            created_count: 0,
        }
    }

    /// Whether rows or columns name their streams.
    pub(super) fn is_long(&self) -> bool {
        self.long
    }

    /// How many streams were created.
    pub(super) fn created_count(&self) -> u64 {
        self.created_count
    }

    /// The stream in a slot that was resolved.
    pub(super) fn id(&self, slot: usize) -> Result<StreamId> {
        known(&self.slots, slot)
    }

    /// The rows in runs of one stream: its slot, and how many rows. Slots that are new must be resolved before they are used.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) naming the row whose uuid is none.
    pub(super) fn runs(
        &mut self,
        keys: &Keys,
        rows: usize,
        first: u64,
    ) -> Result<Vec<(usize, usize)>> {
        let mut runs: Vec<(usize, usize)> = Vec::new();
        let mut push = |slot: usize| match runs.last_mut() {
            Some((last, count)) if *last == slot => *count += 1,
            _ => runs.push((slot, 1)),
        };
        match keys {
            Keys::None => {
                return Ok(if rows == 0 {
                    Vec::new()
                } else {
                    vec![(0, rows)]
                });
            }
            Keys::Uuids(Uuids::Bytes(ids), said) => {
                for row in 0..rows {
                    let id = Uuid::from_slice(ids.value(row))
                        .map_err(|error| Error::internal(error.to_string()))?;
                    let slot = self.slot_of_id(id);
                    self.claims.note(slot, said, row, first + row as u64);
                    push(slot);
                }
            }
            Keys::Uuids(Uuids::Text(ids), said) => {
                let mut last: Option<(&str, usize)> = None;
                for row in 0..rows {
                    let text = ids.value(row);
                    let slot = match last {
                        Some((known, slot)) if known == text => slot,
                        _ => self.slot_of_id(parse(text, first + row as u64)?),
                    };
                    last = Some((text, slot));
                    self.claims.note(slot, said, row, first + row as u64);
                    push(slot);
                }
            }
            Keys::Named {
                collection,
                name,
                unit,
            } => {
                let mut key = String::new();
                for row in 0..rows {
                    let (collection, name) = (collection.value(row), name.value(row));
                    key.clear();
                    key.push_str(collection);
                    key.push('\0');
                    key.push_str(name);
                    let slot = match self.by_name.get(&key) {
                        Some(slot) => *slot,
                        None => {
                            let unit = unit.as_ref().map_or("", |unit| unit.value(row));
                            self.slot_of_name(&key, collection, name, unit)
                        }
                    };
                    push(slot);
                }
            }
        }
        Ok(runs)
    }

    /// The slots of streams that columns name, by uuid or by collection and name.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) for a column whose name is neither, or stands twice.
    pub(super) fn columns(&mut self, names: &[&str]) -> Result<Vec<usize>> {
        let mut slots = Vec::with_capacity(names.len());
        for column in names {
            let slot = match (Uuid::parse_str(column), column.rsplit_once('/')) {
                (Ok(id), _) => self.slot_of_id(id),
                (Err(_), Some((collection, name))) => {
                    let key = format!("{collection}\0{name}");
                    match self.by_name.get(&key) {
                        Some(slot) => *slot,
                        None => self.slot_of_name(&key, collection, name, ""),
                    }
                }
                (Err(_), None) => {
                    return Err(Error::invalid(format!(
                        "column \"{column}\" names no stream: columns beside time are named by uuid or collection/name"
                    ))
                    .with_code(Code::InvalidParameter));
                }
            };
            if slots.contains(&slot) {
                return Err(Error::invalid(format!("column \"{column}\" stands twice"))
                    .with_code(Code::InvalidParameter));
            }
            slots.push(slot);
        }
        Ok(slots)
    }

    fn slot_of_id(&mut self, id: Uuid) -> usize {
        let slots = &mut self.slots;
        *self.by_id.entry(id).or_insert_with(|| {
            slots.push(Slot::Unchecked(StreamId(id)));
            slots.len() - 1
        })
    }

    fn slot_of_name(&mut self, key: &str, collection: &str, name: &str, unit: &str) -> usize {
        self.slots.push(Slot::Named {
            collection: collection.to_owned(),
            name: name.to_owned(),
            unit: unit.to_owned(),
        });
        self.by_name.insert(key.to_owned(), self.slots.len() - 1);
        self.slots.len() - 1
    }

    /// Looks up the slots that are new, and creates what there is not, if that is wanted.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::error::ErrorKind::NotFound) for a uuid that there is not, or a name where nothing is to be created;
    /// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) for a row that is wrong about its stream.
    pub(super) async fn resolve(&mut self, backend: &dyn Backend) -> Result<()> {
        let mut ids = Vec::new();
        let mut named: HashMap<String, Vec<usize>> = HashMap::new();
        for (position, slot) in self.slots.iter().enumerate() {
            match slot {
                Slot::Known(_) => {}
                Slot::Unchecked(id) => ids.push((position, *id)),
                Slot::Named { collection, .. } => {
                    named.entry(collection.clone()).or_default().push(position);
                }
            }
        }
        if !ids.is_empty() {
            let wanted: Vec<_> = ids.iter().map(|(_, id)| *id).collect();
            check_ids(backend, &wanted).await?;
            for (position, id) in ids {
                self.slots[position] = Slot::Known(id);
            }
        }
        let slots = &self.slots;
        let known = |slot| known(slots, slot);
        self.claims.check(backend, known).await?;
        for (collection, positions) in named {
            self.find(backend, &collection, positions).await?;
        }
        Ok(())
    }

    async fn find(
        &mut self,
        backend: &dyn Backend,
        collection: &str,
        positions: Vec<usize>,
    ) -> Result<()> {
        let name_of = |slots: &[Slot], position: usize| match &slots[position] {
            Slot::Named { name, unit, .. } => (name.clone(), unit.clone()),
            Slot::Known(_) | Slot::Unchecked(_) => (String::new(), String::new()),
        };
        let mut known: HashMap<String, Vec<StreamId>> = HashMap::new();
        if positions.len() >= LOOK_UP_ALL_FROM {
            let all = StreamFilter::collection(CollectionMatch::Exact(collection.to_owned()));
            for stream in backend.find(all).await? {
                known
                    .entry(stream.tags.name.clone())
                    .or_default()
                    .push(stream.id);
            }
        } else {
            for position in &positions {
                let (name, _) = name_of(&self.slots, *position);
                let found = backend.find(StreamFilter::path(collection, &name)).await?;
                known.insert(name, found.iter().map(|stream| stream.id).collect());
            }
        }
        let mut missing = Vec::new();
        for position in positions {
            let (name, unit) = name_of(&self.slots, position);
            match known.get(&name).map_or(&[][..], Vec::as_slice) {
                [id] => self.slots[position] = Slot::Known(*id),
                [] if self.create => missing.push((position, name, unit)),
                [] => return Err(unknown_stream(collection, &name)),
                several => return Err(ambiguous(collection, &name, several)),
            }
        }
        let must_be_new = self.must_be_new;
        let mut created = stream::iter(missing)
            .map(|(position, name, unit)| async move {
                create(backend, collection, name, unit, must_be_new)
                    .await
                    .map(|outcome| (position, outcome))
            })
            .buffer_unordered(CREATE_CONCURRENCY);
        while let Some((position, (id, is_new))) = created.try_next().await? {
            self.slots[position] = Slot::Known(id);
            self.created_count += u64::from(is_new);
        }
        Ok(())
    }
}

fn known(slots: &[Slot], slot: usize) -> Result<StreamId> {
    match &slots[slot] {
        Slot::Known(id) => Ok(*id),
        other => Err(Error::internal(format!(
            "stream {other:?} was not looked up"
        ))),
    }
}

/// The new stream, or the one that another client created at the same time unless it must be new.
async fn create(
    backend: &dyn Backend,
    collection: &str,
    name: String,
    unit: String,
    must_be_new: bool,
) -> Result<(StreamId, bool)> {
    let id = StreamId(Uuid::new_v4());
    let stream = StreamDescriptor {
        id,
        collection: collection.to_owned(),
        tags: Tags {
            name: name.clone(),
            unit,
            ..Tags::default()
        },
        annotations: Default::default(),
        property_version: 1,
    };
    match backend.create(stream).await {
        Ok(()) => Ok((id, true)),
        Err(error) if error.code() == Some(Code::AmbiguousStream) && !must_be_new => {
            match find_one(backend, collection, &name).await? {
                Some(stream) => Ok((stream.id, false)),
                None => Err(error),
            }
        }
        Err(error) => Err(error),
    }
}

fn parse(text: &str, row: u64) -> Result<Uuid> {
    Uuid::parse_str(text).map_err(|_| {
        Error::invalid(format!(
            "column \"uuid\", row {row}: \"{}\" is not a uuid",
            text.escape_debug()
        ))
        .with_code(Code::InvalidParameter)
    })
}
