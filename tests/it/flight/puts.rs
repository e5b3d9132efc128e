//! What can be put, and what is said when it cannot.

use arrow::array::{Int64Array, RecordBatch};
use futures::channel::mpsc;
use futures::{SinkExt, StreamExt};
use tonic::Code;

use super::*;

fn batch(columns: &[(&str, ArrayRef)]) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(
        columns
            .iter()
            .map(|(name, column)| (*name, Arc::clone(column), true)),
    )
    .expect("columns of one length")
}

#[tokio::test]
async fn long_batches_find_and_create_their_streams() {
    let server = Server::start().await;
    let mut client = server.flight().await;
    let names: Vec<String> = (0..100).map(|number| format!("s{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let versions = put(
        &mut client,
        path(&["points"]),
        vec![
            long("pmu", &names, 0..1_000),
            long("pmu", &names[..5], 1_000..1_010),
        ],
    )
    .await
    .expect("a put");
    let streams: usize = versions
        .iter()
        .map(|versions| versions.as_object().expect("an object").len())
        .max()
        .expect("a commit");
    assert_eq!(streams, 100);
    assert_eq!(
        number(&mut client, "SELECT count(*) FROM streams").await,
        100
    );
    assert_eq!(
        number(
            &mut client,
            "SELECT count(*) FROM points WHERE collection = 'pmu'"
        )
        .await,
        1_010
    );
    assert_eq!(
        number(&mut client, "SELECT count(*) FROM raw_values('pmu/s0')").await,
        12
    );
    // By uuid, as text.
    let (uuid, _) = versions[0]
        .as_object()
        .expect("an object")
        .iter()
        .next()
        .expect("a stream");
    let narrow = points(5_000..5_003);
    let ids = StringArray::from(vec![uuid.as_str(); 3]);
    let by_id = batch(&[
        ("uuid", Arc::new(ids)),
        ("time", Arc::clone(narrow.column(0))),
        ("value", Arc::clone(narrow.column(1))),
    ]);
    put(&mut client, path(&["points"]), vec![by_id])
        .await
        .expect("a put by uuid");
    assert_eq!(
        number(&mut client, "SELECT count(*) FROM points").await,
        1_013
    );
}

#[tokio::test]
async fn wide_batches_hold_a_stream_in_each_column() {
    let server = Server::start().await;
    let mut client = server.flight().await;
    let narrow = points(0..3);
    let sparse = Float64Array::from(vec![None, Some(7.0), None]);
    let wide = batch(&[
        ("time", Arc::clone(narrow.column(0))),
        ("lab/one/a", Arc::clone(narrow.column(1))),
        ("lab/one/b", Arc::new(sparse)),
    ]);
    let versions = put(&mut client, path(&["points"]), vec![wide])
        .await
        .expect("a put");
    assert_eq!(versions[0].as_object().expect("an object").len(), 2);
    for (name, count) in [("a", 3), ("b", 1)] {
        let sql = format!("SELECT count(*) FROM raw_values('lab/one/{name}')");
        assert_eq!(number(&mut client, &sql).await, count);
    }
    let unnamed = batch(&[
        ("time", Arc::clone(narrow.column(0))),
        ("stray", Arc::clone(narrow.column(1))),
    ]);
    let (code, message) = failure(put(&mut client, path(&["points"]), vec![unnamed]).await);
    assert_eq!(code, Code::InvalidArgument, "{message}");
    assert!(message.contains("stray"), "{message}");
}

#[tokio::test]
async fn bad_puts_are_refused_naming_column_and_row() {
    let server = Server::start().await;
    let mut client = server.flight().await;
    let good = points(0..2);
    let (time, value) = (Arc::clone(good.column(0)), Arc::clone(good.column(1)));
    let null: ArrayRef = Arc::new(Float64Array::from(vec![Some(1.0), None]));
    let nan: ArrayRef = Arc::new(Float64Array::from(vec![1.0, f64::NAN]));
    let early: ArrayRef = Arc::new(Int64Array::from(vec![0, i64::MIN]));
    let text: ArrayRef = Arc::new(StringArray::from(vec!["a", "b"]));
    for (columns, said) in [
        (vec![("time", &time), ("value", &null)], "\"value\", row 3"),
        (vec![("time", &time), ("value", &nan)], "\"value\", row 3"),
        (vec![("time", &early), ("value", &value)], "\"time\", row 3"),
    ] {
        let columns: Vec<_> = columns
            .into_iter()
            .map(|(name, column)| (name, Arc::clone(column)))
            .collect();
        let bad = batch(&columns);
        // Two good rows of the same types first: rows are counted over the whole put.
        let first = batch(&[
            ("time", Arc::clone(bad.column(0))),
            ("value", Arc::clone(&value)),
        ]);
        let first = if said.contains("time") {
            let times: ArrayRef = Arc::new(Int64Array::from(vec![0, 1]));
            batch(&[("time", times), ("value", Arc::clone(&value))])
        } else {
            first
        };
        let (code, message) =
            failure(put(&mut client, path(&["lab", "bad"]), vec![first, bad]).await);
        assert_eq!(code, Code::InvalidArgument, "{message}");
        assert!(message.contains(said), "{message}");
        assert!(
            message.contains("nothing of this put was applied"),
            "{message}"
        );
    }
    for (columns, said) in [
        (vec![("time", time.clone())], "\"value\" is missing"),
        (
            vec![("time", text.clone()), ("value", value.clone())],
            "\"time\" is Utf8",
        ),
        (
            vec![("time", time.clone()), ("value", text.clone())],
            "\"value\" is Utf8",
        ),
        (
            vec![
                ("time", time.clone()),
                ("value", value.clone()),
                ("more", text.clone()),
            ],
            "\"more\"",
        ),
    ] {
        let (code, message) =
            failure(put(&mut client, path(&["lab", "bad"]), vec![batch(&columns)]).await);
        assert_eq!(code, Code::InvalidArgument, "{message}");
        assert!(message.contains(said), "{message}");
    }
    let (code, message) = failure(
        put(
            &mut client,
            path(&["00000000-0000-0000-0000-000000000001"]),
            vec![points(0..1)],
        )
        .await,
    );
    assert_eq!(code, Code::NotFound, "{message}");
    let ids = StringArray::from(vec!["00000000-0000-0000-0000-000000000002"; 2]);
    let stray = batch(&[
        ("uuid", Arc::new(ids)),
        ("time", Arc::clone(&time)),
        ("value", Arc::clone(&value)),
    ]);
    let (code, message) = failure(put(&mut client, path(&["points"]), vec![stray]).await);
    assert_eq!(code, Code::NotFound, "{message}");
    assert!(message.contains("000000000002"), "{message}");
    client
        .add_header("x-btrdb-create", "false")
        .expect("a header");
    let (code, message) =
        failure(put(&mut client, path(&["lab", "new"]), vec![points(0..1)]).await);
    assert_eq!(code, Code::NotFound, "{message}");
    assert_eq!(number(&mut client, "SELECT count(*) FROM streams").await, 0);
}

#[tokio::test]
async fn merge_policies_come_from_the_header_or_the_schema() {
    let server = Server::start().await;
    let mut client = server.flight().await;
    put(&mut client, path(&["lab", "a"]), vec![points(0..10)])
        .await
        .expect("a put");
    let batch = points(0..10);
    let metadata = [("btrdb.merge".to_owned(), "replace".to_owned())];
    let schema = batch
        .schema()
        .as_ref()
        .clone()
        .with_metadata(metadata.into());
    let merged = batch
        .with_schema(Arc::new(schema))
        .expect("the same columns");
    put(&mut client, path(&["lab", "a"]), vec![merged])
        .await
        .expect("a put");
    let count = "SELECT count(*) FROM raw_values('lab/a')";
    assert_eq!(number(&mut client, count).await, 10);
    client
        .add_header("x-btrdb-merge", "never")
        .expect("a header");
    put(&mut client, path(&["lab", "a"]), vec![points(0..10)])
        .await
        .expect("a put");
    assert_eq!(number(&mut client, count).await, 20);
    client
        .add_header("x-btrdb-merge", "sometimes")
        .expect("a header");
    let (code, message) = failure(put(&mut client, path(&["lab", "a"]), vec![points(0..1)]).await);
    assert_eq!(code, Code::InvalidArgument);
    assert!(message.contains("sometimes"), "{message}");
}

#[tokio::test]
async fn a_put_that_is_abandoned_leaves_what_was_acknowledged() {
    let server = Server::start().await;
    let mut client = server.flight().await;
    let (mut send, receive) = mpsc::channel(1);
    let data = FlightDataEncoderBuilder::new()
        .with_flight_descriptor(Some(path(&["lab", "a"])))
        .with_schema(points(0..1).schema())
        .build(receive);
    let mut answers = client.do_put(data).await.expect("a put");
    send.send(Ok(points(0..1_000))).await.expect("taken");
    // The quarter of a second passes, and what came is committed while the put stays open.
    let first = answers.next().await.expect("an answer").expect("a commit");
    assert!(!first.app_metadata.is_empty());
    let broken = Err(FlightError::protocol("the client dies"));
    send.send(broken).await.expect("taken");
    drop(send);
    drop(answers);
    drop(client);
    let mut client = server.flight().await;
    assert_eq!(
        number(&mut client, "SELECT count(*) FROM raw_values('lab/a')").await,
        1_000
    );
}

#[tokio::test]
async fn a_put_that_fails_late_says_how_far_it_came() {
    let server = Server::start().await;
    let mut client = server.flight().await;
    let (mut send, receive) = mpsc::channel(1);
    let data = FlightDataEncoderBuilder::new()
        .with_flight_descriptor(Some(path(&["lab", "a"])))
        .with_schema(points(0..1).schema())
        .build(receive);
    let mut answers = client.do_put(data).await.expect("a put");
    send.send(Ok(points(0..1_000))).await.expect("taken");
    answers.next().await.expect("an answer").expect("a commit");
    let times = Arc::clone(points(0..1).column(0));
    let nan = Arc::new(Float64Array::from(vec![f64::NAN])) as ArrayRef;
    let bad = RecordBatch::try_new(points(0..1).schema(), vec![times, nan]).expect("a batch");
    send.send(Ok(bad)).await.expect("taken");
    let (code, message) = failure(answers.next().await.expect("an answer"));
    assert_eq!(code, Code::InvalidArgument);
    assert!(message.contains("row 1000"), "{message}");
    assert!(
        message.contains("1000 points of this put were applied"),
        "{message}"
    );
}
