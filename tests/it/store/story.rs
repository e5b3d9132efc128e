//! What is certain of one stream, and how a store's answers become part of it.

use std::collections::{BTreeMap, BTreeSet};

use btrdb_flight::backend::Backend;
use btrdb_flight::engine::Engine;
use btrdb_flight::model::{Point, Snapshot, StreamDescriptor, StreamRead, Version};

use super::ledger::Answer;
use super::reads::{assert_same, assert_stats, is_same, rows};
use super::workload::Op;
use crate::model::Model;

/// A part of a call that may have become part of a stream.
pub(crate) struct Pending<'a> {
    pub(crate) place: Place,
    pub(crate) lane: u64,
    pub(crate) op: &'a Op,
    pub(crate) answer: Answer,
}

/// Which call, and which part of it.
type Place = (usize, usize);

/// Which parts of which calls were found to have happened.
pub(crate) type Happened = BTreeSet<Place>;

impl Pending<'_> {
    pub(crate) fn is_of_points(&self) -> bool {
        matches!(self.op, Op::Insert { .. } | Op::Delete(..))
    }
}

/// What is certain of one stream.
pub(crate) struct Story {
    pub(crate) is_gone: bool,
    descriptor: StreamDescriptor,
    model: Model,
}

impl Story {
    /// Of a stream that was just created.
    pub(crate) fn begin(stream: &StreamDescriptor) -> Self {
        Self {
            is_gone: false,
            descriptor: StreamDescriptor {
                property_version: 1,
                ..stream.clone()
            },
            model: Model {
                id: stream.id,
                versions: vec![Vec::new()],
                commits: Vec::new(),
            },
        }
    }

    /// Of a stream that is there, though nobody was told that it was created.
    pub(crate) fn begin_unanswered(pending: &[Pending<'_>]) -> Self {
        let creation = pending.iter().find_map(|pending| match pending.op {
            Op::Create(stream) if pending.answer == Answer::Unknown => Some(stream),
            _ => None,
        });
        Self::begin(creation.expect("a stream that is there was created"))
    }

    /// A stream of its own that has what this one has now.
    pub(crate) fn branch(&self) -> Self {
        let mut branch = Self::begin(&self.descriptor);
        branch.model.versions = vec![self.latest().to_vec()];
        branch
    }

    pub(crate) fn latest(&self) -> &[Point] {
        self.model.latest()
    }

    /// Makes a mutation of points the next version.
    pub(crate) fn apply(&mut self, pending: &Pending<'_>) {
        match pending.op {
            Op::Insert { writes, merge } => self.model.insert(&writes[pending.place.1].1, *merge),
            Op::Delete(_, range) => self.model.delete(*range),
            other => unreachable!("{other:?} makes no version"),
        }
    }

    pub(crate) fn version(&self) -> Version {
        self.model.version()
    }

    pub(crate) fn rows(&self, version: Version) -> &[Point] {
        &self.model.versions[(version.0 - Version::CREATED.0) as usize]
    }

    pub(crate) fn assert_rows(&self, version: Version, found: &[Point], what: &str) {
        assert!(version <= self.version(), "{what}: never made");
        assert_same(found, self.rows(version), what);
    }

    /// Finds the changes of properties that lead to `found`.
    pub(crate) fn settle_properties(&mut self, pending: &[Pending<'_>], found: &StreamDescriptor) {
        // Whatever it may look like by now.
        let mut states = vec![self.descriptor.clone()];
        for Pending { op, answer, .. } in pending {
            let changed = states.iter().filter_map(|state| with_property(state, op));
            let mut changed: Vec<StreamDescriptor> = changed.collect();
            match answer {
                _ if changed.is_empty() => {}
                Answer::Refused => {}
                Answer::Done(number) => {
                    changed.retain(|state| state.property_version == *number);
                    states = changed;
                }
                Answer::Unknown => states.extend(changed),
            }
        }
        assert!(states.contains(found), "{found:?} is none of {states:#?}");
        self.descriptor = found.clone();
    }

    /// Reads the versions, and finds the mutation that made each new one.
    pub(crate) async fn settle_points(
        &mut self,
        engine: &Engine,
        pending: &[Pending<'_>],
        again: &mut impl FnMut() -> bool,
        happened: &mut Happened,
    ) {
        let id = self.model.id;
        let latest = engine.versions(&[id], Snapshot::Latest).await;
        let latest = latest.expect("versions")[0];
        let known = self.version();
        assert!(latest >= known, "{id} went back from {known} to {latest}");
        let mut last_of_lane: BTreeMap<u64, Place> = BTreeMap::new();
        for version in (Version::CREATED.0..=latest.0).map(Version) {
            if version <= known && !again() {
                continue;
            }
            let read = StreamRead {
                id,
                version: Some(version),
            };
            let what = format!("{id} version {version} of {latest}");
            let found = rows(engine, read, Snapshot::Latest).await;
            let found = found.unwrap_or_else(|error| panic!("{what}: {error:?}"));
            if version > known {
                let made = self.explain(version, &found, pending, &last_of_lane, &what);
                last_of_lane.insert(made.lane, made.place);
                happened.insert(made.place);
            }
            self.assert_rows(version, &found, &what);
            assert_stats(engine, read, &found, &what).await;
        }
        for pending in pending.iter().filter(|pending| pending.is_of_points()) {
            if let Answer::Done(number) = pending.answer {
                let is_there = happened.contains(&pending.place);
                let op = pending.op;
                assert!(
                    is_there,
                    "{id} is at {latest}, {number} was answered to {op:?}"
                );
            }
        }
        let found = rows(engine, StreamRead::latest(id), Snapshot::Latest).await;
        self.assert_rows(latest, &found.expect("readable"), &format!("{id} latest"));
    }

    /// The mutation that led to `found`; it becomes part of the model.
    fn explain<'a, 'b>(
        &mut self,
        version: Version,
        found: &[Point],
        pending: &'a [Pending<'b>],
        last_of_lane: &BTreeMap<u64, Place>,
        what: &str,
    ) -> &'a Pending<'b> {
        let follows = |next: &Pending<'_>| {
            let last = last_of_lane.get(&next.lane);
            last.is_none_or(|last| next.place > *last)
        };
        let of_points = || pending.iter().filter(|pending| pending.is_of_points());
        if let Some(made) = of_points().find(|next| next.answer == Answer::Done(version.0)) {
            assert!(follows(made), "{what} is out of order: {:?}", made.op);
            self.apply(made);
            let what = format!("{what}, as answered to {:?}", made.op);
            assert_same(found, self.latest(), &what);
            return made;
        }
        // Nobody was told of it: it is a call after the last that happened in its lane, and before the next that was answered.
        let is_answered = |next: &&Pending<'_>| matches!(next.answer, Answer::Done(_));
        let may_be = |next: &&Pending<'_>| {
            let ahead = of_points().filter(|other| other.lane == next.lane && follows(other));
            let answered = ahead.filter(is_answered).map(|other| other.place).min();
            let is_unknown = next.answer == Answer::Unknown && follows(next);
            is_unknown && answered.is_none_or(|answered| next.place < answered)
        };
        for next in of_points().filter(may_be) {
            self.apply(next);
            if is_same(found, self.latest()) {
                return next;
            }
            self.model.versions.pop();
        }
        let before = self.latest().len();
        panic!(
            "{what}: {} points after {before}, which no call explains",
            found.len()
        )
    }
}

/// A descriptor after a change of properties; none if `op` is none.
fn with_property(stream: &StreamDescriptor, op: &Op) -> Option<StreamDescriptor> {
    let mut changed = stream.clone();
    match op {
        Op::SetTags(update) => {
            if let Some(collection) = &update.collection {
                changed.collection.clone_from(collection);
            }
            for (key, value) in &update.tags {
                changed.tags.set(*key, value.clone());
            }
        }
        Op::Annotate(update) => {
            changed.annotations.extend(update.changes.clone());
            for key in &update.removals {
                changed.annotations.remove(key);
            }
        }
        _ => return None,
    }
    changed.property_version += 1;
    Some(changed)
}
