//! Working out what a mutation makes of a tree, and writing the nodes that are new into segments.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Store;
use super::block::{Kind, MarkRef, Runs, encode_index, encode_marks, encode_runs};
use super::cache::Cached;
use super::catalogue::Stream;
use super::fetch::Fetcher;
use super::history::{Change, History, Live, View};
use super::log::record::{Record, Records};
use super::marks::{MarkLog, Spill};
use super::pack::pack;
use super::read::next_points;
use super::ready::Ready;
use super::segment::{Segment, SegmentInfo, SegmentWriter, name};
use super::store::Created;
use super::tree::{
    Address, Chunk, Inner, Known, Link, Node, Piece, Slot, Span, Touch, assemble, delete, insert,
    missing,
};
use super::walk::PointWalk;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Direction, MergePolicy, PointQuery, Probe, TimeRange, Version};

/// Points that are worked on between two awaits; more go to a thread that may take its time.
const INLINE_POINTS_MAX: usize = 16 * 1024;

/// What the writes of a call change in one stream, in their order.
pub(super) struct Plan {
    pub(super) stream: Arc<Stream>,
    /// The place in the call of each write, and its change; none where it brings no points.
    pub(super) changes: Vec<(usize, Option<Change>)>,
    pub(super) spill: Option<Spill>,
}

/// What a tree is worked out from.
pub(super) struct Basis {
    base: Option<Slot>,
    live: Live,
    marks: MarkLog,
    latest: Version,
    last_time: Option<i64>,
}

impl Basis {
    pub(super) fn of(history: &History) -> Self {
        Self {
            base: history.base.clone(),
            live: history.live.clone(),
            marks: history.marks.clone(),
            latest: history.latest(),
            last_time: history.last_time,
        }
    }
}

/// What one stream is about to become.
pub(super) enum Task {
    Insert { points: Piece, merge: MergePolicy },
    Delete(TimeRange),
}

impl Task {
    fn touch(&self, span: Span) -> Touch {
        match self {
            Self::Insert { points, .. } => touch_of(points.times(), span),
            Self::Delete(range) if range.covers(span.range()) => Touch::Whole,
            Self::Delete(range) if span.range().intersect(*range).is_empty() => Touch::No,
            Self::Delete(_) => Touch::Part,
        }
    }
}

/// The latest version before a mutation, as a tree.
struct Before {
    /// In hand where it is touched.
    root: Option<Arc<Inner>>,
    /// In the store, if live runs had to be folded for it and can be read off it.
    folded: Option<Slot>,
    /// The runs, if they cannot.
    runs: Option<Address>,
}

impl Before {
    fn of(
        base: Option<Arc<Inner>>,
        live: Option<Piece>,
        is_late: bool,
        runs: &Runs,
        latest: Version,
        stream: u32,
        out: &mut SegmentWriter,
    ) -> Self {
        let Some(live) = live else {
            return Self {
                root: base,
                folded: None,
                runs: None,
            };
        };
        let root = insert(base.as_deref(), &live, MergePolicy::Never, latest);
        let (folded, runs) = if is_late {
            let address = out.put(Kind::Runs, stream, |out| encode_runs(runs, out));
            (None, Some(address))
        } else {
            (
                Some(pack(over(Arc::clone(&root), latest), stream, out)),
                None,
            )
        };
        Self {
            root: Some(root),
            folded,
            runs,
        }
    }
}

impl Store {
    /// Works out what the writes of one stream change. Its write lock is held. Segments put on the way are added to `segments`.
    pub(super) async fn plan(
        self: &Arc<Self>,
        writes: Vec<Ready>,
        merge: MergePolicy,
        out: &mut SegmentWriter,
        segments: &mut Vec<(u32, SegmentInfo)>,
    ) -> Result<Plan> {
        let stream = Arc::clone(&writes[0].stream);
        // Later writes of a call build on earlier ones, which are not in the history yet.
        let mut draft = (writes.len() > 1)
            .then(|| stream.with_history(|history| history.clone()))
            .transpose()?;
        let mut plan = Plan {
            stream: Arc::clone(&stream),
            changes: Vec::with_capacity(writes.len()),
            spill: None,
        };
        for ready in writes {
            let Some(points) = ready.points else {
                plan.changes.push((ready.index, None));
                continue;
            };
            let last_time = match &draft {
                Some(draft) => draft.last_time,
                None => stream.with_history(|history| history.last_time)?,
            };
            let late = last_time.is_some_and(|stored| points.times()[0] <= stored);
            let additive = merge == MergePolicy::Never || !late;
            let change = if additive && points.len() < self.settings.direct_points {
                self.refuse_damaged(&stream)?;
                Change::Run(points)
            } else {
                let basis = match &draft {
                    Some(draft) => Basis::of(draft),
                    None => stream.with_history(|history| Basis::of(history))?,
                };
                let task = Task::Insert { points, merge };
                let (change, spill) = self.work_out(&stream, basis, task, out).await?;
                if draft.is_none() {
                    plan.spill = spill;
                } else {
                    // The next write of the call starts from this tree.
                    let full = std::mem::replace(out, self.segments.writer());
                    for (id, info) in self.put_segments(full).await? {
                        self.segments.add(id, info);
                        segments.push((id, info));
                    }
                }
                change
            };
            if let Some(draft) = &mut draft {
                draft.apply(change.clone(), u64::MAX);
            }
            plan.changes.push((ready.index, Some(change)));
        }
        Ok(plan)
    }

    /// Refuses to let more wait beside a damaged tree than one fold would take: it would wait for ever.
    fn refuse_damaged(&self, stream: &Stream) -> Result<()> {
        let damaged = stream.cannot_fold.load(Ordering::Relaxed);
        if damaged
            && stream.with_history(|history| history.live.points())? >= self.settings.fold_points
        {
            let message = format!(
                "stream {}: its tree is damaged, and no more points can wait beside it",
                stream.id
            );
            return Err(Error::new(ErrorKind::Corrupt, message));
        }
        Ok(())
    }

    /// Works out a tree, and writes its new nodes into segments.
    pub(super) async fn work_out(
        self: &Arc<Self>,
        stream: &Stream,
        mut basis: Basis,
        task: Task,
        out: &mut SegmentWriter,
    ) -> Result<(Change, Option<Spill>)> {
        let live = basis.live.all();
        let live_times = live.as_ref().map_or(&[][..], |live| live.times());
        let touches = |span: Span| match touch_of(live_times, span) {
            // Live points are inserted before anything is removed, so even what goes whole has to be in hand.
            Touch::Part => Touch::Part,
            _ => task.touch(span),
        };
        let base = self.hydrate(stream, basis.base.as_ref(), touches).await?;
        let number = stream.number;
        let version = basis.latest.next();
        let (is_late, runs) = (basis.live.is_late(), basis.live.runs().clone());
        let spill = write_marks(&basis.marks, number, out);
        match task {
            Task::Insert { points, merge } => {
                let first = points.times()[0];
                let last = points.times()[points.len() - 1];
                let late = basis.last_time.is_some_and(|stored| first <= stored);
                let last_time = basis.last_time.map_or(last, |stored| stored.max(last));
                let all = points.len() + live.as_ref().map_or(0, Piece::len);
                let mut writer = std::mem::replace(out, self.segments.writer());
                let (change, writer) = compute(all, move || {
                    let change = if late || is_late {
                        let before = Before::of(
                            base,
                            live,
                            is_late,
                            &runs,
                            basis.latest,
                            number,
                            &mut writer,
                        );
                        let root = insert(before.root.as_deref(), &points, merge, version);
                        Change::Replaced {
                            folded: before.folded,
                            runs: before.runs,
                            root: Some(pack(over(root, version), number, &mut writer)),
                            last_time: Some(last_time),
                        }
                    } else {
                        let grown = match live {
                            None => points,
                            Some(live) => concat(&live, &points),
                        };
                        let root = insert(base.as_deref(), &grown, MergePolicy::Never, version);
                        Change::Grown {
                            root: pack(over(root, version), number, &mut writer),
                            last_time,
                        }
                    };
                    (change, writer)
                })
                .await?;
                *out = writer;
                Ok((change, spill))
            }
            Task::Delete(range) => {
                let before = Before::of(base, live, is_late, &runs, basis.latest, number, out);
                let root = before.root.map(|root| delete(&root, range, version));
                let last_time = match (basis.last_time, &root) {
                    (Some(last), Some(root)) if range.contains(last) => {
                        self.last_time_of(stream, root).await?
                    }
                    (last, _) => last,
                };
                let change = Change::Replaced {
                    folded: before.folded,
                    runs: before.runs,
                    root: root.map(|root| pack(over(root, version), number, out)),
                    last_time,
                };
                Ok((change, spill))
            }
        }
    }

    /// The tree with the nodes in hand that a mutation has to look into.
    pub(super) async fn hydrate(
        self: &Arc<Self>,
        stream: &Stream,
        base: Option<&Slot>,
        touches: impl Fn(Span) -> Touch,
    ) -> Result<Option<Arc<Inner>>> {
        let Some(root) = base.and_then(|base| base.link.as_ref()) else {
            return Ok(None);
        };
        let mut fetcher = Fetcher::new(self, stream.id, &Probe::default());
        let mut known = Known::default();
        loop {
            let links = missing(root, &touches, &known);
            if links.is_empty() {
                return Ok(assemble(root, &known));
            }
            let nodes = fetcher.nodes(&links).await?;
            for (link, node) in links.iter().zip(nodes) {
                known.add(link, node);
            }
        }
    }

    /// The greatest time beneath `root`.
    async fn last_time_of(
        self: &Arc<Self>,
        stream: &Stream,
        root: &Arc<Inner>,
    ) -> Result<Option<i64>> {
        let view = View {
            version: Version::CREATED,
            root: Some(Link::Held(Node::Inner(Arc::clone(root)))),
            total: None,
            cut: i64::MAX,
            runs: None,
        };
        let query = PointQuery {
            direction: Direction::Backward,
            limit: Some(1),
            ..PointQuery::new(Vec::new(), TimeRange::ALL)
        };
        let mut walk = PointWalk::new(view, &query);
        let mut fetcher = Fetcher::new(self, stream.id, &Probe::default());
        let last = next_points(&mut walk, &mut fetcher, 1).await?;
        Ok(last.map(|(times, _)| times[0]))
    }

    /// Puts segments into the store, where they stay without a meaning until the log speaks of them.
    pub(super) async fn put_segments(&self, out: SegmentWriter) -> Result<Vec<(u32, SegmentInfo)>> {
        let (segments, nodes) = out.finish();
        let epoch = self.log.epoch;
        let puts = segments
            .into_iter()
            .map(|Segment { id, bytes }| async move {
                let object = name(id, epoch);
                let info = SegmentInfo {
                    epoch,
                    bytes: bytes.len() as u64,
                };
                match self.objects.create(&object, bytes).await? {
                    Created::Now => Ok((id, info)),
                    Created::Taken(_) => Err(Error::internal(format!(
                        "object {object} of {} is not this writer's",
                        self.objects
                    ))),
                }
            });
        let made = futures::future::try_join_all(puts).await?;
        for (address, inner) in nodes {
            self.caches.keep_node(address, Cached::Inner(inner));
        }
        Ok(made)
    }

    /// Makes segments known to readers and to the log.
    pub(super) fn declare(&self, segments: &[(u32, SegmentInfo)], records: &mut Records) {
        for &(id, info) in segments {
            self.segments.add(id, info);
            records.push(&Record::Segment {
                id,
                epoch: info.epoch,
                bytes: info.bytes,
            });
        }
    }
}

/// What inserting points at some sorted times does to `span`.
pub(super) fn touch_of(times: &[i64], span: Span) -> Touch {
    let from = times.partition_point(|&time| time < span.start);
    match times.get(from) {
        Some(&time) if time < span.end() => Touch::Part,
        _ => Touch::No,
    }
}

/// A slot over a tree, even one without points: its emptied slots remember when.
pub(super) fn over(root: Arc<Inner>, generation: Version) -> Slot {
    Slot {
        generation,
        stat: root.stat(),
        link: Some(Link::Held(Node::Inner(root))),
    }
}

/// Writes out the marks in memory, if they are many.
pub(super) fn write_marks(marks: &MarkLog, stream: u32, out: &mut SegmentWriter) -> Option<Spill> {
    let tail = marks.spillable()?;
    let mark = MarkRef {
        first: tail.first,
        count: tail.commits.len() as u64,
        first_commit: tail.commits[0],
        address: out.put(Kind::Marks, stream, |out| encode_marks(tail, out)),
    };
    Some(marks.spill(mark, |refs| {
        out.put(Kind::Index, stream, |out| encode_index(refs, out))
    }))
}

/// Does some work on points: here if it is short, else on a thread that may take its time.
pub(super) async fn compute<T: Send + 'static>(
    points: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    if points <= INLINE_POINTS_MAX {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::internal(format!("a computation did not finish: {error}")))
}

fn concat(first: &Piece, then: &Piece) -> Piece {
    let times = [first.times(), then.times()].concat();
    let values = [first.values(), then.values()].concat();
    Piece::whole(Arc::new(Chunk::new(times, values)))
}
