//! Versions and snapshots: counted one by one, readable for ever, the same for all who read them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use btrdb_flight::model::time::{MAX_TIME, MIN_TIME};
use btrdb_flight::model::{
    Cuts, Direction, InsertOptions, MergePolicy, MultiQuery, NearestQuery, PointQuery, Snapshot,
    StatQuery, StreamId, StreamRead, TimeRange, Version,
};
use futures::TryStreamExt;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinSet;

use super::{Row, Subject, at, latest, multi_query, ramp, rows_of, stat_query, write};

checks! {
    the_first_version_is_ten,
    each_mutation_is_one_version,
    versions_keep_the_order_asked,
    flushing_what_is_not_buffered_changes_nothing,
    deletes_are_half_open,
    deletes_of_nothing_are_versions_too,
    deletes_leave_old_versions_whole,
    deletes_of_everything_leave_a_writable_stream,
    ten_versions_stay_readable,
    random_histories_stay_readable,
    snapshots_stay_readable,
    every_read_honours_the_snapshot,
    a_named_version_overrules_the_snapshot,
    a_read_keeps_the_state_it_began_with,
    snapshots_are_one_state_of_all_streams,
    latest_is_one_state_of_all_streams,
}

async fn the_first_version_is_ten(db: Subject) {
    let stream = db.stream("c/name").await;
    assert_eq!(db.version(stream).await, Version(10));
    assert_eq!(Version::CREATED, Version(10));
    assert!(db.read_at(stream, Version(10)).await.is_empty());
    assert_eq!(db.write(stream, &[(1, 1.0)]).await, Version(11));
    assert!(
        db.read_at(stream, Version(10)).await.is_empty(),
        "the first version stays empty"
    );
}

async fn each_mutation_is_one_version(db: Subject) {
    let stream = db.stream("c/name").await;
    let mut expected = 10;
    for policy in MergePolicy::ALL {
        for _ in 0..3 {
            expected += 1;
            assert_eq!(
                db.merge(stream, &[(1, 1.0)], policy).await,
                Version(expected)
            );
            assert_eq!(db.version(stream).await, Version(expected));
        }
        expected += 1;
        let version = db
            .delete(stream, TimeRange::new(0, 2))
            .await
            .expect("deleted");
        assert_eq!(version, Version(expected));
        assert_eq!(db.version(stream).await, Version(expected));
    }
}

async fn versions_keep_the_order_asked(db: Subject) {
    let a = db.stream("c/a").await;
    let b = db.stream_of("c/b", &[(1, 1.0)]).await;
    let versions = db
        .versions(&[b, a, b], Snapshot::Latest)
        .await
        .expect("versions");
    assert_eq!(versions, [Version(11), Version(10), Version(11)]);
}

async fn flushing_what_is_not_buffered_changes_nothing(db: Subject) {
    let (a, b) = (
        db.stream("c/a").await,
        db.stream_of("c/b", &[(1, 1.0)]).await,
    );
    for _ in 0..2 {
        let flushed = db.flush(&[b, a]).await.expect("flushed");
        assert_eq!(flushed, [Version(11), Version(10)]);
    }
    assert_eq!(db.read(b).await, [(1, 1.0)]);
}

async fn deletes_are_half_open(db: Subject) {
    let stream = db.stream_of("c/name", &ramp(0, 10, 5)).await;
    db.delete(stream, TimeRange::new(10, 30))
        .await
        .expect("deleted");
    assert_eq!(db.read(stream).await, [(0, 0.0), (30, 3.0), (40, 4.0)]);
    db.delete(stream, TimeRange::new(30, 31))
        .await
        .expect("deleted");
    assert_eq!(db.read(stream).await, [(0, 0.0), (40, 4.0)]);
}

async fn deletes_of_nothing_are_versions_too(db: Subject) {
    let stream = db.stream("c/name").await;
    let deleted = db.delete(stream, TimeRange::ALL).await.expect("deleted");
    assert_eq!(deleted, Version(11));
    db.write(stream, &[(5, 5.0)]).await;
    let deleted = db
        .delete(stream, TimeRange::new(6, 100))
        .await
        .expect("deleted");
    assert_eq!(deleted, Version(13));
    assert_eq!(db.read(stream).await, [(5, 5.0)]);
}

async fn deletes_leave_old_versions_whole(db: Subject) {
    let points = ramp(MIN_TIME, 1 << 49, 5000);
    let stream = db.stream_of("c/name", &points).await;
    let cut = TimeRange::new(points[7].0, points[4000].0 + 1);
    db.delete(stream, cut).await.expect("deleted");
    let left: Vec<Row> = points
        .iter()
        .copied()
        .filter(|point| !cut.contains(point.0))
        .collect();
    assert_eq!(db.read(stream).await, left);
    assert_eq!(db.read_at(stream, Version(11)).await, points);
}

async fn deletes_of_everything_leave_a_writable_stream(db: Subject) {
    let points = ramp(-3000, 3, 3000);
    let stream = db.stream_of("c/name", &points).await;
    db.delete(stream, TimeRange::new(MIN_TIME, MAX_TIME))
        .await
        .expect("deleted");
    assert!(db.read(stream).await.is_empty());
    assert_eq!(db.write(stream, &points).await, Version(13));
    assert_eq!(db.read(stream).await, points);
}

async fn ten_versions_stay_readable(db: Subject) {
    let stream = db.stream("c/name").await;
    let mut history = vec![Vec::new()];
    for i in 0..10 {
        if i % 3 == 2 {
            let range = TimeRange::new(i * 500, i * 900);
            db.delete(stream, range).await.expect("deleted");
        } else {
            db.write(stream, &ramp(i * 300, 2, 800)).await;
        }
        history.push(db.read(stream).await);
    }
    for _ in 0..2 {
        for (i, expected) in history.iter().enumerate() {
            let found = db.read_at(stream, Version(10 + i as u64)).await;
            assert!(
                found == *expected,
                "version {}: {} points for {}",
                10 + i,
                found.len(),
                expected.len()
            );
        }
    }
}

async fn random_histories_stay_readable(db: Subject) {
    for seed in 0..10 {
        let mut rng = StdRng::seed_from_u64(seed);
        let stream = db.stream(&format!("c/{seed}")).await;
        let spread = 1_i64 << rng.random_range(3..40);
        let mut model: Vec<Row> = Vec::new();
        let mut history = vec![model.clone()];
        for _ in 0..20 {
            let (a, b) = (
                rng.random_range(-spread..spread),
                rng.random_range(-spread..spread),
            );
            if rng.random_bool(0.25) {
                let range = TimeRange::new(a.min(b), a.max(b) + 1);
                db.delete(stream, range).await.expect("deleted");
                model.retain(|point| !range.contains(point.0));
            } else {
                let batch: Vec<Row> = (0..rng.random_range(1..600))
                    .map(|_| {
                        (
                            rng.random_range(-spread..spread),
                            f64::from(rng.random_range(0..9)),
                        )
                    })
                    .collect();
                db.write(stream, &batch).await;
                model.extend(batch);
                model.sort_by_key(|point| point.0);
            }
            history.push(model.clone());
        }
        for (i, expected) in history.iter().enumerate() {
            let found = db.read_at(stream, Version(10 + i as u64)).await;
            assert!(found == *expected, "seed {seed}, version {}", 10 + i);
        }
    }
}

/// Moves every check below that needs commit numbers out of the way of backends without them.
async fn commit(db: &Subject) -> Option<Snapshot> {
    let snapshot = db.snapshot().await.expect("snapshot");
    let numbered = matches!(snapshot, Snapshot::Commit(_));
    assert_eq!(numbered, db.store_wide_commits, "{snapshot}");
    numbered.then_some(snapshot)
}

async fn snapshots_stay_readable(db: Subject) {
    let (a, b) = (db.stream("c/a").await, db.stream("c/b").await);
    let mut history = Vec::new();
    for i in 0..12 {
        match i % 4 {
            0 => drop(db.write(a, &ramp(i * 10, 1, 500)).await),
            1 => drop(db.write(b, &ramp(i * 10, 1, 500)).await),
            2 => drop(
                db.delete(a, TimeRange::new(i, i * 40))
                    .await
                    .expect("deleted"),
            ),
            _ => drop(db.stream(&format!("c/{i}")).await),
        }
        let Some(snapshot) = commit(&db).await else {
            return;
        };
        let versions = db
            .versions(&[a, b], Snapshot::Latest)
            .await
            .expect("versions");
        history.push((snapshot, versions, [db.read(a).await, db.read(b).await]));
    }
    for (snapshot, versions, rows) in history {
        assert_eq!(
            db.versions(&[a, b], snapshot).await.expect("versions"),
            versions
        );
        let query = PointQuery {
            snapshot,
            ..PointQuery::new(latest(&[a, b]), TimeRange::ALL)
        };
        assert!(db.rows_by_stream(query).await == rows, "{snapshot}");
    }
}

async fn every_read_honours_the_snapshot(db: Subject) {
    let stream = db.stream_of("c/name", &[(1, 1.0)]).await;
    let Some(snapshot) = commit(&db).await else {
        return;
    };
    db.merge(stream, &[(1, 2.0), (2, 2.0)], MergePolicy::Replace)
        .await;
    let (streams, range) = (latest(&[stream]), TimeRange::ALL);
    let points = PointQuery {
        snapshot,
        ..PointQuery::new(streams.clone(), range)
    };
    let batches = db.try_points(points).await.expect("points");
    assert_eq!(
        batches.iter().flat_map(rows_of).collect::<Vec<_>>(),
        [(1, 1.0)]
    );
    assert!(batches.iter().all(|batch| batch.version == Version(11)));
    let stats = StatQuery {
        snapshot,
        ..stat_query(streams.clone(), range, Cuts::whole(range))
    };
    let windows = db.windows(stats).await;
    assert_eq!((windows[0].count, windows[0].max), (1, 1.0));
    let multi = MultiQuery {
        snapshot,
        ..multi_query(streams.clone(), range, 0)
    };
    let rows = db.try_multi(multi).await.expect("multi_values");
    assert_eq!(rows.iter().map(|batch| batch.times.len()).sum::<usize>(), 1);
    let nearest = NearestQuery {
        snapshot,
        ..NearestQuery::new(streams, 5, Direction::Backward)
    };
    let (version, point) = db.nearest(nearest).await.expect("nearest").remove(0);
    assert_eq!(
        (version, point.map(|point| point.value)),
        (Version(11), Some(1.0))
    );
}

async fn a_named_version_overrules_the_snapshot(db: Subject) {
    let stream = db.stream_of("c/name", &[(1, 1.0)]).await;
    let Some(snapshot) = commit(&db).await else {
        return;
    };
    db.write(stream, &[(2, 2.0)]).await;
    let reads = vec![
        at(stream, Version(12)),
        StreamRead::latest(stream),
        at(stream, Version(10)),
    ];
    let query = PointQuery {
        snapshot,
        ..PointQuery::new(reads, TimeRange::ALL)
    };
    let found = db.rows_by_stream(query).await;
    assert_eq!(found, [vec![(1, 1.0), (2, 2.0)], vec![(1, 1.0)], vec![]]);
}

async fn a_read_keeps_the_state_it_began_with(db: Subject) {
    let points = ramp(0, 1, 20_000);
    let stream = db.stream_of("c/name", &points).await;
    let query = PointQuery {
        batch_rows: 100,
        ..PointQuery::new(latest(&[stream]), TimeRange::ALL)
    };
    let mut batches = db.points(query);
    let first = batches
        .try_next()
        .await
        .expect("points")
        .expect("a first batch");
    let mut rows = rows_of(&first);
    db.merge(stream, &[(19_999, -1.0)], MergePolicy::Replace)
        .await;
    db.delete(stream, TimeRange::new(0, 19_000))
        .await
        .expect("deleted");
    while let Some(batch) = batches.try_next().await.expect("points") {
        assert_eq!(batch.version, Version(11));
        rows.extend(rows_of(&batch));
    }
    assert!(rows == points, "the read saw what was written under it");
}

/// Two streams hold a hundred units between them; a writer moves them back and forth, both sides in one call.
struct Accounts {
    db: Subject,
    streams: [StreamId; 2],
    done: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl Accounts {
    const UNITS: f64 = 100.0;
    const MOVES: u32 = 400;

    async fn open(db: &Subject) -> Self {
        let mut accounts = Self {
            db: db.clone(),
            streams: [db.stream("c/left").await, db.stream("c/right").await],
            done: Arc::default(),
            tasks: JoinSet::new(),
        };
        transfer(db, accounts.streams, 0.0).await;
        let (db, streams, done) = (db.clone(), accounts.streams, Arc::clone(&accounts.done));
        accounts.tasks.spawn(async move {
            for i in 1..=Self::MOVES {
                transfer(&db, streams, f64::from(i % 101)).await;
            }
            done.store(true, Ordering::Release);
        });
        accounts
    }

    /// Audits in three tasks until the writer is done, and once afterwards.
    async fn audit<F>(mut self, audit: fn(Subject, [StreamId; 2]) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        for _ in 0..3 {
            let (db, streams, done) = (self.db.clone(), self.streams, Arc::clone(&self.done));
            self.tasks.spawn(async move {
                loop {
                    let last = done.load(Ordering::Acquire);
                    audit(db.clone(), streams).await;
                    if last {
                        return;
                    }
                }
            });
        }
        while let Some(task) = self.tasks.join_next().await {
            task.expect("no task panics");
        }
    }
}

async fn transfer(db: &Subject, [left, right]: [StreamId; 2], units: f64) {
    let writes = vec![
        write(left, &[(0, units)]),
        write(right, &[(0, Accounts::UNITS - units)]),
    ];
    let options = InsertOptions {
        merge: MergePolicy::Replace,
        rounding_bits: 0,
    };
    for answer in db.insert(writes, options).await {
        answer.expect("transferred");
    }
}

/// Reads both accounts in one call of each kind, and asserts that nothing is under way.
async fn assert_balanced(db: &Subject, streams: [StreamId; 2], snapshot: Snapshot) {
    let (reads, range) = (latest(&streams), TimeRange::ALL);
    let points = PointQuery {
        snapshot,
        ..PointQuery::new(reads.clone(), range)
    };
    let sum: f64 = db.rows(points).await.iter().map(|row| row.1).sum();
    assert_eq!(sum, Accounts::UNITS, "points at {snapshot}");
    let stats = StatQuery {
        snapshot,
        ..stat_query(reads.clone(), range, Cuts::whole(range))
    };
    let sum: f64 = db
        .windows(stats)
        .await
        .iter()
        .map(|window| window.mean)
        .sum();
    assert_eq!(sum, Accounts::UNITS, "stats at {snapshot}");
    let multi = MultiQuery {
        snapshot,
        ..multi_query(reads.clone(), range, 0)
    };
    let batches = db.try_multi(multi).await.expect("multi_values");
    let columns = batches.iter().flat_map(|batch| &batch.columns);
    let sum: f64 = columns.map(|column| column.value(0)).sum();
    assert_eq!(sum, Accounts::UNITS, "multi_values at {snapshot}");
    let nearest = NearestQuery {
        snapshot,
        ..NearestQuery::new(reads, 0, Direction::Forward)
    };
    let answers = db.nearest(nearest).await.expect("nearest");
    let sum: f64 = answers
        .iter()
        .filter_map(|(_, point)| *point)
        .map(|point| point.value)
        .sum();
    assert_eq!(sum, Accounts::UNITS, "nearest at {snapshot}");
    let versions = db.versions(&streams, snapshot).await.expect("versions");
    assert_eq!(versions[0], versions[1], "versions at {snapshot}");
}

async fn snapshots_are_one_state_of_all_streams(db: Subject) {
    if commit(&db).await.is_none() {
        return;
    }
    let audit = |db: Subject, [left, right]: [StreamId; 2]| async move {
        let snapshot = db.snapshot().await.expect("snapshot");
        assert_balanced(&db, [left, right], snapshot).await;
        let mut sum = 0.0;
        for stream in [right, left] {
            let query = PointQuery {
                snapshot,
                ..PointQuery::new(latest(&[stream]), TimeRange::ALL)
            };
            sum += db.rows(query).await[0].1;
        }
        assert_eq!(
            sum,
            Accounts::UNITS,
            "one read after the other at {snapshot}"
        );
    };
    Accounts::open(&db).await.audit(audit).await;
}

async fn latest_is_one_state_of_all_streams(db: Subject) {
    if commit(&db).await.is_none() {
        return;
    }
    let audit = |db: Subject, streams: [StreamId; 2]| async move {
        assert_balanced(&db, streams, Snapshot::Latest).await;
    };
    Accounts::open(&db).await.audit(audit).await;
}
