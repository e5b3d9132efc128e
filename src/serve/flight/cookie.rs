//! Cookies: how a client that keeps them is known again.
//!
//! ```text
//! no cookie                                   <- set-cookie: arrow_flight_session_id=o-...   an offer: nothing is kept
//! cookie: arrow_flight_session_id=o-... ->    the client keeps cookies, so a session would last
//! SET, BEGIN, SetSessionOptions         ->
//!                                             <- set-cookie: arrow_flight_session_id=s-...   a session: something is kept
//! ```
//!
//! Both are signed, and name a session by a uuid; the offer names one that does not exist yet. A session that is gone must be
//! told from one that never was: statements would go on with other settings than the client set.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use tonic::metadata::MetadataMap;
use uuid::Uuid;

use super::Shared;
use super::call::CallOptions;
use super::seal::Purpose;
use crate::error::{Error, Result};

/// The name that the protocol suggests.
const NAME: &str = "arrow_flight_session_id";

const OFFER: &str = "o-";
const SESSION: &str = "s-";

/// Who calls, as far as a cookie tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Client {
    /// Nobody knows whether it keeps cookies.
    #[default]
    Unknown,
    /// It keeps cookies, and may begin this session.
    Offered(Uuid),
    /// It is in this session.
    Session(Uuid),
}

impl Client {
    /// The session that it is in, or may begin.
    pub(super) fn id(self) -> Option<Uuid> {
        match self {
            Self::Unknown => None,
            Self::Offered(id) | Self::Session(id) => Some(id),
        }
    }
}

impl Shared {
    /// Who sends these headers. A cookie that is about to expire is renewed.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::error::ErrorKind::NotFound) for a session's cookie that does not hold here.
    pub(super) fn client(&self, headers: &MetadataMap, call: &CallOptions) -> Result<Client> {
        let Some(value) = find(headers) else {
            return Ok(Client::Unknown);
        };
        let (is_session, text) = if let Some(text) = value.strip_prefix(SESSION) {
            (true, text)
        } else if let Some(text) = value.strip_prefix(OFFER) {
            (false, text)
        } else {
            return Ok(Client::Unknown);
        };
        match self.open_cookie(text, is_session) {
            Ok((id, is_old)) => {
                if is_old {
                    self.give_cookie(call, id, is_session);
                }
                Ok(if is_session {
                    Client::Session(id)
                } else {
                    Client::Offered(id)
                })
            }
            // Nothing hangs on an offer: it is made again.
            Err(_) if !is_session => Ok(Client::Unknown),
            Err(error) => {
                take_cookie(call);
                Err(Error::not_found(
                    "the session of the cookie is not here: it has expired, or belongs to another server process; what was \
                     set in it is gone, and the next call begins anew",
                )
                .with_source(error))
            }
        }
    }

    /// Offers a session to a client of which it is not known whether it keeps cookies.
    pub(super) fn offer_cookie(&self, call: &CallOptions) {
        if call.client == Client::Unknown {
            self.give_cookie(call, Uuid::new_v4(), false);
        }
    }

    /// Makes the client send the session's id with its calls.
    pub(super) fn give_cookie(&self, call: &CallOptions, id: Uuid, is_session: bool) {
        let purpose = purpose(is_session);
        let lifetime = self.settings.statement_lifetime;
        let (sealed, _) = self.seal.seal(purpose, id.as_bytes(), lifetime);
        let prefix = if is_session { SESSION } else { OFFER };
        let value = BASE64_URL_SAFE_NO_PAD.encode(sealed);
        call.reply.set_cookie(&format!("{NAME}={prefix}{value}"));
    }

    /// The session of a cookie, and whether half of its time is over.
    fn open_cookie(&self, text: &str, is_session: bool) -> Result<(Uuid, bool)> {
        let unreadable = || Error::invalid("the cookie is not one of this server");
        let sealed = BASE64_URL_SAFE_NO_PAD
            .decode(text)
            .map_err(|_| unreadable())?;
        let sealed = Bytes::from(sealed);
        let (payload, left) = self.seal.open_with_time(purpose(is_session), &sealed)?;
        let id = Uuid::from_slice(&payload).map_err(|_| unreadable())?;
        Ok((id, left < self.settings.statement_lifetime / 2))
    }
}

/// Makes the client forget its session.
pub(super) fn take_cookie(call: &CallOptions) {
    call.reply.set_cookie(&format!("{NAME}=; Max-Age=0"));
}

fn purpose(is_session: bool) -> Purpose {
    if is_session {
        Purpose::Session
    } else {
        Purpose::Offer
    }
}

/// The value of our cookie; clients send several in one header, or in several.
fn find(headers: &MetadataMap) -> Option<&str> {
    headers
        .get_all("cookie")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|cookie| cookie.trim().split_once('='))
        .find(|(name, _)| *name == NAME)
        // Java quotes the values of cookies.
        .map(|(_, value)| value.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_found_among_others() {
        for (headers, expected) in [
            (&["a=b; arrow_flight_session_id=o-x;c=d"][..], Some("o-x")),
            (&["a=b", "arrow_flight_session_id=\"s-y\""], Some("s-y")),
            (&["arrow_flight_session_id"], None),
            (&["other_arrow_flight_session_id=1"], None),
            (&[], None),
        ] {
            let mut map = MetadataMap::new();
            for header in headers {
                map.append("cookie", header.parse().expect("ascii"));
            }
            assert_eq!(find(&map), expected, "{headers:?}");
        }
    }
}
