//! Is everything there and whole: reads every object, every block, and every tree against its statistics.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use super::Store;
use super::block::{Directory, TRAILER_BYTES, decode_trailer, open};
use super::catalogue::Stream;
use super::codec::Damage;
use super::fetch::{Decode, Fetcher};
use super::history::{History, IntervalKind};
use super::log::entry;
use super::segment::{MAGIC, SegmentInfo, name};
use super::tree::{Address, Link, Node, Span};
use super::{cache::Cached, checkpoint};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Probe, Stat};

/// Problems listed one by one; more are only counted.
const PROBLEMS_MAX: usize = 1000;

/// Links checked in one round.
const ROUND_LINKS: usize = 512;

/// How far a mean may lie from the one worked out again, of the largest value.
const MEAN_TOLERANCE: f64 = 1e-9;

/// What a check read, and what is wrong.
#[derive(Clone, Debug, Default)]
pub struct CheckReport {
    /// Streams looked at.
    pub streams: u64,
    /// Points of their latest versions.
    pub points: u64,
    /// Segments read.
    pub segments: u64,
    /// Blocks whose checksums were verified.
    pub blocks: u64,
    /// Bytes read, checkpoints and log included.
    pub bytes: u64,
    /// Objects that nothing refers to, left by writers that died or lost the store. They do no harm.
    pub orphans: u64,
    /// What is wrong, each with the object or stream it is about.
    pub problems: Vec<String>,
    /// Problems beyond those listed.
    pub more_problems: u64,
}

impl CheckReport {
    fn problem(&mut self, problem: String) {
        // A damaged block is met on every way that leads to it.
        if self.problems.contains(&problem) {
            return;
        }
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem);
        } else {
            self.more_problems += 1;
        }
    }

    /// Notes damage and goes on; anything else ends the check.
    fn note(&mut self, error: Error) -> Result<()> {
        match error.kind() {
            ErrorKind::Corrupt | ErrorKind::NotFound => {
                self.problem(error.message().to_owned());
                Ok(())
            }
            _ => Err(error),
        }
    }
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.problems {
            writeln!(f, "problem: {problem}")?;
        }
        if self.more_problems > 0 {
            writeln!(f, "and {} more problems", self.more_problems)?;
        }
        write!(
            f,
            "{} streams, {} points, {} segments with {} blocks, {} bytes read, {} orphaned objects: {}",
            self.streams,
            self.points,
            self.segments,
            self.blocks,
            self.bytes,
            self.orphans,
            match self.problems.len() as u64 + self.more_problems {
                0 => "no problem".to_owned(),
                1 => "1 problem".to_owned(),
                count => format!("{count} problems"),
            }
        )
    }
}

pub(crate) async fn check(store: &Arc<Store>) -> Result<CheckReport> {
    let mut report = CheckReport::default();
    // What was there before, so that what is written meanwhile is no orphan.
    let objects = store.objects.list("data", None).await?;
    check_log(store, &mut report).await?;
    let segments = store.segments.all();
    let known: HashSet<String> = segments
        .iter()
        .map(|&(id, info)| name(id, info.epoch))
        .collect();
    report.orphans = objects
        .iter()
        .filter(|object| !known.contains(&object.name))
        .count() as u64;
    for (id, info) in segments {
        check_segment(store, id, info, &mut report).await?;
    }
    for stream in store.catalogue.all() {
        // One that is obliterated meanwhile has nothing left to check.
        if let Ok(history) = stream.with_history(|history| history.clone()) {
            report.streams += 1;
            check_stream(store, &stream, &history, &mut report).await?;
        }
    }
    Ok(report)
}

async fn check_log(store: &Store, report: &mut CheckReport) -> Result<()> {
    for folder in [checkpoint::FOLDER, entry::FOLDER] {
        for object in store.objects.list(folder, None).await? {
            let bytes = match store.objects.get(&object.name).await {
                Ok(bytes) => bytes,
                // Cleaned up since it was listed.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            report.bytes += bytes.len() as u64;
            let whole = if folder == checkpoint::FOLDER {
                checkpoint::decode(&bytes).map(drop)
            } else {
                entry::decode(&bytes).map(drop)
            };
            if let Err(damage) = whole {
                report.problem(format!("object {} is damaged: {damage}", object.name));
            }
        }
    }
    Ok(())
}

async fn check_segment(
    store: &Store,
    id: u32,
    info: SegmentInfo,
    report: &mut CheckReport,
) -> Result<()> {
    let object = name(id, info.epoch);
    let bytes = match store.objects.get(&object).await {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            report.problem(format!("object {object} is missing"));
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    report.segments += 1;
    report.bytes += bytes.len() as u64;
    if bytes.len() as u64 != info.bytes {
        report.problem(format!(
            "object {object} has {} bytes, not {}",
            bytes.len(),
            info.bytes
        ));
        return Ok(());
    }
    let directory = match read_directory(&bytes) {
        Ok(directory) => directory,
        Err(damage) => {
            report.problem(format!("object {object} is damaged: {damage}"));
            return Ok(());
        }
    };
    let mut start = MAGIC.len();
    for entry in directory.entries {
        let end = start + entry.length as usize;
        let block = bytes.get(start..end);
        let whole = block
            .ok_or(Damage("block lies behind the end"))
            .and_then(|block| open(entry.kind, block));
        if let Err(damage) = whole {
            let path = store.catalogue.by_number(entry.stream).map_or_else(
                || format!("number {}, obliterated", entry.stream),
                |stream| stream.id.to_string(),
            );
            report.problem(format!(
                "object {object} is damaged in the {} bytes from {start} ({:?} of stream {path}): {damage}",
                entry.length, entry.kind
            ));
        }
        report.blocks += 1;
        start = end;
    }
    Ok(())
}

/// The directory of a whole segment.
pub(crate) fn read_directory(bytes: &[u8]) -> Result<Directory, Damage> {
    if !bytes.starts_with(&MAGIC) {
        return Err(Damage("not a segment of this format"));
    }
    let trailer = bytes
        .len()
        .checked_sub(TRAILER_BYTES)
        .and_then(|start| bytes.get(start..))
        .ok_or(Damage("segment is too short"))?;
    let (offset, length) = decode_trailer(trailer)?;
    let block = (offset as usize)
        .checked_add(length as usize)
        .and_then(|end| bytes.get(offset as usize..end))
        .ok_or(Damage("directory lies outside of the segment"))?;
    Directory::decode(block)
}

async fn check_stream(
    store: &Arc<Store>,
    stream: &Stream,
    history: &History,
    report: &mut CheckReport,
) -> Result<()> {
    let mut seen = HashSet::new();
    let base = history.base.as_ref();
    report.points += base.map_or(0, |base| base.stat.count) + history.live.points() as u64;
    if let Some(base) = base
        && let Some(link) = &base.link
    {
        let root = (link.clone(), Span::ROOT, Some(base.stat));
        if let Err(error) = check_tree(store, stream, root, &mut seen, report).await {
            report.note(error)?;
        }
    }
    for interval in &history.intervals {
        let (root, runs) = match interval.kind {
            IntervalKind::Append { root } => (root, None),
            IntervalKind::Runs { root, runs } => (root, Some(runs)),
        };
        if let Some(address) = root {
            let root = (Link::Inner(address), Span::ROOT, None);
            if let Err(error) = check_tree(store, stream, root, &mut seen, report).await {
                report.note(error)?;
            }
        }
        if let Some(address) = runs
            && let Err(error) = Fetcher::new(store, stream.id, &Probe::default())
                .other(address, Decode::Runs)
                .await
        {
            report.note(error)?;
        }
    }
    check_marks(store, stream, history, report).await
}

/// A node, where it must lie in time, and what its parent says of it.
type Expected = (Link, Span, Option<Stat>);

async fn check_tree(
    store: &Arc<Store>,
    stream: &Stream,
    root: Expected,
    seen: &mut HashSet<Address>,
    report: &mut CheckReport,
) -> Result<()> {
    let mut fetcher = Fetcher::new(store, stream.id, &Probe::default());
    let mut left = vec![root];
    while !left.is_empty() {
        let round = left.split_off(left.len().saturating_sub(ROUND_LINKS));
        let links: Vec<Link> = round.iter().map(|(link, ..)| link.clone()).collect();
        let nodes = match fetcher.nodes(&links).await {
            Ok(nodes) => nodes,
            // One by one, so that every damaged block is told and the others are looked at.
            Err(_) if links.len() > 1 => {
                let mut nodes = Vec::with_capacity(links.len());
                for link in &links {
                    match fetcher.nodes(std::slice::from_ref(link)).await {
                        Ok(mut node) => nodes.extend(node.pop().map(Some)),
                        Err(error) => {
                            report.note(error)?;
                            nodes.push(None);
                        }
                    }
                }
                check_nodes(stream, &round, nodes, seen, &mut left, report);
                continue;
            }
            Err(error) => return Err(error),
        };
        let nodes = nodes.into_iter().map(Some).collect();
        check_nodes(stream, &round, nodes, seen, &mut left, report);
    }
    Ok(())
}

fn check_nodes(
    stream: &Stream,
    round: &[Expected],
    nodes: Vec<Option<Node>>,
    seen: &mut HashSet<Address>,
    left: &mut Vec<Expected>,
    report: &mut CheckReport,
) {
    for ((_, span, expected), node) in round.iter().zip(nodes) {
        let (found, in_place) = match node {
            None => continue,
            Some(Node::Leaf(points)) => {
                let times = points.times();
                let inside = times.first().is_none_or(|&first| first >= span.start)
                    && times.last().is_none_or(|&last| last < span.end());
                (Stat::of(points.values()), inside)
            }
            Some(Node::Inner(inner)) => {
                let in_place = inner.span == *span;
                if in_place {
                    for (number, slot) in inner.slots() {
                        let Some(link) = &slot.link else { continue };
                        let is_new = match link {
                            Link::Inner(address) => seen.insert(*address),
                            // Leaves are seen with their node, which is seen once.
                            Link::Leaf(_) | Link::Held(_) => true,
                        };
                        if is_new {
                            left.push((link.clone(), span.child(number), Some(slot.stat)));
                        }
                    }
                }
                (inner.stat(), in_place)
            }
        };
        let at = span.range();
        if !in_place {
            report.problem(format!(
                "stream {}: what lies under {at} belongs elsewhere",
                stream.id
            ));
        }
        if expected.is_some_and(|expected| !agree(&expected, &found)) {
            report.problem(format!(
                "stream {}: the statistics of {at} are not those of its points",
                stream.id
            ));
        }
    }
}

fn agree(expected: &Stat, found: &Stat) -> bool {
    if expected.count != found.count || expected.count == 0 {
        return expected.count == found.count;
    }
    let scale = found.min.abs().max(found.max.abs());
    let close =
        |a: f64, b: f64| (a - b).abs() <= MEAN_TOLERANCE * scale || a.to_bits() == b.to_bits();
    expected.min.to_bits() == found.min.to_bits()
        && expected.max.to_bits() == found.max.to_bits()
        && close(expected.mean, found.mean)
}

/// Marks must follow one another without a gap, up to the tail in memory.
async fn check_marks(
    store: &Arc<Store>,
    stream: &Stream,
    history: &History,
    report: &mut CheckReport,
) -> Result<()> {
    let (levels, tail, _) = history.marks.parts();
    let fetcher = Fetcher::new(store, stream.id, &Probe::default());
    let mut refs: Vec<_> = levels
        .iter()
        .enumerate()
        .flat_map(|(level, refs)| refs.iter().map(move |&mark| (level, mark)))
        .collect();
    let mut ranges = Vec::new();
    while let Some((level, mark)) = refs.pop() {
        let decode = if level == 0 {
            Decode::Marks
        } else {
            Decode::Index
        };
        match fetcher.other(mark.address, decode).await {
            Ok(Cached::Marks(marks)) => {
                ranges.push((marks.first.0, marks.commits.len() as u64));
            }
            Ok(Cached::Index(below)) if level > 0 => {
                refs.extend(below.iter().map(|&mark| (level - 1, mark)));
            }
            Ok(_) => report.problem(format!(
                "stream {}: a reference of its versions leads to another kind of block",
                stream.id
            )),
            Err(error) => {
                report.note(error)?;
                // What follows from it would only be said twice.
                return Ok(());
            }
        }
    }
    ranges.push((tail.first.0, tail.commits.len() as u64));
    ranges.sort_unstable();
    let gapless = ranges
        .windows(2)
        .all(|pair| pair[0].0 + pair[0].1 == pair[1].0);
    if !gapless {
        report.problem(format!(
            "stream {}: marks of some versions are missing",
            stream.id
        ));
    }
    Ok(())
}
