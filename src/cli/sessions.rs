//! Flags of what clients are given and keep: tickets, transactions, sessions, time.

use std::path::PathBuf;

use clap::Args;

use super::exit;
use super::units::TimeSpan;
use crate::error::{Error, Result};
use crate::serve::ServeSettings;

const KEY_BYTES: usize = 32;

#[derive(Args, Debug)]
pub(super) struct SessionArgs {
    /// A key of 64 hexadecimal digits, which signs tickets and prepared statements. Servers behind one address share a key, so
    /// that each takes what another gave out.
    ///
    /// Without one, a server makes up its own, and what it gave out is void when it restarts. `openssl rand -hex 32` makes one.
    #[arg(
        long,
        value_name = "HEX",
        env = "BTRDB_FLIGHT_TICKET_KEY",
        hide_env_values = true
    )]
    #[arg(value_parser = ticket_key, conflicts_with = "ticket_key_file")]
    ticket_key: Option<TicketKey>,

    /// A file that holds such a key.
    #[arg(long, value_name = "FILE")]
    ticket_key_file: Option<PathBuf>,

    /// How long a statement may be planned, and how long it may be read. Clients can ask for less, by the setting
    /// `btrdb.timeout`. [default: no limit]
    #[arg(long, value_name = "SPAN")]
    statement_timeout: Option<TimeSpan>,

    /// A transaction that nobody uses for so long ends by itself. [default: 60min]
    #[arg(long, value_name = "SPAN")]
    transaction_idle: Option<TimeSpan>,

    /// A session that nobody uses for so long ends by itself. [default: 60min]
    #[arg(long, value_name = "SPAN")]
    session_idle: Option<TimeSpan>,
}

/// Not to be shown.
#[derive(Clone)]
struct TicketKey([u8; KEY_BYTES]);

impl std::fmt::Debug for TicketKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TicketKey")
    }
}

impl SessionArgs {
    /// `settings` as the flags say.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) for a file without a key,
    /// [`ErrorKind::NotFound`](crate::error::ErrorKind::NotFound) for one that is not there.
    pub(super) fn apply(&self, settings: ServeSettings) -> Result<ServeSettings> {
        let span = |span: Option<TimeSpan>, default| span.map_or(default, |TimeSpan(span)| span);
        Ok(ServeSettings {
            ticket_key: self.key()?.map(|TicketKey(key)| key),
            statement_timeout: self
                .statement_timeout
                .map(|TimeSpan(span)| span)
                .or(settings.statement_timeout),
            transaction_idle_max: span(self.transaction_idle, settings.transaction_idle_max),
            session_idle_max: span(self.session_idle, settings.session_idle_max),
            ..settings
        })
    }

    fn key(&self) -> Result<Option<TicketKey>> {
        let Some(path) = &self.ticket_key_file else {
            return Ok(self.ticket_key.clone());
        };
        let shown = path.display();
        let text = std::fs::read_to_string(path)
            .map_err(|error| exit::from_io(format!("cannot read {shown}"), error))?;
        match ticket_key(text.trim()) {
            Ok(key) => Ok(Some(key)),
            Err(why) => Err(Error::invalid(format!("{shown} holds no key: {why}"))),
        }
    }
}

fn ticket_key(text: &str) -> std::result::Result<TicketKey, String> {
    let refused = || format!("a key is {} hexadecimal digits", 2 * KEY_BYTES);
    if text.len() != 2 * KEY_BYTES || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(refused());
    }
    let mut key = [0; KEY_BYTES];
    for (position, byte) in key.iter_mut().enumerate() {
        let digits = &text[2 * position..2 * position + 2];
        *byte = u8::from_str_radix(digits, 16).map_err(|_| refused())?;
    }
    Ok(TicketKey(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_hexadecimal_and_whole() {
        let TicketKey(key) = ticket_key(&"0fA0".repeat(16)).expect("a key");
        assert_eq!(key[..2], [0x0f, 0xa0]);
        for bad in [
            "",
            "0f",
            &"0g".repeat(32),
            &"0f".repeat(33),
            &"+f".repeat(32),
            &"é".repeat(32),
        ] {
            ticket_key(bad).expect_err(bad);
        }
    }
}
