//! What a read took, counted for whoever wants to know: `EXPLAIN ANALYZE`, metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A place where reads count what they take; by default there is none, and counting costs a branch.
#[derive(Clone, Debug, Default)]
pub struct Probe(Option<Arc<Counters>>);

/// What reads took so far.
#[derive(Debug, Default)]
struct Counters {
    nodes: AtomicU64,
    points: AtomicU64,
    cache_hits: AtomicU64,
    fetches: AtomicU64,
    fetched_bytes: AtomicU64,
}

/// A moment's reading of a [`Probe`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Nodes of the tree looked at, leaves included.
    pub nodes: u64,
    /// Points of the leaves looked at.
    pub points: u64,
    /// Nodes that were in memory.
    pub cache_hits: u64,
    /// Requests to the store of objects.
    pub fetches: u64,
    /// Bytes that these brought.
    pub fetched_bytes: u64,
}

impl Probe {
    /// A probe that counts from zero. Its clones count together.
    pub fn counting() -> Self {
        Self(Some(Arc::default()))
    }

    /// Counts a node, its points if it is a leaf, and whether it was in memory.
    pub fn node(&self, points: u64, in_memory: bool) {
        if let Some(counters) = &self.0 {
            counters.nodes.fetch_add(1, Ordering::Relaxed);
            counters.points.fetch_add(points, Ordering::Relaxed);
            counters
                .cache_hits
                .fetch_add(u64::from(in_memory), Ordering::Relaxed);
        }
    }

    /// Counts a request to the store of objects.
    pub fn fetch(&self, bytes: u64) {
        if let Some(counters) = &self.0 {
            counters.fetches.fetch_add(1, Ordering::Relaxed);
            counters.fetched_bytes.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// What was counted so far.
    pub fn taken(&self) -> Taken {
        let Some(counters) = &self.0 else {
            return Taken::default();
        };
        Taken {
            nodes: counters.nodes.load(Ordering::Relaxed),
            points: counters.points.load(Ordering::Relaxed),
            cache_hits: counters.cache_hits.load(Ordering::Relaxed),
            fetches: counters.fetches.load(Ordering::Relaxed),
            fetched_bytes: counters.fetched_bytes.load(Ordering::Relaxed),
        }
    }
}
