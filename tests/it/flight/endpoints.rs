//! Answers in several endpoints: one after the other they are the answer.

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow_flight::{FlightDescriptor, FlightInfo};
use futures::TryStreamExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::*;

const HEADER: &str = "x-btrdb-endpoints";

/// Points in no regular order of time: bursts, gaps, and several at one time.
fn irregular(random: &mut StdRng, count: usize) -> RecordBatch {
    let mut time = -1_000_000_000_i64;
    let times: Vec<i64> = (0..count)
        .map(|_| {
            time += match random.random_range(0..1_000) {
                0 => 50_000_000_000,
                1..200 => 0,
                _ => random.random_range(1..2_000_000),
            };
            time
        })
        .collect();
    let values = (0..count).map(|_| f64::from(random.random_range(-500..500)));
    let times = TimestampNanosecondArray::from(times).with_timezone("UTC");
    RecordBatch::try_from_iter([
        ("time", Arc::new(times) as ArrayRef),
        ("value", Arc::new(Float64Array::from_iter_values(values))),
    ])
    .expect("columns of one length")
}

async fn filled(seed: u64, count: usize) -> (Server, RecordBatch) {
    let server = Server::start().await;
    let mut client = server.flight().await;
    let batch = irregular(&mut StdRng::seed_from_u64(seed), count);
    for name in ["a", "b"] {
        put(&mut client, path(&["lab", name]), vec![batch.clone()])
            .await
            .expect("a put");
    }
    (server, batch)
}

async fn asking(server: &Server, endpoints: usize) -> FlightClient {
    let mut client = server.flight().await;
    client
        .add_header(HEADER, &endpoints.to_string())
        .expect("a header");
    client
}

async fn info(client: &mut FlightClient, sql: &str) -> FlightInfo {
    let descriptor = FlightDescriptor::new_cmd(sql.to_owned());
    client
        .get_flight_info(descriptor)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"))
}

/// What each endpoint delivers.
async fn parts(client: &mut FlightClient, info: &FlightInfo) -> Vec<RecordBatch> {
    let schema = Arc::new(info.clone().try_decode_schema().expect("a schema"));
    let mut parts = Vec::new();
    for endpoint in &info.endpoint {
        let ticket = endpoint.ticket.clone().expect("a ticket");
        let rows: Vec<_> = client
            .do_get(ticket)
            .await
            .expect("a stream")
            .try_collect()
            .await
            .expect("rows");
        parts.push(concat_batches(&schema, &rows).expect("one schema"));
    }
    parts
}

async fn whole(client: &mut FlightClient, info: &FlightInfo) -> RecordBatch {
    let schema = Arc::new(info.clone().try_decode_schema().expect("a schema"));
    let parts = parts(client, info).await;
    concat_batches(&schema, &parts).expect("one schema")
}

/// A statement whose rows have a definite order.
fn statement(random: &mut StdRng) -> String {
    let low = random.random_range(-2_000_000_000_i64..40_000_000_000);
    let high = low + random.random_range(0..400_000_000_000_i64);
    let condition = [
        String::new(),
        format!("WHERE time >= to_timestamp_nanos({low})"),
        format!("WHERE time >= to_timestamp_nanos({low}) AND time < to_timestamp_nanos({high})"),
        format!("WHERE time < to_timestamp_nanos({low}) OR time >= to_timestamp_nanos({high})"),
        format!("WHERE value > {}", random.random_range(-600..600)),
        format!(
            "WHERE time <= to_timestamp_nanos({high}) AND abs(value) > {}",
            random.random_range(0..600)
        ),
    ];
    let condition = condition.choose(random).expect("some");
    let source = ["lab.a", "raw_values('lab/a')", "lab.a AS x"];
    let source = source.choose(random).expect("some");
    let order = ["ASC", "DESC"].choose(random).expect("some");
    let width = random.random_range(1..20_000);
    match random.random_range(0..5) {
        0 => format!("SELECT time, value FROM {source} {condition} ORDER BY time {order}, value"),
        1 => format!(
            "SELECT value * 2 AS twice, time AS at FROM {source} {condition} ORDER BY at {order}, twice DESC"
        ),
        2 => format!(
            "SELECT at, v FROM (SELECT time AS at, value AS v FROM {source} {condition}) AS y ORDER BY at {order}, v"
        ),
        3 => format!("SELECT time, value FROM {source} ORDER BY time {order}"),
        _ => format!(
            "SELECT date_bin(INTERVAL '{width} milliseconds', time) AS bucket, count(*) AS n, max(value) AS high \
             FROM {source} {condition} GROUP BY bucket ORDER BY bucket {order}"
        ),
    }
}

#[tokio::test]
async fn endpoints_one_after_the_other_are_the_answer() {
    const SEED: u64 = 20_261_127;
    let (server, _) = filled(SEED, 30_000).await;
    let random = &mut StdRng::seed_from_u64(SEED);
    let mut plain = server.flight().await;
    let mut divided = 0;
    for round in 0..60 {
        let sql = statement(random);
        let count = random.random_range(2..=9);
        let one = info(&mut plain, &sql).await;
        assert_eq!(one.endpoint.len(), 1);
        let expected = whole(&mut plain, &one).await;
        let mut client = asking(&server, count).await;
        let several = info(&mut client, &sql).await;
        assert!(several.ordered);
        assert!(several.endpoint.len() <= count);
        assert_eq!(several.schema, one.schema);
        // The tickets are good for any client.
        let answered = whole(&mut plain, &several).await;
        assert_eq!(
            answered, expected,
            "seed {SEED}, round {round}, {count} of: {sql}"
        );
        for info in [&one, &several] {
            let known = info.total_records;
            assert!(
                known == -1 || known == expected.num_rows() as i64,
                "{known} rows announced, {} delivered: {sql}",
                expected.num_rows()
            );
        }
        divided += usize::from(several.endpoint.len() > 1);
    }
    if !subject::is_loop() {
        assert!(divided >= 20, "only {divided} of 60 were divided");
    }
}

#[tokio::test]
async fn parts_are_about_equal_and_the_rows_of_a_scan_are_known() {
    if subject::is_loop() {
        // A store that numbers no states gives each reader its own: its answers stay in one piece.
        return;
    }
    let (server, batch) = filled(7, 100_000).await;
    let mut client = asking(&server, 4).await;
    let info = info(&mut client, "SELECT time, value FROM lab.a").await;
    assert_eq!(info.total_records, 100_000);
    assert_eq!(info.endpoint.len(), 4);
    let parts = parts(&mut client, &info).await;
    for part in &parts {
        let rows = part.num_rows();
        assert!((20_000..=30_000).contains(&rows), "{rows} rows");
    }
    let together = concat_batches(&parts[0].schema(), &parts).expect("one schema");
    assert_eq!(together.columns(), batch.columns());
}

#[tokio::test]
async fn every_endpoint_reads_the_state_of_the_first() {
    if subject::is_loop() {
        return;
    }
    let (server, batch) = filled(8, 10_000).await;
    let mut client = asking(&server, 3).await;
    let info = info(&mut client, "SELECT time, value FROM lab.a").await;
    let later: Vec<serde_json::Value> = put(&mut client, path(&["lab", "a"]), vec![batch.clone()])
        .await
        .expect("a put");
    assert!(!later.is_empty());
    let read = whole(&mut client, &info).await;
    assert_eq!(read.columns(), batch.columns());
}

#[tokio::test]
async fn what_cannot_be_divided_stays_whole() {
    let (server, _) = filled(9, 5_000).await;
    let mut client = asking(&server, 4).await;
    for sql in [
        "SELECT time, value FROM lab.a LIMIT 100",
        "SELECT time, value FROM lab.a ORDER BY time LIMIT 100",
        "SELECT time, value FROM lab.a ORDER BY value, time",
        "SELECT count(*) FROM lab.a",
        "SELECT DISTINCT value FROM lab.a ORDER BY value",
        "SELECT a.time, a.value, b.value AS other FROM lab.a JOIN lab.b ON a.time = b.time ORDER BY a.time LIMIT 10",
        "SELECT time, value - lag(value) OVER (ORDER BY time) AS step FROM lab.a ORDER BY time",
        "SELECT time, value FROM lab.a WHERE value > (SELECT avg(value) FROM lab.b) ORDER BY time",
        "SELECT time, random() AS noise FROM lab.a ORDER BY time",
        "SELECT time FROM lab.a UNION ALL SELECT time FROM lab.b ORDER BY time",
        "SELECT 1",
        "EXPLAIN SELECT time, value FROM lab.a",
    ] {
        let info = info(&mut client, sql).await;
        assert_eq!(info.endpoint.len(), 1, "{sql}");
        whole(&mut client, &info).await;
    }
}

#[tokio::test]
async fn a_number_of_endpoints_that_makes_no_sense_is_refused() {
    let server = Server::start().await;
    for senseless in ["0", "65", "-1", "two"] {
        let mut client = server.flight().await;
        client.add_header(HEADER, senseless).expect("a header");
        let (code, message) = failure(rows(&mut client, "SELECT 1").await);
        assert_eq!(code, tonic::Code::InvalidArgument);
        assert!(message.contains("1 to 64"), "{message}");
    }
}
