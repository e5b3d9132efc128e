//! Push-down is invisible: random queries answer the same with it and without.
//!
//! `BTRDB_PUSHDOWN_SEED` runs the queries of one seed, which a failure prints; `BTRDB_PUSHDOWN_CASES` sets how many run.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use btrdb_flight::query::SessionOptions;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use crate::sql::{Fixture, NEW_YEAR, SECOND};

const CASES: u64 = 400;

const STREAMS: [&str; 5] = [
    "\"pmu/north\".\"voltage\"",
    "\"pmu/north\".\"voltage@11\"",
    "raw_values('pmu/south/voltage')",
    "\"pmu/south\".\"empty\"",
    "\"lab\".\"odd\"",
];

const AGGREGATES: [&str; 10] = [
    "count(*)",
    "count(value)",
    "min(value)",
    "max(value)",
    "avg(value)",
    "sum(value)",
    "stddev(value)",
    "stddev_pop(value)",
    "var_samp(value)",
    "var_pop(value)",
];

fn pick<'a>(random: &mut StdRng, choices: &[&'a str]) -> &'a str {
    choices.choose(random).expect("there are choices")
}

/// A time near where something is: the first points, 1970, or the ends.
fn time(random: &mut StdRng) -> String {
    let near = match random.random_range(0..8) {
        0 => random.random_range(-2..3),
        1 => random.random_range(-2 * SECOND..2 * SECOND),
        2 => -(1 << 60) + random.random_range(-2_i64..3),
        3 => (3 << 60) - random.random_range(-2_i64..5),
        4 => NEW_YEAR + random.random_range(-3..300) * SECOND,
        _ => NEW_YEAR + random.random_range(-10 * SECOND..310 * SECOND),
    };
    match random.random_range(0..3) {
        0 => format!("to_timestamp_nanos({near})"),
        1 => format!("arrow_cast({near}, 'Timestamp(Nanosecond, Some(\"UTC\"))')"),
        _ => format!("CAST({near} AS TIMESTAMP)"),
    }
}

fn time_predicate(random: &mut StdRng, depth: u32) -> String {
    if depth > 0 && random.random_bool(0.5) {
        let (left, right) = (
            time_predicate(random, depth - 1),
            time_predicate(random, depth - 1),
        );
        return match random.random_range(0..4) {
            0 => format!("({left} OR {right})"),
            1 => format!("NOT ({left} AND {right})"),
            _ => format!("({left} AND {right})"),
        };
    }
    let operator = pick(random, &["<", "<=", ">", ">=", ">=", "<", "=", "<>"]);
    match random.random_range(0..10) {
        0 => format!("time BETWEEN {} AND {}", time(random), time(random)),
        1 => format!("CAST(time AS DATE) {operator} DATE '2024-01-01'"),
        2 => format!("date_trunc('minute', time) {operator} {}", time(random)),
        3 => format!(
            "arrow_cast(time, 'Timestamp(Second, None)') {operator} arrow_cast({}, 'Timestamp(Second, None)')",
            time(random)
        ),
        4 => format!("{} {operator} time", time(random)),
        _ => format!("time {operator} {}", time(random)),
    }
}

fn condition(random: &mut StdRng, points: bool, value: bool) -> String {
    let mut parts = Vec::new();
    for _ in 0..random.random_range(0..3) {
        parts.push(time_predicate(random, 2));
    }
    if points && random.random_bool(0.6) {
        parts.push(
            pick(
                random,
                &[
                    "name = 'voltage'",
                    "collection LIKE 'pmu/%'",
                    "unit IN ('V', '') OR name = 'current'",
                    "uuid > '00000000-0000-0000-0000-000000000003'",
                    "uuid = '00000000-0000-0000-0000-000000000007'",
                    "upper(name) <> 'TWIN'",
                    "collection = name",
                ],
            )
            .to_owned(),
        );
    }
    if value && random.random_bool(0.2) {
        parts.push("value > 2".to_owned());
    }
    if parts.is_empty() {
        return String::new();
    }
    let parts: Vec<String> = parts.into_iter().map(|part| format!("({part})")).collect();
    format!(" WHERE {}", parts.join(" AND "))
}

fn query(random: &mut StdRng) -> String {
    let points = random.random_bool(0.35);
    let table = if points {
        "points"
    } else {
        pick(random, &STREAMS)
    };
    let condition_of = |random: &mut StdRng| condition(random, points, true);
    match random.random_range(0..6) {
        0 => format!("SELECT * FROM {table}{}", condition_of(random)),
        1 => {
            let order = pick(random, &["", " DESC"]);
            let limit = random.random_range(0..20);
            let condition = condition_of(random);
            format!("SELECT time FROM {table}{condition} ORDER BY time{order} LIMIT {limit}")
        }
        2 | 3 => {
            let count = random.random_range(1..4);
            let aggregates: Vec<_> = (0..count)
                .map(|position| format!("{} AS a{position}", pick(random, &AGGREGATES)))
                .collect();
            let bin = date_bin(random);
            let mut keys: Vec<&str> = Vec::new();
            if random.random_bool(0.7) {
                keys.push(&bin);
            }
            if points && random.random_bool(0.6) {
                keys.push(pick(random, &["uuid", "name", "collection, unit"]));
            }
            let aggregates = aggregates.join(", ");
            let condition = condition_of(random);
            if keys.is_empty() {
                format!("SELECT {aggregates} FROM {table}{condition}")
            } else {
                let keys = keys.join(", ");
                format!(
                    "SELECT {keys}, {aggregates} FROM (SELECT * FROM {table} AS t) AS s{condition} GROUP BY {keys}"
                )
            }
        }
        4 => {
            let table = match random.random_range(0..3) {
                0 => format!(
                    "aligned_windows('pmu/north/voltage', {})",
                    random.random_range(28..63)
                ),
                1 => format!("windows('lab/odd', {})", random.random_range(1..5) * SECOND),
                _ => format!(
                    "windows('pmu/north/voltage', INTERVAL '{} seconds', {})",
                    random.random_range(1..100),
                    random.random_range(-SECOND..SECOND)
                ),
            };
            format!("SELECT * FROM {table}{}", condition(random, false, false))
        }
        _ => format!(
            "SELECT * FROM multi_values('pmu/north/voltage', 'lab/odd', 'pmu/south/voltage'){}",
            condition(random, false, false)
        ),
    }
}

fn date_bin(random: &mut StdRng) -> String {
    if random.random_bool(0.3) {
        let unit = pick(
            random,
            &[
                "second", "minute", "hour", "day", "week", "month", "quarter", "year",
            ],
        );
        return format!("date_trunc('{unit}', time)");
    }
    let width = pick(
        random,
        &[
            "1 second",
            "7 seconds",
            "1 minute",
            "90 seconds",
            "1 day",
            "1 month",
            "300 milliseconds",
        ],
    );
    if random.random_bool(0.3) {
        let origin = time(random);
        return format!("date_bin(INTERVAL '{width}', time, {origin})");
    }
    format!("date_bin(INTERVAL '{width}', time)")
}

/// Rows in an order of their own: first by what must be equal, then by numbers that may differ in the last digits.
fn rows(batches: &[RecordBatch]) -> Vec<(Vec<String>, Vec<Option<f64>>)> {
    let options = FormatOptions::default().with_null("NULL");
    let mut rows = Vec::new();
    for batch in batches {
        let (floats, others): (Vec<_>, Vec<_>) = batch
            .columns()
            .iter()
            .partition(|column| *column.data_type() == DataType::Float64);
        let others: Vec<_> = others
            .into_iter()
            .map(|column| ArrayFormatter::try_new(column, &options).expect("printable"))
            .collect();
        for row in 0..batch.num_rows() {
            let exact = others
                .iter()
                .map(|column| column.value(row).to_string())
                .collect();
            let near = floats.iter().map(|column| {
                let column = column.as_primitive::<Float64Type>();
                // Zeros of either sign are equal to SQL.
                column.is_valid(row).then(|| column.value(row) + 0.0)
            });
            rows.push((exact, near.collect()));
        }
    }
    rows.sort_by(|a: &(Vec<String>, Vec<Option<f64>>), b| {
        a.0.cmp(&b.0)
            .then(a.1.partial_cmp(&b.1).expect("no NaN is stored"))
    });
    rows
}

fn near(a: Option<f64>, b: Option<f64>) -> bool {
    const SCALE: f64 = 300.0;
    match (a, b) {
        (Some(a), Some(b)) => (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(SCALE),
        (None, None) => true,
        _ => false,
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

#[tokio::test]
async fn random_queries_answer_the_same_without_pushdown() {
    let fixture = Fixture::new().await;
    let first = setting("BTRDB_PUSHDOWN_SEED", 0);
    let on = SessionOptions::default();
    let off = SessionOptions {
        pushdown: false,
        ..SessionOptions::default()
    };
    let mut answered = 0;
    for seed in first..first + setting("BTRDB_PUSHDOWN_CASES", CASES) {
        let sql = query(&mut StdRng::seed_from_u64(seed));
        let pushed = fixture.query_with(&sql, &on, &[]).await;
        let plain = fixture.query_with(&sql, &off, &[]).await;
        let (pushed, plain) = match (pushed, plain) {
            (Ok(pushed), Ok(plain)) => (rows(&pushed), rows(&plain)),
            (Err(_), Err(_)) => continue,
            (pushed, plain) => panic!(
                "seed {seed}: {sql}\npushed: {:?}\nplain: {:?}",
                pushed.err(),
                plain.err()
            ),
        };
        answered += usize::from(!plain.is_empty());
        let same = pushed.len() == plain.len()
            && pushed
                .iter()
                .zip(&plain)
                .all(|(a, b)| a.0 == b.0 && a.1.iter().zip(&b.1).all(|(a, b)| near(*a, *b)));
        assert!(
            same,
            "seed {seed}: {sql}\npushed: {pushed:?}\nplain: {plain:?}"
        );
    }
    assert!(answered > 0, "every query was empty or failed");
}
