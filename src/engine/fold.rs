//! Housekeeping in the background: runs into trees, and checkpoints when the log has grown.
//!
//! A fold changes no version and keeps nobody waiting: it is worked out beside everything else, and taken over only if the
//! stream's tree is still the one it started from.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Store;
use super::block::{Kind, encode_runs};
use super::catalogue::Stream;
use super::checkpoint;
use super::history::{Fold, History, Live};
use super::log::record::Record;
use super::marks::{MarkLog, Spill};
use super::pack::pack;
use super::segment::SegmentWriter;
use super::tree::{Slot, insert};
use super::work_out::{compute, over, touch_of, write_marks};
use crate::error::{ErrorKind, Result};
use crate::model::{MergePolicy, Version};

/// Folds share segments up to this size, which are put and committed together.
const BATCH_BYTES: usize = 8 << 20;

/// Housekeeping that failed is tried again after this.
const RETRY: Duration = Duration::from_secs(1);

/// A fold worked out.
struct Folded {
    stream: Arc<Stream>,
    /// The version of the tree it started from.
    from: Version,
    fold: Fold,
    spill: Option<Spill>,
}

/// What a fold is worked out from.
struct Basis {
    base: Option<Slot>,
    live: Live,
    marks: MarkLog,
}

/// Keeps house until the engine ends.
pub(crate) async fn run(store: Arc<Store>) {
    let _ends = EndsWriting(Arc::clone(&store));
    loop {
        store.housekeeping.notified().await;
        let outcome = turn(&store).await;
        // Whether there is room now, or will never be: whoever waits for it looks again.
        store.live_room.notify_waiters();
        if let Err(error) = outcome {
            tracing::warn!(?error, "housekeeping failed and is tried again");
            tokio::time::sleep(RETRY).await;
            store.housekeeping.notify_one();
        }
    }
}

async fn turn(store: &Arc<Store>) -> Result<()> {
    let crowded = store.live_bytes.load(Ordering::Relaxed) > store.settings.live_bytes_max / 2;
    let mut due = std::mem::take(&mut *store.fold_due.lock());
    // Some have been folded since they were queued, by a large insert or by an earlier turn.
    due.retain(|stream| {
        let points = stream.with_history(|history| history.live.points());
        let is_due = points.is_ok_and(|points| points >= store.settings.fold_points);
        stream.fold_is_due.store(is_due, Ordering::Relaxed);
        is_due
    });
    let streams = if crowded { store.catalogue.all() } else { due };
    let mut folded = Ok(());
    if !streams.is_empty() {
        let _upkeep = store.upkeep.lock().await;
        folded = fold(store, streams).await;
    }
    // A stream that cannot be folded must not let the log grow.
    if checkpoint::is_due(store) {
        checkpoint::checkpoint(store).await?;
    }
    folded
}

/// Folds whatever waits beside any tree.
pub(crate) async fn fold_all(store: &Arc<Store>) -> Result<()> {
    store.log.writable()?;
    let _upkeep = store.upkeep.lock().await;
    fold(store, store.catalogue.all()).await
}

/// Folds the streams it can; the first failure of others is told at the end, and they are queued again.
async fn fold(store: &Arc<Store>, streams: Vec<Arc<Stream>>) -> Result<()> {
    let mut out = store.segments.writer();
    let mut folded = Vec::new();
    let mut failed = None;
    for stream in streams {
        stream.fold_is_due.store(false, Ordering::Relaxed);
        // An obliterated stream has nothing to fold.
        let basis = stream.with_history(basis).ok().flatten();
        if let Some(basis) = basis {
            match work_out(store, &stream, basis, &mut out).await {
                Ok(one) => folded.push(one),
                Err(error) => {
                    if error.kind() == ErrorKind::Corrupt {
                        stream.cannot_fold.store(true, Ordering::Relaxed);
                    }
                    queue(store, &stream);
                    failed.get_or_insert(error);
                }
            }
            tokio::task::yield_now().await;
        }
        if out.len() >= BATCH_BYTES {
            let full = std::mem::replace(&mut out, store.segments.writer());
            take_over(store, std::mem::take(&mut folded), full).await?;
        }
    }
    take_over(store, folded, out).await?;
    failed.map_or(Ok(()), Err)
}

/// Has a stream folded at some later turn.
fn queue(store: &Store, stream: &Arc<Stream>) {
    if !stream.fold_is_due.swap(true, Ordering::Relaxed) {
        store.fold_due.lock().push(Arc::clone(stream));
    }
}

/// Ends writing when the task that holds it does, however that comes: nobody must wait for a task that is gone.
pub(crate) struct EndsWriting(pub(crate) Arc<Store>);

impl Drop for EndsWriting {
    fn drop(&mut self) {
        let message = "the store's writer has ended in this process: open the store again";
        self.0.log.end(ErrorKind::Internal, message);
        self.0.live_room.notify_waiters();
    }
}

fn basis(history: &mut History) -> Option<Basis> {
    (history.live.len() > 0).then(|| Basis {
        base: history.base.clone(),
        live: history.live.clone(),
        marks: history.marks.clone(),
    })
}

async fn work_out(
    store: &Arc<Store>,
    stream: &Arc<Stream>,
    mut basis: Basis,
    out: &mut SegmentWriter,
) -> Result<Folded> {
    let from = basis.marks.last();
    let upto = Version(from.0 + basis.live.len() as u64);
    let spill = write_marks(&basis.marks, stream.number, out);
    let runs = basis.live.is_late().then(|| {
        out.put(Kind::Runs, stream.number, |out| {
            encode_runs(basis.live.runs(), out);
        })
    });
    let points = basis
        .live
        .all()
        .expect("runs that are to be folded have points");
    let base = store
        .hydrate(stream, basis.base.as_ref(), |span| {
            touch_of(points.times(), span)
        })
        .await?;
    let number = stream.number;
    let root = compute(points.len(), move || {
        over(
            insert(base.as_deref(), &points, MergePolicy::Never, upto),
            upto,
        )
    })
    .await?;
    let root = pack(root, number, out);
    Ok(Folded {
        stream: Arc::clone(stream),
        from,
        fold: Fold { upto, root, runs },
        spill,
    })
}

/// Puts the segments, and takes over those folds whose streams have had no other tree meanwhile.
async fn take_over(store: &Arc<Store>, folded: Vec<Folded>, out: SegmentWriter) -> Result<()> {
    if folded.is_empty() {
        return Ok(());
    }
    let segments = store.put_segments(out).await?;
    let mut guards = Vec::with_capacity(folded.len());
    let mut free = Vec::with_capacity(folded.len());
    for one in folded {
        // One that is being written has its fold another time: nobody waits for a whole batch.
        match Arc::clone(&one.stream.writing).try_lock_owned() {
            Ok(guard) => {
                guards.push(guard);
                free.push(one);
            }
            Err(_) => queue(store, &one.stream),
        }
    }
    let ((), commit) = store.log.sequence(|records, _| {
        store.declare(&segments, records);
        for one in free {
            let Folded {
                stream,
                from,
                fold,
                spill,
            } = one;
            let record = Record::Folded {
                stream: stream.number,
                upto: fold.upto,
                root: fold.root.clone(),
                runs: fold.runs,
            };
            let taken = store.change(&stream, |history| {
                let unchanged = history.marks.last() == from;
                // Marks go first: what was written out is what was in memory before the fold.
                if let Some(spill) = spill.as_ref().filter(|_| unchanged) {
                    history.apply_spill(spill);
                    records.push(&Record::Spilled {
                        stream: stream.number,
                        spill: spill.clone(),
                    });
                }
                if unchanged {
                    history.apply_fold(fold);
                }
                unchanged
            });
            if let Ok(true) = taken {
                records.push(&record);
            }
        }
    })?;
    drop(guards);
    store.log.durable(commit).await
}
