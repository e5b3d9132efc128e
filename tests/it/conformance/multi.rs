//! Streams side by side: joined on time, or snapped to a grid.

use btrdb_flight::error::Code;
use btrdb_flight::model::time::{MAX_POINT_TIME, MAX_TIME, MIN_TIME};
use btrdb_flight::model::{MultiQuery, StreamId, StreamRead, TimeRange, Version};

use super::{Row, Subject, assert_refused, at, latest, multi_query, ramp};

checks! {
    streams_join_on_their_times,
    ranges_are_half_open,
    of_duplicates_the_last_stored_stands,
    a_stream_may_stand_twice,
    versions_stand_side_by_side,
    streams_without_points_are_columns_too,
    a_stream_alone_is_its_points,
    many_rows_stay_ascending_and_distinct,
    no_streams_are_refused,
    snapping_reaches_back_but_not_ahead,
    points_that_snap_to_the_end_are_dropped,
    halves_go_forward,
    of_snapped_points_the_nearest_then_the_earliest_stands,
    the_grid_starts_at_the_range,
    snapping_at_both_ends_of_time,
    snapping_with_a_vast_period,
    snapping_with_a_period_of_one_changes_nothing,
    snapping_thirty_hertz,
}

const SECOND: i64 = 1_000_000_000;

type Cells = Vec<(i64, Vec<Option<f64>>)>;

async fn cells(db: &Subject, query: MultiQuery) -> Cells {
    let columns = query.streams.len();
    let batches = db.try_multi(query).await.expect("multi_values");
    let mut cells = Cells::new();
    for batch in batches {
        assert_eq!(batch.columns.len(), columns, "a column a stream");
        assert!(
            batch
                .columns
                .iter()
                .all(|column| column.len() == batch.times.len())
        );
        for (row, &time) in batch.times.iter().enumerate() {
            let cell = |column: &arrow::array::Float64Array| column.iter().nth(row).flatten();
            cells.push((time, batch.columns.iter().map(cell).collect()));
        }
    }
    assert!(
        cells.windows(2).all(|pair| pair[0].0 < pair[1].0),
        "ascending, distinct times"
    );
    cells
}

async fn joined(db: &Subject, streams: &[StreamId], start: i64, end: i64) -> Cells {
    snapped(db, streams, start, end, 0).await
}

async fn snapped(db: &Subject, streams: &[StreamId], start: i64, end: i64, period: i64) -> Cells {
    let range = TimeRange::new(start, end);
    cells(db, multi_query(latest(streams), range, period as u64)).await
}

/// Rows as tests like to write them: NaN is nothing.
fn rows<const N: usize>(rows: &[(i64, [f64; N])]) -> Cells {
    let cell = |value: &f64| (!value.is_nan()).then_some(*value);
    rows.iter()
        .map(|(time, values)| (*time, values.iter().map(cell).collect()))
        .collect()
}

const NONE: f64 = f64::NAN;

async fn streams_join_on_their_times(db: Subject) {
    let a = db.stream_of("c/a", &[(1, 1.0), (3, 3.0), (5, 5.0)]).await;
    let b = db.stream_of("c/b", &[(2, 20.0), (3, 30.0)]).await;
    let c = db
        .stream_of("c/c", &[(3, 300.0), (5, 500.0), (9, 900.0)])
        .await;
    let expected = rows(&[
        (1, [NONE, 1.0, NONE]),
        (2, [NONE, NONE, 20.0]),
        (3, [300.0, 3.0, 30.0]),
        (5, [500.0, 5.0, NONE]),
        (9, [900.0, NONE, NONE]),
    ]);
    assert_eq!(joined(&db, &[c, a, b], 0, 10).await, expected);
}

async fn ranges_are_half_open(db: Subject) {
    let a = db.stream_of("c/a", &ramp(0, 10, 5)).await;
    let b = db.stream_of("c/b", &ramp(5, 10, 5)).await;
    let expected = rows(&[(10, [1.0, NONE]), (15, [NONE, 1.0])]);
    assert_eq!(joined(&db, &[a, b], 10, 20).await, expected);
    assert!(joined(&db, &[a, b], 11, 15).await.is_empty());
}

async fn of_duplicates_the_last_stored_stands(db: Subject) {
    let a = db
        .stream_of("c/a", &[(1, 1.0), (1, 2.0), (2, 3.0), (1, 0.5)])
        .await;
    db.write(a, &[(2, -3.0)]).await;
    let b = db.stream_of("c/b", &vec![(2, 7.0); 3000]).await;
    db.write(b, &[(2, 8.0)]).await;
    let expected = rows(&[(1, [0.5, NONE]), (2, [-3.0, 8.0])]);
    assert_eq!(joined(&db, &[a, b], 0, 10).await, expected);
}

async fn a_stream_may_stand_twice(db: Subject) {
    let a = db.stream_of("c/a", &[(1, 1.0), (2, 2.0)]).await;
    let expected = rows(&[(1, [1.0, 1.0]), (2, [2.0, 2.0])]);
    assert_eq!(joined(&db, &[a, a], 0, 10).await, expected);
}

async fn versions_stand_side_by_side(db: Subject) {
    let a = db.stream_of("c/a", &[(1, 1.0), (2, 2.0)]).await;
    db.delete(a, TimeRange::new(1, 2)).await.expect("deleted");
    db.write(a, &[(2, 3.0)]).await;
    let reads = vec![
        at(a, Version(11)),
        at(a, Version(12)),
        StreamRead::latest(a),
    ];
    let found = cells(&db, multi_query(reads, TimeRange::ALL, 0)).await;
    assert_eq!(found, rows(&[(1, [1.0, NONE, NONE]), (2, [2.0, 2.0, 3.0])]));
}

async fn streams_without_points_are_columns_too(db: Subject) {
    let (a, b) = (db.stream("c/a").await, db.stream("c/b").await);
    for period in [0, 10] {
        assert!(snapped(&db, &[a, b], 0, 100, period).await.is_empty());
    }
    db.write(b, &[(50, 1.0)]).await;
    for period in [0, 10] {
        assert_eq!(
            snapped(&db, &[a, b], 0, 100, period).await,
            rows(&[(50, [NONE, 1.0])])
        );
    }
}

async fn a_stream_alone_is_its_points(db: Subject) {
    let points = ramp(-500, 3, 5000);
    let a = db.stream_of("c/a", &points).await;
    let expected: Cells = points
        .iter()
        .map(|&(time, value)| (time, vec![Some(value)]))
        .collect();
    assert_eq!(joined(&db, &[a], MIN_TIME, MAX_TIME).await, expected);
}

async fn many_rows_stay_ascending_and_distinct(db: Subject) {
    let mut streams = Vec::new();
    for i in 0..5_usize {
        let points = ramp(i as i64, 2 + i as i64, 20_000);
        streams.push(db.stream_of(&format!("c/{i}"), &points).await);
    }
    let found = joined(&db, &streams, MIN_TIME, MAX_TIME).await;
    for (column, &stream) in streams.iter().enumerate() {
        let of_column: Vec<Row> = found
            .iter()
            .filter_map(|(time, values)| values[column].map(|value| (*time, value)))
            .collect();
        assert!(of_column == db.read(stream).await, "column {column}");
    }
    assert!(
        found
            .iter()
            .all(|(_, values)| values.iter().any(Option::is_some))
    );
}

async fn no_streams_are_refused(db: Subject) {
    for period in [0, 10] {
        let answer = db
            .try_multi(multi_query(Vec::new(), TimeRange::new(0, 1), period))
            .await;
        assert_refused(answer, Code::InvalidParameter, "no streams");
    }
}

async fn snapping_reaches_back_but_not_ahead(db: Subject) {
    let half = SECOND / 2;
    let s1 = db.stream_of("c/1", &[(half, 0.5), (2 * SECOND, 2.0)]).await;
    let s2 = db
        .stream_of("c/2", &[(half - 1, 0.5), (2 * SECOND, 2.0)])
        .await;
    let s3 = db
        .stream_of("c/3", &[(SECOND, 1.0), (2 * SECOND, 2.0)])
        .await;
    let expected = rows(&[(SECOND, [0.5, NONE, 1.0]), (2 * SECOND, [2.0, 2.0, 2.0])]);
    let found = snapped(&db, &[s1, s2, s3], SECOND, 3 * SECOND, SECOND).await;
    assert_eq!(found, expected);

    let ahead = db.stream_of("c/ahead", &[(11, 11.0)]).await;
    let found = snapped(&db, &[ahead], 0, 11, 10).await;
    assert!(
        found.is_empty(),
        "points at or after the end are never read: {found:?}"
    );
}

async fn points_that_snap_to_the_end_are_dropped(db: Subject) {
    let points = [(SECOND, 1.0), (2 * SECOND, 2.0), (11 * SECOND / 4, 2.75)];
    let stream = db.stream_of("c/name", &points).await;
    let expected = rows(&[(SECOND, [1.0]), (2 * SECOND, [2.0])]);
    for end in [3 * SECOND, 29 * SECOND / 10] {
        assert_eq!(snapped(&db, &[stream], SECOND, end, SECOND).await, expected);
    }
}

async fn halves_go_forward(db: Subject) {
    let even = db
        .stream_of("c/even", &[(-5, 1.0), (4, 2.0), (15, 3.0), (24, 4.0)])
        .await;
    let found = snapped(&db, &[even], 0, 100, 10).await;
    assert_eq!(
        found,
        rows(&[(0, [2.0]), (20, [4.0])]),
        "4 is nearer than -5, 24 than 15"
    );
    let halves = db
        .stream_of("c/halves", &[(-6, 0.0), (-5, 1.0), (15, 3.0)])
        .await;
    let found = snapped(&db, &[halves], 0, 100, 10).await;
    assert_eq!(found, rows(&[(0, [1.0]), (20, [3.0])]));
    // With a period of 5 the grid has no halves: 2 goes back, 3 goes on.
    let odd = db
        .stream_of("c/odd", &[(-3, 0.0), (-2, 1.0), (3, 2.0), (12, 3.0)])
        .await;
    let found = snapped(&db, &[odd], 0, 100, 5).await;
    assert_eq!(found, rows(&[(0, [1.0]), (5, [2.0]), (10, [3.0])]));
}

async fn of_snapped_points_the_nearest_then_the_earliest_stands(db: Subject) {
    let a = db
        .stream_of(
            "c/a",
            &[(7, 1.0), (9, 2.0), (12, 3.0), (19, 4.0), (21, 5.0)],
        )
        .await;
    let b = db
        .stream_of(
            "c/b",
            &[(10, 1.0), (11, 2.0), (18, 3.0), (20, 4.0), (22, 5.0)],
        )
        .await;
    let found = snapped(&db, &[a, b], 0, 100, 10).await;
    assert_eq!(found, rows(&[(10, [2.0, 1.0]), (20, [4.0, 4.0])]));
}

async fn the_grid_starts_at_the_range(db: Subject) {
    let stream = db
        .stream_of("c/name", &[(103, 1.0), (112, 2.0), (126, 3.0)])
        .await;
    assert_eq!(
        snapped(&db, &[stream], 103, 130, 10).await,
        rows(&[(103, [1.0]), (113, [2.0]), (123, [3.0])])
    );
    assert_eq!(
        snapped(&db, &[stream], -107, 130, 10).await,
        rows(&[(103, [1.0]), (113, [2.0]), (123, [3.0])])
    );
}

async fn snapping_at_both_ends_of_time(db: Subject) {
    let points = [
        (MIN_TIME, 1.0),
        (MIN_TIME + 3, 2.0),
        (MAX_POINT_TIME - 1, 3.0),
        (MAX_POINT_TIME, 4.0),
    ];
    let stream = db.stream_of("c/name", &points).await;
    let found = snapped(&db, &[stream], MIN_TIME, MAX_TIME, 4).await;
    let last = MAX_TIME - 4;
    assert_eq!(
        found,
        rows(&[(MIN_TIME, [1.0]), (MIN_TIME + 4, [2.0]), (last, [3.0])]),
        "the last point snaps to the end of time, which no row can have"
    );
}

async fn snapping_with_a_vast_period(db: Subject) {
    let stream = db
        .stream_of("c/name", &[(-40, 1.0), (3, 2.0), (90, 3.0)])
        .await;
    for period in [1_000, 1 << 61, i64::MAX] {
        assert_eq!(
            snapped(&db, &[stream], 0, 100, period).await,
            rows(&[(0, [2.0])])
        );
    }
}

async fn snapping_with_a_period_of_one_changes_nothing(db: Subject) {
    let a = db.stream_of("c/a", &ramp(0, 3, 100)).await;
    let b = db.stream_of("c/b", &ramp(0, 2, 100)).await;
    let found = snapped(&db, &[a, b], 5, 150, 1).await;
    assert_eq!(found, joined(&db, &[a, b], 5, 150).await);
}

async fn snapping_thirty_hertz(db: Subject) {
    let count = 30 * 600;
    let thirty: Vec<Row> = (0..count).map(|i| (i * SECOND / 30, i as f64)).collect();
    let a = db.stream_of("c/a", &thirty).await;
    let b = db.stream_of("c/b", &thirty).await;
    for (period, expected) in [
        (33_333_333, 18_000),
        (66_666_666, 9_000),
        (SECOND, 600),
        (10 * SECOND, 60),
    ] {
        let found = snapped(&db, &[a, b], 0, 600 * SECOND, period).await.len() as i64;
        let tolerance = if expected == 60 { 0 } else { expected / 1000 };
        assert!(
            (found - expected).abs() <= tolerance,
            "{found} rows every {period} ns"
        );
    }
}
