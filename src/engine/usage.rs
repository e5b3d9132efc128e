//! Where the bytes of a store are.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use super::Store;
use super::block::{Directory, Kind, TRAILER_BYTES, decode_trailer};
use super::checkpoint;
use super::codec::Damage;
use super::log::entry;
use super::segment::name;
use crate::error::{Error, ErrorKind, Result};

/// Bytes, by what they are for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Streams, and points of their latest versions.
    pub streams: u64,
    /// See `streams`.
    pub points: u64,
    /// Of those, points that wait beside their trees, in the log and in checkpoints.
    pub live_points: u64,
    /// Blocks in segments: kind, how many, their bytes.
    pub blocks: Vec<(&'static str, u64, u64)>,
    /// Segments, and their bytes; the blocks are in them.
    pub segments: (u64, u64),
    /// Log entries, and their bytes.
    pub log: (u64, u64),
    /// Checkpoints, and their bytes.
    pub checkpoints: (u64, u64),
    /// Objects that nothing refers to, and their bytes.
    pub orphans: (u64, u64),
}

impl Usage {
    /// Everything.
    pub fn bytes(&self) -> u64 {
        self.segments.1 + self.log.1 + self.checkpoints.1 + self.orphans.1
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} streams, {} points, {} of them beside their trees",
            self.streams, self.points, self.live_points
        )?;
        writeln!(f, "{:<20} {:>10} {:>16}", "what", "count", "bytes")?;
        let mut row = |what: &str, (count, bytes): (u64, u64)| {
            writeln!(f, "{what:<20} {count:>10} {bytes:>16}")
        };
        row("segments", self.segments)?;
        for &(kind, count, bytes) in &self.blocks {
            row(&format!("  {kind}"), (count, bytes))?;
        }
        row("log entries", self.log)?;
        row("checkpoints", self.checkpoints)?;
        row("orphaned objects", self.orphans)?;
        let bytes = self.bytes();
        write!(f, "{bytes} bytes in all")?;
        if self.points > 0 {
            let each = bytes as f64 / self.points as f64;
            write!(f, ", {each:.2} a point ({:.2} : 1)", 16.0 / each)?;
        }
        Ok(())
    }
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Page => "pages of points",
        Kind::Inner => "inner nodes",
        Kind::Marks => "marks of versions",
        Kind::Index => "indices of marks",
        Kind::Runs => "runs of late points",
        Kind::Directory => "directories",
    }
}

pub(crate) async fn usage(store: &Arc<Store>) -> Result<Usage> {
    let mut usage = Usage::default();
    let mut kinds = Kind::ALL.map(|kind| (word(kind), 0, 0));
    let segments = store.segments.all();
    let known: HashSet<String> = segments
        .iter()
        .map(|&(id, info)| name(id, info.epoch))
        .collect();
    for object in store.objects.list("data", None).await? {
        let total = if known.contains(&object.name) {
            &mut usage.segments
        } else {
            &mut usage.orphans
        };
        total.0 += 1;
        total.1 += object.bytes;
    }
    for (id, info) in segments {
        let (directory, length) = read_directory(store, &name(id, info.epoch), info.bytes).await?;
        let own = [(Kind::Directory, length)];
        let blocks = directory
            .entries
            .iter()
            .map(|block| (block.kind, block.length));
        for (kind, length) in blocks.chain(own) {
            let row = &mut kinds[kind as usize - 1];
            row.1 += 1;
            row.2 += u64::from(length);
        }
    }
    usage.blocks = kinds.into_iter().filter(|row| row.1 > 0).collect();
    for (folder, total) in [
        (entry::FOLDER, &mut usage.log),
        (checkpoint::FOLDER, &mut usage.checkpoints),
    ] {
        for object in store.objects.list(folder, None).await? {
            total.0 += 1;
            total.1 += object.bytes;
        }
    }
    for stream in store.catalogue.all() {
        let counted = stream.with_history(|history| {
            let base = history.base.as_ref().map_or(0, |base| base.stat.count);
            (base, history.live.points() as u64)
        });
        if let Ok((base, live)) = counted {
            usage.streams += 1;
            usage.points += base + live;
            usage.live_points += live;
        }
    }
    Ok(usage)
}

/// The directory of a segment, and its size, in two short reads.
async fn read_directory(store: &Store, object: &str, bytes: u64) -> Result<(Directory, u32)> {
    let corrupt = |damage: Damage| {
        Error::new(
            ErrorKind::Corrupt,
            format!("object {object} is damaged: {damage}"),
        )
    };
    let short = || corrupt(Damage("segment is too short"));
    let start = bytes.checked_sub(TRAILER_BYTES as u64).ok_or_else(short)?;
    let range = start..bytes;
    let mut trailer = store.objects.get_ranges(object, &[range]).await?;
    let trailer = trailer.pop().ok_or_else(short)?;
    let (offset, length) = decode_trailer(&trailer).map_err(corrupt)?;
    let range = u64::from(offset)..u64::from(offset) + u64::from(length);
    let mut block = store.objects.get_ranges(object, &[range]).await?;
    let block = block.pop().ok_or_else(short)?;
    Ok((Directory::decode(&block).map_err(corrupt)?, length))
}
