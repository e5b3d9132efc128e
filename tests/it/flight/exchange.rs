//! Live tails: new points, filtered and projected, for as long as somebody reads.

use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type, TimestampNanosecondType};
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::sql::{CommandStatementQuery, ProstMessageExt};
use arrow_flight::{FlightData, FlightDescriptor};
use btrdb_flight::model::{InsertOptions, StreamDescriptor, StreamId, Tags, Write};
use btrdb_flight::query::SessionOptions;
use futures::channel::mpsc;
use futures::{SinkExt, StreamExt};
use prost::Message;
use tonic::Code;
use uuid::Uuid;

use super::*;

/// A tail that is read, and its writing side: dropping that half-closes it.
struct Tail {
    send: mpsc::Sender<Result<FlightData, FlightError>>,
    answers: FlightRecordBatchStream,
}

impl Tail {
    async fn open(client: &mut FlightClient, descriptor: FlightDescriptor) -> Self {
        let mut tail = Self::try_open(client, descriptor).await.expect("a tail");
        // The schema comes when the subscription has begun.
        let first = tokio::time::timeout(Duration::from_millis(100), tail.answers.next()).await;
        assert!(first.is_err() || tail.answers.schema().is_some());
        tail
    }

    async fn try_open(
        client: &mut FlightClient,
        descriptor: FlightDescriptor,
    ) -> Result<Self, FlightError> {
        let (mut send, receive) = mpsc::channel(4);
        let first = FlightData::new().with_descriptor(descriptor);
        send.try_send(Ok(first)).expect("room");
        let answers = client.do_exchange(receive).await?;
        Ok(Self { send, answers })
    }

    /// The next rows, whatever signs of life there are in between.
    async fn next(&mut self) -> Option<Result<RecordBatch, FlightError>> {
        let next = async {
            loop {
                match self.answers.next().await {
                    Some(Ok(batch)) if batch.num_rows() == 0 => {}
                    next => return next,
                }
            }
        };
        let next = tokio::time::timeout(Duration::from_secs(20), next).await;
        next.expect("in time")
    }

    async fn rows(&mut self) -> RecordBatch {
        self.next().await.expect("rows").expect("no error")
    }
}

fn sql(text: &str) -> FlightDescriptor {
    FlightDescriptor::new_cmd(text.to_owned())
}

fn numbers(batch: &RecordBatch, column: usize) -> Vec<f64> {
    let column = batch.column(column).as_primitive::<Float64Type>();
    column.values().to_vec()
}

/// Over a wire, nobody says when a subscription has begun: these tests put once and wait.
fn begins_when_told() -> bool {
    !subject::is_loop()
}

#[tokio::test]
async fn a_stream_is_followed_from_now_on() {
    if !begins_when_told() {
        return;
    }
    let server = Server::start().await;
    let mut client = server.flight().await;
    let mut writer = server.flight().await;
    let versions = put(&mut writer, path(&["lab", "a"]), vec![points(0..10)])
        .await
        .expect("a put");
    let uuid = versions[0].as_object().expect("an object").keys().next();
    let uuid = uuid.expect("a stream").clone();
    let text = CommandStatementQuery {
        query: "SELECT * FROM lab.a".to_owned(),
        transaction_id: None,
    };
    for descriptor in [
        path(&["lab", "a"]),
        path(&["lab/a"]),
        path(&[&uuid]),
        sql("SELECT time, value FROM lab.a"),
        sql("lab/a"),
        FlightDescriptor::new_cmd(text.as_any().encode_to_vec()),
    ] {
        let mut tail = Tail::open(&mut client, descriptor).await;
        put(&mut writer, path(&["lab", "other"]), vec![points(0..5)])
            .await
            .expect("a put");
        let sent = points(10..20);
        put(&mut writer, path(&["lab", "a"]), vec![sent.clone()])
            .await
            .expect("a put");
        let rows = tail.rows().await;
        assert_eq!(rows.columns(), sent.columns(), "as they were sent");
    }
}

#[tokio::test]
async fn rows_are_filtered_and_projected() {
    if !begins_when_told() {
        return;
    }
    let server = Server::start().await;
    let mut client = server.flight().await;
    let mut writer = server.flight().await;
    let all = ["La", "Lb", "V"];
    put(
        &mut writer,
        path(&["points"]),
        vec![long("pmu", &all, 0..3)],
    )
    .await
    .expect("a put");
    let mut tail = Tail::open(
        &mut client,
        sql(
            "SELECT p.name || '!' AS who, value * 2 AS twice, time FROM points AS p \
             WHERE p.collection = 'pmu' AND p.name LIKE 'L%' AND p.value > 60.5 AND time < now()",
        ),
    )
    .await;
    put(
        &mut writer,
        path(&["points"]),
        vec![long("pmu", &all, 57..66)],
    )
    .await
    .expect("a put");
    let mut seen: Vec<(String, f64)> = Vec::new();
    let mut times = Vec::new();
    // Each stream's rows are a write, and whether two of them come together is chance.
    while seen.len() < 3 {
        let rows = tail.rows().await;
        let schema = rows.schema();
        let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        assert_eq!(names, ["who", "twice", "time"]);
        let who = rows.column(0).as_string::<i32>();
        let who = who.iter().map(|name| name.expect("a name").to_owned());
        seen.extend(who.zip(numbers(&rows, 1)));
        times.extend_from_slice(
            rows.column(2)
                .as_primitive::<TimestampNanosecondType>()
                .values(),
        );
    }
    seen.sort_by(|a, b| a.1.total_cmp(&b.1));
    // 57 is La's, 58 Lb's, 59 V's, and so on.
    let expected = [("Lb!", 122.0), ("La!", 126.0), ("Lb!", 128.0)];
    let expected = expected.map(|(name, value)| (name.to_owned(), value));
    assert_eq!(seen, expected);
    assert!(times.contains(&61_000_000));
}

#[tokio::test]
async fn prefixes_and_all_points_are_followed_with_their_names() {
    if !begins_when_told() {
        return;
    }
    let server = Server::start().await;
    let mut client = server.flight().await;
    let mut writer = server.flight().await;
    for collection in ["pmu", "pmu/one", "pmux"] {
        put(&mut writer, path(&[collection, "a"]), vec![points(0..1)])
            .await
            .expect("a put");
    }
    for (descriptor, expected) in [
        (path(&["pmu/*"]), vec!["pmu", "pmu/one"]),
        (path(&["points"]), vec!["pmu", "pmu/one", "pmux"]),
    ] {
        let mut tail = Tail::open(&mut client, descriptor).await;
        for collection in ["pmux", "pmu/one", "pmu"] {
            put(&mut writer, path(&[collection, "a"]), vec![points(1..2)])
                .await
                .expect("a put");
        }
        let mut seen = Vec::new();
        while seen.len() < expected.len() {
            let rows = tail.rows().await;
            let collections = rows.column_by_name("collection").expect("a column");
            let collections = collections.as_string::<i32>();
            seen.extend(
                collections
                    .iter()
                    .map(|name| name.expect("text").to_owned()),
            );
        }
        seen.sort();
        assert_eq!(seen, expected);
    }
}

#[tokio::test]
async fn a_tail_over_the_wire_begins_a_moment_later() {
    let server = Server::start().await;
    let mut client = server.flight().await;
    let mut writer = server.flight().await;
    put(&mut writer, path(&["lab", "a"]), vec![points(0..1)])
        .await
        .expect("a put");
    let mut tail = Tail::open(&mut client, path(&["lab", "a"])).await;
    // Whether the subscription has begun is told by the first point that arrives.
    let mut sent = 0;
    let first = loop {
        sent += 1;
        put(
            &mut writer,
            path(&["lab", "a"]),
            vec![points(sent..sent + 1)],
        )
        .await
        .expect("a put");
        let next = tokio::time::timeout(Duration::from_millis(200), tail.next()).await;
        if let Ok(next) = next {
            break next.expect("rows").expect("no error");
        }
        assert!(sent < 100, "nothing ever arrives");
    };
    assert!(numbers(&first, 1)[0] <= sent as f64);
}

#[tokio::test]
async fn what_cannot_be_answered_row_by_row_is_refused_with_the_reason() {
    let server = Server::start().await;
    let mut client = server.flight().await;
    put(&mut client, path(&["lab", "a"]), vec![points(0..1)])
        .await
        .expect("a put");
    for (descriptor, code, said) in [
        (
            sql("SELECT count(*) FROM points"),
            Code::Unimplemented,
            "an aggregate",
        ),
        (
            sql("SELECT time FROM points ORDER BY time"),
            Code::Unimplemented,
            "ORDER BY",
        ),
        (
            sql("SELECT DISTINCT name FROM points"),
            Code::Unimplemented,
            "DISTINCT",
        ),
        (
            sql("SELECT p.time FROM points p JOIN streams s ON p.uuid = s.uuid"),
            Code::Unimplemented,
            "a join",
        ),
        (
            sql("SELECT time, lag(value) OVER (ORDER BY time) FROM lab.a"),
            Code::Unimplemented,
            "a window function",
        ),
        (
            sql("SELECT * FROM points WHERE uuid IN (SELECT uuid FROM streams)"),
            Code::Unimplemented,
            "a sub-query",
        ),
        (
            sql("SELECT * FROM lab.a UNION ALL SELECT * FROM lab.a"),
            Code::Unimplemented,
            "UNION",
        ),
        (
            sql("SELECT * FROM streams"),
            Code::Unimplemented,
            "cannot follow",
        ),
        (path(&["streams"]), Code::Unimplemented, "cannot follow"),
        (
            sql("SELECT * FROM windows('lab/a', INTERVAL '1 second')"),
            Code::Unimplemented,
            "cannot follow",
        ),
        (sql("SELECT 1 + 1"), Code::Unimplemented, "without a table"),
        (
            sql("SET btrdb.pushdown = false"),
            Code::Unimplemented,
            "SELECT",
        ),
        (
            sql("SELECT * FROM lab.\"a@10\""),
            Code::InvalidArgument,
            "never changes",
        ),
        (
            path(&["lab", "a@10"]),
            Code::InvalidArgument,
            "never changes",
        ),
        (
            sql("SELECT * FROM lab.a WHERE value > $1"),
            Code::InvalidArgument,
            "parameters",
        ),
        (path(&["lab", "b"]), Code::NotFound, "lab/b"),
        (sql("SELEC"), Code::InvalidArgument, "SELEC"),
    ] {
        let outcome = Tail::try_open(&mut client, descriptor.clone()).await;
        let (found, message) = failure(outcome.map(|_| ()));
        assert_eq!(found, code, "{descriptor:?}: {message}");
        assert!(message.contains(said), "{descriptor:?}: {message}");
    }
}

#[tokio::test]
async fn an_exchange_takes_a_descriptor_and_nothing_more() {
    let server = Server::start().await;
    let mut client = server.flight().await;
    put(&mut client, path(&["lab", "a"]), vec![points(0..1)])
        .await
        .expect("a put");
    let mut tail = Tail::open(&mut client, path(&["lab", "a"])).await;
    let more = FlightData::new().with_descriptor(path(&["lab", "b"]));
    tail.send.send(Ok(more)).await.expect("sent");
    let (code, message) = failure(tail.next().await.expect("an answer"));
    assert_eq!(code, Code::InvalidArgument);
    assert!(message.contains("another exchange"), "{message}");
    assert!(tail.next().await.is_none(), "it is over");

    let outcome = client
        .do_exchange(futures::stream::iter([Ok(FlightData::new())]))
        .await
        .map(drop);
    let (code, message) = failure(outcome);
    assert_eq!(code, Code::InvalidArgument);
    assert!(message.contains("descriptor"), "{message}");
}

#[tokio::test]
async fn a_client_that_closes_its_side_or_leaves_frees_the_subscription() {
    let server = Server::start().await;
    let mut client = server.flight().await;
    put(&mut client, path(&["lab", "a"]), vec![points(0..1)])
        .await
        .expect("a put");
    // What a tail holds is counted by its share in the backend.
    let idle = Arc::strong_count(&server.backend);
    let mut tail = Tail::open(&mut client, path(&["lab", "a"])).await;
    assert!(Arc::strong_count(&server.backend) > idle);
    drop(std::mem::replace(&mut tail.send, mpsc::channel(1).0));
    assert!(tail.next().await.is_none(), "half-closed");
    freed(&server, idle).await;

    let tail = Tail::open(&mut client, path(&["lab", "a"])).await;
    assert!(Arc::strong_count(&server.backend) > idle);
    drop(tail);
    freed(&server, idle).await;
}

/// Waits until nothing but the server holds the backend, for a second.
async fn freed(server: &Server, idle: usize) {
    let freed = async {
        while Arc::strong_count(&server.backend) > idle {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let freed = tokio::time::timeout(Duration::from_secs(1), freed).await;
    freed.expect("freed within a second");
}

#[tokio::test]
async fn a_limit_ends_the_tail() {
    if !begins_when_told() {
        return;
    }
    let server = Server::start().await;
    let mut client = server.flight().await;
    let mut writer = server.flight().await;
    put(&mut writer, path(&["lab", "a"]), vec![points(0..1)])
        .await
        .expect("a put");
    let text = "SELECT value FROM lab.a WHERE value >= 5 LIMIT 3 OFFSET 1";
    let mut tail = Tail::open(&mut client, sql(text)).await;
    let mut seen = Vec::new();
    for number in 0..20 {
        put(
            &mut writer,
            path(&["lab", "a"]),
            vec![points(number..number + 1)],
        )
        .await
        .expect("a put");
    }
    while let Some(rows) = tail.next().await {
        seen.extend(numbers(&rows.expect("rows"), 0));
    }
    assert_eq!(seen, [6.0, 7.0, 8.0]);
    let mut nothing = Tail::open(&mut client, sql("SELECT value FROM lab.a LIMIT 0")).await;
    assert!(nothing.next().await.is_none());
}

#[tokio::test]
async fn a_round_of_many_streams_is_one_batch_and_a_large_write_is_many() {
    if !begins_when_told() {
        return;
    }
    let server = Server::start().await;
    let mut client = server.flight().await;
    let mut writer = server.flight().await;
    let names: Vec<String> = (0..5_000).map(|number| format!("s{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let batch = long("pmu", &names, 0..5_000);
    put(&mut writer, path(&["points"]), vec![batch.clone()])
        .await
        .expect("a put");
    let text = "SELECT name, value FROM points WHERE collection = 'pmu'";
    let mut tail = Tail::open(&mut client, sql(text)).await;
    put(&mut writer, path(&["points"]), vec![batch])
        .await
        .expect("a put");
    let (mut rows, mut batches) = (0, 0);
    while rows < 5_000 {
        let batch = tail.rows().await;
        let names = batch.column(0).as_string::<i32>();
        for (row, value) in numbers(&batch, 1).into_iter().enumerate() {
            assert_eq!(names.value(row), format!("s{value}"));
        }
        rows += batch.num_rows();
        batches += 1;
    }
    assert!(batches < 50, "{batches} batches for {rows} rows");
    put(&mut writer, path(&["pmu", "s0"]), vec![points(0..400_000)])
        .await
        .expect("a put");
    let mut values = Vec::new();
    while values.len() < 400_000 {
        let batch = tail.rows().await;
        assert!(batch.num_rows() <= 64 * 1024);
        values.extend(numbers(&batch, 1));
    }
    assert!(
        values
            .iter()
            .enumerate()
            .all(|(row, value)| row as f64 == *value)
    );
}

#[tokio::test]
async fn a_reader_that_falls_behind_is_told_so() {
    if !begins_when_told() {
        return;
    }
    let server = Server::start().await;
    let mut client = server.flight().await;
    let mut writer = server.flight().await;
    put(&mut writer, path(&["lab", "a"]), vec![points(0..1)])
        .await
        .expect("a put");
    let mut tail = Tail::open(&mut client, path(&["lab", "a"])).await;
    // Nine million points, of which nobody reads one: more than wait for a reader, and are on their way to it.
    writer
        .add_header("x-btrdb-merge", "retain")
        .expect("a header");
    for _ in 0..9 {
        put(&mut writer, path(&["lab", "a"]), vec![points(0..1_000_000)])
            .await
            .expect("writers do not wait for readers");
    }
    let mut rows = 0;
    let error = loop {
        match tail.next().await.expect("an error ends it") {
            Ok(batch) => rows += batch.num_rows(),
            Err(error) => break error,
        }
    };
    let (code, message) = failure(Err::<(), _>(error));
    assert_eq!(code, Code::ResourceExhausted, "{message}");
    assert!(message.contains("behind"), "{message}");
    assert!(rows < 9_000_000, "{rows} rows");
}

/// A gateway over an engine in memory, without a network: time can be simulated.
async fn gateway() -> (Arc<btrdb_flight::engine::Engine>, Gateway) {
    let engine = btrdb_flight::engine::Engine::memory();
    let backend = Arc::clone(&engine) as Arc<dyn Backend>;
    let gateway = Gateway::new(backend, GatewaySettings::default()).expect("a gateway");
    (engine, gateway)
}

async fn create(backend: &dyn Backend, name: &str) -> StreamId {
    let id = StreamId(Uuid::new_v4());
    let stream = StreamDescriptor {
        id,
        collection: "lab".to_owned(),
        tags: Tags {
            name: name.to_owned(),
            ..Tags::default()
        },
        annotations: Default::default(),
        property_version: 1,
    };
    backend.create(stream).await.expect("created");
    id
}

async fn write(backend: &dyn Backend, stream: StreamId, value: f64) {
    let write = Write {
        stream,
        times: vec![1].into(),
        values: vec![value].into(),
    };
    let outcomes = backend.insert(vec![write], InsertOptions::default()).await;
    for outcome in outcomes {
        outcome.expect("inserted");
    }
}

#[tokio::test(start_paused = true)]
async fn streams_that_come_later_join_and_those_that_go_leave() {
    let (engine, gateway) = gateway().await;
    let first = create(engine.as_ref(), "a").await;
    let sql = "SELECT name, value FROM points WHERE collection = 'lab'";
    let session = SessionOptions::default();
    let tail = gateway.tail(sql, &session).await.expect("a tail");
    let mut rows = tail.follow().await.expect("followed");
    let later = create(engine.as_ref(), "b").await;
    let mut next = async |expected: (&str, f64)| {
        let batch = rows.next().await.expect("rows").expect("no error");
        let name = batch.column(0).as_string::<i32>().value(0).to_owned();
        assert_eq!((name.as_str(), numbers(&batch, 1)[0]), expected);
    };
    write(engine.as_ref(), first, 1.0).await;
    next(("a", 1.0)).await;
    // The streams are chosen anew every five seconds, while somebody waits.
    let waited = tokio::time::timeout(Duration::from_secs(6), next(("b", 0.0))).await;
    waited.expect_err("nothing was inserted");
    write(engine.as_ref(), later, 2.0).await;
    next(("b", 2.0)).await;
    engine.obliterate(first).await.expect("obliterated");
    let waited = tokio::time::timeout(Duration::from_secs(6), next(("a", 0.0))).await;
    waited.expect_err("nothing was inserted");
    write(engine.as_ref(), later, 3.0).await;
    next(("b", 3.0)).await;
}

#[tokio::test(start_paused = true)]
async fn the_tail_of_a_stream_ends_with_the_stream() {
    let (engine, gateway) = gateway().await;
    let stream = create(engine.as_ref(), "a").await;
    let session = SessionOptions::default();
    let tail = gateway.tail("SELECT * FROM lab.a", &session).await;
    let mut rows = tail.expect("a tail").follow().await.expect("followed");
    engine.obliterate(stream).await.expect("obliterated");
    let error = rows.next().await.expect("an end").expect_err("it is gone");
    assert_eq!(error.code(), Some(btrdb_flight::error::Code::NoSuchStream));
    assert!(rows.next().await.is_none(), "it is over");
}

#[tokio::test]
async fn columns_that_are_not_asked_for_are_not_made() {
    let (engine, gateway) = gateway().await;
    let stream = create(engine.as_ref(), "a").await;
    let session = SessionOptions::default();
    let sql = "SELECT 1 AS one FROM points WHERE name = 'a'";
    let tail = gateway.tail(sql, &session).await.expect("a tail");
    let mut rows = tail.follow().await.expect("followed");
    write(engine.as_ref(), stream, 1.0).await;
    let batch = rows.next().await.expect("rows").expect("no error");
    let ones = batch.column(0).as_primitive::<Int64Type>();
    assert_eq!(ones.values()[..], [1]);
}
