//! Which column of a file says what.

use super::ImportArgs;
use crate::error::{Error, Result};

/// Where the parts of a point are: columns by position, or constants.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Columns {
    pub(super) stream: Stream,
    pub(super) time: usize,
    pub(super) value: usize,
}

/// What names the stream of a point.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stream {
    Uuid(Source),
    Path {
        collection: Source,
        name: Source,
        unit: Option<Source>,
    },
}

/// Where a text comes from.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Source {
    Constant(String),
    Column(usize),
}

impl Columns {
    /// Finds in a file with columns of these `names` what `args` ask for.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) if something is missing, with the columns there are.
    pub(super) fn find(names: &[String], args: &ImportArgs) -> Result<Self> {
        Ok(Self {
            stream: Stream::find(names, args)?,
            time: required(names, &args.time_column, "--time-column")?,
            value: required(names, &args.value_column, "--value-column")?,
        })
    }
}

impl Stream {
    fn find(names: &[String], args: &ImportArgs) -> Result<Self> {
        if let Some(uuid) = args.uuid {
            return Ok(Self::Uuid(Source::Constant(uuid.to_string())));
        }
        if let Some(column) = &args.uuid_column {
            let column = required(names, column, "--uuid-column")?;
            return Ok(Self::Uuid(Source::Column(column)));
        }
        let is_path_asked_for = args.collection.is_some()
            || args.name.is_some()
            || args.collection_column.is_some()
            || args.name_column.is_some();
        if !is_path_asked_for && let Some(column) = position(names, "uuid") {
            return Ok(Self::Uuid(Source::Column(column)));
        }
        let unit = match (&args.stream_unit, &args.unit_column) {
            (Some(unit), _) => Some(Source::Constant(unit.clone())),
            (None, Some(column)) => Some(Source::Column(required(names, column, "--unit-column")?)),
            (None, None) => position(names, "unit").map(Source::Column),
        };
        Ok(Self::Path {
            collection: source(
                names,
                args.collection.as_ref(),
                args.collection_column.as_deref().unwrap_or("collection"),
                "--collection",
            )?,
            name: source(
                names,
                args.name.as_ref(),
                args.name_column.as_deref().unwrap_or("name"),
                "--name",
            )?,
            unit,
        })
    }
}

fn source(names: &[String], constant: Option<&String>, column: &str, flag: &str) -> Result<Source> {
    match constant {
        Some(constant) => Ok(Source::Constant(constant.clone())),
        None => required(names, column, flag).map(Source::Column),
    }
}

fn required(names: &[String], column: &str, flag: &str) -> Result<usize> {
    position(names, column).ok_or_else(|| {
        Error::invalid(format!(
            "there is no column \"{column}\" (see {flag}): the columns are {}",
            names.join(", ")
        ))
    })
}

/// The column of this name; letter case counts only if it must.
fn position(names: &[String], column: &str) -> Option<usize> {
    let exact = names.iter().position(|name| name == column);
    exact.or_else(|| {
        names
            .iter()
            .position(|name| name.trim().eq_ignore_ascii_case(column))
    })
}
