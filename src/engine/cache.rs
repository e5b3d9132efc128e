//! What was fetched and decoded, bounded by bytes. Blocks never change, so nothing here is ever wrong, only gone.

use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::block::{MarkRef, Marks, Runs};
use super::tree::{Address, Chunk, Inner};

/// Inner nodes and what is read like them; and decoded points apart, so that scans do not push the nodes out.
#[derive(Debug)]
pub(crate) struct Caches {
    nodes: Cache<Address, Cached, Weight>,
    chunks: Cache<Address, Arc<Chunk>, Weight>,
    chunk_bytes: u64,
}

/// A decoded block that is not points.
#[derive(Clone, Debug)]
pub(crate) enum Cached {
    Inner(Arc<Inner>),
    Marks(Arc<Marks>),
    Index(Arc<Vec<MarkRef>>),
    Runs(Arc<Runs>),
}

#[derive(Clone, Debug)]
struct Weight;

impl Weighter<Address, Cached> for Weight {
    fn weight(&self, _: &Address, cached: &Cached) -> u64 {
        let bytes = match cached {
            Cached::Inner(inner) => inner.bytes(),
            Cached::Marks(marks) => 16 * marks.commits.len(),
            Cached::Index(refs) => size_of::<MarkRef>() * refs.len(),
            Cached::Runs(runs) => 16 * runs.times.len() + 4 * runs.ends.len(),
        };
        bytes as u64 + 128
    }
}

impl Weighter<Address, Arc<Chunk>> for Weight {
    fn weight(&self, _: &Address, chunk: &Arc<Chunk>) -> u64 {
        chunk_bytes(chunk) + 128
    }
}

/// What a chunk takes in memory.
pub(crate) fn chunk_bytes(chunk: &Chunk) -> u64 {
    16 * chunk.len() as u64
}

impl Caches {
    pub(crate) fn new(node_bytes: u64, chunk_bytes: u64) -> Self {
        // The counts are guesses that only size the tables: a node of some 2 KiB, a chunk of some 64 KiB.
        let count = |bytes: u64, each: u64| usize::try_from(bytes / each + 64).unwrap_or(1 << 20);
        Self {
            nodes: Cache::with_weighter(count(node_bytes, 2048), node_bytes, Weight),
            chunks: Cache::with_weighter(count(chunk_bytes, 1 << 16), chunk_bytes, Weight),
            chunk_bytes,
        }
    }

    pub(crate) fn node(&self, address: Address) -> Option<Cached> {
        self.nodes.get(&address)
    }

    pub(crate) fn keep_node(&self, address: Address, node: Cached) {
        self.nodes.insert(address, node);
    }

    pub(crate) fn chunk(&self, address: Address) -> Option<Arc<Chunk>> {
        self.chunks.get(&address)
    }

    pub(crate) fn keep_chunk(&self, address: Address, chunk: Arc<Chunk>) {
        self.chunks.insert(address, chunk);
    }

    /// What one scan may put into the cache.
    pub(crate) fn scan_bytes_max(&self) -> u64 {
        self.chunk_bytes / 2
    }
}
