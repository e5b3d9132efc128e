//! Relations of points, drawn at random: what stands in a FROM.

use btrdb_flight::model::Version;
use rand::Rng;
use rand::seq::IndexedRandom;

use super::predicates::quoted;
use super::queries::Draw;

/// Something with points in it, as it stands in a FROM.
#[derive(Clone)]
pub(super) struct Relation {
    pub(super) from: String,
    pub(super) alias: &'static str,
    pub(super) time: &'static str,
    pub(super) value: Option<&'static str>,
    /// Whether the columns that tell streams apart are there.
    pub(super) labelled: bool,
    /// Whether columns are written with the alias before them.
    pub(super) qualified: bool,
    /// Whose points may be in it.
    pub(super) streams: Vec<usize>,
}

impl Relation {
    pub(super) fn column(&self, name: &str) -> String {
        if self.qualified {
            format!("{}.{name}", self.alias)
        } else {
            name.to_owned()
        }
    }

    /// The column of values. Every relation that is grouped has one.
    pub(super) fn values(&self) -> String {
        self.column(self.value.expect("a relation of points"))
    }
}

impl Draw<'_> {
    /// A stream as an argument or a table name: by path where that is enough.
    pub(super) fn name_of(&mut self, stream: usize, version: Option<Version>) -> String {
        let stream = &self.world.streams[stream];
        let mut name = if self.world.is_ambiguous(stream) || self.random.random_bool(0.3) {
            stream.id.to_string()
        } else {
            format!("{}/{}", stream.collection, stream.name)
        };
        if let Some(version) = version {
            name.push_str(&format!("@{version}"));
        }
        name
    }

    /// A stream as a table.
    pub(super) fn table_of(&mut self, stream: usize, version: Option<Version>) -> String {
        let name = self.name_of(stream, version);
        if self.random.random_bool(0.3) {
            return format!("raw_values({})", quoted(&name));
        }
        let identifier = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
        match name.rsplit_once('/') {
            Some((collection, name)) => format!("{}.{}", identifier(collection), identifier(name)),
            None => identifier(&name),
        }
    }

    /// Any stream; those without points now and then.
    pub(super) fn stream(&mut self) -> usize {
        let count = self.world.streams.len();
        let chosen = self.random.random_range(0..count);
        if self.world.streams[chosen].times.is_empty() {
            return self.random.random_range(0..count);
        }
        chosen
    }

    /// A version to name, now and then.
    pub(super) fn some_version(&mut self, stream: usize) -> Option<Version> {
        if self.random.random_bool(0.7) {
            return None;
        }
        let versions = &self.world.streams[stream].versions;
        versions.choose(&mut self.random).copied()
    }

    /// A stream at its latest version, or at one before.
    fn versioned(&mut self) -> (usize, String) {
        let stream = self.stream();
        let version = self.some_version(stream);
        (stream, self.table_of(stream, version))
    }

    fn one_stream(&mut self) -> Relation {
        let (stream, table) = self.versioned();
        Relation {
            from: format!("{table} AS t"),
            alias: "t",
            time: "time",
            value: Some("value"),
            labelled: false,
            qualified: self.random.random_bool(0.3),
            streams: vec![stream],
        }
    }

    pub(super) fn points(&mut self) -> Relation {
        Relation {
            from: "points AS p".to_owned(),
            alias: "p",
            time: "time",
            value: Some("value"),
            labelled: true,
            qualified: self.random.random_bool(0.3),
            streams: (0..self.world.streams.len()).collect(),
        }
    }

    /// One stream, all streams, or a part of these behind a sub-query.
    pub(super) fn source(&mut self) -> Relation {
        let inner = if self.random.random_bool(0.45) {
            self.one_stream()
        } else {
            self.points()
        };
        if self.random.random_bool(0.75) {
            return inner;
        }
        let condition = self.condition(&inner);
        let (columns, time, value) = match (self.random.random_bool(0.5), inner.labelled) {
            (true, _) => ("*".to_owned(), "time", "value"),
            (false, true) => (
                "unit, name, collection, uuid, time AS moment, value AS reading".to_owned(),
                "moment",
                "reading",
            ),
            (false, false) => (
                "value AS reading, time AS moment".to_owned(),
                "moment",
                "reading",
            ),
        };
        Relation {
            from: format!(
                "(SELECT {columns} FROM {}{}) AS q",
                inner.from, condition.sql
            ),
            alias: "q",
            time,
            value: Some(value),
            streams: condition.streams,
            ..inner
        }
    }

    pub(super) fn all_unique(&self, streams: &[usize]) -> bool {
        streams
            .iter()
            .all(|&stream| self.world.streams[stream].is_unique())
    }
}
