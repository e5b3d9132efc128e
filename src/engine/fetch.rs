//! From links to nodes: through the caches, and from the store in few reads. The only place that reads segments for walks.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};

use super::Store;
use super::block::{
    MarkRef, Marks, decode_index, decode_inner, decode_marks, decode_page, decode_runs,
};
use super::cache::{Cached, CutKey, chunk_bytes};
use super::codec::Damage;
use super::marks::refer_in;
use super::tree::{Address, Chunk, LeafRef, Link, Node, Page, Piece, RUN_ROWS_MAX};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Probe, Stat, StreamId};

/// Segments read at once for one round of a walk.
const SEGMENTS_AT_ONCE: usize = 8;

/// A run of pages is decoded whole where at least one of so many of its points is wanted.
const WHOLE_RUN_SHARE: u32 = 4;

/// Reads nodes of one stream.
#[derive(Debug)]
pub(crate) struct Fetcher {
    store: Arc<Store>,
    stream: StreamId,
    probe: Probe,
    /// What this read may still put into the cache of points.
    cacheable_bytes: u64,
}

impl Fetcher {
    pub(crate) fn new(store: &Arc<Store>, stream: StreamId, probe: &Probe) -> Self {
        Self {
            store: Arc::clone(store),
            stream,
            probe: probe.clone(),
            cacheable_bytes: store.caches.scan_bytes_max(),
        }
    }

    /// One for another part of the same read.
    pub(crate) fn again(&self) -> Self {
        Self::new(&self.store, self.stream, &self.probe)
    }

    /// The nodes of `links`, in their order.
    ///
    /// Cancel safety: a fetch that is dropped leaves nothing behind.
    pub(crate) async fn nodes(&mut self, links: &[Link]) -> Result<Vec<Node>> {
        let groups = group(links);
        let mut missing: Vec<Address> = Vec::new();
        let mut found: Vec<Option<Found>> = Vec::with_capacity(groups.len());
        for group in &groups {
            let hit = self.cached(group);
            group.count(&self.probe, hit.is_some());
            if hit.is_none() {
                missing.extend(group.address());
            }
            found.push(hit);
        }
        if missing.is_empty() {
            return Ok(assemble(&groups, found));
        }
        let mut fetched = self.blocks(missing).await?;
        for (group, found) in groups.iter().zip(&mut found) {
            if found.is_none() {
                *found = Some(self.decode(group, &mut fetched)?);
            }
        }
        Ok(assemble(&groups, found))
    }

    /// How a node was divided before, if that is kept: it is not read.
    pub(crate) fn cut(&self, key: &CutKey) -> Option<Arc<[(i64, Stat)]>> {
        let windows = self.store.caches.cut(key)?;
        self.probe.node(0, true);
        Some(windows)
    }

    /// Keeps how a node was divided.
    pub(crate) fn keep_cut(&self, key: CutKey, windows: Arc<[(i64, Stat)]>) {
        self.store.caches.keep_cut(key, windows);
    }

    /// A block that is not points and not a node of the tree.
    pub(crate) async fn other(&self, address: Address, decode: Decode) -> Result<Cached> {
        if let Some(cached) = self.store.caches.node(address) {
            return Ok(cached);
        }
        let blocks = self.blocks(vec![address]).await?;
        let block = blocks.get(&address).ok_or_else(lost)?;
        let cached = match decode {
            Decode::Marks => decode_marks(block).map(|marks| Cached::Marks(Arc::new(marks))),
            Decode::Index => decode_index(block).map(|refs| Cached::Index(Arc::new(refs))),
            Decode::Runs => decode_runs(block).map(|runs| Cached::Runs(Arc::new(runs))),
        }
        .map_err(|damage| self.corrupt(address, damage))?;
        self.store.caches.keep_node(address, cached.clone());
        Ok(cached)
    }

    /// The block of marks that the newest reference leads to for which `begins` holds.
    pub(crate) async fn marks(
        &self,
        mut level: u8,
        mut address: Address,
        begins: impl Fn(&MarkRef) -> bool,
    ) -> Result<Arc<Marks>> {
        loop {
            let decode = if level == 0 {
                Decode::Marks
            } else {
                Decode::Index
            };
            match self.other(address, decode).await? {
                Cached::Marks(marks) => return Ok(marks),
                Cached::Index(refs) if level > 0 => {
                    let next = refer_in(&refs, &begins)
                        .ok_or_else(|| self.corrupt(address, Damage("index leads nowhere")))?;
                    address = next.address;
                    level -= 1;
                }
                _ => {
                    let damage = Damage("block is of another kind");
                    return Err(self.corrupt(address, damage));
                }
            }
        }
    }

    fn cached(&self, group: &Group<'_>) -> Option<Found> {
        let caches = &self.store.caches;
        match group {
            Group::Held(node) => Some(Found::Node((*node).clone())),
            Group::Inner(address) => match caches.node(*address)? {
                Cached::Inner(inner) => Some(Found::Node(Node::Inner(inner))),
                _ => None,
            },
            Group::Leaves(leaves) => {
                let run = &leaves[0].run;
                if let Some(chunk) = caches.chunk(run.address) {
                    return Some(Found::Chunk {
                        chunk,
                        first_row: 0,
                    });
                }
                let page = wanted_page(leaves)?;
                let chunk = caches.chunk(page.address)?;
                Some(Found::Chunk {
                    chunk,
                    first_row: page.first_row,
                })
            }
        }
    }

    /// The bytes at these addresses: one request a segment.
    async fn blocks(&self, mut addresses: Vec<Address>) -> Result<HashMap<Address, Bytes>> {
        addresses.sort_unstable();
        addresses.dedup();
        let mut segments: BTreeMap<u32, Vec<Address>> = BTreeMap::new();
        for address in addresses {
            segments.entry(address.segment).or_default().push(address);
        }
        let reads = segments.into_iter().map(|(segment, addresses)| {
            let store = Arc::clone(&self.store);
            let (stream, probe) = (self.stream, self.probe.clone());
            async move {
                let blocks = read(&store, stream, segment, addresses).await?;
                probe.fetch(blocks.iter().map(|(_, bytes)| bytes.len() as u64).sum());
                Ok(blocks)
            }
        });
        futures::stream::iter(reads)
            .buffer_unordered(SEGMENTS_AT_ONCE)
            .try_fold(HashMap::new(), |mut all, some| async move {
                all.extend(some);
                Ok(all)
            })
            .await
    }

    fn decode(&mut self, group: &Group<'_>, blocks: &mut HashMap<Address, Bytes>) -> Result<Found> {
        match group {
            Group::Held(node) => Ok(Found::Node((*node).clone())),
            Group::Inner(address) => {
                let block = blocks.get(address).ok_or_else(lost)?;
                let inner = decode_inner(block).map_err(|damage| self.corrupt(*address, damage))?;
                let inner = Arc::new(inner);
                let cached = Cached::Inner(Arc::clone(&inner));
                self.store.caches.keep_node(*address, cached);
                Ok(Found::Node(Node::Inner(inner)))
            }
            Group::Leaves(leaves) => {
                let run = &leaves[0].run;
                let (address, pages) = match wanted_page(leaves) {
                    Some(page) => (
                        page.address,
                        std::slice::from_ref(&run.pages[usize::from(leaves[0].page)]),
                    ),
                    None => (run.address, run.pages.as_slice()),
                };
                let first_row = pages[0].first_row;
                // The same page may have been decoded for another leaf of this round.
                if let Some(chunk) = self.store.caches.chunk(address) {
                    return Ok(Found::Chunk { chunk, first_row });
                }
                let block = blocks.get(&address).ok_or_else(lost)?;
                // What the node says of them is not believed before they are seen: room for more is made then.
                let rows = pages.iter().map(|page| page.rows as usize).sum::<usize>();
                let rows = rows.min(2 * RUN_ROWS_MAX as usize);
                let mut times = Vec::with_capacity(rows);
                let mut values = Vec::with_capacity(rows);
                for page in pages {
                    let start = (page.address.offset - address.offset) as usize;
                    let bytes = block.get(start..start + page.address.length as usize);
                    bytes
                        .ok_or(Damage("page lies outside of its run"))
                        .and_then(|bytes| decode_page(bytes, page.rows, &mut times, &mut values))
                        .map_err(|damage| self.corrupt(page.address, damage))?;
                }
                let chunk = Arc::new(Chunk {
                    times: times.into(),
                    values: values.into(),
                });
                let bytes = chunk_bytes(&chunk);
                if let Some(left) = self.cacheable_bytes.checked_sub(bytes) {
                    self.cacheable_bytes = left;
                    self.store.caches.keep_chunk(address, Arc::clone(&chunk));
                }
                Ok(Found::Chunk { chunk, first_row })
            }
        }
    }

    fn corrupt(&self, address: Address, damage: Damage) -> Error {
        corrupt(&self.store, self.stream, address, damage)
    }
}

/// What kind of block is wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Decode {
    Marks,
    Index,
    Runs,
}

/// Links that are answered together.
enum Group<'a> {
    Held(&'a Node),
    Inner(Address),
    /// Neighbouring leaves of one run.
    Leaves(Vec<&'a LeafRef>),
}

/// A group's answer.
enum Found {
    Node(Node),
    Chunk {
        chunk: Arc<Chunk>,
        /// The row of the run that the chunk begins with.
        first_row: u32,
    },
}

impl Group<'_> {
    fn count(&self, probe: &Probe, in_memory: bool) {
        let points = |leaf: &LeafRef| leaf.rows.len() as u64;
        match self {
            Self::Held(Node::Leaf(leaf)) => probe.node(leaf.len() as u64, in_memory),
            Self::Held(Node::Inner(_)) | Self::Inner(_) => probe.node(0, in_memory),
            Self::Leaves(leaves) => leaves
                .iter()
                .for_each(|leaf| probe.node(points(leaf), in_memory)),
        }
    }

    fn address(&self) -> Option<Address> {
        match self {
            Self::Held(_) => None,
            Self::Inner(address) => Some(*address),
            Self::Leaves(leaves) => {
                Some(wanted_page(leaves).map_or(leaves[0].run.address, |page| page.address))
            }
        }
    }
}

/// The one page that has to be read, or none where it is the whole run. (Groups of several pages are whole runs.)
fn wanted_page(leaves: &[&LeafRef]) -> Option<Page> {
    let page = leaves[0].page();
    let same = leaves.iter().all(|leaf| leaf.page == leaves[0].page);
    let rows: u32 = leaves.iter().map(|leaf| leaf.rows.len() as u32).sum();
    (same
        && leaves[0].run.pages.len() > 1
        && rows.saturating_mul(WHOLE_RUN_SHARE) < leaves[0].run.rows)
        .then_some(page)
}

/// Leaves of one run in a row belong together where they want a good share of it; elsewhere each page stands alone.
fn group(links: &[Link]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::with_capacity(links.len());
    let mut at = 0;
    while let Some(link) = links.get(at) {
        match link {
            Link::Held(node) => groups.push(Group::Held(node)),
            Link::Inner(address) => groups.push(Group::Inner(*address)),
            Link::Leaf(first) => {
                let leaves: Vec<&LeafRef> = links[at..]
                    .iter()
                    .map_while(|link| match link {
                        Link::Leaf(leaf) if Arc::ptr_eq(&leaf.run, &first.run) => Some(leaf),
                        _ => None,
                    })
                    .collect();
                at += leaves.len();
                let rows: u32 = leaves.iter().map(|leaf| leaf.rows.len() as u32).sum();
                if rows.saturating_mul(WHOLE_RUN_SHARE) >= first.run.rows {
                    groups.push(Group::Leaves(leaves));
                } else {
                    let by_page = leaves.chunk_by(|a, b| a.page == b.page);
                    groups.extend(by_page.map(|leaves| Group::Leaves(leaves.to_vec())));
                }
                continue;
            }
        }
        at += 1;
    }
    groups
}

fn assemble(groups: &[Group<'_>], found: Vec<Option<Found>>) -> Vec<Node> {
    let mut nodes = Vec::new();
    for (group, found) in groups.iter().zip(found) {
        match (group, found) {
            (_, Some(Found::Node(node))) => nodes.push(node),
            (Group::Leaves(leaves), Some(Found::Chunk { chunk, first_row })) => {
                nodes.extend(leaves.iter().map(|leaf| {
                    let rows = (leaf.rows.start - first_row) as usize
                        ..(leaf.rows.end - first_row) as usize;
                    Node::Leaf(Piece {
                        chunk: Arc::clone(&chunk),
                        rows,
                    })
                }));
            }
            _ => {}
        }
    }
    nodes
}

/// Reads some blocks of one segment.
async fn read(
    store: &Store,
    stream: StreamId,
    segment: u32,
    addresses: Vec<Address>,
) -> Result<Vec<(Address, Bytes)>> {
    let name = store.segments.name(segment).ok_or_else(|| {
        let message = format!("stream {stream}: segment {segment} is not known to the store");
        Error::new(ErrorKind::Corrupt, message)
    })?;
    let total: u64 = addresses
        .iter()
        .map(|address| u64::from(address.length))
        .sum();
    let _permit = store.room_to_fetch(total).await?;
    let ranges: Vec<_> = addresses
        .iter()
        .map(|address| u64::from(address.offset)..address.end())
        .collect();
    let bytes = store
        .objects
        .get_ranges(&name, &ranges)
        .await
        .map_err(|error| {
            match error.kind() {
                // What the log speaks of must be there.
                ErrorKind::NotFound | ErrorKind::Corrupt => {
                    let message = format!("stream {stream}: object {name} is missing or truncated");
                    Error::new(ErrorKind::Corrupt, message).with_source(error)
                }
                _ => error,
            }
        })?;
    Ok(addresses.into_iter().zip(bytes).collect())
}

/// The error for a damaged block.
pub(crate) fn corrupt(store: &Store, stream: StreamId, address: Address, damage: Damage) -> Error {
    let name = store
        .segments
        .name(address.segment)
        .unwrap_or_else(|| format!("segment {}", address.segment));
    Error::new(
        ErrorKind::Corrupt,
        format!(
            "stream {stream}: object {name} is damaged in the {} bytes from {}: {damage}",
            address.length, address.offset
        ),
    )
}

fn lost() -> Error {
    Error::internal("a fetched block was lost")
}
