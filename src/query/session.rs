//! What a statement runs under: settings, snapshot, pins.

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;

use datafusion::common::config::{ConfigEntry, ConfigExtension, ExtensionOptions};
use datafusion::error::DataFusionError;

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
    /// The state to read; [`Snapshot::Latest`] takes the backend's once for the whole statement.
    pub snapshot: Snapshot,
    /// Versions that stand before the snapshot's: a transaction's own writes.
    pub pins: Vec<(StreamId, Version)>,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            pushdown: true,
            merge: MergePolicy::default(),
            snapshot: Snapshot::Latest,
            pins: Vec::new(),
        }
    }
}

const PUSHDOWN: &str = "btrdb.pushdown";
const MERGE: &str = "btrdb.merge";

impl SessionOptions {
    /// The settings that [`set`](Self::set) knows.
    pub fn names() -> &'static [&'static str] {
        &[PUSHDOWN, MERGE]
    }

    /// Sets one setting from text, as `SET name = value` does.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) for a name or value that is not known, with the known ones.
    pub fn set(&mut self, name: &str, value: &str) -> Result<()> {
        match name.to_ascii_lowercase().as_str() {
            PUSHDOWN => self.pushdown = parse_bool(name, value)?,
            MERGE => self.merge = value.parse()?,
            _ => {
                return Err(Error::invalid(format!(
                    "setting \"{name}\" is unknown: settings are {}",
                    Self::names().join(", ")
                )));
            }
        }
        Ok(())
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
pub(super) struct ShownSettings {
    pub(super) pushdown: bool,
    pub(super) merge: MergePolicy,
}

impl ConfigExtension for ShownSettings {
    const PREFIX: &'static str = "btrdb";
}

impl ExtensionOptions for ShownSettings {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn cloned(&self) -> Box<dyn ExtensionOptions> {
        Box::new(self.clone())
    }

    fn set(&mut self, key: &str, _value: &str) -> Result<(), DataFusionError> {
        Err(DataFusionError::Configuration(format!(
            "btrdb.{key} is set on the session"
        )))
    }

    fn entries(&self) -> Vec<ConfigEntry> {
        vec![
            ConfigEntry {
                key: PUSHDOWN.to_owned(),
                value: Some(self.pushdown.to_string()),
                description: "whether work goes down into the store",
            },
            ConfigEntry {
                key: MERGE.to_owned(),
                value: Some(self.merge.as_str().to_owned()),
                description: "what becomes of inserted points whose time is taken: never, equal, retain, replace",
            },
        ]
    }
}

/// What every read of one statement shares: the store, one state of it, and how to read.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) backend: Arc<dyn Backend>,
    pub(super) snapshot: Snapshot,
    pub(super) pins: HashMap<StreamId, Version>,
    pub(super) pushdown: bool,
    pub(super) batch_rows: usize,
    pub(super) partitions: usize,
}

impl Frame {
    /// The read of a stream: at the version its name asks for, else at the transaction's pin, else of the snapshot.
    pub(super) fn read(&self, id: StreamId, version: Option<Version>) -> StreamRead {
        StreamRead {
            id,
            version: version.or_else(|| self.pins.get(&id).copied()),
        }
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
}
