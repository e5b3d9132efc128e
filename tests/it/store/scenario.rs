//! One of everything a writer can do, step by step: few calls, so that each can be made to fail.

use std::sync::Arc;

use btrdb_flight::engine::Engine;
use btrdb_flight::error::Error;
use btrdb_flight::model::{
    AnnotationUpdate, MergePolicy, Point, Snapshot, StreamId, StreamRead, TagKey, TagUpdate,
    TimeRange,
};
use futures::future::join_all;

use super::faulty::Writer;
use super::ledger::Ledger;
use super::reads::{assert_same, rows};
use super::workload::{Op, numbered};
use super::{eager, patiently};

/// What a writer does next.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Open,
    /// All at once.
    Calls(Vec<Op>),
    /// Of all streams, the latest.
    Read,
    Fold,
    Checkpoint,
    Close,
}

/// How a step went.
pub(crate) enum Outcome {
    /// It ended, with these errors.
    Ended(Vec<Error>),
    /// It does not end.
    Stuck,
}

/// A writer that goes through steps.
pub(crate) struct Actor<'a> {
    pub(crate) writer: Writer,
    pub(crate) engine: Option<Arc<Engine>>,
    lane: u64,
    ledger: &'a Ledger,
}

impl<'a> Actor<'a> {
    pub(crate) fn new(writer: Writer, lane: u64, ledger: &'a Ledger) -> Self {
        Self {
            writer,
            engine: None,
            lane,
            ledger,
        }
    }

    /// Takes a step; every call of it is written down.
    pub(crate) async fn take(&mut self, step: &Step) -> Outcome {
        match patiently(self.try_step(step)).await {
            None => Outcome::Stuck,
            Some(errors) => Outcome::Ended(errors),
        }
    }

    /// Takes a step that must succeed.
    pub(crate) async fn must(&mut self, step: Step) {
        match self.take(&step).await {
            Outcome::Stuck => panic!("{step:?} does not end"),
            Outcome::Ended(errors) => assert!(errors.is_empty(), "{step:?}: {errors:?}"),
        }
    }

    /// Whether the store tells the story in the ledger.
    pub(crate) async fn verify(&self) {
        let engine = self.engine.as_ref().expect("opened first");
        self.ledger.verify(engine, || true).await;
    }

    /// The store takes new streams and points, may be closed, and is the same when it is opened again.
    pub(crate) async fn go_on(&mut self) {
        self.must(Step::Calls(vec![create(9)])).await;
        self.must(Step::Calls(vec![self.insert_into_all(100, 30)]))
            .await;
        self.must(Step::Calls(vec![self.insert_into_all(99, 31)]))
            .await;
        self.verify().await;
        self.must(Step::Checkpoint).await;
        self.must(Step::Close).await;
        self.must(Step::Open).await;
        self.verify().await;
    }

    /// Three points for every stream.
    pub(crate) fn insert_into_all(&self, tick: i64, salt: u32) -> Op {
        let numbers = self.ledger.streams().into_iter();
        let numbers = numbers.map(|id| id.0.as_u128());
        insert(
            numbers
                .map(|number| (number, points(tick, 3, salt)))
                .collect(),
        )
    }

    async fn try_step(&mut self, step: &Step) -> Vec<Error> {
        if let Step::Open = step {
            self.engine = None;
            let store = Arc::new(self.writer.clone());
            return match Engine::open_on(store, eager()).await {
                Ok(engine) => {
                    self.engine = Some(engine);
                    Vec::new()
                }
                Err(error) => vec![error],
            };
        }
        let engine = Arc::clone(self.engine.as_ref().expect("opened first"));
        let result = match step {
            Step::Calls(ops) => return self.call(&engine, ops).await,
            Step::Read => return self.read(&engine).await,
            Step::Fold => engine.fold().await,
            Step::Checkpoint => engine.checkpoint().await.map(drop),
            Step::Close => engine.close().await,
            Step::Open => unreachable!("handled above"),
        };
        result.err().into_iter().collect()
    }

    async fn call(&self, engine: &Engine, ops: &[Op]) -> Vec<Error> {
        let calls = ops.iter().map(|op| self.ledger.run(self.lane, engine, op));
        let results = join_all(calls).await;
        let mut errors: Vec<Error> = results
            .into_iter()
            .flatten()
            .filter_map(|result| result.err())
            .collect();
        if errors.is_empty() {
            errors.extend(self.ledger.observe(engine).await.err());
        }
        errors
    }

    async fn read(&self, engine: &Engine) -> Vec<Error> {
        let mut errors = Vec::new();
        // As of now: what others acknowledge meanwhile, this writer need not know.
        let streams = self.ledger.streams().into_iter();
        let expected: Vec<_> = streams.map(|id| (id, self.ledger.expected(id))).collect();
        for (id, expected) in expected {
            match (
                rows(engine, StreamRead::latest(id), Snapshot::Latest).await,
                expected,
            ) {
                (Err(error), _) => errors.push(error),
                (Ok(found), Some(expected)) => {
                    assert_same(&found, &expected, &format!("{id} latest"));
                }
                (Ok(_), None) => {}
            }
        }
        errors
    }
}

/// Lets every task run that can.
pub(crate) async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

/// `count` points from `tick` on. `salt` makes them differ from those of other inserts.
pub(crate) fn points(tick: i64, count: i64, salt: u32) -> Vec<Point> {
    let point = |tick: i64| Point {
        time: 1_000_000_000 * tick,
        value: tick as f64 + f64::from(salt) / 1000.0,
    };
    (tick..tick + count).map(point).collect()
}

fn id(number: u128) -> StreamId {
    numbered(number).id
}

pub(crate) fn create(number: u128) -> Op {
    Op::Create(numbered(number))
}

/// Adds points to streams by number.
pub(crate) fn insert(writes: Vec<(u128, Vec<Point>)>) -> Op {
    merge(writes, MergePolicy::Never)
}

fn merge(writes: Vec<(u128, Vec<Point>)>, merge: MergePolicy) -> Op {
    Op::Insert {
        writes: writes
            .into_iter()
            .map(|(number, points)| (id(number), points))
            .collect(),
        merge,
    }
}

pub(crate) fn delete(number: u128, start: i64, end: i64) -> Op {
    let range = TimeRange::new(1_000_000_000 * start, 1_000_000_000 * end);
    Op::Delete(id(number), range)
}

pub(crate) fn set_unit(number: u128, unit: &str) -> Op {
    Op::SetTags(TagUpdate {
        stream: id(number),
        expected: None,
        collection: None,
        tags: vec![(TagKey::Unit, unit.to_owned())],
    })
}

pub(crate) fn annotate(number: u128, key: &str) -> Op {
    Op::Annotate(AnnotationUpdate {
        stream: id(number),
        expected: None,
        changes: [(key.to_owned(), Some("value".to_owned()))].into(),
        removals: Vec::new(),
    })
}

/// The scenario, from an empty store to a crash.
pub(crate) fn steps() -> Vec<Step> {
    let one = |op| Step::Calls(vec![op]);
    vec![
        Step::Open,
        one(create(1)),
        Step::Calls(vec![create(2), create(3)]),
        one(insert(vec![
            (1, points(0, 3, 1)),
            (2, points(0, 2, 2)),
            (3, points(0, 1, 3)),
        ])),
        // Late, and at taken times.
        one(insert(vec![(1, points(1, 2, 4))])),
        Step::Calls(vec![
            insert(vec![(1, points(3, 3, 5))]),
            insert(vec![(2, points(2, 3, 6))]),
            insert(vec![(3, points(1, 2, 7))]),
        ]),
        Step::Read,
        // More than may wait beside a tree.
        one(insert(vec![(1, points(6, 40, 8))])),
        one(insert(vec![(1, points(46, 4, 9)), (2, points(5, 55, 10))])),
        one(delete(1, 10, 20)),
        one(merge(vec![(2, points(58, 4, 10))], MergePolicy::Equal)),
        one(merge(vec![(2, points(60, 4, 11))], MergePolicy::Retain)),
        one(merge(vec![(2, points(60, 2, 12))], MergePolicy::Replace)),
        one(set_unit(1, "V")),
        one(annotate(2, "first")),
        one(create(4)),
        one(insert(vec![(4, points(0, 5, 13)), (3, points(3, 2, 14))])),
        Step::Checkpoint,
        one(Op::Obliterate(id(4))),
        one(insert(vec![(1, points(50, 2, 15)), (2, points(64, 2, 16))])),
        Step::Fold,
        Step::Read,
        // Large and late.
        one(insert(vec![(3, points(-20, 40, 17))])),
        Step::Checkpoint,
        Step::Close,
        Step::Open,
        Step::Read,
        Step::Calls(vec![
            insert(vec![(1, points(52, 2, 18)), (2, points(66, 1, 19))]),
            delete(3, -5, 5),
            annotate(3, "second"),
        ]),
        one(set_unit(1, "kV")),
        Step::Checkpoint,
        one(insert(vec![(1, points(54, 2, 20)), (3, points(5, 2, 21))])),
        Step::Checkpoint,
        one(insert(vec![(2, points(30, 2, 22))])),
        Step::Read,
    ]
}
