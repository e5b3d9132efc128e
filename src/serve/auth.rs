//! Who may call.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest, Sha256};
use tonic::metadata::MetadataMap;
use tonic::service::Interceptor;
use tonic::{Request, Status};

/// What BTrDB says to a key that is none, word for word: its clients compare.
const REFUSAL: &str = "invalid api key";

/// Lets calls through that carry one of the keys; all calls, if there are no keys.
///
/// BTrDB clients send `authorization: Bearer KEY`. Clients that log in with a user and a password send
/// `authorization: Basic ...`, with the key for the password; the user is not looked at.
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
        let Some(key) = key(headers) else {
            return false;
        };
        self.keys.contains(&digest(&key))
    }
}

fn digest(key: &str) -> [u8; 32] {
    Sha256::digest(key).into()
}

/// The key that a call carries, if any.
pub(super) fn key(headers: &MetadataMap) -> Option<String> {
    let value = headers.get("authorization")?.to_str().ok()?;
    let (scheme, credentials) = value.split_once(' ')?;
    let credentials = credentials.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(credentials.to_owned());
    }
    if scheme.eq_ignore_ascii_case("basic") {
        let credentials = BASE64_STANDARD.decode(credentials).ok()?;
        let credentials = String::from_utf8(credentials).ok()?;
        let (_user, password) = credentials.split_once(':')?;
        return Some(password.to_owned());
    }
    None
}

impl Interceptor for Gate {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        if self.admits(request.metadata()) {
            Ok(request)
        } else {
            Err(Status::unauthenticated(REFUSAL))
        }
    }
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
        assert!(Gate::new(&[]).admits(&headers(None)), "no keys, no gate");
        assert!(!format!("{gate:?}").contains("first"));
    }
}
