//! Handshake: how clients log in that do not send their key with every call.
//!
//! A user and a password in the header are answered by the password as a bearer token, which is the API key where one is needed.
//! Where none is, any credentials are taken. The older form has them in the first message, as pyarrow's `authenticate` sends
//! them, and sends what it is answered as `auth-token-bin` with later calls.

use std::time::Duration;

use arrow_flight::{BasicAuth, HandshakeRequest};
use prost::Message;
use tokio::time::timeout;
use tonic::Streaming;

use crate::error::{Error, Result};
use crate::wire::grpc;

/// How long a client without credentials in its headers has for its first message.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// What clients get that have no credentials, where none are needed.
const ANONYMOUS: &str = "anonymous";

/// The token for a client without credentials in its headers: the password in its first message.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) for a message that holds anything else.
pub(super) async fn token(mut messages: Streaming<HandshakeRequest>) -> Result<String> {
    let first = timeout(WAIT_MAX, messages.message()).await;
    let first = first.map_err(|_| {
        Error::invalid("the handshake has neither a header authorization nor a message")
    })?;
    let first = first.map_err(|status| Error::new(grpc::kind(status.code()), status.message()))?;
    match first {
        Some(request) if !request.payload.is_empty() => of_payload(&request.payload),
        _ => Ok(ANONYMOUS.to_owned()),
    }
}

fn of_payload(payload: &[u8]) -> Result<String> {
    let credentials = BasicAuth::decode(payload).map_err(|error| {
        Error::invalid(
            "the payload of the handshake is not understood: it takes nothing, or a BasicAuth message with user and password; \
             other clients send them as the header authorization",
        )
        .with_source(error)
    })?;
    Ok(match credentials.password.as_str() {
        "" => ANONYMOUS.to_owned(),
        password => password.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_are_credentials_or_refused() {
        let credentials = BasicAuth {
            username: "anybody".to_owned(),
            password: "key".to_owned(),
        };
        let token = of_payload(&credentials.encode_to_vec()).expect("credentials");
        assert_eq!(token, "key");
        let error = of_payload(b"\xff\xff").expect_err("no message");
        assert!(error.message().contains("BasicAuth"), "{error}");
    }
}
