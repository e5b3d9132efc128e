//! Inserts: what is stored, what is refused, and what each merge policy leaves.

use btrdb_flight::error::{Code, Result};
use btrdb_flight::model::time::{MAX_POINT_TIME, MAX_TIME, MIN_TIME};
use btrdb_flight::model::{
    Cuts, InsertOptions, MergePolicy, PointQuery, Snapshot, StreamId, StreamRead, TimeRange,
    Version, Write,
};

use super::{Row, Subject, assert_refused, fresh_id, ramp, stat_query, write};

checks! {
    merging_with_stored_duplicates,
    merging_within_a_batch,
    merging_with_both,
    equal_takes_the_zeros_for_one,
    replace_touches_only_its_own_times,
    policies_across_a_split_leaf,
    a_fully_merged_away_batch_is_a_version,
    both_ends_of_time_hold_points,
    times_outside_are_refused_whole,
    nan_and_infinity_are_refused_whole,
    every_finite_value_comes_back_bit_for_bit,
    columns_of_unequal_length_are_refused,
    unsorted_points_are_sorted_stably,
    stored_points_precede_new_ones,
    ten_thousand_points_at_one_time,
    ten_thousand_points_within_four_nanoseconds,
    a_quarter_of_a_million_points_at_once,
    one_point_at_a_time,
    rounding_goes_to_the_nearest_even,
    rounding_comes_before_merging,
    rounding_beyond_the_mantissa_is_refused,
    rounding_up_to_infinity_is_refused,
    an_empty_insert_keeps_the_version,
    an_empty_write_among_others_keeps_its_version,
    the_writes_of_a_call_are_one_commit,
    a_call_with_a_stream_twice_is_one_commit_too,
    one_stream_twice_in_a_call,
    a_refused_write_spares_the_others,
    acknowledged_points_are_visible_at_once,
    parallel_inserts_into_one_stream_all_stand,
}

use MergePolicy::{Equal, Never, Replace, Retain};

fn rounding(rounding_bits: u8) -> InsertOptions {
    InsertOptions {
        merge: Never,
        rounding_bits,
    }
}

/// What `merge` leaves of `batches`, one inserted after the other.
async fn merged(db: &Subject, merge: MergePolicy, stored: &[Row], batch: &[Row]) -> Vec<Row> {
    let stream = db.stream(&format!("merge/{}", fresh_id())).await;
    if !stored.is_empty() {
        db.write(stream, stored).await;
    }
    db.merge(stream, batch, merge).await;
    db.read(stream).await
}

async fn merging_with_stored_duplicates(db: Subject) {
    let stored = [(10, 1.0), (10, 2.0)];
    let batch = [(10, 3.0), (10, 1.0)];
    for (policy, left) in [
        (Never, &[1.0, 2.0, 3.0, 1.0][..]),
        (Equal, &[1.0, 2.0, 3.0]),
        (Retain, &[1.0, 2.0]),
        (Replace, &[1.0]),
    ] {
        let expected: Vec<Row> = left.iter().map(|&value| (10, value)).collect();
        assert_eq!(
            merged(&db, policy, &stored, &batch).await,
            expected,
            "{policy:?}"
        );
    }
}

async fn merging_within_a_batch(db: Subject) {
    let batch = [(110, 2.0), (110, 3.0)];
    for (policy, left) in [
        (Never, &[2.0, 3.0][..]),
        (Equal, &[2.0, 3.0]),
        (Retain, &[2.0]),
        (Replace, &[3.0]),
    ] {
        let expected: Vec<Row> = left.iter().map(|&value| (110, value)).collect();
        assert_eq!(
            merged(&db, policy, &[], &batch).await,
            expected,
            "{policy:?}"
        );
    }
    let batch = [(5, 1.0), (9, 7.0), (5, 2.0), (5, 1.0), (9, 7.0)];
    for (policy, expected) in [
        (
            Never,
            &[(5, 1.0), (5, 2.0), (5, 1.0), (9, 7.0), (9, 7.0)][..],
        ),
        (Equal, &[(5, 1.0), (5, 2.0), (9, 7.0)]),
        (Retain, &[(5, 1.0), (9, 7.0)]),
        (Replace, &[(5, 1.0), (9, 7.0)]),
    ] {
        assert_eq!(
            merged(&db, policy, &[], &batch).await,
            expected,
            "{policy:?}"
        );
    }
}

async fn merging_with_both(db: Subject) {
    let stored = [(1, 1.0), (2, 2.0), (2, 2.0), (4, 4.0)];
    let batch = [
        (4, 5.0),
        (3, 3.0),
        (2, 2.0),
        (4, 4.0),
        (3, 6.0),
        (0, 0.0),
        (5, 5.0),
    ];
    for (policy, expected) in [
        (
            Never,
            &[
                (0, 0.0),
                (1, 1.0),
                (2, 2.0),
                (2, 2.0),
                (2, 2.0),
                (3, 3.0),
                (3, 6.0),
                (4, 4.0),
                (4, 5.0),
                (4, 4.0),
                (5, 5.0),
            ][..],
        ),
        (
            Equal,
            &[
                (0, 0.0),
                (1, 1.0),
                (2, 2.0),
                (2, 2.0),
                (3, 3.0),
                (3, 6.0),
                (4, 4.0),
                (4, 5.0),
                (5, 5.0),
            ],
        ),
        (
            Retain,
            &[
                (0, 0.0),
                (1, 1.0),
                (2, 2.0),
                (2, 2.0),
                (3, 3.0),
                (4, 4.0),
                (5, 5.0),
            ],
        ),
        (
            Replace,
            &[(0, 0.0), (1, 1.0), (2, 2.0), (3, 6.0), (4, 4.0), (5, 5.0)],
        ),
    ] {
        assert_eq!(
            merged(&db, policy, &stored, &batch).await,
            expected,
            "{policy:?}"
        );
    }
}

async fn equal_takes_the_zeros_for_one(db: Subject) {
    let left = merged(&db, Equal, &[(1, 0.0)], &[(1, -0.0), (2, -0.0), (2, 0.0)]).await;
    assert_eq!(left.len(), 2);
    assert!(left[0].1.is_sign_positive(), "the stored one stays");
    assert!(left[1].1.is_sign_negative(), "the first one stays");
    assert_eq!(merged(&db, Never, &[(1, 0.0)], &[(1, -0.0)]).await.len(), 2);
}

async fn replace_touches_only_its_own_times(db: Subject) {
    let stored: Vec<Row> = (0..3000)
        .flat_map(|i| [(i * 10, 1.0), (i * 10, 2.0)])
        .collect();
    let left = merged(&db, Replace, &stored, &[(15_000, 9.0), (15_001, 9.0)]).await;
    let expected: Vec<Row> = stored
        .iter()
        .copied()
        .filter(|&(time, _)| time < 15_000)
        .chain([(15_000, 9.0), (15_001, 9.0)])
        .chain(stored.iter().copied().filter(|&(time, _)| time > 15_000))
        .collect();
    assert!(
        left == expected,
        "{} points for {}",
        left.len(),
        expected.len()
    );
}

async fn policies_across_a_split_leaf(db: Subject) {
    let stored = ramp(0, 7, 900);
    let value = |i: i64| if i % 4 == 0 { (i / 2) as f64 } else { 0.5 };
    let batch: Vec<Row> = (0..1800).map(|i| (i * 7 / 2, value(i))).collect();
    for policy in [Never, Equal, Retain, Replace] {
        let mut expected = stored.clone();
        for (row, &(time, value)) in batch.iter().enumerate() {
            let repeated = batch[..row].iter().any(|&(other, _)| other == time);
            let taken = repeated || stored.iter().any(|&(other, _)| other == time);
            match policy {
                Never => expected.push((time, value)),
                Equal if expected.contains(&(time, value)) => {}
                Equal => expected.push((time, value)),
                Retain if taken => {}
                Retain => expected.push((time, value)),
                Replace => {
                    expected.retain(|&(other, _)| other != time);
                    expected.push((time, value));
                }
            }
        }
        expected.sort_by_key(|&(time, _)| time);
        let left = merged(&db, policy, &stored, &batch).await;
        assert!(
            left == expected,
            "{policy:?}: {} points for {}",
            left.len(),
            expected.len()
        );
    }
}

async fn a_fully_merged_away_batch_is_a_version(db: Subject) {
    let stream = db.stream_of("c/name", &[(1, 1.0)]).await;
    assert_eq!(db.merge(stream, &[(1, 1.0)], Equal).await, Version(12));
    assert_eq!(db.merge(stream, &[(1, 5.0)], Retain).await, Version(13));
    assert_eq!(db.version(stream).await, Version(13));
    for version in 11..=13 {
        assert_eq!(db.read_at(stream, Version(version)).await, [(1, 1.0)]);
    }
}

async fn both_ends_of_time_hold_points(db: Subject) {
    let points = [(MIN_TIME, 1.0), (-1, 2.0), (0, 3.0), (MAX_POINT_TIME, 4.0)];
    let stream = db.stream_of("c/name", &points).await;
    assert_eq!(db.read(stream).await, points);
    assert_eq!(
        db.read_range(stream, MIN_TIME, MIN_TIME + 1).await,
        points[..1]
    );
    let python_maximum = MAX_TIME - 1;
    assert_eq!(
        db.read_range(stream, MAX_POINT_TIME, python_maximum).await,
        points[3..]
    );
}

async fn assert_refused_whole(db: &Subject, bad: Row, code: Code) {
    let stored = [(5, 5.0)];
    let stream = db.stream_of(&format!("c/{}", fresh_id()), &stored).await;
    for batch in [vec![bad], vec![(1, 1.0), bad], vec![bad, (1, 1.0)]] {
        for merge in MergePolicy::ALL {
            let options = InsertOptions {
                merge,
                rounding_bits: 0,
            };
            let answer = db.try_write(stream, &batch, options).await;
            assert_refused(answer, code, &format!("{batch:?}"));
        }
    }
    assert_eq!(db.version(stream).await, Version(11));
    assert_eq!(db.read(stream).await, stored);
}

async fn times_outside_are_refused_whole(db: Subject) {
    for time in [
        i64::MIN,
        MIN_TIME - 1,
        MAX_POINT_TIME + 1,
        MAX_TIME,
        i64::MAX,
    ] {
        assert_refused_whole(&db, (time, 1.0), Code::InvalidTimeRange).await;
    }
}

async fn nan_and_infinity_are_refused_whole(db: Subject) {
    for value in [f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert_refused_whole(&db, (1, value), Code::BadValue).await;
    }
}

async fn every_finite_value_comes_back_bit_for_bit(db: Subject) {
    let mut values = vec![0.0, f64::MIN_POSITIVE, f64::MIN_POSITIVE / 4.0, 5e-324];
    values.extend([
        f64::MAX,
        0.1,
        1.0 + f64::EPSILON,
        std::f64::consts::PI,
        1e300,
    ]);
    let points: Vec<Row> = values
        .iter()
        .flat_map(|&value| [value, -value])
        .enumerate()
        .map(|(i, value)| (i as i64, value))
        .collect();
    let stream = db.stream_of("c/name", &points).await;
    let bits =
        |points: &[Row]| -> Vec<u64> { points.iter().map(|point| point.1.to_bits()).collect() };
    assert_eq!(bits(&db.read(stream).await), bits(&points));
}

async fn columns_of_unequal_length_are_refused(db: Subject) {
    let stream = db.stream("c/name").await;
    let lopsided = Write {
        stream,
        times: vec![1, 2].into(),
        values: vec![1.0].into(),
    };
    let answer = db
        .insert(vec![lopsided], InsertOptions::default())
        .await
        .remove(0);
    assert_refused(answer, Code::InvalidParameter, "two times, one value");
    assert_eq!(db.version(stream).await, Version(10));
}

async fn unsorted_points_are_sorted_stably(db: Subject) {
    let batch: Vec<Row> = (0..5000_i64)
        .map(|i| ((i * 7919) % 1000 - 500, i as f64))
        .collect();
    let stream = db.stream_of("c/name", &batch).await;
    let mut expected = batch;
    expected.sort_by_key(|&(time, _)| time);
    assert_eq!(db.read(stream).await, expected);
}

async fn stored_points_precede_new_ones(db: Subject) {
    let stream = db
        .stream_of("c/name", &[(2, 1.0), (1, 2.0), (2, 3.0)])
        .await;
    db.write(stream, &[(2, 0.0), (1, 9.0)]).await;
    db.write(stream, &[(2, -1.0)]).await;
    let expected = [(1, 2.0), (1, 9.0), (2, 1.0), (2, 3.0), (2, 0.0), (2, -1.0)];
    assert_eq!(db.read(stream).await, expected);
}

/// Asserts what a stream holds: by reading, and by counting.
async fn assert_holds(db: &Subject, stream: StreamId, expected: &[Row]) {
    let stored = db.read(stream).await;
    assert!(
        stored == expected,
        "{} points for {}",
        stored.len(),
        expected.len()
    );
    let range = TimeRange::ALL;
    let whole = stat_query(vec![StreamRead::latest(stream)], range, Cuts::whole(range));
    let windows = db.windows(whole).await;
    assert_eq!(windows.len(), 1);
    assert_eq!(windows[0].count, expected.len() as u64);
}

async fn ten_thousand_points_at_one_time(db: Subject) {
    for time in [MIN_TIME, -1, 0, 1_500_000_000_000_000_000, MAX_POINT_TIME] {
        let points: Vec<Row> = (0..10_000).map(|i| (time, f64::from(i))).collect();
        let at_once = db.stream_of(&format!("c/{time}"), &points).await;
        assert_holds(&db, at_once, &points).await;
        let bit_by_bit = db.stream(&format!("d/{time}")).await;
        for chunk in points.chunks(999) {
            db.write(bit_by_bit, chunk).await;
        }
        assert_holds(&db, bit_by_bit, &points).await;
        let neighbour = if time == MIN_TIME { time + 1 } else { time - 1 };
        let beside = [(neighbour, -1.0)];
        db.write(at_once, &beside).await;
        assert_eq!(
            db.read_range(at_once, neighbour, neighbour + 1).await,
            beside
        );
        assert_eq!(db.read_range(at_once, time, time + 1).await.len(), 10_000);
    }
}

async fn ten_thousand_points_within_four_nanoseconds(db: Subject) {
    let points: Vec<Row> = (0..10_000)
        .map(|i| (i64::from(i % 4) - 4, f64::from(i)))
        .collect();
    let stream = db.stream("c/name").await;
    for chunk in points.chunks(1500) {
        db.write(stream, chunk).await;
    }
    let mut expected = points;
    expected.sort_by_key(|&(time, _)| time);
    assert_holds(&db, stream, &expected).await;
}

async fn a_quarter_of_a_million_points_at_once(db: Subject) {
    let points = ramp(1_500_000_000_000_000_000, 33_333_333, 250_000);
    let stream = db.stream_of("c/name", &points).await;
    assert_eq!(db.version(stream).await, Version(11));
    assert_holds(&db, stream, &points).await;
}

async fn one_point_at_a_time(db: Subject) {
    let stream = db.stream("c/name").await;
    let mut points = ramp(1_500_000_000_000_000_000, 33_333_333, 3000);
    for (i, point) in points.iter().enumerate() {
        let version = db.write(stream, &[*point]).await;
        assert_eq!(version, Version(11 + i as u64));
    }
    assert_holds(&db, stream, &points).await;
    let late: Vec<Row> = points
        .iter()
        .rev()
        .map(|&(time, value)| (time - 1, value))
        .collect();
    for point in late {
        db.write(stream, &[point]).await;
        points.push(point);
    }
    points.sort_by_key(|&(time, _)| time);
    assert_holds(&db, stream, &points).await;
}

async fn rounded(db: &Subject, bits: u8, value: f64) -> f64 {
    let stream = db.stream(&format!("c/{}", fresh_id())).await;
    let answer = db.try_write(stream, &[(1, value)], rounding(bits)).await;
    answer.expect("inserted");
    db.read(stream).await[0].1
}

async fn rounding_goes_to_the_nearest_even(db: Subject) {
    let ulps = |n: u64| f64::from_bits(1.0_f64.to_bits() + n);
    for (bits, from, to) in [
        (0, 1, 1),
        (0, 3, 3),
        (1, 1, 0),
        (1, 2, 2),
        (1, 3, 4),
        (2, 1, 0),
        (2, 2, 0),
        (2, 3, 4),
        (2, 5, 4),
        (2, 6, 8),
        (2, 7, 8),
        (10, 511, 0),
        (10, 512, 0),
        (10, 513, 1024),
        (10, 1536, 2048),
    ] {
        for sign in [1.0, -1.0] {
            let found = rounded(&db, bits, sign * ulps(from)).await;
            let expected = sign * ulps(to);
            assert_eq!(
                found.to_bits(),
                expected.to_bits(),
                "{bits} bits, {from} ulps"
            );
        }
    }
    for (value, power) in [
        (1.25, 1.0),
        (1.75, 2.0),
        (-1.9, -2.0),
        (-5.0, -4.0),
        (-0.0, -0.0),
    ] {
        let found = rounded(&db, 52, value).await;
        assert_eq!(
            found.to_bits(),
            f64::to_bits(power),
            "{value} to a power of two"
        );
    }
}

async fn rounding_comes_before_merging(db: Subject) {
    let stream = db.stream_of("c/name", &[(1, 1.0)]).await;
    let options = InsertOptions {
        merge: Equal,
        rounding_bits: 8,
    };
    let batch = [
        (1, 1.0 + f64::EPSILON),
        (2, 2.0),
        (2, 2.0 + 2.0 * f64::EPSILON),
    ];
    db.try_write(stream, &batch, options)
        .await
        .expect("inserted");
    assert_eq!(db.read(stream).await, [(1, 1.0), (2, 2.0)]);
}

async fn rounding_beyond_the_mantissa_is_refused(db: Subject) {
    let stream = db.stream("c/name").await;
    for bits in [53, 64, u8::MAX] {
        let answer = db.try_write(stream, &[(1, 1.0)], rounding(bits)).await;
        assert_refused(answer, Code::InvalidParameter, &format!("{bits} bits"));
    }
    assert_eq!(db.version(stream).await, Version(10));
}

async fn rounding_up_to_infinity_is_refused(db: Subject) {
    let stream = db.stream("c/name").await;
    for value in [f64::MAX, f64::MIN] {
        let batch = [(1, 1.0), (2, value)];
        let answer = db.try_write(stream, &batch, rounding(20)).await;
        assert_refused(answer, Code::BadValue, "the largest value");
    }
    assert_eq!(db.version(stream).await, Version(10));
    assert!(db.read(stream).await.is_empty());
}

async fn an_empty_insert_keeps_the_version(db: Subject) {
    let stream = db.stream("c/name").await;
    for expected in [10, 11, 12] {
        for merge in MergePolicy::ALL {
            assert_eq!(db.merge(stream, &[], merge).await, Version(expected));
        }
        assert_eq!(db.version(stream).await, Version(expected));
        db.write(stream, &[(1, 1.0)]).await;
    }
}

async fn an_empty_write_among_others_keeps_its_version(db: Subject) {
    let (a, b) = (
        db.stream("c/a").await,
        db.stream_of("c/b", &[(1, 1.0)]).await,
    );
    let writes = vec![
        write(a, &[]),
        write(b, &[(2, 2.0)]),
        write(a, &[(1, 1.0)]),
        write(a, &[]),
    ];
    let answers = db.insert(writes, InsertOptions::default()).await;
    let answers: Vec<_> = answers
        .into_iter()
        .map(|answer| answer.expect("inserted").0)
        .collect();
    assert_eq!(answers, [10, 12, 11, 11]);
}

/// Inserts `writes` in one call; asserts that each commit of the store shows `streams` as they were before or after it.
async fn assert_one_commit(db: &Subject, streams: &[StreamId], writes: Vec<Write>) {
    let versions = async |snapshot| db.versions(streams, snapshot).await.expect("versions");
    let before = db.snapshot().await.expect("snapshot");
    let old = versions(before).await;
    for answer in db.insert(writes, InsertOptions::default()).await {
        answer.expect("inserted");
    }
    let after = db.snapshot().await.expect("snapshot");
    let new = versions(Snapshot::Latest).await;
    assert_ne!(old, new);
    let (Snapshot::Commit(before), Snapshot::Commit(after)) = (before, after) else {
        assert!(!db.store_wide_commits, "a snapshot names its commit");
        return;
    };
    assert_eq!(versions(Snapshot::Commit(before)).await, old);
    assert_eq!(versions(Snapshot::Commit(after)).await, new);
    for commit in before..=after {
        let seen = versions(Snapshot::Commit(commit)).await;
        assert!(
            seen == old || seen == new,
            "commit {commit} shows a part of the call: {seen:?}"
        );
    }
}

async fn the_writes_of_a_call_are_one_commit(db: Subject) {
    let mut streams = Vec::new();
    for i in 0..20 {
        streams.push(db.stream(&format!("c/{i}")).await);
    }
    let points = ramp(0, 1, 50);
    let writes = streams
        .iter()
        .map(|&stream| write(stream, &points))
        .collect();
    assert_one_commit(&db, &streams, writes).await;
}

async fn a_call_with_a_stream_twice_is_one_commit_too(db: Subject) {
    let (a, b) = (db.stream("c/a").await, db.stream("c/b").await);
    let writes = vec![
        write(a, &[(1, 1.0)]),
        write(b, &[(1, 1.0)]),
        write(a, &[(2, 2.0)]),
        write(a, &[(1, 3.0)]),
    ];
    assert_one_commit(&db, &[a, b], writes).await;
}

async fn one_stream_twice_in_a_call(db: Subject) {
    let (a, b) = (db.stream("c/a").await, db.stream("c/b").await);
    let writes = vec![
        write(a, &[(2, 1.0), (1, 1.0)]),
        write(b, &[(1, 5.0)]),
        write(a, &[(1, 2.0)]),
        write(a, &[(1, 3.0), (2, 3.0)]),
    ];
    let answers = db
        .insert(
            writes,
            InsertOptions {
                merge: Replace,
                rounding_bits: 0,
            },
        )
        .await;
    let versions: Vec<u64> = answers
        .into_iter()
        .map(|answer| answer.expect("inserted").0)
        .collect();
    assert_eq!(versions, [11, 11, 12, 13]);
    assert_eq!(db.version(a).await, Version(13));
    assert_eq!(db.read_at(a, Version(11)).await, [(1, 1.0), (2, 1.0)]);
    assert_eq!(db.read_at(a, Version(12)).await, [(1, 2.0), (2, 1.0)]);
    assert_eq!(db.read(a).await, [(1, 3.0), (2, 3.0)]);
}

async fn a_refused_write_spares_the_others(db: Subject) {
    let (a, b) = (db.stream("c/a").await, db.stream("c/b").await);
    let writes = vec![
        write(a, &[(1, 1.0)]),
        write(fresh_id(), &[(1, 1.0)]),
        write(b, &[(1, f64::NAN)]),
        write(a, &[(MAX_TIME, 1.0)]),
        write(b, &[(2, 2.0)]),
        write(a, &[(3, 3.0)]),
    ];
    let mut answers: Vec<Result<Version>> = db.insert(writes, InsertOptions::default()).await;
    assert_eq!(answers.len(), 6);
    assert_eq!(answers.remove(5).expect("inserted"), Version(12));
    assert_eq!(answers.remove(4).expect("inserted"), Version(11));
    assert_refused(answers.remove(3), Code::InvalidTimeRange, "out of time");
    assert_refused(answers.remove(2), Code::BadValue, "NaN");
    assert_refused(answers.remove(1), Code::NoSuchStream, "unknown");
    assert_eq!(answers.remove(0).expect("inserted"), Version(11));
    assert_eq!(db.read(a).await, [(1, 1.0), (3, 3.0)]);
    assert_eq!(db.read(b).await, [(2, 2.0)]);
}

async fn acknowledged_points_are_visible_at_once(db: Subject) {
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..8 {
        let db = db.clone();
        tasks.spawn(async move {
            let stream = db.stream(&format!("c/{task}")).await;
            for i in 1..=100 {
                let version = db.write(stream, &[(i, i as f64)]).await;
                let query = PointQuery::new(vec![StreamRead::latest(stream)], TimeRange::ALL);
                let batches = db.try_points(query).await.expect("points");
                assert!(batches.iter().all(|batch| batch.version == version));
                assert_eq!(
                    batches.iter().map(|batch| batch.len()).sum::<usize>(),
                    i as usize
                );
                let whole = Cuts::whole(TimeRange::ALL);
                let query = stat_query(vec![StreamRead::latest(stream)], TimeRange::ALL, whole);
                assert_eq!(db.windows(query).await[0].count, i as u64);
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.expect("no task panics");
    }
}

async fn parallel_inserts_into_one_stream_all_stand(db: Subject) {
    let stream = db.stream("c/name").await;
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..8_i64 {
        let db = db.clone();
        tasks.spawn(async move {
            let mut versions = Vec::new();
            for i in 0..50 {
                versions.push(db.write(stream, &[(i * 8 + task, i as f64)]).await.0);
            }
            assert!(versions.is_sorted(), "one task's inserts stand in order");
            versions
        });
    }
    let mut versions = Vec::new();
    while let Some(task) = tasks.join_next().await {
        versions.extend(task.expect("no task panics"));
    }
    versions.sort_unstable();
    assert!(
        versions.iter().copied().eq(11..411),
        "each insert is one version"
    );
    let times: Vec<i64> = db.read(stream).await.iter().map(|point| point.0).collect();
    assert!(times.iter().copied().eq(0..400), "no point is lost");
}
