//! Streams as flights, by criteria; and the other descriptors that name what to read.

use arrow::array::{AsArray, RecordBatch};
use arrow_flight::{FlightDescriptor, FlightInfo, Ticket};
use bytes::Bytes;
use tonic::Code;

use super::*;

fn texts(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

/// Streams a to d of two collections: a and b share a name, so that a path does not tell them apart.
async fn streams(client: &mut FlightClient) {
    let batch = RecordBatch::try_from_iter([
        ("collection", texts(&["lab", "lab", "lab", "field"])),
        ("name", texts(&["x", "x", "y", "x"])),
        ("unit", texts(&["V", "A", "V", "V"])),
    ])
    .expect("columns of one length");
    put(client, path(&["streams"]), vec![batch])
        .await
        .expect("created");
}

async fn list(client: &mut FlightClient, criteria: &str) -> Result<Vec<FlightInfo>, FlightError> {
    let criteria = Bytes::copy_from_slice(criteria.as_bytes());
    client.list_flights(criteria).await?.try_collect().await
}

fn paths(flights: &[FlightInfo]) -> Vec<usize> {
    let parts = flights.iter().map(|flight| {
        let descriptor = flight.flight_descriptor.as_ref().expect("a descriptor");
        descriptor.path.len()
    });
    parts.collect()
}

#[tokio::test]
async fn criteria_are_a_prefix_or_json() {
    let server = Server::start().await;
    let mut client = server.flight().await;
    streams(&mut client).await;
    for (criteria, expected) in [
        ("", 4),
        ("la", 3),
        (r#"{"collection": "lab"}"#, 3),
        (r#"{"collection_prefix": "fi"}"#, 1),
        (r#"{"name": "x"}"#, 3),
        (r#"{"tags": {"unit": "V"}}"#, 3),
        (r#"{"collection": "lab", "tags": {"unit": "A"}}"#, 1),
        (r#"{"annotations": {"phase": null}}"#, 0),
        (r#"{}"#, 4),
    ] {
        let flights = list(&mut client, criteria).await.expect("flights");
        assert_eq!(flights.len(), expected, "{criteria}");
        for flight in flights {
            // Each is a descriptor that can be asked about, and a ticket that can be read.
            let descriptor = flight.flight_descriptor.clone().expect("a descriptor");
            client
                .get_flight_info(descriptor)
                .await
                .expect("a FlightInfo");
            let ticket = flight.endpoint[0].ticket.clone().expect("a ticket");
            let rows: Vec<_> = client
                .do_get(ticket)
                .await
                .expect("a stream")
                .try_collect()
                .await
                .expect("rows");
            assert!(rows.iter().all(|batch: &RecordBatch| batch.num_rows() == 0));
        }
    }
    for criteria in [
        "{",
        r#"{"colour": "red"}"#,
        r#"{"tags": {"colour": "red"}}"#,
    ] {
        let (code, message) = failure(list(&mut client, criteria).await);
        assert_eq!(code, Code::InvalidArgument, "{message}");
    }
}

#[tokio::test]
async fn a_shared_name_is_listed_by_uuid_whatever_else_is_asked() {
    let server = Server::start().await;
    let mut client = server.flight().await;
    streams(&mut client).await;
    let flights = list(&mut client, "lab").await.expect("flights");
    assert_eq!(paths(&flights), [1, 1, 2]);
    // Only one of the two is listed, and its name is shared all the same.
    let flights = list(&mut client, r#"{"tags": {"unit": "A"}}"#).await;
    let flights = flights.expect("flights");
    assert_eq!(paths(&flights), [1]);
    let metadata: Value = serde_json::from_slice(&flights[0].app_metadata).expect("JSON");
    assert_eq!(
        (&metadata["collection"], &metadata["unit"]),
        (&"lab".into(), &"A".into())
    );
}

#[tokio::test]
async fn relations_and_prefixes_are_read_by_path_and_by_text() {
    let server = Server::start().await;
    let mut client = server.flight().await;
    let batch = long("pmu", &["a", "b"], 0..6);
    put(&mut client, path(&["points"]), vec![batch])
        .await
        .expect("a put");
    put(&mut client, path(&["pmu/one/c"]), vec![points(0..3)])
        .await
        .expect("a put");
    for (word, rows, column) in [
        ("points", 9, "unit"),
        ("streams", 3, "annotations"),
        ("collections", 2, "stream_count"),
        ("pmu/*", 9, "collection"),
        ("pmu/one/c", 3, "value"),
        ("pmu/a", 3, "value"),
    ] {
        let info = client
            .get_flight_info(path(&[word]))
            .await
            .expect("a FlightInfo");
        let schema = client.get_schema(path(&[word])).await.expect("a schema");
        schema.index_of(column).expect(word);
        let planned = info.endpoint[0].ticket.clone().expect("a ticket");
        for ticket in [planned, Ticket::new(word.to_owned())] {
            let batches: Vec<RecordBatch> = client
                .do_get(ticket)
                .await
                .expect("a stream")
                .try_collect()
                .await
                .expect("rows");
            let found: usize = batches.iter().map(RecordBatch::num_rows).sum();
            assert_eq!(found, rows, "{word}");
            assert_eq!(*batches[0].schema(), schema, "{word}");
        }
        let command = FlightDescriptor::new_cmd(word.to_owned());
        let declared = client.get_schema(command).await.expect("a schema");
        assert_eq!(declared, schema, "{word}");
    }
    let (code, message) = failure(client.get_flight_info(path(&["pmu/nothing"])).await);
    assert_eq!(code, Code::NotFound, "{message}");
    let (code, message) = failure(client.get_flight_info(path(&["word"])).await);
    assert_eq!(code, Code::InvalidArgument, "{message}");
    assert!(message.contains("[points]"), "{message}");
}

#[tokio::test]
async fn collections_with_quotes_are_prefixes_too() {
    let server = Server::start().await;
    let mut client = server.flight().await;
    put(&mut client, path(&["o'neil", "a"]), vec![points(0..3)])
        .await
        .expect("a put");
    let info = client
        .get_flight_info(path(&["o'neil/*"]))
        .await
        .expect("a FlightInfo");
    let ticket = info.endpoint[0].ticket.clone().expect("a ticket");
    let batches: Vec<RecordBatch> = client
        .do_get(ticket)
        .await
        .expect("a stream")
        .try_collect()
        .await
        .expect("rows");
    let names = batches[0].column_by_name("collection").expect("a column");
    assert_eq!(names.as_string::<i32>().value(0), "o'neil");
}
