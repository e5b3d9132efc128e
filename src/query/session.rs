//! What a statement runs under: settings, snapshot, pins.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use datafusion::common::config::{ConfigEntry, ConfigExtension, ExtensionOptions};
use datafusion::error::DataFusionError;
use tokio::sync::OnceCell;

use super::errors::to_datafusion;
use super::pins::{Calls, Pins, StatementPins};
use super::resolve::PUBLIC;
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::model::{MergePolicy, Snapshot, StreamId, StreamRead, Version};

/// The settings and the state that a statement is planned under.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionOptions {
    /// Whether ranges, aggregates, limits and orders go down into the store; off, everything is read and DataFusion does it.
    pub pushdown: bool,
    /// What becomes of inserted points whose time is taken.
    pub merge: MergePolicy,
    /// Where tables are looked up whose names stand alone: a collection, or `public`. The relations of `public` and streams by
    /// uuid are found wherever this points.
    pub schema: String,
    /// How long a statement may run, for whoever runs it; none is no limit.
    pub timeout: Option<Duration>,
    /// Whether statements that write are refused.
    pub read_only: bool,
    /// The state to read; [`Snapshot::Latest`] takes the backend's once for the whole statement.
    pub snapshot: Snapshot,
    /// Versions that stand before the snapshot's: of what a transaction wrote.
    pub pins: Pins,
    /// Whether each stream is pinned when it is first read, so that all reads of it see one version, also those of later
    /// sessions with the same `pins`. Of use where [`Snapshot::Latest`] is all that the backend has.
    pub pins_reads: bool,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            pushdown: true,
            merge: MergePolicy::default(),
            schema: PUBLIC.to_owned(),
            timeout: None,
            read_only: false,
            snapshot: Snapshot::Latest,
            pins: Pins::default(),
            pins_reads: false,
        }
    }
}

const PUSHDOWN: &str = "btrdb.pushdown";
const MERGE: &str = "btrdb.merge";
pub(super) const SCHEMA: &str = "btrdb.schema";
const TIMEOUT: &str = "btrdb.timeout";

/// Units of a span of time, in milliseconds. A number without one counts milliseconds, as PostgreSQL has it.
const SPANS: [(&str, u64); 5] = [
    ("", 1),
    ("ms", 1),
    ("s", 1000),
    ("min", 60_000),
    ("h", 3_600_000),
];

impl SessionOptions {
    /// The settings that [`set`](Self::set) knows.
    pub fn names() -> &'static [&'static str] {
        &[PUSHDOWN, MERGE, SCHEMA, TIMEOUT]
    }

    /// What a setting is set to, as the text that [`set`](Self::set) takes; none for a name that is not known.
    pub fn get(&self, name: &str) -> Option<String> {
        match name.to_ascii_lowercase().as_str() {
            PUSHDOWN => Some(self.pushdown.to_string()),
            MERGE => Some(self.merge.as_str().to_owned()),
            SCHEMA => Some(self.schema.clone()),
            TIMEOUT => Some(self.timeout.map_or_else(
                || "none".to_owned(),
                |timeout| format!("{}ms", timeout.as_millis()),
            )),
            _ => None,
        }
    }

    /// Sets one setting from text, as `SET name = value` does.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) for a name or value that is not known, with the known ones.
    pub fn set(&mut self, name: &str, value: &str) -> Result<()> {
        match name.to_ascii_lowercase().as_str() {
            PUSHDOWN => self.pushdown = parse_bool(name, value)?,
            MERGE => self.merge = value.parse()?,
            SCHEMA => self.schema = parse_schema(value)?,
            TIMEOUT => self.timeout = parse_timeout(value)?,
            _ => {
                return Err(Error::invalid(format!(
                    "setting \"{name}\" is unknown: settings are {}",
                    Self::names().join(", ")
                )));
            }
        }
        Ok(())
    }

    /// Gives one setting its default again, as `RESET name` does; every one for `all`.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub fn reset(&mut self, name: &str) -> Result<()> {
        if name.eq_ignore_ascii_case("all") {
            let defaults = Self::default();
            for name in Self::names() {
                self.set(name, &defaults.get(name).unwrap_or_default())?;
            }
            return Ok(());
        }
        // An unknown name has no default, and is refused by its name.
        let value = Self::default().get(name).unwrap_or_default();
        self.set(name, &value)
    }
}

fn parse_schema(value: &str) -> Result<String> {
    if value.is_empty() {
        return Err(Error::invalid(format!(
            "a {SCHEMA} cannot be empty: it takes a collection, or {PUBLIC}"
        )));
    }
    Ok(value.to_owned())
}

fn parse_timeout(value: &str) -> Result<Option<Duration>> {
    let text = value.trim();
    if text.eq_ignore_ascii_case("none") {
        return Ok(None);
    }
    let end = text
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.trim();
    let each = SPANS
        .iter()
        .find(|(name, _)| unit.eq_ignore_ascii_case(name));
    match each.and_then(|(_, each)| number.parse::<u64>().ok()?.checked_mul(*each)) {
        Some(0) => Ok(None),
        Some(millis) => Ok(Some(Duration::from_millis(millis))),
        None => Err(Error::invalid(format!(
            "\"{value}\" is no value for {TIMEOUT}: it takes a whole number of ms, s, min or h, such as 30s, or none"
        ))),
    }
}

fn parse_bool(name: &str, value: &str) -> Result<bool> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "on" | "1" | "yes" => Ok(true),
        "false" | "off" | "0" | "no" => Ok(false),
        _ => Err(Error::invalid(format!(
            "\"{value}\" is no value for {name}: it takes true or false"
        ))),
    }
}

/// The settings as DataFusion knows them, so that `SHOW btrdb.pushdown` answers.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) pushdown: bool,
    pub(super) merge: MergePolicy,
    pub(super) schema: String,
    pub(super) timeout: Option<Duration>,
}

impl Default for Settings {
    fn default() -> Self {
        Self::of(&SessionOptions::default())
    }
}

impl Settings {
    pub(super) fn of(options: &SessionOptions) -> Self {
        Self {
            pushdown: options.pushdown,
            merge: options.merge,
            schema: options.schema.clone(),
            timeout: options.timeout,
        }
    }

    fn options(&self) -> SessionOptions {
        SessionOptions {
            pushdown: self.pushdown,
            merge: self.merge,
            schema: self.schema.clone(),
            timeout: self.timeout,
            ..SessionOptions::default()
        }
    }
}

impl ConfigExtension for Settings {
    const PREFIX: &'static str = "btrdb";
}

impl ExtensionOptions for Settings {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn cloned(&self) -> Box<dyn ExtensionOptions> {
        Box::new(self.clone())
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), DataFusionError> {
        let mut options = self.options();
        let name = format!("{}.{key}", Self::PREFIX);
        options.set(&name, value).map_err(to_datafusion)?;
        *self = Self::of(&options);
        Ok(())
    }

    fn entries(&self) -> Vec<ConfigEntry> {
        let options = self.options();
        let entry = |name: &str, description| ConfigEntry {
            key: name.to_owned(),
            value: options.get(name),
            description,
        };
        vec![
            entry(PUSHDOWN, "whether work goes down into the store"),
            entry(
                MERGE,
                "what becomes of inserted points whose time is taken: never, equal, retain, replace",
            ),
            entry(SCHEMA, "where tables are looked up whose names stand alone"),
            entry(TIMEOUT, "how long a statement may run"),
        ]
    }
}

/// What every read of one statement shares: the store, one state of it, and how to read.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) backend: Arc<dyn Backend>,
    /// Taken when first needed, once.
    snapshot: OnceCell<Snapshot>,
    /// Whether it belongs to a session and not to a statement: every scan under it takes a state of its own.
    is_home: bool,
    pins: StatementPins,
    pub(super) pushdown: bool,
    pub(super) batch_rows: usize,
    pub(super) partitions: usize,
}

impl Frame {
    /// A frame for one statement. [`Snapshot::Latest`] is made definite by [`pinned`](Self::pinned).
    pub(super) fn new(
        backend: Arc<dyn Backend>,
        options: &SessionOptions,
        batch_rows: usize,
        partitions: usize,
    ) -> Self {
        let snapshot = match options.snapshot {
            Snapshot::Latest => OnceCell::new(),
            commit @ Snapshot::Commit(_) => OnceCell::new_with(Some(commit)),
        };
        Self {
            backend,
            snapshot,
            is_home: false,
            pins: StatementPins::new(options),
            pushdown: options.pushdown,
            batch_rows,
            partitions,
        }
    }

    /// A frame for tables of a session, until a statement is planned over them.
    pub(super) fn home(backend: Arc<dyn Backend>, batch_rows: usize) -> Self {
        Self {
            is_home: true,
            ..Self::new(backend, &SessionOptions::default(), batch_rows, 1)
        }
    }

    /// A frame of its own for one statement, over the same store.
    pub(super) fn fresh(&self, pushdown: bool, partitions: usize) -> Self {
        let options = SessionOptions {
            pushdown,
            ..SessionOptions::default()
        };
        Self::new(
            Arc::clone(&self.backend),
            &options,
            self.batch_rows,
            partitions,
        )
    }

    /// The frame with its snapshot taken: one state for the whole statement, however many scans it has.
    pub(super) async fn pinned(self: &Arc<Self>) -> Result<Arc<Self>> {
        let frame = if self.is_home {
            Arc::new(self.fresh(self.pushdown, self.partitions))
        } else {
            Arc::clone(self)
        };
        frame.pin().await?;
        Ok(frame)
    }

    /// Takes the snapshot, unless it was taken.
    pub(super) async fn pin(&self) -> Result<()> {
        let taken = self.snapshot.get_or_try_init(|| self.backend.snapshot());
        taken.await.map(drop)
    }

    /// Where the snapshot does not say what streams hold, pins each that is read: one that is written meanwhile is read as it
    /// was, to its end.
    pub(super) fn pin_reads(&self) {
        self.pins.pin_all();
    }

    /// The snapshot that was [taken](Self::pinned).
    pub(super) fn snapshot(&self) -> Snapshot {
        self.snapshot.get().copied().unwrap_or_default()
    }

    /// The read of a stream: at the version its name asks for, else at the transaction's pin, else of the snapshot. To be called
    /// once a scan: of what two scans read, both must see the same.
    pub(super) fn read(&self, id: StreamId, version: Option<Version>) -> StreamRead {
        let version = version.or_else(|| self.pins.get(id));
        if version.is_none() {
            self.pins.touch(id);
        }
        StreamRead { id, version }
    }

    /// `reads` as they are to be made, now: each at a version of its own if the snapshot does not say what they all see.
    ///
    /// `calls` is how often a scan asks the backend about each of them. Where that is once, and no other scan asks, naming a
    /// version would only cost a call more, and hide points that are buffered.
    pub(super) async fn settle(
        &self,
        reads: Vec<StreamRead>,
        calls: Calls,
    ) -> Result<Vec<StreamRead>> {
        match self.snapshot() {
            Snapshot::Commit(_) => Ok(reads),
            Snapshot::Latest => self.pins.settle(self.backend.as_ref(), reads, calls).await,
        }
    }

    /// Whether reads of these streams will be at a version of their own each.
    pub(super) fn is_settling<'a>(
        &self,
        reads: impl IntoIterator<Item = &'a StreamRead>,
        calls: Calls,
    ) -> bool {
        let mut reads = reads.into_iter();
        reads.any(|read| read.version.is_none() && self.pins.wants(read.id, calls))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_settings_list_the_known() {
        let mut options = SessionOptions::default();
        options.set("btrdb.pushdown", "off").expect("known");
        options.set("BTRDB.MERGE", "Replace").expect("any case");
        assert!(!options.pushdown);
        assert_eq!(options.merge, MergePolicy::Replace);
        let error = options.set("btrdb.push", "1").expect_err("unknown");
        assert!(error.message().contains("btrdb.merge"), "{error}");
        options.set("btrdb.pushdown", "maybe").expect_err("no bool");
    }

    #[test]
    fn every_setting_reads_as_it_is_written_and_resets() {
        for (name, value) in [
            ("btrdb.pushdown", "false"),
            ("btrdb.merge", "retain"),
            ("btrdb.schema", "grid/west"),
            ("btrdb.timeout", "1500ms"),
        ] {
            let mut options = SessionOptions::default();
            options.set(name, value).expect("known");
            assert_eq!(options.get(name).as_deref(), Some(value));
            options.reset(name).expect("known");
            assert_eq!(options, SessionOptions::default(), "{name}");
        }
        assert_eq!(
            SessionOptions::names().len(),
            4,
            "all of them are tried above"
        );
        SessionOptions::default()
            .reset("btrdb.no")
            .expect_err("unknown");
    }

    #[test]
    fn spans_of_time_have_units() {
        for (text, millis) in [
            ("30s", 30_000),
            ("250", 250),
            ("2 min", 120_000),
            ("1H", 3_600_000),
        ] {
            let timeout = parse_timeout(text).expect("a span");
            assert_eq!(timeout, Some(Duration::from_millis(millis)), "{text}");
        }
        for none in ["none", "0", "0s"] {
            assert_eq!(parse_timeout(none).expect("none"), None);
        }
        for bad in ["", "soon", "-1s", "1.5s", "1 day", "99999999999999999999s"] {
            parse_timeout(bad).expect_err(bad);
        }
    }
}
