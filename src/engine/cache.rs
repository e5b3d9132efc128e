//! What was fetched and decoded, bounded by bytes. Blocks never change, so nothing here is ever wrong, only gone.

use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::block::{MarkRef, Marks, Runs};
use super::tree::{Address, Chunk, Inner};
use crate::model::{Cuts, Stat};

/// Inner nodes and what is read like them; decoded points apart, so that scans do not push the nodes out; and how nodes were
/// divided.
#[derive(Debug)]
pub(crate) struct Caches {
    nodes: Cache<Address, Cached, Weight>,
    /// A window costs what is read on either side of its ends, which is most of what it costs at all. Whoever asks again, as a
    /// dashboard does, asks for the same ends, and finds the parts of a leaf here without the leaf, or the windows of a node without
    /// anything beneath it.
    cuts: Cache<CutKey, Arc<[(i64, Stat)]>, Weight>,
    /// Grids that were asked for lately. Most never are again, and remembering how leaves lie in one takes as long as reading
    /// them: it is done for those that are.
    grids: Cache<Grid, ()>,
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

/// A node under a grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CutKey {
    pub(crate) node: Kept,
    pub(crate) grid: Grid,
}

/// Which node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kept {
    Leaf {
        /// The pages that the leaf's rows are counted in.
        run: Address,
        first_row: u32,
        behind_row: u32,
    },
    /// All that lies beneath.
    Inner(Address),
}

/// Windows of one width, wherever they are counted from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Grid {
    /// Where windows begin, from the epoch on: less than the width.
    phase: u64,
    width: u64,
}

impl Grid {
    /// The grid of `cuts`, if they are one.
    fn of(cuts: &Cuts) -> Option<Self> {
        match cuts {
            Cuts::Every { origin, width } => {
                let phase = i128::from(*origin).checked_rem_euclid(i128::from(*width))?;
                Some(Self {
                    phase: phase as u64,
                    width: *width,
                })
            }
            Cuts::At(_) => None,
        }
    }

    pub(crate) fn width(self) -> u64 {
        self.width
    }
}

#[derive(Clone, Debug)]
struct Weight;

impl Weighter<CutKey, Arc<[(i64, Stat)]>> for Weight {
    fn weight(&self, _: &CutKey, windows: &Arc<[(i64, Stat)]>) -> u64 {
        size_of_val(windows.as_ref()) as u64 + 128
    }
}

/// The part of the nodes' memory that is for cuts.
const CUTS_SHARE: u64 = 8;

/// Grids that are known again.
const GRIDS_MAX: usize = 1024;

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
        let cut_bytes = node_bytes / CUTS_SHARE;
        let node_bytes = node_bytes - cut_bytes;
        Self {
            nodes: Cache::with_weighter(count(node_bytes, 2048), node_bytes, Weight),
            cuts: Cache::with_weighter(count(cut_bytes, 256), cut_bytes, Weight),
            grids: Cache::new(GRIDS_MAX),
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

    /// The grid of `cuts`, if they are one that was asked for before.
    pub(crate) fn known_grid(&self, cuts: &Cuts) -> Option<Grid> {
        let grid = Grid::of(cuts)?;
        if self.grids.get(&grid).is_none() {
            self.grids.insert(grid, ());
            return None;
        }
        Some(grid)
    }

    pub(crate) fn cut(&self, key: &CutKey) -> Option<Arc<[(i64, Stat)]>> {
        self.cuts.get(key)
    }

    pub(crate) fn keep_cut(&self, key: CutKey, windows: Arc<[(i64, Stat)]>) {
        self.cuts.insert(key, windows);
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
