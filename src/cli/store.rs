//! The store of a command that has one in its own process: what the flags say, opened and closed.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use clap::builder::BoolishValueParser;

use super::units::{ByteSize, TimeSpan};
use crate::engine::{Engine, Settings};
use crate::error::Result;

/// The location that is memory.
pub(super) const MEMORY: &str = "memory:";

/// The store where none is named.
pub(super) const LOCATION: &str = "./btrdb-data";

/// After so long, people are told what they wait for.
const SILENCE_MAX: Duration = Duration::from_secs(2);

/// Less than this lets nothing through.
const BUFFER_BYTES_MIN: u64 = 1 << 20;

/// Which store, for commands that must have one.
#[derive(Args, Debug)]
pub(super) struct LocationArgs {
    /// The store: a directory, s3://BUCKET/PREFIX, or `memory:`.
    ///
    /// A bucket is reached as the environment says: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and the other AWS_*
    /// variables; AWS_ENDPOINT names a look-alike of S3, which must honour `If-None-Match`, and AWS_ALLOW_HTTP=true allows one
    /// without TLS. What is in `memory:` is gone when the process ends.
    #[arg(
        long,
        value_name = "STORE",
        env = "BTRDB_FLIGHT_DATA",
        default_value = LOCATION
    )]
    pub(super) data: String,
}

/// What may be turned where a store is read.
#[derive(Args, Debug)]
#[command(next_help_heading = HEADING)]
pub(super) struct ReadArgs {
    /// Memory for inner nodes of trees, from which statistics are answered; an eighth of it is for how time buckets divide them.
    #[arg(long, value_name = "SIZE", env = "BTRDB_FLIGHT_NODE_CACHE")]
    #[arg(default_value_t = ByteSize(Settings::default().node_cache_bytes))]
    node_cache: ByteSize,

    /// Memory for points that were read. A scan larger than half of it does not enter.
    #[arg(long, value_name = "SIZE", env = "BTRDB_FLIGHT_CHUNK_CACHE")]
    #[arg(default_value_t = ByteSize(Settings::default().chunk_cache_bytes))]
    chunk_cache: ByteSize,

    /// Encoded bytes on their way out of the store at a time.
    #[arg(long, value_name = "SIZE", env = "BTRDB_FLIGHT_FETCH_BUFFER", value_parser = buffer)]
    #[arg(default_value_t = ByteSize(Settings::default().fetch_bytes_max))]
    fetch_buffer: ByteSize,
}

/// What may be turned where a store is written.
#[derive(Args, Debug)]
#[command(next_help_heading = HEADING)]
pub(super) struct WriteArgs {
    #[command(flatten)]
    read: ReadArgs,

    /// Memory for points that wait to be folded into their trees; inserts wait while they take more.
    #[arg(long, value_name = "SIZE", env = "BTRDB_FLIGHT_LIVE_POINTS_MEMORY", value_parser = buffer)]
    #[arg(default_value_t = ByteSize(Settings::default().live_bytes_max))]
    live_points_memory: ByteSize,

    /// Points on their way into the store at a time; inserts wait while there are more.
    #[arg(long, value_name = "SIZE", env = "BTRDB_FLIGHT_WRITE_BUFFER", value_parser = buffer)]
    #[arg(default_value_t = ByteSize(Settings::default().write_bytes_max))]
    write_buffer: ByteSize,

    /// Log that may collect before everything up to it is written as a checkpoint. Opening the store reads what collected.
    #[arg(long, value_name = "SIZE", env = "BTRDB_FLIGHT_CHECKPOINT_LOG", value_parser = buffer)]
    #[arg(default_value_t = ByteSize(Settings::default().checkpoint_log_bytes))]
    checkpoint_log: ByteSize,

    /// How long a writer that did not close the store must have been silent to count as dead, in ms, s or min. For buckets only,
    /// and the same for all who open one: the writer of a directory is known to be dead at once.
    #[arg(long, value_name = "TIME", env = "BTRDB_FLIGHT_LEASE")]
    #[arg(default_value_t = TimeSpan(Settings::default().lease))]
    lease: TimeSpan,

    /// Relaxed mode: acknowledge writes before they are on the disk. A crash of this program loses nothing; a crash of the
    /// machine or a power loss may lose the last seconds, or leave a directory that has to be restored from a copy.
    #[arg(long, env = "BTRDB_FLIGHT_NO_FSYNC", value_parser = BoolishValueParser::new())]
    no_fsync: bool,
}

const HEADING: &str = "Store in this process (SIZE is in bytes, or has a unit: 64KiB, 64MiB, 1GiB)";

fn buffer(text: &str) -> Result<ByteSize, String> {
    let size: ByteSize = text.parse()?;
    if size.0 < BUFFER_BYTES_MIN {
        return Err(format!("it takes {} at least", ByteSize(BUFFER_BYTES_MIN)));
    }
    Ok(size)
}

impl ReadArgs {
    pub(super) fn settings(&self) -> Settings {
        Settings {
            node_cache_bytes: self.node_cache.0,
            chunk_cache_bytes: self.chunk_cache.0,
            fetch_bytes_max: self.fetch_buffer.0,
            ..Settings::default()
        }
    }
}

impl WriteArgs {
    pub(super) fn settings(&self) -> Settings {
        Settings {
            live_bytes_max: self.live_points_memory.0,
            write_bytes_max: self.write_buffer.0,
            checkpoint_log_bytes: self.checkpoint_log.0,
            lease: self.lease.0,
            fsync: !self.no_fsync,
            ..self.read.settings()
        }
    }
}

/// Opens the store at `location` for reading and writing.
pub(super) async fn open(location: &str, settings: Settings) -> Result<Arc<Engine>> {
    let mut opening = std::pin::pin!(Engine::open(location, settings));
    if let Ok(opened) = tokio::time::timeout(SILENCE_MAX, &mut opening).await {
        return opened;
    }
    eprintln!(
        "still opening the store {location}: its log is long, or its last writer did not close it and may be alive (--lease)"
    );
    opening.await
}

/// Closes the store after `result`. Of two errors the first is answered: the second may follow from it.
pub(super) async fn close(engine: &Engine, result: Result<()>) -> Result<()> {
    let closed = engine.close().await;
    if let (Err(_), Err(error)) = (&result, &closed) {
        tracing::error!(?error, "the store is not closed");
    }
    result.and(closed)
}

/// An open store in words: where it is, and what is not safe about it.
pub(super) fn describe(location: &str, settings: &Settings) -> String {
    if location == MEMORY {
        return format!("{MEMORY} (in memory only: its data is gone when this process ends)");
    }
    // What is no path stays as it is.
    match std::fs::canonicalize(location) {
        Ok(path) if settings.fsync => path.display().to_string(),
        Ok(path) => format!(
            "{} (relaxed by --no-fsync: a power loss may lose what was acknowledged last)",
            path.display()
        ),
        Err(_) => location.to_owned(),
    }
}
