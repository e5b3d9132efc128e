//! `import`: points from CSV and Parquet files to a server.
//!
//! A file is read on a thread of its own, row by row, into batches of known size; a bounded channel hands them to the put. So
//! memory does not grow with the file, and reading, encoding and the server's work overlap. A row that cannot be a point is
//! counted with its reason instead of failing the rest.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use tokio::sync::mpsc;

use super::connect::CredentialArgs;
use super::exit;
use crate::error::{Error, Result};
use crate::model::{MergePolicy, StreamId};

mod columns;
mod csv;
mod parquet;
mod put;
mod rows;
mod time;

use columns::Columns;
use rows::{Sink, Tally};
use time::{TimeParser, TimeUnit};

/// Write the points of CSV and Parquet files to a server.
///
/// A file has a row for each point: its stream (column `uuid`, or columns `collection` and `name` and maybe `unit`, or a constant
/// given here), its `time` and its `value`. Where a file has both, the uuid counts, unless a flag names a path. A stream
/// named by path is created when it is missing.
///
/// Rows that cannot be points (no time or value, NaN or infinite, a time outside BTrDB's range of 1933-06-20 to 2079-08-08)
/// are left out and counted; the summary shows an example for each reason. If there are more of them than --max-rejected, the exit
/// code is 2; the other rows are written nevertheless.
#[derive(Args, Clone, Debug)]
pub struct ImportArgs {
    /// The server, grpc://HOST:PORT, grpc+tls://HOST:PORT or unix:PATH.
    #[arg(long, value_name = "ADDR", default_value = "grpc://127.0.0.1:4410")]
    connect: String,

    #[command(flatten)]
    credentials: CredentialArgs,

    /// CSV (with a header) or Parquet; told apart by content.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// All points are of the stream with this uuid.
    #[arg(long, value_name = "UUID", conflicts_with_all = ["collection", "name", "stream_unit"])]
    uuid: Option<StreamId>,

    /// All streams are in this collection.
    #[arg(long)]
    collection: Option<String>,

    /// All points are of the stream of this name.
    #[arg(long)]
    name: Option<String>,

    /// The `unit` tag of streams that are created.
    #[arg(long, value_name = "UNIT")]
    stream_unit: Option<String>,

    /// The column of uuids, instead of `uuid`.
    #[arg(long, value_name = "COLUMN")]
    uuid_column: Option<String>,

    /// The column of collections, instead of `collection`.
    #[arg(long, value_name = "COLUMN")]
    collection_column: Option<String>,

    /// The column of stream names, instead of `name`.
    #[arg(long, value_name = "COLUMN")]
    name_column: Option<String>,

    /// The column of stream units, instead of `unit`.
    #[arg(long, value_name = "COLUMN")]
    unit_column: Option<String>,

    /// The column of times.
    #[arg(long, value_name = "COLUMN", default_value = "time")]
    time_column: String,

    /// The column of values.
    #[arg(long, value_name = "COLUMN", default_value = "value")]
    value_column: String,

    /// What times that are numbers count, since 1970 UTC. Without it, it is taken from the first one, if that makes a time
    /// after 2001-09-09 in one unit only. ISO text and Parquet timestamps need no unit.
    #[arg(long = "time-unit", alias = "unit", value_enum)]
    time_unit: Option<TimeUnit>,

    /// The separator of CSV fields.
    #[arg(long, value_name = "CHAR", default_value = ",")]
    delimiter: char,

    /// What becomes of points whose time is taken: never (keep both), equal, retain or replace.
    #[arg(long, value_name = "POLICY", default_value = "never", value_parser = parse_merge)]
    merge: MergePolicy,

    /// Do not create streams that are missing: fail instead.
    #[arg(long)]
    no_create: bool,

    /// So many rows may be left out without the import counting as failed.
    #[arg(long, value_name = "N", default_value_t = 0)]
    max_rejected: u64,
}

/// Batches under way between the reader and the put.
const BATCHES_IN_FLIGHT: usize = 2;

const PROGRESS_EVERY: Duration = Duration::from_secs(1);

fn parse_merge(text: &str) -> Result<MergePolicy> {
    text.parse()
}

/// How far the import of a file is; written by the reader and the put, read by whoever tells people.
#[derive(Debug, Default)]
struct Progress {
    read: AtomicU64,
    sent: AtomicU64,
}

pub(super) async fn run(args: ImportArgs) -> Result<()> {
    let client = args.credentials.flight_client(&args.connect).await?;
    let mut rejected = 0;
    for file in &args.files {
        let put = put::Put {
            client: client.clone(),
            authorization: args.credentials.authorization(),
            merge: args.merge,
            may_create: !args.no_create,
        };
        let tally = import_file(file, &args, put).await?;
        rejected += tally.rejected();
    }
    if rejected > args.max_rejected {
        return Err(Error::invalid(format!(
            "{rejected} rows were rejected, --max-rejected allows {}; all others are written",
            args.max_rejected
        )));
    }
    Ok(())
}

async fn import_file(path: &Path, args: &ImportArgs, put: put::Put) -> Result<Tally> {
    let started = Instant::now();
    let progress = Arc::new(Progress::default());
    let (sender, receiver) = mpsc::channel(BATCHES_IN_FLIGHT);
    let reader = {
        let (path, args, progress) = (path.to_owned(), args.clone(), Arc::clone(&progress));
        tokio::task::spawn_blocking(move || read(&path, &args, Sink::new(sender, progress)))
    };
    let work = async { tokio::join!(reader, put.run(receiver, Arc::clone(&progress))) };
    let (read, put) = with_progress(path, &progress, work).await;
    // If the put failed, the reader stopped for that reason only.
    let answer = put.map_err(|error| in_file(path, error))?;
    let tally = read
        .map_err(|error| Error::internal("the reader of a file died").with_source(error))?
        .map_err(|error| {
            eprintln!(
                "{}: {} points were written before this",
                path.display(),
                answer.accepted
            );
            in_file(path, error)
        })?;
    eprintln!(
        "{}: {} points read, {} accepted into {} streams, {} rejected, in {:.1} s",
        path.display(),
        progress.read.load(Ordering::Relaxed),
        answer.accepted,
        answer.streams,
        tally.rejected(),
        started.elapsed().as_secs_f64()
    );
    eprint!("{tally}");
    Ok(tally)
}

/// Drives `work` to its end and says once a second how far it is.
async fn with_progress<T>(path: &Path, progress: &Progress, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    let mut ticks =
        tokio::time::interval_at(tokio::time::Instant::now() + PROGRESS_EVERY, PROGRESS_EVERY);
    let mut sent_before = 0;
    loop {
        // Cancel safety: `work` is pinned outside the loop and only polled here; a tick holds nothing.
        tokio::select! {
            done = &mut work => return done,
            _ = ticks.tick() => {
                let sent = progress.sent.load(Ordering::Relaxed);
                eprintln!(
                    "{}: {} points read, {sent} sent, {} a second",
                    path.display(),
                    progress.read.load(Ordering::Relaxed),
                    sent - sent_before
                );
                sent_before = sent;
            }
        }
    }
}

/// The same error, with the file it is about.
fn in_file(path: &Path, error: Error) -> Error {
    Error::new(
        error.kind(),
        format!("{}: {}", path.display(), exit::sentence(&error)),
    )
}

/// Reads all of a file into `sink`, on the current thread.
fn read(path: &Path, args: &ImportArgs, sink: Sink) -> Result<Tally> {
    let cannot_read = |error| exit::from_io("the file cannot be read", error);
    let mut magic = Vec::new();
    File::open(path)
        .and_then(|file| file.take(4).read_to_end(&mut magic))
        .map_err(cannot_read)?;
    let file = File::open(path).map_err(cannot_read)?;
    let times = TimeParser::new(args.time_unit);
    match magic.as_slice() {
        b"PAR1" => parquet::read(file, args, times, sink),
        [0x1F, 0x8B, ..] | [0x28, 0xB5, 0x2F, 0xFD] => Err(Error::unsupported(
            "the file is compressed as a whole: unpack it first",
        )),
        _ => csv::read(file, args, times, sink),
    }
}
