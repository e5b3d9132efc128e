//! The nearest point: forward from a time on, backward from before it.

use btrdb_flight::model::time::{MAX_POINT_TIME, MAX_TIME, MIN_TIME};
use btrdb_flight::model::{Direction, NearestQuery, StreamRead, TimeRange, Version};

use super::{Subject, at, latest, nearest_query, ramp};

checks! {
    forward_takes_the_time_itself,
    backward_is_strictly_before,
    nothing_there_is_none,
    ties_go_to_the_first_forward_and_the_last_backward,
    the_ends_of_time_are_reached,
    lone_points_are_found_from_anywhere,
    deleted_points_are_passed_over,
    every_gap_of_a_dense_stream,
    many_streams_at_once,
    old_versions_keep_their_neighbours,
}

use Direction::{Backward, Forward};

async fn forward_takes_the_time_itself(db: Subject) {
    let stream = db.stream_of("c/name", &ramp(100, 5, 5)).await;
    assert_eq!(db.nearest_to(stream, 105, Forward).await, Some((105, 1.0)));
    assert_eq!(db.nearest_to(stream, 106, Forward).await, Some((110, 2.0)));
    assert_eq!(
        db.nearest_to(stream, MIN_TIME, Forward).await,
        Some((100, 0.0))
    );
}

async fn backward_is_strictly_before(db: Subject) {
    let stream = db.stream_of("c/name", &ramp(100, 5, 5)).await;
    assert_eq!(db.nearest_to(stream, 105, Backward).await, Some((100, 0.0)));
    assert_eq!(db.nearest_to(stream, 106, Backward).await, Some((105, 1.0)));
    assert_eq!(
        db.nearest_to(stream, MAX_TIME - 1, Backward).await,
        Some((120, 4.0))
    );
}

async fn nothing_there_is_none(db: Subject) {
    let empty = db.stream("c/empty").await;
    let stream = db.stream_of("c/name", &ramp(100, 5, 5)).await;
    for direction in [Forward, Backward] {
        assert_eq!(db.nearest_to(empty, 0, direction).await, None);
    }
    assert_eq!(db.nearest_to(stream, 121, Forward).await, None);
    assert_eq!(db.nearest_to(stream, 100, Backward).await, None);
    assert_eq!(db.nearest_to(stream, MIN_TIME, Backward).await, None);
}

async fn ties_go_to_the_first_forward_and_the_last_backward(db: Subject) {
    let points: Vec<_> = (0..3000)
        .map(|i| (i64::from(i) / 1500, f64::from(i)))
        .collect();
    let stream = db.stream_of("c/name", &points).await;
    db.write(stream, &[(0, -1.0)]).await;
    assert_eq!(db.nearest_to(stream, 0, Forward).await, Some((0, 0.0)));
    assert_eq!(db.nearest_to(stream, 1, Forward).await, Some((1, 1500.0)));
    assert_eq!(db.nearest_to(stream, 1, Backward).await, Some((0, -1.0)));
    assert_eq!(db.nearest_to(stream, 2, Backward).await, Some((1, 2999.0)));
}

async fn the_ends_of_time_are_reached(db: Subject) {
    let stream = db
        .stream_of("c/name", &[(MIN_TIME, 1.0), (MAX_POINT_TIME, 2.0)])
        .await;
    assert_eq!(
        db.nearest_to(stream, MIN_TIME, Forward).await,
        Some((MIN_TIME, 1.0))
    );
    assert_eq!(
        db.nearest_to(stream, MIN_TIME + 1, Backward).await,
        Some((MIN_TIME, 1.0))
    );
    assert_eq!(
        db.nearest_to(stream, MIN_TIME + 1, Forward).await,
        Some((MAX_POINT_TIME, 2.0))
    );
    assert_eq!(
        db.nearest_to(stream, MAX_TIME - 1, Backward).await,
        Some((MAX_POINT_TIME, 2.0))
    );
    assert_eq!(db.nearest_to(stream, MAX_TIME - 1, Forward).await, None);
}

async fn lone_points_are_found_from_anywhere(db: Subject) {
    let stream = db.stream("c/name").await;
    let mut times: Vec<i64> = (0..60)
        .flat_map(|exponent| [1 << exponent, -(1 << exponent)])
        .collect();
    times.sort_unstable();
    for &time in &times {
        db.write(stream, &[(time, time as f64)]).await;
    }
    for pair in times.windows(2) {
        let [left, right] = [pair[0], pair[1]].map(|time| Some((time, time as f64)));
        for time in [
            pair[0] + 1,
            pair[0].midpoint(pair[1]).max(pair[0] + 1),
            pair[1],
        ] {
            assert_eq!(
                db.nearest_to(stream, time, Backward).await,
                left,
                "before {time}"
            );
            assert_eq!(
                db.nearest_to(stream, time, Forward).await,
                right,
                "from {time}"
            );
        }
    }
}

async fn deleted_points_are_passed_over(db: Subject) {
    let stream = db.stream_of("c/name", &ramp(0, 1, 10_000)).await;
    db.delete(stream, TimeRange::new(1, 9_999))
        .await
        .expect("deleted");
    for time in [1, 5000, 9_999] {
        assert_eq!(
            db.nearest_to(stream, time, Forward).await,
            Some((9_999, 9_999.0))
        );
        assert_eq!(db.nearest_to(stream, time, Backward).await, Some((0, 0.0)));
    }
    db.delete(stream, TimeRange::ALL).await.expect("deleted");
    assert_eq!(db.nearest_to(stream, 5000, Forward).await, None);
    assert_eq!(db.nearest_to(stream, 5000, Backward).await, None);
}

async fn every_gap_of_a_dense_stream(db: Subject) {
    let points = ramp(-4096, 3, 3000);
    let stream = db.stream_of("c/name", &points).await;
    for time in (-4100..4950).step_by(7) {
        let forward = points.iter().copied().find(|point| point.0 >= time);
        let backward = points.iter().rev().copied().find(|point| point.0 < time);
        assert_eq!(
            db.nearest_to(stream, time, Forward).await,
            forward,
            "from {time}"
        );
        assert_eq!(
            db.nearest_to(stream, time, Backward).await,
            backward,
            "before {time}"
        );
    }
}

async fn many_streams_at_once(db: Subject) {
    let a = db.stream_of("c/a", &[(10, 1.0)]).await;
    let b = db.stream("c/b").await;
    let c = db.stream_of("c/c", &[(20, 2.0)]).await;
    db.write(c, &[(30, 3.0)]).await;
    let query = NearestQuery::new(latest(&[c, b, a, c]), 20, Backward);
    let answers = db.nearest(query).await.expect("nearest");
    let found: Vec<_> = answers
        .iter()
        .map(|(version, point)| (version.0, point.map(|point| (point.time, point.value))))
        .collect();
    assert_eq!(
        found,
        [(12, None), (10, None), (11, Some((10, 1.0))), (12, None)]
    );
}

async fn old_versions_keep_their_neighbours(db: Subject) {
    let stream = db.stream_of("c/name", &[(10, 1.0)]).await;
    db.write(stream, &[(5, 2.0)]).await;
    db.delete(stream, TimeRange::ALL).await.expect("deleted");
    for (version, expected) in [(10, None), (11, Some(10)), (12, Some(5)), (13, None)] {
        let query = nearest_query(at(stream, Version(version)), 0, Forward);
        let (read, point) = db.nearest(query).await.expect("nearest").remove(0);
        assert_eq!((read.0, point.map(|point| point.time)), (version, expected));
    }
    let query = nearest_query(StreamRead::latest(stream), 0, Forward);
    assert_eq!(
        db.nearest(query).await.expect("nearest").remove(0).0,
        Version(13)
    );
}
