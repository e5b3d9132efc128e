//! Arguments out of bounds, and which refusal comes first: argument, stream, version.

use btrdb_flight::error::Code;
use btrdb_flight::model::time::{MAX_TIME, MIN_TIME};
use btrdb_flight::model::{
    ChangesQuery, Cuts, Direction, PointQuery, StatQuery, StreamRead, TimeRange, Version,
};

use super::{
    Subject, assert_refused, at, every_call, every_ranged_call, every_read, fresh_id, latest,
    multi_query, nearest_query, stat_query,
};

checks! {
    reversed_empty_and_outlying_ranges_are_refused_everywhere,
    ranges_out_of_order_are_refused,
    the_whole_of_time_is_accepted_everywhere,
    nearest_wants_a_time_of_the_domain,
    senseless_windows_are_refused,
    unknown_streams_are_404_everywhere,
    one_unknown_stream_fails_the_whole_read,
    versions_that_cannot_be_had_are_450_everywhere,
    arguments_are_checked_before_streams,
    streams_are_checked_before_versions,
    a_set_of_no_streams_reads_nothing,
}

const OUTLYING: [TimeRange; 6] = [
    TimeRange::new(5, 5),
    TimeRange::new(6, 5),
    TimeRange::new(MIN_TIME - 1, 0),
    TimeRange::new(0, MAX_TIME + 1),
    TimeRange::new(i64::MIN, i64::MAX),
    TimeRange::new(MAX_TIME, MIN_TIME),
];

async fn reversed_empty_and_outlying_ranges_are_refused_everywhere(db: Subject) {
    let stream = db.stream_of("bounds/a", &[(1, 1.0)]).await;
    for range in OUTLYING {
        for (call, answer) in every_ranged_call(&db, stream, range).await {
            assert_refused(
                answer,
                Code::InvalidTimeRange,
                &format!("{call} of {range:?}"),
            );
        }
    }
    assert_eq!(db.version(stream).await, Version(11), "nothing was deleted");
}

async fn ranges_out_of_order_are_refused(db: Subject) {
    let stream = db.stream("c/name").await;
    let streams = latest(&[stream]);
    for ranges in [[(0, 10), (9, 20)], [(10, 20), (0, 10)], [(0, 10), (20, 15)]] {
        let ranges: Vec<TimeRange> = ranges
            .iter()
            .map(|&(start, end)| TimeRange::new(start, end))
            .collect();
        let what = format!("{ranges:?}");
        let points = PointQuery {
            ranges: ranges.clone(),
            ..PointQuery::new(streams.clone(), TimeRange::ALL)
        };
        assert_refused(db.try_points(points).await, Code::InvalidTimeRange, &what);
        let stats = StatQuery {
            ranges,
            ..stat_query(streams.clone(), TimeRange::ALL, Cuts::whole(TimeRange::ALL))
        };
        assert_refused(db.try_stats(stats).await, Code::InvalidTimeRange, &what);
    }
}

async fn the_whole_of_time_is_accepted_everywhere(db: Subject) {
    let stream = db.stream_of("bounds/a", &[(1, 1.0)]).await;
    for (call, answer) in every_ranged_call(&db, stream, TimeRange::ALL).await {
        answer.unwrap_or_else(|error| panic!("{call}: {error:?}"));
    }
}

async fn nearest_wants_a_time_of_the_domain(db: Subject) {
    let stream = StreamRead::latest(db.stream_of("bounds/a", &[(1, 1.0)]).await);
    for direction in [Direction::Forward, Direction::Backward] {
        for time in [i64::MIN, MIN_TIME - 1, MAX_TIME, i64::MAX] {
            let answer = db.nearest(nearest_query(stream, time, direction)).await;
            assert_refused(answer, Code::InvalidTimeRange, &format!("{time}"));
        }
        for time in [MIN_TIME, MAX_TIME - 1] {
            db.nearest(nearest_query(stream, time, direction))
                .await
                .expect("the ends of time");
        }
    }
}

async fn senseless_windows_are_refused(db: Subject) {
    let streams = latest(&[db.stream_of("bounds/a", &[(1, 1.0)]).await]);
    let every = |width| Cuts::Every { origin: 0, width };
    for cuts in [
        every(0),
        every((1 << 63) + 1),
        every(u64::MAX),
        Cuts::At([].into()),
        Cuts::At([1].into()),
        Cuts::At([1, 1].into()),
        Cuts::At([1, 5, 4].into()),
    ] {
        let what = format!("{cuts:?}");
        let query = stat_query(streams.clone(), TimeRange::new(0, 100), cuts);
        assert_refused(db.try_stats(query).await, Code::InvalidPointWidth, &what);
    }
    let before_time = Cuts::Every {
        origin: MIN_TIME + 1,
        width: 1 << 63,
    };
    let query = stat_query(streams, TimeRange::ALL, before_time);
    assert_refused(
        db.try_stats(query).await,
        Code::InvalidTimeRange,
        "a window that starts before i64",
    );
}

async fn unknown_streams_are_404_everywhere(db: Subject) {
    for (call, answer) in every_call(&db, fresh_id()).await {
        if let Err(error) = &answer {
            assert_eq!(error.message(), "stream does not exist", "{call}");
        }
        assert_refused(answer, Code::NoSuchStream, call);
    }
}

async fn one_unknown_stream_fails_the_whole_read(db: Subject) {
    let known = db.stream_of("bounds/a", &[(1, 1.0)]).await;
    let streams = [known, fresh_id()];
    let (reads, range) = (latest(&streams), TimeRange::new(0, 10));
    let points = PointQuery::new(reads.clone(), range);
    let stats = stat_query(reads.clone(), range, Cuts::whole(range));
    let multi = multi_query(reads, range, 0);
    let mut nearest = nearest_query(StreamRead::latest(known), 0, Direction::Forward);
    nearest.streams = latest(&streams);
    let answers = [
        ("points", db.try_points(points).await.map(drop)),
        ("stats", db.try_stats(stats).await.map(drop)),
        ("multi_values", db.try_multi(multi).await.map(drop)),
        ("nearest", db.nearest(nearest).await.map(drop)),
        ("describe", db.describe(&streams).await.map(drop)),
        ("flush", db.flush(&streams).await.map(drop)),
        (
            "versions",
            db.versions(&streams, Default::default()).await.map(drop),
        ),
    ];
    for (call, answer) in answers {
        assert_refused(answer, Code::NoSuchStream, call);
    }
}

async fn versions_that_cannot_be_had_are_450_everywhere(db: Subject) {
    let stream = db.stream_of("bounds/a", &[(1, 1.0)]).await;
    for version in [1, 2, 9, 12, 13, u64::MAX] {
        for (call, answer) in every_read(&db, at(stream, Version(version))).await {
            let what = format!("{call} at {version}");
            assert_refused(answer, Code::VersionNotAvailable, &what);
        }
    }
    for version in [10, 11] {
        for (call, answer) in every_read(&db, at(stream, Version(version))).await {
            answer.unwrap_or_else(|error| panic!("{call} at {version}: {error:?}"));
        }
    }
}

async fn arguments_are_checked_before_streams(db: Subject) {
    let unknown = fresh_id();
    for (call, answer) in every_ranged_call(&db, unknown, TimeRange::new(5, 5)).await {
        assert_refused(answer, Code::InvalidTimeRange, call);
    }
    let no_width = Cuts::Every {
        origin: 0,
        width: 0,
    };
    let query = stat_query(latest(&[unknown]), TimeRange::new(0, 1), no_width);
    assert_refused(db.try_stats(query).await, Code::InvalidPointWidth, "stats");
    let nearest = nearest_query(StreamRead::latest(unknown), MAX_TIME, Direction::Forward);
    assert_refused(db.nearest(nearest).await, Code::InvalidTimeRange, "nearest");
    let changes = ChangesQuery {
        stream: unknown,
        from: Version(0),
        to: None,
        resolution: 64,
    };
    assert_refused(
        db.changes(changes).await,
        Code::InvalidPointWidth,
        "changes",
    );
    let options = Default::default();
    let answer = db.try_write(unknown, &[(1, f64::NAN)], options).await;
    assert_refused(answer, Code::BadValue, "insert of NaN");
    let answer = db.try_write(unknown, &[(MAX_TIME, 1.0)], options).await;
    assert_refused(answer, Code::InvalidTimeRange, "insert out of time");
}

async fn streams_are_checked_before_versions(db: Subject) {
    for (call, answer) in every_read(&db, at(fresh_id(), Version(7))).await {
        assert_refused(answer, Code::NoSuchStream, call);
    }
}

async fn a_set_of_no_streams_reads_nothing(db: Subject) {
    let range = TimeRange::ALL;
    let points = PointQuery::new(Vec::new(), range);
    assert!(db.rows(points).await.is_empty());
    let stats = stat_query(Vec::new(), range, Cuts::whole(range));
    assert!(db.windows(stats).await.is_empty());
    assert!(db.describe(&[]).await.expect("described").is_empty());
    assert!(db.flush(&[]).await.expect("flushed").is_empty());
    assert!(db.insert(Vec::new(), Default::default()).await.is_empty());
    let versions = db.versions(&[], Default::default()).await;
    assert!(versions.expect("versions").is_empty());
}
