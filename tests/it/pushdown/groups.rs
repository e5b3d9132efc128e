//! Aggregates and what they are grouped by, drawn at random.

use rand::Rng;
use rand::seq::SliceRandom;

use super::compare::Near;
use super::data::pick;
use super::predicates::Condition;
use super::queries::Draw;
use super::relations::Relation;

/// A grouped query as a part of others: keys `k0, k1, ...`, then aggregates `a0, a1, ...`.
pub(super) struct Grouped {
    pub(super) sql: String,
    pub(super) keys: Vec<Key>,
    pub(super) aggregates: Vec<Near>,
    pub(super) streams: Vec<usize>,
}

#[derive(Clone)]
pub(super) struct Key {
    pub(super) sql: String,
    pub(super) kind: KeyKind,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum KeyKind {
    /// A time that the bucket begins at.
    Bucket,
    /// The uuid, which leaves one stream in a group.
    Uuid,
    Text,
    Other,
}

/// Where the time column goes in a bucket that is drawn once and used for two relations.
pub(super) const TIME: &str = "$time";

impl Draw<'_> {
    /// What sorts times into buckets, with [`TIME`] in place of the column.
    pub(super) fn bucket(&mut self, streams: &[usize]) -> String {
        match self.random.random_range(0..10) {
            0 => format!("CAST({TIME} AS DATE)"),
            1..4 => {
                let unit = pick(
                    &mut self.random,
                    &[
                        "microsecond",
                        "millisecond",
                        "second",
                        "minute",
                        "hour",
                        "day",
                        "week",
                        "month",
                        "quarter",
                        "year",
                    ],
                );
                format!("date_trunc('{unit}', {TIME})")
            }
            _ => {
                let width = self.width();
                let origin = match self.random.random_range(0..10) {
                    0 => {
                        let nanos = self.moment(streams);
                        format!(", {}", self.constant(nanos))
                    }
                    1 => ", TIMESTAMP '2024-01-01T00:00:10'".to_owned(),
                    2 => ", TIMESTAMP '1970-01-31T00:00:00'".to_owned(),
                    3 => ", TIMESTAMP '2024-02-15T12:00:00'".to_owned(),
                    4 => ", TIMESTAMP '1700-01-01T00:00:00'".to_owned(),
                    _ => String::new(),
                };
                format!("date_bin(INTERVAL '{width}', {TIME}{origin})")
            }
        }
    }

    fn width(&mut self) -> String {
        match self.random.random_range(0..4) {
            0 => format!("{} nanoseconds", 1_u64 << self.random.random_range(20..60)),
            1 => format!("{} milliseconds", self.random.random_range(1..100_000)),
            _ => pick(
                &mut self.random,
                &[
                    "1 second",
                    "7 seconds",
                    "1 minute",
                    "90 seconds",
                    "1 hour",
                    "1 day",
                    "7 days",
                    "1 month",
                    "3 months",
                    "5 months",
                    "1 year",
                ],
            )
            .to_owned(),
        }
    }

    pub(super) fn bucket_key(bucket: &str, time: &str) -> Key {
        Key {
            sql: bucket.replace(TIME, time),
            kind: KeyKind::Bucket,
        }
    }

    /// Something that is the same for all points of a stream.
    pub(super) fn label_key(&mut self, alias: &str) -> Key {
        let column = |label: &str| format!("{alias}.{label}");
        let label = pick(&mut self.random, &["uuid", "collection", "name", "unit"]);
        let (sql, kind) = match self.random.random_range(0..12) {
            0 => (format!("upper({})", column("name")), KeyKind::Text),
            1 => (
                format!("{} || '/' || {}", column("collection"), column("name")),
                KeyKind::Text,
            ),
            2 => (format!("{} = 'V'", column("unit")), KeyKind::Other),
            3 => (
                format!(
                    "CASE WHEN {} = 'V' THEN 'volts' ELSE 'others' END",
                    column("unit")
                ),
                KeyKind::Text,
            ),
            4 => (
                format!("character_length({})", column("name")),
                KeyKind::Other,
            ),
            _ if label == "uuid" => (column("uuid"), KeyKind::Uuid),
            _ => (column(label), KeyKind::Text),
        };
        Key { sql, kind }
    }

    /// What to group by: buckets, streams, both, neither, and what no statistics can answer.
    fn keys(&mut self, relation: &Relation) -> Vec<Key> {
        let time = relation.column(relation.time);
        let mut keys = Vec::new();
        if self.random.random_bool(0.65) {
            let bucket = self.bucket(&relation.streams);
            keys.push(Self::bucket_key(&bucket, &time));
        }
        if relation.labelled {
            let labels = pick(&mut self.random, &[0, 1, 1, 2]);
            for _ in 0..labels {
                keys.push(self.label_key(relation.alias));
            }
        }
        match self.random.random_range(0..30) {
            0 => keys.push(Key {
                sql: format!("date_part('hour', {time})"),
                kind: KeyKind::Other,
            }),
            1 => keys.push(Key {
                sql: format!("{} > 0", relation.values()),
                kind: KeyKind::Other,
            }),
            2 => keys.push(Self::bucket_key("date_trunc('hour', $time)", &time)),
            _ => {}
        }
        keys.shuffle(&mut self.random);
        let mut seen: Vec<String> = Vec::new();
        keys.retain(|key| {
            let new = !seen.contains(&key.sql);
            seen.push(key.sql.clone());
            new
        });
        keys
    }

    /// An aggregate, and how near its answers must be. `single` says that a group holds points of one stream, no two at a time.
    pub(super) fn aggregate(&mut self, relation: &Relation, single: bool) -> (String, Near) {
        let (time, value) = (relation.column(relation.time), relation.values());
        let exactly = |sql: String| (sql, Near::Exactly);
        let of_value = |function: &str, near| (format!("{function}({value})"), near);
        match self.random.random_range(0..30) {
            0..4 => exactly("count(*)".to_owned()),
            4 => of_value("count", Near::Exactly),
            5..8 => of_value("min", Near::Exactly),
            8..11 => of_value("max", Near::Exactly),
            11..14 => of_value("avg", Near::Mean),
            14..16 => of_value("sum", Near::Sum),
            16 => of_value("stddev", Near::Mean),
            17 => of_value("stddev_pop", Near::Mean),
            18 => of_value("var_samp", Near::Square),
            19 => of_value("var_pop", Near::Square),
            20 => exactly(format!("min({time})")),
            21 => exactly(format!("max({time})")),
            22 if relation.labelled => {
                exactly(format!("count(DISTINCT {})", relation.column("uuid")))
            }
            23 => exactly(format!("max({value}) - min({value})")),
            24 => (format!("sum({value}) / count(*)"), Near::Mean),
            25 => exactly(format!("max({value}) > 10 AND count(*) > 2")),
            26 => exactly(format!("count(*) FILTER (WHERE {value} > 0)")),
            27 if relation.labelled => {
                let name = relation.column("name");
                exactly(format!("max({name})"))
            }
            _ if single => {
                let function = pick(&mut self.random, &["first_value", "last_value"]);
                let direction = pick(&mut self.random, &["", " DESC"]);
                exactly(format!("{function}({value} ORDER BY {time}{direction})"))
            }
            _ => exactly("count(1)".to_owned()),
        }
    }

    pub(super) fn grouped(
        &mut self,
        relation: &Relation,
        keys: Vec<Key>,
        condition: Condition,
    ) -> Grouped {
        let one_stream = !relation.labelled || keys.iter().any(|key| key.kind == KeyKind::Uuid);
        let single = one_stream && self.all_unique(&condition.streams);
        let mut selected: Vec<String> = keys
            .iter()
            .enumerate()
            .map(|(position, key)| format!("{} AS k{position}", key.sql))
            .collect();
        let mut aggregates = Vec::new();
        for position in 0..self.random.random_range(1..5) {
            let (sql, near) = self.aggregate(relation, single);
            selected.push(format!("{sql} AS a{position}"));
            aggregates.push(near);
        }
        let group = match self.random.random_range(0..3) {
            _ if keys.is_empty() => String::new(),
            0 => {
                let ordinals: Vec<String> = (1..=keys.len()).map(|n| n.to_string()).collect();
                format!(" GROUP BY {}", ordinals.join(", "))
            }
            1 => {
                let aliases: Vec<String> = (0..keys.len()).map(|n| format!("k{n}")).collect();
                format!(" GROUP BY {}", aliases.join(", "))
            }
            _ => {
                let exprs: Vec<&str> = keys.iter().map(|key| key.sql.as_str()).collect();
                format!(" GROUP BY {}", exprs.join(", "))
            }
        };
        let having = match self.random.random_range(0..10) {
            0 => format!(" HAVING count(*) > {}", self.random.random_range(0..50)),
            1 => format!(
                " HAVING max({}) >= {}",
                relation.values(),
                self.random.random_range(-5..50)
            ),
            _ => String::new(),
        };
        let sql = format!(
            "SELECT {} FROM {}{}{group}{having}",
            selected.join(", "),
            relation.from,
            condition.sql
        );
        Grouped {
            sql,
            keys,
            aggregates,
            streams: condition.streams,
        }
    }

    pub(super) fn some_grouped(&mut self) -> Grouped {
        let relation = self.source();
        let keys = self.keys(&relation);
        let condition = self.condition(&relation);
        self.grouped(&relation, keys, condition)
    }

    /// A condition on the keys of a grouped sub-query called `alias`.
    pub(super) fn key_condition(&mut self, grouped: &Grouped, alias: &str) -> String {
        let mut parts = Vec::new();
        for (position, key) in grouped.keys.iter().enumerate() {
            if self.random.random_bool(0.4) {
                continue;
            }
            let column = format!("{alias}.k{position}");
            parts.push(match key.kind {
                KeyKind::Bucket => self.time_range(&column, &grouped.streams),
                KeyKind::Uuid => format!("{column} > '4'"),
                KeyKind::Text => {
                    let condition = pick(
                        &mut self.random,
                        &[
                            "> 'a'",
                            "LIKE '%o%'",
                            "IN ('voltage', 'V', 'pmu/a')",
                            "<> 'A'",
                        ],
                    );
                    format!("{column} {condition}")
                }
                KeyKind::Other => format!("{column} IS NOT NULL"),
            });
        }
        if self.random.random_bool(0.2) {
            parts.push(format!("{alias}.a0 IS NOT NULL"));
        }
        if parts.is_empty() {
            return String::new();
        }
        let parts: Vec<String> = parts.iter().map(|part| format!("({part})")).collect();
        format!(" WHERE {}", parts.join(" AND "))
    }
}
