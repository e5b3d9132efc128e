//! Connections: opened when first used, opened again when lost, calls dealt to them in turn.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

use super::room::{Room, Taken};
use super::settings::Settings;
use crate::error::{Error, Result};
use crate::wire::proto::b_tr_db_client::BTrDbClient;

/// The calls of the protocol over one connection.
pub(super) type Client = BTrDbClient<Channel>;

/// What a server may send of one call before somebody reads it. With a round trip of 10 ms that lets 400 MB/s through; and
/// calls that were begun early hold no more than this.
const CALL_WINDOW_BYTES: u32 = 4 << 20;

/// The same where there is no room for that: a frame.
const SMALL_WINDOW_BYTES: u32 = FRAME_BYTES_MAX;

/// What it may send of all calls of a connection: as much as there can be. A smaller one would be filled by calls that wait
/// for their turn, and the one whose turn it is would hang.
const CONNECTION_WINDOW_BYTES: u32 = (1 << 31) - 1;

/// Largest HTTP/2 frame that a server may send: fewer, larger pieces.
const FRAME_BYTES_MAX: u32 = 256 * 1024;

/// Silence after which the system looks whether the other side is still there.
const TCP_KEEPALIVE: Duration = Duration::from_secs(20);

/// ... and HTTP/2, while calls run. Servers written in Go hang up on clients that ask more often than every five minutes.
const PING_INTERVAL: Duration = Duration::from_secs(310);

/// How long the answer to that may take.
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// The connections to one BTrDB.
pub(super) struct Pool {
    /// Where they lead, in order of preference.
    endpoints: Vec<Arc<str>>,
    connections: Vec<Connection>,
    next: AtomicUsize,
}

/// Windows are those of a connection, so there is one for each kind of call. Neither is opened before it is used.
struct Connection {
    client: Client,
    /// For calls without room.
    small: Client,
    endpoint: Arc<str>,
}

impl Pool {
    /// Connections to `endpoints`, none of which is opened yet. To be called on a runtime.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) for what is not `HOST:PORT`, and for certificates that cannot
    /// be read.
    pub(super) fn new(settings: &Settings, endpoints: &[String]) -> Result<Self> {
        let roots = settings.ca_file.as_deref().map(|file| {
            std::fs::read(file)
                .map(Certificate::from_pem)
                .map_err(|error| {
                    Error::invalid(format!(
                        "the certificates in {} cannot be read",
                        file.display()
                    ))
                    .with_source(error)
                })
        });
        let roots = roots.transpose()?;
        let endpoints: Vec<Arc<str>> = endpoints.iter().map(|name| Arc::from(&**name)).collect();
        let count = settings.connections.max(endpoints.len()).max(1);
        let connections = endpoints.iter().cycle().take(count).map(|name| {
            let endpoint = endpoint(settings, name, roots.as_ref())?;
            let client = |window: u32| {
                let channel = endpoint.clone().initial_stream_window_size(window);
                Client::new(channel.connect_lazy()).max_decoding_message_size(usize::MAX)
            };
            Ok(Connection {
                client: client(CALL_WINDOW_BYTES),
                small: client(SMALL_WINDOW_BYTES),
                endpoint: Arc::clone(name),
            })
        });
        let connections = connections.collect::<Result<_>>()?;
        Ok(Self {
            endpoints,
            connections,
            next: AtomicUsize::new(0),
        })
    }

    /// Other connections to the same endpoints.
    pub(super) fn renewed(&self, settings: &Settings) -> Result<Self> {
        let endpoints = self.endpoints.iter().map(|name| (**name).to_owned());
        Self::new(settings, &endpoints.collect::<Vec<_>>())
    }

    /// The next connection, and where it leads.
    pub(super) fn client(&self) -> (Client, Arc<str>) {
        let connection = self.connection();
        let endpoint = Arc::clone(&connection.endpoint);
        (connection.client.clone(), endpoint)
    }

    /// The same for a call with many answers, and what it takes of the room while it runs.
    pub(super) fn client_in(&self, room: &Room) -> (Client, Arc<str>, Option<Taken>) {
        let connection = self.connection();
        let taken = room.for_call(CALL_WINDOW_BYTES);
        let client = match taken {
            Some(_) => &connection.client,
            None => &connection.small,
        };
        (client.clone(), Arc::clone(&connection.endpoint), taken)
    }

    fn connection(&self) -> &Connection {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        &self.connections[turn % self.connections.len()]
    }

    /// Whether it leads to `endpoints`.
    pub(super) fn leads_to(&self, endpoints: &[String]) -> bool {
        self.endpoints
            .iter()
            .map(|name| &**name)
            .eq(endpoints.iter().map(String::as_str))
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} connections to {:?}",
            self.connections.len(),
            self.endpoints
        )
    }
}

fn endpoint(settings: &Settings, name: &str, roots: Option<&Certificate>) -> Result<Endpoint> {
    let invalid = || {
        Error::invalid(format!(
            "\"{name}\" is not an address of a BTrDB: expecting HOST:PORT"
        ))
    };
    let (host, port) = name.rsplit_once(':').ok_or_else(invalid)?;
    let is_bracketed = host.starts_with('[') && host.ends_with(']');
    let is_host =
        !host.is_empty() && (is_bracketed || !host.contains([':', '/', ',', ';', '@', ' ']));
    if !is_host || !port.parse::<u16>().is_ok_and(|port| port != 0) {
        return Err(invalid());
    }
    let is_tls = settings.is_tls(name);
    let scheme = if is_tls { "https" } else { "http" };
    let endpoint = Endpoint::from_shared(format!("{scheme}://{name}"))
        .map_err(|error| invalid().with_source(error))?
        .connect_timeout(settings.connect_timeout)
        .tcp_nodelay(true)
        .tcp_keepalive(Some(TCP_KEEPALIVE))
        .tcp_keepalive_interval(Some(TCP_KEEPALIVE / 2))
        .tcp_keepalive_retries(Some(3))
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(false)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX);
    if !is_tls {
        return Ok(endpoint);
    }
    let tls = ClientTlsConfig::new().timeout(settings.connect_timeout);
    let tls = match roots {
        Some(roots) => tls.ca_certificate(roots.clone()),
        None => tls.with_webpki_roots(),
    };
    endpoint.tls_config(tls).map_err(|error| {
        Error::invalid(format!("TLS to {name} cannot be set up")).with_source(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn addresses_are_a_host_and_a_port() {
        let pool = |name: &str| Pool::new(&Settings::new(name), &[name.to_owned()]);
        for name in [
            "host:4410",
            "10.0.0.7:4411",
            "[::1]:4410",
            "a-b.example.com:65535",
        ] {
            pool(name).expect(name);
        }
        for name in [
            "",
            "host",
            "host:",
            ":4410",
            "host:0",
            "host:port",
            "::1:4410",
            "a:1,b:2",
            "http://h:1",
            "h:1/x",
        ] {
            pool(name).expect_err(name);
        }
    }

    #[tokio::test]
    async fn missing_certificates_are_told_at_once() {
        let settings = Settings {
            ca_file: Some("/nonexistent/ca.pem".into()),
            ..Settings::new("host:4411")
        };
        let error = Pool::new(&settings, &["host:4411".to_owned()]).expect_err("no file");
        assert!(error.message().contains("/nonexistent/ca.pem"), "{error}");
    }
}
