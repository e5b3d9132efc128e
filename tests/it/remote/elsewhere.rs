//! Servers that send their callers elsewhere, or away for a while.

use std::time::{Duration, Instant};

use btrdb_flight::error::{Code, ErrorKind};
use btrdb_flight::model::Version;
use btrdb_flight::remote::{Remote, Settings};
use btrdb_flight::wire::proto::StreamInfoResponse;

use super::script::{Script, one, stat};
use super::{STREAM, assert_tells, info, quick, remote, script, state, version};

fn refusal(code: u32) -> StreamInfoResponse {
    StreamInfoResponse {
        stat: stat(code, "not here"),
        ..StreamInfoResponse::default()
    }
}

/// A server that sends everybody to `proxies`.
fn signpost(proxies: &[String]) -> Script {
    let proxies = proxies.to_vec();
    Script {
        info: one(move |_, _| Ok(info(29, &proxies))),
        stream_info: one(|_, _| Ok(refusal(405))),
        ..Script::default()
    }
}

#[tokio::test]
async fn the_endpoints_it_names_are_followed() {
    let there = Script {
        stream_info: one(|_, _| Ok(state(12, 0))),
        ..script(29)
    }
    .start()
    .await;
    let here = signpost(std::slice::from_ref(&there.address)).start().await;
    let settings = Settings {
        api_key: Some("k".to_owned()),
        ..quick(&here.address)
    };
    let remote = Remote::connect(settings).await.expect("connected");
    assert_eq!(version(&remote, STREAM).await.expect("there"), Version(12));
    assert_eq!(version(&remote, STREAM).await.expect("there"), Version(12));
    assert_eq!(here.count("stream_info"), 1, "once is enough");
    assert_eq!(there.keys(), vec![Some("Bearer k".to_owned()); 2]);
}

#[tokio::test]
async fn when_those_are_gone_it_asks_at_home() {
    let there = Script {
        stream_info: one(|_, _| Ok(state(12, 0))),
        ..script(29)
    }
    .start()
    .await;
    let proxies = vec![there.address.clone()];
    let here = Script {
        info: one(move |_, _| Ok(info(29, &proxies))),
        stream_info: one(|before, _| match before {
            0 => Ok(refusal(405)),
            _ => Ok(state(13, 0)),
        }),
        ..Script::default()
    }
    .start()
    .await;
    let remote = Remote::connect(quick(&here.address))
        .await
        .expect("connected");
    assert_eq!(version(&remote, STREAM).await.expect("there"), Version(12));
    drop(there);
    assert_eq!(version(&remote, STREAM).await.expect("here"), Version(13));
}

#[tokio::test]
async fn a_cluster_in_trouble_is_waited_for() {
    let (remote, server) = remote(Script {
        stream_info: one(|before, _| match before {
            0 | 1 => Ok(refusal(419)),
            _ => Ok(state(11, 0)),
        }),
        ..script(29)
    })
    .await;
    let start = Instant::now();
    assert_eq!(
        version(&remote, STREAM).await.expect("at last"),
        Version(11)
    );
    assert!(start.elapsed() >= Duration::from_millis(600), "not at once");
    assert_eq!(server.count("stream_info"), 3);
    assert_eq!(server.count("info"), 3, "it may have moved");
}

#[tokio::test]
async fn a_server_that_has_too_much_to_do_is_asked_later() {
    let (remote, server) = remote(Script {
        stream_info: one(|before, _| match before {
            0 => Ok(refusal(426)),
            _ => Ok(state(11, 0)),
        }),
        ..script(29)
    })
    .await;
    assert_eq!(
        version(&remote, STREAM).await.expect("at last"),
        Version(11)
    );
    assert_eq!((server.count("stream_info"), server.count("info")), (2, 1));
}

#[tokio::test]
async fn who_is_sent_away_without_an_address_gives_up() {
    let server = signpost(&[]).start().await;
    let remote = Remote::connect(quick(&server.address))
        .await
        .expect("connected");
    let error = version(&remote, STREAM).await.expect_err("nowhere");
    assert_eq!(error.code(), Some(Code::WrongEndpoint));
    assert_tells(
        &error,
        ErrorKind::Unsupported,
        &["not here", &server.address],
    );
}

#[tokio::test]
async fn endpoints_that_are_none_do_no_harm() {
    let server = signpost(&["nowhere".to_owned()]).start().await;
    let remote = Remote::connect(quick(&server.address))
        .await
        .expect("connected");
    version(&remote, STREAM).await.expect_err("nowhere");
}
