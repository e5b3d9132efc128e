//! Reads that have a use for some values only, and what reads count.

use std::sync::Arc;

use btrdb_flight::backend::Backend;
use btrdb_flight::engine::{Engine, Settings};
use btrdb_flight::model::{
    Cuts, Direction, MultiQuery, NearestQuery, PointBatch, PointQuery, Probe, StatQuery, StreamId,
    StreamRead, Taken, TimeRange, ValueBounds, Version,
};
use futures::TryStreamExt;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{Row, Subject, at, latest, ramp, rows_of};

checks! {
    values_inside_the_bounds_are_never_lost,
    a_spike_is_found_without_looking_at_the_rest,
    bounds_may_narrow_while_the_read_goes_on,
    narrowing_bounds_spare_the_rest,
    a_limit_counts_what_is_delivered,
    every_read_counts_what_it_takes,
}

const DIRECTIONS: [Direction; 2] = [Direction::Forward, Direction::Backward];

fn within(points: &[Row], low: f64, high: f64) -> Vec<Row> {
    let inside = |point: &&Row| low <= point.1 && point.1 <= high;
    points.iter().filter(inside).copied().collect()
}

/// Values that wander, so that neighbours are alike.
fn walk(rng: &mut StdRng, times: impl Iterator<Item = i64>) -> Vec<Row> {
    let mut value = 0.0;
    times
        .map(|time| {
            value += rng.random_range(-1.0..1.0);
            (time, value)
        })
        .collect()
}

async fn values_inside_the_bounds_are_never_lost(db: Subject) {
    for seed in 0..8 {
        let mut rng = StdRng::seed_from_u64(seed);
        let stream = db.stream(&format!("c/{seed}")).await;
        let step = 1 << rng.random_range(0..36);
        for _ in 0..rng.random_range(1..6) {
            let first = rng.random_range(-3000..3000);
            let count = *[10, 300, 5000].get(rng.random_range(0..3)).expect("one");
            let batch = walk(&mut rng, (first..first + count).map(|tick| tick * step));
            db.write(stream, &batch).await;
        }
        let newest = db.version(stream).await;
        for _ in 0..12 {
            let version = Version(rng.random_range(10..=newest.0));
            let points = db.read_at(stream, version).await;
            let low = rng.random_range(-60.0..60.0);
            let high = low + *[0.0, 1.0, 20.0].get(rng.random_range(0..3)).expect("one");
            let end = rng.random_range(-3000..9000) * step;
            let ranges = vec![
                TimeRange::new(-3000 * step, end.max(1 - 3000 * step)),
                TimeRange::new(end.max(1 - 3000 * step), TimeRange::ALL.end),
            ];
            let points: Vec<Row> = points
                .into_iter()
                .filter(|point| point.0 >= -3000 * step)
                .collect();
            for direction in DIRECTIONS {
                let query = PointQuery {
                    ranges: ranges.clone(),
                    direction,
                    batch_rows: rng.random_range(1..3000),
                    values: Some(Arc::new(ValueBounds::new(low, high))),
                    ..PointQuery::new(vec![at(stream, version)], TimeRange::ALL)
                };
                let found = db.rows(query).await;
                let mut all = points.clone();
                if direction == Direction::Backward {
                    all.reverse();
                }
                let what =
                    format!("seed {seed}, version {version}, {low} to {high}, {direction:?}");
                assert!(
                    within(&found, low, high) == within(&all, low, high),
                    "{what}"
                );
                let mut rest = all.iter();
                let in_order = found.iter().all(|point| rest.any(|other| other == point));
                assert!(in_order, "{what}");
            }
        }
    }
}

async fn a_spike_is_found_without_looking_at_the_rest(db: Subject) {
    let mut points: Vec<Row> = (0..200_000_i64)
        .map(|i| (i * 8_333_333, (i % 97) as f64))
        .collect();
    points[123_456].1 = 5000.0;
    let stream = db.stream_of("c/name", &points).await;
    for direction in DIRECTIONS {
        let probe = Probe::counting();
        let query = PointQuery {
            direction,
            values: Some(Arc::new(ValueBounds::new(1000.0, f64::INFINITY))),
            probe: probe.clone(),
            ..PointQuery::new(latest(&[stream]), TimeRange::ALL)
        };
        let found = db.rows(query).await;
        assert_eq!(within(&found, 1000.0, 1e9), [points[123_456]]);
        let taken = probe.taken();
        assert!(taken.points < 5000, "{taken:?}");
    }
}

/// The greatest `count` values, searched for as a sort with a limit does; and what that took.
async fn greatest(
    db: &Subject,
    stream: StreamRead,
    count: usize,
    direction: Direction,
) -> (Vec<f64>, Taken) {
    let (probe, bounds) = (
        Probe::counting(),
        Arc::new(ValueBounds::new(f64::NEG_INFINITY, f64::INFINITY)),
    );
    let query = PointQuery {
        direction,
        values: Some(Arc::clone(&bounds)),
        probe: probe.clone(),
        ..PointQuery::new(vec![stream], TimeRange::ALL)
    };
    let mut best: Vec<f64> = Vec::new();
    let mut batches = db.points(query);
    while let Some(batch) = batches.try_next().await.expect("points") {
        best.extend(batch.values.iter());
        best.sort_by(|a, b| b.total_cmp(a));
        best.truncate(count);
        if best.len() == count {
            bounds.set(best[count - 1], f64::INFINITY);
        }
    }
    (best, probe.taken())
}

async fn bounds_may_narrow_while_the_read_goes_on(db: Subject) {
    for seed in 0..6 {
        let mut rng = StdRng::seed_from_u64(seed);
        let stream = db.stream(&format!("c/{seed}")).await;
        let mut points = walk(&mut rng, (0..30_000).map(|i| i * 1000));
        db.write(stream, &points).await;
        let late = walk(&mut rng, (0..200).map(|i| i * 150_001));
        db.write(stream, &late).await;
        for stored in [points.len(), points.len() + late.len()] {
            points.extend_from_slice(&late[..stored - points.len()]);
            let mut expected: Vec<f64> = points.iter().map(|point| point.1).collect();
            expected.sort_by(|a, b| b.total_cmp(a));
            let version = Version(if stored > 30_000 { 12 } else { 11 });
            for direction in DIRECTIONS {
                let (best, _) = greatest(&db, at(stream, version), 10, direction).await;
                assert_eq!(best, expected[..10], "seed {seed}, {direction:?}");
            }
        }
    }
}

async fn narrowing_bounds_spare_the_rest(db: Subject) {
    let stream = db.stream_of("c/name", &ramp(0, 8_333_333, 200_000)).await;
    let (best, taken) = greatest(&db, StreamRead::latest(stream), 10, Direction::Backward).await;
    let expected: Vec<f64> = (199_990..200_000).rev().map(f64::from).collect();
    assert_eq!(best, expected);
    assert!(taken.points < 5000, "{taken:?}");
}

async fn a_limit_counts_what_is_delivered(db: Subject) {
    let stream = db.stream_of("c/name", &ramp(0, 1, 5000)).await;
    for limit in [0, 1, 100] {
        let query = PointQuery {
            limit: Some(limit),
            values: Some(Arc::new(ValueBounds::new(4000.0, 4999.0))),
            ..PointQuery::new(latest(&[stream]), TimeRange::ALL)
        };
        assert_eq!(db.rows(query).await.len() as u64, limit);
    }
}

async fn every_read_counts_what_it_takes(db: Subject) {
    let stream = db.stream_of("c/name", &ramp(0, 1000, 20_000)).await;
    let (streams, range) = (latest(&[stream]), TimeRange::new(500, 1_000_500));
    let taken: [Probe; 4] = std::array::from_fn(|_| Probe::counting());
    let points = PointQuery {
        probe: taken[0].clone(),
        ..PointQuery::new(streams.clone(), range)
    };
    let rows: usize = db
        .points(points)
        .try_fold(
            0,
            |sum, batch| async move { Ok(sum + rows_of(&batch).len()) },
        )
        .await
        .expect("points");
    let stats = StatQuery {
        probe: taken[1].clone(),
        ..StatQuery::new(streams.clone(), range, Cuts::whole(range))
    };
    db.try_stats(stats).await.expect("stats");
    let multi = MultiQuery {
        probe: taken[2].clone(),
        ..MultiQuery::new(streams.clone(), range, 0)
    };
    db.try_multi(multi).await.expect("multi_values");
    let nearest = NearestQuery {
        probe: taken[3].clone(),
        ..NearestQuery::new(streams, 77, Direction::Forward)
    };
    db.nearest(nearest).await.expect("nearest");
    let [points, stats, multi, nearest] = taken.map(|probe| probe.taken());
    assert!(points.points >= rows as u64, "{points:?} for {rows} rows");
    assert!(stats.nodes > 0 && stats.points < points.points, "{stats:?}");
    assert!(multi.points >= rows as u64, "{multi:?} for {rows} rows");
    assert!(nearest.nodes > 0 && nearest.points < 5000, "{nearest:?}");
}

/// Reads a thousand points and their window; answers what that took.
async fn taken(engine: &Engine, stream: StreamId) -> Taken {
    let (streams, range) = (latest(&[stream]), TimeRange::new(0, 1_000_500));
    let probe = Probe::counting();
    let stats = StatQuery {
        probe: probe.clone(),
        ..StatQuery::new(streams.clone(), range, Cuts::whole(range))
    };
    let stats: Vec<_> = engine.stats(stats).try_collect().await.expect("stats");
    assert_eq!(stats[0].stats[0].count, 1001);
    let points = PointQuery {
        probe: probe.clone(),
        ..PointQuery::new(streams, range)
    };
    let points: Vec<_> = engine.points(points).try_collect().await.expect("points");
    assert_eq!(points.iter().map(PointBatch::len).sum::<usize>(), 1001);
    probe.taken()
}

#[tokio::test]
async fn what_was_fetched_is_in_memory_the_next_time() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let location = folder.path().to_str().expect("a path in UTF-8");
    let open = || async {
        let engine = Engine::open(location, Settings::default()).await;
        engine.expect("the store opens")
    };
    let engine = open().await;
    let db = Subject::new(Arc::clone(&engine) as Arc<dyn Backend>);
    let stream = db.stream_of("c/name", &ramp(0, 1000, 20_000)).await;
    engine.close().await.expect("closed");
    drop((db, engine));

    let engine = open().await;
    let cold = taken(&engine, stream).await;
    assert!(cold.fetches > 0 && cold.fetched_bytes > 0, "{cold:?}");
    assert!(cold.cache_hits < cold.nodes, "{cold:?}");
    let again = taken(&engine, stream).await;
    assert_eq!((again.fetches, again.fetched_bytes), (0, 0), "{again:?}");
    assert_eq!(again.cache_hits, again.nodes, "{again:?}");
    assert_eq!((again.nodes, again.points), (cold.nodes, cold.points));
}
