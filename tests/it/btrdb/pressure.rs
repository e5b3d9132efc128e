//! Answers that are larger than memory, or than anyone's patience.

use std::sync::Arc;

use super::*;

/// Streams of the backend that are being read now.
fn open_reads(server: &Server) -> usize {
    // Each holds the counts; so do the backend and this call.
    Arc::strong_count(&server.backend.counts()) - 2
}

/// Windows a nanosecond wide over all of time: 2^62 of them.
#[tokio::test]
async fn windows_beyond_number_come_as_they_are_read() {
    let server = Server::start().await;
    let uuid = server
        .stream_of(1, &[(MIN_TIME + 7, 1.0), (MIN_TIME + 12_000, 2.0)])
        .await;
    let params = regular(&uuid, MIN_TIME, MAX_TIME, 1);
    let mut answers = server
        .client()
        .windows(params.clone())
        .await
        .expect("an answer")
        .into_inner();
    let mut next = MIN_TIME;
    for _ in 0..20 {
        let message = answers.message().await.expect("no status").expect("no end");
        assert_eq!((message.stat, message.version_major), (None, 11));
        assert!((1..=5000).contains(&message.values.len()));
        for window in message.values {
            assert_eq!(window.time, next);
            assert_eq!(
                window.count,
                u64::from([7, 12_000].contains(&(next - MIN_TIME)))
            );
            next += 1;
        }
    }
    drop(answers);
    until("the read ends", || open_reads(&server) == 0).await;
    let mut answers = server
        .client()
        .arrow_windows(params)
        .await
        .expect("an answer")
        .into_inner();
    for _ in 0..5 {
        let message = answers.message().await.expect("no status").expect("no end");
        assert!(table(&windows_schema(), [message.arrow_bytes]).num_rows() > 5000);
    }
    drop(answers);
    until("the read ends", || open_reads(&server) == 0).await;
}

/// A client that reads one message and no more: the server reads on as far as the connection takes it, and no further; and
/// nothing at all once the client has gone.
#[tokio::test]
async fn nobody_works_for_a_client_that_does_not_read() {
    let server = Server::start().await;
    let uuid = server.stream(1).await;
    let total = 1_000_000;
    for part in 0..4 {
        let points: Vec<_> = (0..250_000).map(|i| (part * 250_000 + i, 1.0)).collect();
        server.insert(&uuid, &points).await.expect("inserted");
    }
    let counts = server.backend.counts();
    let mut plain = server
        .client()
        .raw_values(raw(&uuid, 0, total, 0))
        .await
        .expect("an answer")
        .into_inner();
    plain.message().await.expect("no status").expect("no end");
    let mut windows = server
        .client()
        .windows(regular(&uuid, 0, total, 1))
        .await
        .expect("an answer")
        .into_inner();
    windows.message().await.expect("no status").expect("no end");
    assert_eq!(open_reads(&server), 3, "two reads, and the counts here");
    let mut before = (0, 0);
    loop {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let now = (counts.points(), counts.windows());
        if now == before {
            break;
        }
        before = now;
    }
    assert!(
        before.0 < 700_000 && before.1 < 700_000,
        "{before:?} were read"
    );
    drop((plain, windows));
    until("the reads end", || open_reads(&server) == 1).await;
    assert_eq!((counts.points(), counts.windows()), before);
}
