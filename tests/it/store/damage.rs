//! One damaged stream must not hold up the others.

use std::time::Duration;

use btrdb_flight::backend::Backend;
use btrdb_flight::engine::{Engine, Settings};
use btrdb_flight::error::{ErrorKind, Result};
use btrdb_flight::model::{InsertOptions, StreamDescriptor, StreamId, Tags, Version, Write};

use super::eager;

async fn create(engine: &Engine, number: u128) -> StreamId {
    let id = StreamId(uuid::Uuid::from_u128(number));
    let stream = StreamDescriptor {
        id,
        collection: "damage".into(),
        tags: Tags {
            name: number.to_string(),
            ..Tags::default()
        },
        annotations: Default::default(),
        property_version: 1,
    };
    engine.create(stream).await.expect("created");
    id
}

async fn insert(engine: &Engine, stream: StreamId, times: std::ops::Range<i64>) -> Result<Version> {
    let write = Write {
        stream,
        times: times.clone().collect::<Vec<_>>().into(),
        values: times.map(|time| time as f64).collect::<Vec<_>>().into(),
    };
    let answers = engine.insert(vec![write], InsertOptions::default());
    let mut answers = tokio::time::timeout(Duration::from_secs(60), answers)
        .await
        .expect("an insert is answered, whatever became of other streams");
    answers.pop().expect("one answer a write")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tree_that_cannot_be_folded_holds_up_its_own_stream_alone() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let location = folder.path().to_str().expect("a path in UTF-8");
    let settings = Settings {
        live_bytes_max: 8 << 10,
        ..eager()
    };
    let engine = Engine::open(location, settings.clone())
        .await
        .expect("opened");
    let damaged = create(&engine, 1).await;
    let whole = create(&engine, 2).await;
    insert(&engine, damaged, 0..1000).await.expect("inserted");
    engine.close().await.expect("closed");
    drop(engine);
    for object in std::fs::read_dir(folder.path().join("data")).expect("segments") {
        let path = object.expect("an entry").path();
        let mut bytes = std::fs::read(&path).expect("read");
        bytes[20] ^= 1;
        std::fs::write(&path, bytes).expect("written");
    }

    let engine = Engine::open(location, settings).await.expect("opened");
    // Late points, whose fold has to look into the damaged page.
    let mut refused = None;
    for _ in 0..20 {
        refused = refused.or(insert(&engine, damaged, 10..20).await.err());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(refused.map(|error| error.kind()), Some(ErrorKind::Corrupt));
    for first in (0..5000).step_by(10) {
        insert(&engine, whole, first..first + 10)
            .await
            .expect("inserted");
    }
    engine.checkpoint().await.expect("a checkpoint");
    let report = engine.check().await.expect("checked");
    assert!(!report.problems.is_empty(), "{report}");
}
