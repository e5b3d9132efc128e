//! Streams that are gone: at once, for every call, for ever.

use btrdb_flight::error::Code;
use btrdb_flight::model::{PointQuery, StreamFilter, StreamRead, TimeRange, Version};

use super::{Subject, assert_refused, at, every_call, every_read, ramp};

checks! {
    every_call_on_an_obliterated_stream_is_404,
    its_old_versions_are_gone_too,
    its_old_snapshots_are_gone_too,
    others_are_not_touched,
    its_name_starts_afresh,
}

async fn every_call_on_an_obliterated_stream_is_404(db: Subject) {
    let gone = db.stream_of("c/gone", &ramp(0, 1, 10)).await;
    db.obliterate(gone).await.expect("obliterated");
    for (call, answer) in every_call(&db, gone).await {
        assert_refused(answer, Code::NoSuchStream, call);
    }
}

async fn its_old_versions_are_gone_too(db: Subject) {
    let gone = db.stream_of("c/gone", &ramp(0, 1, 10)).await;
    db.obliterate(gone).await.expect("obliterated");
    for version in [10, 11, 12] {
        for (call, answer) in every_read(&db, at(gone, Version(version))).await {
            assert_refused(answer, Code::NoSuchStream, call);
        }
    }
}

async fn its_old_snapshots_are_gone_too(db: Subject) {
    let gone = db.stream_of("c/gone", &ramp(0, 1, 10)).await;
    let snapshot = db.snapshot().await.expect("snapshot");
    db.obliterate(gone).await.expect("obliterated");
    let query = PointQuery {
        snapshot,
        ..PointQuery::new(vec![StreamRead::latest(gone)], TimeRange::ALL)
    };
    assert_refused(db.try_points(query).await, Code::NoSuchStream, "points");
    let versions = db.versions(&[gone], snapshot).await;
    assert_refused(versions, Code::NoSuchStream, "versions");
}

async fn others_are_not_touched(db: Subject) {
    let points = ramp(0, 1, 3000);
    let (gone, kept) = (
        db.stream_of("c/gone", &points).await,
        db.stream_of("c/kept", &points).await,
    );
    db.obliterate(gone).await.expect("obliterated");
    assert_eq!(db.read(kept).await, points);
    assert_eq!(db.version(kept).await, Version(11));
    let found = db.find(StreamFilter::all()).await.expect("found");
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].id, kept);
}

async fn its_name_starts_afresh(db: Subject) {
    let gone = db.stream_of("c/name", &ramp(0, 1, 10)).await;
    db.obliterate(gone).await.expect("obliterated");
    let fresh = db.stream("c/name").await;
    assert_eq!(db.version(fresh).await, Version(10));
    assert!(db.read(fresh).await.is_empty());
    assert_eq!(db.descriptor(fresh).await.property_version, 1);
}
