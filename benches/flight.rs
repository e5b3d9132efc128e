//! How fast raw points leave over Flight, beside the floor in the same run: the stock encoder and server, with the same HTTP/2
//! settings and allocator, sending one batch again and again. Over loopback TCP and over a Unix socket. The servers have a
//! process of their own; the client decodes everything in this one.
//!
//! `BTRDB_BENCH_POINTS` is how many points each get reads (20 million, all of them in the cache), `BTRDB_BENCH_ROUNDS` how often
//! each is measured (7): the four take turns, and medians are compared.
//!
//! With `floor` as its argument it only serves the floor, for clients of other languages, and prints where.

#[path = "load/floor.rs"]
mod floor;
mod load;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_flight::{FlightClient, Ticket};
use btrdb_flight::backend::Backend;
use btrdb_flight::engine::{Engine, Settings};
use btrdb_flight::query::{Gateway, GatewaySettings};
use btrdb_flight::serve::{self, Listener, ServeSettings};
use floor::{BATCH, FRAME_BYTES_MAX, WINDOW_BYTES};
use futures::TryStreamExt;
use load::{create, fill, rate, runtime, setting};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinSet;
use tonic::transport::Endpoint;

/// The binary's own.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const SQL: &str = "SELECT time, value FROM bench.\"0\"";

fn main() {
    let runtime = runtime();
    let points = setting("BTRDB_BENCH_POINTS", 20_000_000) as i64 / BATCH * BATCH;
    let rounds = setting("BTRDB_BENCH_ROUNDS", 7) as usize;
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some("floor") => runtime.block_on(async {
            let (address, mut running) = floor::over_tcp("127.0.0.1:0").await;
            println!("the floor listens on {address}");
            running.join_next().await;
        }),
        Some("servers") => {
            let folder = arguments.next().expect("a folder for sockets");
            runtime.block_on(serve_all(Path::new(&folder), points));
        }
        _ => {
            let servers = Servers::start();
            runtime.block_on(measure(&servers, points, rounds));
        }
    }
}

/// Serves the floor and ours, says where, and goes on until the standard input ends.
async fn serve_all(folder: &Path, points: i64) {
    let listen = |name| UnixListener::bind(folder.join(name)).expect("a socket");
    let (floor_tcp, _floor) = floor::over_tcp("127.0.0.1:0").await;
    let _floor_unix = floor::over_unix(listen("floor"));
    let (ours_tcp, _ours) = ours(points, listen("ours")).await;
    println!("{floor_tcp}\n{ours_tcp}");
    let end =
        tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
    end.await.expect("waited").expect("an end");
}

async fn measure(servers: &Servers, points: i64, rounds: usize) {
    let [floor_tcp, ours_tcp] = &servers.tcp;
    let unix = |name| format!("unix:{}", servers.folder.join(name).display());
    let count = points.to_string();
    let gets = [
        ("floor, TCP", format!("http://{floor_tcp}"), count.as_str()),
        ("raw scan, TCP", format!("http://{ours_tcp}"), SQL),
        ("floor, Unix socket", unix("floor"), count.as_str()),
        ("raw scan, Unix socket", unix("ours"), SQL),
    ];
    let mut took = vec![Vec::new(); gets.len()];
    for round in 0..=rounds {
        for (place, (_, address, ticket)) in gets.iter().enumerate() {
            let elapsed = get(address, ticket, points).await;
            // The first warms caches and memory up.
            if round > 0 {
                took[place].push(elapsed);
            }
        }
    }
    let mut floor = None;
    for ((what, _, _), mut took) in gets.into_iter().zip(took) {
        took.sort_unstable();
        let rate = rate(what, points, took[rounds / 2], floor);
        floor = Some(floor.unwrap_or(rate));
    }
}

/// Reads and decodes `points` points.
async fn get(address: &str, ticket: &str, points: i64) -> Duration {
    let channel = Endpoint::from_shared(address.to_owned())
        .expect("an address")
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .connect()
        .await
        .expect("connected");
    let started = Instant::now();
    let rows = FlightClient::new(channel)
        .do_get(Ticket::new(ticket.to_owned()))
        .await
        .expect("a stream")
        .try_fold(0, |sum, batch| async move { Ok(sum + batch.num_rows()) })
        .await
        .expect("rows");
    let took = started.elapsed();
    assert_eq!(rows as i64, points);
    took
}

/// The server over an engine in memory that has all points at hand.
async fn ours(points: i64, socket: UnixListener) -> (String, JoinSet<()>) {
    let settings = Settings {
        chunk_cache_bytes: 4 * 16 * points as u64,
        ..Settings::default()
    };
    let engine = Engine::open("memory:", settings).await.expect("opens");
    create(&engine, 0..1).await;
    fill(&engine, 0, points).await;
    let gateway = Gateway::new(engine as Arc<dyn Backend>, GatewaySettings::default());
    let gateway = gateway.expect("a gateway");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    let mut running = JoinSet::new();
    running.spawn(async move {
        let listeners = vec![Listener::Tcp(listener), Listener::Unix(socket)];
        let never = std::future::pending();
        serve::run(listeners, gateway, ServeSettings::default(), never)
            .await
            .expect("served");
    });
    (address, running)
}

/// The process of the servers, and the folder of their sockets; both end with this.
struct Servers {
    process: Child,
    folder: PathBuf,
    /// The floor's address, and ours.
    tcp: [String; 2],
}

impl Servers {
    fn start() -> Self {
        let folder = std::env::temp_dir().join(format!("btrdb-bench-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let mut process = Command::new(std::env::current_exe().expect("a path"))
            .arg("servers")
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("started");
        let mut lines = BufReader::new(process.stdout.take().expect("piped")).lines();
        let mut address = || lines.next().expect("a line").expect("text");
        Self {
            tcp: [address(), address()],
            process,
            folder,
        }
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        // Ends with its input.
        drop(self.process.stdin.take());
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
