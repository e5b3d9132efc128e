//! What a log entry says: one record a mutation, or a piece of housekeeping.
//!
//! Consecutive small mutations share one group of columns, which is what makes a point of one of ten thousand streams cost
//! about as much as it says.

use super::super::block::{MarkRef, get_refs, put_refs};
use super::super::codec::wire::{Reader, put_bytes, put_varint, put_zigzag};
use super::super::codec::{Damage, decode_floats, encode_floats, encode_ints};
use super::super::marks::Spill;
use super::super::tree::{Address, Link, Slot};
use crate::engine::block::ints;
use crate::model::{Annotations, Stat, StreamDescriptor, StreamId, Tags, Version};

/// One record.
#[derive(Clone, Debug)]
pub(crate) enum Record {
    /// A stream with this number.
    Create(u32, StreamDescriptor),
    /// Its properties as they are from now on.
    Properties(u32, StreamDescriptor),
    /// It is gone, and its uuid with it.
    Obliterate(u32),
    /// A mutation: points beside the tree, sorted.
    Run {
        stream: u32,
        times: Vec<i64>,
        values: Vec<f64>,
    },
    /// A mutation: the tree with the live runs and more points after them.
    Grown {
        stream: u32,
        root: Slot,
        last_time: i64,
    },
    /// A mutation: another tree.
    Replaced {
        stream: u32,
        folded: Option<Slot>,
        runs: Option<Address>,
        root: Option<Slot>,
        last_time: Option<i64>,
    },
    /// Live runs moved into the tree.
    Folded {
        stream: u32,
        upto: Version,
        root: Slot,
        runs: Option<Address>,
    },
    /// Marks written out.
    Spilled { stream: u32, spill: Spill },
    /// A segment that records from here on refer to.
    Segment { id: u32, epoch: u64, bytes: u64 },
    /// The writer ended in good order.
    Closed,
}

const RUNS: u8 = 1;
const CREATE: u8 = 2;
const PROPERTIES: u8 = 3;
const OBLITERATE: u8 = 4;
const GROWN: u8 = 5;
const REPLACED: u8 = 6;
const FOLDED: u8 = 7;
const SPILLED: u8 = 8;
const SEGMENT: u8 = 9;
const CLOSED: u8 = 10;

/// Collects the records of an entry.
#[derive(Debug, Default)]
pub(crate) struct Records {
    bytes: Vec<u8>,
    streams: Vec<i64>,
    counts: Vec<i64>,
    times: Vec<i64>,
    values: Vec<f64>,
    mutations: u64,
}

impl Records {
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.streams.is_empty()
    }

    /// Mutations of streams among the records.
    pub(crate) fn mutations(&self) -> u64 {
        self.mutations
    }

    /// Adds a small mutation.
    pub(crate) fn push_run(&mut self, stream: u32, times: &[i64], values: &[f64]) {
        self.mutations += 1;
        self.streams.push(stream.into());
        self.counts.push(times.len() as i64);
        self.times.extend_from_slice(times);
        self.values.extend_from_slice(values);
    }

    pub(crate) fn push(&mut self, record: &Record) {
        if let Record::Run {
            stream,
            times,
            values,
        } = record
        {
            return self.push_run(*stream, times, values);
        }
        if matches!(record, Record::Grown { .. } | Record::Replaced { .. }) {
            self.mutations += 1;
        }
        self.flush();
        put_record(record, &mut self.bytes);
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.flush();
        self.bytes
    }

    fn flush(&mut self) {
        if self.streams.is_empty() {
            return;
        }
        let out = &mut self.bytes;
        out.push(RUNS);
        put_varint(out, self.streams.len() as u64);
        put_varint(out, self.times.len() as u64);
        encode_ints(&self.streams, out);
        encode_ints(&self.counts, out);
        encode_ints(&self.times, out);
        encode_floats(&self.values, out);
        self.streams.clear();
        self.counts.clear();
        self.times.clear();
        self.values.clear();
    }
}

fn put_record(record: &Record, out: &mut Vec<u8>) {
    let mut head = |kind: u8, stream: u32| {
        out.push(kind);
        put_varint(out, stream.into());
    };
    match record {
        // These go through their group of columns.
        Record::Run { .. } => {}
        Record::Create(stream, descriptor) => {
            head(CREATE, *stream);
            put_descriptor(descriptor, out);
        }
        Record::Properties(stream, descriptor) => {
            head(PROPERTIES, *stream);
            put_descriptor(descriptor, out);
        }
        Record::Obliterate(stream) => head(OBLITERATE, *stream),
        Record::Grown {
            stream,
            root,
            last_time,
        } => {
            head(GROWN, *stream);
            put_slot(root, out);
            put_zigzag(out, *last_time);
        }
        Record::Replaced {
            stream,
            folded,
            runs,
            root,
            last_time,
        } => {
            head(REPLACED, *stream);
            put_option(folded.as_ref(), out, put_slot);
            put_option(runs.as_ref(), out, put_address);
            put_option(root.as_ref(), out, put_slot);
            put_option(last_time.as_ref(), out, |time, out| put_zigzag(out, *time));
        }
        Record::Folded {
            stream,
            upto,
            root,
            runs,
        } => {
            head(FOLDED, *stream);
            put_varint(out, upto.0);
            put_slot(root, out);
            put_option(runs.as_ref(), out, put_address);
        }
        Record::Spilled { stream, spill } => {
            head(SPILLED, *stream);
            put_varint(out, spill.len() as u64);
            for (level, _) in spill {
                out.push(*level);
            }
            let refs: Vec<MarkRef> = spill.iter().map(|&(_, mark)| mark).collect();
            put_refs(&refs, out);
        }
        Record::Segment { id, epoch, bytes } => {
            head(SEGMENT, *id);
            put_varint(out, *epoch);
            put_varint(out, *bytes);
        }
        Record::Closed => out.push(CLOSED),
    }
}

/// Reads records to their end, handing each to `each`.
pub(crate) fn read_records<E: From<Damage>>(
    content: &[u8],
    mut each: impl FnMut(Record) -> Result<(), E>,
) -> Result<(), E> {
    let mut reader = Reader::new(content);
    while !reader.is_empty() {
        match reader.u8()? {
            RUNS => read_runs(&mut reader, &mut each)?,
            kind => each(get_record(kind, &mut reader)?)?,
        }
    }
    Ok(())
}

fn read_runs<E: From<Damage>>(
    reader: &mut Reader<'_>,
    each: &mut impl FnMut(Record) -> Result<(), E>,
) -> Result<(), E> {
    let count = length(reader)?;
    let points = length(reader)?;
    let streams = ints(reader, count)?;
    let counts = ints(reader, count)?;
    let times = ints(reader, points)?;
    let mut values = Vec::with_capacity(times.len());
    decode_floats(&mut reader.rest, points, &mut values)?;
    let damage = Damage("mutations do not fit their points");
    let mut start = 0_usize;
    for (stream, count) in streams.into_iter().zip(counts) {
        let end = usize::try_from(count)
            .ok()
            .filter(|&count| count > 0)
            .and_then(|count| start.checked_add(count))
            .filter(|&end| end <= points)
            .ok_or(damage)?;
        each(Record::Run {
            stream: u32::try_from(stream).map_err(|_| damage)?,
            times: times[start..end].to_vec(),
            values: values[start..end].to_vec(),
        })?;
        start = end;
    }
    if start != points {
        return Err(damage.into());
    }
    Ok(())
}

fn get_record(kind: u8, reader: &mut Reader<'_>) -> Result<Record, Damage> {
    if kind == CLOSED {
        return Ok(Record::Closed);
    }
    let number = small_number(reader)?;
    let stream = number;
    Ok(match kind {
        CREATE => Record::Create(stream, get_descriptor(reader)?),
        PROPERTIES => Record::Properties(stream, get_descriptor(reader)?),
        OBLITERATE => Record::Obliterate(stream),
        GROWN => Record::Grown {
            stream,
            root: get_slot(reader)?,
            last_time: reader.zigzag()?,
        },
        REPLACED => Record::Replaced {
            stream,
            folded: get_option(reader, get_slot)?,
            runs: get_option(reader, get_address)?,
            root: get_option(reader, get_slot)?,
            last_time: get_option(reader, Reader::zigzag)?,
        },
        FOLDED => Record::Folded {
            stream,
            upto: Version(reader.varint()?),
            root: get_slot(reader)?,
            runs: get_option(reader, get_address)?,
        },
        SPILLED => {
            let count = length(reader)?;
            let levels = reader.take(count)?.to_vec();
            let refs = get_refs(reader)?;
            if refs.len() != count || levels.iter().any(|&level| level > 10) {
                return Err(Damage("spilled marks do not fit their levels"));
            }
            Record::Spilled {
                stream,
                spill: levels.into_iter().zip(refs).collect(),
            }
        }
        SEGMENT => Record::Segment {
            id: number,
            epoch: reader.varint()?,
            bytes: reader.varint()?,
        },
        _ => return Err(Damage("record is of no known kind")),
    })
}

/// The number of a stream or segment: another can come after it.
pub(crate) fn small_number(reader: &mut Reader<'_>) -> Result<u32, Damage> {
    u32::try_from(reader.varint()?)
        .ok()
        .filter(|&number| number < u32::MAX)
        .ok_or(Damage("number is out of bounds"))
}

fn length(reader: &mut Reader<'_>) -> Result<usize, Damage> {
    usize::try_from(reader.varint()?).map_err(|_| Damage("length is out of bounds"))
}

/// Appends a slot over an inner node in the store, or over nothing.
pub(crate) fn put_slot(slot: &Slot, out: &mut Vec<u8>) {
    let address = match slot.link {
        Some(Link::Inner(address)) => Some(address),
        _ => None,
    };
    put_option(address.as_ref(), out, put_address);
    put_varint(out, slot.generation.0);
    put_varint(out, slot.stat.count);
    let stat = &slot.stat;
    for value in [
        stat.min,
        stat.max,
        stat.mean,
        stat.m2,
        stat.sum,
        stat.sum_error,
    ] {
        out.extend_from_slice(&value.to_le_bytes());
    }
}

/// A slot.
pub(crate) fn get_slot(reader: &mut Reader<'_>) -> Result<Slot, Damage> {
    let link = get_option(reader, get_address)?.map(Link::Inner);
    let generation = Version(reader.varint()?);
    let stat = Stat {
        count: reader.varint()?,
        min: reader.f64()?,
        max: reader.f64()?,
        mean: reader.f64()?,
        m2: reader.f64()?,
        sum: reader.f64()?,
        sum_error: reader.f64()?,
    };
    Ok(Slot {
        generation,
        stat,
        link,
    })
}

/// Appends an address.
pub(crate) fn put_address(address: &Address, out: &mut Vec<u8>) {
    for part in [address.segment, address.offset, address.length] {
        put_varint(out, part.into());
    }
}

/// An address.
pub(crate) fn get_address(reader: &mut Reader<'_>) -> Result<Address, Damage> {
    let mut part =
        || u32::try_from(reader.varint()?).map_err(|_| Damage("address is out of bounds"));
    Ok(Address {
        segment: part()?,
        offset: part()?,
        length: part()?,
    })
}

/// Appends a byte that says whether there is one, and it.
pub(crate) fn put_option<T>(
    value: Option<&T>,
    out: &mut Vec<u8>,
    put: impl FnOnce(&T, &mut Vec<u8>),
) {
    out.push(value.is_some().into());
    if let Some(value) = value {
        put(value, out);
    }
}

/// What [`put_option`] appended.
pub(crate) fn get_option<'a, T>(
    reader: &mut Reader<'a>,
    get: impl FnOnce(&mut Reader<'a>) -> Result<T, Damage>,
) -> Result<Option<T>, Damage> {
    match reader.u8()? {
        0 => Ok(None),
        1 => get(reader).map(Some),
        _ => Err(Damage("neither there nor not")),
    }
}

/// Appends a descriptor.
pub(crate) fn put_descriptor(stream: &StreamDescriptor, out: &mut Vec<u8>) {
    out.extend_from_slice(stream.id.0.as_bytes());
    put_varint(out, stream.property_version);
    let tags = &stream.tags;
    for text in [
        &stream.collection,
        &tags.name,
        &tags.unit,
        &tags.ingress,
        &tags.distiller,
    ] {
        put_bytes(out, text.as_bytes());
    }
    put_varint(out, stream.annotations.len() as u64);
    for (key, value) in &stream.annotations {
        put_bytes(out, key.as_bytes());
        put_option(value.as_ref(), out, |value, out| {
            put_bytes(out, value.as_bytes());
        });
    }
}

/// A descriptor.
pub(crate) fn get_descriptor(reader: &mut Reader<'_>) -> Result<StreamDescriptor, Damage> {
    let id = uuid::Uuid::from_slice(reader.take(16)?).map_err(|_| Damage("not a uuid"))?;
    let property_version = reader.varint()?;
    let mut text = || reader.text().map(str::to_owned);
    let collection = text()?;
    let tags = Tags {
        name: text()?,
        unit: text()?,
        ingress: text()?,
        distiller: text()?,
    };
    let count = reader.varint()?;
    let mut annotations = Annotations::new();
    for _ in 0..count {
        let key = reader.text()?.to_owned();
        let value = get_option(reader, |reader| reader.text().map(str::to_owned))?;
        annotations.insert(key, value);
    }
    Ok(StreamDescriptor {
        id: StreamId(id),
        collection,
        tags,
        annotations,
        property_version,
    })
}
