//! Messages: compressed if asked, small at first, alive while a statement computes.

use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::ipc::CompressionType;
use arrow::ipc::root_as_message;
use arrow::ipc::writer::IpcWriteOptions;
use arrow_flight::{FlightData, FlightDescriptor, Ticket};
use btrdb_flight::serve::ServeSettings;
use futures::TryStreamExt;
use tonic::Code;

use super::*;

/// The messages behind the schema.
async fn messages(client: &mut FlightClient, ticket: Ticket) -> Vec<FlightData> {
    let mut request = tonic::Request::new(ticket);
    *request.metadata_mut() = client.metadata().clone();
    let call = client.inner_mut().do_get(request).await;
    let messages: Vec<_> = call
        .expect("a stream")
        .into_inner()
        .try_collect()
        .await
        .expect("messages");
    messages[1..].to_vec()
}

fn codec(message: &FlightData) -> Option<CompressionType> {
    let header = root_as_message(&message.data_header).expect("a message");
    let batch = header.header_as_record_batch().expect("a batch");
    batch.compression().map(|compression| compression.codec())
}

#[tokio::test]
async fn bodies_are_compressed_if_the_call_or_its_ticket_asks() {
    let server = Server::start().await;
    let mut client = server.flight().await;
    put(&mut client, path(&["lab", "a"]), vec![points(0..50_000)])
        .await
        .expect("a put");
    for (asked, expected) in [
        (None, None),
        (Some("none"), None),
        (Some("lz4"), Some(CompressionType::LZ4_FRAME)),
        (Some("zstd"), Some(CompressionType::ZSTD)),
    ] {
        let mut asking = server.flight().await;
        if let Some(name) = asked {
            asking
                .add_header("x-btrdb-compression", name)
                .expect("a header");
        }
        let info = asking
            .get_flight_info(path(&["lab", "a"]))
            .await
            .expect("a FlightInfo");
        let ticket = info.endpoint[0].ticket.clone().expect("a ticket");
        // The client without the header redeems the ticket of the one with it.
        for message in messages(&mut client, ticket.clone()).await {
            assert_eq!(codec(&message), expected);
        }
        let batches: Vec<_> = asking
            .do_get(ticket)
            .await
            .expect("a stream")
            .try_collect()
            .await
            .expect("rows");
        let schema = batches[0].schema();
        let received = arrow::compute::concat_batches(&schema, &batches).expect("one schema");
        assert_eq!(received.columns(), points(0..50_000).columns());
    }
    // SQL text, and what the catalog says, have no ticket that could have been told before.
    client
        .add_header("x-btrdb-compression", "zstd")
        .expect("a header");
    let text = Ticket::new("SELECT time, value FROM lab.a");
    let sent = messages(&mut client, text).await;
    assert_eq!(codec(&sent[0]), Some(CompressionType::ZSTD));
    let plain: usize = 50_000 * 16;
    let compressed: usize = sent.iter().map(|message| message.data_body.len()).sum();
    assert!(compressed < plain / 2, "{compressed} of {plain} bytes");
}

#[tokio::test]
async fn a_compression_that_there_is_not_is_refused() {
    let server = Server::start().await;
    let mut client = server.flight().await;
    client
        .add_header("x-btrdb-compression", "gzip")
        .expect("a header");
    let (code, message) = failure(rows(&mut client, "SELECT 1").await);
    assert_eq!(code, Code::InvalidArgument);
    assert!(message.contains("lz4, zstd or none"), "{message}");
}

#[tokio::test]
async fn puts_may_be_compressed() {
    let server = Server::start().await;
    let mut client = server.flight().await;
    for (name, codec) in [
        ("lz4", CompressionType::LZ4_FRAME),
        ("zstd", CompressionType::ZSTD),
    ] {
        let options = IpcWriteOptions::default()
            .try_with_compression(Some(codec))
            .expect("a codec that was built in");
        let batch = points(0..10_000);
        let data = FlightDataEncoderBuilder::new()
            .with_flight_descriptor(Some(path(&["lab", name])))
            .with_schema(batch.schema())
            .with_options(options)
            .build(futures::stream::iter([Ok(batch)]));
        let answers: Vec<_> = client
            .do_put(data)
            .await
            .expect("taken")
            .try_collect()
            .await
            .expect("stored");
        assert_eq!(answers.len(), 1);
        let sql = format!("SELECT count(*) FROM lab.{name} WHERE value >= 0");
        assert_eq!(number(&mut client, &sql).await, 10_000);
    }
}

#[tokio::test]
async fn the_first_message_is_small() {
    let server = Server::start().await;
    let mut client = server.flight().await;
    put(&mut client, path(&["lab", "a"]), vec![points(0..500_000)])
        .await
        .expect("a put");
    let text = Ticket::new("SELECT time, value FROM lab.a");
    let sent = messages(&mut client, text).await;
    let bytes: Vec<_> = sent.iter().map(|message| message.data_body.len()).collect();
    assert!(bytes[0] <= 130 << 10, "{bytes:?}");
    assert!(bytes.iter().sum::<usize>() >= 8_000_000, "{bytes:?}");
    assert!(bytes.len() <= 30, "{bytes:?}");
}

#[tokio::test]
async fn a_put_of_one_large_message_is_taken() {
    let server = Server::start().await;
    let mut client = server.flight().await;
    // 24 MiB: beyond what gRPC takes by default, and what some servers allow.
    let batch = points(0..1_500_000);
    let data = FlightDataEncoderBuilder::new()
        .with_flight_descriptor(Some(path(&["lab", "a"])))
        .with_schema(batch.schema())
        .with_max_flight_data_size(usize::MAX)
        .build(futures::stream::iter([Ok(batch)]));
    let answers: Vec<_> = client
        .do_put(data)
        .await
        .expect("taken")
        .try_collect()
        .await
        .expect("stored");
    assert!(!answers.is_empty());
    assert_eq!(
        number(&mut client, "SELECT count(*) FROM lab.a").await,
        1_500_000
    );
}

#[tokio::test]
async fn a_statement_that_computes_long_shows_signs_of_life() {
    let server = Server::start_with(ServeSettings {
        keep_alive: Duration::from_millis(10),
        ..ServeSettings::default()
    })
    .await;
    let mut client = server.flight().await;
    put(&mut client, path(&["lab", "a"]), vec![points(0..4_000)])
        .await
        .expect("a put");
    // Sixteen million pairs.
    let slow = "SELECT sum(a.value * b.value) AS total FROM lab.a AS a JOIN lab.a AS b ON a.value < b.value + 1e9";
    let info = client
        .get_flight_info(FlightDescriptor::new_cmd(slow))
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
    let empty = batches.iter().filter(|batch| batch.num_rows() == 0).count();
    assert!(empty >= 1, "no sign of life");
    assert_eq!(batches.len() - empty, 1);
    for batch in batches {
        assert_eq!(batch.schema().field(0).name(), "total");
    }
}
