//! Checkpoints: everything about all streams but their trees, as of one commit, in one object. Opening starts from the newest.
//!
//! ```text
//! magic | number u64 | epoch u64 | content | CRC-32C u32
//! ```

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::Store;
use super::block::{get_marks, get_refs, get_runs, ints, put_marks, put_refs, put_runs};
use super::catalogue::Captured;
use super::codec::wire::{Reader, put_varint, put_zigzag};
use super::codec::{Damage, encode_ints};
use super::history::{History, Interval, IntervalKind, Live};
use super::log::entry;
use super::log::record::{
    get_address, get_descriptor, get_option, get_slot, put_address, put_descriptor, put_option,
    put_slot, small_number,
};
use super::marks::MarkLog;
use super::segment::SegmentInfo;
use super::work_out::compute;
use crate::error::Result;
use crate::model::{StreamDescriptor, StreamId, Version};

const MAGIC: [u8; 8] = *b"BTRFCHK1";

/// The folder of checkpoints.
pub(crate) const FOLDER: &str = "checkpoint";

/// The name of a checkpoint's object.
pub(crate) fn name(number: u64) -> String {
    format!("{FOLDER}/{number:020}")
}

/// The number in the name of a checkpoint's object.
pub(crate) fn number(name: &str) -> Option<u64> {
    name.strip_prefix(FOLDER)?.strip_prefix('/')?.parse().ok()
}

/// What a checkpoint holds.
#[derive(Debug, Default)]
pub(crate) struct Checkpoint {
    /// The commit it is as of.
    pub(crate) number: u64,
    pub(crate) epoch: u64,
    pub(crate) takeovers: Vec<u64>,
    pub(crate) segments: Vec<(u32, SegmentInfo)>,
    pub(crate) streams: Vec<(u32, StreamDescriptor, History)>,
    pub(crate) burned: Vec<StreamId>,
    pub(crate) next_number: u32,
}

/// Whether the log behind the last checkpoint has grown enough for another.
pub(crate) fn is_due(store: &Store) -> bool {
    let (tail, settings) = (&store.log.tail, &store.settings);
    // On a distant store each object costs a request, at the next opening too.
    let objects = if store.objects.is_shared() {
        settings.checkpoint_log_objects.div_ceil(8)
    } else {
        settings.checkpoint_log_objects
    };
    // A large store has large checkpoints: the log may grow to twice their size before the next.
    let size = 2 * store.checkpoint_bytes.load(Ordering::Relaxed);
    tail.bytes.load(Ordering::Relaxed) >= settings.checkpoint_log_bytes.max(size)
        || tail.objects.load(Ordering::Relaxed) >= objects
        || tail.mutations.load(Ordering::Relaxed) >= settings.checkpoint_mutations
}

/// Writes one of everything sequenced so far, and cleans up behind the oldest that is kept; answers its number.
pub(crate) async fn checkpoint(store: &Arc<Store>) -> Result<u64> {
    let _upkeep = store.upkeep.lock().await;
    // After the lock: one that is being closed ends with its log entry, not with a checkpoint that would hide it.
    store.log.writable()?;
    let (number, (captured, segments, seen)) = store.log.seal(|| {
        let seen = store.log.tail.seen();
        (store.catalogue.capture(), store.segments.all(), seen)
    });
    if number == store.checkpointed.load(Ordering::Relaxed) {
        return Ok(number);
    }
    store.log.durable(number).await?;
    let (epoch, takeovers) = (store.log.epoch, store.takeovers.lock().clone());
    let points = captured
        .streams
        .iter()
        .map(|(.., history)| history.live.points() + 16)
        .sum();
    let bytes: Bytes = compute(points, move || {
        encode(number, epoch, &takeovers, &segments, &captured).into()
    })
    .await?;
    let size = bytes.len() as u64;
    // One that is there already says the same: it is as of the same commit.
    store.objects.create(&name(number), bytes).await?;
    store.log.tail.subtract(seen);
    store.checkpointed.store(number, Ordering::Relaxed);
    store.checkpoint_bytes.store(size, Ordering::Relaxed);
    clean_up(store, number).await?;
    Ok(number)
}

/// Removes checkpoints that are not kept, and the log that no kept one needs.
///
/// Takeovers stay: their numbers are those that a writer asleep since then would try to take. And nothing behind `own`, this
/// writer's newest checkpoint, is looked at: it would be another writer's, whose takeovers are not known here.
async fn clean_up(store: &Store, own: u64) -> Result<()> {
    let mut checkpoints = store.objects.list(FOLDER, None).await?;
    checkpoints.retain(|object| number(&object.name).is_some_and(|number| number <= own));
    let kept = store.settings.checkpoints_kept.max(1);
    let Some(gone) = checkpoints.len().checked_sub(kept) else {
        return Ok(());
    };
    let oldest = number(&checkpoints[gone].name).unwrap_or(0);
    let mut doomed: Vec<String> = checkpoints
        .drain(..gone)
        .map(|object| object.name)
        .collect();
    let takeovers = store.takeovers.lock().clone();
    let entries = store.objects.list(entry::FOLDER, None).await?;
    doomed.extend(
        entries
            .into_iter()
            .map(|object| object.name)
            .filter(|name| {
                entry::number(name)
                    .is_some_and(|number| number <= oldest && !takeovers.contains(&number))
            }),
    );
    store.objects.delete(doomed).await
}

fn encode(
    number: u64,
    epoch: u64,
    takeovers: &[u64],
    segments: &[(u32, SegmentInfo)],
    captured: &Captured,
) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1024 + 256 * captured.streams.len());
    let out = &mut bytes;
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&number.to_le_bytes());
    out.extend_from_slice(&epoch.to_le_bytes());
    put_varint(out, takeovers.len() as u64);
    for &takeover in takeovers {
        put_varint(out, takeover);
    }
    put_varint(out, segments.len() as u64);
    for (id, info) in segments {
        put_varint(out, u64::from(*id));
        put_varint(out, info.epoch);
        put_varint(out, info.bytes);
    }
    put_varint(out, captured.burned.len() as u64);
    for id in &captured.burned {
        out.extend_from_slice(id.0.as_bytes());
    }
    put_varint(out, captured.next_number.into());
    put_varint(out, captured.streams.len() as u64);
    for (number, stream, history) in &captured.streams {
        put_varint(out, u64::from(*number));
        put_descriptor(stream, out);
        put_history(history, out);
    }
    let sum = crc32c::crc32c(out);
    out.extend_from_slice(&sum.to_le_bytes());
    bytes
}

/// A checkpoint.
pub(crate) fn decode(bytes: &[u8]) -> Result<Checkpoint, Damage> {
    let Some((covered, sum)) = bytes.split_last_chunk::<4>() else {
        return Err(Damage("checkpoint is too short"));
    };
    if crc32c::crc32c(covered) != u32::from_le_bytes(*sum) {
        return Err(Damage("checksum does not match"));
    }
    let mut reader = Reader::new(covered);
    if reader.take(8)? != MAGIC {
        return Err(Damage("not a checkpoint of this format"));
    }
    let mut checkpoint = Checkpoint {
        number: reader.u64()?,
        epoch: reader.u64()?,
        ..Checkpoint::default()
    };
    for _ in 0..reader.varint()? {
        checkpoint.takeovers.push(reader.varint()?);
    }
    for _ in 0..reader.varint()? {
        let id = small_number(&mut reader)?;
        let info = SegmentInfo {
            epoch: reader.varint()?,
            bytes: reader.varint()?,
        };
        checkpoint.segments.push((id, info));
    }
    for _ in 0..reader.varint()? {
        let id = uuid::Uuid::from_slice(reader.take(16)?).map_err(|_| Damage("not a uuid"))?;
        checkpoint.burned.push(StreamId(id));
    }
    checkpoint.next_number = small_number(&mut reader)?;
    for _ in 0..reader.varint()? {
        let number = small_number(&mut reader)?;
        let stream = get_descriptor(&mut reader)?;
        let history = get_history(&mut reader)?;
        checkpoint.streams.push((number, stream, history));
    }
    if !reader.is_empty() {
        return Err(Damage("checkpoint is longer than it says"));
    }
    Ok(checkpoint)
}

fn put_history(history: &History, out: &mut Vec<u8>) {
    let (levels, tail, last_commit) = history.marks.parts();
    put_varint(out, levels.len() as u64);
    for refs in levels {
        put_refs(refs, out);
    }
    put_marks(tail, out);
    put_varint(out, last_commit);
    put_varint(out, history.intervals.len() as u64);
    for interval in &history.intervals {
        put_varint(out, interval.first.0);
        let (root, runs) = match interval.kind {
            IntervalKind::Append { root } => (root, None),
            IntervalKind::Runs { root, runs } => (root, Some(runs)),
        };
        put_option(root.as_ref(), out, put_address);
        put_option(runs.as_ref(), out, put_address);
    }
    put_option(history.base.as_ref(), out, put_slot);
    put_option(history.last_time.as_ref(), out, |time, out| {
        put_zigzag(out, *time);
    });
    put_option(
        (history.live.len() > 0).then_some(&history.live),
        out,
        |live, out| {
            put_runs(live.runs(), out);
            let commits: Vec<i64> = live.commits().iter().map(|&commit| commit as i64).collect();
            encode_ints(&commits, out);
            put_varint(out, live.late().len() as u64);
            let late: Vec<i64> = live.late().iter().map(|&run| run.into()).collect();
            encode_ints(&late, out);
        },
    );
}

fn get_history(reader: &mut Reader<'_>) -> Result<History, Damage> {
    let mut levels = Vec::new();
    for _ in 0..reader.varint()? {
        levels.push(get_refs(reader)?);
    }
    let tail = get_marks(reader)?;
    if levels.len() > 10 {
        return Err(Damage("marks are too deep"));
    }
    let last_commit = reader.varint()?;
    let mut intervals = Vec::new();
    for _ in 0..reader.varint()? {
        let first = Version(reader.varint()?);
        let root = get_option(reader, get_address)?;
        let kind = match get_option(reader, get_address)? {
            Some(runs) => IntervalKind::Runs { root, runs },
            None => IntervalKind::Append { root },
        };
        intervals.push(Interval { first, kind });
    }
    let base = get_option(reader, get_slot)?;
    let last_time = get_option(reader, Reader::zigzag)?;
    let live = get_option(reader, |reader| {
        let runs = get_runs(reader)?;
        let commits = ints(reader, runs.ends.len())?;
        let count = usize::try_from(reader.varint()?).map_err(|_| Damage("runs are too many"))?;
        let late = ints(reader, count)?
            .into_iter()
            .map(|run| u32::try_from(run).map_err(|_| Damage("run is out of bounds")))
            .collect::<Result<Vec<u32>, _>>()?;
        let fits = late.iter().all(|&run| (run as usize) < runs.ends.len())
            && late.is_sorted_by(|a, b| a < b);
        if !fits {
            return Err(Damage("run is out of bounds"));
        }
        let commits = commits.into_iter().map(|commit| commit as u64).collect();
        Ok(Live::from_parts(runs, commits, late))
    })?;
    Ok(History {
        marks: MarkLog::from_parts(levels, tail, last_commit),
        intervals,
        base,
        live: live.unwrap_or_default(),
        last_time,
    })
}
