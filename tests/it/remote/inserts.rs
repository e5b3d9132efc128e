//! Inserts that are too large, are lost, or fail half-way.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use btrdb_flight::backend::Backend;
use btrdb_flight::error::{Code, ErrorKind};
use btrdb_flight::model::{InsertOptions, MergePolicy, StreamId, Version, Write};
use btrdb_flight::remote::{Remote, Settings};
use btrdb_flight::wire::proto::{InsertParams, InsertResponse};
use futures::FutureExt;
use parking_lot::Mutex;
use uuid::Uuid;

use super::proxy::{Proxy, Wire};
use super::script::{Script, Scripted, one, stat};
use super::{STREAM, assert_tells, insert, quick, remote, script, state, write};

/// A server that takes `most` points at once, and what it took.
fn taker(most: usize) -> (Script, Arc<Mutex<Vec<i64>>>) {
    let taken = Arc::new(Mutex::new(Vec::new()));
    let store = Arc::clone(&taken);
    let script = Script {
        insert: one(move |_, ask: InsertParams| {
            if ask.values.len() > most {
                return Ok(InsertResponse {
                    stat: stat(414, "Insert too big"),
                    ..InsertResponse::default()
                });
            }
            let mut store = store.lock();
            store.extend(ask.values.iter().map(|point| point.time));
            Ok(InsertResponse {
                version_major: 10 + store.len() as u64 / 100,
                ..InsertResponse::default()
            })
        }),
        stream_info: one(|_, _| Ok(state(99, 0))),
        ..script(29)
    };
    (script, taken)
}

/// The remote of a server, with pieces of so many points.
async fn in_pieces(server: &Scripted, insert_points: usize) -> Arc<Remote> {
    let settings = Settings {
        insert_points,
        ..quick(&server.address)
    };
    Remote::connect(settings).await.expect("connected")
}

#[tokio::test]
async fn large_writes_are_several_inserts_in_order() {
    let (script, taken) = taker(usize::MAX);
    let server = script.start().await;
    let remote = in_pieces(&server, 1000).await;
    let version = insert(&remote, write(STREAM, 0..2500), MergePolicy::Never).await;
    assert_eq!(version.expect("inserted"), Version(35), "that of the last");
    assert_eq!(server.count("insert"), 3);
    assert!(taken.lock().iter().copied().eq(0..2500));
}

#[tokio::test]
async fn what_is_too_big_is_halved_and_remembered() {
    let (script, taken) = taker(13_000);
    let (remote, server) = remote(script).await;
    insert(&remote, write(STREAM, 0..50_000), MergePolicy::Never)
        .await
        .expect("inserted");
    assert!(
        taken.lock().iter().copied().eq(0..50_000),
        "each point once, in order"
    );
    // 50,000 and 25,000 were refused, four of 12,500 taken.
    assert_eq!(server.count("insert"), 6);
    insert(&remote, write(STREAM, 50_000..75_000), MergePolicy::Never)
        .await
        .expect("inserted");
    assert_eq!(
        server.count("insert"),
        8,
        "without trying what was refused before"
    );
}

#[tokio::test]
async fn a_server_that_takes_nothing_is_believed() {
    let (script, _) = taker(0);
    let (remote, _server) = remote(script).await;
    let error = insert(&remote, write(STREAM, 0..5000), MergePolicy::Never).await;
    assert_eq!(error.expect_err("refused").code(), Some(Code::InsertTooBig));
}

#[tokio::test]
async fn a_failure_half_way_says_what_was_applied() {
    let server = Script {
        insert: one(|before, _| {
            Ok(match before {
                0 | 1 => InsertResponse {
                    version_major: 11 + before as u64,
                    ..InsertResponse::default()
                },
                _ => InsertResponse {
                    stat: stat(432, "the disk is full"),
                    ..InsertResponse::default()
                },
            })
        }),
        ..script(29)
    }
    .start()
    .await;
    let remote = in_pieces(&server, 1000).await;
    let error = insert(&remote, write(STREAM, 0..2500), MergePolicy::Never)
        .await
        .expect_err("full");
    assert_eq!(error.code(), Some(Code::StoreFailure));
    assert_tells(
        &error,
        ErrorKind::Unavailable,
        &[
            "the disk is full",
            "the first 2000 of 2500 points were inserted",
            "versions up to 12",
        ],
    );
}

#[tokio::test]
async fn bad_points_are_refused_before_any_is_sent() {
    let (script, taken) = taker(usize::MAX);
    let server = script.start().await;
    let remote = in_pieces(&server, 10).await;
    let mut values = vec![1.0; 100];
    values[99] = f64::NAN;
    let bad = Write {
        values: values.into(),
        ..write(STREAM, 0..100)
    };
    let error = insert(&remote, bad, MergePolicy::Never)
        .await
        .expect_err("NaN");
    assert_eq!(error.code(), Some(Code::BadValue));
    let options = InsertOptions {
        rounding_bits: 20,
        ..InsertOptions::default()
    };
    let mut values = vec![1.0; 100];
    values[99] = f64::MAX;
    let overflowing = Write {
        values: values.into(),
        ..write(STREAM, 0..100)
    };
    let error = remote.insert(vec![overflowing], options).await.remove(0);
    assert_eq!(error.expect_err("infinite").code(), Some(Code::BadValue));
    assert!(taken.lock().is_empty(), "all or nothing");
}

#[tokio::test]
async fn points_that_may_be_there_are_not_sent_twice() {
    let (script, taken) = taker(usize::MAX);
    let server = script.start().await;
    let proxy = Proxy::before(&server.address).await;
    let remote = Remote::connect(quick(&proxy.address))
        .await
        .expect("connected");
    proxy.set(Wire::Mute);
    let error = insert(&remote, write(STREAM, 0..100), MergePolicy::Never)
        .await
        .expect_err("the answer is lost");
    assert_tells(
        &error,
        ErrorKind::Unavailable,
        &[
            "100 points",
            "may or may not have been applied",
            "store them twice",
        ],
    );
    proxy.set(Wire::Whole);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(server.count("insert"), 1);
    assert_eq!(taken.lock().len(), 100);
}

#[tokio::test]
async fn points_that_are_merged_are_sent_until_it_is_certain() {
    for merge in [
        MergePolicy::Equal,
        MergePolicy::Retain,
        MergePolicy::Replace,
    ] {
        let (script, _) = taker(usize::MAX);
        let server = script.start().await;
        let proxy = Proxy::before(&server.address).await;
        let remote = Remote::connect(quick(&proxy.address))
            .await
            .expect("connected");
        proxy.set(Wire::Mute);
        let heal = async {
            tokio::time::sleep(Duration::from_millis(60)).await;
            proxy.set(Wire::Whole);
        };
        let (answer, ()) = tokio::join!(insert(&remote, write(STREAM, 0..100), merge), heal);
        answer.expect("inserted");
        assert!(server.count("insert") > 1, "{merge:?}");
    }
}

#[tokio::test]
async fn an_insert_that_hangs_may_have_been_applied() {
    let (remote, server) = remote(Script {
        insert: Some(Box::new(|_, _| std::future::pending().boxed())),
        ..script(29)
    })
    .await;
    for merge in [MergePolicy::Never, MergePolicy::Replace] {
        let error = insert(&remote, write(STREAM, 0..3), merge)
            .await
            .expect_err("late");
        assert_tells(
            &error,
            ErrorKind::Unavailable,
            &["waited 400ms", "may or may not have been applied"],
        );
    }
    assert_eq!(server.count("insert"), 2, "once each");
}

#[tokio::test]
async fn a_lost_answer_in_the_middle_tells_both() {
    let server = Script {
        insert: Some(Box::new(|before, _| match before {
            0 => std::future::ready(Ok(InsertResponse {
                version_major: 11,
                ..InsertResponse::default()
            }))
            .boxed(),
            _ => std::future::pending().boxed(),
        })),
        ..script(29)
    }
    .start()
    .await;
    let remote = in_pieces(&server, 10).await;
    let error = insert(&remote, write(STREAM, 0..30), MergePolicy::Never)
        .await
        .expect_err("late");
    assert_tells(
        &error,
        ErrorKind::Unavailable,
        &[
            "whether 10 points",
            "may or may not have been applied",
            "the first 10 of 30 points were inserted, versions up to 11",
        ],
    );
}

#[tokio::test]
async fn streams_are_written_side_by_side_and_each_in_order() {
    let running = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let log = Arc::new(Mutex::new(Vec::new()));
    let (now, peak, asked) = (Arc::clone(&running), Arc::clone(&most), Arc::clone(&log));
    let server = Script {
        insert: Some(Box::new(move |_, ask| {
            let (now, peak) = (Arc::clone(&now), Arc::clone(&peak));
            asked.lock().push((ask.uuid.clone(), ask.values[0].time));
            async move {
                peak.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(10)).await;
                now.fetch_sub(1, Ordering::SeqCst);
                Ok(InsertResponse {
                    version_major: 11,
                    ..InsertResponse::default()
                })
            }
            .boxed()
        })),
        ..script(29)
    }
    .start()
    .await;
    let settings = Settings {
        calls_in_flight: 8,
        ..quick(&server.address)
    };
    let remote = Remote::connect(settings).await.expect("connected");
    let stream = |i: i64| StreamId(Uuid::from_u128(i as u128 % 20));
    let writes = (0..100).map(|i| write(stream(i), i..i + 1)).collect();
    for answer in remote.insert(writes, InsertOptions::default()).await {
        answer.expect("inserted");
    }
    let most = most.load(Ordering::SeqCst);
    assert!((4..=8).contains(&most), "{most} at once");
    for i in 0..20 {
        let uuid = stream(i).0.as_bytes().to_vec();
        let log = log.lock();
        let times = log
            .iter()
            .filter(|(of, _)| *of == uuid)
            .map(|(_, time)| *time);
        assert!(times.eq((0..5).map(|k| i + 20 * k)), "stream {i} in order");
    }
}
