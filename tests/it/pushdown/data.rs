//! A store drawn at random: what a round of queries is asked of.

use btrdb_flight::backend::Backend;
use btrdb_flight::model::time::{MAX_POINT_TIME, MAX_TIME, MIN_TIME};
use btrdb_flight::model::{
    InsertOptions, StreamDescriptor, StreamId, Tags, TimeRange, Version, Write,
};
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use uuid::Uuid;

use crate::sql::{NEW_YEAR, SECOND};

const DAY: i64 = 86_400 * SECOND;

/// The streams of a round.
pub(super) struct World {
    pub(super) streams: Vec<Stream>,
}

/// A stream, and what a query should know to ask something that has an answer.
pub(super) struct Stream {
    pub(super) id: StreamId,
    pub(super) collection: String,
    pub(super) name: String,
    pub(super) unit: String,
    /// All of them; the first is the empty one.
    pub(super) versions: Vec<Version>,
    /// Of every point that any version holds, ascending.
    pub(super) times: Vec<i64>,
    /// Beside their times.
    pub(super) values: Vec<f64>,
}

/// How the times of a stream lie.
#[derive(Clone, Copy, PartialEq)]
enum Shape {
    /// None.
    Empty,
    /// At a steady rate, with gaps.
    Steady,
    /// At a rate that varies, with gaps.
    Uneven,
    /// As uneven, and some times stand several times.
    Repeating,
    /// On both sides of 1970, at the ends of time, at the ends of months, and anywhere.
    Scattered,
}

/// What the values of a stream are like.
#[derive(Clone, Copy)]
enum Values {
    Whole,
    Real,
    /// Small changes of a large value: what a careless variance drowns.
    Offset,
    Zeros,
    Constant,
    /// Up to 1e150: the greatest whose squares can still be added up.
    Huge,
}

impl World {
    /// Draws streams and stores them, through the seam alone.
    pub(super) async fn fill(backend: &dyn Backend, seed: u64) -> Self {
        let random = &mut StdRng::seed_from_u64(seed);
        let mut streams = Vec::new();
        for (collection, name, unit, shape, values) in cast(random) {
            let mut stream = Stream {
                id: StreamId(Uuid::from_u128(random.random())),
                collection,
                name,
                unit,
                versions: vec![Version::CREATED],
                times: times(random, shape),
                values: Vec::new(),
            };
            stream.values = values_of(random, values, stream.times.len());
            stream.store(backend, random).await;
            streams.push(stream);
        }
        Self { streams }
    }

    /// Whether some other stream has the same collection and name.
    pub(super) fn is_ambiguous(&self, stream: &Stream) -> bool {
        let path = |stream: &Stream| (stream.collection.clone(), stream.name.clone());
        let same = self
            .streams
            .iter()
            .filter(|other| path(other) == path(stream));
        same.count() > 1
    }
}

impl Stream {
    /// Whether no two of its points have the same time, in any version.
    pub(super) fn is_unique(&self) -> bool {
        self.times.windows(2).all(|pair| pair[0] < pair[1])
    }

    pub(super) fn max_abs(&self) -> f64 {
        self.values
            .iter()
            .fold(0.0, |max, value| max.max(value.abs()))
    }

    pub(super) fn sum_abs(&self) -> f64 {
        self.values.iter().map(|value| value.abs()).sum()
    }

    /// Creates the stream and stores its points in a few versions: appended or late, with deletions in between.
    async fn store(&mut self, backend: &dyn Backend, random: &mut StdRng) {
        let descriptor = StreamDescriptor {
            id: self.id,
            collection: self.collection.clone(),
            tags: Tags {
                name: self.name.clone(),
                unit: self.unit.clone(),
                ..Tags::default()
            },
            annotations: [("site".to_owned(), Some(self.unit.clone()))].into(),
            property_version: 0,
        };
        backend.create(descriptor).await.expect("the stream is new");
        let mut rows: Vec<usize> = (0..self.times.len()).collect();
        if random.random_bool(0.3) {
            rows.shuffle(random);
        }
        let size = rows.len() / random.random_range(1..=4) + 1;
        for batch in rows.chunks(size) {
            let write = Write {
                stream: self.id,
                times: batch.iter().map(|&row| self.times[row]).collect(),
                values: batch.iter().map(|&row| self.values[row]).collect(),
            };
            for version in backend.insert(vec![write], InsertOptions::default()).await {
                self.versions
                    .push(version.expect("the points are storable"));
            }
            if random.random_bool(0.2) {
                let range = self.some_range(random);
                let version = backend.delete(self.id, range).await;
                self.versions.push(version.expect("the range is one"));
            }
        }
    }

    /// Up to a quarter of the points.
    fn some_range(&self, random: &mut StdRng) -> TimeRange {
        let first = random.random_range(0..self.times.len());
        let last = (first + self.times.len() / 4).min(self.times.len() - 1);
        TimeRange::new(
            self.times[first],
            self.times[random.random_range(first..=last)] + 1,
        )
    }
}

/// The streams of a round: names shared between collections, a path with two streams, one stream without points, and what else
/// may come.
fn cast(random: &mut StdRng) -> Vec<(String, String, String, Shape, Values)> {
    let steady = [Shape::Steady, Shape::Uneven];
    let tame = [Values::Whole, Values::Real, Values::Offset];
    let mut streams = vec![
        (
            "pmu/a",
            "voltage",
            "V",
            pick(random, &steady),
            pick(random, &tame),
        ),
        (
            "pmu/a",
            "current",
            "A",
            pick(random, &steady),
            pick(random, &tame),
        ),
        (
            "pmu/b",
            "voltage",
            "V",
            Shape::Repeating,
            pick(random, &tame),
        ),
        (
            "pmu/b",
            "voltage",
            "A",
            pick(random, &steady),
            Values::Zeros,
        ),
        ("pmu/b", "empty", "V", Shape::Empty, Values::Whole),
        ("lab", "odd", "", Shape::Scattered, Values::Zeros),
    ];
    let more = [
        ("lab", "lab", "V"),
        ("pmu", "Voltage", "kV"),
        ("Räume/l'été", "température", "°C"),
        ("lab", "100%_\"q\"", "%"),
        ("pmu/a", "angle", "deg"),
    ];
    let shapes = [
        Shape::Steady,
        Shape::Uneven,
        Shape::Repeating,
        Shape::Scattered,
        Shape::Empty,
    ];
    let values = [
        Values::Whole,
        Values::Real,
        Values::Offset,
        Values::Zeros,
        Values::Constant,
    ];
    for (collection, name, unit) in more {
        if random.random_bool(0.5) {
            streams.push((
                collection,
                name,
                unit,
                pick(random, &shapes),
                pick(random, &values),
            ));
        }
    }
    if random.random_bool(0.5) {
        streams.push((
            "far",
            "voltage",
            "V",
            pick(random, &shapes[..4]),
            Values::Huge,
        ));
    }
    streams
        .into_iter()
        .map(|(collection, name, unit, shape, values)| {
            (
                collection.to_owned(),
                name.to_owned(),
                unit.to_owned(),
                shape,
                values,
            )
        })
        .collect()
}

pub(super) fn pick<T: Clone>(random: &mut StdRng, choices: &[T]) -> T {
    choices.choose(random).expect("there are choices").clone()
}

/// Ascending.
fn times(random: &mut StdRng, shape: Shape) -> Vec<i64> {
    match shape {
        Shape::Empty => Vec::new(),
        Shape::Scattered => scattered(random),
        Shape::Steady | Shape::Uneven | Shape::Repeating => {
            let step = pick(
                random,
                &[
                    1_000_000,
                    SECOND / 10,
                    SECOND,
                    7 * SECOND,
                    60 * SECOND,
                    3_600 * SECOND,
                ],
            );
            let count = pick(random, &[3, 200, 1_000, 2_000, 5_000]);
            let mut time = NEW_YEAR + random.random_range(-3_600..3_600) * SECOND;
            (0..random.random_range(1..=count))
                .map(|_| {
                    time += match shape {
                        Shape::Steady => step,
                        Shape::Repeating if random.random_bool(0.2) => 0,
                        _ => random.random_range(1..=2 * step),
                    };
                    if random.random_bool(0.005) {
                        time += random.random_range(1..500) * step;
                    }
                    time
                })
                .collect()
        }
    }
}

fn scattered(random: &mut StdRng) -> Vec<i64> {
    let mut times = vec![
        MIN_TIME,
        MIN_TIME + 1,
        -DAY,
        -SECOND - 1,
        -SECOND,
        -1,
        0,
        1,
        SECOND - 1,
        SECOND,
        DAY,
        NEW_YEAR - 1,
        NEW_YEAR,
        MAX_TIME - DAY,
        MAX_POINT_TIME - 1,
        MAX_POINT_TIME,
    ];
    times.extend((0..60).map(|_| random.random_range(MIN_TIME..MAX_POINT_TIME)));
    times.extend((0..30).map(|_| random.random_range(-3 * SECOND..3 * SECOND)));
    // The ends of months, leap days among them.
    times.extend((0..24).map(|day| NEW_YEAR + (day * 29 + 30) * DAY - day % 2));
    if random.random_bool(0.5) {
        times.extend([0, 1, 1, MAX_POINT_TIME]);
    }
    times.sort_unstable();
    times
}

fn values_of(random: &mut StdRng, values: Values, count: usize) -> Vec<f64> {
    let constant = random.random_range(-100.0..100.0);
    (0..count)
        .map(|_| match values {
            Values::Whole => f64::from(random.random_range(-20..100)),
            Values::Real => random.random_range(-300.0..300.0),
            Values::Offset => 1e6 + random.random_range(-1.0..1.0),
            Values::Zeros => pick(random, &[0.0, -0.0, 0.0, -0.0, 1.5, -1.5, 1e-310]),
            Values::Constant => constant,
            Values::Huge => pick(random, &[1e150, -1e150, 1e149, 0.0, -3.0]),
        })
        .collect()
}
