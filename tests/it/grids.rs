//! Grids of windows that are asked for again, over nodes that are kept for it: the same to the last bit, and without reading them.
//!
//! The seed of a failing case is printed; `BTRDB_TEST_SEED` runs that case alone.

use std::sync::Arc;

use btrdb_flight::backend::Backend;
use btrdb_flight::engine::Engine;
use btrdb_flight::model::{
    Cuts, InsertOptions, MergePolicy, Point, Probe, Stat, StatQuery, StreamDescriptor, StreamId,
    StreamRead, Tags, Taken, TimeRange, Version, Write,
};
use futures::TryStreamExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use uuid::Uuid;

const START: i64 = 1_700_000_000_000_000_000;
/// 120 Hz: an inner node of 2^38 ns has 33,000 points, and one of 2^44 ns more than there are.
const STEP: i64 = 8_333_333;
const POINTS: i64 = 400_000;
const SECOND: u64 = 1_000_000_000;

struct Case {
    engine: Arc<Engine>,
    id: StreamId,
    /// What each version has, ascending; versions that are not in it are not read.
    versions: Vec<(Version, Vec<Point>)>,
}

impl Case {
    async fn new(rng: &mut StdRng) -> Self {
        let engine = Engine::memory();
        let id = StreamId(Uuid::from_u128(7));
        let stream = StreamDescriptor {
            id,
            collection: "lab".to_owned(),
            tags: Tags {
                name: "dense".to_owned(),
                ..Tags::default()
            },
            annotations: Default::default(),
            property_version: 1,
        };
        engine.create(stream).await.expect("created");
        let mut case = Self {
            engine,
            id,
            versions: Vec::new(),
        };
        let points: Vec<Point> = (0..POINTS)
            .map(|number| point(rng, START + number * STEP))
            .collect();
        case.insert(points).await;
        case
    }

    async fn insert(&mut self, mut points: Vec<Point>) {
        let write = Write {
            stream: self.id,
            times: points.iter().map(|point| point.time).collect(),
            values: points.iter().map(|point| point.value).collect(),
        };
        let options = InsertOptions {
            merge: MergePolicy::Never,
            rounding_bits: 0,
        };
        let outcomes = self.engine.insert(vec![write], options).await;
        let version = *outcomes[0].as_ref().expect("stored");
        if let Some((_, before)) = self.versions.last() {
            points.extend(before);
        }
        points.sort_by_key(|point| point.time);
        self.versions.push((version, points));
    }

    async fn delete(&mut self, range: TimeRange) {
        let version = self.engine.delete(self.id, range).await.expect("deleted");
        let (_, before) = self.versions.last().expect("points");
        let mut left = before.clone();
        left.retain(|point| !range.contains(point.time));
        self.versions.push((version, left));
    }

    async fn ask(&self, version: Version, range: TimeRange, cuts: &Cuts) -> Asked {
        self.ask_for(version, range, cuts, None).await
    }

    async fn ask_some(&self, version: usize, cuts: &Cuts, limit: u64) -> Asked {
        let (version, _) = self.versions[version];
        self.ask_for(version, TimeRange::ALL, cuts, Some(limit))
            .await
    }

    async fn ask_for(
        &self,
        version: Version,
        range: TimeRange,
        cuts: &Cuts,
        limit: Option<u64>,
    ) -> Asked {
        let probe = Probe::counting();
        let read = StreamRead {
            id: self.id,
            version: Some(version),
        };
        let query = StatQuery {
            probe: probe.clone(),
            limit,
            ..StatQuery::new(vec![read], range, cuts.clone())
        };
        let batches: Vec<_> = self.engine.stats(query).try_collect().await.expect("read");
        let windows = batches
            .iter()
            .flat_map(|batch| batch.times.iter().copied().zip(batch.stats.iter().copied()));
        Asked {
            windows: windows.collect(),
            taken: probe.taken(),
        }
    }

    /// Asks four times, and holds the answers against each other and against the points.
    async fn check(&self, version: usize, range: TimeRange, cuts: &Cuts) -> Taken {
        let (version, points) = &self.versions[version];
        let first = self.ask(*version, range, cuts).await;
        let mut last = first.taken;
        for turn in 2..5 {
            let again = self.ask(*version, range, cuts).await;
            let bits = |windows: &[(i64, Stat)]| -> Vec<_> {
                let bits = |stat: &Stat| {
                    (
                        stat.sum.to_bits(),
                        stat.mean.to_bits(),
                        stat.stddev().to_bits(),
                    )
                };
                windows
                    .iter()
                    .map(|(start, stat)| (*start, bits(stat)))
                    .collect()
            };
            assert_eq!(
                again.windows, first.windows,
                "{cuts:?} in {range:?}, turn {turn}"
            );
            assert_eq!(
                bits(&again.windows),
                bits(&first.windows),
                "{cuts:?} in {range:?}, turn {turn}"
            );
            last = again.taken;
        }
        let mut expected: Vec<(i64, u64, f64)> = Vec::new();
        for point in points.iter().filter(|point| range.contains(point.time)) {
            let start = cuts.window_of(point.time).expect("a grid").start;
            match expected.last_mut() {
                Some((open, count, most)) if *open == start => {
                    *count += 1;
                    *most = most.max(point.value);
                }
                _ => expected.push((start, 1, point.value)),
            }
        }
        let found = first
            .windows
            .iter()
            .map(|(start, stat)| (*start, stat.count, stat.max));
        assert!(
            found.eq(expected.iter().copied()),
            "{cuts:?} in {range:?} of version {version}"
        );
        last
    }
}

struct Asked {
    windows: Vec<(i64, Stat)>,
    taken: Taken,
}

fn point(rng: &mut StdRng, time: i64) -> Point {
    let value = rng.random_range(-1.0e6..1.0e6);
    Point { time, value }
}

fn grid(origin: i64, width: u64) -> Cuts {
    Cuts::Every { origin, width }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grid_that_is_known_is_answered_without_what_lies_beneath() {
    let rng = &mut StdRng::seed_from_u64(1);
    let case = Case::new(rng).await;
    for width in [10 * SECOND, 13 * SECOND + 1, 17 * SECOND] {
        let cuts = grid(START + 5, width);
        let taken = case.check(0, TimeRange::ALL, &cuts).await;
        // One for each of its dozen nodes and what is above them, and the leaves at the end, where a node is not full.
        assert!(taken.nodes < 60, "{width}: {taken:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_few_windows_are_read_without_the_others() {
    let rng = &mut StdRng::seed_from_u64(2);
    let case = Case::new(rng).await;
    let cuts = grid(START, 10 * SECOND);
    let first = case.ask_some(0, &cuts, 3).await;
    let again = case.ask_some(0, &cuts, 3).await;
    assert_eq!(again.windows, first.windows);
    assert!(again.taken.nodes <= first.taken.nodes, "{:?}", again.taken);
    // The windows of one node, which are more than that, are known by now.
    case.check(0, TimeRange::ALL, &cuts).await;
    let known = case.ask_some(0, &cuts, 3).await;
    assert_eq!(known.windows, first.windows);
    assert!(known.taken.nodes <= first.taken.nodes, "{:?}", known.taken);
    assert_eq!(known.taken.points, 0, "{:?}", known.taken);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_known_of_a_version_is_not_taken_for_another() {
    let seeds: Vec<u64> = match std::env::var("BTRDB_TEST_SEED") {
        Ok(seed) => vec![seed.parse().expect("a number")],
        Err(_) => (0..3).collect(),
    };
    for seed in seeds {
        eprintln!("BTRDB_TEST_SEED={seed} repeats this");
        run(seed).await;
    }
}

async fn run(seed: u64) {
    let rng = &mut StdRng::seed_from_u64(seed);
    let mut case = Case::new(rng).await;
    let end = START + POINTS * STEP;
    let widths = [9 * SECOND, 11 * SECOND + 7, 16 * SECOND];
    let origins = [0, START, START - 12_345];
    for step in 0..8 {
        match step % 4 {
            // Late points, among those that are there; live at first.
            0 => {
                let count = rng.random_range(1..200);
                let points = (0..count).map(|_| {
                    let time = rng.random_range(START..end);
                    point(rng, time)
                });
                let points = points.collect();
                case.insert(points).await;
            }
            1 => {
                let start = rng.random_range(START..end);
                let length = rng.random_range(1..200 * SECOND as i64);
                case.delete(TimeRange::new(start, start + length)).await;
            }
            // More at the end.
            2 => {
                let first = end + i64::from(step) * 20_000 * STEP;
                let points = (0..rng.random_range(1..20_000))
                    .map(|number| point(rng, first + number * STEP));
                let points = points.collect();
                case.insert(points).await;
            }
            _ => case.engine.fold().await.expect("folded"),
        }
        for _ in 0..4 {
            let cuts = grid(
                *origins.choose(rng).expect("some"),
                *widths.choose(rng).expect("some"),
            );
            let range = if rng.random_bool(0.4) {
                TimeRange::ALL
            } else {
                let start = rng.random_range(START..end);
                let length = rng.random_range(1..(end - START));
                TimeRange::new(start, start + length)
            };
            let version = rng.random_range(0..case.versions.len());
            case.check(version, range, &cuts).await;
        }
    }
}
