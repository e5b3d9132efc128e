//! Random statements that write, against a plain list of points and properties.
//!
//! `BTRDB_DML_SEED` repeats one run, `BTRDB_DML_RUNS` asks for more than a few.

use std::collections::BTreeMap;

use btrdb_flight::model::MergePolicy;
use btrdb_flight::query::{Gateway, SessionOptions};
use datafusion::common::ScalarValue;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::{gateway, merging, read, write_with};
use crate::sql::id;
use crate::subject;

/// Statements of a run.
const STEPS: usize = 150;

/// Times are few, so that they repeat.
const TIMES: i64 = 40;

#[derive(Clone, Debug, Default, PartialEq)]
struct Stream {
    collection: String,
    name: String,
    unit: String,
    property_version: u64,
    /// By time, then as stored.
    points: Vec<(i64, f64)>,
}

type Model = BTreeMap<u128, Stream>;

impl Stream {
    fn insert(&mut self, new: &[(i64, f64)], merge: MergePolicy) {
        if merge == MergePolicy::Replace {
            let last: BTreeMap<i64, f64> = new.iter().copied().collect();
            self.points.retain(|(time, _)| !last.contains_key(time));
            self.points.extend(last);
        } else {
            for point in new {
                let taken = match merge {
                    MergePolicy::Equal => self.points.contains(point),
                    MergePolicy::Retain => self.points.iter().any(|(time, _)| *time == point.0),
                    MergePolicy::Never | MergePolicy::Replace => false,
                };
                if !taken {
                    self.points.push(*point);
                }
            }
        }
        self.points.sort_by_key(|(time, _)| *time);
    }

    fn delete(&mut self, gone: impl Fn(i64) -> bool) -> u64 {
        let before = self.points.len();
        self.points.retain(|(time, _)| !gone(*time));
        (before - self.points.len()) as u64
    }
}

/// A predicate on time, as text and as a function.
struct Times {
    sql: String,
    holds: Box<dyn Fn(i64) -> bool>,
}

fn times(rng: &mut StdRng, depth: u32) -> Times {
    let at = |time: i64| match time % 3 {
        0 => format!("to_timestamp_nanos({time})"),
        _ => format!("TIMESTAMP '1970-01-01T00:00:00.{time:09}Z'"),
    };
    let (a, b) = (rng.random_range(0..TIMES), rng.random_range(0..TIMES));
    match rng.random_range(0..if depth > 0 { 9 } else { 6 }) {
        0 => Times {
            sql: format!("time < {}", at(a)),
            holds: Box::new(move |t| t < a),
        },
        1 => Times {
            sql: format!("{} <= time", at(a)),
            holds: Box::new(move |t| t >= a),
        },
        2 => Times {
            sql: format!("time <> {}", at(a)),
            holds: Box::new(move |t| t != a),
        },
        3 => Times {
            sql: format!("time BETWEEN {} AND {}", at(a), at(b)),
            holds: Box::new(move |t| a <= t && t <= b),
        },
        4 => Times {
            sql: format!("time IN ({}, {})", at(a), at(b)),
            holds: Box::new(move |t| t == a || t == b),
        },
        5 => Times {
            sql: format!("date_bin(INTERVAL '5 nanoseconds', time) = {}", at(a)),
            holds: Box::new(move |t| t - t % 5 == a),
        },
        6 => {
            let (x, y) = (times(rng, depth - 1), times(rng, depth - 1));
            Times {
                sql: format!("({} OR {})", x.sql, y.sql),
                holds: Box::new(move |t| (x.holds)(t) || (y.holds)(t)),
            }
        }
        7 => {
            let (x, y) = (times(rng, depth - 1), times(rng, depth - 1));
            Times {
                sql: format!("({} AND {})", x.sql, y.sql),
                holds: Box::new(move |t| (x.holds)(t) && (y.holds)(t)),
            }
        }
        _ => {
            let x = times(rng, depth - 1);
            Times {
                sql: format!("NOT ({})", x.sql),
                holds: Box::new(move |t| !(x.holds)(t)),
            }
        }
    }
}

/// Whether a predicate holds for a stream.
type Holds = Box<dyn Fn(u128, &Stream) -> bool>;

/// A predicate on streams, as text and as a function.
struct Chosen {
    sql: String,
    holds: Holds,
}

fn chosen(rng: &mut StdRng, model: &Model) -> Chosen {
    let ids: Vec<u128> = model.keys().copied().collect();
    let one = ids.choose(rng).copied().unwrap_or(1);
    let unit = ["V", "A", ""].choose(rng).copied().unwrap_or_default();
    match rng.random_range(0..5) {
        0 => Chosen {
            sql: format!("uuid = '{}'", id(one)),
            holds: Box::new(move |id, _| id == one),
        },
        1 => Chosen {
            sql: format!("unit = '{unit}'"),
            holds: Box::new(move |_, s| s.unit == unit),
        },
        2 => Chosen {
            sql: format!("(name LIKE '%1%' OR unit <> '{unit}')"),
            holds: Box::new(move |_, s| s.name.contains('1') || s.unit != unit),
        },
        3 => Chosen {
            sql: format!(
                "uuid IN (SELECT uuid FROM streams WHERE unit = '{unit}' AND property_version > 1)"
            ),
            holds: Box::new(move |_, s| s.unit == unit && s.property_version > 1),
        },
        _ => Chosen {
            sql: "true".to_owned(),
            holds: Box::new(|_, _| true),
        },
    }
}

fn new_points(rng: &mut StdRng) -> Vec<(i64, f64)> {
    let count = rng.random_range(1..8);
    let point = |rng: &mut StdRng| {
        (
            rng.random_range(0..TIMES),
            f64::from(rng.random_range(1..4)),
        )
    };
    (0..count).map(|_| point(rng)).collect()
}

/// One random statement, carried out here and there.
async fn step(rng: &mut StdRng, gateway: &Gateway, model: &mut Model, log: &mut Vec<String>) {
    let ids: Vec<u128> = model.keys().copied().collect();
    let one = ids.choose(rng).copied();
    let merge = *MergePolicy::ALL.choose(rng).expect("four");
    let session = merging(merge);
    let (sql, rows, expected) = match (rng.random_range(0..10), one) {
        (0, _) | (_, None) => {
            let number = rng.random_range(1..1_000_000);
            let unit = ["V", "A", ""].choose(rng).copied().unwrap_or_default();
            let (collection, name) = (format!("c{}", number % 3), format!("n{number}"));
            let sql = format!(
                "INSERT INTO streams (uuid, collection, name, unit) VALUES ('{}', '{collection}', '{name}', '{unit}')",
                id(number)
            );
            let unit = unit.to_owned();
            model.insert(
                number,
                Stream {
                    collection,
                    name,
                    unit,
                    property_version: 1,
                    points: Vec::new(),
                },
            );
            (sql, Vec::new(), 1)
        }
        (1..=2, Some(one)) => {
            // Rows of VALUES, for two streams, each named in its way.
            let two = ids.choose(rng).copied().unwrap_or(one);
            let (first, second) = (new_points(rng), new_points(rng));
            let mut cells = Vec::new();
            for (stream, points) in [(one, &first), (two, &second)] {
                let Stream {
                    collection, name, ..
                } = &model[&stream];
                for (time, value) in points {
                    cells.push(match time % 2 {
                        0 => format!("('{}', NULL, NULL, {time}, {value:?})", id(stream)),
                        _ => format!("(NULL, '{collection}', '{name}', to_timestamp_nanos({time}), '{value}')"),
                    });
                }
            }
            let count = (first.len() + second.len()) as u64;
            let mut all: Vec<(u128, Vec<(i64, f64)>)> = vec![(one, first), (two, second)];
            if one == two {
                let last = all.pop().map(|(_, points)| points).unwrap_or_default();
                all[0].1.extend(last);
            }
            for (stream, points) in all {
                model
                    .get_mut(&stream)
                    .expect("known")
                    .insert(&points, merge);
            }
            let columns = "uuid, collection, name, time, value";
            (
                format!("INSERT INTO points ({columns}) VALUES {}", cells.join(", ")),
                Vec::new(),
                count,
            )
        }
        (3, Some(one)) => {
            // Many rows of parameters.
            let points = new_points(rng);
            let rows: Vec<Vec<ScalarValue>> = points
                .iter()
                .map(|(time, value)| {
                    vec![
                        ScalarValue::Int64(Some(*time)),
                        ScalarValue::Float64(Some(*value)),
                    ]
                })
                .collect();
            let stream = model.get_mut(&one).expect("known");
            stream.insert(&points, merge);
            let sql = format!(
                "INSERT INTO \"{}\".\"{}\" VALUES (?, ?)",
                stream.collection, stream.name
            );
            (sql, rows, points.len() as u64)
        }
        (4, Some(one)) => {
            // From another stream, or itself.
            let from = ids.choose(rng).copied().unwrap_or(one);
            let when = times(rng, 1);
            let points: Vec<(i64, f64)> = model[&from]
                .points
                .iter()
                .filter(|(time, _)| (when.holds)(*time))
                .map(|(time, value)| (*time + 1, -*value))
                .collect();
            // Later times than others have, so that they stay in bounds of the predicates' texts.
            let points: Vec<_> = points
                .into_iter()
                .filter(|(time, _)| *time < TIMES)
                .collect();
            model.get_mut(&one).expect("known").insert(&points, merge);
            let sql = format!(
                "INSERT INTO \"{}\" SELECT time + INTERVAL '1 nanosecond', -value FROM \"{}\" WHERE {} AND time < to_timestamp_nanos({})",
                id(one),
                id(from),
                when.sql,
                TIMES - 1
            );
            (sql, Vec::new(), points.len() as u64)
        }
        (5..=6, Some(_)) => {
            let (which, when) = (chosen(rng, model), times(rng, 2));
            let mut gone = 0;
            for (id, stream) in model.iter_mut() {
                if (which.holds)(*id, stream) {
                    gone += stream.delete(&when.holds);
                }
            }
            (
                format!("DELETE FROM points WHERE {} AND {}", which.sql, when.sql),
                Vec::new(),
                gone,
            )
        }
        (7, Some(one)) => {
            let when = times(rng, 2);
            let gone = model.get_mut(&one).expect("known").delete(&when.holds);
            (
                format!("DELETE FROM \"{}\" WHERE {}", id(one), when.sql),
                Vec::new(),
                gone,
            )
        }
        (8, Some(_)) => {
            let which = chosen(rng, model);
            let unit = ["V", "A", ""].choose(rng).copied().unwrap_or_default();
            let mut changed = 0;
            for (id, stream) in model.iter_mut() {
                if (which.holds)(*id, stream) {
                    stream.unit = unit.to_owned();
                    stream.name.push('1');
                    stream.property_version += 1;
                    changed += 1;
                }
            }
            (
                format!(
                    "UPDATE streams SET unit = '{unit}', name = name || '1' WHERE {}",
                    which.sql
                ),
                Vec::new(),
                changed,
            )
        }
        (_, Some(one)) if ids.len() > 4 => {
            model.remove(&one);
            (
                format!("DELETE FROM streams WHERE uuid = '{}'", id(one)),
                Vec::new(),
                1,
            )
        }
        (_, Some(_)) => return,
    };
    log.push(format!("[{}] {sql} {rows:?}", merge.as_str()));
    let written = write_with(gateway, &sql, &session, &rows).await;
    let written = written.unwrap_or_else(|error| panic!("{error:?}\n{}", log.join("\n")));
    assert_eq!(written.rows, expected, "\n{}", log.join("\n"));
}

async fn compare(gateway: &Gateway, model: &Model, log: &[String]) {
    let told = read(
        gateway,
        "SELECT uuid, collection, name, unit, property_version FROM streams ORDER BY uuid",
    );
    let shown = |text: &str| {
        if text.is_empty() {
            "(empty)".to_owned()
        } else {
            text.to_owned()
        }
    };
    let expected: Vec<Vec<String>> = model
        .iter()
        .map(|(number, stream)| {
            vec![
                id(*number).to_string(),
                shown(&stream.collection),
                shown(&stream.name),
                shown(&stream.unit),
                stream.property_version.to_string(),
            ]
        })
        .collect();
    assert_eq!(told.await, expected, "\n{}", log.join("\n"));
    let stored = read(
        gateway,
        "SELECT uuid, CAST(time AS BIGINT) AS nanos, value FROM points ORDER BY uuid, time, value",
    );
    let mut expected = Vec::new();
    for (number, stream) in model {
        let mut points = stream.points.clone();
        points.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
        for (time, value) in points {
            // Zeros of either sign are one value, and sort as one.
            expected.push((id(*number).to_string(), time.to_string(), value + 0.0));
        }
    }
    let stored: Vec<(String, String, f64)> = stored
        .await
        .into_iter()
        .map(|row| {
            (
                row[0].clone(),
                row[1].clone(),
                row[2].parse::<f64>().expect("a number") + 0.0,
            )
        })
        .collect();
    assert_eq!(stored, expected, "\n{}", log.join("\n"));
}

async fn run(seed: u64) {
    eprintln!("BTRDB_DML_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let gateway = gateway(subject::memory().await);
    let (mut model, mut log) = (Model::new(), vec![format!("seed {seed}")]);
    for _ in 0..STEPS {
        step(&mut rng, &gateway, &mut model, &mut log).await;
        compare(&gateway, &model, &log).await;
    }
    let session = SessionOptions::default();
    let nothing = write_with(&gateway, "DELETE FROM points WHERE true", &session, &[]);
    let points: usize = model.values().map(|stream| stream.points.len()).sum();
    assert_eq!(nothing.await.expect("deletes").rows, points as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_statements_do_what_a_list_does() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    if let Some(seed) = number("BTRDB_DML_SEED") {
        return run(seed).await;
    }
    for seed in 0..number("BTRDB_DML_RUNS").unwrap_or(4) {
        run(seed).await;
    }
}
