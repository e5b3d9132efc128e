//! Paths, SQL text, tickets, messages.

use std::time::{Duration, SystemTime};

use arrow::array::RecordBatch;
use arrow_flight::{FlightDescriptor, Ticket};
use btrdb_flight::serve::ServeSettings;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use tonic::Code;

use super::*;

#[tokio::test]
async fn what_was_put_is_read_back_by_path_uuid_version_and_text() {
    let server = Server::start().await;
    let mut client = server.flight().await;
    let versions = put(&mut client, path(&["lab", "a/b"]), vec![points(0..10)])
        .await
        .expect("a put");
    let (uuid, version) = versions[0]
        .as_object()
        .and_then(|versions| versions.iter().next())
        .map(|(uuid, version)| (uuid.clone(), version.as_u64().expect("a version")))
        .expect("one stream");
    put(&mut client, path(&[&uuid]), vec![points(10..30)])
        .await
        .expect("a second put");
    for (descriptor, count) in [
        (path(&["lab", "a/b"]), 30),
        (path(&[&uuid]), 30),
        (path(&["lab", &format!("a/b@{version}")]), 10),
        (path(&[&format!("{uuid}@{version}")]), 10),
        (
            FlightDescriptor::new_cmd(format!("SELECT * FROM raw_values('{uuid}')")),
            30,
        ),
    ] {
        let info = client
            .get_flight_info(descriptor.clone())
            .await
            .expect("a FlightInfo");
        assert_eq!(info.endpoint.len(), 1);
        assert!(info.ordered);
        let declared = info.clone().try_decode_schema().expect("a schema");
        let promised = client.get_schema(descriptor).await.expect("a schema");
        assert_eq!(declared, promised);
        let ticket = info.endpoint[0].ticket.clone().expect("a ticket");
        let batches: Vec<RecordBatch> = client
            .do_get(ticket)
            .await
            .expect("a stream")
            .try_collect()
            .await
            .expect("rows");
        assert_eq!(*batches[0].schema(), declared);
        assert_eq!(
            batches.iter().map(RecordBatch::num_rows).sum::<usize>(),
            count
        );
    }
    let text = Ticket::new("SELECT count(*) FROM streams");
    let batches: Vec<_> = client
        .do_get(text)
        .await
        .expect("SQL text is a ticket")
        .try_collect()
        .await
        .expect("rows");
    assert_eq!(batches.len(), 1);
}

#[tokio::test]
async fn a_ticket_reads_what_the_store_held_when_it_was_given_out() {
    let server = Server::start().await;
    let mut client = server.flight().await;
    put(&mut client, path(&["lab", "a"]), vec![points(0..10)])
        .await
        .expect("a put");
    let info = client
        .get_flight_info(path(&["lab", "a"]))
        .await
        .expect("a FlightInfo");
    put(&mut client, path(&["lab", "a"]), vec![points(10..20)])
        .await
        .expect("a put");
    let ticket = info.endpoint[0].ticket.clone().expect("a ticket");
    // Twice: the first may find the plan remembered, the second plans again.
    for _ in 0..2 {
        let batches: Vec<_> = client
            .do_get(ticket.clone())
            .await
            .expect("a stream")
            .try_collect()
            .await
            .expect("rows");
        // A store that numbers no states is read as it is when the ticket is redeemed.
        let rows = if subject::is_loop() { 20 } else { 10 };
        assert_eq!(
            batches.iter().map(RecordBatch::num_rows).sum::<usize>(),
            rows
        );
    }
}

#[tokio::test]
async fn a_million_rows_come_in_messages_under_four_mebibytes() {
    let server = Server::start().await;
    let mut client = server.flight().await;
    let batches = (0..16).map(|part| points(part * 65_536..(part + 1) * 65_536));
    put(&mut client, path(&["lab", "a"]), batches.collect())
        .await
        .expect("a put");
    let info = client
        .get_flight_info(path(&["lab", "a"]))
        .await
        .expect("a FlightInfo");
    let ticket = info.endpoint[0].ticket.clone().expect("a ticket");
    let mut messages = client
        .inner_mut()
        .do_get(ticket)
        .await
        .expect("a stream")
        .into_inner();
    let (mut count, mut bytes) = (0, 0);
    while let Some(message) = messages.message().await.expect("a message") {
        let size = message.data_header.len() + message.data_body.len();
        assert!(size < 4 << 20, "{size} bytes");
        count += 1;
        bytes += message.data_body.len();
    }
    assert!(bytes >= 16 << 20, "{bytes} bytes");
    assert!((8..=80).contains(&count), "{count} messages are shreds");
}

#[tokio::test]
async fn garbage_is_refused_with_a_sentence() {
    let server = Server::start().await;
    let mut client = server.flight().await;
    for garbage in [&b"\xff\xfe\x00"[..], b"", b"\x0a\x05hello"] {
        let ticket = Ticket::new(Bytes::copy_from_slice(garbage));
        let outcome = client.do_get(ticket).await.map(drop);
        assert_eq!(failure(outcome).0, Code::InvalidArgument);
        let descriptor = FlightDescriptor::new_cmd(Bytes::copy_from_slice(garbage));
        let outcome = client.get_flight_info(descriptor).await;
        assert_eq!(failure(outcome).0, Code::InvalidArgument);
    }
    for (parts, code, said) in [
        (
            &["a", "b", "c"][..],
            Code::InvalidArgument,
            "[collection, name]",
        ),
        (&["x"], Code::InvalidArgument, "uuid"),
        (&["no", "such"], Code::NotFound, "no/such"),
        (
            &["00000000-0000-0000-0000-000000000001"],
            Code::NotFound,
            "00000000",
        ),
    ] {
        let (found, message) = failure(client.get_flight_info(path(parts)).await);
        assert_eq!(found, code, "{message}");
        assert!(message.contains(said), "{message}");
    }
    let (code, message) = failure(rows(&mut client, "SELEKT 1").await);
    assert_eq!(code, Code::InvalidArgument, "{message}");
}

#[tokio::test]
async fn forged_and_expired_tickets_are_refused_and_shared_keys_accepted() {
    let settings = |key: u8, seconds: u64| ServeSettings {
        ticket_key: Some([key; 32]),
        clock: Arc::new(move || SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)),
        ..ServeSettings::default()
    };
    let origin = Server::start_with(settings(1, 1_000)).await;
    let mut client = origin.flight().await;
    let info = client
        .get_flight_info(FlightDescriptor::new_cmd("SELECT count(*) FROM streams"))
        .await
        .expect("a FlightInfo");
    let ticket = info.endpoint[0].ticket.clone().expect("a ticket");
    let expiry = info.endpoint[0].expiration_time.expect("an expiry");
    assert_eq!(expiry.seconds, 1_000 + 60 * 60);

    let mut forged = ticket.ticket.to_vec();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    let outcome = client.do_get(Ticket::new(forged)).await.map(drop);
    assert_eq!(failure(outcome).0, Code::InvalidArgument);

    for (server, expected) in [
        (settings(1, 2_000), None),
        (settings(2, 2_000), Some(Code::InvalidArgument)),
        (settings(1, 9_000), Some(Code::NotFound)),
    ] {
        let other = Server::start_with(server).await;
        let outcome = other.flight().await.do_get(ticket.clone()).await.map(drop);
        match expected {
            None => outcome.expect("a replica takes the ticket"),
            Some(code) => assert_eq!(failure(outcome).0, code),
        }
    }
}

#[tokio::test]
async fn streams_are_listed_as_flights_by_prefix() {
    let server = Server::start().await;
    let mut client = server.flight().await;
    let batch = long("pmu/one", &["a", "b"], 0..4);
    put(&mut client, path(&["points"]), vec![batch])
        .await
        .expect("a put");
    put(&mut client, path(&["lab", "a"]), vec![points(0..3)])
        .await
        .expect("a put");
    for (prefix, expected) in [("", 3), ("pmu/", 2), ("nothing", 0)] {
        let listed: Vec<_> = client
            .list_flights(Bytes::from(prefix))
            .await
            .expect("a list")
            .try_collect()
            .await
            .expect("flights");
        assert_eq!(listed.len(), expected, "{prefix}");
        for info in listed {
            let ticket = info.endpoint[0].ticket.clone().expect("a ticket");
            let batches: Vec<_> = client
                .do_get(ticket)
                .await
                .expect("a stream")
                .try_collect()
                .await
                .expect("rows");
            assert!(batches.iter().map(RecordBatch::num_rows).sum::<usize>() >= 2);
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_stops_the_work() {
    let server = Server::start().await;
    let mut client = server.flight().await;
    let batches = (0..16).map(|part| points(part * 65_536..(part + 1) * 65_536));
    put(&mut client, path(&["lab", "a"]), batches.collect())
        .await
        .expect("a put");
    // A product of a million rows with itself would take hours.
    let sql = "SELECT a.value FROM lab.a AS a CROSS JOIN lab.a AS b";
    let info = client
        .get_flight_info(FlightDescriptor::new_cmd(sql))
        .await
        .expect("a FlightInfo");
    let ticket = info.endpoint[0].ticket.clone().expect("a ticket");
    let mut stream = client.do_get(ticket).await.expect("a stream");
    stream.next().await.expect("a batch").expect("rows");
    drop(stream);
    // What is dropped leaves: the server drains at once although it was asked for hours of work.
    drop(client);
    tokio::time::timeout(Duration::from_secs(5), server.stop())
        .await
        .expect("in time")
        .expect("no error");
}
