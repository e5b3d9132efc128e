//! What writers do: calls as values, and random ones that a seed repeats.

use btrdb_flight::backend::Backend;
use btrdb_flight::engine::Engine;
use btrdb_flight::error::Result;
use btrdb_flight::model::{
    AnnotationUpdate, InsertOptions, MergePolicy, Point, StreamDescriptor, StreamId, TagKey,
    TagUpdate, Tags, TimeRange, Write,
};
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use uuid::Uuid;

/// One call of a writer.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Create(StreamDescriptor),
    Insert {
        writes: Vec<(StreamId, Vec<Point>)>,
        merge: MergePolicy,
    },
    Delete(StreamId, TimeRange),
    SetTags(TagUpdate),
    Annotate(AnnotationUpdate),
    Obliterate(StreamId),
}

impl Op {
    /// Does it; one answer a stream, with the version, or property version, or 1.
    pub(crate) async fn run(&self, engine: &Engine) -> Vec<Result<u64>> {
        match self.clone() {
            Self::Create(stream) => vec![engine.create(stream).await.map(|()| 1)],
            Self::Insert { writes, merge } => {
                let options = InsertOptions {
                    merge,
                    rounding_bits: 0,
                };
                let writes = writes.into_iter().map(|(id, points)| write(id, &points));
                let answers = engine.insert(writes.collect(), options).await;
                let versions = answers.into_iter();
                versions.map(|answer| answer.map(|v| v.0)).collect()
            }
            Self::Delete(id, range) => vec![engine.delete(id, range).await.map(|v| v.0)],
            Self::SetTags(update) => vec![engine.set_tags(update).await],
            Self::Annotate(update) => vec![engine.set_annotations(update).await],
            Self::Obliterate(id) => vec![engine.obliterate(id).await.map(|()| 1)],
        }
    }

    /// The streams it touches, one an answer.
    pub(crate) fn streams(&self) -> Vec<StreamId> {
        match self {
            Self::Create(stream) => vec![stream.id],
            Self::Insert { writes, .. } => writes.iter().map(|(id, _)| *id).collect(),
            Self::Delete(id, _) | Self::Obliterate(id) => vec![*id],
            Self::SetTags(update) => vec![update.stream],
            Self::Annotate(update) => vec![update.stream],
        }
    }
}

/// A stream whose name and uuid come from `number`.
pub(crate) fn numbered(number: u128) -> StreamDescriptor {
    descriptor(StreamId(Uuid::from_u128(number)), &format!("s{number}"))
}

pub(crate) fn descriptor(id: StreamId, name: &str) -> StreamDescriptor {
    StreamDescriptor {
        id,
        collection: "store".into(),
        tags: Tags {
            name: name.into(),
            ..Tags::default()
        },
        annotations: Default::default(),
        property_version: 1,
    }
}

fn write(stream: StreamId, points: &[Point]) -> Write {
    let (times, values): (Vec<i64>, Vec<f64>) =
        points.iter().map(|point| (point.time, point.value)).unzip();
    Write {
        stream,
        times: times.into(),
        values: values.into(),
    }
}

/// Random calls that a seed repeats: every size, late points, ties, every merge policy, deletes, properties, short lives.
pub(crate) struct Load {
    rng: StdRng,
    /// Written by this load alone.
    own: Vec<Clock>,
    /// Written by others as well, who must be told apart: only plain inserts and deletes.
    shared: Vec<Clock>,
    batch_max: usize,
    changes: u64,
    /// Of the next stream that lives for a while.
    spare: u128,
    guest: Option<StreamId>,
}

/// How far a stream's points have come.
struct Clock {
    id: StreamId,
    tick: i64,
}

/// 30 Hz, since a while ago.
fn time_of(tick: i64) -> i64 {
    1_500_000_000_000_000_000 + tick * 33_333_333
}

impl Load {
    /// `start` is a tick that earlier loads have not reached, `spare` a number from which no stream has one yet.
    pub(crate) fn new(
        seed: u64,
        own: &[StreamId],
        shared: &[StreamId],
        batch_max: usize,
        start: i64,
        spare: u128,
    ) -> Self {
        let clocks = |ids: &[StreamId]| {
            let clock = |&id: &StreamId| Clock { id, tick: start };
            ids.iter().map(clock).collect()
        };
        Self {
            rng: StdRng::seed_from_u64(seed),
            own: clocks(own),
            shared: clocks(shared),
            batch_max,
            changes: 0,
            spare,
            guest: None,
        }
    }

    /// The next call.
    pub(crate) fn next(&mut self) -> Op {
        match self.rng.random_range(0..100) {
            0..4 => self.change_properties(),
            4..7 => self.welcome(),
            7..9 => self.farewell(),
            9..17 => self.delete(),
            _ => self.insert(),
        }
    }

    fn change_properties(&mut self) -> Op {
        self.changes += 1;
        let stream = self.own.choose(&mut self.rng).expect("not empty").id;
        let value = format!("{}", self.changes);
        if self.rng.random_bool(0.5) {
            return Op::SetTags(TagUpdate {
                stream,
                expected: None,
                collection: None,
                tags: vec![(TagKey::Unit, value)],
            });
        }
        Op::Annotate(AnnotationUpdate {
            stream,
            expected: None,
            changes: [(format!("k{}", self.changes % 3), Some(value))].into(),
            removals: vec![format!("k{}", (self.changes + 1) % 3)],
        })
    }

    fn welcome(&mut self) -> Op {
        if self.guest.is_some() {
            return self.insert();
        }
        let stream = numbered(self.spare);
        self.spare += 1;
        self.guest = Some(stream.id);
        self.own.push(Clock {
            id: stream.id,
            tick: 0,
        });
        Op::Create(stream)
    }

    fn farewell(&mut self) -> Op {
        let Some(guest) = self.guest.take() else {
            return self.insert();
        };
        self.own.retain(|clock| clock.id != guest);
        Op::Obliterate(guest)
    }

    fn delete(&mut self) -> Op {
        let clocks = self.own.iter().chain(&self.shared);
        let clocks: Vec<(StreamId, i64)> = clocks.map(|clock| (clock.id, clock.tick)).collect();
        let &(id, tick) = clocks.choose(&mut self.rng).expect("not empty");
        // Now and then nearly everything, so that streams do not grow without end.
        let (start, end) = if self.rng.random_bool(0.4) {
            (0, tick - self.rng.random_range(0..20))
        } else {
            let start = self.rng.random_range(-5..=tick);
            (start, start + self.rng.random_range(1..=50))
        };
        Op::Delete(
            id,
            TimeRange::new(time_of(start), time_of(end.max(start + 1))),
        )
    }

    fn insert(&mut self) -> Op {
        let is_shared = !self.shared.is_empty() && self.rng.random_bool(0.2);
        let merge = if is_shared || self.rng.random_bool(0.7) {
            MergePolicy::Never
        } else {
            *MergePolicy::ALL.choose(&mut self.rng).expect("not empty")
        };
        let Self {
            rng,
            own,
            shared,
            batch_max,
            ..
        } = self;
        let mut clocks: Vec<&mut Clock> = own.iter_mut().collect();
        if is_shared {
            clocks.extend(shared.iter_mut());
        }
        clocks.shuffle(rng);
        let count = *[1, 1, 1, 2, 3].choose(rng).expect("not empty");
        let mut writes = Vec::new();
        for clock in clocks.into_iter().take(count) {
            writes.push((clock.id, clock.batch(rng, *batch_max)));
            if rng.random_bool(0.05) {
                writes.push((clock.id, clock.batch(rng, *batch_max)));
            }
        }
        Op::Insert { writes, merge }
    }
}

impl Clock {
    fn batch(&mut self, rng: &mut StdRng, batch_max: usize) -> Vec<Point> {
        let size_max = match rng.random_range(0..20) {
            0..12 => 4,
            12..16 => 24,
            16..19 => 200,
            _ => batch_max,
        };
        let is_late = rng.random_bool(0.2);
        let count = rng.random_range(1..=size_max.min(batch_max));
        let mut batch = Vec::with_capacity(count);
        for _ in 0..count {
            let tick = if is_late {
                rng.random_range(0..=self.tick)
            } else {
                // Ties are where cutting a version off by time goes wrong.
                self.tick += i64::from(rng.random_bool(0.9));
                self.tick
            };
            let value = match rng.random_range(0..10) {
                0..4 => (tick * 7919 % 1000) as f64 / 10.0,
                4 => *[0.0, -0.0, 1e-310, 1e3].choose(rng).expect("not empty"),
                _ => rng.random_range(-100.0..100.0),
            };
            batch.push(Point {
                time: time_of(tick),
                value,
            });
        }
        batch
    }
}
