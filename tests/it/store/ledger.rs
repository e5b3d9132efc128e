//! What writers sent, what they were answered, and whether a store tells the same story.
//!
//! A [`Ledger`] writes down every call as it is sent and again as it is answered. [`Ledger::verify`] then reads a store and
//! asks whether it can be explained:
//!
//! - what was acknowledged is there, at its version, with exactly the rows a sorted list would hold;
//! - what was not acknowledged is there whole or not at all, in the order sent, and with all parts of its call;
//! - what was read before is read again: commits name the same versions, versions the same rows.
//!
//! Afterwards nothing is unknown any more, and the story goes on.

use std::collections::{BTreeMap, BTreeSet};

use btrdb_flight::backend::Backend;
use btrdb_flight::engine::Engine;
use btrdb_flight::error::{Code, ErrorKind, Result};
use btrdb_flight::model::{Point, Snapshot, StreamId, StreamRead, Version};
use parking_lot::Mutex;

use super::reads::rows;
use super::story::{Happened, Pending, Story};
use super::workload::{Op, descriptor};

/// What a writer knows of a part of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Acknowledged, with this number.
    Done(u64),
    /// It never happened, and never will.
    Refused,
    /// Nobody knows.
    Unknown,
}

impl From<&Result<u64>> for Answer {
    fn from(result: &Result<u64>) -> Self {
        match result {
            Ok(number) => Self::Done(*number),
            Err(error) => match error.kind() {
                ErrorKind::Conflict if error.code().is_none() => Self::Unknown,
                ErrorKind::Unavailable => Self::Unknown,
                ErrorKind::Corrupt | ErrorKind::Internal => panic!("{error:?}"),
                _ => Self::Refused,
            },
        }
    }
}

/// A call as it was sent.
#[derive(Debug)]
struct Sent {
    /// Calls of one lane follow one another; those of different lanes may be made in any order.
    lane: u64,
    op: Op,
    answers: Vec<Answer>,
}

/// Everything that was sent to a store, and what it answered.
#[derive(Default)]
pub(crate) struct Ledger(Mutex<Book>);

#[derive(Default)]
struct Book {
    sent: Vec<Sent>,
    stories: BTreeMap<StreamId, Story>,
    /// What commits were seen to hold.
    observed: Vec<Observed>,
}

type Observed = (Snapshot, Vec<(StreamId, Version)>);

impl Ledger {
    /// Writes down that `op` is sent; answers the number of the call.
    pub(crate) fn send(&self, lane: u64, op: &Op) -> usize {
        let mut book = self.0.lock();
        book.sent.push(Sent {
            lane,
            op: op.clone(),
            answers: vec![Answer::Unknown; op.streams().len()],
        });
        book.sent.len() - 1
    }

    /// Writes down what a call was answered.
    pub(crate) fn answer(&self, call: usize, answers: Vec<Answer>) {
        let sent = &mut self.0.lock().sent[call];
        assert_eq!(sent.answers.len(), answers.len(), "of {:?}", sent.op);
        sent.answers = answers;
    }

    /// Does `op` and writes it down.
    pub(crate) async fn run(&self, lane: u64, engine: &Engine, op: &Op) -> Vec<Result<u64>> {
        let call = self.send(lane, op);
        let results = op.run(engine).await;
        self.answer(call, results.iter().map(Answer::from).collect());
        results
    }

    /// Does `op`, which must succeed.
    pub(crate) async fn acknowledged(&self, lane: u64, engine: &Engine, op: &Op) {
        for result in self.run(lane, engine, op).await {
            result.unwrap_or_else(|error| panic!("{op:?}: {error:?}"));
        }
    }

    /// The streams that are there, as far as is known for certain.
    pub(crate) fn streams(&self) -> Vec<StreamId> {
        let book = self.0.lock();
        let stories = book.stories.iter().filter(|(_, story)| !story.is_gone);
        let mut found: BTreeSet<StreamId> = stories.map(|(id, _)| *id).collect();
        for sent in &book.sent {
            match (&sent.op, sent.answers[0]) {
                (Op::Create(stream), Answer::Done(_)) => drop(found.insert(stream.id)),
                (Op::Obliterate(id), Answer::Done(_) | Answer::Unknown) => drop(found.remove(id)),
                _ => {}
            }
        }
        found.into_iter().collect()
    }

    /// The rows that a stream of one writer must now have; none if the fate of a call is unknown.
    pub(crate) fn expected(&self, id: StreamId) -> Option<Vec<Point>> {
        let book = self.0.lock();
        let pending = pending(&book.sent, id);
        let mut story = match book.stories.get(&id) {
            Some(story) => story.branch(),
            None => Story::begin(&descriptor(id, "")),
        };
        for made in pending.iter().filter(|pending| pending.is_of_points()) {
            match made.answer {
                Answer::Done(_) => story.apply(made),
                Answer::Refused => {}
                Answer::Unknown => return None,
            }
        }
        Some(story.latest().to_vec())
    }

    /// The newest version that is certain.
    pub(crate) fn latest(&self, id: StreamId) -> Version {
        self.0.lock().stories[&id].version()
    }

    /// The rows of a version that is certain.
    pub(crate) fn rows(&self, id: StreamId, version: Version) -> Vec<Point> {
        self.0.lock().stories[&id].rows(version).to_vec()
    }

    /// Remembers what the newest commit holds.
    ///
    /// # Errors
    /// Those of the engine.
    pub(crate) async fn observe(&self, engine: &Engine) -> Result<()> {
        let streams = self.streams();
        let snapshot = engine.snapshot().await?;
        let versions = engine.versions(&streams, snapshot).await?;
        let seen = streams.into_iter().zip(versions).collect();
        self.0.lock().observed.push((snapshot, seen));
        Ok(())
    }

    /// Whether `engine` tells this story, and no other. Of what was known before, that which `again` picks is read again.
    pub(crate) async fn verify(&self, engine: &Engine, mut again: impl FnMut() -> bool) {
        let mut book = std::mem::take(&mut *self.0.lock());
        let mut happened = Happened::new();
        for id in book.streams_ever() {
            book.verify_stream(engine, id, &mut again, &mut happened)
                .await;
        }
        book.assert_calls_are_whole(&happened);
        book.sent.clear();
        book.verify_observed(engine, &mut again).await;
        *self.0.lock() = book;
        let report = engine.check().await.expect("the store can be checked");
        assert!(report.problems.is_empty(), "{:#?}", report.problems);
    }
}

impl Book {
    fn streams_ever(&self) -> BTreeSet<StreamId> {
        let created = self.sent.iter().filter_map(|sent| match &sent.op {
            Op::Create(stream) => Some(stream.id),
            _ => None,
        });
        self.stories.keys().copied().chain(created).collect()
    }

    async fn verify_stream(
        &mut self,
        engine: &Engine,
        id: StreamId,
        again: &mut impl FnMut() -> bool,
        happened: &mut Happened,
    ) {
        let mut story = self.stories.remove(&id);
        let pending = pending(&self.sent, id);
        let mut obliteration = None;
        for pending in &pending {
            match pending.op {
                Op::Create(stream) if pending.answer == Answer::Done(1) => {
                    story = Some(Story::begin(stream));
                }
                Op::Obliterate(_) if pending.answer != Answer::Refused => {
                    obliteration = Some(pending.answer);
                }
                _ => {}
            }
        }
        let is_gone = story.as_ref().is_some_and(|story| story.is_gone)
            || matches!(obliteration, Some(Answer::Done(_)));
        match engine.describe(&[id]).await {
            Ok(found) => {
                assert!(!is_gone, "{id} was obliterated, and is there");
                let mut story = story.unwrap_or_else(|| Story::begin_unanswered(&pending));
                story.settle_properties(&pending, &found[0]);
                story.settle_points(engine, &pending, again, happened).await;
                self.stories.insert(id, story);
            }
            Err(error) => {
                assert_eq!(error.code(), Some(Code::NoSuchStream), "{id}: {error:?}");
                if let Some(mut story) = story {
                    assert!(
                        is_gone || obliteration.is_some(),
                        "{id} was acknowledged, and is not there"
                    );
                    assert_burned(engine, id).await;
                    story.is_gone = true;
                    self.stories.insert(id, story);
                }
            }
        }
    }

    /// All parts of a call whose fate was unknown happened, or none.
    fn assert_calls_are_whole(&self, happened: &Happened) {
        let is_there = |id: &StreamId| self.stories.get(id).is_some_and(|story| !story.is_gone);
        for (call, sent) in self.sent.iter().enumerate() {
            let Op::Insert { writes, .. } = &sent.op else {
                continue;
            };
            let unknown = (0..writes.len())
                .filter(|&part| sent.answers[part] == Answer::Unknown && is_there(&writes[part].0));
            let (done, not): (Vec<usize>, Vec<usize>) =
                unknown.partition(|&part| happened.contains(&(call, part)));
            assert!(
                done.is_empty() || not.is_empty(),
                "parts {done:?} of a call happened, parts {not:?} did not: {:?}",
                sent.op
            );
        }
    }

    /// Commits hold what they held when they were seen.
    async fn verify_observed(&self, engine: &Engine, again: &mut impl FnMut() -> bool) {
        for (snapshot, seen) in &self.observed {
            let is_there = |id: &StreamId| self.stories.get(id).is_some_and(|story| !story.is_gone);
            let seen = seen.iter().filter(|(id, _)| is_there(id)).copied();
            let (ids, versions): (Vec<StreamId>, Vec<Version>) = seen.unzip();
            let found = engine.versions(&ids, *snapshot).await;
            assert_eq!(found.expect("versions"), versions, "{ids:?} at {snapshot}");
            for (&id, version) in ids.iter().zip(&versions) {
                if again() {
                    let found = rows(engine, StreamRead::latest(id), *snapshot).await;
                    let what = format!("{id} at {snapshot}, version {version}");
                    self.stories[&id].assert_rows(*version, &found.expect("readable"), &what);
                }
            }
        }
    }
}

/// The parts of calls that concern one stream.
fn pending(sent: &[Sent], id: StreamId) -> Vec<Pending<'_>> {
    let mut found = Vec::new();
    for (call, sent) in sent.iter().enumerate() {
        for (part, stream) in sent.op.streams().into_iter().enumerate() {
            if stream == id {
                found.push(Pending {
                    place: (call, part),
                    lane: sent.lane,
                    op: &sent.op,
                    answer: sent.answers[part],
                });
            }
        }
    }
    found
}

/// Nothing of the stream can be read, and its uuid is never used again.
async fn assert_burned(engine: &Engine, id: StreamId) {
    let read = rows(engine, StreamRead::latest(id), Snapshot::Latest).await;
    let code = read.expect_err("an obliterated stream").code();
    assert_eq!(code, Some(Code::NoSuchStream), "{id}");
    let again = engine.create(descriptor(id, "again")).await;
    let code = again.expect_err("a burned uuid").code();
    assert_eq!(code, Some(Code::ReusedUuid), "{id}");
}
