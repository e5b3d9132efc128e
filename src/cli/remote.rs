//! A BTrDB elsewhere, as the flags and the environment name it.

use std::ops::Not;
use std::sync::Arc;

use clap::Args;

use super::connect::CredentialArgs;
use super::store::LOCATION;
use super::units::{ByteSize, TimeSpan};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::remote::profile::{self, Asked};
use crate::remote::{Remote, Settings};

/// Which BTrDB, for commands that can do without a store of their own.
#[derive(Args, Debug)]
#[command(next_help_heading = "BTrDB elsewhere, instead of a store in this process")]
pub(super) struct RemoteArgs {
    /// The BTrDB at HOST:PORT. Port 4411 means TLS, as BTrDB's own clients take it.
    ///
    /// What is not given here is looked for where those clients look: the profile $BTRDB_PROFILE (or `default`) in
    /// ~/.predictivegrid/credentials.yaml, then $BTRDB_API_KEY. $BTRDB_CA_BUNDLE names certificates to trust.
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "profile")]
    #[arg(conflicts_with = "demo")]
    btrdb: Option<String>,

    /// The BTrDB of this profile, in ~/.predictivegrid/credentials.yaml.
    #[arg(long, value_name = "NAME", conflicts_with = "demo")]
    profile: Option<String>,

    /// How long that BTrDB may leave a call without an answer, in ms, s or min, before the call fails. Between the messages of a
    /// long answer half as long again may pass.
    #[arg(long, value_name = "TIME", env = "BTRDB_FLIGHT_BTRDB_DEADLINE")]
    #[arg(default_value_t = TimeSpan(Settings::default().call_deadline))]
    btrdb_deadline: TimeSpan,

    /// How long it may be out of reach before calls fail that can be made again, which all reads are. Enough for a restart.
    #[arg(long, value_name = "TIME", env = "BTRDB_FLIGHT_BTRDB_RETRY")]
    #[arg(default_value_t = TimeSpan(Settings::default().retry_total))]
    btrdb_retry: TimeSpan,

    /// Memory for what it has sent and nobody has taken yet, over all reads. Beyond, reads go on with less at a time.
    #[arg(long, value_name = "SIZE", env = "BTRDB_FLIGHT_BTRDB_BUFFER")]
    #[arg(default_value_t = ByteSize(Settings::default().read_ahead_bytes))]
    btrdb_buffer: ByteSize,
}

/// A BTrDB elsewhere, and what to call it.
pub(super) struct Elsewhere {
    pub(super) backend: Arc<dyn Backend>,
    pub(super) described: String,
}

impl RemoteArgs {
    /// Whether a BTrDB elsewhere is meant.
    pub(super) fn is_asked(&self) -> bool {
        self.btrdb.is_some() || self.profile.is_some()
    }

    /// Refuses flags that name a store and a BTrDB at once, and a key for a BTrDB that is not named: a server that was meant to
    /// demand it would be open. What only the environment says is passed over.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid).
    pub(super) fn check(&self, credentials: &CredentialArgs, data: &str) -> Result<()> {
        let is_flag = |value: &str, variable: &str| {
            std::env::var(variable).is_ok_and(|set| set == value).not()
        };
        if self.is_asked() {
            if data != LOCATION && is_flag(data, "BTRDB_FLIGHT_DATA") {
                return Err(Error::invalid(format!(
                    "--data {data} and a BTrDB elsewhere (--btrdb, --profile) exclude each other: there is one store"
                )));
            }
        } else if let Some(key) = &credentials.api_key
            && is_flag(key, "BTRDB_FLIGHT_API_KEY")
        {
            return Err(Error::invalid(
                "--api-key is for the BTrDB of --btrdb or --profile, and none is named; to demand a key of clients use --require-api-key",
            ));
        }
        Ok(())
    }

    /// Connects, and finds out what the server can do.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`](crate::error::ErrorKind::Unavailable) if nothing answers there,
    /// [`ErrorKind::Denied`](crate::error::ErrorKind::Denied) if the key is wrong,
    /// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) if flags, environment and profiles name no BTrDB.
    pub(super) async fn connect(&self, credentials: &CredentialArgs) -> Result<Elsewhere> {
        let settings = self.settings(credentials)?;
        Ok(Elsewhere {
            described: format!("BTrDB at {}", settings.endpoint),
            backend: Remote::connect(settings).await?,
        })
    }

    fn settings(&self, credentials: &CredentialArgs) -> Result<Settings> {
        let asked = Asked {
            endpoint: self.btrdb.as_deref(),
            api_key: credentials.api_key.as_deref(),
            profile: self.profile.as_deref(),
        };
        let environment = |name: &str| std::env::var(name).ok();
        let mut settings = profile::resolve(asked, environment, std::env::home_dir().as_deref())?;
        if let Some(file) = &credentials.ca_file {
            settings.ca_file = Some(file.clone());
        }
        let deadline = self.btrdb_deadline.0;
        Ok(Settings {
            call_deadline: deadline,
            idle_deadline: deadline + deadline / 2,
            retry_total: self.btrdb_retry.0,
            read_ahead_bytes: self.btrdb_buffer.0,
            ..settings
        })
    }
}
