//! Mutations: validate and sort outside every lock, work out under the stream's, sequence under the store's, and acknowledge
//! once the log entry is durable.
//!
//! Small additive mutations wait beside the tree; others are worked out as trees, whose nodes are in the store before the
//! entry that names them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::buffer::ScalarBuffer;
use tokio::sync::OwnedMutexGuard;

use super::Store;
use super::block::{Kind, MarkRef, encode_index, encode_marks, encode_runs};
use super::cache::Cached;
use super::catalogue::Stream;
use super::fetch::Fetcher;
use super::history::{Change, History, Live, View};
use super::log::record::{Record, Records};
use super::marks::{MarkLog, Spill};
use super::pack::pack;
use super::read::next_points;
use super::segment::{Segment, SegmentInfo, SegmentWriter, name};
use super::store::Created;
use super::tree::{
    Chunk, Inner, Known, Link, Node, Piece, Slot, Span, Touch, assemble, dedupe, delete, insert,
    missing,
};
use super::walk::PointWalk;
use crate::error::{Code, Error, ErrorKind, Result};
use crate::model::point::check_points;
use crate::model::{
    Direction, InsertOptions, MergePolicy, PointQuery, Probe, StreamDescriptor, TimeRange, Version,
    Write,
};

/// Points that one write may bring: 256 MiB of them. Callers with more send several.
const WRITE_POINTS_MAX: usize = 16 << 20;

/// Points that are worked on between two awaits; more go to a thread that may take its time.
const INLINE_POINTS_MAX: usize = 16 * 1024;

/// A write that passed every check which does not need the stream's history.
struct Ready {
    /// Its place in the call.
    index: usize,
    stream: Arc<Stream>,
    points: Option<Piece>,
}

/// What the writes of a call change in one stream, in their order.
struct Plan {
    stream: Arc<Stream>,
    /// The place in the call of each write, and its change; none where it brings no points.
    changes: Vec<(usize, Option<Change>)>,
    spill: Option<Spill>,
}

/// What a tree is worked out from.
struct Basis {
    base: Option<Slot>,
    live: Live,
    marks: MarkLog,
    latest: Version,
    last_time: Option<i64>,
}

impl Basis {
    fn of(history: &History) -> Self {
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
enum Task {
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

/// What inserting points at some sorted times does to `span`.
pub(crate) fn touch_of(times: &[i64], span: Span) -> Touch {
    let from = times.partition_point(|&time| time < span.start);
    match times.get(from) {
        Some(&time) if time < span.end() => Touch::Part,
        _ => Touch::No,
    }
}

impl Store {
    /// Inserts, one answer a write. All become visible in one commit; where a stream stands more than once, its writes follow
    /// one another, each a version.
    ///
    /// Cancel safety: a call that is dropped has changed nothing, or is committed without an answer.
    pub(crate) async fn insert(
        self: &Arc<Self>,
        writes: Vec<Write>,
        options: InsertOptions,
    ) -> Vec<Result<Version>> {
        let mut answers: Vec<Option<Result<Version>>> = writes.iter().map(|_| None).collect();
        if let Err(error) = self.insert_into(&writes, options, &mut answers).await {
            for answer in answers
                .iter_mut()
                .filter(|answer| !matches!(answer, Some(Err(_))))
            {
                *answer = Some(Err(again(&error)));
            }
        }
        for (write, answer) in writes.into_iter().zip(&answers) {
            if matches!(answer, Some(Ok(_))) && !write.times.is_empty() {
                self.subscribers.publish(write);
            }
        }
        let unanswered = || Err(Error::internal("a write was left without an answer"));
        answers
            .into_iter()
            .map(|answer| answer.unwrap_or_else(unanswered))
            .collect()
    }

    /// As [`insert`](Self::insert); an error is that of every write without one of its own.
    async fn insert_into(
        self: &Arc<Self>,
        writes: &[Write],
        options: InsertOptions,
        answers: &mut [Option<Result<Version>>],
    ) -> Result<()> {
        self.log.writable()?;
        self.live_room().await;
        let points: usize = writes.iter().map(|write| write.times.len()).sum();
        let bytes = 16 * points as u64 + 64 * writes.len() as u64;
        let _room = self.room_to_write(bytes).await?;
        let ready = self.make_ready(writes, options, answers).await?;
        if ready.is_empty() {
            return Ok(());
        }

        // Locks are taken in one order everywhere, so that two calls cannot wait for each other.
        let mut streams: BTreeMap<_, Vec<Ready>> = BTreeMap::new();
        for ready in ready {
            streams.entry(ready.stream.id).or_default().push(ready);
        }
        let mut guards = Vec::with_capacity(streams.len());
        for writes in streams.values() {
            guards.push(lock(&writes[0].stream).await);
        }
        let mut out = self.segments.writer();
        let mut segments = Vec::new();
        let mut plans = Vec::with_capacity(streams.len());
        for writes in streams.into_values() {
            let indices: Vec<usize> = writes.iter().map(|ready| ready.index).collect();
            match self
                .plan(writes, options.merge, &mut out, &mut segments)
                .await
            {
                Ok(plan) => plans.push(plan),
                // A computation that broke off may have taken blocks of other streams with it.
                Err(error) if error.kind() == ErrorKind::Internal => return Err(error),
                Err(error) => {
                    for index in indices {
                        answers[index] = Some(Err(again(&error)));
                    }
                }
            }
        }
        if plans
            .iter()
            .all(|plan| plan.changes.iter().all(|(_, change)| change.is_none()))
        {
            return self.answer_latest(&plans, answers).await;
        }
        segments.extend(self.put_segments(out).await?);
        let (made, commit) = self.log.sequence(|records, commit| {
            self.declare(&segments, records);
            let mut made = Vec::with_capacity(plans.len());
            for plan in &plans {
                self.take_over(plan, records, commit, &mut made);
            }
            made
        })?;
        // Sequenced is settled: the next mutation of these streams may be worked out on top of it.
        drop(guards);
        for (index, answer) in made {
            answers[index] = Some(answer);
        }
        self.log.durable(commit).await
    }

    /// Answers writes that bring no points.
    async fn answer_latest(
        self: &Arc<Self>,
        plans: &[Plan],
        answers: &mut [Option<Result<Version>>],
    ) -> Result<()> {
        let commit = self.log.committed();
        for plan in plans {
            for &(index, _) in &plan.changes {
                answers[index] = Some(
                    self.version_at(&plan.stream, commit, &Probe::default())
                        .await,
                );
            }
        }
        Ok(())
    }

    /// Makes the changes of one stream part of its history, and says so in the log.
    fn take_over(
        &self,
        plan: &Plan,
        records: &mut Records,
        commit: u64,
        made: &mut Vec<(usize, Result<Version>)>,
    ) {
        let stream = &plan.stream;
        for (index, change) in &plan.changes {
            let answer = match change {
                None => stream.with_history(|history| history.latest()),
                Some(change) => {
                    let answer =
                        self.change(stream, |history| history.apply(change.clone(), commit));
                    if answer.is_ok() {
                        put_change(records, stream.number, change);
                    }
                    answer
                }
            };
            made.push((*index, answer));
        }
        if let Some(spill) = &plan.spill {
            self.spill(stream, spill, records);
        }
    }

    /// Takes marks that were written out from memory, and says so in the log.
    pub(crate) fn spill(&self, stream: &Stream, spill: &Spill, records: &mut Records) {
        if stream
            .with_history(|history| history.apply_spill(spill))
            .is_ok()
        {
            records.push(&Record::Spilled {
                stream: stream.number,
                spill: spill.clone(),
            });
        }
    }

    /// Works on a history and keeps count of what waits beside its tree.
    pub(crate) fn change<T>(
        &self,
        stream: &Arc<Stream>,
        work: impl FnOnce(&mut History) -> T,
    ) -> Result<T> {
        let (made, before, after, points) = stream.with_history(|history| {
            let before = history.live_bytes();
            let made = work(history);
            (made, before, history.live_bytes(), history.live.points())
        })?;
        if after >= before {
            self.live_bytes.fetch_add(after - before, Ordering::Relaxed);
        } else {
            self.live_bytes.fetch_sub(before - after, Ordering::Relaxed);
        }
        if points >= self.settings.fold_points && !stream.fold_is_due.swap(true, Ordering::Relaxed)
        {
            self.fold_due.lock().push(Arc::clone(stream));
        }
        Ok(made)
    }

    /// Waits while more waits beside trees than may.
    async fn live_room(&self) {
        loop {
            let room = self.live_room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            if self.live_bytes.load(Ordering::Relaxed) < self.settings.live_bytes_max
                || self.log.writable().is_err()
            {
                return;
            }
            self.housekeeping.notify_one();
            room.await;
        }
    }

    /// Removes a range, in a new version whether or not it held points.
    pub(crate) async fn delete(
        self: &Arc<Self>,
        id: crate::model::StreamId,
        range: TimeRange,
    ) -> Result<Version> {
        let range = TimeRange::checked(range.start, range.end)?;
        self.log.writable()?;
        let stream = self.catalogue.stream(id)?;
        let guard = lock(&stream).await;
        let mut out = self.segments.writer();
        let basis = stream.with_history(|history| Basis::of(history))?;
        let (change, spill) = self
            .work_out(&stream, basis, Task::Delete(range), &mut out)
            .await?;
        let segments = self.put_segments(out).await?;
        let plan = Plan {
            stream,
            changes: vec![(0, Some(change))],
            spill,
        };
        let (made, commit) = self.log.sequence(|records, commit| {
            self.declare(&segments, records);
            let mut made = Vec::new();
            self.take_over(&plan, records, commit, &mut made);
            made
        })?;
        drop(guard);
        self.log.durable(commit).await?;
        made.into_iter().next().map_or_else(
            || Err(Error::internal("a delete was left without an answer")),
            |(_, answer)| answer,
        )
    }

    /// Creates a stream.
    pub(crate) async fn create(&self, mut stream: StreamDescriptor) -> Result<()> {
        stream.check()?;
        stream.property_version = 1;
        let (made, commit) = self.log.sequence(|records, _| {
            let number = self.catalogue.create(&stream)?;
            records.push(&Record::Create(number, stream));
            Ok(())
        })?;
        made?;
        self.log.durable(commit).await
    }

    /// Changes properties; answers the new property version.
    pub(crate) async fn change_properties(
        &self,
        change: impl FnOnce() -> Result<(u32, Arc<StreamDescriptor>)>,
    ) -> Result<u64> {
        let (made, commit) = self.log.sequence(|records, _| {
            let (number, changed) = change()?;
            records.push(&Record::Properties(number, changed.as_ref().clone()));
            Ok::<_, Error>(changed.property_version)
        })?;
        let property_version = made?;
        self.log.durable(commit).await?;
        Ok(property_version)
    }

    /// Removes a stream and burns its uuid.
    pub(crate) async fn obliterate(&self, id: crate::model::StreamId) -> Result<()> {
        let stream = self.catalogue.stream(id)?;
        // A write that is under way finishes first, and none begins on what is about to go.
        let _guard = lock(&stream).await;
        let (made, commit) = self.log.sequence(|records, _| {
            let freed = stream.with_history(|history| history.live_bytes())?;
            self.catalogue.remove(id)?;
            self.live_bytes.fetch_sub(freed, Ordering::Relaxed);
            records.push(&Record::Obliterate(stream.number));
            Ok::<_, Error>(())
        })?;
        made?;
        self.log.durable(commit).await
    }

    /// Checks, sorts and deduplicates writes; those that fail are answered.
    async fn make_ready(
        self: &Arc<Self>,
        writes: &[Write],
        options: InsertOptions,
        answers: &mut [Option<Result<Version>>],
    ) -> Result<Vec<Ready>> {
        let points = writes.iter().map(|write| write.times.len()).sum();
        let store = Arc::clone(self);
        let writes = writes.to_vec();
        let each = compute(points, move || -> Vec<Result<Ready>> {
            let each = writes.iter().enumerate();
            each.map(|(index, write)| store.make_one_ready(index, write, options))
                .collect()
        })
        .await?;
        let mut ready = Vec::with_capacity(each.len());
        for (index, one) in each.into_iter().enumerate() {
            match one {
                Ok(one) => ready.push(one),
                Err(error) => answers[index] = Some(Err(error)),
            }
        }
        Ok(ready)
    }

    fn make_one_ready(&self, index: usize, write: &Write, options: InsertOptions) -> Result<Ready> {
        if write.times.len() > WRITE_POINTS_MAX {
            let message = format!(
                "insert too big: {} points, {WRITE_POINTS_MAX} at most",
                write.times.len()
            );
            return Err(Error::new(ErrorKind::Exhausted, message).with_code(Code::InsertTooBig));
        }
        check_points(&write.times, &write.values)?;
        let stream = self.catalogue.stream(write.stream)?;
        let points = (!write.times.is_empty())
            .then(|| -> Result<Piece> {
                Ok(dedupe(
                    sorted(rounded(write, options.rounding_bits)?),
                    options.merge,
                ))
            })
            .transpose()?;
        Ok(Ready {
            index,
            stream,
            points,
        })
    }

    /// Works out what the writes of one stream change. Its write lock is held. Segments put on the way are added to `segments`.
    async fn plan(
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
    async fn work_out(
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
    pub(crate) async fn hydrate(
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
    pub(crate) async fn put_segments(&self, out: SegmentWriter) -> Result<Vec<(u32, SegmentInfo)>> {
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
    pub(crate) fn declare(&self, segments: &[(u32, SegmentInfo)], records: &mut Records) {
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

/// The latest version before a mutation, as a tree.
struct Before {
    /// In hand where it is touched.
    root: Option<Arc<Inner>>,
    /// In the store, if live runs had to be folded for it and can be read off it.
    folded: Option<Slot>,
    /// The runs, if they cannot.
    runs: Option<super::tree::Address>,
}

impl Before {
    fn of(
        base: Option<Arc<Inner>>,
        live: Option<Piece>,
        is_late: bool,
        runs: &super::block::Runs,
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

/// A slot over a tree, even one without points: its emptied slots remember when.
pub(crate) fn over(root: Arc<Inner>, generation: Version) -> Slot {
    Slot {
        generation,
        stat: root.stat(),
        link: Some(Link::Held(Node::Inner(root))),
    }
}

/// Writes out the marks in memory, if they are many.
pub(crate) fn write_marks(marks: &MarkLog, stream: u32, out: &mut SegmentWriter) -> Option<Spill> {
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
pub(crate) async fn compute<T: Send + 'static>(
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

/// The write lock of a stream.
pub(crate) async fn lock(stream: &Stream) -> OwnedMutexGuard<()> {
    Arc::clone(&stream.writing).lock_owned().await
}

fn put_change(records: &mut Records, stream: u32, change: &Change) {
    match change {
        Change::Run(points) => records.push_run(stream, points.times(), points.values()),
        Change::Grown { root, last_time } => records.push(&Record::Grown {
            stream,
            root: root.clone(),
            last_time: *last_time,
        }),
        Change::Replaced {
            folded,
            runs,
            root,
            last_time,
        } => records.push(&Record::Replaced {
            stream,
            folded: folded.clone(),
            runs: *runs,
            root: root.clone(),
            last_time: *last_time,
        }),
    }
}

/// The same error for another write of the call.
fn again(error: &Error) -> Error {
    let message = match std::error::Error::source(error) {
        Some(cause) => format!("{}: {cause}", error.message()),
        None => error.message().to_owned(),
    };
    let same = Error::new(error.kind(), message);
    match error.code() {
        Some(code) => same.with_code(code),
        None => same,
    }
}

fn concat(first: &Piece, then: &Piece) -> Piece {
    let times = [first.times(), then.times()].concat();
    let values = [first.values(), then.values()].concat();
    Piece::whole(Arc::new(Chunk::new(times, values)))
}

/// The points of a write, ascending; equal times in the order they came.
fn sorted((times, values): (ScalarBuffer<i64>, ScalarBuffer<f64>)) -> Piece {
    let chunk = if times.is_sorted() {
        Chunk { times, values }
    } else {
        let mut order: Vec<u32> = (0..times.len() as u32).collect();
        order.sort_by_key(|&row| times[row as usize]);
        let (times, values) = order
            .into_iter()
            .map(|row| (times[row as usize], values[row as usize]))
            .unzip();
        Chunk::new(times, values)
    };
    Piece::whole(Arc::new(chunk))
}

/// Values with so many low bits of the mantissa rounded away, to nearest even.
fn rounded(write: &Write, bits: u8) -> Result<(ScalarBuffer<i64>, ScalarBuffer<f64>)> {
    let times = write.times.clone();
    if bits == 0 {
        return Ok((times, write.values.clone()));
    }
    if bits > 52 {
        return Err(
            Error::invalid(format!("rounding to {bits} bits is not between 0 and 52"))
                .with_code(Code::InvalidParameter),
        );
    }
    let values: Vec<f64> = write
        .values
        .iter()
        .map(|&value| round(value, bits))
        .collect();
    check_points(&times, &values)?;
    Ok((times, values.into()))
}

fn round(value: f64, bits: u8) -> f64 {
    let raw = value.to_bits();
    let half = 1_u64 << (bits - 1);
    let odd = raw >> bits & 1;
    // Carries run into the exponent as they should: the next power of two has a mantissa of zeros.
    f64::from_bits((raw + (half - 1) + odd) >> bits << bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_goes_to_the_nearest_even() {
        assert_eq!(round(1.0, 52), 1.0);
        assert_eq!(round(1.5, 52), 2.0);
        assert_eq!(round(-1.4, 52), -1.0);
        assert_eq!(round(1.0 + f64::EPSILON, 1), 1.0);
        assert_eq!(round(1.0 + 3.0 * f64::EPSILON, 1), 1.0 + 4.0 * f64::EPSILON);
        assert!(round(f64::MAX, 10).is_infinite());
    }
}
