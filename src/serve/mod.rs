//! Serving: decode, call, encode, and nothing else.
//!
//! The caller binds the listeners and says when to stop; [`run`] serves them until then and drains. Each protocol is a folder
//! of its own: [`flight`] speaks Arrow Flight and Flight SQL, [`btrdb`] what BTrDB's own clients speak. Every listener serves
//! all of them.
//!
//! Nothing here knows which backend it serves, plans SQL, or decides what a request means: that is `query` and below.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

#[cfg(unix)]
use futures::TryStreamExt;
#[cfg(unix)]
use socket2::SockRef;
use tokio::net::TcpListener;
#[cfg(unix)]
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
#[cfg(unix)]
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::server::{Router, TcpIncoming};
use tonic::transport::{Identity, Server, ServerTlsConfig};

use crate::error::{Error, ErrorKind, Result};
use crate::query::Gateway;
use crate::wire::proto::b_tr_db_server::BTrDbServer;

mod auth;
pub mod btrdb;
pub mod flight;
mod guard;

use auth::Gate;
use btrdb::{BtrdbServer, BtrdbSettings};
use flight::FlightRoutes;
use guard::Guarded;

/// HTTP/2 flow-control window of a call and of a connection: large enough that a fast reader never waits for an update.
const WINDOW_BYTES: u32 = 16 << 20;

/// What a Unix socket may hold that was not read, as far as the system allows it, which counts twice as much. A message fits; with
/// more, what is read has left the processor's caches.
#[cfg(unix)]
const SOCKET_BYTES: usize = 512 << 10;

/// Largest HTTP/2 frame that a client may send: fewer system calls for each megabyte put.
const FRAME_BYTES_MAX: u32 = 1 << 20;

/// A socket that was bound by the caller.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// TLS over TCP.
    Tls(TcpListener, Identity),
    /// A Unix socket, for clients on this machine.
    #[cfg(unix)]
    Unix(UnixListener),
}

impl Listener {
    /// TLS over TCP.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a certificate and a key that are none, or do not fit.
    pub fn tls(listener: TcpListener, identity: Identity) -> Result<Self> {
        // Tried here, before anybody is told that there is something to connect to.
        with_identity(Server::builder(), &identity)?;
        Ok(Self::Tls(listener, identity))
    }
}

fn with_identity(server: Server, identity: &Identity) -> Result<Server> {
    let tls = ServerTlsConfig::new().identity(identity.clone());
    server.tls_config(tls).map_err(|error| {
        let message = match std::error::Error::source(&error) {
            Some(cause) => format!("the certificate and its key cannot be used: {cause}"),
            None => "the certificate and its key cannot be used".to_owned(),
        };
        Error::invalid(message).with_source(error)
    })
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self::Tcp(listener)
    }
}

#[cfg(unix)]
impl From<UnixListener> for Listener {
    fn from(listener: UnixListener) -> Self {
        Self::Unix(listener)
    }
}

/// How to serve. Plain data, with defaults that suit one process.
#[derive(Clone)]
pub struct ServeSettings {
    /// Signs tickets and statement handles; none is a random key of this process. Replicas behind one address share a key, so that
    /// each can serve what another gave out.
    pub ticket_key: Option<[u8; 32]>,
    /// How long a ticket can be redeemed.
    pub ticket_lifetime: Duration,
    /// How long a prepared statement can be executed.
    pub statement_lifetime: Duration,
    /// Transactions open at a time.
    pub transaction_count_max: usize,
    /// A transaction unused for so long ends by itself.
    pub transaction_idle_max: Duration,
    /// Sessions open at a time, of clients that keep cookies.
    pub session_count_max: usize,
    /// A session unused for so long ends by itself.
    pub session_idle_max: Duration,
    /// How long a statement may run, to its planning and to its reading each; none is no limit. Sessions and calls can ask for
    /// less.
    pub statement_timeout: Option<Duration>,
    /// Calls of every protocol must carry one of these, unless there are none.
    pub api_keys: Vec<String>,
    /// How BTrDB's own protocol is served.
    pub btrdb: BtrdbSettings,
    /// Largest message that a client may send.
    pub message_bytes_max: usize,
    /// After so long without rows of a statement that still computes, its reader is sent an empty batch: proxies cut streams on
    /// which nothing moves, and the strictest allow ten seconds.
    pub keep_alive: Duration,
    /// How long a reader may pause before its answer, and what the statement behind it holds, is dropped.
    pub idle_max: Duration,
    /// How long calls in flight may take once shutdown began.
    pub drain: Duration,
    /// Tells the time of day, for the expiry of tickets.
    pub clock: Clock,
}

/// Tells the time of day.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

impl Default for ServeSettings {
    fn default() -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "the default clock is the system's; tests put their own in its place"
        )]
        let clock: Clock = Arc::new(SystemTime::now);
        Self {
            ticket_key: None,
            ticket_lifetime: Duration::from_secs(60 * 60),
            statement_lifetime: Duration::from_secs(24 * 60 * 60),
            transaction_count_max: 16 * 1024,
            transaction_idle_max: Duration::from_secs(60 * 60),
            session_count_max: 16 * 1024,
            session_idle_max: Duration::from_secs(60 * 60),
            statement_timeout: None,
            api_keys: Vec::new(),
            btrdb: BtrdbSettings::default(),
            message_bytes_max: 128 << 20,
            keep_alive: Duration::from_secs(5),
            idle_max: Duration::from_secs(10 * 60),
            drain: Duration::from_secs(10),
            clock,
        }
    }
}

/// Without the keys: settings end up in logs.
impl fmt::Debug for ServeSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServeSettings")
            .field("ticket_key", &self.ticket_key.map(|_| "set"))
            .field("ticket_lifetime", &self.ticket_lifetime)
            .field("statement_lifetime", &self.statement_lifetime)
            .field("transaction_count_max", &self.transaction_count_max)
            .field("transaction_idle_max", &self.transaction_idle_max)
            .field("session_count_max", &self.session_count_max)
            .field("session_idle_max", &self.session_idle_max)
            .field("statement_timeout", &self.statement_timeout)
            .field("api_keys", &self.api_keys.len())
            .field("btrdb", &self.btrdb)
            .field("message_bytes_max", &self.message_bytes_max)
            .field("keep_alive", &self.keep_alive)
            .field("idle_max", &self.idle_max)
            .field("drain", &self.drain)
            .finish_non_exhaustive()
    }
}

/// Serves `listeners` until `shutdown` is ready, then lets calls in flight finish for at most `settings.drain`.
///
/// # Errors
/// [`ErrorKind::Unavailable`] if a listener fails; the others are shut down first. [`ErrorKind::Invalid`] for a certificate or
/// a key that are none, or do not fit.
pub async fn run(
    listeners: Vec<impl Into<Listener>>,
    gateway: Gateway,
    settings: ServeSettings,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<()> {
    let drain = settings.drain;
    let services = Services::new(gateway, settings)?;
    let listeners = listeners.into_iter().map(|listener| {
        let listener = listener.into();
        Ok((services.router(&listener)?, listener))
    });
    let listeners = listeners.collect::<Result<Vec<_>>>()?;
    let (stop, stopped) = watch::channel(false);
    let mut servers = JoinSet::new();
    for (router, listener) in listeners {
        servers.spawn(serve(listener, router, stopped.clone()));
    }
    let mut outcome = Ok(());
    // Cancel safe: joining the next server and waiting for the signal both lose nothing when dropped.
    tokio::select! {
        () = shutdown => tracing::info!("shutting down"),
        ended = servers.join_next() => outcome = flatten(ended),
    }
    stop.send_replace(true);
    let drained = tokio::time::timeout(drain, async {
        while let Some(ended) = servers.join_next().await {
            let ended = flatten(Some(ended));
            if outcome.is_ok() {
                outcome = ended;
            }
        }
        outcome
    })
    .await;
    match drained {
        Ok(outcome) => outcome,
        Err(_) => {
            tracing::warn!(?drain, "calls still in flight were cut off");
            Ok(())
        }
    }
}

/// What every listener serves.
struct Services {
    flight: FlightRoutes,
    btrdb: BTrDbServer<BtrdbServer>,
    gate: Gate,
}

impl Services {
    fn new(gateway: Gateway, settings: ServeSettings) -> Result<Self> {
        let btrdb = BtrdbSettings {
            message_bytes_max: settings.message_bytes_max,
            ..settings.btrdb.clone()
        };
        Ok(Self {
            gate: Gate::new(&settings.api_keys),
            btrdb: btrdb::service(gateway.clone(), btrdb),
            flight: flight::service(gateway, settings)?,
        })
    }

    fn router(&self, listener: &Listener) -> Result<Router> {
        let mut server = Server::builder()
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .max_frame_size(FRAME_BYTES_MAX)
            // Clients that vanish without a goodbye must not keep their queries running.
            .http2_keepalive_interval(Some(Duration::from_secs(30)))
            .http2_keepalive_timeout(Some(Duration::from_secs(20)));
        if let Listener::Tls(_, identity) = listener {
            server = with_identity(server, identity)?;
        }
        Ok(server
            .add_service(Guarded(self.gate.before(self.flight.clone())))
            .add_service(Guarded(self.gate.before(self.btrdb.clone()))))
    }
}

async fn serve(
    listener: Listener,
    router: Router,
    mut stopped: watch::Receiver<bool>,
) -> Result<()> {
    let stop = async move {
        // An error means that `run` is gone, which is a reason to stop as well.
        let _gone = stopped.wait_for(|stop| *stop).await;
    };
    match listener {
        Listener::Tcp(listener) | Listener::Tls(listener, _) => {
            let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
            router.serve_with_incoming_shutdown(incoming, stop).await
        }
        #[cfg(unix)]
        Listener::Unix(listener) => {
            let incoming = UnixListenerStream::new(listener).inspect_ok(make_room);
            router.serve_with_incoming_shutdown(incoming, stop).await
        }
    }
    .map_err(|error| Error::new(ErrorKind::Unavailable, "a listener failed").with_source(error))
}

/// Lets a message wait in the socket while its reader is busy. Over TCP the system finds out by itself how much may.
#[cfg(unix)]
fn make_room(stream: &UnixStream) {
    if let Err(error) = SockRef::from(stream).set_send_buffer_size(SOCKET_BYTES) {
        tracing::debug!(%error, "a Unix socket keeps its small buffer");
    }
}

fn flatten(ended: Option<std::result::Result<Result<()>, tokio::task::JoinError>>) -> Result<()> {
    match ended {
        None => Err(Error::invalid("there is nothing to listen on")),
        Some(Ok(outcome)) => outcome,
        Some(Err(error)) => {
            Err(Error::internal("a listener's task ended early")
                .with_source(io::Error::other(error)))
        }
    }
}
