//! Who may call.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use futures::future::{Either, Ready, ready};
use sha2::{Digest, Sha256};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::metadata::MetadataMap;
use tonic::server::NamedService;

/// What BTrDB says to a key that is none, word for word: its clients compare.
const REFUSAL: &str = "invalid api key";

/// The call by which Flight clients log in. Some have their credentials in its messages, where it has to look itself.
const HANDSHAKE: &str = "/arrow.flight.protocol.FlightService/Handshake";

/// Lets calls through that carry one of the keys; all calls, if there are no keys.
///
/// BTrDB clients send `authorization: Bearer KEY`. Clients that log in with a user and a password send
/// `authorization: Basic ...`, with the key for the password; the user is not looked at. Those that logged in by the messages of
/// a handshake send what they were answered as `auth-token-bin`.
#[derive(Clone)]
pub(super) struct Gate {
    /// Digests: comparing them takes as long whatever the keys have in common.
    keys: Arc<[[u8; 32]]>,
}

impl Gate {
    pub(super) fn new(keys: &[String]) -> Self {
        Self {
            keys: keys.iter().map(|key| digest(key)).collect(),
        }
    }

    fn admits(&self, headers: &MetadataMap) -> bool {
        if self.keys.is_empty() {
            return true;
        }
        key(headers).is_some_and(|key| self.admits_key(&key))
    }

    /// Refuses a key that is none.
    pub(super) fn check(&self, key: &str) -> Result<(), Status> {
        if self.keys.is_empty() || self.admits_key(key) {
            return Ok(());
        }
        Err(refusal())
    }

    fn admits_key(&self, key: &str) -> bool {
        self.keys.contains(&digest(key))
    }

    /// `service` behind this gate.
    pub(super) fn before<S>(&self, service: S) -> Guarded<S> {
        Guarded {
            service,
            gate: self.clone(),
        }
    }
}

fn refusal() -> Status {
    Status::unauthenticated(REFUSAL)
}

fn digest(key: &str) -> [u8; 32] {
    Sha256::digest(key).into()
}

/// How clients write a user and a password: ADBC's driver leaves the padding out.
const CREDENTIALS: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The key that a call carries, if any.
pub(super) fn key(headers: &MetadataMap) -> Option<String> {
    let Some(value) = headers.get("authorization") else {
        let token = headers.get_bin("auth-token-bin")?.to_bytes().ok()?;
        return String::from_utf8(token.to_vec()).ok();
    };
    let value = value.to_str().ok()?;
    let (scheme, credentials) = value.split_once(' ')?;
    let credentials = credentials.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(credentials.to_owned());
    }
    if scheme.eq_ignore_ascii_case("basic") {
        let credentials = CREDENTIALS.decode(credentials).ok()?;
        let credentials = String::from_utf8(credentials).ok()?;
        let (_user, password) = credentials.split_once(':')?;
        return Some(password.to_owned());
    }
    None
}

/// A service behind a gate.
#[derive(Clone, Debug)]
pub(super) struct Guarded<S> {
    service: S,
    gate: Gate,
}

impl<S> Service<http::Request<Body>> for Guarded<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>>,
{
    type Response = http::Response<Body>;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<Result<Self::Response, S::Error>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let (mut parts, body) = request.into_parts();
        let headers = MetadataMap::from_headers(std::mem::take(&mut parts.headers));
        let logs_in = parts.uri.path() == HANDSHAKE && headers.get("authorization").is_none();
        let admitted = logs_in || self.gate.admits(&headers);
        parts.headers = headers.into_headers();
        if admitted {
            let request = http::Request::from_parts(parts, body);
            Either::Left(self.service.call(request))
        } else {
            Either::Right(ready(Ok(refusal().into_http())))
        }
    }
}

impl<S: NamedService> NamedService for Guarded<S> {
    const NAME: &'static str = S::NAME;
}

/// Without the keys, even their digests.
impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate")
            .field("keys", &self.keys.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use tonic::metadata::MetadataValue;

    use super::*;

    fn headers(authorization: Option<&str>) -> MetadataMap {
        let mut headers = MetadataMap::new();
        if let Some(value) = authorization {
            headers.insert("authorization", value.parse().expect("ascii"));
        }
        headers
    }

    #[test]
    fn one_of_the_keys_opens() {
        let gate = Gate::new(&["first".to_owned(), "second".to_owned()]);
        for open in [
            "Bearer first",
            "bearer second",
            "BASIC YW55Ym9keTpmaXJzdA==",
        ] {
            assert!(gate.admits(&headers(Some(open))), "{open}");
        }
        for shut in [
            "Bearer third",
            "Bearer ",
            "first",
            "Basic first",
            "Bearer First",
        ] {
            assert!(!gate.admits(&headers(Some(shut))), "{shut}");
        }
        assert!(!gate.admits(&headers(None)));
        let mut token = MetadataMap::new();
        token.insert_bin("auth-token-bin", MetadataValue::from_bytes(b"second"));
        assert!(gate.admits(&token));
        token.insert("authorization", "Bearer third".parse().expect("ascii"));
        assert!(!gate.admits(&token), "the usual header says more");
        assert!(Gate::new(&[]).admits(&headers(None)), "no keys, no gate");
        assert!(!format!("{gate:?}").contains("first"));
    }
}
