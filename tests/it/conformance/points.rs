//! Raw reads: which points, in which order, in which batches.

use btrdb_flight::model::time::{MAX_TIME, MIN_TIME};
use btrdb_flight::model::{
    Direction, MergePolicy, PointQuery, StreamId, StreamRead, TimeRange, Version,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{Row, Subject, at, latest, ramp};

checks! {
    ranges_are_half_open,
    ranges_without_points_are_empty,
    backward_is_forward_reversed,
    limits_count_from_the_end_that_is_read_first,
    limits_may_cut_equal_times,
    limits_are_for_each_stream,
    several_ranges_are_one_read,
    touching_ranges_repeat_nothing,
    streams_come_in_the_order_asked,
    one_stream_at_two_versions,
    batches_are_bounded_and_invisible,
    batches_name_stream_and_version,
    points_far_apart_and_close_together,
    random_reads_equal_a_sorted_list,
}

fn query(stream: StreamId, ranges: &[(i64, i64)]) -> PointQuery {
    PointQuery {
        ranges: ranges
            .iter()
            .map(|&(start, end)| TimeRange::new(start, end))
            .collect(),
        ..PointQuery::new(vec![StreamRead::latest(stream)], TimeRange::ALL)
    }
}

/// Every third time is taken two or three times.
fn with_duplicates(count: i64) -> Vec<Row> {
    let times = (0..count).flat_map(|i| std::iter::repeat_n(i * 5 - 1000, 1 + (i % 3) as usize));
    times
        .enumerate()
        .map(|(i, time)| (time, i as f64))
        .collect()
}

async fn ranges_are_half_open(db: Subject) {
    let points = ramp(100, 5, 5);
    let stream = db.stream_of("c/name", &points).await;
    assert_eq!(db.read_range(stream, 100, 121).await, points);
    assert_eq!(db.read_range(stream, 100, 120).await, points[..4]);
    assert_eq!(db.read_range(stream, 101, 120).await, points[1..4]);
    assert_eq!(db.read_range(stream, 105, 106).await, points[1..2]);
    assert_eq!(db.read_range(stream, MIN_TIME, MAX_TIME).await, points);
}

async fn ranges_without_points_are_empty(db: Subject) {
    let empty = db.stream("c/empty").await;
    assert!(db.read(empty).await.is_empty());
    let stream = db.stream_of("c/name", &ramp(100, 5, 5)).await;
    for (start, end) in [(0, 100), (101, 105), (121, 200), (MIN_TIME, -1)] {
        assert!(db.read_range(stream, start, end).await.is_empty());
    }
}

async fn backward_is_forward_reversed(db: Subject) {
    let points = with_duplicates(3000);
    let stream = db.stream_of("c/name", &points).await;
    for (start, end) in [
        (MIN_TIME, MAX_TIME),
        (-1000, 5000),
        (-997, 13),
        (0, 1),
        (20_000, 30_000),
    ] {
        let forward = query(stream, &[(start, end)]);
        let backward = PointQuery {
            direction: Direction::Backward,
            ..forward.clone()
        };
        let mut expected = db.rows(forward).await;
        expected.reverse();
        assert_eq!(db.rows(backward).await, expected, "[{start}, {end})");
    }
}

async fn limits_count_from_the_end_that_is_read_first(db: Subject) {
    let points = ramp(0, 3, 5000);
    let stream = db.stream_of("c/name", &points).await;
    for limit in [0, 1, 2, 1023, 1024, 1025, 4999, 5000, 5001, u64::MAX] {
        let taken = usize::try_from(limit).map_or(points.len(), |limit| limit.min(points.len()));
        let forward = PointQuery {
            limit: Some(limit),
            ..query(stream, &[(0, 20_000)])
        };
        let backward = PointQuery {
            direction: Direction::Backward,
            ..forward.clone()
        };
        assert_eq!(db.rows(forward).await, points[..taken], "first {limit}");
        let mut last = points[points.len() - taken..].to_vec();
        last.reverse();
        assert_eq!(db.rows(backward).await, last, "last {limit}");
    }
}

async fn limits_may_cut_equal_times(db: Subject) {
    let points = [(1, 1.0), (2, 2.0), (2, 3.0), (2, 4.0), (3, 5.0)];
    let stream = db.stream_of("c/name", &points).await;
    let first = PointQuery {
        limit: Some(3),
        ..query(stream, &[(0, 10)])
    };
    let last = PointQuery {
        direction: Direction::Backward,
        ..first.clone()
    };
    assert_eq!(db.rows(first).await, points[..3]);
    assert_eq!(db.rows(last).await, [(3, 5.0), (2, 4.0), (2, 3.0)]);
}

async fn limits_are_for_each_stream(db: Subject) {
    let (few, many) = (ramp(0, 1, 2), ramp(0, 1, 2000));
    let streams = [
        db.stream_of("c/few", &few).await,
        db.stream_of("c/many", &many).await,
        db.stream("c/none").await,
    ];
    let query = PointQuery {
        limit: Some(3),
        ..PointQuery::new(latest(&streams), TimeRange::ALL)
    };
    let found = db.rows_by_stream(query).await;
    assert_eq!(found, [few, many[..3].to_vec(), Vec::new()]);
}

async fn several_ranges_are_one_read(db: Subject) {
    let points = with_duplicates(4000);
    let stream = db.stream_of("c/name", &points).await;
    let ranges = [
        (-2000, -990),
        (-985, -984),
        (0, 7),
        (10, 3000),
        (9000, 9001),
        (50_000, 60_000),
    ];
    let mut expected: Vec<Row> = points
        .iter()
        .copied()
        .filter(|&(time, _)| {
            ranges
                .iter()
                .any(|&(start, end)| start <= time && time < end)
        })
        .collect();
    let forward = query(stream, &ranges);
    let backward = PointQuery {
        direction: Direction::Backward,
        ..forward.clone()
    };
    let limited = PointQuery {
        limit: Some(10),
        ..backward.clone()
    };
    assert_eq!(db.rows(forward).await, expected);
    expected.reverse();
    assert_eq!(db.rows(backward).await, expected);
    assert_eq!(
        db.rows(limited).await,
        expected[..10],
        "a limit counts over all ranges"
    );
}

async fn touching_ranges_repeat_nothing(db: Subject) {
    let points = with_duplicates(1000);
    let stream = db.stream_of("c/name", &points).await;
    let ranges = [(-1000, 0), (0, 5), (5, 6), (6, 4000)];
    assert_eq!(db.rows(query(stream, &ranges)).await, points);
}

async fn streams_come_in_the_order_asked(db: Subject) {
    let mut streams = Vec::new();
    for i in 0..20 {
        let points = ramp(i, 1, 10 * i as usize);
        streams.push(db.stream_of(&format!("c/{i}"), &points).await);
    }
    streams.reverse();
    for direction in [Direction::Forward, Direction::Backward] {
        let query = PointQuery {
            direction,
            batch_rows: 7,
            ..PointQuery::new(latest(&streams), TimeRange::ALL)
        };
        let batches = db.try_points(query).await.expect("points");
        assert!(
            batches.is_sorted_by_key(|batch| batch.stream),
            "stream by stream"
        );
        let mut counts = vec![0; 20];
        for batch in &batches {
            counts[batch.stream] += batch.len();
        }
        let expected: Vec<usize> = (0..20).rev().map(|i| 10 * i).collect();
        assert_eq!(counts, expected);
    }
}

async fn one_stream_at_two_versions(db: Subject) {
    let stream = db.stream_of("c/name", &[(1, 1.0)]).await;
    db.merge(stream, &[(1, 2.0)], MergePolicy::Replace).await;
    let reads = vec![
        at(stream, Version(11)),
        StreamRead::latest(stream),
        at(stream, Version(10)),
        at(stream, Version(11)),
    ];
    let found = db
        .rows_by_stream(PointQuery::new(reads, TimeRange::ALL))
        .await;
    assert_eq!(
        found,
        [vec![(1, 1.0)], vec![(1, 2.0)], vec![], vec![(1, 1.0)]]
    );
}

async fn batches_are_bounded_and_invisible(db: Subject) {
    let points = with_duplicates(2000);
    let stream = db.stream_of("c/name", &points).await;
    for batch_rows in [1, 2, 7, 1000, 1024, 100_000] {
        for direction in [Direction::Forward, Direction::Backward] {
            let query = PointQuery {
                batch_rows,
                direction,
                ..query(stream, &[(-900, 2000), (2500, 100_000)])
            };
            let unbounded = PointQuery {
                batch_rows: usize::MAX,
                ..query.clone()
            };
            let batches = db.try_points(query.clone()).await.expect("points");
            assert!(
                batches.iter().all(|batch| batch.len() <= batch_rows),
                "{batch_rows} rows"
            );
            let same = db.rows(query).await == db.rows(unbounded).await;
            assert!(same, "{batch_rows} rows a batch, {direction:?}");
        }
    }
}

async fn batches_name_stream_and_version(db: Subject) {
    let a = db.stream_of("c/a", &ramp(0, 1, 3000)).await;
    let b = db.stream_of("c/b", &ramp(0, 1, 3000)).await;
    db.write(b, &[(1, 1.0)]).await;
    let reads = vec![
        at(b, Version(11)),
        StreamRead::latest(a),
        StreamRead::latest(b),
    ];
    let query = PointQuery {
        batch_rows: 500,
        ..PointQuery::new(reads, TimeRange::ALL)
    };
    for batch in db.try_points(query).await.expect("points") {
        let expected = [Version(11), Version(11), Version(12)][batch.stream];
        assert_eq!(batch.version, expected);
    }
}

async fn points_far_apart_and_close_together(db: Subject) {
    let mut points = Vec::new();
    for exponent in 0..60 {
        let far = 1_i64 << exponent;
        points.extend([(far, 1.0), (-far, 2.0), (far + 1, 3.0), (far - 1, 4.0)]);
    }
    points.extend(ramp(-3, 1, 3000));
    let stream = db.stream("c/name").await;
    for chunk in points.chunks(100) {
        db.write(stream, chunk).await;
    }
    points.sort_by_key(|&(time, _)| time);
    assert_eq!(db.read(stream).await, points);
    for &(time, _) in &points {
        let expected: Vec<Row> = points
            .iter()
            .copied()
            .filter(|point| point.0 == time)
            .collect();
        assert_eq!(
            db.read_range(stream, time, time + 1).await,
            expected,
            "at {time}"
        );
    }
}

async fn random_reads_equal_a_sorted_list(db: Subject) {
    for seed in 0..20 {
        let mut rng = StdRng::seed_from_u64(seed);
        let spread = 1_i64 << rng.random_range(4..50);
        let center = rng.random_range(-(1_i64 << 59)..1 << 61);
        let mut stored: Vec<Row> = Vec::new();
        let stream = db.stream(&format!("c/{seed}")).await;
        for _ in 0..rng.random_range(1..6) {
            let batch: Vec<Row> = (0..rng.random_range(1..1500))
                .map(|i| (center + rng.random_range(0..spread), f64::from(i)))
                .collect();
            db.write(stream, &batch).await;
            stored.extend(batch);
        }
        stored.sort_by_key(|&(time, _)| time);
        for _ in 0..20 {
            let mut cuts: Vec<i64> = (0..6)
                .map(|_| center + rng.random_range(0..spread))
                .collect();
            cuts.sort_unstable();
            cuts.dedup();
            let ranges: Vec<_> = cuts
                .chunks_exact(2)
                .map(|pair| (pair[0], pair[1]))
                .collect();
            let limit = rng.random_bool(0.5).then(|| rng.random_range(0..300));
            let backward = rng.random_bool(0.5);
            let mut expected: Vec<Row> = stored
                .iter()
                .copied()
                .filter(|&(time, _)| {
                    ranges
                        .iter()
                        .any(|&(start, end)| start <= time && time < end)
                })
                .collect();
            if backward {
                expected.reverse();
            }
            expected.truncate(limit.unwrap_or(u64::MAX) as usize);
            let query = PointQuery {
                limit,
                direction: if backward {
                    Direction::Backward
                } else {
                    Direction::Forward
                },
                batch_rows: rng.random_range(1..2000),
                ..query(stream, &ranges)
            };
            assert!(
                db.rows(query.clone()).await == expected,
                "seed {seed}: {query:?}"
            );
        }
    }
}
