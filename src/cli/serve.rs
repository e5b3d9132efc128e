//! `serve`: a store, a gateway over it, and listeners.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::connect::CredentialArgs;
use super::listen::{self, ListenArgs};
use super::remote::{Elsewhere, RemoteArgs};
use super::sessions::SessionArgs;
use super::store::{self, LocationArgs, WriteArgs};
use super::units::{ByteSize, TimeSpan};
use super::{demo, exit};
use crate::backend::Backend;
use crate::backend::observed::Observed;
use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::query::{Gateway, GatewaySettings};
use crate::serve::{self, Listener, ServeSettings};

/// Serve Arrow Flight, Flight SQL and BTrDB's own protocol until Ctrl-C or SIGTERM.
///
/// Then streams in progress are finished and the store is closed; one more signal ends the wait for either. Nothing that was
/// acknowledged depends on a good end.
#[derive(Args, Debug)]
pub struct ServeArgs {
    #[command(flatten)]
    listen: ListenArgs,

    /// A key that calls must carry, of any protocol; may be given more than once, each key is as good as the others.
    ///
    /// BTrDB clients send it as their API key, Flight clients as a bearer token or as the password of any user. Without one,
    /// whoever reaches the address can read and write everything. The variable holds keys with commas between them, and counts
    /// only where this flag is not given.
    #[arg(long, value_name = "KEY", env = "BTRDB_FLIGHT_REQUIRE_API_KEY")]
    #[arg(hide_env_values = true, value_delimiter = ',', value_parser = key)]
    require_api_key: Vec<String>,

    /// How long a client may stop reading an answer before it is given up, and what its statement holds is free again.
    ///
    /// Only the client's time counts, not the statement's.
    #[arg(long, value_name = "TIME", default_value = "10min", value_parser = above_zero)]
    idle_timeout: TimeSpan,

    /// After so long without rows of a statement that still computes, its client is sent an empty batch, so that no proxy takes
    /// the stream for dead.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = above_zero)]
    keep_alive: TimeSpan,

    /// Memory that all statements together may hold for sorts, joins and groups. Beyond it, sorts and groups go on in temporary
    /// files (in TMPDIR), and what cannot is refused.
    #[arg(long, value_name = "SIZE", env = "BTRDB_FLIGHT_QUERY_MEMORY")]
    #[arg(default_value_t = ByteSize(GatewaySettings::default().memory_bytes_max as u64))]
    query_memory: ByteSize,

    #[command(flatten)]
    sessions: SessionArgs,

    #[command(flatten)]
    location: LocationArgs,

    #[command(flatten)]
    remote: RemoteArgs,

    #[command(flatten)]
    credentials: CredentialArgs,

    /// Fill the store with an hour of made-up synchrophasor data, if it is empty.
    #[arg(long)]
    demo: bool,

    #[command(flatten)]
    store: WriteArgs,
}

/// A span of time that passes.
fn above_zero(text: &str) -> Result<TimeSpan, String> {
    match text.parse()? {
        TimeSpan(Duration::ZERO) => Err("it takes more than no time".to_owned()),
        span => Ok(span),
    }
}

/// A key that can be told from none.
fn key(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("a key cannot be empty, for that is what clients without one send".to_owned()),
        _ => Ok(text.to_owned()),
    }
}

pub(super) async fn run(args: ServeArgs) -> Result<()> {
    // First, so that an address in use is known before any work is done.
    args.remote.check(&args.credentials, &args.location.data)?;
    let listeners = args.listen.bind().await?;
    let result = if args.remote.is_asked() {
        serve_remote(listeners, &args).await
    } else {
        serve_store(listeners, &args).await
    };
    args.listen.clean_up();
    result
}

async fn serve_remote(listeners: Vec<Listener>, args: &ServeArgs) -> Result<()> {
    let remote = args.remote.connect(&args.credentials).await?;
    let mut signals = Signals::new()?;
    let Elsewhere { backend, described } = remote;
    serve_backend(listeners, args, backend, &described, &mut signals).await
}

async fn serve_store(listeners: Vec<Listener>, args: &ServeArgs) -> Result<()> {
    let data = &args.location.data;
    let settings = args.store.settings();
    let engine = store::open(data, settings.clone()).await?;
    let store = store::describe(data, &settings);
    // Until here a signal just ends the process; from here on it closes the store.
    let mut signals = Signals::new()?;
    let result = serve_engine(listeners, args, Arc::clone(&engine), &store, &mut signals).await;
    // Cancel safety: a close that is given up leaves the store as a crash would.
    tokio::select! {
        result = store::close(&engine, result) => result,
        () = signals.next() => Err(Error::new(
            ErrorKind::Unavailable,
            "stopped before the store was closed; what was acknowledged is in it",
        )),
    }
}

async fn serve_engine(
    listeners: Vec<Listener>,
    args: &ServeArgs,
    engine: Arc<Engine>,
    store: &str,
    signals: &mut Signals,
) -> Result<()> {
    if args.demo {
        // Cancel safety: a fill that is given up leaves whole streams and whole writes.
        tokio::select! {
            filled = demo_into(engine.as_ref()) => filled?,
            () = signals.next() => return Ok(()),
        }
    }
    serve_backend(listeners, args, engine, store, signals).await
}

async fn serve_backend(
    listeners: Vec<Listener>,
    args: &ServeArgs,
    backend: Arc<dyn Backend>,
    store: &str,
    signals: &mut Signals,
) -> Result<()> {
    let settings = args.sessions.apply(ServeSettings {
        api_keys: args.require_api_key.clone(),
        idle_max: args.idle_timeout.0,
        keep_alive: args.keep_alive.0,
        ..ServeSettings::default()
    })?;
    let queries = GatewaySettings {
        memory_bytes_max: usize::try_from(args.query_memory.0).unwrap_or(usize::MAX),
        ..GatewaySettings::default()
    };
    let gateway = Gateway::new(Arc::new(Observed::new(backend)), queries)?;
    for listener in &listeners {
        eprintln!(
            "btrdb-flight {} listening on {}, store {store}",
            env!("CARGO_PKG_VERSION"),
            listen::address(listener)?,
        );
    }
    serve_until_signal(listeners, gateway, settings, signals).await
}

/// Fills `backend` with the demo data and tells people about it.
pub(super) async fn demo_into(backend: &dyn Backend) -> Result<()> {
    let started = std::time::Instant::now();
    match demo::fill(backend).await? {
        demo::Filled::Written(summary) => {
            eprint!("{summary}");
            tracing::info!(elapsed = ?started.elapsed(), "demo data written");
        }
        demo::Filled::NotEmpty => {
            eprintln!(
                "demo data not written: the store holds streams already, and only an empty one is filled"
            );
        }
        demo::Filled::Before => {
            eprintln!("demo data not written again: the store holds it already");
        }
    }
    Ok(())
}

/// The first signal drains, the second stops the wait for slow readers.
async fn serve_until_signal(
    listeners: Vec<Listener>,
    gateway: Gateway,
    settings: ServeSettings,
    signals: &mut Signals,
) -> Result<()> {
    let (drain, mut draining) = tokio::sync::watch::channel(false);
    let shutdown = async move {
        // A sender that is gone means that this function is over, and so is serving.
        let _ = draining.wait_for(|draining| *draining).await;
    };
    let impatience = async {
        signals.next().await;
        eprintln!("stopping: streams in progress are finished first, a second signal ends them");
        drain.send_replace(true);
        signals.next().await;
    };
    // Cancel safety: whichever branch loses is dropped with the process about to end.
    tokio::select! {
        result = serve::run(listeners, gateway, settings, shutdown) => result,
        () = impatience => Err(Error::new(
            ErrorKind::Unavailable,
            "stopped before all streams were finished",
        )),
    }
}

/// Ctrl-C and SIGTERM, from their creation on.
struct Signals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let on =
            |kind| signal(kind).map_err(|error| exit::from_io("cannot listen for signals", error));
        Ok(Self {
            interrupt: on(SignalKind::interrupt())?,
            terminate: on(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        // Cancel safety: `recv` loses no signal when dropped.
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(not(unix))]
impl Signals {
    fn new() -> Result<Self> {
        Ok(Self {})
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
