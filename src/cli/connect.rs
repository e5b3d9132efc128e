//! A gRPC channel to a server, from an address as people write it.

use std::time::Duration;

use arrow_flight::error::FlightError;
use arrow_flight::flight_service_client::FlightServiceClient;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use crate::error::{Error, ErrorKind, Result};
use crate::serve::flight::status;

const PORT_DEFAULT: u16 = 4410;

/// How long a server may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// HTTP/2 windows: a round trip of 10 ms then still lets 800 MB/s through.
const WINDOW_BYTES: u32 = 8 << 20;

/// Largest message taken from a server: one row of one batch can be wide.
const MESSAGE_BYTES_MAX: usize = 256 << 20;

/// A Flight client for the server at `address`: `grpc://HOST:PORT`, the port being 4410 when it is left out, or `unix:PATH`.
///
/// # Errors
/// [`ErrorKind::Invalid`] for an address that is none, [`ErrorKind::Unavailable`] if no server answers there.
pub(super) async fn flight_client(address: &str) -> Result<FlightServiceClient<Channel>> {
    let uri = uri(address)?;
    let channel = Endpoint::from_shared(uri)
        .map_err(|error| {
            Error::invalid(format!("\"{address}\" is not an address")).with_source(error)
        })?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(2 * WINDOW_BYTES)
        .connect()
        .await
        .map_err(|error| {
            Error::new(
                ErrorKind::Unavailable,
                format!("no server answers at {address}"),
            )
            .with_source(error)
        })?;
    Ok(FlightServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX))
}

fn uri(address: &str) -> Result<String> {
    if let Some(path) = address.strip_prefix("unix:") {
        return match path.trim_start_matches('/') {
            "" => Err(Error::invalid("\"unix:\" names no socket, use unix:PATH")),
            _ => Ok(address.to_owned()),
        };
    }
    let (scheme, rest) = address.split_once("://").unwrap_or(("grpc", address));
    match scheme {
        "grpc" | "grpc+tcp" | "http" => {}
        "grpc+tls" | "grpcs" | "https" => {
            return Err(Error::unsupported(format!(
                "\"{address}\": this client does not speak TLS, use grpc://HOST:PORT"
            )));
        }
        _ => {
            return Err(Error::invalid(format!(
                "\"{address}\": scheme \"{scheme}\" is unknown, use grpc://HOST:PORT or unix:PATH"
            )));
        }
    }
    let authority = rest.trim_end_matches('/');
    if authority.is_empty() || authority.contains('/') {
        return Err(Error::invalid(format!(
            "\"{address}\" is not an address, use grpc://HOST:PORT"
        )));
    }
    // The colons of a bare IPv6 address stand inside brackets.
    let after_host = authority.rsplit(']').next().unwrap_or(authority);
    Ok(if after_host.contains(':') {
        format!("http://{authority}")
    } else {
        format!("http://{authority}:{PORT_DEFAULT}")
    })
}

/// What a server answered, as an error of ours.
pub(super) fn from_status(answer: &Status) -> Error {
    let message = match answer.message() {
        "" => format!("the server answered {:?}", answer.code()),
        message => message.to_owned(),
    };
    Error::new(status::kind(answer.code()), message)
}

/// The same for what arrow-flight makes of it.
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
            ("unix:/run/btrdb.sock", "unix:/run/btrdb.sock"),
        ] {
            assert_eq!(uri(address).expect(address), expected);
        }
        for address in ["grpc://", "ftp://a", "grpc://a/b", "unix:"] {
            assert_eq!(uri(address).expect_err(address).kind(), ErrorKind::Invalid);
        }
        assert_eq!(
            uri("grpc+tls://a").expect_err("TLS").kind(),
            ErrorKind::Unsupported
        );
    }
}
