//! Queries drawn at random from a grammar over every relation.
//!
//! Whatever is drawn has one answer: rows are ordered by keys that tell them apart or not at all, limits stand above such an
//! order, and nothing that may differ in its last digits decides which rows there are.

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use super::compare::{Near, Scale};
use super::data::{World, pick};
use super::groups::{Grouped, TIME};
use super::predicates::{Condition, quoted};
use super::relations::Relation;
use crate::sql::SECOND;

/// A question, and how its answers compare.
pub(super) struct Query {
    pub(super) sql: String,
    /// By position; columns beyond are exact.
    pub(super) columns: Vec<Near>,
    pub(super) ordered: bool,
    pub(super) scale: Scale,
}

impl Query {
    /// A query whose answers must be equal in every column.
    fn exact(sql: String, ordered: bool) -> Self {
        Self {
            sql,
            columns: Vec::new(),
            ordered,
            scale: Scale::default(),
        }
    }
}

/// Draws queries about a round's streams.
pub(super) struct Draw<'a> {
    pub(super) random: StdRng,
    pub(super) world: &'a World,
}

impl<'a> Draw<'a> {
    pub(super) fn new(world: &'a World, seed: u64) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed),
            world,
        }
    }

    /// Any query.
    pub(super) fn query(&mut self) -> Query {
        match self.random.random_range(0..32) {
            0..2 => self.rows(),
            2..4 => self.first_by_time(),
            4 => self.top_by_value(),
            5..16 => self.aggregates(),
            16..20 => self.around_aggregates(),
            20..22 => self.joined_aggregates(),
            22..25 => self.joined_with_streams(),
            25..27 => self.windows(),
            27 => self.multi_values(),
            28 => self.distinct(),
            29 => self.catalogue(),
            30 => self.union(),
            _ => self.scalars(),
        }
    }

    fn scale(&self, streams: &[usize]) -> Scale {
        Scale::of(streams.iter().map(|&stream| &self.world.streams[stream]))
    }

    /// Points as they are.
    fn rows(&mut self) -> Query {
        let relation = self.source();
        let condition = self.condition(&relation);
        let (time, value) = (relation.column(relation.time), relation.values());
        let columns = match self.random.random_range(0..4) {
            0 => "*".to_owned(),
            1 => value,
            2 if relation.labelled => format!("{}, {time}", relation.column("name")),
            _ => format!("{time}, {value} AS v"),
        };
        Query::exact(
            format!("SELECT {columns} FROM {}{}", relation.from, condition.sql),
            false,
        )
    }

    fn limit(&mut self) -> String {
        let limit = pick(&mut self.random, &[0, 1, 5, 20, 1000]);
        if self.random.random_bool(0.3) {
            format!(" LIMIT {limit} OFFSET {}", self.random.random_range(0..30))
        } else {
            format!(" LIMIT {limit}")
        }
    }

    /// The first or the last points by time. Of rows with the same time only what they share is selected.
    fn first_by_time(&mut self) -> Query {
        let relation = self.source();
        let condition = self.condition(&relation);
        let time = relation.column(relation.time);
        let direction = pick(&mut self.random, &["", " DESC"]);
        let unique = self.all_unique(&condition.streams);
        let (columns, order) = if unique && condition.streams.len() == 1 {
            (
                format!("{time}, {}", relation.values()),
                format!("{time}{direction}"),
            )
        } else if unique && relation.labelled && self.random.random_bool(0.5) {
            (
                "*".to_owned(),
                format!("{time}{direction}, {}", relation.column("uuid")),
            )
        } else {
            (time.clone(), format!("{time}{direction}"))
        };
        let limit = if self.random.random_bool(0.8) {
            self.limit()
        } else {
            String::new()
        };
        let from = format!("{}{}", relation.from, condition.sql);
        let sql = format!("SELECT {columns} FROM {from} ORDER BY {order}{limit}");
        if self.random.random_bool(0.15) {
            let first = format!("SELECT {time} AS x FROM {from} ORDER BY {order}{limit}");
            let sql = format!("SELECT count(*), min(x), max(x) FROM ({first}) AS first");
            return Query::exact(sql, false);
        }
        Query::exact(sql, true)
    }

    /// The least or the greatest values, and nothing beside them: values repeat.
    fn top_by_value(&mut self) -> Query {
        let relation = self.source();
        let condition = self.condition(&relation);
        let value = relation.values();
        let direction = pick(&mut self.random, &["", " DESC"]);
        let limit = self.limit();
        let sql = format!(
            "SELECT {value} FROM {}{} ORDER BY {value}{direction}{limit}",
            relation.from, condition.sql
        );
        Query::exact(sql, true)
    }

    fn query_of(&self, sql: String, grouped: &Grouped, ordered: bool) -> Query {
        let keys = grouped.keys.iter().map(|_| Near::Exactly);
        Query {
            sql,
            columns: keys.chain(grouped.aggregates.iter().copied()).collect(),
            ordered,
            scale: self.scale(&grouped.streams),
        }
    }

    /// Aggregates alone, by groups, in the order of the groups.
    fn aggregates(&mut self) -> Query {
        let grouped = self.some_grouped();
        if grouped.keys.is_empty() || self.random.random_bool(0.5) {
            return self.query_of(grouped.sql.clone(), &grouped, false);
        }
        let order: Vec<String> = (0..grouped.keys.len())
            .map(|key| format!("k{key}{}", pick(&mut self.random, &["", " DESC"])))
            .collect();
        let limit = if self.random.random_bool(0.3) {
            self.limit()
        } else {
            String::new()
        };
        let sql = format!("{} ORDER BY {}{limit}", grouped.sql, order.join(", "));
        self.query_of(sql, &grouped, true)
    }

    /// Sub-queries and CTEs around aggregates: filtered by their keys, or aggregated again.
    fn around_aggregates(&mut self) -> Query {
        let grouped = self.some_grouped();
        let condition = self.key_condition(&grouped, "g");
        let (with, from) = if self.random.random_bool(0.4) {
            (format!("WITH g AS ({}) ", grouped.sql), "g".to_owned())
        } else {
            (String::new(), format!("({}) AS g", grouped.sql))
        };
        if self.random.random_bool(0.6) {
            let sql = format!("{with}SELECT * FROM {from}{condition}");
            return self.query_of(sql, &grouped, false);
        }
        let mut selected = vec!["count(*) AS n".to_owned()];
        let mut columns = vec![Near::Exactly];
        for (position, near) in grouped.aggregates.iter().enumerate() {
            let function = pick(&mut self.random, &["min", "max"]);
            selected.push(format!("{function}(g.a{position}) AS b{position}"));
            columns.push(*near);
        }
        let group = match grouped.keys.len() {
            0 => String::new(),
            _ if self.random.random_bool(0.4) => String::new(),
            _ => {
                selected.insert(0, "g.k0".to_owned());
                columns.insert(0, Near::Exactly);
                " GROUP BY g.k0".to_owned()
            }
        };
        Query {
            sql: format!(
                "{with}SELECT {} FROM {from}{condition}{group}",
                selected.join(", ")
            ),
            columns,
            ordered: false,
            scale: self.scale(&grouped.streams),
        }
    }

    /// Two aggregates side by side, joined on the bucket.
    fn joined_aggregates(&mut self) -> Query {
        let (left, right) = (self.source(), self.source());
        let bucket = self.bucket(&left.streams);
        let side = |draw: &mut Self, relation: &Relation| {
            let time = relation.column(relation.time);
            let condition = draw.condition(relation);
            draw.grouped(relation, vec![Self::bucket_key(&bucket, &time)], condition)
        };
        let (left, right) = (side(self, &left), side(self, &right));
        let streams = [left.streams.as_slice(), &right.streams].concat();
        let mut selected = vec!["l.k0 AS lk".to_owned(), "r.k0 AS rk".to_owned()];
        let mut columns = vec![Near::Exactly; 2];
        for (alias, grouped) in [("l", &left), ("r", &right)] {
            for (position, near) in grouped.aggregates.iter().enumerate() {
                selected.push(format!("{alias}.a{position} AS {alias}{position}"));
                columns.push(*near);
            }
        }
        let join = pick(&mut self.random, &["JOIN", "LEFT JOIN", "FULL JOIN"]);
        let condition = if self.random.random_bool(0.4) {
            self.key_condition(&left, "l")
        } else {
            String::new()
        };
        Query {
            sql: format!(
                "SELECT {} FROM ({}) AS l {join} ({}) AS r ON l.k0 = r.k0{condition}",
                selected.join(", "),
                left.sql,
                right.sql
            ),
            columns,
            ordered: false,
            scale: self.scale(&streams),
        }
    }

    /// Points beside what the catalogue says of their streams.
    fn joined_with_streams(&mut self) -> Query {
        let mut relation = Relation {
            qualified: true,
            ..self.points()
        };
        let mut chosen = self.stream_condition("s", 1);
        if self.random.random_bool(0.25) {
            chosen.sql = "TRUE".to_owned();
            chosen.holds.fill(true);
        }
        let condition = self.condition(&relation);
        let both = |stream: &usize| chosen.holds[*stream];
        let streams = condition.streams.iter().copied().filter(both).collect();
        let on = "p.uuid = s.uuid";
        // Whether streams without points have a row, which a condition on points would take away again.
        let outer = self.random.random_bool(0.3);
        let condition = if outer {
            relation.from = format!(
                "streams AS s LEFT JOIN points AS p ON {on}{}",
                condition.conjunct()
            );
            format!(" WHERE {}", chosen.sql)
        } else {
            relation.from = match self.random.random_range(0..3) {
                0 => "points AS p JOIN streams AS s USING (uuid)".to_owned(),
                1 => format!("streams AS s JOIN points AS p ON {on}"),
                _ => format!("points AS p LEFT JOIN streams AS s ON {on}"),
            };
            match condition.sql.as_str() {
                "" => format!(" WHERE {}", chosen.sql),
                given => format!("{given} AND {}", chosen.sql),
            }
        };
        let condition = Condition {
            sql: condition,
            streams,
        };
        if self.random.random_bool(0.2) {
            let sql = format!(
                "SELECT s.unit, s.name, p.time, p.value FROM {}{}",
                relation.from, condition.sql
            );
            return Query::exact(sql, false);
        }
        let mut keys = vec![self.label_key("s")];
        if self.random.random_bool(0.4) {
            let bucket = self.bucket(&relation.streams);
            keys.push(Self::bucket_key(&bucket, "p.time"));
        }
        let grouped = self.grouped(&relation, keys, condition);
        self.query_of(grouped.sql.clone(), &grouped, false)
    }

    fn windows(&mut self) -> Query {
        let stream = self.stream();
        let version = self.some_version(stream);
        let name = quoted(&self.name_of(stream, version));
        let call = match self.random.random_range(0..4) {
            0 | 1 => format!(
                "aligned_windows({name}, {})",
                self.random.random_range(24..64)
            ),
            2 => format!(
                "windows({name}, {})",
                self.random.random_range(1..500) * SECOND + 1
            ),
            _ => format!(
                "windows({name}, INTERVAL '{} seconds', {})",
                self.random.random_range(1..1000),
                self.random.random_range(-SECOND..SECOND)
            ),
        };
        let relation = Relation {
            from: format!("{call} AS w"),
            alias: "w",
            time: "time",
            value: None,
            labelled: false,
            qualified: self.random.random_bool(0.3),
            streams: vec![stream],
        };
        let condition = self.condition(&relation);
        let from = format!("{}{}", relation.from, condition.sql);
        let scale = self.scale(&[stream]);
        let (exactly, mean) = (Near::Exactly, Near::Mean);
        let (sql, columns, ordered) = match self.random.random_range(0..4) {
            0 => (
                format!(
                    "SELECT date_trunc('day', w.time) AS day, sum(w.count), min(w.min), max(w.max), max(w.mean) \
                     FROM {from} GROUP BY day"
                ),
                vec![exactly, exactly, exactly, exactly, mean],
                false,
            ),
            1 => {
                let direction = pick(&mut self.random, &["", " DESC"]);
                let limit = self.limit();
                (
                    format!("SELECT time, count, mean FROM {from} ORDER BY time{direction}{limit}"),
                    vec![exactly, exactly, mean],
                    true,
                )
            }
            _ => (
                format!("SELECT * FROM {from}"),
                vec![exactly, exactly, mean, exactly, exactly, mean],
                false,
            ),
        };
        Query {
            sql,
            columns,
            ordered,
            scale,
        }
    }

    fn multi_values(&mut self) -> Query {
        let mut streams: Vec<usize> = (0..self.world.streams.len()).collect();
        streams.shuffle(&mut self.random);
        streams.truncate(self.random.random_range(1..4));
        let names: Vec<String> = streams
            .iter()
            .map(|&stream| quoted(&self.name_of(stream, None)))
            .collect();
        let relation = Relation {
            from: format!("multi_values({}) AS m", names.join(", ")),
            alias: "m",
            time: "time",
            value: None,
            labelled: false,
            qualified: false,
            streams: streams.clone(),
        };
        let condition = self.condition(&relation);
        let from = format!("{}{}", relation.from, condition.sql);
        match self.random.random_range(0..4) {
            0 => {
                let limit = self.limit();
                let sql = format!("SELECT * FROM {from} ORDER BY time{limit}");
                Query::exact(sql, true)
            }
            1 => {
                let bucket = self.bucket(&streams).replace(TIME, "time");
                let sql = format!("SELECT {bucket} AS b, count(*) FROM {from} GROUP BY b");
                Query::exact(sql, false)
            }
            2 => Query::exact(
                format!("SELECT count(*), min(time), max(time) FROM {from}"),
                false,
            ),
            _ => Query::exact(format!("SELECT * FROM {from}"), false),
        }
    }

    fn distinct(&mut self) -> Query {
        let relation = self.points();
        let condition = self.condition(&relation);
        let from = format!("{}{}", relation.from, condition.sql);
        let sql = match self.random.random_range(0..6) {
            0 => format!("SELECT DISTINCT name FROM {from}"),
            1 => format!("SELECT DISTINCT unit, collection FROM {from} ORDER BY unit, collection"),
            2 => format!("SELECT count(DISTINCT uuid) FROM {from}"),
            3 => format!("SELECT count(DISTINCT uuid), count(DISTINCT name), count(*) FROM {from}"),
            4 => format!("SELECT DISTINCT date_trunc('day', time) AS day, upper(name) FROM {from}"),
            _ => format!("SELECT collection, count(DISTINCT uuid) FROM {from} GROUP BY collection"),
        };
        let ordered = sql.contains(" ORDER BY unit, ");
        Query::exact(sql, ordered)
    }

    fn catalogue(&mut self) -> Query {
        let condition = self.stream_condition("s", 2).sql;
        let from = format!("streams AS s WHERE {condition}");
        let sql = match self.random.random_range(0..5) {
            0 => format!("SELECT uuid, name, annotations['site'] FROM {from} ORDER BY uuid"),
            1 => format!(
                "SELECT unit, count(*), sum(point_count), max(latest) FROM {from} GROUP BY unit"
            ),
            2 => format!("SELECT uuid FROM {from} AND point_count > 100"),
            3 => "SELECT * FROM collections ORDER BY collection".to_owned(),
            _ => format!("SELECT uuid, version, point_count, earliest, latest FROM {from}"),
        };
        let ordered = sql.contains(" ORDER BY uuid") || sql.contains(" ORDER BY collection");
        Query::exact(sql, ordered)
    }

    fn union(&mut self) -> Query {
        let sides: Vec<String> = (0..2)
            .map(|_| {
                let relation = self.source();
                let condition = self.condition(&relation);
                let (time, value) = (relation.column(relation.time), relation.values());
                format!(
                    "SELECT {time} AS time, {value} AS value FROM {}{}",
                    relation.from, condition.sql
                )
            })
            .collect();
        let kind = pick(&mut self.random, &["UNION ALL", "UNION ALL", "EXCEPT"]);
        let both = sides.join(&format!(" {kind} "));
        let sql = match self.random.random_range(0..3) {
            0 => both,
            1 => format!("SELECT count(*), min(value), max(time) FROM ({both}) AS u"),
            _ => format!(
                "SELECT date_trunc('hour', time) AS hour, count(*), max(value) FROM ({both}) AS u GROUP BY hour"
            ),
        };
        Query::exact(sql, false)
    }

    /// Several answers in one row, each from a sub-query.
    fn scalars(&mut self) -> Query {
        let mut streams = Vec::new();
        let mut columns = Vec::new();
        let mut selected = Vec::new();
        for position in 0..self.random.random_range(1..4) {
            let relation = self.source();
            let condition = self.condition(&relation);
            let one_stream = !relation.labelled && self.all_unique(&condition.streams);
            let (sql, near) = self.aggregate(&relation, one_stream);
            selected.push(format!(
                "(SELECT {sql} FROM {}{}) AS s{position}",
                relation.from, condition.sql
            ));
            columns.push(near);
            streams.extend(condition.streams);
        }
        Query {
            sql: format!("SELECT {}", selected.join(", ")),
            columns,
            ordered: false,
            scale: self.scale(&streams),
        }
    }
}
