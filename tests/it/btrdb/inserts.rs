//! What changes points: merge policies, checks of whole batches, Arrow of any shape, deletes.

use arrow::array::{Float32Array, Int64Array, StringArray, TimestampMillisecondArray};
use arrow::ipc::CompressionType;
use arrow::ipc::writer::IpcWriteOptions;

use super::*;

fn arrow_insert(uuid: &Bytes, arrow_bytes: Bytes) -> ArrowInsertParams {
    ArrowInsertParams {
        uuid: uuid.clone(),
        sync: false,
        merge_policy: 0,
        rounding: None,
        arrow_bytes,
    }
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> Bytes {
    let batch = RecordBatch::try_from_iter(columns).expect("a batch");
    ipc(&batch.schema(), &[batch])
}

#[tokio::test]
async fn merge_policies_treat_taken_times_as_documented() {
    let server = Server::start().await;
    for (number, policy, stored, fresh) in [
        (
            1,
            MergePolicy::Never,
            vec![1.0, 2.0, 3.0, 1.0],
            vec![2.0, 3.0],
        ),
        (2, MergePolicy::Equal, vec![1.0, 2.0, 3.0], vec![2.0, 3.0]),
        (3, MergePolicy::Retain, vec![1.0, 2.0], vec![2.0]),
        (4, MergePolicy::Replace, vec![1.0], vec![3.0]),
    ] {
        let uuid = server.stream_of(number, &[(10, 1.0), (10, 2.0)]).await;
        let version = server.merge(&uuid, policy, &[(10, 3.0), (10, 1.0)]).await;
        assert_eq!(version, Ok(12));
        let version = server.merge(&uuid, policy, &[(110, 2.0), (110, 3.0)]).await;
        assert_eq!(version, Ok(13));
        let found = server.points(&uuid, 0).await.expect("points");
        let expected = stored.iter().map(|&value| (10, value));
        let expected: Vec<_> = expected
            .chain(fresh.iter().map(|&value| (110, value)))
            .collect();
        assert_eq!(found, expected, "{policy:?}");
        // The same in Arrow.
        let uuid = server.stream_of(number + 10, &[(10, 1.0), (10, 2.0)]).await;
        let batches = [
            points_batch(&[(10, 3.0), (10, 1.0), (110, 2.0)]),
            points_batch(&[(110, 3.0)]),
        ];
        let params = ArrowInsertParams {
            merge_policy: policy.into(),
            ..arrow_insert(&uuid, ipc(&points_schema(), &batches))
        };
        let answer = one(server.client().arrow_insert(params).await).expect("inserted");
        assert_eq!((answer.version_major, answer.version_minor), (12, 0));
        assert_eq!(
            server.points(&uuid, 0).await.expect("points"),
            expected,
            "{policy:?}"
        );
    }
}

#[tokio::test]
async fn inserts_are_all_or_nothing() {
    let server = Server::start().await;
    let uuid = server.stream(1).await;
    for (bad, code, words) in [
        (
            (MIN_TIME - 1, 1.0),
            413,
            "insert contains points outside valid time interval",
        ),
        (
            (MAX_TIME - 1, 1.0),
            413,
            "insert contains points outside valid time interval",
        ),
        ((5, f64::NAN), 425, "insert contains NaN values"),
        ((5, f64::INFINITY), 425, "insert contains Inf values"),
        ((5, f64::NEG_INFINITY), 425, "insert contains Inf values"),
    ] {
        let points = [(1, 1.0), bad];
        let (number, message) = server.insert(&uuid, &points).await.expect_err("refused");
        assert_eq!(number, code);
        assert!(message.starts_with(words), "{message}");
        let arrow = arrow_insert(&uuid, ipc(&points_schema(), &[points_batch(&points)]));
        let refused = one(server.client().arrow_insert(arrow).await).expect_err("refused");
        assert_eq!(refused, (number, message));
    }
    assert_eq!(server.points(&uuid, 0).await, Ok(vec![]));
    let ends = [(MIN_TIME, -0.0), (MAX_TIME - 2, f64::MIN_POSITIVE / 4.0)];
    assert_eq!(server.insert(&uuid, &ends).await, Ok(11));
    let found = server.points(&uuid, 0).await.expect("points");
    assert_eq!(found, ends);
    assert!(found[0].1.is_sign_negative());
    let unknown = server.insert(&id(9), &[(1, 1.0)]).await;
    assert_eq!(unknown, Err((404, "stream does not exist".to_owned())));
    let nan = server.insert(&id(9), &[(1, f64::NAN)]).await;
    assert_eq!(nan.expect_err("its points come first").0, 425);
}

#[tokio::test]
async fn inserts_of_nothing_tell_the_version() {
    let server = Server::start().await;
    let uuid = server.stream(1).await;
    assert_eq!(server.insert(&uuid, &[]).await, Ok(10));
    assert_eq!(server.insert(&uuid, &[(1, 1.0)]).await, Ok(11));
    assert_eq!(server.insert(&uuid, &[]).await, Ok(11));
    for batches in [
        vec![],
        vec![points_batch(&[])],
        vec![points_batch(&[]), points_batch(&[])],
    ] {
        let params = arrow_insert(&uuid, ipc(&points_schema(), &batches));
        let answer = one(server.client().arrow_insert(params).await).expect("nothing inserted");
        assert_eq!(answer.version_major, 11);
    }
    assert_eq!(
        server.insert(&id(9), &[]).await.expect_err("unknown").0,
        404
    );
}

#[tokio::test]
async fn inserts_have_a_limit() {
    let server = Server::start_with(BtrdbSettings {
        insert_points_max: 3,
        ..BtrdbSettings::default()
    })
    .await;
    let uuid = server.stream(1).await;
    let four = [(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0)];
    let (code, message) = server.insert(&uuid, &four).await.expect_err("too many");
    assert_eq!(code, 414);
    assert!(message.starts_with("Insert too big"), "{message}");
    let batches = [points_batch(&four[..2]), points_batch(&four[2..])];
    let params = arrow_insert(&uuid, ipc(&points_schema(), &batches));
    let refused = one(server.client().arrow_insert(params).await).expect_err("too many");
    assert_eq!(refused.0, 414);
    assert_eq!(server.insert(&uuid, &four[1..]).await, Ok(11));
}

/// 250 000 points are several megabytes, more than gRPC takes by default.
#[tokio::test]
async fn the_largest_insert_is_taken() {
    let server = Server::start().await;
    let uuid = server.stream(1).await;
    let mut points: Vec<(i64, f64)> = (0..250_000).map(|i| (i << 40, i as f64)).collect();
    assert_eq!(server.insert(&uuid, &points).await, Ok(11));
    points.push((1, 1.0));
    assert_eq!(
        server.insert(&uuid, &points).await.expect_err("too many").0,
        414
    );
}

#[tokio::test]
async fn values_are_rounded_to_bits_on_request() {
    let server = Server::start().await;
    let uuid = server.stream(1).await;
    let insert = async |bits, merge_policy| {
        let params = InsertParams {
            uuid: uuid.clone(),
            sync: true,
            values: rows(&[(1, 0.1)]),
            merge_policy,
            rounding: Some(RoundSpec {
                spec: Some(round_spec::Spec::Bits(bits)),
            }),
        };
        one(server.client().insert(params).await)
    };
    insert(20, 0).await.expect("rounded");
    let found = server.points(&uuid, 0).await.expect("points");
    assert_eq!(found[0].1.to_bits() & 0xf_ffff, 0);
    assert!((found[0].1 - 0.1).abs() < 1e-9);
    for bits in [-1, 53, i32::MAX] {
        assert_eq!(insert(bits, 0).await.expect_err("refused").0, 438);
    }
    for policy in [-1, 4] {
        assert_eq!(insert(0, policy).await.expect_err("refused").0, 438);
    }
}

#[tokio::test]
async fn arrow_inserts_take_times_and_numbers_of_any_type() {
    let server = Server::start().await;
    let milliseconds =
        TimestampMillisecondArray::from(vec![2, 1]).with_timezone("America/New_York");
    let nanoseconds = Int64Array::from(vec![2_000_000, 1_000_000]);
    let floats = Float32Array::from(vec![0.5, 1.5]);
    let times: [ArrayRef; 2] = [Arc::new(milliseconds), Arc::new(nanoseconds)];
    for (number, times) in (1..).zip(times) {
        let uuid = server.stream(number).await;
        let bytes = batch(vec![("when", times), ("what", Arc::new(floats.clone()))]);
        one(server
            .client()
            .arrow_insert(arrow_insert(&uuid, bytes))
            .await)
        .expect("inserted");
        let found = server.points(&uuid, 0).await.expect("points");
        assert_eq!(found, [(1_000_000, 1.5), (2_000_000, 0.5)]);
    }
}

#[tokio::test]
async fn arrow_that_holds_no_points_is_refused() {
    let server = Server::start().await;
    let uuid = server.stream(1).await;
    let times = || Arc::new(Int64Array::from(vec![1])) as ArrayRef;
    let values = || Arc::new(Float64Array::from(vec![1.0])) as ArrayRef;
    let text = || Arc::new(StringArray::from(vec!["1"])) as ArrayRef;
    let whole = ipc(&points_schema(), &[points_batch(&[(1, 1.0)])]);
    for (bytes, code) in [
        (Bytes::new(), 438),
        (
            Bytes::from_static(b"garbage, and enough of it to look like something"),
            438,
        ),
        (whole.slice(..whole.len() / 2), 438),
        (whole.slice(..whole.len() - 20), 438),
        (batch(vec![("time", times())]), 438),
        (
            batch(vec![
                ("time", times()),
                ("value", values()),
                ("more", values()),
            ]),
            438,
        ),
        (batch(vec![("time", text()), ("value", values())]), 438),
        (batch(vec![("time", times()), ("value", text())]), 438),
        (
            batch(vec![
                ("time", Arc::new(Int64Array::from(vec![None]))),
                ("value", values()),
            ]),
            425,
        ),
        (
            batch(vec![
                ("time", times()),
                ("value", Arc::new(Float64Array::from(vec![None]))),
            ]),
            425,
        ),
        (
            batch(vec![
                (
                    "time",
                    Arc::new(TimestampMillisecondArray::from(vec![i64::MAX])),
                ),
                ("value", values()),
            ]),
            413,
        ),
        // Types are told of no rows, too.
        (ipc(&Schema::new(vec![float("a"), float("b")]), &[]), 438),
    ] {
        let refused = one(server
            .client()
            .arrow_insert(arrow_insert(&uuid, bytes))
            .await);
        let (number, message) = refused.expect_err("refused");
        assert_eq!(number, code, "{message}");
    }
    assert_eq!(server.points(&uuid, 0).await, Ok(vec![]));
}

/// A few compressed bytes can become, or say that they become, more than there is memory.
#[tokio::test]
async fn compressed_arrow_is_refused() {
    let server = Server::start().await;
    let uuid = server.stream(1).await;
    let options = IpcWriteOptions::default()
        .try_with_compression(Some(CompressionType::LZ4_FRAME))
        .expect("a format that has compression");
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), &points_schema(), options)
        .expect("a schema");
    let points: Vec<_> = (0..1000).map(|time| (time, 0.0)).collect();
    writer.write(&points_batch(&points)).expect("a batch");
    let bytes = Bytes::from(writer.into_inner().expect("an end"));
    let refused = one(server
        .client()
        .arrow_insert(arrow_insert(&uuid, bytes))
        .await);
    let (code, message) = refused.expect_err("refused");
    assert_eq!(code, 438);
    assert!(message.contains("compressed"), "{message}");
}

/// Bytes flipped at random: refused, or taken for what they are, and the server lives on.
#[tokio::test]
async fn damaged_arrow_does_no_harm() {
    let server = Server::start().await;
    let uuid = server.stream(1).await;
    let whole = ipc(&points_schema(), &[points_batch(&[(1, 1.0), (2, 2.0)])]);
    let mut client = server.client();
    for at in (0..whole.len()).step_by(3) {
        for value in [0, 0x7f, 0xff] {
            let mut bytes = whole.to_vec();
            bytes[at] = value;
            let template_bytes = Bytes::from(bytes);
            let params = arrow_insert(&uuid, template_bytes.clone());
            let _refused_or_taken = one(client.arrow_insert(params).await);
            let params = arrow_raw(&uuid, 0, 1, template_bytes);
            let _refused_or_taken = many(client.arrow_raw_values(params).await).await;
        }
    }
    assert!(server.insert(&uuid, &[(3, 3.0)]).await.is_ok());
}

#[tokio::test]
async fn deletes_make_versions_and_keep_the_old_ones() {
    let server = Server::start().await;
    let uuid = server.stream_of(1, &[(1, 1.0), (2, 2.0), (3, 3.0)]).await;
    let delete = async |uuid: &Bytes, start, end| {
        let params = DeleteParams {
            uuid: uuid.clone(),
            start,
            end,
        };
        let answer = one(server.client().delete(params).await)?;
        assert_eq!(answer.version_minor, 0);
        Ok::<_, Failure>(answer.version_major)
    };
    assert_eq!(delete(&uuid, 2, 3).await, Ok(12));
    assert_eq!(
        delete(&uuid, 2, 3).await,
        Ok(13),
        "even if there was nothing"
    );
    assert_eq!(server.points(&uuid, 0).await, Ok(vec![(1, 1.0), (3, 3.0)]));
    assert_eq!(
        server.points(&uuid, 11).await.map(|points| points.len()),
        Ok(3)
    );
    assert_eq!(delete(&uuid, 3, 3).await.expect_err("empty").0, 413);
    for (start, end) in [(MIN_TIME - 1, 0), (0, MAX_TIME + 1)] {
        let (code, message) = delete(&uuid, start, end).await.expect_err("outside");
        assert_eq!(code, 413);
        assert!(
            message.starts_with("delete time range out of bounds"),
            "{message}"
        );
    }
    assert_eq!(delete(&id(9), 0, 1).await.expect_err("unknown").0, 404);
    let flush = async |uuid: &Bytes| {
        one(server
            .client()
            .flush(FlushParams { uuid: uuid.clone() })
            .await)
    };
    assert_eq!(
        flush(&uuid).await.map(|answer| answer.version_major),
        Ok(13)
    );
    assert_eq!(flush(&id(9)).await.expect_err("unknown").0, 404);
}
