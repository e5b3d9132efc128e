//! Reads of one stream, and what they must agree with.

use btrdb_flight::backend::Backend;
use btrdb_flight::engine::Engine;
use btrdb_flight::error::Result;
use btrdb_flight::model::{
    Cuts, Direction, Point, PointQuery, Snapshot, Stat, StatQuery, StreamId, StreamRead, TimeRange,
    Version,
};
use futures::TryStreamExt;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use crate::model::same;

/// All points of one stream.
///
/// # Errors
/// Those of the engine.
pub(crate) async fn rows(
    engine: &Engine,
    read: StreamRead,
    snapshot: Snapshot,
) -> Result<Vec<Point>> {
    let query = PointQuery {
        snapshot,
        ..PointQuery::new(vec![read], TimeRange::ALL)
    };
    points(engine, query).await
}

async fn points(engine: &Engine, query: PointQuery) -> Result<Vec<Point>> {
    let batches: Vec<_> = engine.points(query).try_collect().await?;
    let points = batches
        .iter()
        .flat_map(|batch| batch.times.iter().zip(batch.values.iter()));
    Ok(points
        .map(|(&time, &value)| Point { time, value })
        .collect())
}

/// Statistics of one stream between cuts.
///
/// # Errors
/// Those of the engine.
pub(crate) async fn stats(
    engine: &Engine,
    read: StreamRead,
    cuts: Cuts,
) -> Result<Vec<(i64, Stat)>> {
    let query = StatQuery::new(vec![read], TimeRange::ALL, cuts);
    let batches: Vec<_> = engine.stats(query).try_collect().await?;
    let windows = batches
        .iter()
        .flat_map(|batch| batch.times.iter().zip(&batch.stats));
    Ok(windows.map(|(&time, &stat)| (time, stat)).collect())
}

/// The statistics of a whole stream are those of its rows.
pub(crate) async fn assert_stats(engine: &Engine, read: StreamRead, rows: &[Point], what: &str) {
    let found = stats(engine, read, Cuts::whole(TimeRange::ALL)).await;
    let found = found.unwrap_or_else(|error| panic!("{what}: {error:?}"));
    let values: Vec<f64> = rows.iter().map(|point| point.value).collect();
    let Some((_, found)) = found.first() else {
        assert!(values.is_empty(), "{what}: no statistics");
        return;
    };
    let count = values.len() as f64;
    let mean = exact_sum(values.iter().copied()) / count;
    let squares = exact_sum(values.iter().map(|value| (value - mean) * (value - mean)));
    let least = values.iter().copied().min_by(f64::total_cmp);
    let most = values.iter().copied().max_by(f64::total_cmp);
    let scale = values.iter().fold(0.0_f64, |scale, v| scale.max(v.abs()));
    assert_eq!(found.count, values.len() as u64, "{what}");
    let bits = |value: Option<f64>| value.map(f64::to_bits);
    assert_eq!(
        (Some(found.min.to_bits()), Some(found.max.to_bits())),
        (bits(least), bits(most)),
        "{what}"
    );
    let (deviation, expected) = (found.stddev(), (squares / count).sqrt());
    assert!(
        (found.mean - mean).abs() <= 1e-12 * scale && (deviation - expected).abs() <= 1e-12 * scale,
        "{what}: mean {} for {mean}, deviation {deviation} for {expected}",
        found.mean
    );
}

/// Some part of a version, from either end, is what a list would give.
pub(crate) async fn assert_part(
    engine: &Engine,
    id: StreamId,
    version: Version,
    rows: &[Point],
    rng: &mut StdRng,
) {
    let mut end = || match rows.choose(rng) {
        Some(point) => point.time + rng.random_range(-1..=1),
        None => 0,
    };
    let (a, b) = (end(), end());
    let range = TimeRange::new(a.min(b), a.max(b) + 1);
    let direction = match rng.random_bool(0.5) {
        true => Direction::Forward,
        false => Direction::Backward,
    };
    let limit = rng.random_bool(0.5).then(|| rng.random_range(0..40));
    let read = StreamRead {
        id,
        version: Some(version),
    };
    let query = PointQuery {
        direction,
        limit,
        ..PointQuery::new(vec![read], range)
    };
    let what = format!("{id} version {version}, {range:?} {direction:?} {limit:?}");
    let found = points(engine, query).await;
    let found = found.unwrap_or_else(|error| panic!("{what}: {error:?}"));
    let within = rows.iter().filter(|point| range.contains(point.time));
    let mut expected: Vec<Point> = within.copied().collect();
    if direction == Direction::Backward {
        expected.reverse();
    }
    expected.truncate(limit.map_or(usize::MAX, |limit| limit as usize));
    assert_same(&found, &expected, &what);
}

/// A sum that keeps what rounding loses (Neumaier).
fn exact_sum(values: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut lost) = (0.0_f64, 0.0);
    for value in values {
        let next = sum + value;
        lost += if sum.abs() >= value.abs() {
            (sum - next) + value
        } else {
            (value - next) + sum
        };
        sum = next;
    }
    sum + lost
}

pub(crate) fn is_same(found: &[Point], expected: &[Point]) -> bool {
    found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| same(a, b))
}

#[track_caller]
pub(crate) fn assert_same(found: &[Point], expected: &[Point], what: &str) {
    if is_same(found, expected) {
        return;
    }
    let differs = found.iter().zip(expected).position(|(a, b)| !same(a, b));
    let row = differs.unwrap_or(found.len().min(expected.len()));
    panic!(
        "{what}: {} points for {}, first other one is row {row}: {:?} for {:?}",
        found.len(),
        expected.len(),
        found.get(row),
        expected.get(row)
    );
}
