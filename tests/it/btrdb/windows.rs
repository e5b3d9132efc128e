//! Windows: the worked examples, plain and in Arrow; holes; the widest and the most.

use arrow::array::AsArray;
use arrow::datatypes::{Float64Type, TimestampNanosecondType, UInt64Type};

use super::*;

/// A window as (time, min, mean, max, count, stddev).
type Window = (i64, f64, f64, f64, u64, f64);

const EPOCH: i64 = 1_500_000_000_000_000_000;

/// 1.0 to 10.0, a tenth of a second apart.
fn ten() -> Vec<(i64, f64)> {
    (0..10)
        .map(|i| (EPOCH + i * 100_000_000, i as f64 + 1.0))
        .collect()
}

/// 0 to 4, five nanoseconds apart from 100 on.
const FIVE: [(i64, f64); 5] = [(100, 0.0), (105, 1.0), (110, 2.0), (115, 3.0), (120, 4.0)];

fn told(values: Vec<StatPoint>) -> Vec<Window> {
    let windows = values.into_iter();
    windows
        .map(|w| (w.time, w.min(), w.mean(), w.max(), w.count, w.stddev()))
        .collect()
}

fn of_table(table: &RecordBatch) -> Vec<Window> {
    let times = table.column(0).as_primitive::<TimestampNanosecondType>();
    let [min, mean, max, stddev] =
        [1, 2, 3, 5].map(|at| table.column(at).as_primitive::<Float64Type>());
    let count = table.column(4).as_primitive::<UInt64Type>();
    (0..table.num_rows())
        .map(|row| {
            (
                times.value(row),
                min.value(row),
                mean.value(row),
                max.value(row),
                count.value(row),
                stddev.value(row),
            )
        })
        .collect()
}

/// Every bit of some windows: zeros have signs.
fn bits(windows: &[Window]) -> Vec<[u64; 6]> {
    let windows = windows.iter();
    windows
        .map(|w| {
            let [min, mean, max, stddev] = [w.1, w.2, w.3, w.5].map(f64::to_bits);
            [w.0 as u64, min, mean, max, w.4, stddev]
        })
        .collect()
}

/// The windows of a call, after asking for them both ways.
async fn aligned_windows(server: &Server, params: AlignedWindowsParams) -> Outcome<Vec<Window>> {
    let plain = many(server.client().aligned_windows(params.clone()).await).await;
    let arrow = many(server.client().arrow_aligned_windows(params).await).await;
    let (plain, arrow) = match (plain, arrow) {
        (Err(plain), Err(arrow)) => {
            assert_eq!(plain, arrow);
            return Err(plain);
        }
        (plain, arrow) => (plain?, arrow?),
    };
    let versions = |version| assert_eq!(version, (plain[0].version_major, 0));
    plain
        .iter()
        .for_each(|m| versions((m.version_major, m.version_minor)));
    arrow
        .iter()
        .for_each(|m| versions((m.version_major, m.version_minor)));
    assert!(plain.iter().all(|message| message.values.len() <= 5000));
    let plain = told(plain.into_iter().flat_map(|m| m.values).collect());
    let table = table(&windows_schema(), arrow.into_iter().map(|m| m.arrow_bytes));
    assert_eq!(bits(&of_table(&table)), bits(&plain));
    Ok(plain)
}

async fn windows(server: &Server, params: WindowsParams) -> Outcome<Vec<Window>> {
    let plain = many(server.client().windows(params.clone()).await).await;
    let arrow = many(server.client().arrow_windows(params).await).await;
    let (plain, arrow) = match (plain, arrow) {
        (Err(plain), Err(arrow)) => {
            assert_eq!(plain, arrow);
            return Err(plain);
        }
        (plain, arrow) => (plain?, arrow?),
    };
    let versions = |version| assert_eq!(version, (plain[0].version_major, 0));
    plain
        .iter()
        .for_each(|m| versions((m.version_major, m.version_minor)));
    arrow
        .iter()
        .for_each(|m| versions((m.version_major, m.version_minor)));
    assert!(plain.iter().all(|message| message.values.len() <= 5000));
    let plain = told(plain.into_iter().flat_map(|m| m.values).collect());
    let table = table(&windows_schema(), arrow.into_iter().map(|m| m.arrow_bytes));
    assert_eq!(bits(&of_table(&table)), bits(&plain));
    Ok(plain)
}

#[tokio::test]
async fn aligned_windows_begin_before_the_start_and_end_before_the_end() {
    let server = Server::start().await;
    let uuid = server.stream_of(1, &ten()).await;
    let found = aligned_windows(&server, aligned(&uuid, EPOCH, EPOCH + 1_000_000_000, 28)).await;
    let deviation = 0.816496580927726;
    assert_eq!(
        found.expect("windows"),
        [
            (1499999999814008832, 1.0, 1.0, 1.0, 1, 0.0),
            (1500000000082444288, 2.0, 3.0, 4.0, 3, deviation),
            (1500000000350879744, 5.0, 6.0, 7.0, 3, deviation),
            (1500000000619315200, 8.0, 8.5, 9.0, 2, 0.5),
        ]
    );
}

#[tokio::test]
async fn aligned_windows_of_few_points() {
    let server = Server::start().await;
    let uuid = server.stream_of(1, &FIVE).await;
    let found = aligned_windows(&server, aligned(&uuid, 100, 121, 3)).await;
    assert_eq!(
        found.expect("windows"),
        [
            (96, 0.0, 0.0, 0.0, 1, 0.0),
            (104, 1.0, 1.5, 2.0, 2, 0.5),
            (112, 3.0, 3.0, 3.0, 1, 0.0),
        ]
    );
    let holed = [(101, 5.0), (106, 6.0), (110, 7.0), (132, 8.0), (140, 9.0)];
    let uuid = server.stream_of(2, &holed).await;
    let found = aligned_windows(&server, aligned(&uuid, 100, 141, 3)).await;
    assert_eq!(
        found.expect("windows"),
        [
            (96, 5.0, 5.0, 5.0, 1, 0.0),
            (104, 6.0, 6.5, 7.0, 2, 0.5),
            (128, 8.0, 8.0, 8.0, 1, 0.0),
        ],
        "112 and 120 are empty, 140 is in a window that the range does not hold"
    );
}

/// A first window counts points that come before the range, and so does one that begins before time itself.
#[tokio::test]
async fn the_widest_aligned_windows_are_clipped_to_time() {
    let server = Server::start().await;
    let ends = [
        (MIN_TIME, 1.0),
        (-1, 2.0),
        (0, 3.0),
        (1 << 61, 4.0),
        (MAX_TIME - 2, 5.0),
    ];
    let uuid = server.stream_of(1, &ends).await;
    let counts = |found: Vec<Window>| -> Vec<(i64, u64)> {
        found.iter().map(|window| (window.0, window.4)).collect()
    };
    for (width, expected) in [
        (60, vec![(MIN_TIME, 2), (0, 1), (1 << 61, 2)]),
        (61, vec![(-(1 << 61), 2), (0, 1)]),
        (62, vec![(-(1 << 62), 2)]),
        (63, vec![(i64::MIN, 2)]),
    ] {
        let found = aligned_windows(&server, aligned(&uuid, MIN_TIME, MAX_TIME, width)).await;
        assert_eq!(counts(found.expect("windows")), expected, "width 2^{width}");
        let found = aligned_windows(&server, aligned(&uuid, -5, MAX_TIME, width)).await;
        assert_eq!(
            counts(found.expect("windows")),
            expected,
            "the first one is whole"
        );
    }
    // As clients count: the end is a nanosecond short of the last window's.
    let found = aligned_windows(&server, aligned(&uuid, MIN_TIME, MAX_TIME - 1, 60)).await;
    assert_eq!(counts(found.expect("windows")), [(MIN_TIME, 2), (0, 1)]);
}

#[tokio::test]
async fn ranges_without_a_whole_window_are_empty_and_have_a_version() {
    let server = Server::start().await;
    let uuid = server.stream_of(1, &FIVE).await;
    let answers = many(
        server
            .client()
            .aligned_windows(aligned(&uuid, 100, 103, 3))
            .await,
    )
    .await;
    let answers = answers.expect("no error");
    assert_eq!((answers.len(), answers[0].version_major), (1, 11));
    assert!(answers[0].values.is_empty());
    let answers = many(server.client().windows(regular(&uuid, 100, 103, 10)).await).await;
    let answers = answers.expect("no error");
    assert_eq!((answers.len(), answers[0].version_major), (1, 11));
    assert!(answers[0].values.is_empty());
    assert_eq!(
        windows(&server, regular(&uuid, 100, 103, 10)).await,
        Ok(vec![])
    );
    // What does not exist is told even of no windows.
    let old = |version_major| WindowsParams {
        version_major,
        ..regular(&uuid, 100, 103, 10)
    };
    let answers = many(server.client().windows(old(10)).await)
        .await
        .expect("no error");
    assert_eq!(answers[0].version_major, 10);
    assert_eq!(windows(&server, old(12)).await.expect_err("future").0, 450);
    let unknown = regular(&id(9), 100, 103, 10);
    assert_eq!(windows(&server, unknown).await.expect_err("unknown").0, 404);
}

#[tokio::test]
async fn windows_begin_at_the_start() {
    let server = Server::start().await;
    let uuid = server.stream_of(1, &ten()).await;
    let params = WindowsParams {
        depth: 20,
        ..regular(&uuid, EPOCH, EPOCH + 1_000_000_000, 300_000_000)
    };
    let deviation = 0.816496580927726;
    assert_eq!(
        windows(&server, params).await.expect("windows"),
        [
            (EPOCH, 1.0, 2.0, 3.0, 3, deviation),
            (EPOCH + 300_000_000, 4.0, 5.0, 6.0, 3, deviation),
            (EPOCH + 600_000_000, 7.0, 8.0, 9.0, 3, deviation),
        ]
    );
    let uuid = server.stream_of(2, &FIVE).await;
    assert_eq!(
        windows(&server, regular(&uuid, 100, 121, 10))
            .await
            .expect("windows"),
        [(100, 0.0, 0.5, 1.0, 2, 0.5), (110, 2.0, 2.5, 3.0, 2, 0.5)]
    );
}

#[tokio::test]
async fn empty_windows_are_zeros_from_first_to_last() {
    let server = Server::start().await;
    let uuid = server
        .stream_of(1, &[(100, -1.0), (105, -1.0), (135, -1.0)])
        .await;
    let counts = |found: &[Window]| -> Vec<(i64, u64)> {
        found.iter().map(|window| (window.0, window.4)).collect()
    };
    let found = windows(&server, regular(&uuid, 100, 141, 10))
        .await
        .expect("windows");
    assert_eq!(counts(&found), [(100, 2), (110, 0), (120, 0), (130, 1)]);
    assert_eq!(bits(&found[1..2]), bits(&[(110, 0.0, 0.0, 0.0, 0, 0.0)]));
    let found = windows(&server, regular(&uuid, 75, 166, 20))
        .await
        .expect("windows");
    assert_eq!(counts(&found), [(75, 0), (95, 2), (115, 0), (135, 1)]);
    let found = windows(&server, regular(&uuid, 80, 201, 20))
        .await
        .expect("windows");
    assert_eq!(
        counts(&found),
        [(80, 0), (100, 2), (120, 1), (140, 0), (160, 0), (180, 0)]
    );
    let empty = server.stream(2).await;
    let found = windows(&server, regular(&empty, 0, 30, 10))
        .await
        .expect("windows");
    assert_eq!(counts(&found), [(0, 0), (10, 0), (20, 0)]);
    let all = regular(&uuid, MIN_TIME, MAX_TIME, 1 << 62);
    assert_eq!(
        counts(&windows(&server, all).await.expect("windows")),
        [(MIN_TIME, 3)]
    );
}

#[tokio::test]
async fn empty_windows_can_be_left_out() {
    let server = Server::start_with(BtrdbSettings {
        omit_empty_windows: true,
        ..BtrdbSettings::default()
    })
    .await;
    let uuid = server
        .stream_of(1, &[(100, 1.0), (105, 1.0), (135, 1.0)])
        .await;
    let found = windows(&server, regular(&uuid, 100, 141, 10))
        .await
        .expect("windows");
    let times: Vec<i64> = found.iter().map(|window| window.0).collect();
    assert_eq!(times, [100, 130]);
    let empty = server.stream(2).await;
    assert_eq!(
        windows(&server, regular(&empty, 100, 141, 10)).await,
        Ok(vec![])
    );
}

/// Messages are full and no more than full, whatever falls between them.
#[tokio::test]
async fn many_windows_are_cut_into_messages() {
    let server = Server::start().await;
    let mut points: Vec<(i64, f64)> = (0..30_000).map(|i| (i * 10, i as f64)).collect();
    points.retain(|&(time, _)| !(40_000..99_990).contains(&time));
    let uuid = server.stream_of(1, &points).await;
    let found = windows(&server, regular(&uuid, -70_000, 310_000, 10))
        .await
        .expect("windows");
    assert_eq!(found.len(), 38_000);
    for (k, window) in found.iter().enumerate() {
        let time = k as i64 * 10 - 70_000;
        let holds = (0..300_000).contains(&time) && !(40_000..99_990).contains(&time);
        let value = if holds { time as f64 / 10.0 } else { 0.0 };
        assert_eq!(*window, (time, value, value, value, u64::from(holds), 0.0));
    }
    let answers = many(
        server
            .client()
            .windows(regular(&uuid, -70_000, 310_000, 10))
            .await,
    )
    .await;
    let lengths: Vec<_> = answers
        .expect("windows")
        .iter()
        .map(|m| m.values.len())
        .collect();
    assert_eq!(lengths.iter().sum::<usize>(), 38_000);
    assert!(
        lengths.iter().all(|length| (1..=5000).contains(length)),
        "{lengths:?}"
    );
    let found = aligned_windows(&server, aligned(&uuid, 0, 300_000, 3))
        .await
        .expect("windows");
    assert_eq!(
        found.len(),
        points.len(),
        "one each: 8 ns are shorter than what lies between"
    );
    let answers = many(
        server
            .client()
            .aligned_windows(aligned(&uuid, 0, 300_000, 3))
            .await,
    )
    .await;
    let lengths: Vec<_> = answers
        .expect("windows")
        .iter()
        .map(|m| m.values.len())
        .collect();
    assert_eq!(lengths, [5000, 5000, 5000, 5000, points.len() - 20_000]);
}

#[tokio::test]
async fn senseless_windows_are_refused() {
    let server = Server::start().await;
    let uuid = server.stream_of(1, &FIVE).await;
    let refused = |outcome: Outcome<Vec<Window>>, code, words: &str| {
        let (number, message) = outcome.expect_err("refused");
        assert_eq!(number, code, "{message}");
        assert!(message.starts_with(words), "{message}");
    };
    for (start, end, words) in [
        (5, 5, "start time >= end time"),
        (6, 5, "start time >= end time"),
        (i64::MAX, i64::MIN, "start time >= end time"),
        (MIN_TIME - 1, 0, "time range out of bounds"),
        (0, MAX_TIME + 1, "time range out of bounds"),
        (i64::MIN, i64::MAX, "time range out of bounds"),
    ] {
        refused(
            windows(&server, regular(&uuid, start, end, 1)).await,
            413,
            words,
        );
        refused(
            aligned_windows(&server, aligned(&uuid, start, end, 1)).await,
            413,
            words,
        );
    }
    for width in [64, u32::MAX] {
        let params = aligned(&uuid, 0, 10, width);
        refused(
            aligned_windows(&server, params).await,
            415,
            "pointwidth invalid",
        );
    }
    refused(
        windows(&server, regular(&uuid, 0, 10, 0)).await,
        415,
        "window width",
    );
    for width in [(1 << 63) + 1, u64::MAX] {
        let params = regular(&uuid, 0, 10, width);
        refused(
            windows(&server, params).await,
            415,
            "window width is absurd",
        );
    }
    assert_eq!(
        windows(&server, regular(&uuid, 0, 10, 1 << 63)).await,
        Ok(vec![])
    );
    let deep = |depth| WindowsParams {
        depth,
        ..regular(&uuid, 100, 110, 10)
    };
    assert_eq!(
        windows(&server, deep(63))
            .await
            .expect("exact all the same")
            .len(),
        1
    );
    refused(
        windows(&server, deep(64)).await,
        415,
        "window depth invalid",
    );
    // Bounds are checked before it is asked whether there is such a stream.
    refused(
        windows(&server, regular(&id(9), 5, 5, 1)).await,
        413,
        "start",
    );
    refused(
        windows(&server, regular(&id(9), 5, 6, 1)).await,
        404,
        "stream does not exist",
    );
}
