//! What a call asks for beside its message: by its headers, and by the connection it comes on.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tonic::metadata::MetadataMap;
use tonic::{Request, Status};

use super::compression::Compression;
use super::cookie::Client;
use super::reply::Reply;
use super::stop::Stop;
use crate::error::{Error, Result};
use crate::model::MergePolicy;
use crate::query::SessionOptions;

/// Prefix of the headers that change how one call is served.
const PREFIX: &str = "x-btrdb-";

/// Headers that stand for a setting of the session, and its name.
const SETTINGS: [(&str, &str); 4] = [
    ("x-btrdb-pushdown", "btrdb.pushdown"),
    ("x-btrdb-merge", "btrdb.merge"),
    ("x-btrdb-schema", "btrdb.schema"),
    ("x-btrdb-timeout", "btrdb.timeout"),
];

/// How long the client gives the call, in gRPC's own words.
const DEADLINE: &str = "grpc-timeout";

/// Whether a put creates the stream that its path names.
const CREATE: &str = "x-btrdb-create";

/// How the bodies of an answer are compressed.
const COMPRESSION: &str = "x-btrdb-compression";

/// Into how many endpoints a FlightInfo may divide an answer.
const ENDPOINTS: &str = "x-btrdb-endpoints";

/// More connections than that would not be faster on any machine.
const ENDPOINTS_MAX: usize = 64;

/// What one call asks for beside its message.
#[derive(Clone, Debug, Default)]
pub(super) struct CallOptions {
    pub(super) settings: Vec<(&'static str, String)>,
    /// What becomes of points whose time is taken, if the call says so.
    pub(super) merge: Option<MergePolicy>,
    /// Whether streams that do not exist are created; none is the default of the operation.
    pub(super) create: Option<bool>,
    /// How the bodies of the answer are compressed, if the call says so.
    pub(super) compression: Option<Compression>,
    /// Into how many endpoints the answer may be divided; none is one, because several clients read only the first.
    pub(super) endpoints: Option<usize>,
    /// The client's end of the connection; a Unix socket has none.
    pub(super) connection: Option<SocketAddr>,
    /// Who calls, as far as a cookie tells.
    pub(super) client: Client,
    /// Ends the call before it is done.
    pub(super) stop: Arc<Stop>,
    /// What goes with the answer.
    pub(super) reply: Reply,
}

impl CallOptions {
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) if a header of ours has a value that it cannot have, or does
    /// not exist: a misspelt header must not be ignored.
    pub(super) fn of<T>(request: &Request<T>) -> Result<Self> {
        let mut options = Self::from_headers(request.metadata())?;
        options.connection = request.remote_addr();
        if let Some(timeout) = deadline(request.metadata()) {
            options.stop.at_deadline(timeout);
        }
        Ok(options)
    }

    /// The same for work that outlives the call: it does not end with it.
    pub(super) fn apart(&self) -> Self {
        Self {
            stop: Arc::default(),
            ..self.clone()
        }
    }

    /// Does `work` for the call, unless the call has to end before that.
    pub(super) async fn until_stopped<T>(
        &self,
        work: impl Future<Output = std::result::Result<T, Status>>,
    ) -> std::result::Result<T, Status> {
        let outcome = tokio::select! {
            biased;
            outcome = work => outcome,
            reason = self.stop.tripped() => Err(reason.status()),
        };
        match (outcome, self.stop.reason()) {
            // What failed because it was stopped fails for that reason, whatever it says of it.
            (Err(_), Some(reason)) => Err(reason.status()),
            (outcome, _) => outcome,
        }
    }

    fn from_headers(headers: &MetadataMap) -> Result<Self> {
        let mut options = Self::default();
        for key in headers.keys() {
            let tonic::metadata::KeyRef::Ascii(key) = key else {
                continue;
            };
            let name = key.as_str();
            if !name.starts_with(PREFIX) {
                continue;
            }
            let value = headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .ok_or_else(|| Error::invalid(format!("header {name} is not text")))?;
            options.take(name, value)?;
        }
        Ok(options)
    }

    fn take(&mut self, name: &str, value: &str) -> Result<()> {
        if name == CREATE {
            self.create = Some(parse_bool(name, value)?);
            return Ok(());
        }
        if name == COMPRESSION {
            self.compression = Some(Compression::parse(value)?);
            return Ok(());
        }
        if name == ENDPOINTS {
            self.endpoints = Some(parse_count(name, value, ENDPOINTS_MAX)?);
            return Ok(());
        }
        let Some((_, setting)) = SETTINGS.iter().find(|(header, _)| *header == name) else {
            return Err(Error::invalid(format!(
                "header {name} is unknown: headers are x-btrdb-pushdown, x-btrdb-merge, x-btrdb-schema, x-btrdb-timeout, \
                 x-btrdb-create, {COMPRESSION}, {ENDPOINTS}"
            )));
        };
        // Tried on a scratch session, so that a bad value is refused whatever the call is.
        let mut scratch = SessionOptions::default();
        scratch.set(setting, value)?;
        if *setting == "btrdb.merge" {
            self.merge = Some(value.parse()?);
        }
        self.settings.push((setting, value.to_owned()));
        Ok(())
    }

    /// `session` as this call wants it: headers win over what was `SET`.
    ///
    /// # Errors
    /// As [`SessionOptions::set`].
    pub(super) fn apply(&self, session: &mut SessionOptions) -> Result<()> {
        for (name, value) in &self.settings {
            session.set(name, value)?;
        }
        Ok(())
    }
}

/// The client's deadline: up to eight digits and a unit. Whatever else stands there is no deadline, as gRPC has it.
fn deadline(headers: &MetadataMap) -> Option<Duration> {
    let text = headers.get(DEADLINE)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

fn parse_bool(name: &str, value: &str) -> Result<bool> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "1" | "on" => Ok(true),
        "false" | "0" | "off" => Ok(false),
        _ => Err(Error::invalid(format!(
            "header {name} is \"{value}\": it takes true or false"
        ))),
    }
}

fn parse_count(name: &str, value: &str, max: usize) -> Result<usize> {
    match value.parse() {
        Ok(count) if (1..=max).contains(&count) => Ok(count),
        _ => Err(Error::invalid(format!(
            "header {name} is \"{value}\": it takes a number from 1 to {max}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(headers: &[(&'static str, &str)]) -> Result<CallOptions> {
        let mut map = MetadataMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().expect("ascii"));
        }
        CallOptions::from_headers(&map)
    }

    #[test]
    fn our_headers_are_read_and_others_left_alone() {
        let options = parse(&[
            ("x-btrdb-create", "False"),
            ("x-btrdb-merge", "replace"),
            ("x-btrdb-compression", "LZ4"),
            ("x-btrdb-endpoints", "8"),
            ("user-agent", "test"),
        ])
        .expect("valid");
        assert_eq!(options.create, Some(false));
        assert_eq!(options.compression, Some(Compression::Lz4));
        assert_eq!(options.endpoints, Some(8));
        assert_eq!(options.merge, Some(MergePolicy::Replace));
        let mut session = SessionOptions::default();
        options.apply(&mut session).expect("valid");
        assert_eq!(session.merge, MergePolicy::Replace);
    }

    #[test]
    fn deadlines_are_digits_and_a_unit() {
        for (text, millis) in [
            ("2S", Some(2_000)),
            ("150m", Some(150)),
            ("99999999H", Some(359_999_996_400_000)),
            ("1000000n", Some(1)),
            ("123456789m", None),
            ("S", None),
            ("", None),
            ("1é", None),
            ("-1S", None),
        ] {
            let mut headers = MetadataMap::new();
            if let Ok(value) = text.parse() {
                headers.insert(DEADLINE, value);
            }
            assert_eq!(
                deadline(&headers),
                millis.map(Duration::from_millis),
                "{text}"
            );
        }
    }

    #[test]
    fn misspelt_headers_are_refused() {
        for (name, value) in [
            ("x-btrdb-create", "maybe"),
            ("x-btrdb-merge", "sometimes"),
            ("x-btrdb-pushdwn", "false"),
            ("x-btrdb-compression", "gzip"),
            ("x-btrdb-endpoints", "0"),
            ("x-btrdb-endpoints", "many"),
        ] {
            let error = parse(&[(name, value)]).expect_err("must be refused");
            assert!(
                error.message().contains(name) || error.message().contains(value),
                "{error}"
            );
        }
    }
}
