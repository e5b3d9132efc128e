//! Conditions drawn at random: on time, on what tells streams apart, on values.

use btrdb_flight::model::time::{MAX_TIME, MIN_TIME};
use rand::Rng;
use rand::seq::IndexedRandom;

use super::data::pick;
use super::queries::Draw;
use super::relations::Relation;
use crate::sql::SECOND;

const MINUTE: i64 = 60 * SECOND;
const DAY: i64 = 86_400 * SECOND;

/// A condition on streams, and for which streams of the round it is true.
pub(super) struct StreamCondition {
    pub(super) sql: String,
    pub(super) holds: Vec<bool>,
}

/// `WHERE ...` or nothing, and the streams that it leaves.
pub(super) struct Condition {
    pub(super) sql: String,
    pub(super) streams: Vec<usize>,
}

impl Condition {
    /// The condition without its `WHERE`, for an `ON`.
    pub(super) fn conjunct(&self) -> String {
        self.sql.replacen(" WHERE ", " AND ", 1)
    }
}

/// A text as SQL writes it.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A time of day and date, with nanoseconds.
fn date_time(nanos: i64) -> String {
    chrono::DateTime::from_timestamp_nanos(nanos)
        .format("%Y-%m-%dT%H:%M:%S%.9f")
        .to_string()
}

fn date(nanos: i64) -> String {
    chrono::DateTime::from_timestamp_nanos(nanos)
        .format("%Y-%m-%d")
        .to_string()
}

impl Draw<'_> {
    /// Conditions of all kinds that `relation` has columns for.
    pub(super) fn condition(&mut self, relation: &Relation) -> Condition {
        let time = relation.column(relation.time);
        let mut parts = Vec::new();
        match self.random.random_range(0..20) {
            0..7 => {}
            7..14 => parts.push(self.time_range(&time, &relation.streams)),
            14 => parts.push(self.recent(&time, &relation.streams)),
            15 => {
                parts.push(self.time_range(&time, &relation.streams));
                parts.push(self.time_condition(&time, &relation.streams, 1));
            }
            _ => parts.push(self.time_condition(&time, &relation.streams, 2)),
        }
        let mut streams = relation.streams.clone();
        if relation.labelled {
            let mut conditions = Vec::new();
            if self.random.random_bool(0.6) {
                conditions.push(self.stream_condition(relation.alias, 1));
            }
            if self.random.random_bool(0.85) {
                conditions.extend(self.without_huge(relation));
            }
            for condition in conditions {
                streams.retain(|&stream| condition.holds[stream]);
                parts.push(condition.sql);
            }
        }
        if let Some(value) = relation.value.filter(|_| self.random.random_bool(0.15)) {
            let value = relation.column(value);
            parts.push(self.value_condition(&value, &streams));
        }
        let sql = if parts.is_empty() {
            String::new()
        } else {
            let parts: Vec<String> = parts.iter().map(|part| format!("({part})")).collect();
            format!(" WHERE {}", parts.join(" AND "))
        };
        Condition { sql, streams }
    }

    /// Leaves out streams of huge values, beside which no difference of the others would be seen.
    fn without_huge(&self, relation: &Relation) -> Option<StreamCondition> {
        let holds: Vec<bool> = self
            .world
            .streams
            .iter()
            .map(|stream| stream.collection != "far")
            .collect();
        let sql = format!("{} <> 'far'", relation.column("collection"));
        (!holds.iter().all(|holds| *holds)).then_some(StreamCondition { sql, holds })
    }

    /// A time of one of `streams`, or something near it; now and then one where something special is.
    pub(super) fn moment(&mut self, streams: &[usize]) -> i64 {
        let random = &mut self.random;
        let stream = streams
            .choose(random)
            .map(|&stream| &self.world.streams[stream]);
        let point = stream
            .and_then(|stream| stream.times.choose(random))
            .copied();
        let near = match (random.random_range(0..24), point) {
            (0, _) => random.random_range(-3..4),
            (1, _) => MIN_TIME + random.random_range(-2..4),
            (2, _) => MAX_TIME + random.random_range(-4..3),
            (_, Some(time)) => time,
            (_, None) => random.random_range(-3 * SECOND..3 * SECOND),
        };
        let down_to = |step: i64| near - near.rem_euclid(step);
        match random.random_range(0..8) {
            0 => near - 1,
            1 => near + 1,
            2 => down_to(SECOND),
            3 => down_to(MINUTE),
            4 => down_to(DAY),
            _ => near,
        }
    }

    /// A constant of a type that times are compared with, near `nanos`: exactly there unless its type is coarser.
    pub(super) fn constant(&mut self, nanos: i64) -> String {
        let text = date_time(nanos);
        match self.random.random_range(0..15) {
            0 => format!("CAST({nanos} AS TIMESTAMP)"),
            1 => format!("arrow_cast({nanos}, 'Timestamp(Nanosecond, Some(\"UTC\"))')"),
            2 => format!("TIMESTAMP '{text}'"),
            3 | 4 => format!("'{text}Z'"),
            5 => format!("to_timestamp('{text}')"),
            6 => format!("to_timestamp_seconds({})", nanos.div_euclid(SECOND)),
            7 => format!("to_timestamp_millis({})", nanos.div_euclid(1_000_000)),
            8 => format!("to_timestamp_micros({})", nanos.div_euclid(1_000)),
            9 => format!("to_timestamp_nanos({nanos} - 5) + INTERVAL '5 nanoseconds'"),
            10 => format!("date_trunc('minute', to_timestamp_nanos({nanos}))"),
            11 => format!("DATE '{}'", date(nanos)),
            _ => format!("to_timestamp_nanos({nanos})"),
        }
    }

    /// A constant that no point can be near.
    fn far_constant(&mut self) -> String {
        pick(
            &mut self.random,
            &[
                "'1600-01-01'",
                "'9999-12-31'",
                "DATE '1600-01-01'",
                "DATE '9999-12-31'",
                "TIMESTAMP '1700-01-01T00:00:00'",
                "TIMESTAMP '2250-01-01T00:00:00'",
                "arrow_cast(-20000000000, 'Timestamp(Second, None)')",
                "arrow_cast(200000000000, 'Timestamp(Second, Some(\"UTC\"))')",
                "now() - INTERVAL '30 years'",
                "now() + INTERVAL '100 days'",
                "current_date()",
                "NULL",
            ],
        )
        .to_owned()
    }

    /// From some time to a later one.
    pub(super) fn time_range(&mut self, time: &str, streams: &[usize]) -> String {
        let (a, b) = (self.moment(streams), self.moment(streams));
        let (start, end) = (self.constant(a.min(b)), self.constant(a.max(b)));
        match self.random.random_range(0..7) {
            0 => format!("{time} BETWEEN {start} AND {end}"),
            1 => format!("{time} > {start} AND {time} <= {end}"),
            2 => format!("{start} <= {time} AND {end} > {time}"),
            3 => format!("{time} >= {start}"),
            4 => format!("{time} < {end}"),
            5 => format!("NOT ({time} < {start} OR {time} >= {end})"),
            _ => format!("{time} >= {start} AND {time} < {end}"),
        }
    }

    /// The last part of a stream, which a sub-query has to find.
    fn recent(&mut self, time: &str, streams: &[usize]) -> String {
        let Some(&stream) = streams.choose(&mut self.random) else {
            return format!("{time} IS NOT NULL");
        };
        let table = self.table_of(stream, None);
        let span = pick(
            &mut self.random,
            &["1 second", "5 minutes", "3 days", "0 seconds"],
        );
        match self.random.random_range(0..4) {
            0 => format!("{time} <= (SELECT min(time) FROM {table}) + INTERVAL '{span}'"),
            1 => format!("{time} = (SELECT max(time) FROM {table})"),
            _ => format!("{time} >= (SELECT max(time) FROM {table}) - INTERVAL '{span}'"),
        }
    }

    /// Any condition on time, up to `depth` operators deep.
    fn time_condition(&mut self, time: &str, streams: &[usize], depth: u32) -> String {
        if depth > 0 && self.random.random_bool(0.5) {
            let left = self.time_condition(time, streams, depth - 1);
            let right = self.time_condition(time, streams, depth - 1);
            return match self.random.random_range(0..4) {
                0 => format!("NOT ({left} AND {right})"),
                1 => format!("({left} AND {right})"),
                _ => format!("({left} OR {right})"),
            };
        }
        let nanos = self.moment(streams);
        let constant = self.constant(nanos);
        let operator = pick(
            &mut self.random,
            &["<", "<=", ">", ">=", ">=", "<", "=", "<>"],
        );
        // DataFusion 55.2 drops a sort on a column whose cast equals a constant, so that the plain side would be the wrong
        // one: https://github.com/apache/datafusion/issues/25523.
        let of_cast = if operator == "=" { "<=" } else { operator };
        match self.random.random_range(0..20) {
            0 => format!("CAST({time} AS DATE) {of_cast} DATE '{}'", date(nanos)),
            1 => format!(
                "CAST({time} AS DATE) IN (DATE '{}', DATE '2024-01-01', DATE '1970-01-01')",
                date(nanos)
            ),
            2 => {
                let unit = pick(&mut self.random, &["Second", "Millisecond", "Microsecond"]);
                let cast = |what: &str| format!("arrow_cast({what}, 'Timestamp({unit}, None)')");
                let exact = format!("to_timestamp_nanos({nanos})");
                format!("{} {of_cast} {}", cast(time), cast(&exact))
            }
            3 | 4 => {
                let unit = pick(
                    &mut self.random,
                    &[
                        "second", "minute", "hour", "day", "week", "month", "quarter", "year",
                    ],
                );
                let constant = if self.random.random_bool(0.5) {
                    format!("date_trunc('{unit}', {constant})")
                } else {
                    constant
                };
                format!("date_trunc('{unit}', {time}) {operator} {constant}")
            }
            5 | 6 => {
                let width = pick(
                    &mut self.random,
                    &["1 second", "7 minutes", "1 day", "1 month"],
                );
                format!("date_bin(INTERVAL '{width}', {time}) {operator} {constant}")
            }
            7 => {
                let others: Vec<String> = (0..3)
                    .map(|_| self.moment(streams))
                    .map(|nanos| format!("to_timestamp_nanos({nanos})"))
                    .collect();
                let not = pick(&mut self.random, &["", "NOT "]);
                format!("{time} {not}IN ({constant}, {})", others.join(", "))
            }
            8 => {
                let far = self.far_constant();
                format!("{time} {operator} {far}")
            }
            9 => {
                let other = self.moment(streams);
                let other = self.constant(other);
                format!("{time} NOT BETWEEN {constant} AND {other}")
            }
            10 => format!("{constant} {operator} {time}"),
            11 => format!("{time} + INTERVAL '1 second' {operator} {constant}"),
            12 => format!("date_part('minute', {time}) < 30"),
            13 => format!("CAST({time} AS BIGINT) {of_cast} {nanos}"),
            14 => pick(
                &mut self.random,
                &["TRUE", "FALSE", "CAST(NULL AS BOOLEAN)", "1 = 1", "1 > 2"],
            )
            .to_owned(),
            _ => format!("{time} {operator} {constant}"),
        }
    }

    /// A condition on the columns that tell streams apart, of the relation called `alias`.
    pub(super) fn stream_condition(&mut self, alias: &str, depth: u32) -> StreamCondition {
        if depth > 0 && self.random.random_bool(0.35) {
            let left = self.stream_condition(alias, depth - 1);
            let right = self.stream_condition(alias, depth - 1);
            let both = left.holds.iter().zip(&right.holds);
            let (left_sql, right_sql) = (&left.sql, &right.sql);
            return match self.random.random_range(0..4) {
                0 => StreamCondition {
                    sql: format!("NOT ({left_sql} AND {right_sql})"),
                    holds: both.map(|(a, b)| !(a & b)).collect(),
                },
                1 => StreamCondition {
                    sql: format!("({left_sql} AND {right_sql})"),
                    holds: both.map(|(a, b)| a & b).collect(),
                },
                _ => StreamCondition {
                    sql: format!("({left_sql} OR {right_sql})"),
                    holds: both.map(|(a, b)| a | b).collect(),
                },
            };
        }
        let world = self.world;
        let example = world
            .streams
            .choose(&mut self.random)
            .expect("there are streams");
        let (uuid, collection) = (example.id.to_string(), &example.collection);
        let (name, unit) = (&example.name, &example.unit);
        let column = |label: &str| format!("{alias}.{label}");
        let of_streams = |condition: &str| format!("(SELECT uuid FROM streams WHERE {condition})");
        let same_unit = format!("unit = {}", quoted(unit));
        let same_name = format!("name = {}", quoted(name));
        let choice = self.random.random_range(0..21);
        let sql = match choice {
            0 | 1 => format!("{} = {}", column("name"), quoted(name)),
            2 => format!("{} LIKE 'pmu%'", column("collection")),
            3 => format!("{} NOT LIKE '%olt%'", column("name")),
            4 => format!("{} IN ({}, 'A')", column("unit"), quoted(unit)),
            5 => format!("upper({}) = 'VOLTAGE'", column("name")),
            6 => format!("{} = '{uuid}'", column("uuid")),
            7 => format!("{} >= '{uuid}'", column("uuid")),
            8 => format!("{} IN {}", column("uuid"), of_streams(&same_unit)),
            9 => format!("{} NOT IN {}", column("uuid"), of_streams(&same_name)),
            10 => format!(
                "EXISTS (SELECT 1 FROM streams AS known WHERE known.uuid = {} AND known.{same_unit})",
                column("uuid")
            ),
            11 => format!("{} = {}", column("collection"), column("name")),
            12 => format!("{} = {}", column("collection"), quoted(collection)),
            13 => format!(
                "{} = arrow_cast({}, 'LargeUtf8')",
                column("name"),
                quoted(name)
            ),
            14 => format!(
                "{} || {} = {}",
                column("name"),
                column("unit"),
                quoted(&format!("{name}{unit}"))
            ),
            15 => format!(
                "{} IN (SELECT name FROM streams WHERE {same_unit})",
                column("name")
            ),
            16 => format!("starts_with({}, 'pmu/')", column("collection")),
            17 => format!("{} <> {}", column("unit"), quoted(unit)),
            18 => format!("{} = 'nobody'", column("name")),
            19 => format!("character_length({}) > 5", column("name")),
            _ => format!(
                "CASE WHEN {} = 'V' THEN TRUE ELSE FALSE END",
                column("unit")
            ),
        };
        let with_same_unit: Vec<&str> = world
            .streams
            .iter()
            .filter(|stream| stream.unit == *unit)
            .map(|stream| stream.name.as_str())
            .collect();
        let holds = world.streams.iter().map(|stream| match choice {
            0 | 1 | 13 => stream.name == *name,
            2 => stream.collection.starts_with("pmu"),
            3 => !stream.name.contains("olt"),
            4 => stream.unit == *unit || stream.unit == "A",
            5 => stream.name.to_uppercase() == "VOLTAGE",
            6 => stream.id == example.id,
            7 => stream.id.to_string() >= uuid,
            8 | 10 => stream.unit == *unit,
            9 => stream.name != *name,
            11 => stream.collection == stream.name,
            12 => stream.collection == *collection,
            14 => format!("{}{}", stream.name, stream.unit) == format!("{name}{unit}"),
            15 => with_same_unit.contains(&stream.name.as_str()),
            16 => stream.collection.starts_with("pmu/"),
            17 => stream.unit != *unit,
            18 => false,
            19 => stream.name.chars().count() > 5,
            _ => stream.unit == "V",
        });
        StreamCondition {
            sql,
            holds: holds.collect(),
        }
    }

    /// A condition on values, of the kind that the extremes of a subtree can rule out or not.
    pub(super) fn value_condition(&mut self, value: &str, streams: &[usize]) -> String {
        let world = self.world;
        let stream = streams.choose(&mut self.random).copied();
        let stored = stream
            .and_then(|stream| world.streams[stream].values.choose(&mut self.random))
            .copied();
        let bound = stored.unwrap_or(0.0);
        let operator = pick(&mut self.random, &["<", "<=", ">", ">=", ">", "=", "<>"]);
        match (self.random.random_range(0..10), stream) {
            (0, _) => format!("{value} BETWEEN {bound:?} AND {:?}", bound.abs() * 1.5),
            (1, _) => format!("abs({value}) > {:?}", bound.abs()),
            (2, _) => format!("{bound:?} {operator} {value}"),
            (3, _) => format!("{value} < {bound:?} OR {value} > {:?}", bound.abs()),
            (4, Some(stream)) => {
                let table = self.table_of(stream, None);
                let extreme = pick(&mut self.random, &["min", "max"]);
                format!("{value} >= (SELECT {extreme}(value) FROM {table})")
            }
            (5, _) => format!("{value} IN ({bound:?}, 0.0, 7.0)"),
            (6, _) => format!("{value} {operator} 0.0"),
            (7, _) => format!("NOT ({value} {operator} {bound:?})"),
            _ => format!("{value} {operator} {bound:?}"),
        }
    }
}
