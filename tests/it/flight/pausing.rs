//! Readers that leave, and readers that stop reading: what they keep the server from letting go, and for how long.

use std::time::{Duration, Instant};

use arrow_flight::Ticket;
use btrdb_flight::serve::ServeSettings;
use futures::StreamExt;
use tonic::Code;

use super::*;

const POINTS: i64 = 3_000_000;

const SQL: &str = "SELECT time, value FROM lab.a";

/// A server with a stream of three million points: 48 MB, far more than all windows and buffers on the way.
async fn filled(settings: ServeSettings) -> Server {
    let server = Server::start_with(settings).await;
    let mut client = server.flight().await;
    let batches = (0..30).map(|part| points(part * POINTS / 30..(part + 1) * POINTS / 30));
    put(&mut client, path(&["lab", "a"]), batches.collect())
        .await
        .expect("a put");
    server
}

/// A client whose windows are small, so that the server soon has to wait for it.
async fn narrow(server: &Server) -> FlightClient {
    let channel = Endpoint::from_shared(format!("http://{}", server.address))
        .expect("an address")
        .initial_stream_window_size(64 << 10)
        .initial_connection_window_size(64 << 10)
        .connect()
        .await
        .expect("a connection");
    FlightClient::new(channel)
}

/// How many hold on to the store's counters: whoever counts, and each read that is not over.
fn held(server: &Server) -> usize {
    Arc::strong_count(&server.backend.counts())
}

/// Waits until no more is held than `expected`; answers how long that took.
async fn released(server: &Server, expected: usize) -> Duration {
    let started = Instant::now();
    while held(server) > expected {
        assert!(
            started.elapsed() < Duration::from_secs(10),
            "{} are held, not {expected}",
            held(server)
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    started.elapsed()
}

/// What is held when nothing runs.
async fn at_rest(server: &Server) -> usize {
    let mut client = server.flight().await;
    let read = rows(&mut client, SQL).await.expect("rows");
    let count: usize = read.iter().map(RecordBatch::num_rows).sum();
    assert_eq!(count as i64, POINTS);
    // The answer's last message may be read before the server has put the statement away.
    tokio::time::sleep(Duration::from_millis(200)).await;
    held(server)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_who_leaves_frees_everything_within_a_second() {
    let server = filled(ServeSettings::default()).await;
    let rest = at_rest(&server).await;
    let mut client = narrow(&server).await;
    let mut stream = client.do_get(Ticket::new(SQL)).await.expect("a stream");
    stream.next().await.expect("more").expect("a batch");
    assert!(held(&server) > rest, "the statement runs");
    drop(stream);
    let took = released(&server, rest).await;
    assert!(took < Duration::from_secs(1), "{took:?}");
    // The connection stays good.
    assert_eq!(
        number(&mut client, "SELECT count(*) FROM lab.a").await,
        POINTS
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_frees_everything_within_a_second() {
    let server = filled(ServeSettings::default()).await;
    let rest = at_rest(&server).await;
    let mut client = narrow(&server).await;
    let mut stream = client.do_get(Ticket::new(SQL)).await.expect("a stream");
    stream.next().await.expect("more").expect("a batch");
    assert!(held(&server) > rest, "the statement runs");
    drop((stream, client));
    let took = released(&server, rest).await;
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_is_read_for_a_reader_who_pauses_than_is_on_its_way() {
    let server = filled(ServeSettings::default()).await;
    at_rest(&server).await;
    let counts = server.backend.counts();
    let before = counts.points();
    let mut client = narrow(&server).await;
    let mut stream = client.do_get(Ticket::new(SQL)).await.expect("a stream");
    stream.next().await.expect("more").expect("a batch");
    tokio::time::sleep(Duration::from_millis(500)).await;
    let read = counts.points() - before;
    // Four MiB: buffers of the sockets, of HTTP/2, and the batch at hand.
    assert!(read <= 400_000, "{read} points were read");
    let more: usize = stream
        .map(|batch| batch.expect("a batch").num_rows())
        .fold(0, |sum, rows| async move { sum + rows })
        .await;
    assert!(more as u64 > read, "it reads on when the reader does");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_who_pauses_too_long_is_given_up_and_told() {
    let server = filled(ServeSettings {
        idle_max: Duration::from_millis(700),
        ..ServeSettings::default()
    })
    .await;
    let rest = at_rest(&server).await;
    let mut client = narrow(&server).await;
    let mut stream = client.do_get(Ticket::new(SQL)).await.expect("a stream");
    stream.next().await.expect("more").expect("a batch");
    assert!(held(&server) > rest, "the statement runs");
    // Nobody reads, and nobody leaves.
    let took = released(&server, rest).await;
    assert!(took >= Duration::from_millis(300), "{took:?}");
    assert!(took < Duration::from_millis(1_900), "{took:?}");
    let late = loop {
        match stream.next().await.expect("no good end") {
            Ok(_) => {}
            Err(FlightError::Tonic(status)) => break status,
            Err(other) => panic!("not a status: {other}"),
        }
    };
    assert_eq!(late.code(), Code::DeadlineExceeded);
    assert!(late.message().contains("nobody read"), "{late}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_gets_everything() {
    let server = filled(ServeSettings {
        idle_max: Duration::from_millis(700),
        ..ServeSettings::default()
    })
    .await;
    let mut client = narrow(&server).await;
    let mut stream = client.do_get(Ticket::new(SQL)).await.expect("a stream");
    let mut count = 0;
    let started = Instant::now();
    while let Some(batch) = stream.next().await {
        count += batch.expect("a batch").num_rows();
        if started.elapsed() < Duration::from_millis(2_000) {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    assert_eq!(count as i64, POINTS);
}
