//! Statistics between cut points: aligned windows, windows, buckets, ragged ends.

use btrdb_flight::model::time::{MAX_POINT_TIME, MAX_TIME, MIN_TIME};
use btrdb_flight::model::{Cuts, PointWidth, StatQuery, StreamId, TimeRange, Version};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{Row, Subject, Window, at, latest, ramp, stat_query, windows_of};

checks! {
    aligned_windows_of_the_manual,
    aligned_windows_of_the_client_tests,
    aligned_windows_omit_holes,
    aligned_ranges_without_a_whole_window_are_empty,
    aligned_counts_stop_at_the_last_whole_window,
    windows_of_the_manual,
    windows_of_the_client_tests,
    windows_without_points_are_absent,
    windows_begin_where_asked,
    ragged_ends_keep_the_name_of_their_window,
    one_window_over_everything,
    cut_points_name_the_windows,
    cut_points_clip_to_the_range,
    cut_points_may_lie_beyond_time,
    one_value_has_no_deviation,
    every_duplicate_counts,
    every_point_width_equals_folded_points,
    grids_of_any_origin_and_width_equal_folded_points,
    negative_times_fall_into_floored_windows,
    windows_at_both_ends_of_time,
    large_values_keep_their_deviation,
    limits_are_for_each_stream,
    streams_come_in_the_order_asked,
    old_versions_keep_their_windows,
    deleted_points_do_not_count,
    random_histories_equal_folded_points,
    windows_that_ranges_share_are_one,
    random_ranges_equal_folded_points,
}

const DEVIATION: f64 = 0.816496580927726;

/// The ten points of the manual: 1.0 to 10.0, a tenth of a second apart.
const MANUAL: i64 = 1_500_000_000_000_000_000;

fn manual() -> Vec<Row> {
    (0..10_i32)
        .map(|i| (MANUAL + i64::from(i) * 100_000_000, f64::from(i + 1)))
        .collect()
}

/// BTrDB's aligned windows: both bounds floored to the width.
async fn aligned(
    db: &Subject,
    stream: StreamId,
    start: i64,
    end: i64,
    exponent: u64,
) -> Vec<Window> {
    let width = PointWidth::new(exponent).expect("a point width");
    let range = width
        .align(TimeRange::new(start, end))
        .intersect(TimeRange::ALL);
    if range.is_empty() {
        return Vec::new();
    }
    let cuts = Cuts::Every {
        origin: 0,
        width: width.width(),
    };
    db.windows(stat_query(latest(&[stream]), range, cuts)).await
}

/// BTrDB's windows: as many whole ones as fit, from the start.
async fn windows(db: &Subject, stream: StreamId, start: i64, end: i64, width: i64) -> Vec<Window> {
    let end = start + (end - start) / width * width;
    if end == start {
        return Vec::new();
    }
    every(db, stream, (start, end), start, width as u64).await
}

async fn every(
    db: &Subject,
    stream: StreamId,
    (start, end): (i64, i64),
    origin: i64,
    width: u64,
) -> Vec<Window> {
    let range = TimeRange::new(start, end);
    let cuts = Cuts::Every { origin, width };
    db.windows(stat_query(latest(&[stream]), range, cuts)).await
}

async fn between(
    db: &Subject,
    stream: StreamId,
    (start, end): (i64, i64),
    cuts: &[i64],
) -> Vec<Window> {
    let range = TimeRange::new(start, end);
    db.windows(stat_query(latest(&[stream]), range, Cuts::At(cuts.into())))
        .await
}

/// A window as the manual's tables write it: time, min, mean, max, count, stddev.
fn window(time: i64, min: f64, mean: f64, max: f64, count: u64, stddev: f64) -> Window {
    Window {
        time,
        min,
        mean,
        max,
        count,
        stddev,
    }
}

fn counts(windows: &[Window]) -> Vec<(i64, u64)> {
    windows
        .iter()
        .map(|window| (window.time, window.count))
        .collect()
}

/// Statistics by the book: points in windows that `start_of` names, those inside `range`.
fn folded(points: &[Row], range: TimeRange, start_of: impl Fn(i64) -> Option<i64>) -> Vec<Window> {
    let mut groups: Vec<(i64, Vec<f64>)> = Vec::new();
    for &(time, value) in points.iter().filter(|point| range.contains(point.0)) {
        let Some(start) = start_of(time) else {
            continue;
        };
        match groups.last_mut() {
            Some((last, values)) if *last == start => values.push(value),
            _ => groups.push((start, vec![value])),
        }
    }
    let fold = |(time, values): (i64, Vec<f64>)| {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let moment: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let min = values.iter().copied().fold(f64::INFINITY, f64::min);
        let max = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        window(
            time,
            min,
            mean,
            max,
            values.len() as u64,
            (moment / n).sqrt(),
        )
    };
    groups.into_iter().map(fold).collect()
}

fn grid(origin: i64, width: u64) -> impl Fn(i64) -> Option<i64> {
    let (origin, width) = (i128::from(origin), i128::from(width));
    move |time| {
        let start = origin + (i128::from(time) - origin).div_euclid(width) * width;
        Some(
            start
                .try_into()
                .expect("tests keep to windows that can be told"),
        )
    }
}

/// Counts, times and extremes are exact; means and deviations as near as BTrDB's own tests want them.
#[track_caller]
fn assert_same(found: &[Window], expected: &[Window], what: &str) {
    assert_eq!(counts(found), counts(expected), "{what}");
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(
            (found.min, found.max),
            (expected.min, expected.max),
            "{what}"
        );
        let scale = expected.min.abs().max(expected.max.abs()).max(1.0);
        let near = |a: f64, b: f64| (a - b).abs() <= 1e-11 * scale;
        assert!(
            near(found.mean, expected.mean) && near(found.stddev, expected.stddev),
            "{what}: {found:?} for {expected:?}"
        );
    }
}

async fn aligned_windows_of_the_manual(db: Subject) {
    let stream = db.stream_of("c/name", &manual()).await;
    let found = aligned(&db, stream, MANUAL, 1_500_000_001_000_000_000, 28).await;
    let expected = [
        window(1_499_999_999_814_008_832, 1.0, 1.0, 1.0, 1, 0.0),
        window(1_500_000_000_082_444_288, 2.0, 3.0, 4.0, 3, DEVIATION),
        window(1_500_000_000_350_879_744, 5.0, 6.0, 7.0, 3, DEVIATION),
        window(1_500_000_000_619_315_200, 8.0, 8.5, 9.0, 2, 0.5),
    ];
    assert_eq!(found, expected);
}

async fn aligned_windows_of_the_client_tests(db: Subject) {
    let stream = db.stream_of("c/name", &ramp(100, 5, 5)).await;
    let expected = [
        window(96, 0.0, 0.0, 0.0, 1, 0.0),
        window(104, 1.0, 1.5, 2.0, 2, 0.5),
        window(112, 3.0, 3.0, 3.0, 1, 0.0),
    ];
    assert_eq!(aligned(&db, stream, 100, 121, 3).await, expected);
}

async fn aligned_windows_omit_holes(db: Subject) {
    let points = [(101, 5.0), (106, 6.0), (110, 7.0), (132, 8.0), (140, 9.0)];
    let stream = db.stream_of("c/name", &points).await;
    let expected = [
        window(96, 5.0, 5.0, 5.0, 1, 0.0),
        window(104, 6.0, 6.5, 7.0, 2, 0.5),
        window(128, 8.0, 8.0, 8.0, 1, 0.0),
    ];
    assert_eq!(aligned(&db, stream, 100, 141, 3).await, expected);
}

async fn aligned_ranges_without_a_whole_window_are_empty(db: Subject) {
    let stream = db.stream_of("c/name", &ramp(100, 5, 5)).await;
    assert!(aligned(&db, stream, 100, 101, 3).await.is_empty());
    assert!(aligned(&db, stream, 97, 103, 3).await.is_empty());
    assert_eq!(counts(&aligned(&db, stream, 97, 104, 3).await), [(96, 1)]);
}

async fn aligned_counts_stop_at_the_last_whole_window(db: Subject) {
    let points = [
        (MIN_TIME, 1.0),
        (0, 2.0),
        ((1 << 61) - 1, 3.0),
        (1 << 61, 4.0),
    ];
    let stream = db.stream_of("c/name", &points).await;
    let counted = |windows: Vec<Window>| windows.iter().map(|window| window.count).sum::<u64>();
    assert_eq!(
        counted(aligned(&db, stream, MIN_TIME, MAX_TIME - 1, 60).await),
        3
    );
    assert_eq!(
        counted(aligned(&db, stream, MIN_TIME, MAX_TIME, 60).await),
        4
    );
}

async fn windows_of_the_manual(db: Subject) {
    let stream = db.stream_of("c/name", &manual()).await;
    let found = windows(&db, stream, MANUAL, MANUAL + 1_000_000_000, 300_000_000).await;
    let expected = [
        window(MANUAL, 1.0, 2.0, 3.0, 3, DEVIATION),
        window(MANUAL + 300_000_000, 4.0, 5.0, 6.0, 3, DEVIATION),
        window(MANUAL + 600_000_000, 7.0, 8.0, 9.0, 3, DEVIATION),
    ];
    assert_eq!(found, expected);
}

async fn windows_of_the_client_tests(db: Subject) {
    let stream = db.stream_of("c/name", &ramp(100, 5, 5)).await;
    let expected = [
        window(100, 0.0, 0.5, 1.0, 2, 0.5),
        window(110, 2.0, 2.5, 3.0, 2, 0.5),
    ];
    assert_eq!(windows(&db, stream, 100, 121, 10).await, expected);
}

async fn windows_without_points_are_absent(db: Subject) {
    let stream = db
        .stream_of("c/name", &[(100, 1.0), (105, 2.0), (135, 3.0)])
        .await;
    let found = windows(&db, stream, 100, 141, 10).await;
    assert_eq!(counts(&found), [(100, 2), (130, 1)]);
    let found = windows(&db, stream, 50, 200, 10).await;
    assert_eq!(counts(&found), [(100, 2), (130, 1)]);
    assert!(windows(&db, stream, 106, 130, 10).await.is_empty());
    let empty = db.stream("c/empty").await;
    assert!(windows(&db, empty, 0, 100, 10).await.is_empty());
}

async fn windows_begin_where_asked(db: Subject) {
    let stream = db.stream_of("c/name", &ramp(0, 1, 100)).await;
    let found = windows(&db, stream, 3, 40, 7).await;
    assert_eq!(counts(&found), [(3, 7), (10, 7), (17, 7), (24, 7), (31, 7)]);
}

async fn ragged_ends_keep_the_name_of_their_window(db: Subject) {
    let stream = db.stream_of("c/name", &ramp(0, 1, 5000)).await;
    let found = every(&db, stream, (103, 127), 0, 10).await;
    let expected = [
        window(100, 103.0, 106.0, 109.0, 7, 2.0),
        window(110, 110.0, 114.5, 119.0, 10, 8.25_f64.sqrt()),
        window(120, 120.0, 123.0, 126.0, 7, 2.0),
    ];
    assert_eq!(found, expected);
    let inside_one = every(&db, stream, (103, 104), 0, 10).await;
    assert_eq!(counts(&inside_one), [(100, 1)]);
    let far_origin = every(&db, stream, (103, 127), MAX_TIME, 10).await;
    let remainder = MAX_TIME.rem_euclid(10);
    assert!(
        far_origin
            .iter()
            .all(|window| window.time.rem_euclid(10) == remainder)
    );
    assert_eq!(
        far_origin.iter().map(|window| window.count).sum::<u64>(),
        24
    );
}

async fn one_window_over_everything(db: Subject) {
    let points = ramp(-2500, 1, 5001);
    let stream = db.stream_of("c/name", &points).await;
    for range in [
        TimeRange::ALL,
        TimeRange::new(-2500, 2501),
        TimeRange::new(-17, 1801),
    ] {
        let found = db
            .windows(stat_query(latest(&[stream]), range, Cuts::whole(range)))
            .await;
        assert_same(
            &found,
            &folded(&points, range, |_| Some(range.start)),
            &format!("{range:?}"),
        );
    }
}

async fn cut_points_name_the_windows(db: Subject) {
    let stream = db.stream_of("c/name", &ramp(0, 1, 100)).await;
    let found = between(&db, stream, (0, 100), &[5, 6, 20, 50]).await;
    let expected = [
        window(5, 5.0, 5.0, 5.0, 1, 0.0),
        window(6, 6.0, 12.5, 19.0, 14, 16.25_f64.sqrt()),
        window(20, 20.0, 34.5, 49.0, 30, (899.0_f64 / 12.0).sqrt()),
    ];
    assert_same(&found, &expected, "cuts");
    let sparse = db
        .stream_of("c/sparse", &[(0, 1.0), (30, 2.0), (99, 3.0)])
        .await;
    let found = between(&db, sparse, (0, 100), &[0, 10, 20, 40, 99]).await;
    assert_eq!(
        counts(&found),
        [(0, 1), (20, 1)],
        "empty windows are absent, the last cut ends"
    );
}

async fn cut_points_clip_to_the_range(db: Subject) {
    let stream = db.stream_of("c/name", &ramp(0, 1, 3000)).await;
    let cuts = [100, 1100, 1300, 2900];
    let found = between(&db, stream, (500, 2000), &cuts).await;
    assert_eq!(counts(&found), [(100, 600), (1100, 200), (1300, 700)]);
    let found = between(&db, stream, (1150, 1160), &cuts).await;
    assert_eq!(counts(&found), [(1100, 10)]);
    for outside in [(0, 100), (2900, 3000)] {
        assert!(between(&db, stream, outside, &cuts).await.is_empty());
    }
}

async fn cut_points_may_lie_beyond_time(db: Subject) {
    let stream = db.stream_of("c/name", &ramp(-5, 1, 10)).await;
    let found = between(
        &db,
        stream,
        (MIN_TIME, MAX_TIME),
        &[i64::MIN, -2, 3, i64::MAX],
    )
    .await;
    assert_eq!(counts(&found), [(i64::MIN, 3), (-2, 5), (3, 2)]);
}

async fn one_value_has_no_deviation(db: Subject) {
    let stream = db
        .stream_of("c/name", &[(1, 0.1), (20, 1e15), (21, 1e15)])
        .await;
    let found = every(&db, stream, (0, 100), 0, 10).await;
    assert_eq!(
        found,
        [
            window(0, 0.1, 0.1, 0.1, 1, 0.0),
            window(20, 1e15, 1e15, 1e15, 2, 0.0)
        ]
    );
}

async fn every_duplicate_counts(db: Subject) {
    let points: Vec<Row> = (0..3000)
        .map(|i| (i64::from(i) / 1000, f64::from(i % 2)))
        .collect();
    let stream = db.stream_of("c/name", &points).await;
    let found = every(&db, stream, (0, 10), 0, 1).await;
    let half = |time| window(time, 0.0, 0.5, 1.0, 1000, 0.5);
    assert_same(
        &found,
        &[half(0), half(1), half(2)],
        "a thousand points a nanosecond",
    );
}

/// Points dense and sparse, on both sides of the epoch, at both ends of time.
fn scattered() -> Vec<Row> {
    let mut points = ramp(-700, 1, 1500);
    points.extend(ramp(MANUAL, 33_333_333, 1500));
    points.extend(ramp(-MANUAL / 2, 16_666_667, 1100));
    points.extend((0..59).flat_map(|exponent| [(1 << exponent, 1.5), (-(1 << exponent), 2.5)]));
    points.extend([
        (MIN_TIME, 7.0),
        (MIN_TIME + 1, 8.0),
        (MAX_POINT_TIME, 9.0),
        (1 << 61, 10.0),
    ]);
    points.sort_by_key(|point| point.0);
    points
}

async fn every_point_width_equals_folded_points(db: Subject) {
    let points = scattered();
    let stream = db.stream_of("c/name", &points).await;
    for exponent in 0..=63 {
        let width = 1_u64 << exponent;
        for (start, end) in [
            (MIN_TIME, MAX_TIME),
            (-100, 333),
            (-MANUAL / 2 + 12_345, MANUAL + 40_000_000_001),
            (MIN_TIME + 1, MAX_TIME - 2),
        ] {
            let found = every(&db, stream, (start, end), 0, width).await;
            let expected = folded(&points, TimeRange::new(start, end), grid(0, width));
            assert_same(
                &found,
                &expected,
                &format!("width 2^{exponent} in [{start}, {end})"),
            );
        }
    }
}

async fn grids_of_any_origin_and_width_equal_folded_points(db: Subject) {
    let points = scattered();
    let stream = db.stream_of("c/name", &points).await;
    for origin in [0, 1, -777, MANUAL + 5, -MANUAL, MAX_TIME] {
        for width in [
            1,
            3,
            1000,
            33_333_333,
            100_000_000_000,
            86_400_000_000_000,
            1 << 58,
        ] {
            let found = every(
                &db,
                stream,
                (-MANUAL / 2 + 1, MANUAL + 10_000_000_007),
                origin,
                width,
            )
            .await;
            let range = TimeRange::new(-MANUAL / 2 + 1, MANUAL + 10_000_000_007);
            let expected = folded(&points, range, grid(origin, width));
            assert_same(&found, &expected, &format!("every {width} from {origin}"));
        }
    }
}

async fn negative_times_fall_into_floored_windows(db: Subject) {
    let stream = db.stream_of("c/name", &ramp(-10, 1, 20)).await;
    let found = every(&db, stream, (-10, 10), 0, 8).await;
    assert_eq!(counts(&found), [(-16, 2), (-8, 8), (0, 8), (8, 2)]);
    assert_eq!(counts(&aligned(&db, stream, -3, 5, 3).await), [(-8, 8)]);
}

async fn windows_at_both_ends_of_time(db: Subject) {
    let points = [(MIN_TIME, 1.0), (MIN_TIME + 1, 2.0), (MAX_POINT_TIME, 3.0)];
    let stream = db.stream_of("c/name", &points).await;
    let whole = (MIN_TIME, MAX_TIME);
    let found = every(&db, stream, whole, 0, 1).await;
    assert_eq!(
        counts(&found),
        [(MIN_TIME, 1), (MIN_TIME + 1, 1), (MAX_POINT_TIME, 1)]
    );
    let found = every(&db, stream, whole, MIN_TIME, 1 << 62).await;
    assert_eq!(counts(&found), [(MIN_TIME, 3)]);
    let found = every(&db, stream, whole, 0, 1 << 63).await;
    assert_eq!(
        counts(&found),
        [(i64::MIN, 2), (0, 1)],
        "a start may lie before time"
    );
    let found = every(&db, stream, whole, 0, 1 << 61).await;
    assert_eq!(counts(&found), [(-(1 << 61), 2), (1 << 61, 1)]);
}

async fn large_values_keep_their_deviation(db: Subject) {
    let points: Vec<Row> = (0..5000).map(|i| (i, 1e9 + (i % 3) as f64)).collect();
    let stream = db.stream_of("c/name", &points).await;
    let range = TimeRange::new(0, 4998);
    let found = db
        .windows(stat_query(latest(&[stream]), range, Cuts::whole(range)))
        .await;
    assert_eq!(found.len(), 1);
    assert!(
        (found[0].stddev - DEVIATION).abs() < 1e-6,
        "{}",
        found[0].stddev
    );
    assert!(
        (found[0].mean - 1e9 - 1.0).abs() < 1e-6,
        "{}",
        found[0].mean
    );
}

async fn limits_are_for_each_stream(db: Subject) {
    let a = db.stream_of("c/a", &ramp(0, 1, 3000)).await;
    let b = db.stream_of("c/b", &ramp(500, 10, 3)).await;
    for limit in [0, 1, 2, 5, 299, 300, 1000] {
        for cuts in [
            Cuts::Every {
                origin: 0,
                width: 10,
            },
            Cuts::At((0..=300).map(|i| i * 10).collect()),
        ] {
            let unlimited = stat_query(latest(&[a, b]), TimeRange::new(5, 3000), cuts);
            let limited = StatQuery {
                limit: Some(limit),
                ..unlimited.clone()
            };
            let mut expected = by_stream(&db, unlimited).await;
            for windows in &mut expected {
                windows.truncate(limit as usize);
            }
            assert_eq!(by_stream(&db, limited).await, expected, "limit {limit}");
        }
    }
}

async fn by_stream(db: &Subject, query: StatQuery) -> Vec<Vec<Window>> {
    let mut by_stream = vec![Vec::new(); query.streams.len()];
    for batch in db.try_stats(query).await.expect("stats") {
        by_stream[batch.stream].extend(windows_of(&batch));
    }
    by_stream
}

async fn streams_come_in_the_order_asked(db: Subject) {
    let a = db.stream_of("c/a", &ramp(0, 1, 3000)).await;
    let b = db.stream_of("c/b", &ramp(0, 2, 3000)).await;
    db.write(b, &[(0, 1.0)]).await;
    let none = db.stream("c/none").await;
    let mut reads = latest(&[b, none, a, b]);
    reads.push(at(b, Version(11)));
    let cuts = Cuts::Every {
        origin: 0,
        width: 100,
    };
    let query = stat_query(reads, TimeRange::new(0, 150), cuts);
    let batches = db.try_stats(query.clone()).await.expect("stats");
    assert!(
        batches.is_sorted_by_key(|batch| batch.stream),
        "stream by stream"
    );
    for batch in &batches {
        let versions = [12, 10, 11, 12, 11];
        assert_eq!(batch.version, Version(versions[batch.stream]));
    }
    let found: Vec<_> = by_stream(&db, query)
        .await
        .iter()
        .map(|windows| counts(windows))
        .collect();
    let of_b = vec![(0, 51), (100, 25)];
    assert_eq!(
        found,
        [
            of_b.clone(),
            vec![],
            vec![(0, 100), (100, 50)],
            of_b,
            vec![(0, 50), (100, 25)]
        ]
    );
}

async fn old_versions_keep_their_windows(db: Subject) {
    let stream = db.stream_of("c/name", &ramp(0, 1, 2000)).await;
    db.write(stream, &ramp(0, 1, 2000)).await;
    db.delete(stream, TimeRange::new(10, 2000))
        .await
        .expect("deleted");
    for (version, count) in [(10, 0), (11, 2000), (12, 4000), (13, 20)] {
        let query = stat_query(
            vec![at(stream, Version(version))],
            TimeRange::ALL,
            Cuts::whole(TimeRange::ALL),
        );
        let found: u64 = db
            .windows(query)
            .await
            .iter()
            .map(|window| window.count)
            .sum();
        assert_eq!(found, count, "version {version}");
    }
}

async fn deleted_points_do_not_count(db: Subject) {
    let points = ramp(0, 1, 5000);
    let stream = db.stream_of("c/name", &points).await;
    db.delete(stream, TimeRange::new(100, 4321))
        .await
        .expect("deleted");
    let left: Vec<Row> = points
        .into_iter()
        .filter(|&(time, _)| !(100..4321).contains(&time))
        .collect();
    for width in [1, 64, 1000, 10_000] {
        let found = every(&db, stream, (0, 10_000), 0, width).await;
        let expected = folded(&left, TimeRange::ALL, grid(0, width));
        assert_same(&found, &expected, &format!("width {width}"));
    }
}

async fn random_histories_equal_folded_points(db: Subject) {
    for seed in 0..20 {
        let mut rng = StdRng::seed_from_u64(seed);
        let spread = 1_i64 << rng.random_range(6..57);
        let center = rng.random_range(-(1_i64 << 59)..1 << 61);
        let time = |rng: &mut StdRng| center + rng.random_range(-spread..spread);
        let stream = db.stream(&format!("c/{seed}")).await;
        for _ in 0..rng.random_range(1..5) {
            let batch: Vec<Row> = (0..rng.random_range(1..2500))
                .map(|_| (time(&mut rng), rng.random_range(-100.0..100.0)))
                .collect();
            db.write(stream, &batch).await;
            let (a, b) = (time(&mut rng), time(&mut rng));
            if rng.random_bool(0.3) && a != b {
                db.delete(stream, TimeRange::new(a.min(b), a.max(b)))
                    .await
                    .expect("deleted");
            }
        }
        let points = db.read(stream).await;
        for _ in 0..15 {
            let (a, b) = (time(&mut rng), time(&mut rng));
            let range = TimeRange::new(a.min(b), a.max(b) + 1);
            let width = (spread as u64 / rng.random_range(1..200)).max(1);
            let origin = time(&mut rng);
            let found = every(&db, stream, (range.start, range.end), origin, width).await;
            let expected = folded(&points, range, grid(origin, width));
            assert_same(
                &found,
                &expected,
                &format!("seed {seed}, every {width} from {origin} in {range:?}"),
            );

            let mut cuts: Vec<i64> = (0..12).map(|_| time(&mut rng)).collect();
            cuts.sort_unstable();
            cuts.dedup();
            let window_of = |time: i64| {
                let after = cuts.partition_point(|&cut| cut <= time);
                (after > 0 && after < cuts.len()).then(|| cuts[after - 1])
            };
            let found = between(&db, stream, (range.start, range.end), &cuts).await;
            let expected = folded(&points, range, window_of);
            assert_same(
                &found,
                &expected,
                &format!("seed {seed}, {cuts:?} in {range:?}"),
            );
        }
    }
}

async fn windows_that_ranges_share_are_one(db: Subject) {
    let stream = db.stream_of("c/name", &ramp(0, 1, 100)).await;
    db.write(stream, &[(12, 5.0), (95, 5.0)]).await;
    let ranges = [
        (3, 5),
        (5, 6),
        (8, 12),
        (14, 15),
        (17, 18),
        (60, 71),
        (200, 300),
    ];
    let ranges = ranges.map(|(start, end)| TimeRange::new(start, end));
    let cuts = Cuts::Every {
        origin: 0,
        width: 10,
    };
    let query = StatQuery {
        ranges: ranges.to_vec(),
        ..stat_query(latest(&[stream]), TimeRange::ALL, cuts)
    };
    let expected = [(0, 5), (10, 4), (60, 10), (70, 1)];
    assert_eq!(counts(&db.windows(query.clone()).await), expected);
    let limited = StatQuery {
        limit: Some(2),
        ..query.clone()
    };
    assert_eq!(counts(&db.windows(limited).await), expected[..2]);
    let between = StatQuery {
        cuts: Cuts::At([-50, 4, 16, 65].into()),
        ..query.clone()
    };
    let expected = [(-50, 1), (4, 7), (16, 6)];
    assert_eq!(counts(&db.windows(between).await), expected);
    let nowhere = StatQuery {
        ranges: Vec::new(),
        ..query
    };
    assert_eq!(db.windows(nowhere).await, []);
}

async fn random_ranges_equal_folded_points(db: Subject) {
    for seed in 0..15 {
        let mut rng = StdRng::seed_from_u64(seed);
        let spread = 1_i64 << rng.random_range(6..50);
        let time = |rng: &mut StdRng| rng.random_range(-spread..spread);
        let stream = db.stream(&format!("c/{seed}")).await;
        for _ in 0..rng.random_range(1..5) {
            let batch: Vec<Row> = (0..rng.random_range(1..2500))
                .map(|_| (time(&mut rng), rng.random_range(-100.0..100.0)))
                .collect();
            db.write(stream, &batch).await;
        }
        let newest = db.version(stream).await;
        for _ in 0..15 {
            let version = Version(rng.random_range(10..=newest.0));
            let mut ends: Vec<i64> = (0..2 * rng.random_range(1..9))
                .map(|_| time(&mut rng))
                .collect();
            ends.sort_unstable();
            ends.dedup();
            // Pairs of ends apart, or every two neighbours.
            let step = rng.random_range(1..3);
            let pairs = ends.windows(2).step_by(step);
            let ranges: Vec<TimeRange> = pairs.map(|at| TimeRange::new(at[0], at[1])).collect();
            let mut points = db.read_at(stream, version).await;
            points.retain(|point| ranges.iter().any(|range| range.contains(point.0)));
            let width = (spread as u64 / rng.random_range(1..200)).max(1);
            let (cuts, mut expected) = if rng.random_bool(0.5) {
                let origin = time(&mut rng);
                let expected = folded(&points, TimeRange::ALL, grid(origin, width));
                (Cuts::Every { origin, width }, expected)
            } else {
                let mut cuts: Vec<i64> = (0..12).map(|_| time(&mut rng)).collect();
                cuts.extend([-spread - 1, spread + 1]);
                cuts.sort_unstable();
                cuts.dedup();
                let window_of = |time: i64| {
                    let after = cuts.partition_point(|&cut| cut <= time);
                    (after > 0 && after < cuts.len()).then(|| cuts[after - 1])
                };
                let expected = folded(&points, TimeRange::ALL, window_of);
                (Cuts::At(cuts.into()), expected)
            };
            let limit = rng.random_bool(0.3).then(|| rng.random_range(0..20));
            expected.truncate(limit.unwrap_or(u64::MAX) as usize);
            let what = format!("seed {seed}, version {version}, {cuts:?} in {ranges:?}");
            let query = StatQuery {
                ranges,
                limit,
                ..stat_query(vec![at(stream, version)], TimeRange::ALL, cuts)
            };
            assert_same(&db.windows(query).await, &expected, &what);
        }
    }
}
