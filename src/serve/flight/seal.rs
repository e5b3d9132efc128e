//! Sealed bytes: what the server gives out, signed, so that it can trust it when it comes back.
//!
//! ```text
//! version u8 = 1 | purpose u8 | expiry i64 BE, seconds since 1970 | payload | HMAC-SHA256 of all before, 32 bytes
//! ```

use std::time::{Duration, SystemTime};

use bytes::{BufMut, Bytes, BytesMut};
use hmac::{Hmac, KeyInit, Mac};
use rand::TryRngCore;
use rand::rngs::OsRng;
use sha2::Sha256;

use crate::error::{Error, ErrorKind, Result};
use crate::serve::Clock;

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 1 + 1 + 8;
const SIGNATURE_BYTES: usize = 32;

/// What sealed bytes may be used for: one kind is never taken for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Purpose {
    /// Redeemed by DoGet.
    Ticket = 1,
    /// A prepared statement.
    Prepared = 2,
    /// The cookie of a session.
    Session = 3,
    /// The cookie of a session that may be begun.
    Offer = 4,
    /// Asks how far a statement is that runs.
    Poll = 5,
    /// Names a statement that runs, for whoever wants to end it.
    Query = 6,
}

impl Purpose {
    fn noun(self) -> &'static str {
        match self {
            Self::Ticket => "ticket",
            Self::Prepared => "prepared statement handle",
            Self::Session | Self::Offer => "cookie",
            Self::Poll => "descriptor to poll with",
            Self::Query => "name of the query",
        }
    }

    fn advice(self) -> &'static str {
        match self {
            Self::Ticket => "call GetFlightInfo again",
            Self::Prepared => "prepare the statement again",
            Self::Session | Self::Offer => "begin a session again",
            Self::Poll | Self::Query => "execute the statement again",
        }
    }
}

/// Signs and checks.
pub(super) struct Seal {
    mac: Hmac<Sha256>,
    clock: Clock,
}

impl Seal {
    /// With this key, or with a random one.
    pub(super) fn new(key: Option<[u8; 32]>, clock: Clock) -> Result<Self> {
        let key = match key {
            Some(key) => key,
            None => random_key()?,
        };
        let mac = Hmac::new_from_slice(&key).expect("HMAC takes a key of any length");
        Ok(Self { mac, clock })
    }

    /// `payload`, signed, to be accepted for `purpose` for `lifetime` from now; and the time when that ends.
    pub(super) fn seal(
        &self,
        purpose: Purpose,
        payload: &[u8],
        lifetime: Duration,
    ) -> (Bytes, i64) {
        let expiry = self.expiry(lifetime);
        let mut sealed = BytesMut::with_capacity(HEADER_BYTES + payload.len() + SIGNATURE_BYTES);
        sealed.put_u8(VERSION);
        sealed.put_u8(purpose as u8);
        sealed.put_i64(expiry);
        sealed.put_slice(payload);
        let signature = self.mac.clone().chain_update(&sealed).finalize();
        sealed.put_slice(&signature.into_bytes());
        (sealed.freeze(), expiry)
    }

    /// The payload of bytes that were sealed for `purpose`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if they were not, [`ErrorKind::NotFound`] if they expired.
    pub(super) fn open(&self, purpose: Purpose, sealed: &Bytes) -> Result<Bytes> {
        self.open_with_time(purpose, sealed)
            .map(|(payload, _)| payload)
    }

    /// As [`open`](Self::open), and how long that is possible from now on.
    pub(super) fn open_with_time(
        &self,
        purpose: Purpose,
        sealed: &Bytes,
    ) -> Result<(Bytes, Duration)> {
        let noun = purpose.noun();
        let foreign = || {
            Error::invalid(format!(
                "the {noun} was not given out by this server, or by one that shares its key, or was altered"
            ))
        };
        if sealed.len() < HEADER_BYTES + SIGNATURE_BYTES {
            return Err(foreign());
        }
        let signed = sealed.slice(..sealed.len() - SIGNATURE_BYTES);
        let signature = &sealed[signed.len()..];
        // The comparison takes the same time wherever the bytes differ.
        self.mac
            .clone()
            .chain_update(&signed)
            .verify_slice(signature)
            .map_err(|_| foreign())?;
        if signed[0] != VERSION || signed[1] != purpose as u8 {
            return Err(foreign());
        }
        let mut expiry = [0; 8];
        expiry.copy_from_slice(&signed[2..HEADER_BYTES]);
        let left = i64::from_be_bytes(expiry).saturating_sub(self.now());
        let Ok(left) = u64::try_from(left) else {
            let advice = purpose.advice();
            return Err(Error::not_found(format!(
                "the {noun} has expired: {advice}"
            )));
        };
        Ok((signed.slice(HEADER_BYTES..), Duration::from_secs(left)))
    }

    /// The time so long from now, in seconds since 1970.
    pub(super) fn expiry(&self, lifetime: Duration) -> i64 {
        self.now()
            .saturating_add(i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX))
    }

    /// Whether `bytes` have the form of sealed ones, which no message and no text has.
    pub(super) fn is_sealed(bytes: &Bytes) -> bool {
        bytes.len() >= HEADER_BYTES + SIGNATURE_BYTES && bytes[0] == VERSION
    }

    fn now(&self) -> i64 {
        (self.clock)()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| {
                i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
            })
    }
}

fn random_key() -> Result<[u8; 32]> {
    let mut key = [0; 32];
    OsRng.try_fill_bytes(&mut key).map_err(|error| {
        Error::new(
            ErrorKind::Unavailable,
            "the operating system gave no random key for signing tickets",
        )
        .with_source(error)
    })?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    const LIFETIME: Duration = Duration::from_secs(60);

    fn seal_at(key: u8, now: &Arc<AtomicU64>) -> Seal {
        let now = Arc::clone(now);
        let clock: Clock = Arc::new(move || {
            SystemTime::UNIX_EPOCH + Duration::from_secs(now.load(Ordering::Relaxed))
        });
        Seal::new(Some([key; 32]), clock).expect("a given key")
    }

    #[test]
    fn what_was_sealed_opens_until_it_expires() {
        let now = Arc::new(AtomicU64::new(1_000));
        let seal = seal_at(1, &now);
        let (sealed, expiry) = seal.seal(Purpose::Ticket, b"payload", LIFETIME);
        assert_eq!(expiry, 1_060);
        now.store(1_060, Ordering::Relaxed);
        let opened = seal.open(Purpose::Ticket, &sealed).expect("still valid");
        assert_eq!(&opened[..], b"payload");
        now.store(1_061, Ordering::Relaxed);
        let error = seal.open(Purpose::Ticket, &sealed).expect_err("expired");
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }

    #[test]
    fn altered_and_foreign_bytes_are_refused() {
        let now = Arc::new(AtomicU64::new(1_000));
        let seal = seal_at(1, &now);
        let (sealed, _) = seal.seal(Purpose::Ticket, b"payload", LIFETIME);
        for position in 0..sealed.len() {
            let mut altered = sealed.to_vec();
            altered[position] ^= 1;
            let error = seal
                .open(Purpose::Ticket, &Bytes::from(altered))
                .expect_err("altered");
            assert_eq!(error.kind(), ErrorKind::Invalid, "byte {position}");
        }
        for length in 0..sealed.len() {
            assert!(seal.open(Purpose::Ticket, &sealed.slice(..length)).is_err());
        }
        assert!(seal.open(Purpose::Prepared, &sealed).is_err());
        assert!(seal_at(2, &now).open(Purpose::Ticket, &sealed).is_err());
    }
}
