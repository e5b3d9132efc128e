//! Much data over our own server: wires that are cut anywhere, readers that interleave, memory that is bounded.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use btrdb_flight::backend::Backend;
use btrdb_flight::backend::observed::{Observed, Operation};
use btrdb_flight::engine::Engine;
use btrdb_flight::model::{
    Cuts, Direction, InsertOptions, PointQuery, StatQuery, StreamId, StreamRead, TimeRange, Write,
};
use btrdb_flight::remote::{Remote, Settings};
use futures::stream::{self, StreamExt, TryStreamExt};

use super::proxy::{Proxy, Wire};
use super::script::{Script, raw};
use super::{STREAM, points, quick, remote, rows, script};
use crate::conformance::serve;

/// A store in memory behind a server, its streams, and what the server was asked.
struct Store {
    address: String,
    observed: Arc<Observed>,
    streams: Vec<StreamId>,
    _server: tokio::task::JoinSet<()>,
}

/// Time of the i-th point: 30 Hz.
fn time(i: i64) -> i64 {
    1_500_000_000_000_000_000 + i * 33_333_333
}

impl Store {
    async fn with(streams: usize, points: i64) -> Self {
        let observed = Arc::new(Observed::new(Engine::memory()));
        let (address, server) = serve(Arc::clone(&observed) as Arc<dyn Backend>).await;
        let mut ids = Vec::new();
        for i in 0..streams {
            let stream = crate::conformance::descriptor(&format!("c/{i}"));
            let id = stream.id;
            observed.create(stream).await.expect("created");
            let write = Write {
                stream: id,
                times: (0..points).map(time).collect::<Vec<_>>().into(),
                values: (0..points).map(|i| i as f64).collect::<Vec<_>>().into(),
            };
            let answer = observed
                .insert(vec![write], InsertOptions::default())
                .await
                .remove(0);
            answer.expect("inserted");
            ids.push(id);
        }
        Self {
            address,
            observed,
            streams: ids,
            _server: server,
        }
    }

    fn reads(&self) -> Vec<StreamRead> {
        self.streams
            .iter()
            .copied()
            .map(StreamRead::latest)
            .collect()
    }

    fn calls(&self, operation: Operation) -> u64 {
        self.observed.counts().calls(operation)
    }
}

fn patient(address: &str) -> Settings {
    Settings {
        connections: 1,
        retries: 0,
        idle_deadline: Duration::from_secs(20),
        call_deadline: Duration::from_secs(20),
        ..Settings::new(address)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_cut_wire_never_gives_a_short_answer() {
    let store = Store::with(1, 200_000).await;
    let mut errors = 0;
    for step in 0..40 {
        let proxy = Proxy::before(&store.address).await;
        let remote = Remote::connect(patient(&proxy.address))
            .await
            .expect("connected");
        proxy.set(Wire::CutAfter(1000 + step * 100_003));
        let read = points(
            &remote,
            store.streams[0],
            TimeRange::ALL.start,
            TimeRange::ALL.end,
        )
        .await;
        match read {
            Ok(rows) => assert_eq!(rows.len(), 200_000, "cut {step}"),
            Err(_) => errors += 1,
        }
    }
    assert!(
        (20..40).contains(&errors),
        "{errors} of 40 were cut before the end"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn large_streams_over_one_connection_do_not_block_each_other() {
    let store = Store::with(12, 300_000).await;
    let remote = Remote::connect(patient(&store.address))
        .await
        .expect("connected");
    let query = || PointQuery::new(store.reads(), TimeRange::ALL);
    // One query is begun and left alone, another one read to its end, then the first: 115 MB in all.
    let mut first = remote.points(query());
    let begun = first.next().await.expect("a batch").expect("points").len();
    let second = rows(&remote, query()).await.expect("points");
    assert_eq!(second.len(), 12 * 300_000);
    let rest: Vec<_> = first.try_collect().await.expect("points");
    let rest: usize = rest.iter().map(|batch| batch.len()).sum();
    assert_eq!(begun + rest, 12 * 300_000);
}

/// A server whose streams have no end, and how many bytes it has sent.
fn endless() -> (Script, Arc<AtomicUsize>) {
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let endless = move |_, _| {
        let count = Arc::clone(&count);
        stream::repeat_with(move || {
            count.fetch_add(5000 * 17, Ordering::Relaxed);
            Ok(raw(11, &vec![(1, 1.0); 5000]))
        })
        .boxed()
    };
    let script = Script {
        raw_values: Some(Box::new(endless)),
        ..script(29)
    };
    (script, sent)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_nobody_reads_is_not_sent() {
    let (script, sent) = endless();
    let (remote, _server) = remote(script).await;
    let query = PointQuery::new(vec![StreamRead::latest(STREAM); 500], TimeRange::ALL);
    let mut batches = remote.points(query);
    for _ in 0..100 {
        batches.next().await.expect("a batch").expect("points");
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let sent = sent.load(Ordering::Relaxed);
    assert!(sent < 80 << 20, "{} MB were sent", sent >> 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers_that_stand_still_hold_one_budget_together() {
    const READERS: usize = 60;
    let (script, sent) = endless();
    let server = script.start().await;
    let settings = Settings {
        read_ahead_bytes: 16 << 20,
        ..patient(&server.address)
    };
    let remote = Remote::connect(settings).await.expect("connected");
    let mut readers = Vec::new();
    for _ in 0..READERS {
        let reads = vec![StreamRead::latest(STREAM); 20];
        let mut reader = remote.points(PointQuery::new(reads, TimeRange::ALL));
        reader.next().await.expect("a batch").expect("points");
        readers.push(reader);
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    // The budget, and for each reader a small window, a few messages, and what its server has ready: without a budget 2 GB.
    let held = sent.load(Ordering::Relaxed);
    assert!(held < 150 << 20, "{} MB were sent", held >> 20);
    // Nobody waits for room that another reader has.
    for reader in &mut readers {
        for _ in 0..30 {
            reader.next().await.expect("a batch").expect("points");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_last_points_are_found_without_reading_the_rest() {
    let store = Store::with(1, 500_000).await;
    let remote = Remote::connect(quick(&store.address))
        .await
        .expect("connected");
    let before = store.observed.counts().points();
    for limit in [1, 100, 5000] {
        let query = PointQuery {
            direction: Direction::Backward,
            limit: Some(limit),
            ..PointQuery::new(store.reads(), TimeRange::ALL)
        };
        let found = rows(&remote, query).await.expect("points");
        let expected = (500_000 - limit as i64..500_000)
            .rev()
            .map(|i| (time(i), i as f64));
        assert!(found.into_iter().eq(expected), "the last {limit}");
    }
    let read = store.observed.counts().points() - before;
    assert!(read < 20_000, "{read} points were read for 5,101");
    assert!(store.calls(Operation::Stats) < 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn all_points_from_the_end_take_few_calls() {
    let store = Store::with(1, 500_000).await;
    let remote = Remote::connect(quick(&store.address))
        .await
        .expect("connected");
    let query = PointQuery {
        direction: Direction::Backward,
        ..PointQuery::new(store.reads(), TimeRange::ALL)
    };
    let batches: Vec<_> = remote.points(query).try_collect().await.expect("points");
    assert!(batches.iter().all(|batch| batch.len() <= 65_536));
    let times = batches.iter().flat_map(|batch| batch.times.iter().copied());
    assert!(times.eq((0..500_000).rev().map(time)));
    let calls = store.calls(Operation::Points) + store.calls(Operation::Stats);
    assert!(calls < 40, "{calls} calls for 500,000 points");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn narrow_windows_over_all_of_time_take_few_calls() {
    let store = Store::with(1, 50_000).await;
    let remote = Remote::connect(patient(&store.address))
        .await
        .expect("connected");
    // From one window for each point to many points a window, all of them over 146 years.
    for width in [1, 1_000_000, 33_333_333, 1_000_000_000, 60_000_000_000] {
        let cuts = Cuts::Every { origin: 7, width };
        let query = StatQuery::new(store.reads(), TimeRange::ALL, cuts);
        let before = store.calls(Operation::Points) + store.calls(Operation::Stats);
        let found: Vec<_> = remote
            .stats(query.clone())
            .try_collect()
            .await
            .expect("windows");
        let calls = store.calls(Operation::Points) + store.calls(Operation::Stats) - before;
        let expected: Vec<_> = store
            .observed
            .stats(query)
            .try_collect()
            .await
            .expect("windows");
        let windows = |batches: &[btrdb_flight::model::StatBatch]| -> Vec<(i64, u64, f64, f64)> {
            let rows = batches
                .iter()
                .flat_map(|batch| batch.times.iter().zip(&batch.stats));
            rows.map(|(&time, stat)| (time, stat.count, stat.min, stat.max))
                .collect()
        };
        assert!(windows(&found) == windows(&expected), "every {width} ns");
        assert!(calls < 20, "{calls} calls for windows of {width} ns");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_streams_are_asked_side_by_side() {
    let store = Store::with(1000, 20).await;
    let remote = Remote::connect(quick(&store.address))
        .await
        .expect("connected");
    let query = PointQuery::new(store.reads(), TimeRange::ALL);
    let batches: Vec<_> = remote.points(query).try_collect().await.expect("points");
    assert!(batches.iter().map(|batch| batch.stream).eq(0..1000));
    assert!(batches.iter().all(|batch| batch.len() == 20));
    let cuts = Cuts::whole(TimeRange::ALL);
    let query = StatQuery::new(store.reads(), TimeRange::ALL, cuts);
    let batches: Vec<_> = remote.stats(query).try_collect().await.expect("windows");
    let counts = batches.iter().flat_map(|batch| &batch.stats);
    assert_eq!(counts.filter(|stat| stat.count == 20).count(), 1000);
}
