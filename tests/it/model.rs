//! Random operations on the engine against a plain sorted list: every version, every kind of read.
//!
//! The seed of a failing case is printed; `BTRDB_MODEL_SEED` runs that case alone, `BTRDB_MODEL_CASES` sets how many run.

use std::sync::Arc;

use btrdb_flight::backend::Backend;
use btrdb_flight::engine::Engine;
use btrdb_flight::error::Code;
use btrdb_flight::model::time::{MAX_POINT_TIME, MAX_TIME, MIN_TIME};
use btrdb_flight::model::{
    ChangesQuery, Cuts, Direction, InsertOptions, MergePolicy, MultiQuery, NearestQuery, Point,
    PointQuery, Snapshot, StatBatch, StatQuery, StreamDescriptor, StreamId, StreamRead, Tags,
    TimeRange, ValueBounds, Version, Write,
};
use futures::TryStreamExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

/// Cases of a run, each a store of its own with up to forty operations.
const CASES: u64 = 12_000;

/// What a stream holds, version by version, as a list that anyone can check.
pub(crate) struct Model {
    pub(crate) id: StreamId,
    pub(crate) versions: Vec<Vec<Point>>,
    /// The store's commit after each version.
    pub(crate) commits: Vec<Snapshot>,
}

impl Model {
    pub(crate) fn insert(&mut self, points: &[Point], merge: MergePolicy) {
        let mut stored = self.latest().to_vec();
        let replaced: Vec<i64> = points.iter().map(|point| point.time).collect();
        if merge == MergePolicy::Replace {
            stored.retain(|point| !replaced.contains(&point.time));
        }
        let before = stored.clone();
        for (row, point) in points.iter().enumerate() {
            let same_time = |other: &&Point| other.time == point.time;
            let keep = match merge {
                MergePolicy::Never => true,
                MergePolicy::Equal => !stored
                    .iter()
                    .filter(same_time)
                    .any(|other| other.value == point.value),
                MergePolicy::Retain => {
                    !before.iter().any(|other| other.time == point.time)
                        && !points[..row].iter().any(|other| other.time == point.time)
                }
                MergePolicy::Replace => !points[row + 1..]
                    .iter()
                    .any(|other| other.time == point.time),
            };
            if keep {
                let at = stored.partition_point(|other| other.time <= point.time);
                stored.insert(at, *point);
            }
        }
        self.versions.push(stored);
    }

    pub(crate) fn delete(&mut self, range: TimeRange) {
        let mut stored = self.latest().to_vec();
        stored.retain(|point| !range.contains(point.time));
        self.versions.push(stored);
    }

    pub(crate) fn latest(&self) -> &[Point] {
        self.versions
            .last()
            .expect("there is always the created version")
    }

    pub(crate) fn version(&self) -> Version {
        Version(Version::CREATED.0 + self.versions.len() as u64 - 1)
    }
}

/// How the times of a case are spread: each stresses another part of the tree.
#[derive(Clone, Copy)]
struct Shape {
    origin: i64,
    step: i64,
    jitter: i64,
    late: f64,
    batch_max: usize,
}

impl Shape {
    fn random(rng: &mut StdRng) -> Self {
        let origins = [
            0,
            -5,
            1_500_000_000_000_000_000,
            MIN_TIME,
            MAX_POINT_TIME - 10_000,
            1 << 61,
            -(1 << 56),
        ];
        let steps = [
            0,
            1,
            3,
            1 << 8,
            8_333_333,
            33_333_333,
            1_000_000_000,
            1 << 40,
            1 << 52,
        ];
        Self {
            origin: *origins.choose(rng).expect("not empty"),
            step: *steps.choose(rng).expect("not empty"),
            jitter: *[0, 2, 1000].choose(rng).expect("not empty"),
            late: *[0.0, 0.1, 0.5].choose(rng).expect("not empty"),
            batch_max: *[1, 5, 60, 3000].choose(rng).expect("not empty"),
        }
    }

    fn batch(self, rng: &mut StdRng, clock: &mut i64) -> Vec<Point> {
        let len = rng.random_range(1..=self.batch_max);
        (0..len)
            .map(|_| {
                *clock += 1;
                let tick = if rng.random_bool(self.late) {
                    rng.random_range(0..=*clock)
                } else {
                    *clock
                };
                let time = self.origin.saturating_add(tick.saturating_mul(self.step));
                let time = time.saturating_add(rng.random_range(-self.jitter..=self.jitter));
                let values = [0.0, -0.0, 1.0, -1.5, 1e150, -1e150, 1e-310];
                let value = if rng.random_bool(0.3) {
                    *values.choose(rng).expect("not empty")
                } else {
                    rng.random_range(-100.0..100.0)
                };
                Point {
                    time: time.clamp(MIN_TIME, MAX_POINT_TIME),
                    value,
                }
            })
            .collect()
    }

    fn time(self, rng: &mut StdRng, clock: i64) -> i64 {
        let tick = rng.random_range(-2..=clock + 2);
        let time = self.origin.saturating_add(tick.saturating_mul(self.step));
        time.saturating_add(rng.random_range(-3..=3))
            .clamp(MIN_TIME, MAX_TIME)
    }

    fn range(self, rng: &mut StdRng, clock: i64) -> TimeRange {
        if rng.random_bool(0.2) {
            return TimeRange::ALL;
        }
        let (a, b) = (self.time(rng, clock), self.time(rng, clock));
        let start = a.min(b).min(MAX_TIME - 1);
        TimeRange::new(start, a.max(b).max(start + 1))
    }

    /// Some ranges, ascending and disjoint; some touch.
    fn ranges(self, rng: &mut StdRng, clock: i64) -> Vec<TimeRange> {
        let mut ranges: Vec<TimeRange> = vec![self.range(rng, clock)];
        for _ in 0..*[0, 0, 1, 6].choose(rng).expect("not empty") {
            let last = ranges[ranges.len() - 1];
            let next = self.range(rng, clock);
            if next.start >= last.end {
                ranges.push(next);
            } else if rng.random_bool(0.5) && next.end > last.end {
                ranges.push(TimeRange::new(last.end, next.end));
            } else if next.end <= ranges[0].start {
                ranges.insert(0, next);
            }
        }
        ranges
    }
}

/// One share of the cases, so that several cores can work on them.
fn run_share(share: u64) {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .map(|text| text.parse().expect("a number"))
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let cases = number("BTRDB_MODEL_CASES").unwrap_or(CASES);
    let only = number("BTRDB_MODEL_SEED");
    for seed in (0..cases).filter(|seed| seed % SHARES == share) {
        if only.is_some_and(|only| only != seed) {
            continue;
        }
        let case = std::panic::AssertUnwindSafe(|| runtime.block_on(run_case(seed)));
        if let Err(panic) = std::panic::catch_unwind(case) {
            eprintln!("BTRDB_MODEL_SEED={seed} repeats this");
            std::panic::resume_unwind(panic);
        }
    }
}

/// Tests that the cases are divided among.
const SHARES: u64 = 4;

#[test]
fn random_operations_agree_with_a_sorted_list_0() {
    run_share(0);
}

#[test]
fn random_operations_agree_with_a_sorted_list_1() {
    run_share(1);
}

#[test]
fn random_operations_agree_with_a_sorted_list_2() {
    run_share(2);
}

#[test]
fn random_operations_agree_with_a_sorted_list_3() {
    run_share(3);
}

async fn run_case(seed: u64) {
    let rng = &mut StdRng::seed_from_u64(seed);
    let engine: Arc<dyn Backend> = Engine::memory();
    let id = StreamId(uuid::Uuid::from_u128(1));
    let tags = Tags {
        name: "s".into(),
        ..Tags::default()
    };
    let stream = StreamDescriptor {
        id,
        collection: "model".into(),
        tags,
        annotations: Default::default(),
        property_version: 1,
    };
    engine.create(stream).await.expect("created");
    let mut model = Model {
        id,
        versions: vec![Vec::new()],
        commits: vec![engine.snapshot().await.expect("a snapshot")],
    };
    let shape = Shape::random(rng);
    let mut clock = 0;
    for _ in 0..rng.random_range(1..40) {
        if model.latest().len() > 6000 {
            break;
        }
        let version = if rng.random_bool(0.12) {
            let range = shape.range(rng, clock);
            model.delete(range);
            engine.delete(id, range).await.expect("deleted")
        } else {
            let points = shape.batch(rng, &mut clock);
            let merge = if rng.random_bool(0.6) {
                MergePolicy::Never
            } else {
                *MergePolicy::ALL.choose(rng).expect("not empty")
            };
            model.insert(&points, merge);
            insert(engine.as_ref(), id, &points, merge).await
        };
        assert_eq!(version, model.version());
        model
            .commits
            .push(engine.snapshot().await.expect("a snapshot"));
    }
    for _ in 0..6 {
        check_points(engine.as_ref(), &model, shape, clock, rng).await;
        check_stats(engine.as_ref(), &model, shape, clock, rng).await;
        check_nearest(engine.as_ref(), &model, shape, clock, rng).await;
    }
    check_changes(engine.as_ref(), &model, rng).await;
    check_snapping(engine.as_ref(), &model, shape, clock, rng).await;
    check_future(engine.as_ref(), &model).await;
}

async fn insert(
    engine: &dyn Backend,
    id: StreamId,
    points: &[Point],
    merge: MergePolicy,
) -> Version {
    let (times, values): (Vec<i64>, Vec<f64>) =
        points.iter().map(|point| (point.time, point.value)).unzip();
    let write = Write {
        stream: id,
        times: times.into(),
        values: values.into(),
    };
    let mut answers = engine
        .insert(
            vec![write],
            InsertOptions {
                merge,
                rounding_bits: 0,
            },
        )
        .await;
    answers.remove(0).expect("inserted")
}

/// Some version, read by its number or by the commit that made it, or the latest.
fn pick(model: &Model, rng: &mut StdRng) -> (usize, StreamRead, Snapshot) {
    let latest = model.versions.len() - 1;
    match rng.random_range(0..3) {
        0 => (latest, StreamRead::latest(model.id), Snapshot::Latest),
        1 => {
            let index = rng.random_range(0..=latest);
            let version = Some(Version(Version::CREATED.0 + index as u64));
            (
                index,
                StreamRead {
                    id: model.id,
                    version,
                },
                Snapshot::Latest,
            )
        }
        _ => {
            let index = rng.random_range(0..=latest);
            (index, StreamRead::latest(model.id), model.commits[index])
        }
    }
}

pub(crate) fn same(a: &Point, b: &Point) -> bool {
    a.time == b.time && a.value.to_bits() == b.value.to_bits()
}

async fn read(engine: &dyn Backend, query: PointQuery) -> Vec<Point> {
    let batches: Vec<_> = engine.points(query).try_collect().await.expect("readable");
    assert!(!batches.is_empty(), "no batch that tells the version");
    assert!(
        batches.len() == 1 || batches.iter().all(|batch| !batch.is_empty()),
        "an empty batch among others"
    );
    batches
        .iter()
        .flat_map(|batch| batch.times.iter().zip(batch.values.iter()))
        .map(|(&time, &value)| Point { time, value })
        .collect()
}

async fn check_points(
    engine: &dyn Backend,
    model: &Model,
    shape: Shape,
    clock: i64,
    rng: &mut StdRng,
) {
    let (index, stream, snapshot) = pick(model, rng);
    let ranges = shape.ranges(rng, clock);
    let direction = if rng.random_bool(0.5) {
        Direction::Forward
    } else {
        Direction::Backward
    };
    let limit = rng.random_bool(0.4).then(|| rng.random_range(0..50));
    let mut expected: Vec<Point> = model.versions[index]
        .iter()
        .filter(|point| ranges.iter().any(|range| range.contains(point.time)))
        .copied()
        .collect();
    if direction == Direction::Backward {
        expected.reverse();
    }
    let batch_rows = *[1, 7, 1000, 65536].choose(rng).expect("not empty");
    let bounds = rng.random_bool(0.4).then(|| {
        let low = rng.random_range(-120.0..120.0);
        (low, low + *[0.0, 1.0, 50.0].choose(rng).expect("not empty"))
    });
    let query = PointQuery {
        ranges: ranges.clone(),
        direction,
        limit,
        snapshot,
        batch_rows,
        values: bounds.map(|(low, high)| Arc::new(ValueBounds::new(low, high))),
        ..PointQuery::new(vec![stream], TimeRange::ALL)
    };
    let mut found = read(engine, query).await;
    let most = limit.map_or(usize::MAX, |limit| limit as usize);
    if let Some((low, high)) = bounds {
        assert!(found.len() <= most, "{} points of {most}", found.len());
        let is_cut = found.len() == most;
        let mut rest = expected.iter();
        let in_order = found.iter().all(|a| rest.any(|b| same(a, b)));
        assert!(in_order, "version {index}, {ranges:?} {direction:?}");
        let is_inside = |point: &Point| (low..=high).contains(&point.value);
        found.retain(is_inside);
        expected.retain(is_inside);
        if is_cut {
            expected.truncate(found.len());
        }
    } else {
        expected.truncate(most);
    }
    let equal =
        found.len() == expected.len() && found.iter().zip(&expected).all(|(a, b)| same(a, b));
    assert!(
        equal,
        "version {index}, {ranges:?} {direction:?} {limit:?} {bounds:?}: {} points for {}",
        found.len(),
        expected.len()
    );
}

async fn check_stats(
    engine: &dyn Backend,
    model: &Model,
    shape: Shape,
    clock: i64,
    rng: &mut StdRng,
) {
    let (index, stream, snapshot) = pick(model, rng);
    let ranges = shape.ranges(rng, clock);
    let (first, last) = (ranges[0], ranges[ranges.len() - 1]);
    let points = &model.versions[index];
    let cuts = match rng.random_range(0..5) {
        0 => Cuts::whole(TimeRange::new(first.start, last.end)),
        1 => {
            let mut at: Vec<i64> = (0..rng.random_range(2..20))
                .map(|_| shape.time(rng, clock))
                .collect();
            at.sort_unstable();
            at.dedup();
            if at.len() < 2 {
                return;
            }
            Cuts::At(at.into())
        }
        // The same few grids again and again, whatever became of the points: how they divide leaves is kept.
        2 | 3 => Cuts::Every {
            origin: shape.origin,
            width: shape
                .step
                .unsigned_abs()
                .max(1)
                .saturating_mul(*[90, 700].choose(rng).expect("not empty")),
        },
        _ => {
            let exponent = rng.random_range(0..=62);
            let width = if rng.random_bool(0.5) {
                1_u64 << exponent
            } else {
                rng.random_range(1..=1 << exponent)
            };
            Cuts::Every {
                origin: *[0, shape.origin, shape.time(rng, clock)]
                    .choose(rng)
                    .expect("not empty"),
                width,
            }
        }
    };
    if cuts.check(first).is_err() {
        return;
    }
    let mut expected: Vec<(i64, Vec<f64>)> = Vec::new();
    let is_inside = |point: &&Point| ranges.iter().any(|range| range.contains(point.time));
    for point in points.iter().filter(is_inside) {
        let Some(window) = cuts.window_of(point.time) else {
            continue;
        };
        match expected.last_mut() {
            Some((start, values)) if *start == window.start => values.push(point.value),
            _ => expected.push((window.start, vec![point.value])),
        }
    }
    let limit = rng.random_bool(0.2).then(|| rng.random_range(0..10));
    expected.truncate(limit.map_or(usize::MAX, |limit| limit as usize));
    let query = StatQuery {
        ranges: ranges.clone(),
        limit,
        snapshot,
        ..StatQuery::new(vec![stream], TimeRange::ALL, cuts.clone())
    };
    let ask = async || -> Vec<StatBatch> {
        let batches = engine.stats(query.clone()).try_collect().await;
        batches.expect("readable")
    };
    let batches = ask().await;
    // What a grid is asked for again is kept then, and is the same to the last bit.
    for turn in 2..4 {
        assert_eq!(ask().await, batches, "{cuts:?} in {ranges:?}, turn {turn}");
    }
    let found: Vec<_> = batches
        .iter()
        .flat_map(|batch| batch.times.iter().zip(&batch.stats))
        .collect();
    let starts: Vec<i64> = found.iter().map(|(start, _)| **start).collect();
    let expected_starts: Vec<i64> = expected.iter().map(|(start, _)| *start).collect();
    assert_eq!(
        starts, expected_starts,
        "version {index}, {cuts:?} in {ranges:?}"
    );
    for ((_, stat), (start, values)) in found.iter().zip(&expected) {
        let what = format!(
            "version {index}, {cuts:?} in {ranges:?}, window {start}, {} values",
            values.len()
        );
        let n = values.len() as f64;
        let scale = values
            .iter()
            .fold(0.0_f64, |scale, value| scale.max(value.abs()));
        let mean = values.iter().map(|value| value / n).sum::<f64>();
        let variance = values
            .iter()
            .map(|value| (value - mean) / n * (value - mean))
            .sum::<f64>();
        let least = values
            .iter()
            .copied()
            .min_by(f64::total_cmp)
            .expect("not empty");
        let most = values
            .iter()
            .copied()
            .max_by(f64::total_cmp)
            .expect("not empty");
        assert_eq!(stat.count, values.len() as u64, "{what}");
        assert_eq!(
            (stat.min.to_bits(), stat.max.to_bits()),
            (least.to_bits(), most.to_bits()),
            "{what}"
        );
        assert!(
            (stat.mean - mean).abs() <= 1e-12 * scale,
            "{what}: mean {} for {mean}",
            stat.mean
        );
        assert!(
            (stat.total() - mean * n).abs() <= 1e-9 * scale * n,
            "{what}: sum {}",
            stat.total()
        );
        let deviation = (stat.variance_population() - variance).abs();
        assert!(
            deviation <= 1e-9 * scale * scale,
            "{what}: variance {} for {variance}",
            stat.variance_population()
        );
    }
}

async fn check_nearest(
    engine: &dyn Backend,
    model: &Model,
    shape: Shape,
    clock: i64,
    rng: &mut StdRng,
) {
    let (index, stream, snapshot) = pick(model, rng);
    let time = shape.time(rng, clock).min(MAX_TIME - 1);
    let direction = if rng.random_bool(0.5) {
        Direction::Forward
    } else {
        Direction::Backward
    };
    let points = &model.versions[index];
    let expected = match direction {
        Direction::Forward => points.iter().find(|point| point.time >= time),
        Direction::Backward => points.iter().rev().find(|point| point.time < time),
    };
    let query = NearestQuery {
        snapshot,
        ..NearestQuery::new(vec![stream], time, direction)
    };
    let (version, found) = engine.nearest(query).await.expect("readable").remove(0);
    assert_eq!(version.0, Version::CREATED.0 + index as u64);
    let equal = match (&found, expected) {
        (Some(found), Some(expected)) => same(found, expected),
        (None, None) => true,
        _ => false,
    };
    assert!(
        equal,
        "version {index}, {direction:?} from {time}: {found:?} for {expected:?}"
    );
}

/// Whatever differs between two versions lies in a changed range.
async fn check_changes(engine: &dyn Backend, model: &Model, rng: &mut StdRng) {
    let to = rng.random_range(0..model.versions.len());
    let from = rng.random_range(0..=to);
    let resolution = rng.random_range(0..=63);
    let version = |index: usize| Version(Version::CREATED.0 + index as u64);
    let query = ChangesQuery {
        stream: model.id,
        from: version(from),
        to: Some(version(to)),
        resolution,
    };
    let changes = engine.changes(query).await.expect("readable");
    assert!(
        changes
            .ranges
            .windows(2)
            .all(|pair| pair[0].end < pair[1].start),
        "{:?}",
        changes.ranges
    );
    let covered = |time: i64| changes.ranges.iter().any(|range| range.contains(time));
    let values_at = |index: usize, time: i64| -> Vec<u64> {
        model.versions[index]
            .iter()
            .filter(|point| point.time == time)
            .map(|point| point.value.to_bits())
            .collect()
    };
    let (old, new) = (&model.versions[from], &model.versions[to]);
    for point in old
        .iter()
        .chain(new)
        .filter(|point| !covered(point.time))
        .take(200)
    {
        assert_eq!(
            values_at(from, point.time),
            values_at(to, point.time),
            "from {from} to {to} at {}",
            point.time
        );
    }
    if from == to {
        assert!(changes.ranges.is_empty());
    }
}

/// A wide read of two versions of the stream is the outer join of their last values, moved to the grid.
async fn check_snapping(
    engine: &dyn Backend,
    model: &Model,
    shape: Shape,
    clock: i64,
    rng: &mut StdRng,
) {
    let (first, _, _) = pick(model, rng);
    let (second, _, _) = pick(model, rng);
    let range = shape.range(rng, clock);
    let period = if rng.random_bool(0.5) {
        0
    } else {
        rng.random_range(1..=(shape.step.max(1) as u64) * 3)
    };
    let side = |index: usize| -> std::collections::BTreeMap<i64, (i128, f64)> {
        let mut rows = std::collections::BTreeMap::new();
        for point in &model.versions[index] {
            let (time, start, p) = (
                i128::from(point.time),
                i128::from(range.start),
                i128::from(period),
            );
            if point.time >= range.end {
                continue;
            }
            if period == 0 {
                if range.contains(point.time) {
                    rows.insert(point.time, (0, point.value));
                }
                continue;
            }
            let line = start + (time - start + p / 2).div_euclid(p) * p;
            if line < start || line >= i128::from(range.end) {
                continue;
            }
            let distance = (line - time).abs();
            let entry = rows.entry(line as i64).or_insert((distance, point.value));
            if distance < entry.0 {
                *entry = (distance, point.value);
            }
        }
        rows
    };
    let sides = [side(first), side(second)];
    let mut times: Vec<i64> = sides.iter().flat_map(|side| side.keys().copied()).collect();
    times.sort_unstable();
    times.dedup();
    let stream = |index: usize| StreamRead {
        id: model.id,
        version: Some(Version(Version::CREATED.0 + index as u64)),
    };
    let streams = vec![stream(first), stream(second)];
    let query = MultiQuery::new(streams, range, period);
    let batches: Vec<_> = engine
        .multi_values(query)
        .try_collect()
        .await
        .expect("readable");
    let found: Vec<i64> = batches
        .iter()
        .flat_map(|batch| batch.times.iter().copied())
        .collect();
    assert_eq!(found, times, "every {period} in {range:?}");
    for (column, side) in sides.iter().enumerate() {
        let values = batches
            .iter()
            .flat_map(|batch| batch.columns[column].iter());
        for (time, value) in times.iter().zip(values) {
            let expected = side.get(time).map(|(_, value)| value.to_bits());
            assert_eq!(
                value.map(f64::to_bits),
                expected,
                "column {column} at {time}, every {period} in {range:?}"
            );
        }
    }
}

async fn check_future(engine: &dyn Backend, model: &Model) {
    for version in [Version(0), Version(9), model.version().next()] {
        let streams = vec![StreamRead {
            id: model.id,
            version: Some(version),
        }];
        let error = engine
            .points(PointQuery::new(streams, TimeRange::ALL))
            .try_collect::<Vec<_>>()
            .await;
        assert_eq!(
            error.expect_err("not there").code(),
            Some(Code::VersionNotAvailable)
        );
    }
}
