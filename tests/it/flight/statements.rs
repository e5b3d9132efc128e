//! Queries and prepared statements of Flight SQL: what is declared is delivered.

use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type, Schema};
use tonic::Code;

use super::*;

const STATEMENTS: &[&str] = &[
    "SELECT 1",
    "SELECT 'a' || 'b' AS text, NULL AS nothing",
    "SELECT * FROM streams",
    "SELECT * FROM collections",
    "SELECT * FROM points",
    "SELECT * FROM lab.a",
    "SELECT time, value FROM raw_values('lab/a')",
    "SELECT * FROM windows('lab/a', INTERVAL '1 second')",
    "SELECT * FROM aligned_windows('lab/a', 30)",
    "SELECT count(*), min(value), max(value), avg(value), stddev(value) FROM lab.a",
    "SELECT min(time), max(time) FROM lab.a",
    "SELECT date_bin(INTERVAL '1 second', time) AS bin, count(*), avg(value) FROM lab.a GROUP BY bin ORDER BY bin",
    "SELECT name, count(*) AS n FROM points GROUP BY name",
    "SELECT s.unit, p.value FROM points AS p JOIN streams AS s ON p.uuid = s.uuid LIMIT 5",
    "SELECT * FROM lab.a WHERE value > 1e9",
    "EXPLAIN SELECT * FROM lab.a",
    "SELECT table_name FROM information_schema.tables",
];

async fn filled() -> Server {
    let server = Server::start().await;
    let mut client = server.flight().await;
    put(&mut client, path(&["lab", "a"]), vec![points(0..5_000)])
        .await
        .expect("a put");
    server
}

#[tokio::test]
async fn what_is_declared_is_delivered_to_the_nullability() {
    let server = filled().await;
    let mut client = server.sql().await;
    for sql in STATEMENTS {
        let info = client
            .execute((*sql).to_owned(), None)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
        let declared = info.clone().try_decode_schema().expect("a schema");
        let ticket = info.endpoint[0].ticket.clone().expect("a ticket");
        let mut stream = client.do_get(ticket).await.expect("a stream");
        while let Some(batch) = stream
            .try_next()
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"))
        {
            assert_eq!(*batch.schema(), declared, "{sql}");
        }
        let delivered = stream.schema().expect("a schema, even without rows");
        assert_eq!(**delivered, declared, "{sql}");
        let prepared = client
            .prepare((*sql).to_owned(), None)
            .await
            .expect("prepared");
        assert_eq!(
            *prepared.dataset_schema().expect("a schema"),
            declared,
            "{sql}"
        );
    }
}

#[tokio::test]
async fn parameters_are_bound_by_position_into_a_new_handle() {
    let server = filled().await;
    let mut client = server.sql().await;
    let mut prepared = client
        .prepare(
            "SELECT count(*) AS n, max(value) AS top FROM lab.a WHERE value >= $1 AND value < $2"
                .to_owned(),
            None,
        )
        .await
        .expect("prepared");
    let parameters: &Schema = prepared.parameter_schema().expect("a schema");
    assert_eq!(parameters.fields().len(), 2);
    assert!(parameters.fields().iter().all(|field| field.is_nullable()));
    // Not bound yet.
    let error = prepared.execute().await.expect_err("not bound");
    assert!(error.to_string().contains("2 parameters"), "{error}");
    for (low, high) in [(10, 20), (0, 5_000)] {
        let row = RecordBatch::try_from_iter([
            ("0", Arc::new(Int64Array::from(vec![low])) as ArrayRef),
            ("1", Arc::new(Int64Array::from(vec![high]))),
        ])
        .expect("a row");
        prepared.set_parameters(row).expect("set");
        let info = prepared.execute().await.expect("executed");
        let ticket = info.endpoint[0].ticket.clone().expect("a ticket");
        let batches: Vec<RecordBatch> = client
            .do_get(ticket)
            .await
            .expect("a stream")
            .try_collect()
            .await
            .expect("rows");
        let count = batches[0].column(0).as_primitive::<Int64Type>().value(0);
        let top = batches[0].column(1).as_primitive::<Float64Type>().value(0);
        assert_eq!((count, top), (high - low, (high - 1) as f64));
    }
    prepared.close().await.expect("closed");
}

#[tokio::test]
async fn statements_that_write_are_refused_and_say_what_to_do() {
    let server = filled().await;
    let mut client = server.flight().await;
    for sql in [
        "CREATE TABLE t (a INT)",
        "COPY (SELECT 1) TO '/tmp/never.csv'",
        "DROP TABLE streams",
    ] {
        let (code, message) = failure(rows(&mut client, sql).await);
        assert!(
            matches!(code, Code::Unimplemented | Code::InvalidArgument),
            "{sql}: {code:?} {message}"
        );
    }
}

#[tokio::test]
async fn headers_change_one_call() {
    let server = filled().await;
    let mut client = server.flight().await;
    let sql = "SELECT count(*), sum(value) FROM lab.a";
    let pushed = rows(&mut client, sql).await.expect("rows");
    client
        .add_header("x-btrdb-pushdown", "false")
        .expect("a header");
    let unpushed = rows(&mut client, sql).await.expect("rows");
    assert_eq!(pushed, unpushed);
    client
        .add_header("x-btrdb-pushdown", "maybe")
        .expect("a header");
    assert_eq!(
        failure(rows(&mut client, sql).await).0,
        Code::InvalidArgument
    );
}
