//! Statements that write: by every path, once, and with what was applied when they fail.

use arrow::array::{
    AsArray, DictionaryArray, Float64Array, Int64Array, RecordBatch, StringArray, UnionArray,
};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::{DataType, Field, Float64Type, Int8Type, Int64Type, Schema, UnionFields};
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::{
    ActionCreatePreparedStatementRequest, Any, CommandPreparedStatementQuery,
    CommandPreparedStatementUpdate, CommandStatementUpdate, DoPutPreparedStatementResult,
    DoPutUpdateResult, EndTransaction, ProstMessageExt,
};
use arrow_flight::{Action, FlightData, IpcMessage, Ticket};
use btrdb_flight::backend::observed::Operation;
use bytes::Bytes;
use prost::Message;
use tonic::{Code, Status};

use super::*;

const INSERT: &str = "INSERT INTO lab.a (time, value) VALUES ($1, $2)";

/// As of Arrow 25: arrow-flight does not have the last field.
#[derive(Clone, PartialEq, Message)]
struct Prepared {
    #[prost(bytes = "bytes", tag = "1")]
    handle: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    dataset_schema: Bytes,
    #[prost(bytes = "bytes", tag = "3")]
    parameter_schema: Bytes,
    #[prost(bool, optional, tag = "4")]
    is_update: Option<bool>,
}

impl Prepared {
    fn columns(bytes: &Bytes) -> Vec<(String, DataType, bool)> {
        let schema = Schema::try_from(IpcMessage(bytes.clone())).expect("a schema");
        let fields = schema.fields().iter();
        fields
            .map(|field| {
                (
                    field.name().clone(),
                    field.data_type().clone(),
                    field.is_nullable(),
                )
            })
            .collect()
    }
}

async fn prepare(server: &Server, sql: &str) -> Prepared {
    let request = ActionCreatePreparedStatementRequest {
        query: sql.to_owned(),
        transaction_id: None,
    };
    let action = Action::new("CreatePreparedStatement", request.as_any().encode_to_vec());
    let mut client = FlightServiceClient::new(server.channel().await);
    let mut results = client
        .do_action(action)
        .await
        .expect("prepared")
        .into_inner();
    let result = results.message().await.expect("no error").expect("one");
    let any = Any::decode(result.body).expect("packed");
    assert!(
        any.type_url
            .ends_with(".ActionCreatePreparedStatementResult")
    );
    Prepared::decode(any.value).expect("a result")
}

/// A server with one point in `lab.a`, at time 0.
async fn started() -> Server {
    let server = Server::start().await;
    let mut client = server.flight().await;
    put(&mut client, path(&["lab", "a"]), vec![points(0..1)])
        .await
        .expect("a put");
    server
}

fn inserts(server: &Server) -> u64 {
    server.backend.counts().calls(Operation::Insert)
}

async fn count(server: &Server) -> i64 {
    let mut client = server.flight().await;
    number(&mut client, "SELECT count(*) FROM lab.a").await
}

/// Puts `batches` behind a command; answers the metadata of each result, and how it ended.
async fn put_command(
    server: &Server,
    command: &impl ProstMessageExt,
    schema: &Schema,
    batches: Vec<RecordBatch>,
) -> (Vec<Bytes>, Result<(), Status>) {
    let descriptor = FlightDescriptor::new_cmd(command.as_any().encode_to_vec());
    let data = FlightDataEncoderBuilder::new()
        .with_flight_descriptor(Some(descriptor))
        .with_schema(Arc::new(schema.clone()))
        .build(futures::stream::iter(batches.into_iter().map(Ok)));
    let messages: Vec<FlightData> = data.try_collect().await.expect("encodes");
    let mut client = FlightServiceClient::new(server.channel().await);
    let answer = client.do_put(futures::stream::iter(messages)).await;
    let mut results = match answer {
        Ok(answer) => answer.into_inner(),
        Err(status) => return (Vec::new(), Err(status)),
    };
    let mut told = Vec::new();
    loop {
        match results.message().await {
            Ok(Some(result)) => told.push(result.app_metadata),
            Ok(None) => return (told, Ok(())),
            Err(status) => return (told, Err(status)),
        }
    }
}

fn changed(told: &[Bytes]) -> i64 {
    assert_eq!(told.len(), 1, "one count");
    DoPutUpdateResult::decode(told[0].clone())
        .expect("a count")
        .record_count
}

fn rows_of(times: Vec<i64>, values: Vec<Option<f64>>) -> RecordBatch {
    let times = TimestampNanosecondArray::from(times).with_timezone("UTC");
    RecordBatch::try_from_iter_with_nullable([
        ("0", Arc::new(times) as ArrayRef, true),
        ("1", Arc::new(Float64Array::from(values)), true),
    ])
    .expect("columns of one length")
}

async fn update(server: &Server, handle: &Bytes, batches: Vec<RecordBatch>) -> Result<i64, Status> {
    let command = CommandPreparedStatementUpdate {
        prepared_statement_handle: handle.clone(),
    };
    let schema = batches
        .first()
        .map_or_else(Schema::empty, |batch| batch.schema().as_ref().clone());
    let (told, end) = put_command(server, &command, &schema, batches).await;
    end.map(|()| changed(&told))
}

async fn read(server: &Server, ticket: Ticket) -> Vec<RecordBatch> {
    let stream = server
        .flight()
        .await
        .do_get(ticket)
        .await
        .expect("a stream");
    stream.try_collect().await.expect("rows")
}

fn counted(batches: &[RecordBatch]) -> i64 {
    let batch = batches.iter().find(|batch| batch.num_rows() > 0);
    let batch = batch.expect("one row");
    assert_eq!((batch.num_rows(), batch.num_columns()), (1, 1));
    assert_eq!(batch.schema().field(0).name(), "count");
    batch.column(0).as_primitive::<Int64Type>().value(0)
}

#[tokio::test]
async fn an_update_runs_once_by_every_path() {
    let server = started().await;
    let mut at = 10;
    let mut sql = || {
        at += 1;
        format!("INSERT INTO lab.a (time, value) VALUES (to_timestamp_nanos({at}), {at}.5)")
    };
    // As an update.
    let mut client = server.sql().await;
    let before = inserts(&server);
    let changed = client.execute_update(sql(), None).await.expect("written");
    assert_eq!((changed, inserts(&server) - before), (1, 1));
    // As a query: when it is asked for, and not again when it is read, once, twice or never.
    for reads in [1, 2, 0] {
        let before = inserts(&server);
        let info = client.execute(sql(), None).await.expect("written");
        assert_eq!(inserts(&server) - before, 1, "before it is read");
        let declared = info.clone().try_decode_schema().expect("a schema");
        for _ in 0..reads {
            let batches = read(&server, info.endpoint[0].ticket.clone().expect("a ticket")).await;
            assert_eq!(*batches[0].schema(), declared);
            assert_eq!(counted(&batches), 1);
        }
        assert_eq!(inserts(&server) - before, 1);
    }
    // As text in the place of a ticket.
    let before = inserts(&server);
    assert_eq!(counted(&read(&server, Ticket::new(sql())).await), 1);
    assert_eq!(inserts(&server) - before, 1);
    assert_eq!(count(&server).await, 6);
    // Its schema alone writes nothing.
    let before = inserts(&server);
    let mut reader = server.flight().await;
    let schema = reader.get_schema(FlightDescriptor::new_cmd(sql())).await;
    assert_eq!(schema.expect("a schema").field(0).name(), "count");
    prepare(&server, &sql()).await;
    assert_eq!(inserts(&server), before);
    let error = client
        .execute_update("SELECT 1".to_owned(), None)
        .await
        .expect_err("it changes nothing");
    assert!(error.to_string().contains("as a query"), "{error}");
}

#[tokio::test]
async fn preparing_says_what_is_an_update_and_what_it_takes() {
    let server = started().await;
    for (sql, is_update) in [
        (INSERT, true),
        ("SET btrdb.merge = replace", true),
        ("BEGIN", true),
        ("SELECT 1", false),
        ("EXPLAIN SELECT 1", false),
        ("SHOW btrdb.merge", false),
    ] {
        let prepared = prepare(&server, sql).await;
        assert_eq!(prepared.is_update, Some(is_update), "{sql}");
        let columns = Prepared::columns(&prepared.dataset_schema);
        assert_eq!(columns.is_empty(), is_update, "{sql}: {columns:?}");
    }
    // Twelve parameters, in the order of their numbers, not of their texts; one of no type.
    let columns: Vec<_> = (1..=11).map(|n| format!("value + ${n}")).collect();
    let sql = format!("SELECT {}, $12 FROM lab.a", columns.join(", "));
    let prepared = prepare(&server, &sql).await;
    let parameters = Prepared::columns(&prepared.parameter_schema);
    let names: Vec<_> = parameters.iter().map(|(name, ..)| name.as_str()).collect();
    let expected: Vec<_> = (1..=12).map(|n| format!("${n}")).collect();
    assert_eq!(names, expected);
    assert!(parameters.iter().all(|(_, _, is_nullable)| *is_nullable));
    assert_eq!(parameters[0].1, DataType::Float64);
    assert_eq!(parameters[11].1, DataType::Null);
}

#[tokio::test]
async fn many_rows_are_one_execution_each_and_one_count() {
    let server = started().await;
    let prepared = prepare(&server, INSERT).await;
    let batches = vec![
        rows_of(vec![10, 20, 30], vec![Some(1.0), Some(2.0), Some(3.0)]),
        rows_of(vec![], vec![]),
        rows_of(vec![40], vec![Some(4.0)]),
    ];
    let before = inserts(&server);
    assert_eq!(
        update(&server, &prepared.handle, batches)
            .await
            .expect("written"),
        4
    );
    assert_eq!(inserts(&server) - before, 1, "in one commit");
    assert_eq!(count(&server).await, 5);
    // No rows, with columns, are no executions.
    let none = update(&server, &prepared.handle, vec![rows_of(vec![], vec![])]).await;
    assert_eq!(none.expect("nothing to do"), 0);
    // No columns are a statement without parameters.
    let missing = update(&server, &prepared.handle, vec![]).await;
    assert_eq!(
        missing.expect_err("two are missing").code(),
        Code::InvalidArgument
    );
    let one = RecordBatch::try_from_iter([("0", Arc::new(Int64Array::from(vec![1])) as ArrayRef)])
        .expect("a column");
    let few = update(&server, &prepared.handle, vec![one]).await;
    let few = few.expect_err("one is missing");
    assert_eq!(few.code(), Code::InvalidArgument);
    assert!(few.message().contains("takes 2 parameters"), "{few}");
    let bare = prepare(
        &server,
        "INSERT INTO lab.a VALUES (to_timestamp_nanos(50), 5)",
    )
    .await;
    assert_eq!(
        update(&server, &bare.handle, vec![])
            .await
            .expect("written"),
        1
    );
    assert_eq!(count(&server).await, 6);
}

#[tokio::test]
async fn what_is_bound_is_refused_as_a_whole_before_anything_is_written() {
    let server = started().await;
    let prepared = prepare(&server, INSERT).await;
    let before = inserts(&server);
    for values in [vec![Some(1.0), None], vec![Some(1.0), Some(f64::NAN)]] {
        let error = update(
            &server,
            &prepared.handle,
            vec![rows_of(vec![10, 20], values)],
        )
        .await;
        assert_eq!(error.expect_err("no value").code(), Code::InvalidArgument);
    }
    assert_eq!(inserts(&server), before);
    // A million values at a time, and no more.
    let many = 600_000;
    let times: Vec<i64> = (1..=many).collect();
    let values = vec![Some(1.0); times.len()];
    let error = update(&server, &prepared.handle, vec![rows_of(times, values)]).await;
    assert_eq!(error.expect_err("too many").code(), Code::ResourceExhausted);
    assert_eq!(count(&server).await, 1);
}

#[tokio::test]
async fn unions_and_dictionaries_are_the_values_in_them() {
    let server = started().await;
    let fields = UnionFields::try_new(
        [0, 1],
        [
            Field::new("i", DataType::Int64, true),
            Field::new("f", DataType::Float64, true),
        ],
    )
    .expect("two types");
    let union = UnionArray::try_new(
        fields,
        ScalarBuffer::from(vec![0_i8, 1]),
        Some(ScalarBuffer::from(vec![0_i32, 0])),
        vec![
            Arc::new(Int64Array::from(vec![7])),
            Arc::new(Float64Array::from(vec![2.5])),
        ],
    )
    .expect("a union");
    let stamps: DictionaryArray<Int8Type> = ["1970-01-01T00:00:01Z", "1970-01-01T00:00:02Z"]
        .into_iter()
        .collect();
    let batch = RecordBatch::try_from_iter([
        ("param_0", Arc::new(stamps) as ArrayRef),
        ("param_1", Arc::new(union)),
    ])
    .expect("columns");
    let sql = "INSERT INTO lab.a (time, value) VALUES (CAST(? AS TIMESTAMP), CAST(? AS DOUBLE))";
    let prepared = prepare(&server, sql).await;
    assert_eq!(
        update(&server, &prepared.handle, vec![batch])
            .await
            .expect("written"),
        2
    );
    let mut client = server.flight().await;
    let read = rows(&mut client, "SELECT value FROM lab.a ORDER BY time").await;
    let read = read.expect("rows");
    let values = read[0].column(0).as_primitive::<Float64Type>();
    assert_eq!(values.values()[..], [0.0, 7.0, 2.5]);
}

async fn bind(server: &Server, handle: &Bytes, batches: Vec<RecordBatch>) -> Result<Bytes, Status> {
    let command = CommandPreparedStatementQuery {
        prepared_statement_handle: handle.clone(),
    };
    let schema = batches[0].schema().as_ref().clone();
    let (told, end) = put_command(server, &command, &schema, batches).await;
    end?;
    let result = DoPutPreparedStatementResult::decode(told[0].clone()).expect("a handle");
    Ok(result.prepared_statement_handle.expect("a new handle"))
}

async fn execute(server: &Server, handle: &Bytes) -> Result<Vec<RecordBatch>, Status> {
    let command = CommandPreparedStatementQuery {
        prepared_statement_handle: handle.clone(),
    };
    let descriptor = FlightDescriptor::new_cmd(command.as_any().encode_to_vec());
    let mut client = server.flight().await;
    let info = client
        .get_flight_info(descriptor)
        .await
        .map_err(Status::from)?;
    let declared = info.clone().try_decode_schema().expect("a schema");
    let ticket = info.endpoint[0].ticket.clone().expect("a ticket");
    let stream = client.do_get(ticket).await.map_err(Status::from)?;
    let batches: Vec<RecordBatch> = stream.try_collect().await.map_err(Status::from)?;
    assert!(batches.iter().all(|batch| *batch.schema() == declared));
    Ok(batches)
}

/// As ADBC's Python driver executes everything: prepare, bind, and then the path of queries.
#[tokio::test]
async fn a_bound_update_by_the_path_of_queries_runs_once() {
    let server = started().await;
    let prepared = prepare(&server, INSERT).await;
    let rows = rows_of(vec![10, 20], vec![Some(1.0), Some(2.0)]);
    let handle = bind(&server, &prepared.handle, vec![rows])
        .await
        .expect("bound");
    let before = inserts(&server);
    let batches = execute(&server, &handle).await.expect("written");
    assert_eq!((counted(&batches), inserts(&server) - before), (2, 1));
    assert_eq!(count(&server).await, 3);
    let error = execute(&server, &prepared.handle).await;
    assert_eq!(error.expect_err("not bound").code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_query_bound_to_many_rows_answers_them_one_after_the_other() {
    let server = started().await;
    let prepared = prepare(&server, "SELECT $1 + 1 AS n, $2 AS t").await;
    let batch = |numbers: Vec<Option<i64>>, texts: Vec<&str>| {
        RecordBatch::try_from_iter_with_nullable([
            ("0", Arc::new(Int64Array::from(numbers)) as ArrayRef, true),
            ("1", Arc::new(StringArray::from(texts)), true),
        ])
        .expect("columns")
    };
    let batches = vec![
        batch(vec![Some(1), None, Some(3)], vec!["a", "b", "c"]),
        batch(vec![Some(4)], vec!["d"]),
    ];
    let handle = bind(&server, &prepared.handle, batches)
        .await
        .expect("bound");
    let batches = execute(&server, &handle).await.expect("rows");
    let batches: Vec<_> = batches
        .iter()
        .filter(|batch| batch.num_rows() > 0)
        .collect();
    let numbers: Vec<_> = batches
        .iter()
        .flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().iter())
        .collect();
    assert_eq!(numbers, [Some(2), None, Some(4), Some(5)]);
    let texts: String = batches
        .iter()
        .flat_map(|batch| batch.column(1).as_string::<i32>().iter().flatten())
        .collect();
    assert_eq!(texts, "abcd");
    // A row that fails ends the answer with its error.
    let prepared = prepare(&server, "SELECT 10 / CAST($1 AS BIGINT) AS n").await;
    let numbers =
        RecordBatch::try_from_iter([("0", Arc::new(Int64Array::from(vec![5, 0])) as ArrayRef)]);
    let handle = bind(&server, &prepared.handle, vec![numbers.expect("a column")]).await;
    let error = execute(&server, &handle.expect("bound")).await;
    assert_eq!(
        error.expect_err("a division by zero").code(),
        Code::InvalidArgument
    );
    let long = "x".repeat(3 << 20);
    let error = bind(
        &server,
        &prepared.handle,
        vec![batch(vec![Some(1)], vec![&long])],
    )
    .await;
    assert_eq!(
        error.expect_err("too large").code(),
        Code::ResourceExhausted
    );
}

#[tokio::test]
async fn a_write_that_fails_says_what_was_applied() {
    let server = started().await;
    // A commit of a million points, and a value that cannot be stored in what comes after.
    let sql = "INSERT INTO lab.a (time, value) \
               SELECT to_timestamp_nanos(n), CASE WHEN n = 1500000 THEN CAST('NaN' AS DOUBLE) ELSE 1.0 END \
               FROM generate_series(1, 2000000) AS t(n)";
    let command = CommandStatementUpdate {
        query: sql.to_owned(),
        transaction_id: None,
    };
    let (told, end) = put_command(&server, &command, &Schema::empty(), Vec::new()).await;
    let status = end.expect_err("it fails");
    // No count: clients read the first answer, and take it for success.
    assert!(told.is_empty());
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert!(status.message().contains("NaN"), "{status}");
    let applied = status.metadata().get("x-btrdb-applied-rows");
    let applied = applied.expect("a trailer").to_str().expect("ascii");
    let applied: i64 = applied.parse().expect("a number");
    assert!(applied >= 1 << 20, "{applied}");
    assert!(
        status.message().contains(&format!("{applied} points")),
        "{status}"
    );
    assert_eq!(count(&server).await, 1 + applied);
}

#[tokio::test]
async fn a_transaction_sees_what_it_wrote_and_a_rollback_says_that_it_stays() {
    let server = started().await;
    let mut client = server.sql().await;
    let transaction = client.begin_transaction().await.expect("begun");
    let count_in = async |client: &mut FlightSqlServiceClient<Channel>| {
        let sql = "SELECT count(*) FROM lab.a".to_owned();
        let info = client.execute(sql, Some(transaction.clone())).await;
        let ticket = info.expect("planned").endpoint[0].ticket.clone();
        let batches = read(&server, ticket.expect("a ticket")).await;
        batches[0].column(0).as_primitive::<Int64Type>().value(0)
    };
    assert_eq!(count_in(&mut client).await, 1);
    let mut writer = server.flight().await;
    put(&mut writer, path(&["lab", "b"]), vec![points(0..9)])
        .await
        .expect("a put");
    let sql = "INSERT INTO lab.a VALUES (to_timestamp_nanos(10), 1), (to_timestamp_nanos(20), 2)";
    let changed = client
        .execute_update(sql.to_owned(), Some(transaction.clone()))
        .await
        .expect("written");
    assert_eq!(changed, 2);
    assert_eq!(count_in(&mut client).await, 3);
    let request = arrow_flight::sql::ActionEndTransactionRequest {
        transaction_id: transaction.clone(),
        action: EndTransaction::Rollback.into(),
    };
    let action = Action::new("EndTransaction", request.as_any().encode_to_vec());
    let mut bare = FlightServiceClient::new(server.channel().await);
    let answer = bare.do_action(action).await.expect("rolled back");
    let warning = answer.metadata().get("x-btrdb-warning").expect("a warning");
    let warning = warning.to_str().expect("ascii");
    assert!(warning.contains("stays: 2 rows"), "{warning}");
    assert_eq!(count(&server).await, 3);
}
