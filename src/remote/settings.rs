//! How a remote is reached, and how long it is waited for.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// The port at which BTrDB's clients speak TLS, as text: nothing else decides it.
const TLS_PORT: &str = "4411";

/// Where a BTrDB is, who asks, and what is done about a network that fails.
#[derive(Clone)]
pub struct Settings {
    /// `HOST:PORT`; an IPv6 address in brackets.
    pub endpoint: String,
    /// Sent with every call. It does not show in `Debug`.
    pub api_key: Option<String>,
    /// Whether to speak TLS; none is what BTrDB's clients do: at port 4411 and nowhere else.
    pub tls: Option<bool>,
    /// Certificates to trust instead of those that browsers trust, in PEM.
    pub ca_file: Option<PathBuf>,
    /// Connections that calls are spread over: 4.
    pub connections: usize,
    /// From the first packet to an open connection: 5 s.
    pub connect_timeout: Duration,
    /// For the answer of a call that has one: 20 s.
    pub call_deadline: Duration,
    /// Between two messages of a call that answers with many: 30 s.
    pub idle_deadline: Duration,
    /// Attempts after the first one, of calls that may be repeated: 4. More are made while the server is out of reach and may come
    /// back.
    pub retries: u32,
    /// From the first failure to the last attempt, and how long a server may be away before it is not waited for: 10 s.
    pub retry_total: Duration,
    /// Calls of one query or insert that run at once, over all its streams: 64.
    pub calls_in_flight: usize,
    /// What may have arrived over all reads before anybody takes it: 256 MiB. Where there is more to read, it goes on with less at a
    /// time.
    pub read_ahead_bytes: u64,
    /// Points of one insert, at most: 50,000. Larger writes are several, and so are several versions.
    pub insert_points: usize,
    /// Whether Arrow is asked for where the server has it: yes.
    pub arrow: bool,
}

impl Settings {
    /// What suits the BTrDB at `endpoint`, and no key.
    pub fn new(endpoint: impl Into<String>) -> Self {
        Self {
            endpoint: endpoint.into(),
            ..Self::default()
        }
    }

    /// Whether TLS is spoken to `endpoint`.
    pub(super) fn is_tls(&self, endpoint: &str) -> bool {
        let by_port = |endpoint: &str| endpoint.rsplit(':').next() == Some(TLS_PORT);
        // A server that is reached by TLS cannot send the key on to where it would travel in the open.
        self.tls
            .unwrap_or_else(|| by_port(&self.endpoint) || by_port(endpoint))
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            endpoint: String::new(),
            api_key: None,
            tls: None,
            ca_file: None,
            connections: 4,
            connect_timeout: Duration::from_secs(5),
            call_deadline: Duration::from_secs(20),
            idle_deadline: Duration::from_secs(30),
            retries: 4,
            retry_total: Duration::from_secs(10),
            calls_in_flight: 64,
            read_ahead_bytes: 256 << 20,
            insert_points: 50_000,
            arrow: true,
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("endpoint", &self.endpoint)
            .field("api_key", &self.api_key.as_ref().map(|_| "..."))
            .field("tls", &self.tls)
            .field("ca_file", &self.ca_file)
            .field("connections", &self.connections)
            .field("connect_timeout", &self.connect_timeout)
            .field("call_deadline", &self.call_deadline)
            .field("idle_deadline", &self.idle_deadline)
            .field("retries", &self.retries)
            .field("retry_total", &self.retry_total)
            .field("calls_in_flight", &self.calls_in_flight)
            .field("read_ahead_bytes", &self.read_ahead_bytes)
            .field("insert_points", &self.insert_points)
            .field("arrow", &self.arrow)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_decides_about_tls() {
        let is_tls = |endpoint: &str| Settings::new(endpoint).is_tls(endpoint);
        assert!(is_tls("host:4411") && is_tls("[::1]:4411"));
        assert!(!is_tls("host:4410") && !is_tls("host:44110") && !is_tls("4411:1"));
        let never = Settings {
            tls: Some(false),
            ..Settings::new("host:4411")
        };
        assert!(!never.is_tls("host:4411"));
        assert!(
            Settings::new("host:4411").is_tls("other:4410"),
            "whoever is reached by TLS sends nobody elsewhere without"
        );
    }

    #[test]
    fn the_key_does_not_show() {
        let settings = Settings {
            api_key: Some("d976a2d6".to_owned()),
            ..Settings::new("host:4411")
        };
        assert!(!format!("{settings:?}").contains("d976a2d6"));
    }
}
