//! A gRPC channel to a server, from an address as people write it.

use std::path::PathBuf;
use std::time::Duration;

use arrow_flight::error::FlightError;
use arrow_flight::flight_service_client::FlightServiceClient;
use clap::Args;
use tonic::Status;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

use super::exit;
use crate::error::{Error, ErrorKind, Result};
use crate::wire::grpc;

const PORT_DEFAULT: u16 = 4410;
const TLS_PORT_DEFAULT: u16 = 4411;

/// How long a server may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// HTTP/2 windows: a round trip of 10 ms then still lets 800 MB/s through.
const WINDOW_BYTES: u32 = 8 << 20;

/// Largest message taken from a server: one row of one batch can be wide.
const MESSAGE_BYTES_MAX: usize = 256 << 20;

/// What passes between a server and those who connect to it before anything else.
#[derive(Args, Clone, Debug)]
pub(super) struct CredentialArgs {
    /// The key that the server asks for; better in the environment, where other users of this machine do not see it.
    #[arg(
        long,
        value_name = "KEY",
        env = "BTRDB_FLIGHT_API_KEY",
        hide_env_values = true
    )]
    pub(super) api_key: Option<String>,

    /// Certificates to trust in TLS, in PEM, instead of those that browsers trust.
    #[arg(long, value_name = "FILE", env = "BTRDB_FLIGHT_CA_FILE")]
    pub(super) ca_file: Option<PathBuf>,
}

impl CredentialArgs {
    /// The header that carries the key.
    pub(super) fn authorization(&self) -> Option<(&'static str, String)> {
        let key = self.api_key.as_ref()?;
        Some(("authorization", format!("Bearer {key}")))
    }

    /// A Flight client for the server at `address`: `grpc://HOST:PORT` or `grpc+tls://HOST:PORT`, the port being 4410 or 4411
    /// when it is left out, or `unix:PATH`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for an address that is none, [`ErrorKind::Unavailable`] if no server answers there.
    pub(super) async fn flight_client(
        &self,
        address: &str,
    ) -> Result<FlightServiceClient<Channel>> {
        let uri = uri(address)?;
        let is_tls = uri.starts_with("https://");
        let unusable = |error: tonic::transport::Error| {
            Error::invalid(format!("\"{address}\" cannot be connected to")).with_source(error)
        };
        let mut endpoint = Endpoint::from_shared(uri)
            .map_err(unusable)?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(2 * WINDOW_BYTES);
        if is_tls {
            endpoint = endpoint.tls_config(self.tls()?).map_err(unusable)?;
        }
        let channel = endpoint
            .connect()
            .await
            .map_err(|error| unconnected(address, error))?;
        Ok(FlightServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX))
    }

    fn tls(&self) -> Result<ClientTlsConfig> {
        let tls = ClientTlsConfig::new();
        let Some(file) = &self.ca_file else {
            return Ok(tls.with_enabled_roots());
        };
        let pem = std::fs::read(file)
            .map_err(|error| exit::from_io(format!("cannot read {}", file.display()), error))?;
        Ok(tls.ca_certificate(Certificate::from_pem(pem)))
    }
}

/// What TLS's alert is to a reader of HTTP/2, or the end of the connection if that comes first.
const NO_FRAME: [&str; 4] = [
    "frame with invalid size",
    "broken pipe",
    "reset",
    "connection closed",
];

/// What HTTP/2 is to a reader of TLS.
const NO_TLS: &str = "received corrupt message";

/// What an error came of, and what that came of.
fn causes<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(error.source(), |&error| error.source())
}

/// The error of a connection that did not come about.
fn unconnected(address: &str, error: tonic::transport::Error) -> Error {
    let causes = || causes(&error);
    let is_plain = causes().any(|cause| cause.to_string().contains(NO_TLS));
    let message = match causes().next() {
        _ if is_plain => format!(
            "what answers at {address} does not speak TLS: use grpc://, or the port of its TLS side"
        ),
        Some(cause) => format!("no server answers at {address}: {cause}"),
        None => format!("no server answers at {address}"),
    };
    Error::new(ErrorKind::Unavailable, message).with_source(error)
}

fn uri(address: &str) -> Result<String> {
    if let Some(path) = address.strip_prefix("unix:") {
        return match path.trim_start_matches('/') {
            "" => Err(Error::invalid("\"unix:\" names no socket, use unix:PATH")),
            _ => Ok(address.to_owned()),
        };
    }
    let (scheme, rest) = address.split_once("://").unwrap_or(("grpc", address));
    let (scheme, port) = match scheme {
        "grpc" | "grpc+tcp" | "http" => ("http", PORT_DEFAULT),
        "grpc+tls" | "grpcs" | "https" => ("https", TLS_PORT_DEFAULT),
        _ => {
            return Err(Error::invalid(format!(
                "\"{address}\": scheme \"{scheme}\" is unknown, use grpc://HOST:PORT, grpc+tls://HOST:PORT or unix:PATH"
            )));
        }
    };
    let authority = rest.trim_end_matches('/');
    if authority.is_empty() || authority.contains('/') {
        return Err(Error::invalid(format!(
            "\"{address}\" is not an address, use grpc://HOST:PORT"
        )));
    }
    // The colons of a bare IPv6 address stand inside brackets.
    let after_host = authority.rsplit(']').next().unwrap_or(authority);
    Ok(if after_host.contains(':') {
        format!("{scheme}://{authority}")
    } else {
        format!("{scheme}://{authority}:{port}")
    })
}

/// What a server answered, as arrow-flight tells it, as an error of ours.
pub(super) fn from_flight(error: FlightError) -> Error {
    match error {
        FlightError::Tonic(status) => from_status(&status),
        FlightError::ExternalError(error) => match error.downcast::<Error>() {
            Ok(error) => *error,
            Err(error) => Error::internal("the Flight client failed").with_source(error),
        },
        error => Error::new(ErrorKind::Internal, "the server's answer is not understood")
            .with_source(error),
    }
}

/// What a server said by a status or, where it said nothing, why.
pub(super) fn from_status(status: &Status) -> Error {
    let causes = || causes(status);
    let Some(cause) = causes().last() else {
        return grpc::from_status(status);
    };
    let mut message = format!("the connection to the server broke: {cause}");
    let looks_like_tls = |cause: &(dyn std::error::Error + 'static)| {
        let cause = cause.to_string();
        NO_FRAME.iter().any(|sign| cause.contains(sign))
    };
    if causes().any(looks_like_tls) {
        message.push_str("; if the server speaks TLS at this port, use grpc+tls://");
    }
    Error::new(ErrorKind::Unavailable, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_as_people_write_them() {
        for (address, expected) in [
            ("grpc://localhost:5000", "http://localhost:5000"),
            ("grpc+tcp://localhost:5000/", "http://localhost:5000"),
            ("10.0.0.7", "http://10.0.0.7:4410"),
            ("grpc://[::1]", "http://[::1]:4410"),
            ("[::1]:99", "http://[::1]:99"),
            ("grpc+tls://a", "https://a:4411"),
            ("https://a:1", "https://a:1"),
            ("unix:/run/btrdb.sock", "unix:/run/btrdb.sock"),
        ] {
            assert_eq!(uri(address).expect(address), expected);
        }
        for address in ["grpc://", "ftp://a", "grpc://a/b", "unix:"] {
            assert_eq!(uri(address).expect_err(address).kind(), ErrorKind::Invalid);
        }
    }
}
