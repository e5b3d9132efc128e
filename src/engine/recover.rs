//! Opening a store: the newest checkpoint, the log behind it, and the takeover that makes this process its writer.
//!
//! ```text
//! checkpoint/<c>  +  log/<c+1> .. log/<n-1>, up to the first gap   =   the state;   log/<n>, created here: the lock
//! ```
//!
//! Entries of an older epoch behind a newer one are void: their writer lost the store before it could acknowledge them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use tokio::sync::Notify;

use super::cache::Caches;
use super::catalogue::Catalogue;
use super::checkpoint::{self, Checkpoint};
use super::codec::Damage;
use super::history::{Change, Fold};
use super::log::Log;
use super::log::entry::{self, Header};
use super::log::record::{Record, read_records};
use super::segment::{SegmentInfo, Segments};
use super::store::{Created, Objects};
use super::tree::{Chunk, Piece};
use super::{Settings, Store, semaphore};
use crate::error::{Error, ErrorKind, Result};

/// Log entries fetched at once.
const FETCHES: usize = 16;

/// How often a log is read that seems to lack something.
const LOADS_MAX: u32 = 4;

/// Between two of these.
const LOAD_PAUSE: Duration = Duration::from_millis(50);

/// What a store holds, as far as it has been read.
struct State {
    /// The last entry read.
    number: u64,
    epoch: u64,
    takeovers: Vec<u64>,
    /// Whether the last entry says that its writer is gone.
    closed: bool,
    catalogue: Catalogue,
    segments: Segments,
    checkpointed: u64,
    checkpoint_bytes: u64,
    /// Of the log behind the checkpoint.
    log_bytes: u64,
    log_objects: u64,
}

/// Opens a store for writing.
pub(crate) async fn open(
    objects: Objects,
    settings: Settings,
    clock: fn() -> i64,
) -> Result<Store> {
    objects.probe().await?;
    let writer = uuid::Uuid::new_v4().as_u128();
    let state = loop {
        let mut state = load(&objects).await?;
        if objects.is_shared() && !settings.lease.is_zero() && state.number > 0 && !state.closed {
            state = wait_for_silence(&objects, &state, settings.lease).await?;
        }
        let header = Header {
            number: state.number + 1,
            epoch: state.epoch + 1,
            writer,
            wall_clock: clock(),
        };
        let bytes = Bytes::from(entry::encode(header, &[]));
        // Where somebody wrote meanwhile, what that says counts.
        if let Created::Now = objects.create(&entry::name(header.number), bytes).await?
            && !is_overtaken(&objects, header.number).await?
        {
            state.takeovers.push(header.number);
            state.number = header.number;
            state.epoch = header.epoch;
            break state;
        }
    };
    let log = Log::new(state.epoch, writer, state.number);
    Ok(assemble(objects, settings, clock, state, log))
}

/// Whether an entry that was free to be taken was not the end of the log: used before, and cleaned up since.
///
/// A number that was used and is free again lies at or below a checkpoint that was written before the cleaning, and the
/// newest checkpoint is never removed. What was put there lies below every later start, and goes with the next cleaning.
async fn is_overtaken(objects: &Objects, number: u64) -> Result<bool> {
    let before = checkpoint::name(number - 1);
    let checkpoints = objects.list(checkpoint::FOLDER, Some(&before)).await?;
    let later = objects
        .list(entry::FOLDER, Some(&entry::name(number)))
        .await?;
    Ok(!checkpoints.is_empty() || !later.is_empty())
}

/// Opens a store for looking only. Its writer, if there is one, does not notice.
pub(crate) async fn inspect(
    objects: Objects,
    settings: Settings,
    clock: fn() -> i64,
) -> Result<Store> {
    let state = load(&objects).await?;
    if state.number == 0 {
        return Err(Error::not_found(format!("there is no store in {objects}")));
    }
    let log = Log::new(state.epoch, 0, state.number);
    log.end(
        ErrorKind::Unsupported,
        "the store is open for reading only in this process",
    );
    Ok(assemble(objects, settings, clock, state, log))
}

fn assemble(
    objects: Objects,
    settings: Settings,
    clock: fn() -> i64,
    state: State,
    log: Log,
) -> Store {
    log.tail.bytes.store(state.log_bytes, Ordering::Relaxed);
    log.tail.objects.store(state.log_objects, Ordering::Relaxed);
    let live_bytes = state
        .catalogue
        .all()
        .iter()
        .filter_map(|stream| stream.with_history(|history| history.live_bytes()).ok())
        .sum();
    let store = Store {
        caches: Caches::new(settings.node_cache_bytes, settings.chunk_cache_bytes),
        writing: semaphore(settings.write_bytes_max),
        fetching: semaphore(settings.fetch_bytes_max),
        live_bytes: AtomicU64::new(live_bytes),
        live_room: Notify::new(),
        housekeeping: Notify::new(),
        fold_due: Default::default(),
        upkeep: Default::default(),
        subscribers: Default::default(),
        takeovers: state.takeovers.into(),
        checkpointed: AtomicU64::new(state.checkpointed),
        checkpoint_bytes: AtomicU64::new(state.checkpoint_bytes),
        catalogue: state.catalogue,
        segments: state.segments,
        objects,
        settings,
        log,
        clock,
    };
    store.housekeeping.notify_one();
    store
}

/// Everything that is durable now.
async fn load(objects: &Objects) -> Result<State> {
    let mut attempts = 1;
    loop {
        match load_once(objects).await {
            // A writer that lives may have cleaned up what this was about to read: there is a newer checkpoint then.
            Err(error) if attempts < LOADS_MAX && error.kind() == ErrorKind::Corrupt => {
                tracing::info!(?error, "reading the log of {objects} once more");
                attempts += 1;
                tokio::time::sleep(LOAD_PAUSE).await;
            }
            other => return other,
        }
    }
}

async fn load_once(objects: &Objects) -> Result<State> {
    let (checkpoint, bytes) = newest_checkpoint(objects).await?;
    let mut state = State {
        number: checkpoint.number,
        epoch: checkpoint.epoch,
        takeovers: checkpoint.takeovers,
        closed: false,
        catalogue: Catalogue::default(),
        segments: Segments::default(),
        checkpointed: checkpoint.number,
        checkpoint_bytes: bytes,
        log_bytes: 0,
        log_objects: 0,
    };
    for (id, info) in checkpoint.segments {
        state.segments.add(id, info);
    }
    for (number, stream, history) in checkpoint.streams {
        state.catalogue.restore(number, stream, history);
    }
    state
        .catalogue
        .restore_burned(checkpoint.burned, checkpoint.next_number);
    replay(objects, &mut state).await?;
    Ok(state)
}

/// The newest checkpoint that is whole, and its size; an empty one if there is none.
async fn newest_checkpoint(objects: &Objects) -> Result<(Checkpoint, u64)> {
    let mut found = objects.list(checkpoint::FOLDER, None).await?;
    found.retain(|object| checkpoint::number(&object.name).is_some());
    let mut damaged = None;
    for object in found.iter().rev() {
        let bytes = match objects.get(&object.name).await {
            // Cleaned up since it was listed, so there is a newer one.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(Error::new(ErrorKind::Corrupt, error.message()));
            }
            other => other?,
        };
        match checkpoint::decode(&bytes) {
            Ok(checkpoint) if Some(checkpoint.number) == checkpoint::number(&object.name) => {
                return Ok((checkpoint, bytes.len() as u64));
            }
            other => {
                let damage = other
                    .err()
                    .unwrap_or(Damage("it has another number than its name"));
                // The log since the one before it is kept for this.
                tracing::error!("{} of {objects} is damaged: {damage}", object.name);
                damaged = Some((&object.name, damage));
            }
        }
    }
    match damaged {
        None => Ok((Checkpoint::default(), 0)),
        Some((name, damage)) => Err(Error::new(
            ErrorKind::Corrupt,
            format!("no checkpoint of {objects} is whole: object {name} is damaged: {damage}"),
        )),
    }
}

/// Reads the log on from where the state is, to its end.
async fn replay(objects: &Objects, state: &mut State) -> Result<()> {
    let after = entry::name(state.number);
    let entries = objects.list(entry::FOLDER, Some(&after)).await?;
    let present: Vec<u64> = entries
        .iter()
        .filter_map(|object| entry::number(&object.name))
        .collect();
    // One entry is on its way at a time, so there are no gaps but those of damage.
    let mut expected = state.number + 1..;
    if let Some(lost) = present
        .iter()
        .zip(&mut expected)
        .find(|(found, lost)| *found != lost)
    {
        return Err(missing_entry(objects, lost.1));
    }
    let mut fetched = futures::stream::iter(present)
        .map(|number| async move {
            let bytes = match objects.get(&entry::name(number)).await {
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    return Err(missing_entry(objects, number));
                }
                other => other?,
            };
            Ok((number, bytes))
        })
        .buffered(FETCHES);
    while let Some((number, bytes)) = fetched.try_next().await? {
        state.log_bytes += bytes.len() as u64;
        state.log_objects += 1;
        read_entry(state, number, &bytes).map_err(|damage| {
            Error::new(
                ErrorKind::Corrupt,
                format!(
                    "object {} of {objects} is damaged: {damage}",
                    entry::name(number)
                ),
            )
        })?;
    }
    Ok(())
}

fn missing_entry(objects: &Objects, number: u64) -> Error {
    let message = format!(
        "object {} of {objects} is missing, and later ones are there",
        entry::name(number)
    );
    Error::new(ErrorKind::Corrupt, message)
}

fn read_entry(state: &mut State, number: u64, bytes: &[u8]) -> Result<(), Damage> {
    let (header, records) = entry::decode(bytes)?;
    if header.number != number {
        return Err(Damage("entry has another number than its name"));
    }
    if header.epoch == u64::MAX {
        return Err(Damage("epoch is out of bounds"));
    }
    state.number = number;
    if header.epoch < state.epoch {
        return Ok(());
    }
    if header.epoch > state.epoch {
        state.epoch = header.epoch;
        state.takeovers.push(number);
    }
    state.closed = false;
    read_records(records, |record| {
        if let Record::Closed = record {
            state.closed = true;
            return Ok(());
        }
        take(state, record, number)
    })
}

/// Does what a record says.
fn take(state: &State, record: Record, commit: u64) -> Result<(), Damage> {
    let unknown = Damage("record speaks of a stream that is not known");
    let change = |stream: u32, change: Change| -> Result<(), Damage> {
        let stream = state.catalogue.by_number(stream).ok_or(unknown)?;
        stream
            .with_history(|history| {
                let fits = history.accepts(&change);
                if fits {
                    history.apply(change, commit);
                }
                fits
            })
            .map_err(|_| unknown)?
            .then_some(())
            .ok_or(Damage("mutation does not fit what was there before it"))
    };
    match record {
        Record::Create(number, stream) => {
            state.catalogue.restore(number, stream, Default::default());
            Ok(())
        }
        Record::Properties(number, stream) => state
            .catalogue
            .restore_properties(number, stream)
            .then_some(())
            .ok_or(unknown),
        Record::Obliterate(number) => {
            let stream = state.catalogue.by_number(number).ok_or(unknown)?;
            state.catalogue.remove(stream.id).map_err(|_| unknown)
        }
        Record::Run {
            stream,
            times,
            values,
        } => {
            if !times.is_sorted() {
                return Err(Damage("points are not in order of time"));
            }
            let points = Piece::whole(Arc::new(Chunk::new(times, values)));
            change(stream, Change::Run(points))
        }
        Record::Grown {
            stream,
            root,
            last_time,
        } => change(stream, Change::Grown { root, last_time }),
        Record::Replaced {
            stream,
            folded,
            runs,
            root,
            last_time,
        } => change(
            stream,
            Change::Replaced {
                folded,
                runs,
                root,
                last_time,
            },
        ),
        Record::Folded {
            stream,
            upto,
            root,
            runs,
        } => {
            let stream = state.catalogue.by_number(stream).ok_or(unknown)?;
            stream
                .with_history(|history| {
                    let fold = Fold { upto, root, runs };
                    let fits = history.accepts_fold(&fold);
                    if fits {
                        history.apply_fold(fold);
                    }
                    fits
                })
                .ok()
                .filter(|fits| *fits)
                .map(drop)
                .ok_or(Damage("fold does not fit what was there to be folded"))
        }
        Record::Spilled { stream, spill } => {
            let stream = state.catalogue.by_number(stream).ok_or(unknown)?;
            stream
                .with_history(|history| history.apply_spill(&spill))
                .map_err(|_| unknown)
        }
        Record::Segment { id, epoch, bytes } => {
            state.segments.add(id, SegmentInfo { epoch, bytes });
            Ok(())
        }
        Record::Closed => Ok(()),
    }
}

/// Waits for as long as a writer that lives would say something, and refuses to take the store from one.
async fn wait_for_silence(objects: &Objects, before: &State, lease: Duration) -> Result<State> {
    tracing::info!("waiting {lease:?} for a sign of life of the last writer of {objects}");
    tokio::time::sleep(lease).await;
    let state = load(objects).await?;
    if (state.number, state.epoch) == (before.number, before.epoch) || state.closed {
        return Ok(state);
    }
    Err(Error::new(
        ErrorKind::Conflict,
        format!(
            "the store {objects} is being written by another process: stop that one first; one that died is taken over \
             from after {lease:?} of silence"
        ),
    ))
}
