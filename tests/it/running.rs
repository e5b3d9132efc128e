//! What statements do while they run: one state of the store, bounded work, numbers to tell.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use btrdb_flight::backend::Backend;
use btrdb_flight::backend::observed::Observed;
use btrdb_flight::engine::Engine;
use btrdb_flight::model::{
    Cuts, InsertOptions, Probe, Stat, StatQuery, StreamRead, TimeRange, Version, Write,
};
use btrdb_flight::query::{Gateway, GatewaySettings, SessionOptions, from_datafusion};
use futures::{StreamExt, TryStreamExt};

use crate::sql::{SECOND, create, id};

async fn rows(gateway: &Gateway, sql: &str) -> Vec<RecordBatch> {
    let statement = gateway.prepare(sql, &SessionOptions::default()).await;
    let statement = statement.unwrap_or_else(|error| panic!("{sql}: {error}"));
    let rows = statement.execute().await.expect("starts");
    rows.try_collect()
        .await
        .map_err(from_datafusion)
        .expect("answers")
}

/// The same points for two streams, in one call, and so in one commit.
async fn insert_twice(backend: &dyn Backend, first: i64, points: i64) {
    let times: Vec<i64> = (first..first + points).map(|i| i * SECOND).collect();
    let values: Vec<f64> = (first..first + points).map(|i| i as f64).collect();
    let writes = [1, 2].map(|number| Write {
        stream: id(number),
        times: times.clone().into(),
        values: values.clone().into(),
    });
    for answer in backend
        .insert(writes.to_vec(), InsertOptions::default())
        .await
    {
        answer.expect("storable");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_sees_one_state_while_others_write() {
    let engine: Arc<dyn Backend> = Engine::memory();
    create(engine.as_ref(), 1, "twin", "a", "V").await;
    create(engine.as_ref(), 2, "twin", "b", "V").await;
    insert_twice(engine.as_ref(), 0, 10).await;
    let gateway = Gateway::new(Arc::clone(&engine), GatewaySettings::default()).expect("a gateway");
    let done = Arc::new(AtomicBool::new(false));
    let mut writer = tokio::task::JoinSet::new();
    writer.spawn({
        let (engine, done) = (Arc::clone(&engine), Arc::clone(&done));
        async move {
            let mut rounds = 1;
            while !done.load(Ordering::Relaxed) {
                insert_twice(engine.as_ref(), rounds * 10, 10).await;
                rounds += 1;
                tokio::task::yield_now().await;
            }
            rounds
        }
    });
    let same = [
        "SELECT (SELECT count(*) FROM twin.a) AS a, (SELECT count(*) FROM twin.b) AS b",
        "SELECT count(*) FILTER (WHERE name = 'a'), count(*) FILTER (WHERE name = 'b') FROM points",
        "SELECT (SELECT count(*) FROM twin.a x JOIN twin.a y ON x.time = y.time) AS a, \
                (SELECT count(*) FROM multi_values('twin/a', 'twin/b')) AS b",
        "SELECT min(c), max(c) FROM (SELECT name, count(*) AS c FROM points GROUP BY name)",
    ];
    for _ in 0..25 {
        for sql in same {
            let batches = rows(&gateway, sql).await;
            let count = |column: usize| {
                batches[0]
                    .column(column)
                    .as_primitive::<Int64Type>()
                    .value(0)
            };
            assert_eq!(count(0), count(1), "{sql}");
        }
    }
    done.store(true, Ordering::Relaxed);
    let written = writer.join_next().await.expect("one").expect("written");
    assert!(written > 25, "{written} writes beside a hundred reads");
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_a_stream_stops_the_reading() {
    const POINTS: i64 = 2_000_000;
    let engine: Arc<dyn Backend> = Engine::memory();
    create(engine.as_ref(), 1, "long", "a", "V").await;
    create(engine.as_ref(), 2, "long", "b", "V").await;
    insert_twice(engine.as_ref(), 0, POINTS).await;
    let observed = Observed::new(engine);
    let counts = observed.counts();
    let gateway = Gateway::new(Arc::new(observed), GatewaySettings::default()).expect("a gateway");
    for sql in [
        "SELECT * FROM long.a",
        "SELECT * FROM points",
        "SELECT time FROM points ORDER BY time DESC",
        "SELECT time FROM long.a WHERE value > 10",
    ] {
        let before = counts.points();
        let statement = gateway
            .prepare(sql, &SessionOptions::default())
            .await
            .expect("plans");
        let mut stream = statement.execute().await.expect("starts");
        stream.next().await.expect("a batch").expect("rows");
        drop(stream);
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        let read = counts.points() - before;
        assert!(
            read < POINTS as u64,
            "{sql}: {read} points were read for one batch"
        );
        let now = counts.points();
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        assert_eq!(counts.points(), now, "{sql}: reading goes on");
    }
}

#[tokio::test]
async fn explain_analyze_says_what_was_read() {
    let engine: Arc<dyn Backend> = Engine::memory();
    create(engine.as_ref(), 1, "twin", "a", "V").await;
    create(engine.as_ref(), 2, "twin", "b", "V").await;
    insert_twice(engine.as_ref(), 0, 100_000).await;
    let gateway = Gateway::new(engine, GatewaySettings::default()).expect("a gateway");
    let metric = |plan: &str, name: &str| -> f64 {
        let (_, rest) = plan
            .split_once(&format!("{name}="))
            .unwrap_or_else(|| panic!("{name} in {plan}"));
        let number: String = rest
            .chars()
            .take_while(|c| c.is_ascii_digit() || *c == '.')
            .collect();
        let scale = if rest[number.len()..].starts_with(" K") {
            1e3
        } else {
            1.0
        };
        number.parse::<f64>().expect("a number") * scale
    };
    let plan = async |sql: &str| {
        let batches = rows(&gateway, &format!("EXPLAIN ANALYZE {sql}")).await;
        batches[0].column(1).as_string::<i32>().value(0).to_owned()
    };
    let raw = plan("SELECT * FROM twin.a WHERE time < '1970-01-01T01:00:00Z'").await;
    assert_eq!(metric(&raw, "output_rows"), 3600.0, "{raw}");
    assert!(
        (3600.0..6000.0).contains(&metric(&raw, "points_read")),
        "{raw}"
    );
    assert_eq!(metric(&raw, "backend_calls"), 1.0, "{raw}");
    assert!(metric(&raw, "nodes_read") >= 4.0, "{raw}");
    let whole = plan("SELECT avg(value) FROM twin.a").await;
    assert_eq!(metric(&whole, "points_read"), 0.0, "{whole}");
    for name in ["bytes_fetched", "cache_hits", "fetches", "time_reading"] {
        assert!(whole.contains(name), "{name} in {whole}");
    }
}

#[tokio::test]
async fn buckets_that_are_asked_for_again_and_again_read_no_points() {
    let engine: Arc<dyn Backend> = Engine::memory();
    create(engine.as_ref(), 1, "twin", "a", "V").await;
    create(engine.as_ref(), 2, "twin", "b", "V").await;
    insert_twice(engine.as_ref(), 0, 100_000).await;
    let before = engine.flush(&[id(1)]).await.expect("folded")[0];
    let windows = async |version: Option<Version>, origin: i64| {
        let probe = Probe::counting();
        let read = StreamRead { id: id(1), version };
        let width = 777 * SECOND as u64;
        let cuts = Cuts::Every { origin, width };
        let query = StatQuery {
            probe: probe.clone(),
            ..StatQuery::new(vec![read], TimeRange::ALL, cuts)
        };
        let batches: Vec<_> = engine.stats(query).try_collect().await.expect("readable");
        let stats: Vec<(i64, Stat)> = batches
            .iter()
            .flat_map(|batch| batch.times.iter().copied().zip(batch.stats.iter().copied()))
            .collect();
        (stats, probe.taken().points)
    };
    let (first, read) = windows(None, 0).await;
    assert!(read > 10_000, "{read} points were read");
    // The first time nobody knows that it will be asked for again.
    let (second, read) = windows(None, 0).await;
    assert!(read > 10_000, "{read} points were read");
    assert_eq!(second, first);
    // Grids are told apart by where their lines are, not by which of them is named.
    for origin in [0, 777 * SECOND, -7770 * SECOND] {
        assert_eq!(windows(None, origin).await, (first.clone(), 0));
    }
    let (other, read) = windows(None, 100 * SECOND).await;
    assert!(read > 10_000 && other != first, "another grid");

    insert_twice(engine.as_ref(), 50_000, 10).await;
    engine.flush(&[id(1)]).await.expect("folded");
    for _ in 0..2 {
        let (now, _) = windows(None, 0).await;
        for ((start, stat), (_, old)) in now.iter().zip(&first) {
            let more = if *start == 64 * 777 * SECOND { 10 } else { 0 };
            assert_eq!(stat.count, old.count + more, "{start}");
        }
        assert_eq!(windows(Some(before), 0).await, (first.clone(), 0));
    }
}

#[tokio::test]
async fn plans_are_kept_as_long_as_names_mean_the_same() {
    let engine: Arc<dyn Backend> = Engine::memory();
    create(engine.as_ref(), 1, "twin", "a", "V").await;
    create(engine.as_ref(), 2, "twin", "b", "V").await;
    insert_twice(engine.as_ref(), 0, 10).await;
    let gateway = Gateway::new(Arc::clone(&engine), GatewaySettings::default()).expect("a gateway");
    let count = async |sql: &str| {
        let batches = rows(&gateway, sql).await;
        batches[0].column(0).as_primitive::<Int64Type>().value(0)
    };
    let sql = "SELECT count(*) FROM twin.a";
    assert_eq!(count(sql).await, 10);
    // The state is the one of each time.
    insert_twice(engine.as_ref(), 10, 5).await;
    assert_eq!(count(sql).await, 15);
    // And so is what the name means.
    engine.obliterate(id(1)).await.expect("there");
    let error = gateway.prepare(sql, &SessionOptions::default()).await;
    assert!(error.expect_err("gone").message().contains("twin/a"));
    create(engine.as_ref(), 3, "twin", "a", "V").await;
    assert_eq!(count(sql).await, 0);
    // So many plans are kept, and the first is planned again.
    for number in 0..2000 {
        let one = format!("SELECT count(*) + {number} FROM twin.b");
        assert_eq!(count(&one).await, 15 + number);
    }
    assert_eq!(count(sql).await, 0);
}
