//! Segments: immutable objects full of blocks, and the writer that fills them.
//!
//! ```text
//! magic | block | block | ... | directory block | trailer
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use parking_lot::RwLock;

use super::block::{Directory, Entry, Kind, encode_inner, encode_trailer};
use super::tree::{Address, Inner};

/// How a segment begins.
pub(crate) const MAGIC: [u8; 8] = *b"BTRFSEG1";

/// A segment that has grown to this is closed, and the next one begun.
const SEGMENT_BYTES: usize = 32 << 20;

/// The name of a segment's object.
pub(crate) fn name(id: u32, epoch: u64) -> String {
    format!("data/{id:010}-{epoch:010}")
}

/// A segment ready to be put.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) id: u32,
    pub(crate) bytes: Bytes,
}

/// The segments that the log speaks of.
#[derive(Debug, Default)]
pub(crate) struct Segments {
    known: RwLock<BTreeMap<u32, SegmentInfo>>,
    /// The next free number.
    ids: Arc<AtomicU32>,
}

/// What is known of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentInfo {
    /// Of the writer that made it.
    pub(crate) epoch: u64,
    pub(crate) bytes: u64,
}

impl Segments {
    pub(crate) fn add(&self, id: u32, info: SegmentInfo) {
        self.known.write().insert(id, info);
        self.ids.fetch_max(id + 1, Ordering::Relaxed);
    }

    /// The name of the object.
    pub(crate) fn name(&self, id: u32) -> Option<String> {
        let known = self.known.read();
        known.get(&id).map(|info| name(id, info.epoch))
    }

    /// All of them, ascending.
    pub(crate) fn all(&self) -> Vec<(u32, SegmentInfo)> {
        let known = self.known.read();
        known.iter().map(|(&id, &info)| (id, info)).collect()
    }

    /// A writer of new ones.
    pub(crate) fn writer(&self) -> SegmentWriter {
        SegmentWriter {
            ids: Arc::clone(&self.ids),
            open: None,
            full: Vec::new(),
            nodes: Vec::new(),
        }
    }
}

/// Collects blocks into segments.
#[derive(Debug)]
pub(crate) struct SegmentWriter {
    ids: Arc<AtomicU32>,
    open: Option<Open>,
    full: Vec<Segment>,
    /// The inner nodes written: whoever wrote them will look at them next.
    nodes: Vec<(Address, Arc<Inner>)>,
}

#[derive(Debug)]
struct Open {
    id: u32,
    bytes: Vec<u8>,
    directory: Directory,
}

impl SegmentWriter {
    /// Adds the block that `encode` appends, sealed already.
    pub(crate) fn put(
        &mut self,
        kind: Kind,
        stream: u32,
        encode: impl FnOnce(&mut Vec<u8>),
    ) -> Address {
        let ids = &self.ids;
        let open = self.open.get_or_insert_with(|| Open {
            id: ids.fetch_add(1, Ordering::Relaxed),
            bytes: MAGIC.to_vec(),
            directory: Directory::default(),
        });
        let offset = open.bytes.len();
        encode(&mut open.bytes);
        let length = (open.bytes.len() - offset) as u32;
        open.directory.entries.push(Entry {
            kind,
            length,
            stream,
        });
        let address = Address {
            segment: open.id,
            offset: offset as u32,
            length,
        };
        if open.bytes.len() >= SEGMENT_BYTES {
            self.close();
        }
        address
    }

    /// Adds an inner node's block.
    pub(crate) fn put_inner(&mut self, stream: u32, inner: Arc<Inner>) -> Address {
        let address = self.put(Kind::Inner, stream, |out| {
            encode_inner(&inner, out);
        });
        self.nodes.push((address, inner));
        address
    }

    /// Bytes collected so far.
    pub(crate) fn len(&self) -> usize {
        let open = self.open.as_ref().map_or(0, |open| open.bytes.len());
        open + self
            .full
            .iter()
            .map(|segment| segment.bytes.len())
            .sum::<usize>()
    }

    /// The segments, and the nodes in them.
    pub(crate) fn finish(mut self) -> (Vec<Segment>, Vec<(Address, Arc<Inner>)>) {
        self.close();
        (self.full, self.nodes)
    }

    fn close(&mut self) {
        let Some(mut open) = self.open.take() else {
            return;
        };
        let offset = open.bytes.len();
        open.directory.encode(&mut open.bytes);
        let length = open.bytes.len() - offset;
        encode_trailer(offset as u32, length as u32, &mut open.bytes);
        self.full.push(Segment {
            id: open.id,
            bytes: open.bytes.into(),
        });
    }
}
