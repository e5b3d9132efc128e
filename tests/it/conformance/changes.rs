//! Changes between versions: never less than what changed, on the tree's own grid.

use std::collections::BTreeMap;

use btrdb_flight::error::Code;
use btrdb_flight::model::time::{MAX_POINT_TIME, MAX_TIME, MIN_TIME};
use btrdb_flight::model::{Changes, ChangesQuery, MergePolicy, StreamId, TimeRange, Version};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{Row, Subject, assert_refused, ramp};

checks! {
    one_point_is_covered,
    equal_versions_differ_nowhere,
    deletes_are_changes,
    replaced_values_are_changes,
    from_zero_covers_everything,
    the_version_answered_is_the_one_read,
    reversed_versions_are_refused,
    resolutions_beyond_63_are_refused,
    random_changes_are_covered_and_aligned,
}

fn query(stream: StreamId, from: u64, to: Option<u64>, resolution: u8) -> ChangesQuery {
    ChangesQuery {
        stream,
        from: Version(from),
        to: to.map(Version),
        resolution,
    }
}

/// The changes, after a check that they are ascending, apart, in time, and on the grid of the resolution.
async fn changes(db: &Subject, query: ChangesQuery) -> Changes {
    let changes = db.changes(query).await.expect("changes");
    let what = format!("{query:?}: {:?}", changes.ranges);
    for range in &changes.ranges {
        assert!(range.start < range.end, "{what}");
        assert!(MIN_TIME <= range.start && range.end <= MAX_TIME, "{what}");
        // The widest slot the walk may stop at; finer than the finest slot there is no grid.
        let slot = (2..=56)
            .rev()
            .step_by(6)
            .find(|slot| *slot <= query.resolution);
        let width = 1_i64 << slot.unwrap_or(0);
        assert!(range.start % width == 0 && range.end % width == 0, "{what}");
    }
    assert!(
        changes
            .ranges
            .windows(2)
            .all(|pair| pair[0].end < pair[1].start),
        "{what}"
    );
    changes
}

fn covers(changes: &Changes, time: i64) -> bool {
    changes.ranges.iter().any(|range| range.contains(time))
}

async fn one_point_is_covered(db: Subject) {
    for time in [MIN_TIME, -1, 0, 100, MAX_POINT_TIME] {
        let stream = db.stream_of(&format!("c/{time}"), &[(time, 1.0)]).await;
        for resolution in 0..=63 {
            let changes = changes(&db, query(stream, 10, Some(11), resolution)).await;
            assert!(covers(&changes, time), "{time}, resolution {resolution}");
        }
    }
}

async fn equal_versions_differ_nowhere(db: Subject) {
    let stream = db.stream_of("c/name", &ramp(0, 1, 3000)).await;
    for (from, to) in [(10, Some(10)), (11, Some(11)), (11, None)] {
        assert!(
            changes(&db, query(stream, from, to, 0))
                .await
                .ranges
                .is_empty()
        );
    }
    let empty = db.stream("c/empty").await;
    assert!(
        changes(&db, query(empty, 10, None, 0))
            .await
            .ranges
            .is_empty()
    );
}

async fn deletes_are_changes(db: Subject) {
    let stream = db.stream_of("c/name", &ramp(-100, 1000, 3000)).await;
    db.delete(stream, TimeRange::new(900, 1901))
        .await
        .expect("deleted");
    let few = changes(&db, query(stream, 11, Some(12), 0)).await;
    assert!(covers(&few, 900) && covers(&few, 1900));
    db.delete(stream, TimeRange::ALL).await.expect("deleted");
    let all = changes(&db, query(stream, 12, None, 0)).await;
    assert!(
        ramp(-100, 1000, 3000)
            .iter()
            .all(|&(time, _)| { (900..1901).contains(&time) || covers(&all, time) })
    );
}

async fn replaced_values_are_changes(db: Subject) {
    let stream = db.stream_of("c/name", &ramp(0, 1000, 3000)).await;
    db.merge(
        stream,
        &[(5000, -1.0), (2_000_000, -1.0)],
        MergePolicy::Replace,
    )
    .await;
    let changes = changes(&db, query(stream, 11, None, 0)).await;
    assert!(covers(&changes, 5000) && covers(&changes, 2_000_000));
}

async fn from_zero_covers_everything(db: Subject) {
    let points = ramp(-1_000_000, 7_777_777, 5000);
    let stream = db.stream("c/name").await;
    for chunk in points.chunks(700) {
        db.write(stream, chunk).await;
    }
    for resolution in [0, 20, 40, 63] {
        let changes = changes(&db, query(stream, 0, None, resolution)).await;
        assert!(points.iter().all(|&(time, _)| covers(&changes, time)));
    }
}

async fn the_version_answered_is_the_one_read(db: Subject) {
    let stream = db.stream_of("c/name", &[(1, 1.0)]).await;
    db.write(stream, &[(2, 1.0)]).await;
    for (to, version) in [(None, 12), (Some(10), 10), (Some(11), 11), (Some(12), 12)] {
        let changes = changes(&db, query(stream, 10, to, 0)).await;
        assert_eq!(changes.version, Version(version));
    }
}

async fn reversed_versions_are_refused(db: Subject) {
    let stream = db.stream_of("c/name", &[(1, 1.0)]).await;
    let answer = db.changes(query(stream, 11, Some(10), 0)).await;
    assert_refused(answer, Code::InvalidVersions, "from 11 to 10");
}

async fn resolutions_beyond_63_are_refused(db: Subject) {
    let stream = db.stream_of("c/name", &[(1, 1.0)]).await;
    for resolution in [64, u8::MAX] {
        let answer = db.changes(query(stream, 10, None, resolution)).await;
        assert_refused(answer, Code::InvalidPointWidth, &format!("{resolution}"));
    }
}

/// The values of each time.
fn by_time(points: &[Row]) -> BTreeMap<i64, Vec<u64>> {
    let mut times: BTreeMap<i64, Vec<u64>> = BTreeMap::new();
    for &(time, value) in points {
        times.entry(time).or_default().push(value.to_bits());
    }
    times
}

async fn random_changes_are_covered_and_aligned(db: Subject) {
    for seed in 0..15 {
        let mut rng = StdRng::seed_from_u64(seed);
        let spread = 1_i64 << rng.random_range(8..58);
        let time = move |rng: &mut StdRng| rng.random_range(-spread..spread);
        let stream = db.stream(&format!("c/{seed}")).await;
        let mut versions = vec![BTreeMap::new()];
        for _ in 0..8 {
            if rng.random_bool(0.3) {
                let (a, b) = (time(&mut rng), time(&mut rng));
                let range = TimeRange::new(a.min(b), a.max(b) + 1);
                db.delete(stream, range).await.expect("deleted");
            } else {
                let count = *[1, 10, 2000]
                    .get(rng.random_range(0..3))
                    .expect("in bounds");
                let batch: Vec<Row> = (0..count).map(|_| (time(&mut rng), rng.random())).collect();
                let policy = MergePolicy::ALL[rng.random_range(0..4)];
                db.merge(stream, &batch, policy).await;
            }
            versions.push(by_time(&db.read(stream).await));
        }
        for from in 0..versions.len() {
            for to in from..versions.len() {
                let resolution = rng.random_range(0..=63);
                let query = query(stream, 10 + from as u64, Some(10 + to as u64), resolution);
                let changes = changes(&db, query).await;
                let (old, new) = (&versions[from], &versions[to]);
                for time in old.keys().chain(new.keys()) {
                    let same = old.get(time) == new.get(time);
                    assert!(
                        same || covers(&changes, *time),
                        "seed {seed}, {query:?}: {time}"
                    );
                }
            }
        }
    }
}
