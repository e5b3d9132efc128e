//! Logging in: by header, and by the older messages of the handshake.

use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{BasicAuth, Criteria, HandshakeRequest};
use bytes::Bytes;
use prost::Message;
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Status};

use super::*;

async fn guarded() -> Server {
    let settings = ServeSettings {
        api_keys: vec!["sesame".to_owned()],
        ..ServeSettings::default()
    };
    Server::start_with(settings).await
}

fn credentials(password: &str) -> Bytes {
    let credentials = BasicAuth {
        username: "anybody".to_owned(),
        password: password.to_owned(),
    };
    credentials.encode_to_vec().into()
}

/// As pyarrow's `authenticate` does it: the credentials in a message, and a token in the answer.
async fn handshake(server: &Server, payload: Bytes) -> Result<Bytes, Status> {
    let mut client = FlightServiceClient::new(server.channel().await);
    let request = HandshakeRequest {
        protocol_version: 0,
        payload,
    };
    let answers = client.handshake(futures::stream::iter([request])).await?;
    let answer = answers.into_inner().message().await?;
    Ok(answer.expect("a token").payload)
}

/// Whether a call with these bytes as `auth-token-bin` is let in.
async fn list(server: &Server, token: Option<&[u8]>) -> Result<(), Status> {
    let mut client = FlightServiceClient::new(server.channel().await);
    let mut request = Request::new(Criteria::default());
    if let Some(token) = token {
        let token = MetadataValue::from_bytes(token);
        request.metadata_mut().insert_bin("auth-token-bin", token);
    }
    client.list_flights(request).await.map(drop)
}

#[tokio::test]
async fn the_key_may_come_in_the_messages_of_a_handshake() {
    let server = guarded().await;
    let token = handshake(&server, credentials("sesame")).await;
    let token = token.expect("the key");
    list(&server, Some(&token)).await.expect("let in");
    for refused in [
        handshake(&server, credentials("other")).await,
        handshake(&server, credentials("")).await,
        handshake(&server, Bytes::new()).await,
    ] {
        let status = refused.expect_err("no key");
        assert_eq!(status.code(), Code::Unauthenticated, "{status}");
    }
    let status = handshake(&server, Bytes::from_static(b"\xff\xff")).await;
    let status = status.expect_err("no credentials");
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("BasicAuth"), "{status}");
    for token in [None, Some(&b"other"[..]), Some(b"\xff\xff")] {
        let status = list(&server, token).await.expect_err("not let in");
        assert_eq!(status.code(), Code::Unauthenticated, "{status}");
    }
}

#[tokio::test]
async fn without_keys_anybody_logs_in() {
    let server = Server::start().await;
    for (payload, expected) in [
        (Bytes::new(), "anonymous"),
        (credentials("whatever"), "whatever"),
    ] {
        let token = handshake(&server, payload).await.expect("let in");
        assert_eq!(token, expected.as_bytes());
        list(&server, Some(&token)).await.expect("let in");
    }
}
