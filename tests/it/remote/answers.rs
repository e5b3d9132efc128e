//! Answers that differ from our own server's, and mean the same.

use btrdb_flight::backend::Backend;
use btrdb_flight::error::{Code, ErrorKind};
use btrdb_flight::model::{
    ChangesQuery, Direction, MultiQuery, NearestQuery, Point, PointQuery, StreamRead, TimeRange,
    Version,
};
use btrdb_flight::wire::arrow as wire_arrow;
use btrdb_flight::wire::points::row;
use btrdb_flight::wire::proto::{
    AlignedWindowsParams, AlignedWindowsResponse, ArrowMultiValuesResponse, ArrowWindowsResponse,
    FlushResponse, NearestResponse, RawValuesParams, WindowsParams, WindowsResponse,
};
use futures::TryStreamExt;

use super::script::{Script, Scripted, many, of_windows, one, raw, stat, window};
use super::{STREAM, assert_tells, points, remote, rows, script, state, windows};

#[tokio::test]
async fn no_messages_are_no_rows() {
    let silent = Script {
        raw_values: many(|_, _| Vec::new()),
        windows: many(|_, _| Vec::new()),
        aligned_windows: many(|_, _| Vec::new()),
        changes: many(|_, _| Vec::new()),
        lookup_streams: many(|_, _| Vec::new()),
        list_collections: many(|_, _| Vec::new()),
        stream_info: one(|_, _| Ok(state(11, 0))),
        ..script(29)
    };
    let (remote, _server) = remote(silent).await;
    let query = PointQuery::new(vec![StreamRead::latest(STREAM)], TimeRange::new(0, 10));
    let batches: Vec<_> = remote.points(query).try_collect().await.expect("points");
    assert_eq!(batches.len(), 1, "one batch, for the version");
    assert_eq!((batches[0].version, batches[0].len()), (Version(11), 0));
    for (start, width) in [(0, 10), (3, 10), (0, 16), (3, 16)] {
        let found = windows(&remote, start, 64, width).await.expect("windows");
        assert_eq!(found, (vec![Version(11)], Vec::new()));
    }
    let query = ChangesQuery {
        stream: STREAM,
        from: Version(10),
        to: None,
        resolution: 0,
    };
    let changes = remote.changes(query).await.expect("changes");
    assert_eq!((changes.version, changes.ranges.len()), (Version(11), 0));
    let all = btrdb_flight::model::StreamFilter::all();
    assert!(remote.find(all).await.expect("found").is_empty());
    assert!(
        remote
            .collections("")
            .await
            .expect("collections")
            .is_empty()
    );
}

#[tokio::test]
async fn no_messages_in_arrow_are_no_rows_either() {
    let silent = Script {
        arrow_raw_values: many(|_, _| Vec::new()),
        arrow_windows: many(|_, _| vec![ArrowWindowsResponse::default()]),
        arrow_aligned_windows: many(|_, _| Vec::new()),
        arrow_multi_values: many(|before, _| match before {
            0 => Vec::new(),
            _ => vec![ArrowMultiValuesResponse::default()],
        }),
        stream_info: one(|_, _| Ok(state(11, 0))),
        ..script(30)
    };
    let (remote, _server) = remote(silent).await;
    assert!(
        points(&remote, STREAM, 0, 10)
            .await
            .expect("points")
            .is_empty()
    );
    for width in [10, 16] {
        assert!(
            windows(&remote, 0, 64, width)
                .await
                .expect("windows")
                .1
                .is_empty()
        );
    }
    for _ in 0..2 {
        let query = MultiQuery::new(vec![StreamRead::latest(STREAM)], TimeRange::new(0, 9), 0);
        let batches: Vec<_> = remote
            .multi_values(query)
            .try_collect()
            .await
            .expect("rows");
        assert!(batches.is_empty());
    }
}

#[tokio::test]
async fn empty_windows_are_dropped_and_others_sorted() {
    let (remote, _server) = remote(Script {
        windows: many(|_, _| {
            vec![
                of_windows(11, vec![window(40, 1, 4.0, 0.0), window(30, 2, 3.0, 0.0)]),
                of_windows(11, vec![window(20, 0, 0.0, 0.0), window(10, 3, 1.0, 0.0)]),
            ]
        }),
        ..script(29)
    })
    .await;
    let (versions, found) = windows(&remote, 10, 50, 10).await.expect("windows");
    assert_eq!(versions, [Version(11)]);
    assert_eq!(
        found,
        [(10, 3, 1.0, 0.0), (30, 2, 3.0, 0.0), (40, 1, 4.0, 0.0)]
    );
}

#[tokio::test]
async fn windows_in_disorder_are_refused_where_they_are_too_many_to_sort() {
    let (remote, _server) = remote(Script {
        windows: many(|_, _| {
            let message = |from: i64| {
                let rows = (from..from + 5000).map(|i| window(10 * i, 1, 1.0, 0.0));
                of_windows(11, rows.collect())
            };
            [0, 5000, 10_000, 15_000, 25_000, 20_000]
                .map(message)
                .to_vec()
        }),
        ..script(29)
    })
    .await;
    let error = windows(&remote, 0, 300_000, 10)
        .await
        .expect_err("disorder");
    assert_tells(&error, ErrorKind::Internal, &["disorder"]);
}

#[tokio::test]
async fn a_range_that_is_called_too_short_has_no_windows() {
    let (remote, _server) = remote(Script {
        windows: many(|_, _| {
            vec![WindowsResponse {
                stat: stat(413, "start time >= end time"),
                ..WindowsResponse::default()
            }]
        }),
        aligned_windows: many(|_, _| {
            vec![AlignedWindowsResponse {
                stat: stat(413, "start time >= end time"),
                ..AlignedWindowsResponse::default()
            }]
        }),
        stream_info: one(|_, _| Ok(state(11, 0))),
        ..script(29)
    })
    .await;
    for width in [10, 16] {
        let found = windows(&remote, 0, 64, width).await.expect("none");
        assert_eq!(found, (vec![Version(11)], Vec::new()));
    }
}

#[tokio::test]
async fn versions_may_be_left_out() {
    let (remote, _server) = remote(Script {
        raw_values: many(|_, _| vec![raw(0, &[(1, 1.0)])]),
        windows: many(|_, ask: WindowsParams| {
            vec![of_windows(0, vec![window(ask.start, 1, 1.0, 0.0)])]
        }),
        nearest: one(|_, _| {
            Ok(NearestResponse {
                value: Some(row(Point {
                    time: 1,
                    value: 1.0,
                })),
                ..NearestResponse::default()
            })
        }),
        ..script(29)
    })
    .await;
    let pinned = StreamRead {
        id: STREAM,
        version: Some(Version(12)),
    };
    let query = PointQuery::new(
        vec![StreamRead::latest(STREAM), pinned],
        TimeRange::new(0, 9),
    );
    let batches: Vec<_> = remote.points(query).try_collect().await.expect("points");
    let versions: Vec<u64> = batches.iter().map(|batch| batch.version.0).collect();
    assert_eq!(versions, [0, 12], "nobody knows, and the one asked for");
    let (versions, found) = windows(&remote, 3, 27, 10).await.expect("windows");
    assert_eq!((versions, found.len()), (vec![Version(0)], 3));
    let query = NearestQuery::new(vec![StreamRead::latest(STREAM)], 0, Direction::Forward);
    let found = remote.nearest(query).await.expect("nearest");
    assert_eq!(found[0].0, Version(0));
}

#[tokio::test]
async fn nothing_near_tells_the_version_all_the_same() {
    let none = || NearestResponse {
        stat: stat(401, "no such point"),
        ..NearestResponse::default()
    };
    let (remote, _server) = remote(Script {
        nearest: one(move |before, _| {
            Ok(NearestResponse {
                version_major: if before == 0 { 15 } else { 0 },
                ..none()
            })
        }),
        stream_info: one(|_, _| Ok(state(16, 0))),
        ..script(29)
    })
    .await;
    for expected in [15, 16] {
        let query = NearestQuery::new(vec![StreamRead::latest(STREAM)], 0, Direction::Forward);
        let found = remote.nearest(query).await.expect("nearest");
        assert_eq!(found, [(Version(expected), None)]);
    }
}

#[tokio::test]
async fn numbers_nobody_knows_are_told() {
    let (remote, _server) = remote(Script {
        raw_values: many(|_, _| {
            vec![btrdb_flight::wire::proto::RawValuesResponse {
                stat: stat(459, "cold tier"),
                ..Default::default()
            }]
        }),
        ..script(29)
    })
    .await;
    let error = points(&remote, STREAM, 0, 10).await.expect_err("459");
    assert_tells(&error, ErrorKind::Internal, &["459", "cold tier"]);
}

#[tokio::test]
async fn an_error_in_the_middle_is_no_short_answer() {
    let (remote, _server) = remote(Script {
        raw_values: many(|_, _| {
            vec![
                raw(11, &[(1, 1.0)]),
                btrdb_flight::wire::proto::RawValuesResponse {
                    stat: stat(432, "storage fails"),
                    ..Default::default()
                },
            ]
        }),
        ..script(29)
    })
    .await;
    let error = points(&remote, STREAM, 0, 10).await.expect_err("432");
    assert_eq!(error.code(), Some(Code::StoreFailure));
}

#[tokio::test]
async fn arrow_that_cannot_be_read_is_not_the_callers_mistake() {
    let (remote, _server) = remote(Script {
        arrow_raw_values: many(|_, _| {
            vec![btrdb_flight::wire::proto::ArrowRawValuesResponse {
                arrow_bytes: bytes::Bytes::from_static(b"garbage, and long enough to look at"),
                version_major: 11,
                ..Default::default()
            }]
        }),
        ..script(30)
    })
    .await;
    let error = points(&remote, STREAM, 0, 10).await.expect_err("garbage");
    assert_tells(&error, ErrorKind::Internal, &["cannot be read"]);
}

#[tokio::test]
async fn rows_of_many_streams_are_sorted_and_have_nulls() {
    let bytes = |times: &[i64], values: &[f64]| {
        let rows = btrdb_flight::model::MultiBatch {
            times: times.to_vec().into(),
            columns: vec![arrow::array::Float64Array::from(values.to_vec())],
        };
        let schema = wire_arrow::multi_schema(std::iter::once(STREAM));
        let batch = wire_arrow::multi_batch(schema, &rows).expect("a batch");
        ArrowMultiValuesResponse {
            arrow_bytes: wire_arrow::encode(&batch).expect("encoded"),
            ..ArrowMultiValuesResponse::default()
        }
    };
    let messages = vec![bytes(&[3, 1], &[3.0, f64::NAN]), bytes(&[4], &[4.0])];
    let (remote, _server) = remote(Script {
        arrow_multi_values: many(move |_, _| messages.clone()),
        ..script(30)
    })
    .await;
    let query = MultiQuery::new(vec![StreamRead::latest(STREAM)], TimeRange::new(0, 9), 0);
    let batches: Vec<_> = remote
        .multi_values(query)
        .try_collect()
        .await
        .expect("rows");
    let found: Vec<_> = batches
        .iter()
        .flat_map(|batch| batch.times.iter().copied().zip(batch.columns[0].iter()))
        .collect();
    assert_eq!(found, [(1, None), (3, Some(3.0)), (4, Some(4.0))]);
}

/// A server whose windows from 100 on have points that are in no version, so that it does not know their deviation.
fn buffered(points: u64) -> Script {
    Script {
        stream_info: one(|_, _| Ok(state(11, 3))),
        windows: many(move |_, ask: WindowsParams| {
            let deviation = if ask.version_major == 0 {
                f64::NAN
            } else {
                0.5
            };
            let rows = vec![
                window(90, 5, 1.0, 0.25),
                window(100, points, 1.5, deviation),
            ];
            let mut answer = of_windows(ask.version_major.max(11), rows);
            answer.version_minor = if ask.version_major == 0 { 3 } else { 0 };
            vec![answer]
        }),
        raw_values: many(|_, ask: RawValuesParams| {
            assert_eq!((ask.start, ask.end), (100, 110), "only that window");
            vec![raw(11, &[(101, 1.0), (102, 2.0)])]
        }),
        flush: one(|_, _| {
            Ok(FlushResponse {
                version_major: 12,
                ..FlushResponse::default()
            })
        }),
        ..script(29)
    }
}

async fn asked(script: Script) -> (btrdb_flight::error::Result<Vec<super::Window>>, Scripted) {
    let (remote, server) = remote(script).await;
    let found = windows(&remote, 90, 110, 10).await;
    (found.map(|(_, windows)| windows), server)
}

#[tokio::test]
async fn deviations_the_server_does_not_know_are_worked_out() {
    let (found, server) = asked(buffered(2)).await;
    let expected = [(90, 5, 1.0, 0.25), (100, 2, 1.5, 0.5)];
    assert_eq!(found.expect("windows"), expected);
    assert_eq!((server.count("raw_values"), server.count("flush")), (1, 0));
}

#[tokio::test]
async fn where_that_takes_too_many_points_it_is_told_to_flush() {
    let (found, server) = asked(buffered(1 << 40)).await;
    let expected = [(90, 5, 1.0, 0.25), (100, 1 << 40, 1.5, 0.5)];
    assert_eq!(found.expect("windows"), expected);
    assert_eq!((server.count("raw_values"), server.count("flush")), (0, 1));
}

#[tokio::test]
async fn where_it_may_not_flush_the_error_says_so() {
    let (found, _server) = asked(Script {
        flush: one(|_, _| Err(tonic::Status::permission_denied("read only"))),
        ..buffered(1 << 40)
    })
    .await;
    let error = found.expect_err("unknown");
    assert_tells(
        &error,
        ErrorKind::Unavailable,
        &["in no version", "read only"],
    );
}

#[tokio::test]
async fn points_from_the_end_take_what_is_buffered_along() {
    let (remote, server) = remote(Script {
        aligned_windows: many(|_, ask: AlignedWindowsParams| {
            assert_eq!(ask.version_major, 12);
            vec![AlignedWindowsResponse {
                version_major: 12,
                values: vec![window(ask.start, 3, 1.0, 0.0)],
                ..AlignedWindowsResponse::default()
            }]
        }),
        raw_values: many(|_, ask: RawValuesParams| {
            assert_eq!(ask.version_major, 12);
            vec![raw(12, &[(1, 1.0), (2, 2.0), (2, 3.0)])]
        }),
        ..buffered(2)
    })
    .await;
    let query = PointQuery {
        direction: Direction::Backward,
        ..PointQuery::new(vec![StreamRead::latest(STREAM)], TimeRange::new(0, 64))
    };
    let found = rows(&remote, query).await.expect("points");
    assert_eq!(found, [(2, 3.0), (2, 2.0), (1, 1.0)]);
    assert_eq!(server.count("flush"), 1);
}
