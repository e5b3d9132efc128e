//! Points as they are read: ranges, order, versions, templates, the nearest, and where versions differ.

use arrow::array::{Array, AsArray};
use arrow::datatypes::{
    Float32Type, Float64Type, Int64Type, TimestampMillisecondType, TimestampNanosecondType,
};

use super::*;

/// The points of a range, after asking for them both ways.
async fn read(server: &Server, params: RawValuesParams) -> Outcome<Vec<(i64, f64)>> {
    let arrow = ArrowRawValuesParams {
        uuid: params.uuid.clone(),
        start: params.start,
        end: params.end,
        version_major: params.version_major,
        template_bytes: Bytes::new(),
    };
    let plain = many(server.client().raw_values(params).await).await;
    let arrow = many(server.client().arrow_raw_values(arrow).await).await;
    let (plain, arrow) = match (plain, arrow) {
        (Err(plain), Err(arrow)) => {
            assert_eq!(plain, arrow);
            return Err(plain);
        }
        (plain, arrow) => (plain?, arrow?),
    };
    let versions = |version| assert_eq!(version, (plain[0].version_major, 0));
    plain
        .iter()
        .for_each(|m| versions((m.version_major, m.version_minor)));
    arrow
        .iter()
        .for_each(|m| versions((m.version_major, m.version_minor)));
    assert!(plain.iter().all(|message| message.values.len() <= 5000));
    let plain: Vec<_> = plain
        .into_iter()
        .flat_map(|m| m.values)
        .map(|p| (p.time, p.value()))
        .collect();
    let table = table(&points_schema(), arrow.into_iter().map(|m| m.arrow_bytes));
    assert_eq!(pairs(&table), plain);
    Ok(plain)
}

fn pairs(table: &RecordBatch) -> Vec<(i64, f64)> {
    let times = table
        .column(0)
        .as_primitive::<TimestampNanosecondType>()
        .values();
    let values = table.column(1).as_primitive::<Float64Type>().values();
    times.iter().copied().zip(values.iter().copied()).collect()
}

#[tokio::test]
async fn ranges_are_half_open() {
    let server = Server::start().await;
    let points = [(100, 0.0), (105, 1.0), (110, 2.0), (115, 3.0), (120, 4.0)];
    let uuid = server.stream_of(1, &points).await;
    assert_eq!(
        read(&server, raw(&uuid, 100, 121, 0))
            .await
            .expect("points"),
        points
    );
    assert_eq!(
        read(&server, raw(&uuid, 100, 120, 0))
            .await
            .expect("points"),
        points[..4]
    );
    assert_eq!(
        read(&server, raw(&uuid, 101, 105, 0))
            .await
            .expect("points"),
        []
    );
    assert_eq!(
        read(&server, raw(&uuid, MIN_TIME, MAX_TIME, 0))
            .await
            .expect("points"),
        points
    );
}

#[tokio::test]
async fn ranges_and_streams_that_are_none_are_told_in_the_answer() {
    let server = Server::start().await;
    let uuid = server.stream_of(1, &[(1, 1.0)]).await;
    for (start, end, words) in [
        (5, 5, "start time >= end time"),
        (6, 5, "start time >= end time"),
        (MIN_TIME - 1, 0, "time range out of bounds"),
        (0, MAX_TIME + 1, "time range out of bounds"),
    ] {
        let (code, message) = read(&server, raw(&uuid, start, end, 0))
            .await
            .expect_err("refused");
        assert_eq!(code, 413);
        assert!(message.starts_with(words), "{message}");
    }
    let unknown = read(&server, raw(&id(9), 0, 1, 0)).await;
    assert_eq!(unknown, Err((404, "stream does not exist".to_owned())));
    let reversed = read(&server, raw(&id(9), 1, 0, 0)).await;
    assert_eq!(reversed.expect_err("bounds come before streams").0, 413);
}

#[tokio::test]
async fn versions_are_told_and_kept() {
    let server = Server::start().await;
    let uuid = server.stream(1).await;
    for n in 0..10 {
        let version = server.insert(&uuid, &[(n, n as f64)]).await;
        assert_eq!(version, Ok(11 + n as u64));
    }
    for version in 10..=20 {
        let found = read(&server, raw(&uuid, 0, 100, version))
            .await
            .expect("points");
        assert_eq!(found.len() as u64, version - 10);
        let answers = many(
            server
                .client()
                .raw_values(raw(&uuid, 50, 100, version))
                .await,
        )
        .await;
        let answers = answers.expect("nothing");
        assert_eq!(
            (answers.len(), answers[0].version_major),
            (1, version),
            "even of nothing"
        );
    }
    for version in [1, 9, 21, u64::MAX] {
        let refused = read(&server, raw(&uuid, 0, 100, version)).await;
        assert_eq!(refused.expect_err("not there").0, 450, "version {version}");
    }
    let answers = many(server.client().raw_values(raw(&uuid, 0, 100, 0)).await).await;
    assert_eq!(
        answers.expect("points")[0].version_major,
        20,
        "0 is never an answer"
    );
}

#[tokio::test]
async fn long_answers_come_in_many_messages() {
    let server = Server::start().await;
    let points: Vec<(i64, f64)> = (0..150_000).map(|i| (i / 3, i as f64)).collect();
    let uuid = server.stream_of(1, &points).await;
    assert_eq!(
        read(&server, raw(&uuid, 0, 50_000, 0))
            .await
            .expect("points"),
        points
    );
    let answers = many(server.client().raw_values(raw(&uuid, 0, 50_000, 0)).await).await;
    let lengths: Vec<_> = answers
        .expect("points")
        .iter()
        .map(|m| m.values.len())
        .collect();
    assert!(
        lengths.len() >= 30 && lengths.iter().all(|&length| length <= 5000),
        "{lengths:?}"
    );
}

#[tokio::test]
async fn empty_answers_have_their_exact_schema() {
    let server = Server::start().await;
    let uuid = server.stream(1).await;
    let mut client = server.client();
    let answers = many(
        client
            .arrow_raw_values(arrow_raw(&uuid, 0, 10, Bytes::new()))
            .await,
    )
    .await;
    let answers = answers.expect("no error");
    assert_eq!((answers.len(), answers[0].version_major), (1, 10));
    let found = table(&points_schema(), answers.into_iter().map(|m| m.arrow_bytes));
    assert_eq!(found.num_rows(), 0);
    let answers = many(client.arrow_aligned_windows(aligned(&uuid, 0, 10, 1)).await).await;
    let answers = answers.expect("no error");
    assert_eq!((answers.len(), answers[0].version_major), (1, 10));
    let found = table(
        &windows_schema(),
        answers.into_iter().map(|m| m.arrow_bytes),
    );
    assert_eq!(found.num_rows(), 0);
    let answers = many(client.arrow_windows(regular(&uuid, 0, 10, 20)).await).await;
    let answers = answers.expect("no error");
    assert_eq!((answers.len(), answers[0].version_major), (1, 10));
    let found = table(
        &windows_schema(),
        answers.into_iter().map(|m| m.arrow_bytes),
    );
    assert_eq!(found.num_rows(), 0);
}

#[tokio::test]
async fn templates_choose_names_and_types() {
    let server = Server::start().await;
    let points = [(-1_500_001, 0.1), (-1, 1e300), (2_999_999, -0.0)];
    let uuid = server.stream_of(1, &points).await;
    let answer = async |template: &Schema| {
        let params = arrow_raw(&uuid, -10_000_000, 10_000_000, ipc(template, &[]));
        many(server.client().arrow_raw_values(params).await).await
    };
    let template = Schema::new(vec![
        Field::new("t", DataType::Int64, false),
        Field::new("v", DataType::Float32, true),
    ]);
    let answers = answer(&template).await.expect("cast");
    let found = table(
        &Arc::new(template),
        answers.into_iter().map(|m| m.arrow_bytes),
    );
    let times = found.column(0).as_primitive::<Int64Type>().values();
    assert_eq!(times.to_vec(), points.map(|point| point.0));
    let values = found.column(1).as_primitive::<Float32Type>().values();
    assert_eq!(values.to_vec(), points.map(|point| point.1 as f32));
    let milliseconds = DataType::Timestamp(TimeUnit::Millisecond, Some("America/New_York".into()));
    let template = Schema::new(vec![Field::new("when", milliseconds, true), float("what")]);
    let answers = answer(&template).await.expect("cast");
    let found = table(
        &Arc::new(template),
        answers.into_iter().map(|m| m.arrow_bytes),
    );
    let times = found
        .column(0)
        .as_primitive::<TimestampMillisecondType>()
        .values();
    assert_eq!(times.to_vec(), [-2, -1, 2], "towards the past");
    assert_eq!(found.column(0).null_count(), 0);
    let float_time = Schema::new(vec![float("time"), float("value")]);
    let three = Schema::new(vec![time(), float("value"), float("more")]);
    let text = Schema::new(vec![time(), Field::new("value", DataType::Utf8, false)]);
    for template in [float_time, three, text] {
        assert_eq!(
            answer(&template).await.expect_err("refused").0,
            438,
            "{template}"
        );
    }
    let params = arrow_raw(&uuid, 0, 10, Bytes::from_static(b"garbage"));
    let refused = many(server.client().arrow_raw_values(params).await).await;
    assert_eq!(refused.expect_err("refused").0, 438);
    // A schema as pyarrow serializes one: without an end.
    let template = ipc(&points_schema(), &[]);
    let params = arrow_raw(&uuid, 0, 10, template.slice(..template.len() - 8));
    many(server.client().arrow_raw_values(params).await)
        .await
        .expect("a schema");
}

#[tokio::test]
async fn a_template_that_the_times_outgrow_ends_the_answer() {
    let server = Server::start().await;
    let uuid = server.stream_of(1, &[(1, 1.0)]).await;
    server
        .insert(&uuid, &[(1 << 40, 2.0)])
        .await
        .expect("inserted");
    let template = Schema::new(vec![Field::new("t", DataType::Int32, false), float("v")]);
    let params = |end| arrow_raw(&uuid, 0, end, ipc(&template, &[]));
    many(server.client().arrow_raw_values(params(10)).await)
        .await
        .expect("fits");
    let refused = many(server.client().arrow_raw_values(params(1 << 50)).await).await;
    assert_eq!(refused.expect_err("does not fit").0, 438);
}

#[tokio::test]
async fn the_nearest_point_is_found_or_told_missing() {
    let server = Server::start().await;
    let uuid = server
        .stream_of(1, &[(100, 1.0), (100, 2.0), (200, 3.0)])
        .await;
    let nearest = async |uuid: &Bytes, time, backward| {
        let params = NearestParams {
            uuid: uuid.clone(),
            time,
            version_major: 0,
            backward,
        };
        let answer = one(server.client().nearest(params).await)?;
        assert_eq!((answer.version_major, answer.version_minor), (11, 0));
        let point = answer.value.expect("a point");
        Ok::<_, Failure>((point.time, point.value()))
    };
    assert_eq!(
        nearest(&uuid, 100, false).await,
        Ok((100, 1.0)),
        "the first stored"
    );
    assert_eq!(
        nearest(&uuid, 101, true).await,
        Ok((100, 2.0)),
        "the last stored"
    );
    assert_eq!(nearest(&uuid, 101, false).await, Ok((200, 3.0)));
    assert_eq!(nearest(&uuid, MAX_TIME - 1, true).await, Ok((200, 3.0)));
    assert_eq!(nearest(&uuid, MIN_TIME, false).await, Ok((100, 1.0)));
    assert_eq!(nearest(&uuid, 100, true).await.expect_err("nothing").0, 401);
    assert_eq!(
        nearest(&uuid, 201, false).await.expect_err("nothing").0,
        401
    );
    let empty = server.stream(2).await;
    let nothing = nearest(&empty, 0, false).await;
    assert_eq!(nothing, Err((401, "no such point".to_owned())));
    for time in [MIN_TIME - 1, MAX_TIME] {
        let (code, message) = nearest(&uuid, time, true).await.expect_err("outside");
        assert_eq!(code, 413);
        assert!(
            message.starts_with("nearest time out of range"),
            "{message}"
        );
    }
    let unknown = nearest(&id(9), 0, true).await;
    assert_eq!(unknown, Err((404, "stream does not exist".to_owned())));
}

#[tokio::test]
async fn changes_cover_what_changed() {
    let server = Server::start().await;
    let uuid = server.stream_of(1, &[(100, 1.0)]).await;
    let changes = async |uuid: &Bytes, from_major, to_major, resolution| {
        let params = ChangesParams {
            uuid: uuid.clone(),
            from_major,
            to_major,
            resolution,
        };
        let answers = many(server.client().changes(params).await).await?;
        assert!(answers.iter().all(|answer| answer.ranges.len() <= 1000));
        let ranges = answers.iter().flat_map(|answer| &answer.ranges);
        let ranges: Vec<_> = ranges.map(|range| (range.start, range.end)).collect();
        Ok::<_, Failure>((answers[0].version_major, ranges))
    };
    let covers = |ranges: &[(i64, i64)], time| {
        ranges
            .iter()
            .any(|&(start, end)| start <= time && time < end)
    };
    let (version, ranges) = changes(&uuid, 10, 11, 0).await.expect("changes");
    assert_eq!(version, 11);
    assert!(covers(&ranges, 100), "{ranges:?}");
    assert_eq!(changes(&uuid, 11, 11, 0).await, Ok((11, vec![])));
    assert_eq!(changes(&uuid, 11, 0, 63).await, Ok((11, vec![])));
    let (_, ranges) = changes(&uuid, 0, 0, 20).await.expect("from the beginning");
    assert!(covers(&ranges, 100), "{ranges:?}");
    let (code, message) = changes(&uuid, 12, 11, 0).await.expect_err("reversed");
    assert_eq!(code, 427);
    assert!(
        message.starts_with("start version after end version"),
        "{message}"
    );
    assert_eq!(
        changes(&id(9), 12, 11, 0)
            .await
            .expect_err("first its bounds")
            .0,
        427
    );
    assert_eq!(changes(&uuid, 10, 12, 0).await.expect_err("future").0, 450);
    assert_eq!(
        changes(&uuid, 1, 11, 0)
            .await
            .expect_err("before the first")
            .0,
        450
    );
    for resolution in [64, 256, u32::MAX] {
        assert_eq!(
            changes(&uuid, 10, 11, resolution)
                .await
                .expect_err("refused")
                .0,
            415
        );
    }
    assert_eq!(changes(&id(9), 0, 0, 0).await.expect_err("unknown").0, 404);
}

#[tokio::test]
async fn many_changes_come_in_many_messages() {
    let server = Server::start().await;
    // Leaves far apart, each of more points than a leaf takes, so that what lies between them is not touched.
    let mut points = Vec::new();
    for leaf in 0..2500_i64 {
        points.extend((0..80).map(|i| ((leaf << 32) + i, 1.0)));
    }
    let uuid = server.stream_of(1, &points).await;
    let params = ChangesParams {
        uuid: uuid.clone(),
        from_major: 10,
        to_major: 0,
        resolution: 0,
    };
    let answers = many(server.client().changes(params).await)
        .await
        .expect("changes");
    assert!(
        answers
            .iter()
            .all(|answer| answer.ranges.len() <= 1000 && answer.version_major == 11)
    );
}
