//! The remote backend when things go wrong: networks that fail, and servers that answer what ours never does.
//!
//! What goes right is in `conformance`, whose subjects `remote` and `remote_plain` cross the wire to our own server.

use std::sync::Arc;
use std::time::Duration;

use btrdb_flight::backend::Backend;
use btrdb_flight::error::{Error, ErrorKind, Result};
use btrdb_flight::model::{
    Cuts, InsertOptions, MergePolicy, PointBatch, PointQuery, Snapshot, StatQuery, StreamId,
    StreamRead, TimeRange, Version, Write,
};
use btrdb_flight::remote::{Remote, Settings};
use btrdb_flight::wire::proto::{InfoResponse, ProxyInfo, StreamInfoResponse};
use futures::TryStreamExt;
use uuid::Uuid;

mod answers;
mod elsewhere;
mod inserts;
mod loops;
mod network;
mod proxy;
mod script;
mod states;
mod tls;

use script::{Script, Scripted, one};

/// A stream that scripts know everything about.
const STREAM: StreamId = StreamId(Uuid::from_u128(7));

/// Settings for tests: what takes seconds elsewhere takes parts of one here.
fn quick(address: &str) -> Settings {
    Settings {
        connections: 1,
        connect_timeout: Duration::from_millis(500),
        call_deadline: Duration::from_millis(400),
        idle_deadline: Duration::from_millis(400),
        retry_total: Duration::from_secs(1),
        ..Settings::new(address)
    }
}

/// What a BTrDB says of itself.
fn info(minor_version: u32, proxies: &[String]) -> InfoResponse {
    InfoResponse {
        major_version: 5,
        minor_version,
        build: "5.30.0".to_owned(),
        proxy: Some(ProxyInfo {
            proxy_endpoints: proxies.to_vec(),
        }),
        ..InfoResponse::default()
    }
}

/// What it says of a stream's state.
fn state(version_major: u64, version_minor: u64) -> StreamInfoResponse {
    StreamInfoResponse {
        version_major,
        version_minor,
        ..StreamInfoResponse::default()
    }
}

/// A script that introduces itself, as a server with Arrow or without.
fn script(minor: u32) -> Script {
    Script {
        info: one(move |_, _| Ok(info(minor, &[]))),
        ..Script::default()
    }
}

/// A scripted server and the remote that asks it.
async fn remote(script: Script) -> (Arc<Remote>, Scripted) {
    let server = script.start().await;
    let remote = Remote::connect(quick(&server.address)).await;
    (remote.expect("connected"), server)
}

/// The latest points of a stream in a range.
async fn points(
    remote: &Remote,
    stream: StreamId,
    start: i64,
    end: i64,
) -> Result<Vec<(i64, f64)>> {
    let range = TimeRange::new(start, end);
    let query = PointQuery::new(vec![StreamRead::latest(stream)], range);
    rows(remote, query).await
}

async fn rows(remote: &Remote, query: PointQuery) -> Result<Vec<(i64, f64)>> {
    let batches: Vec<PointBatch> = remote.points(query).try_collect().await?;
    let rows = batches.iter().flat_map(|batch| {
        let times = batch.times.iter().copied();
        times.zip(batch.values.iter().copied())
    });
    Ok(rows.collect())
}

/// One window of a stream: start, count, mean, standard deviation.
type Window = (i64, u64, f64, f64);

/// The windows of a grid over the latest state of [`STREAM`], and the versions told.
async fn windows(
    remote: &Remote,
    start: i64,
    end: i64,
    width: u64,
) -> Result<(Vec<Version>, Vec<Window>)> {
    let range = TimeRange::new(start, end);
    let cuts = Cuts::Every { origin: 0, width };
    let query = StatQuery::new(vec![StreamRead::latest(STREAM)], range, cuts);
    let batches: Vec<_> = remote.stats(query).try_collect().await?;
    let mut versions: Vec<Version> = batches.iter().map(|batch| batch.version).collect();
    versions.dedup();
    let windows = batches.iter().flat_map(|batch| {
        let stats = batch.stats.iter();
        let windows = batch.times.iter().zip(stats);
        windows.map(|(&time, stat)| (time, stat.count, stat.mean, stat.stddev()))
    });
    Ok((versions, windows.collect()))
}

/// One write of whole values at whole times.
fn write(stream: StreamId, times: std::ops::Range<i64>) -> Write {
    Write {
        stream,
        values: times
            .clone()
            .map(|time| time as f64)
            .collect::<Vec<_>>()
            .into(),
        times: times.collect::<Vec<_>>().into(),
    }
}

async fn insert(remote: &Remote, write: Write, merge: MergePolicy) -> Result<Version> {
    let options = InsertOptions {
        merge,
        rounding_bits: 0,
    };
    remote.insert(vec![write], options).await.remove(0)
}

async fn version(remote: &Remote, stream: StreamId) -> Result<Version> {
    let versions = remote.versions(&[stream], Snapshot::Latest).await?;
    Ok(versions[0])
}

/// Asserts what an error tells.
#[track_caller]
fn assert_tells(error: &Error, kind: ErrorKind, words: &[&str]) {
    assert_eq!(error.kind(), kind, "{error:?}");
    for words in words {
        assert!(error.message().contains(words), "\"{words}\" in {error:?}");
    }
}
