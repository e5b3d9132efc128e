//! TLS: who is trusted, and what the wrong guess looks like.

use btrdb_flight::error::ErrorKind;
use btrdb_flight::model::Version;
use btrdb_flight::remote::{Remote, Settings};

use super::script::{Script, one};
use super::{STREAM, assert_tells, quick, script, state, version};

fn answering() -> Script {
    Script {
        stream_info: one(|_, _| Ok(state(11, 0))),
        ..script(29)
    }
}

#[tokio::test]
async fn certificates_of_a_file_are_trusted() {
    let (server, certificate) = answering().start_with_tls().await;
    let folder = tempfile::tempdir().expect("a scratch folder");
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, certificate).expect("written");
    let settings = Settings {
        tls: Some(true),
        ca_file: Some(file),
        api_key: Some("k".to_owned()),
        ..quick(&server.address)
    };
    let remote = Remote::connect(settings).await.expect("connected");
    assert_eq!(
        version(&remote, STREAM).await.expect("a version"),
        Version(11)
    );
    assert_eq!(server.keys(), vec![Some("Bearer k".to_owned()); 2]);
}

#[tokio::test]
async fn strangers_are_not_trusted() {
    let (server, _) = answering().start_with_tls().await;
    let settings = Settings {
        tls: Some(true),
        api_key: Some("k".to_owned()),
        ..quick(&server.address)
    };
    let error = Remote::connect(settings).await.expect_err("a stranger");
    assert_tells(
        &error,
        ErrorKind::Unavailable,
        &[&server.address, "certificate"],
    );
    assert!(server.keys().is_empty(), "the key stays here");
}

#[tokio::test]
async fn plain_text_to_tls_gets_a_hint() {
    let (server, _) = answering().start_with_tls().await;
    let error = Remote::connect(quick(&server.address))
        .await
        .expect_err("plain text");
    assert_tells(&error, ErrorKind::Unavailable, &["does it speak TLS?"]);
}

#[tokio::test]
async fn tls_to_plain_text_fails() {
    let server = answering().start().await;
    let settings = Settings {
        tls: Some(true),
        ..quick(&server.address)
    };
    let error = Remote::connect(settings).await.expect_err("TLS");
    assert_tells(
        &error,
        ErrorKind::Unavailable,
        &[&server.address, "does not answer"],
    );
}
