//! ADBC's bulk ingest, mode by mode and table by table; and the types of columns that puts take.

use arrow::array::{
    Date32Array, Decimal128Array, DictionaryArray, Int64Array, LargeStringArray, MapBuilder,
    RecordBatch, StringBuilder, StringViewArray, TimestampSecondArray,
};
use arrow::datatypes::Int32Type;
use arrow::ipc::CompressionType;
use arrow::ipc::writer::IpcWriteOptions;
use arrow_flight::encode::DictionaryHandling;
use arrow_flight::sql::{
    Any, CommandStatementIngest, DoPutUpdateResult, ProstMessageExt, TableDefinitionOptions,
    TableExistsOption, TableNotExistOption,
};
use bytes::Bytes;
use futures::StreamExt;
use prost::Message;
use tonic::Code;

use super::*;

/// What ADBC makes of its modes.
fn mode(name: &str) -> TableDefinitionOptions {
    let (missing, exists) = match name {
        "append" => (TableNotExistOption::Fail, TableExistsOption::Append),
        "create" => (TableNotExistOption::Create, TableExistsOption::Fail),
        "replace" => (TableNotExistOption::Create, TableExistsOption::Replace),
        "create_append" => (TableNotExistOption::Create, TableExistsOption::Append),
        other => panic!("{other} is no mode"),
    };
    TableDefinitionOptions {
        if_not_exist: missing.into(),
        if_exists: exists.into(),
    }
}

fn into(schema: Option<&str>, table: &str, how: &str) -> CommandStatementIngest {
    CommandStatementIngest {
        table_definition_options: Some(mode(how)),
        table: table.to_owned(),
        schema: schema.map(str::to_owned),
        ..CommandStatementIngest::default()
    }
}

/// Ingests as ADBC does: reads every answer. The count, if there was one, and how it ended.
async fn ingest(
    client: &mut FlightClient,
    command: CommandStatementIngest,
    batches: Vec<RecordBatch>,
) -> (Option<i64>, Result<(), FlightError>) {
    let descriptor = FlightDescriptor::new_cmd(command.as_any().encode_to_vec());
    let data = FlightDataEncoderBuilder::new()
        .with_flight_descriptor(Some(descriptor))
        .with_schema(batches[0].schema())
        .build(futures::stream::iter(batches.into_iter().map(Ok)));
    let mut answers = match client.do_put(data).await {
        Ok(answers) => answers,
        Err(error) => return (None, Err(error)),
    };
    let mut count = None;
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(answer) => {
                let answer = DoPutUpdateResult::decode(answer.app_metadata).expect("a count");
                assert_eq!(count.replace(answer.record_count), None, "one count");
            }
            Err(error) => return (count, Err(error)),
        }
    }
    (count, Ok(()))
}

async fn ingested(
    client: &mut FlightClient,
    command: CommandStatementIngest,
    batch: RecordBatch,
) -> i64 {
    let (count, outcome) = ingest(client, command, vec![batch]).await;
    outcome.expect("ingested");
    count.expect("a count")
}

async fn refused(
    client: &mut FlightClient,
    command: CommandStatementIngest,
    batch: RecordBatch,
) -> (Code, String) {
    let (count, outcome) = ingest(client, command, vec![batch]).await;
    assert_eq!(count, None, "nothing was counted");
    failure(outcome)
}

fn texts(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn described(names: &[&str]) -> RecordBatch {
    RecordBatch::try_from_iter([
        ("collection", texts(&vec!["lab"; names.len()])),
        ("name", texts(names)),
        ("unit", texts(&vec!["V"; names.len()])),
    ])
    .expect("columns of one length")
}

#[tokio::test]
async fn every_mode_does_to_a_stream_what_adbc_means_by_it() {
    let server = Server::start().await;
    let mut client = server.flight().await;
    let count = "SELECT count(*) FROM lab.a";
    let lab = Some("lab");
    let (code, message) = refused(&mut client, into(lab, "a", "append"), points(0..3)).await;
    assert_eq!(code, Code::NotFound, "{message}");
    let rows = ingested(&mut client, into(lab, "a", "create"), points(0..3)).await;
    assert_eq!((rows, number(&mut client, count).await), (3, 3));
    let (code, message) = refused(&mut client, into(lab, "a", "create"), points(0..3)).await;
    assert_eq!(code, Code::AlreadyExists, "{message}");
    assert!(message.contains("append"), "{message}");
    let rows = ingested(&mut client, into(lab, "a", "append"), points(3..5)).await;
    assert_eq!((rows, number(&mut client, count).await), (2, 5));
    let rows = ingested(&mut client, into(lab, "a", "create_append"), points(5..6)).await;
    assert_eq!((rows, number(&mut client, count).await), (1, 6));
    let rows = ingested(&mut client, into(lab, "a", "replace"), points(2..4)).await;
    assert_eq!((rows, number(&mut client, count).await), (2, 2));
    let rows = ingested(&mut client, into(lab, "b", "replace"), points(2..4)).await;
    assert_eq!(rows, 2, "what is not there is created");
    // Where a client has no way to name a schema.
    let rows = ingested(&mut client, into(None, "lab/c", "create"), points(0..1)).await;
    assert_eq!(rows, 1);
    assert_eq!(number(&mut client, "SELECT count(*) FROM lab.c").await, 1);
}

#[tokio::test]
async fn tables_without_rows_are_created_and_emptied_too() {
    let server = Server::start().await;
    let mut client = server.flight().await;
    let none = || points(0..0);
    let lab = Some("lab");
    let rows = ingested(&mut client, into(lab, "a", "create"), none()).await;
    assert_eq!(
        (
            rows,
            number(&mut client, "SELECT count(*) FROM streams").await
        ),
        (0, 1)
    );
    ingested(&mut client, into(lab, "a", "append"), points(0..5)).await;
    ingested(&mut client, into(lab, "a", "replace"), none()).await;
    assert_eq!(number(&mut client, "SELECT count(*) FROM lab.a").await, 0);
}

#[tokio::test]
async fn shared_tables_take_rows_and_are_neither_created_nor_replaced() {
    let server = Server::start().await;
    let mut client = server.flight().await;
    for how in ["append", "create_append"] {
        let batch = long("lab", &["a", "b"], 0..4);
        let rows = ingested(&mut client, into(None, "points", how), batch).await;
        assert_eq!(rows, 4);
    }
    let rows = ingested(
        &mut client,
        into(Some("public"), "streams", "append"),
        described(&["c", "d"]),
    )
    .await;
    assert_eq!(rows, 2);
    assert_eq!(number(&mut client, "SELECT count(*) FROM streams").await, 4);
    for (table, batch) in [
        ("points", long("lab", &["a"], 0..1)),
        ("streams", described(&["e"])),
    ] {
        let (code, message) =
            refused(&mut client, into(None, table, "create"), batch.clone()).await;
        assert_eq!(code, Code::AlreadyExists, "{message}");
        let (code, message) = refused(&mut client, into(None, table, "replace"), batch).await;
        assert_eq!(code, Code::Unimplemented, "{message}");
        assert!(message.contains("empty the store"), "{message}");
    }
    let (code, message) = refused(
        &mut client,
        into(None, "collections", "append"),
        points(0..1),
    )
    .await;
    assert_eq!(code, Code::Unimplemented, "{message}");
    let (code, message) = refused(&mut client, into(None, "mine", "create"), points(0..1)).await;
    assert_eq!(code, Code::NotFound, "{message}");
    assert!(message.contains("points and streams"), "{message}");
    let temporary = CommandStatementIngest {
        temporary: true,
        ..into(Some("lab"), "t", "create")
    };
    let (code, message) = refused(&mut client, temporary, points(0..1)).await;
    assert_eq!(code, Code::Unimplemented, "{message}");
    let elsewhere = CommandStatementIngest {
        catalog: Some("other".to_owned()),
        ..into(Some("lab"), "t", "create")
    };
    let (code, message) = refused(&mut client, elsewhere, points(0..1)).await;
    assert_eq!(code, Code::NotFound, "{message}");
    assert!(message.contains("btrdb"), "{message}");
}

#[tokio::test]
async fn a_replacement_that_fails_says_where_the_old_points_are() {
    let server = Server::start().await;
    let mut client = server.flight().await;
    put(&mut client, path(&["lab", "a"]), vec![points(0..7)])
        .await
        .expect("a put");
    // Rows that are refused before the first commit delete nothing.
    let times = Arc::clone(points(0..1).column(0));
    let nan = Arc::new(Float64Array::from(vec![f64::NAN])) as ArrayRef;
    let bad = RecordBatch::try_new(points(0..1).schema(), vec![times, nan]).expect("a batch");
    let replace = || into(Some("lab"), "a", "replace");
    let (code, message) = refused(&mut client, replace(), bad.clone()).await;
    assert_eq!(code, Code::InvalidArgument, "{message}");
    assert!(!message.contains("deleted"), "{message}");
    assert_eq!(number(&mut client, "SELECT count(*) FROM lab.a").await, 7);
    // A million points are a commit.
    let first = points(0..1 << 20);
    let (count, outcome) = ingest(&mut client, replace(), vec![first, bad]).await;
    assert_eq!(count, Some(1 << 20), "the count, then the error");
    let (code, message) = failure(outcome);
    assert_eq!(code, Code::InvalidArgument, "{message}");
    assert_eq!(
        number(&mut client, "SELECT count(*) FROM lab.a").await,
        1 << 20
    );
    let (_, old) = message.split_once("raw_values('").expect("the old version");
    let (old, _) = old.split_once("')").expect("the old version");
    let old = format!("SELECT count(*) FROM raw_values('{old}')");
    assert_eq!(number(&mut client, &old).await, 7, "{message}");
}

#[tokio::test]
async fn streams_that_fail_are_told_after_the_count_of_those_that_did_not() {
    let server = Server::start().await;
    let mut client = server.flight().await;
    ingested(
        &mut client,
        into(None, "streams", "append"),
        described(&["b"]),
    )
    .await;
    let (count, outcome) = ingest(
        &mut client,
        into(None, "streams", "append"),
        vec![described(&["a", "b", "c"]), described(&["d"])],
    )
    .await;
    assert_eq!(count, Some(2), "a and c");
    let (code, message) = failure(outcome);
    assert_eq!(code, Code::AlreadyExists, "{message}");
    assert!(message.contains("row 1"), "{message}");
    assert!(
        message.contains("2 streams of this put were created"),
        "{message}"
    );
    assert_eq!(number(&mut client, "SELECT count(*) FROM streams").await, 3);
}

#[tokio::test]
async fn streams_are_put_with_everything_that_describes_them() {
    let server = Server::start().await;
    let mut client = server.flight().await;
    let mut annotations = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    annotations.keys().append_value("phase");
    annotations.values().append_value("A");
    annotations.keys().append_value("checked");
    annotations.values().append_null();
    annotations.append(true).expect("a row");
    let id = "0d22a53b-e2ef-4e0a-ab89-b2d48fb2592a";
    let batch = RecordBatch::try_from_iter([
        ("uuid", texts(&[id])),
        ("collection", texts(&["lab"])),
        ("name", texts(&["a"])),
        ("distiller", texts(&["mean"])),
        ("annotations", Arc::new(annotations.finish()) as ArrayRef),
    ])
    .expect("columns of one length");
    let versions = put(&mut client, path(&["streams"]), vec![batch.clone()])
        .await
        .expect("created");
    assert_eq!(versions, [serde_json::json!({id: 10})]);
    let found = "SELECT count(*) FROM streams WHERE distiller = 'mean' AND annotations['phase'] = 'A' \
                 AND cardinality(annotations) = 2";
    assert_eq!(number(&mut client, found).await, 1);
    let (code, message) = failure(put(&mut client, path(&["streams"]), vec![batch]).await);
    assert_eq!(code, Code::AlreadyExists, "{message}");
    let computed = RecordBatch::try_from_iter([
        ("collection", texts(&["lab"])),
        ("name", texts(&["b"])),
        (
            "point_count",
            Arc::new(Int64Array::from(vec![1])) as ArrayRef,
        ),
    ])
    .expect("columns of one length");
    let (code, message) = failure(put(&mut client, path(&["streams"]), vec![computed]).await);
    assert_eq!(code, Code::InvalidArgument, "{message}");
    assert!(message.contains("leave it out"), "{message}");
    for (place, said) in [("collections", "collections"), ("lab/*", "[points]")] {
        let outcome = put(&mut client, path(&[place]), vec![points(0..1)]).await;
        let (_, message) = failure(outcome);
        assert!(message.contains(said), "{message}");
    }
}

#[tokio::test]
async fn an_ingest_belongs_to_its_transaction() {
    let server = Server::start().await;
    let mut sql = server.sql().await;
    let mut client = server.flight().await;
    put(&mut client, path(&["lab", "a"]), vec![points(0..7)])
        .await
        .expect("a put");
    let transaction = sql.begin_transaction().await.expect("begun");
    let count = async |sql: &mut FlightSqlServiceClient<Channel>, transaction: Option<Bytes>| {
        use arrow::array::AsArray;
        use arrow::datatypes::Int64Type;
        let query = "SELECT count(*) FROM lab.a".to_owned();
        let info = sql.execute(query, transaction).await.expect("executed");
        let ticket = info.endpoint[0].ticket.clone().expect("a ticket");
        let rows: Vec<RecordBatch> = sql
            .do_get(ticket)
            .await
            .expect("a stream")
            .try_collect()
            .await
            .expect("rows");
        rows[0].column(0).as_primitive::<Int64Type>().value(0)
    };
    assert_eq!(count(&mut sql, Some(transaction.clone())).await, 7);
    let inside = CommandStatementIngest {
        transaction_id: Some(transaction.clone()),
        ..into(Some("lab"), "a", "replace")
    };
    assert_eq!(ingested(&mut client, inside, points(0..2)).await, 2);
    assert_eq!(count(&mut sql, Some(transaction)).await, 2);
    let gone = CommandStatementIngest {
        transaction_id: Some(Bytes::from_static(&[7; 16])),
        ..into(Some("lab"), "a", "append")
    };
    let (code, message) = refused(&mut client, gone, points(0..2)).await;
    assert_eq!(code, Code::NotFound, "{message}");
    assert_eq!(count(&mut sql, None).await, 2, "nothing was applied");
}

#[tokio::test]
async fn columns_of_every_clear_type_are_taken() {
    let server = Server::start().await;
    let mut client = server.flight().await;
    let names: DictionaryArray<Int32Type> = vec!["a", "b", "a"].into_iter().collect();
    let decimals = Decimal128Array::from(vec![6001, 6002, 6003])
        .with_precision_and_scale(38, 2)
        .expect("decimals");
    let seconds = TimestampSecondArray::from(vec![1, 2, 3]).with_timezone("America/Chicago");
    for (time, value, collection) in [
        (
            Arc::new(seconds) as ArrayRef,
            Arc::new(decimals) as ArrayRef,
            Arc::new(LargeStringArray::from(vec!["lab"; 3])) as ArrayRef,
        ),
        (
            Arc::new(Date32Array::from(vec![10, 11, 12])),
            Arc::new(Int64Array::from(vec![1, 2, 3])),
            Arc::new(StringViewArray::from(vec!["lab"; 3])),
        ),
    ] {
        let batch = RecordBatch::try_from_iter([
            ("time", time),
            ("value", value),
            ("collection", collection),
            ("name", Arc::new(names.clone())),
        ])
        .expect("columns of one length");
        put(&mut client, path(&["points"]), vec![batch])
            .await
            .expect("a put");
    }
    let found = "SELECT count(*) FROM points WHERE (time = '1970-01-01T00:00:03Z' AND value = 60.03 AND name = 'a') \
                 OR (time = '1970-01-12T00:00:00Z' AND value = 2 AND name = 'b')";
    assert_eq!(number(&mut client, found).await, 2);
}

#[tokio::test]
async fn bodies_may_be_compressed_and_dictionaries_sent_anew() {
    let server = Server::start().await;
    let mut client = server.flight().await;
    for (count, codec) in [CompressionType::LZ4_FRAME, CompressionType::ZSTD]
        .into_iter()
        .enumerate()
    {
        let options = IpcWriteOptions::default()
            .try_with_compression(Some(codec))
            .expect("built in");
        let batch = |names: Vec<&str>| {
            let names: DictionaryArray<Int32Type> = names.into_iter().collect();
            let rows = points(0..4);
            RecordBatch::try_from_iter([
                ("collection", texts(&["lab"; 4])),
                ("name", Arc::new(names) as ArrayRef),
                ("time", Arc::clone(rows.column(0))),
                ("value", Arc::clone(rows.column(1))),
            ])
            .expect("columns of one length")
        };
        let batches = [
            batch(vec!["a", "b", "a", "b"]),
            batch(vec!["c", "a", "c", "a"]),
        ];
        let data = FlightDataEncoderBuilder::new()
            .with_flight_descriptor(Some(path(&["points"])))
            .with_options(options)
            .with_dictionary_handling(DictionaryHandling::Resend)
            .with_schema(batches[0].schema())
            .build(futures::stream::iter(batches.into_iter().map(Ok)));
        let answers: Vec<_> = client
            .do_put(data)
            .await
            .expect("a put")
            .try_collect()
            .await
            .expect("applied");
        assert!(!answers.is_empty());
        let sql = "SELECT count(*) FROM points WHERE name = 'a'";
        assert_eq!(number(&mut client, sql).await, 4 * (count as i64 + 1));
    }
}

#[tokio::test]
async fn a_message_that_is_too_large_is_told_what_to_do() {
    let settings = ServeSettings {
        message_bytes_max: 1 << 20,
        ..ServeSettings::default()
    };
    let server = Server::start_with(settings).await;
    let mut client = server.flight().await;
    let batch = points(0..200_000);
    let data = FlightDataEncoderBuilder::new()
        .with_flight_descriptor(Some(path(&["lab", "a"])))
        .with_max_flight_data_size(usize::MAX)
        .with_schema(batch.schema())
        .build(futures::stream::iter([Ok(batch)]));
    let outcome: Result<Vec<_>, _> = match client.do_put(data).await {
        Ok(answers) => answers.try_collect().await,
        Err(error) => Err(error),
    };
    let (code, message) = failure(outcome);
    assert_eq!(code, Code::ResourceExhausted, "{message}");
    assert!(message.contains("smaller batches"), "{message}");
}

#[tokio::test]
async fn commands_that_take_no_rows_say_so() {
    let server = Server::start().await;
    let mut client = server.flight().await;
    let unknown = Any {
        type_url: "type.googleapis.com/arrow.flight.protocol.sql.CommandGetTables".to_owned(),
        value: Bytes::new(),
    };
    let descriptor = FlightDescriptor::new_cmd(unknown.encode_to_vec());
    let (code, message) = failure(put(&mut client, descriptor, vec![points(0..1)]).await);
    assert_eq!(code, Code::Unimplemented, "{message}");
    let text = FlightDescriptor::new_cmd("SELECT 1");
    let (code, message) = failure(put(&mut client, text, vec![points(0..1)]).await);
    assert_eq!(code, Code::InvalidArgument, "{message}");
    assert!(message.contains("[points]"), "{message}");
}
