//! Mutations: validate and sort outside every lock, work out under the stream's, sequence under the store's, and acknowledge
//! once the log entry is durable.
//!
//! Small additive mutations wait beside the tree; others are worked out as trees, whose nodes are in the store before the
//! entry that names them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::OwnedMutexGuard;

use super::Store;
use super::catalogue::Stream;
use super::history::{Change, History};
use super::log::record::{Record, Records};
use super::marks::Spill;
use super::ready::Ready;
use super::work_out::{Basis, Plan, Task};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{InsertOptions, Probe, StreamDescriptor, StreamId, TimeRange, Version, Write};

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
        id: StreamId,
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
    pub(crate) async fn obliterate(&self, id: StreamId) -> Result<()> {
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
