//! Streams that change while several calls read them.

use btrdb_flight::backend::Backend;
use btrdb_flight::error::ErrorKind;
use btrdb_flight::model::{PointQuery, Snapshot, StreamRead, TimeRange, Version};
use btrdb_flight::wire::proto::{FlushResponse, RawValuesParams, WindowsParams};
use futures::TryStreamExt;

use super::script::{Script, many, of_windows, one, raw, window};
use super::{STREAM, assert_tells, remote, script, state, windows};

/// Windows whose version goes up with each of the first `changes` calls; a version that is named is that version.
fn restless(changes: usize) -> Script {
    let major = move |before: usize, asked: u64| match asked {
        0 => 11 + before.min(changes) as u64,
        asked => asked,
    };
    Script {
        stream_info: one(|_, _| Ok(state(50, 0))),
        windows: many(move |before, ask: WindowsParams| {
            let major = major(before, ask.version_major);
            vec![of_windows(
                major,
                vec![window(ask.start, 1, major as f64, 0.0)],
            )]
        }),
        raw_values: many(move |before, ask: RawValuesParams| {
            let major = major(before, ask.version_major);
            vec![raw(major, &[(ask.start, major as f64)])]
        }),
        ..script(29)
    }
}

#[tokio::test]
async fn ragged_windows_are_of_one_version() {
    // Three calls: the first part of a window, whole ones, the last part.
    let (remote, server) = remote(restless(3)).await;
    let (versions, found) = windows(&remote, 3, 47, 10).await.expect("windows");
    assert_eq!(versions, [Version(14)]);
    assert!(found.iter().all(|window| window.2 == 14.0), "{found:?}");
    assert_eq!(server.count("windows"), 6, "once more, and then it held");
    assert_eq!(server.count("stream_info"), 0);
}

#[tokio::test]
async fn a_stream_that_never_rests_is_read_at_a_version_with_a_name() {
    let (remote, server) = remote(restless(usize::MAX)).await;
    let (versions, found) = windows(&remote, 3, 47, 10).await.expect("windows");
    assert_eq!(versions, [Version(50)]);
    assert!(found.iter().all(|window| window.2 == 50.0), "{found:?}");
    assert_eq!(
        server.count("windows"),
        12,
        "three attempts, and one that must hold"
    );
}

#[tokio::test]
async fn what_is_buffered_is_flushed_before_that() {
    let (remote, server) = remote(Script {
        stream_info: one(|_, _| Ok(state(50, 9))),
        flush: one(|_, _| {
            Ok(FlushResponse {
                version_major: 51,
                ..FlushResponse::default()
            })
        }),
        ..restless(usize::MAX)
    })
    .await;
    let (versions, _) = windows(&remote, 3, 47, 10).await.expect("windows");
    assert_eq!((versions, server.count("flush")), (vec![Version(51)], 1));
}

#[tokio::test]
async fn several_ranges_are_of_one_version() {
    for (changes, expected, count) in [(0, 11, 2), (2, 13, 4), (usize::MAX, 50, 8)] {
        let (remote, server) = remote(restless(changes)).await;
        let query = PointQuery {
            ranges: vec![TimeRange::new(0, 10), TimeRange::new(20, 30)],
            ..PointQuery::new(vec![StreamRead::latest(STREAM)], TimeRange::ALL)
        };
        let batches: Vec<_> = remote.points(query).try_collect().await.expect("points");
        let found: Vec<_> = batches
            .iter()
            .map(|batch| (batch.version.0, batch.times[0], batch.values[0]))
            .collect();
        let value = expected as f64;
        assert_eq!(found, [(expected, 0, value), (expected, 20, value)]);
        assert_eq!(server.count("raw_values"), count);
    }
}

#[tokio::test]
async fn one_call_needs_no_version_with_a_name() {
    let (remote, server) = remote(restless(usize::MAX)).await;
    windows(&remote, 10, 40, 10).await.expect("windows");
    super::points(&remote, STREAM, 0, 10).await.expect("points");
    assert_eq!(server.count("windows") + server.count("raw_values"), 2);
    assert_eq!(server.count("stream_info"), 0);
}

#[tokio::test]
async fn many_ranges_name_their_version() {
    let (remote, server) = remote(restless(usize::MAX)).await;
    let ranges = (0..20).map(|i| TimeRange::new(10 * i, 10 * i + 5));
    let query = PointQuery {
        ranges: ranges.collect(),
        ..PointQuery::new(vec![StreamRead::latest(STREAM)], TimeRange::ALL)
    };
    let batches: Vec<_> = remote.points(query).try_collect().await.expect("points");
    assert!(batches.iter().all(|batch| batch.version == Version(50)));
    assert_eq!(batches.len(), 20);
    assert_eq!(
        (server.count("raw_values"), server.count("stream_info")),
        (20, 1)
    );
}

#[tokio::test]
async fn a_remote_has_no_commits() {
    let (remote, _server) = remote(restless(0)).await;
    assert_eq!(remote.snapshot().await.expect("latest"), Snapshot::Latest);
    let query = PointQuery {
        snapshot: Snapshot::Commit(5),
        ..PointQuery::new(vec![StreamRead::latest(STREAM)], TimeRange::ALL)
    };
    let error = super::rows(&remote, query).await.expect_err("a commit");
    assert_tells(&error, ErrorKind::Unsupported, &["commit 5"]);
}
