//! Networks that refuse, stall, break, and come back.

use std::time::{Duration, Instant};

use btrdb_flight::backend::Backend;
use btrdb_flight::error::{Code, ErrorKind};
use btrdb_flight::model::{MergePolicy, PointQuery, StreamRead, TimeRange, Version};
use btrdb_flight::remote::{Remote, Settings};
use btrdb_flight::wire::proto::InfoResponse;
use futures::stream::{self, StreamExt};
use tonic::Status;

use super::proxy::{Proxy, Wire, babbler, nobody};
use super::script::{Script, many, one, raw, stat};
use super::{
    STREAM, assert_tells, info, insert, points, quick, remote, script, state, version, write,
};

#[tokio::test]
async fn nobody_there_is_told_at_once() {
    let address = nobody().await;
    let start = Instant::now();
    let error = Remote::connect(Settings::new(&*address))
        .await
        .expect_err("nobody");
    assert_tells(
        &error,
        ErrorKind::Unavailable,
        &[&address, "does not answer", "refused"],
    );
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "without trying again"
    );
}

#[tokio::test]
async fn a_wrong_key_is_denied() {
    let script = Script {
        info: one(|_, _| Err(Status::unauthenticated("invalid api key"))),
        ..Script::default()
    };
    let server = script.start().await;
    let error = Remote::connect(quick(&server.address))
        .await
        .expect_err("denied");
    assert_tells(
        &error,
        ErrorKind::Denied,
        &["invalid api key", &server.address],
    );
    assert_eq!(server.count("info"), 1, "asking again does not help");
}

#[tokio::test]
async fn every_call_carries_the_key() {
    let server = Script {
        stream_info: one(|_, _| Ok(state(11, 0))),
        raw_values: many(|_, _| vec![raw(11, &[(1, 1.0)])]),
        ..script(29)
    }
    .start()
    .await;
    let settings = Settings {
        api_key: Some("d976a2d6".to_owned()),
        ..quick(&server.address)
    };
    let remote = Remote::connect(settings).await.expect("connected");
    version(&remote, STREAM).await.expect("a version");
    points(&remote, STREAM, 0, 10).await.expect("points");
    assert_eq!(server.keys(), vec![Some("Bearer d976a2d6".to_owned()); 3]);
    let text = format!("{remote:?} {remote}");
    assert!(!text.contains("d976a2d6"), "{text}");
    assert!(text.ends_with(&format!("Remote({})", server.address)));
}

#[tokio::test]
async fn what_is_no_btrdb_is_told() {
    let (address, _running) = babbler().await;
    let error = Remote::connect(quick(&address))
        .await
        .expect_err("no HTTP/2");
    assert_tells(&error, ErrorKind::Unavailable, &[&address, "is it a BTrDB"]);
    let server = Script::default().start().await;
    let error = Remote::connect(quick(&server.address))
        .await
        .expect_err("no such call");
    assert_tells(
        &error,
        ErrorKind::Unsupported,
        &[&server.address, "no BTrDB"],
    );
}

#[tokio::test]
async fn older_ones_are_refused() {
    let script = Script {
        info: one(|_, _| {
            Ok(InfoResponse {
                major_version: 4,
                ..info(15, &[])
            })
        }),
        ..Script::default()
    };
    let server = script.start().await;
    let error = Remote::connect(quick(&server.address))
        .await
        .expect_err("too old");
    assert_tells(&error, ErrorKind::Unsupported, &["4.15", &server.address]);
}

#[tokio::test]
async fn a_hanging_server_meets_the_deadline() {
    let server = Script {
        stream_info: one(|_, _| Ok(state(11, 0))),
        ..script(29)
    }
    .start()
    .await;
    let proxy = Proxy::before(&server.address).await;
    let remote = Remote::connect(quick(&proxy.address))
        .await
        .expect("connected");
    proxy.set(Wire::Stalled);
    let start = Instant::now();
    let error = version(&remote, STREAM).await.expect_err("late");
    assert_tells(
        &error,
        ErrorKind::Unavailable,
        &[&proxy.address, "waited 400ms"],
    );
    assert!(
        start.elapsed() < Duration::from_secs(6),
        "{:?}",
        start.elapsed()
    );
    proxy.set(Wire::Whole);
    assert_eq!(
        version(&remote, STREAM).await.expect("it goes on"),
        Version(11)
    );
}

#[tokio::test]
async fn a_connection_that_died_without_a_word_is_not_asked_again() {
    let server = Script {
        stream_info: one(|_, _| Ok(state(11, 0))),
        ..script(29)
    }
    .start()
    .await;
    let proxy = Proxy::before(&server.address).await;
    let remote = Remote::connect(quick(&proxy.address))
        .await
        .expect("connected");
    proxy.set(Wire::Frozen);
    version(&remote, STREAM).await.expect_err("late");
    proxy.set(Wire::Whole);
    assert_eq!(
        version(&remote, STREAM).await.expect("over another one"),
        Version(11)
    );
}

#[tokio::test]
async fn a_server_that_falls_silent_in_the_middle_meets_it_too() {
    let silent = |_, _| {
        let first = stream::iter([Ok(raw(11, &[(1, 1.0)]))]);
        first.chain(stream::pending()).boxed()
    };
    let (remote, server) = remote(Script {
        raw_values: Some(Box::new(silent)),
        ..script(29)
    })
    .await;
    let query = PointQuery::new(vec![StreamRead::latest(STREAM)], TimeRange::ALL);
    let mut batches = remote.points(query);
    // The first batch waits until more of the stream was read ahead, or until that failed.
    let first = batches
        .next()
        .await
        .expect("a first one")
        .expect("delivered");
    assert_eq!(first.times.to_vec(), [1]);
    let error = batches.next().await.expect("an end").expect_err("late");
    assert_tells(&error, ErrorKind::Unavailable, &[&server.address, "waited"]);
    assert!(batches.next().await.is_none(), "it is over");
    assert_eq!(server.count("raw_values"), 1, "not repeated");
}

#[tokio::test]
async fn a_reader_that_takes_its_time_is_no_silence() {
    let server = Script {
        raw_values: many(|_, _| (0..200).map(|i| raw(11, &vec![(i, 1.0); 5000])).collect()),
        ..script(29)
    }
    .start()
    .await;
    let settings = Settings {
        idle_deadline: Duration::from_secs(1),
        ..quick(&server.address)
    };
    let remote = Remote::connect(settings).await.expect("connected");
    let query = PointQuery::new(vec![StreamRead::latest(STREAM); 20], TimeRange::ALL);
    let mut batches = remote.points(query);
    let mut rows = 0;
    for pause in 0.. {
        let Some(batch) = batches.next().await else {
            break;
        };
        rows += batch.expect("no deadline").len();
        if pause == 1 || pause == 700 {
            // Longer than the deadline.
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
    }
    assert_eq!(rows, 20 * 200 * 5000);
}

#[tokio::test]
async fn reads_survive_a_reset() {
    let server = Script {
        stream_info: one(|_, _| Ok(state(11, 0))),
        raw_values: many(|_, _| vec![raw(11, &[(1, 1.0)])]),
        ..script(29)
    }
    .start()
    .await;
    let proxy = Proxy::before(&server.address).await;
    let remote = Remote::connect(quick(&proxy.address))
        .await
        .expect("connected");
    for _ in 0..10 {
        proxy.reset().await;
        assert_eq!(
            version(&remote, STREAM).await.expect("a version"),
            Version(11)
        );
        proxy.reset().await;
        assert_eq!(
            points(&remote, STREAM, 0, 10).await.expect("points"),
            [(1, 1.0)]
        );
    }
}

#[tokio::test]
async fn reads_whose_answer_is_lost_are_repeated() {
    let server = Script {
        stream_info: one(|_, _| Ok(state(11, 0))),
        ..script(29)
    }
    .start()
    .await;
    let proxy = Proxy::before(&server.address).await;
    let remote = Remote::connect(quick(&proxy.address))
        .await
        .expect("connected");
    proxy.set(Wire::Mute);
    let heal = async {
        tokio::time::sleep(Duration::from_millis(60)).await;
        proxy.set(Wire::Whole);
    };
    let (answer, ()) = tokio::join!(version(&remote, STREAM), heal);
    assert_eq!(answer.expect("at last"), Version(11));
    assert!(server.count("stream_info") > 1);
}

#[tokio::test]
async fn attempts_come_to_an_end() {
    let (remote, server) = remote(Script {
        stream_info: one(|_, _| Err(Status::unavailable("draining"))),
        ..script(29)
    })
    .await;
    let error = version(&remote, STREAM).await.expect_err("never");
    assert_tells(
        &error,
        ErrorKind::Unavailable,
        &["draining", &server.address],
    );
    let asked = server.count("stream_info");
    assert!((5..20).contains(&asked), "one and four more, {asked}");
    // By now it is known to be out of reach.
    version(&remote, STREAM).await.expect_err("never");
    assert_eq!(
        server.count("stream_info"),
        asked + 5,
        "one and no more than four"
    );
}

#[tokio::test]
async fn a_restart_is_waited_for() {
    let script = || Script {
        stream_info: one(|_, _| Ok(state(11, 0))),
        raw_values: many(|_, _| vec![raw(11, &[(1, 1.0)])]),
        ..script(29)
    };
    let server = script().start().await;
    let address = server.address.clone();
    let settings = Settings {
        retry_total: Settings::default().retry_total,
        ..quick(&address)
    };
    let remote = Remote::connect(settings).await.expect("connected");
    version(&remote, STREAM).await.expect("a version");
    drop(server);
    let restart = async {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        script().start_at(&address).await
    };
    let (version, points, _server) = tokio::join!(
        version(&remote, STREAM),
        points(&remote, STREAM, 0, 10),
        restart
    );
    assert_eq!(version.expect("after the restart"), Version(11));
    assert_eq!(points.expect("after the restart"), [(1, 1.0)]);
}

#[tokio::test]
async fn it_comes_back_when_the_server_does() {
    let script = || Script {
        stream_info: one(|_, _| Ok(state(11, 0))),
        raw_values: many(|_, _| vec![raw(11, &[(1, 1.0)])]),
        ..script(29)
    };
    let server = script().start().await;
    let address = server.address.clone();
    let remote = Remote::connect(quick(&address)).await.expect("connected");
    version(&remote, STREAM).await.expect("a version");
    drop(server);
    tokio::time::sleep(Duration::from_millis(20)).await;
    let error = version(&remote, STREAM).await.expect_err("gone");
    assert_tells(&error, ErrorKind::Unavailable, &[&address]);
    let error = points(&remote, STREAM, 0, 10).await.expect_err("gone");
    assert_tells(&error, ErrorKind::Unavailable, &[&address]);
    let _server = script().start_at(&address).await;
    assert_eq!(version(&remote, STREAM).await.expect("back"), Version(11));
    assert_eq!(
        points(&remote, STREAM, 0, 10).await.expect("back"),
        [(1, 1.0)]
    );
}

#[tokio::test]
async fn another_server_may_come_back() {
    let server = Script {
        raw_values: many(|_, _| vec![raw(11, &[(1, 1.0)])]),
        ..script(29)
    }
    .start()
    .await;
    let address = server.address.clone();
    let remote = Remote::connect(quick(&address)).await.expect("connected");
    points(&remote, STREAM, 0, 10).await.expect("without Arrow");
    drop(server);
    tokio::time::sleep(Duration::from_millis(20)).await;
    points(&remote, STREAM, 0, 10).await.expect_err("gone");
    let server = Script {
        arrow_raw_values: many(|_, _| Vec::new()),
        stream_info: one(|_, _| Ok(state(12, 0))),
        ..script(30)
    }
    .start_at(&address)
    .await;
    points(&remote, STREAM, 0, 10).await.expect("with Arrow");
    assert_eq!(
        (server.count("info"), server.count("arrow_raw_values")),
        (1, 1)
    );
}

#[tokio::test]
async fn a_lazy_one_waits_for_its_server() {
    let address = nobody().await;
    let remote = Remote::lazy(quick(&address)).expect("settings");
    let error = points(&remote, STREAM, 0, 10).await.expect_err("nobody");
    assert_tells(&error, ErrorKind::Unavailable, &[&address]);
    let _server = Script {
        raw_values: many(|_, _| vec![raw(11, &[(1, 1.0)])]),
        ..script(29)
    }
    .start_at(&address)
    .await;
    points(&remote, STREAM, 0, 10).await.expect("there");
}

#[tokio::test]
async fn changes_are_not_repeated_once_they_were_sent() {
    let server = Script {
        create: one(|_, _| Ok(Default::default())),
        delete: one(|_, _| Ok(Default::default())),
        obliterate: one(|_, _| Ok(Default::default())),
        ..script(29)
    }
    .start()
    .await;
    let proxy = Proxy::before(&server.address).await;
    let remote = Remote::connect(quick(&proxy.address))
        .await
        .expect("connected");
    proxy.set(Wire::Mute);
    let stream = btrdb_flight::model::StreamDescriptor {
        id: STREAM,
        collection: "c".to_owned(),
        tags: Default::default(),
        annotations: Default::default(),
        property_version: 0,
    };
    let errors = [
        remote.create(stream).await.expect_err("lost"),
        remote
            .delete(STREAM, TimeRange::new(0, 1))
            .await
            .expect_err("lost"),
        remote.obliterate(STREAM).await.expect_err("lost"),
    ];
    for error in errors {
        assert_tells(
            &error,
            ErrorKind::Unavailable,
            &["may or may not have been applied"],
        );
    }
    assert_eq!(
        server.count("create"),
        1,
        "its answer is what broke the wire"
    );
    for call in ["delete", "obliterate"] {
        assert!(server.count(call) <= 1, "{call}");
    }
}

#[tokio::test]
async fn changes_that_were_never_sent_are_repeated() {
    let script = || Script {
        obliterate: one(|_, _| Ok(Default::default())),
        insert: one(|_, _| Ok(Default::default())),
        stream_info: one(|_, _| Ok(state(11, 0))),
        ..script(29)
    };
    let address = nobody().await;
    let remote = Remote::lazy(quick(&address)).expect("settings");
    let come = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        script().start_at(&address).await
    };
    let (answer, server) = tokio::join!(remote.obliterate(STREAM), come);
    answer.expect("obliterated");
    assert_eq!(server.count("obliterate"), 1);
    drop(server);
    tokio::time::sleep(Duration::from_millis(20)).await;
    let come = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        script().start_at(&address).await
    };
    let (answer, server) = tokio::join!(
        insert(&remote, write(STREAM, 0..3), MergePolicy::Never),
        come
    );
    answer.expect("inserted");
    assert_eq!(server.count("insert"), 1);
}

#[tokio::test]
async fn who_leaves_ends_the_call() {
    let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
    let sender = parking_lot::Mutex::new(Some(sender));
    let endless = move |_, _| {
        let alive = sender.lock().take();
        let messages = stream::repeat_with(move || {
            let _ = &alive;
            Ok(raw(11, &vec![(1, 1.0); 5000]))
        });
        messages.boxed()
    };
    let (remote, _server) = remote(Script {
        raw_values: Some(Box::new(endless)),
        ..script(29)
    })
    .await;
    let query = PointQuery {
        limit: Some(10),
        ..PointQuery::new(vec![StreamRead::latest(STREAM)], TimeRange::ALL)
    };
    let rows = super::rows(&remote, query).await.expect("the first ones");
    assert_eq!(rows.len(), 10);
    let ended = tokio::time::timeout(Duration::from_secs(5), receiver).await;
    ended
        .expect("the server stops")
        .expect_err("its stream was dropped");
}

#[tokio::test]
async fn errors_of_a_front_end_are_those_of_the_server() {
    let (remote, _server) = remote(Script {
        stream_info: one(|_, _| Err(Status::unknown("[404] stream does not exist"))),
        raw_values: many(|_, _| {
            vec![btrdb_flight::wire::proto::RawValuesResponse {
                stat: stat(404, "stream does not exist"),
                ..Default::default()
            }]
        }),
        ..script(29)
    })
    .await;
    let by_status = version(&remote, STREAM).await.expect_err("unknown");
    let by_answer = points(&remote, STREAM, 0, 1).await.expect_err("unknown");
    for error in [by_status, by_answer] {
        assert_eq!(error.code(), Some(Code::NoSuchStream));
        assert_tells(&error, ErrorKind::NotFound, &["stream does not exist"]);
    }
}
