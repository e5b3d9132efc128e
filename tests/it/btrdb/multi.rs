//! Streams side by side.

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Float32Type, Float64Type, TimestampNanosecondType};

use super::*;

const SECOND: i64 = 1_000_000_000;

fn params(uuids: &[Bytes], start: i64, end: i64, snap_period_ns: i64) -> ArrowMultiValuesParams {
    ArrowMultiValuesParams {
        uuid: uuids.to_vec(),
        version_major: vec![0; uuids.len()],
        start,
        end,
        snap_period_ns,
        template_bytes: Bytes::new(),
    }
}

fn schema(uuids: &[Bytes]) -> SchemaRef {
    let named = uuids
        .iter()
        .map(|uuid| Uuid::from_slice(uuid).expect("16 bytes"));
    let columns = named.map(|uuid| float(uuid.hyphenated().to_string()));
    let fields: Vec<Field> = std::iter::once(time()).chain(columns).collect();
    Arc::new(Schema::new(fields))
}

/// Times, and a column of values for each stream, NaN where there is none.
async fn read(
    server: &Server,
    params: ArrowMultiValuesParams,
) -> Outcome<(Vec<i64>, Vec<Vec<f64>>)> {
    let schema = schema(&params.uuid);
    let answers = many(server.client().arrow_multi_values(params).await).await?;
    let found = table(&schema, answers.into_iter().map(|m| m.arrow_bytes));
    let times = found
        .column(0)
        .as_primitive::<TimestampNanosecondType>()
        .values()
        .to_vec();
    let columns = found.columns()[1..].iter().map(|column| {
        assert_eq!(column.null_count(), 0);
        column.as_primitive::<Float64Type>().values().to_vec()
    });
    Ok((times, columns.collect()))
}

/// Equal, where NaN equals NaN.
fn same(found: &[f64], expected: &[f64]) {
    let bits = |values: &[f64]| -> Vec<Option<u64>> {
        values
            .iter()
            .map(|value| (!value.is_nan()).then_some(value.to_bits()))
            .collect()
    };
    assert_eq!(bits(found), bits(expected), "{found:?}, not {expected:?}");
}

#[tokio::test]
async fn values_snap_to_the_grid_of_the_start() {
    let server = Server::start().await;
    let half = SECOND / 2;
    let uuids = [
        server.stream_of(1, &[(half, 0.5), (2 * SECOND, 2.0)]).await,
        server
            .stream_of(2, &[(half - 1, 0.5), (2 * SECOND, 2.0)])
            .await,
        server
            .stream_of(3, &[(SECOND, 1.0), (2 * SECOND, 2.0)])
            .await,
    ];
    let (times, columns) = read(&server, params(&uuids, SECOND, 3 * SECOND, SECOND))
        .await
        .expect("rows");
    assert_eq!(times, [SECOND, 2 * SECOND]);
    same(&columns[0], &[0.5, 2.0]);
    same(&columns[1], &[f64::NAN, 2.0]);
    same(&columns[2], &[1.0, 2.0]);
    let late = [server
        .stream_of(
            4,
            &[(SECOND, 1.0), (2 * SECOND, 2.0), (2_750_000_000, 2.75)],
        )
        .await];
    for end in [3 * SECOND, 2_900_000_000] {
        let (times, columns) = read(&server, params(&late, SECOND, end, SECOND))
            .await
            .expect("rows");
        assert_eq!(times, [SECOND, 2 * SECOND]);
        same(&columns[0], &[1.0, 2.0]);
    }
}

#[tokio::test]
async fn exact_times_are_joined_outwards() {
    let server = Server::start().await;
    let a = server
        .stream_of(1, &[(1, 1.0), (2, 2.0), (2, 2.5), (4, 4.0)])
        .await;
    let b = server.stream_of(2, &[(2, -2.0), (3, -3.0)]).await;
    let (times, columns) = read(&server, params(&[a.clone(), b.clone()], 0, 4, 0))
        .await
        .expect("rows");
    assert_eq!(times, [1, 2, 3]);
    same(&columns[0], &[1.0, 2.5, f64::NAN]);
    same(&columns[1], &[f64::NAN, -2.0, -3.0]);
    let (_, columns) = read(&server, params(&[b.clone(), b.clone()], 0, 9, 0))
        .await
        .expect("rows");
    assert_eq!(columns[0], columns[1], "a stream may stand twice");
    let old = ArrowMultiValuesParams {
        version_major: vec![10, 0],
        ..params(&[a, b], 0, 9, 0)
    };
    let (times, columns) = read(&server, old).await.expect("rows");
    assert_eq!(times, [2, 3]);
    same(&columns[0], &[f64::NAN; 2]);
}

#[tokio::test]
async fn nothing_still_has_columns() {
    let server = Server::start().await;
    let uuids = [
        server.stream(1).await,
        server.stream_of(2, &[(100, 1.0)]).await,
    ];
    let answers = many(
        server
            .client()
            .arrow_multi_values(params(&uuids, 0, 10, 0))
            .await,
    )
    .await;
    let answers = answers.expect("no error");
    assert_eq!(answers.len(), 1);
    let found = table(&schema(&uuids), answers.into_iter().map(|m| m.arrow_bytes));
    assert_eq!((found.num_rows(), found.num_columns()), (0, 3));
    let template = Schema::new(vec![
        time(),
        float("a"),
        Field::new("b", DataType::Float32, true),
    ]);
    let templated = ArrowMultiValuesParams {
        template_bytes: ipc(&template, &[]),
        ..params(&uuids, 0, 10, 0)
    };
    let answers = many(server.client().arrow_multi_values(templated).await).await;
    let found = table(
        &Arc::new(template),
        answers
            .expect("no error")
            .into_iter()
            .map(|m| m.arrow_bytes),
    );
    assert_eq!(found.num_rows(), 0);
}

#[tokio::test]
async fn a_missing_value_stays_nan_in_any_type() {
    let server = Server::start().await;
    let uuids = [
        server.stream_of(1, &[(1, 1.5)]).await,
        server.stream_of(2, &[(2, 2.5)]).await,
    ];
    let template = Schema::new(vec![
        time(),
        float("a"),
        Field::new("b", DataType::Float32, false),
    ]);
    let templated = ArrowMultiValuesParams {
        template_bytes: ipc(&template, &[]),
        ..params(&uuids, 0, 10, 0)
    };
    let answers = many(server.client().arrow_multi_values(templated).await).await;
    let found = table(
        &Arc::new(template),
        answers.expect("rows").into_iter().map(|m| m.arrow_bytes),
    );
    same(
        found.column(1).as_primitive::<Float64Type>().values(),
        &[1.5, f64::NAN],
    );
    let narrow = found.column(2).as_primitive::<Float32Type>();
    assert!(narrow.value(0).is_nan() && narrow.value(1) == 2.5 && narrow.null_count() == 0);
}

#[tokio::test]
async fn wide_rows_are_cut_into_messages() {
    let server = Server::start().await;
    let mut uuids = Vec::new();
    for number in 0..40_u32 {
        let points: Vec<_> = (0..5000).map(|i| (i * 10, f64::from(number))).collect();
        uuids.push(server.stream_of(number.into(), &points).await);
    }
    let answers = many(
        server
            .client()
            .arrow_multi_values(params(&uuids, 0, 50_000, 0))
            .await,
    )
    .await;
    let sizes: Vec<_> = answers
        .expect("rows")
        .iter()
        .map(|m| m.arrow_bytes.len())
        .collect();
    assert!(
        sizes.len() > 1 && sizes.iter().all(|&size| size < 5 << 18),
        "{sizes:?}"
    );
    let (times, columns) = read(&server, params(&uuids, 0, 50_000, 0))
        .await
        .expect("rows");
    assert_eq!(times, (0..5000).map(|i| i * 10).collect::<Vec<i64>>());
    for (number, column) in columns.iter().enumerate() {
        assert!(column.iter().all(|&value| value == number as f64));
    }
}

#[tokio::test]
async fn senseless_joins_are_refused() {
    let server = Server::start().await;
    let uuid = server.stream_of(1, &[(1, 1.0)]).await;
    let known = [uuid.clone()];
    let code = async |params| read(&server, params).await.expect_err("refused").0;
    assert_eq!(code(params(&[], 0, 1, 0)).await, 438);
    let versions = ArrowMultiValuesParams {
        version_major: vec![0, 0],
        ..params(&known, 0, 1, 0)
    };
    assert_eq!(code(versions).await, 438);
    assert_eq!(code(params(&known, 0, 1, -1)).await, 438);
    assert_eq!(code(params(&known, 1, 1, 0)).await, 413);
    assert_eq!(code(params(&known, MIN_TIME - 1, 1, 0)).await, 413);
    assert_eq!(code(params(&[uuid.clone(), id(9)], 0, 1, 0)).await, 404);
    let future = ArrowMultiValuesParams {
        version_major: vec![12],
        ..params(&known, 0, 1, 0)
    };
    assert_eq!(code(future).await, 450);
    let template = ArrowMultiValuesParams {
        template_bytes: ipc(&points_schema(), &[]),
        ..params(&[uuid.clone(), uuid.clone()], 0, 1, 0)
    };
    assert_eq!(code(template).await, 438, "three columns, not two");
    let (times, _) = read(&server, params(&known, 0, 10, i64::MAX))
        .await
        .expect("one line");
    assert_eq!(times, [0]);
}
