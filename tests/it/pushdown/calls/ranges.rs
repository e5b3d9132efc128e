//! Raw points: as few as the conditions, the order and the limit allow.

use btrdb_flight::backend::observed::Operation;

use super::{Case, LEVEL, PARTITIONS, VOLTAGE, WALKED, case, run, time, view};
use crate::sql::{NEW_YEAR, SECOND};

#[tokio::test]
async fn a_time_range_is_read_exactly() {
    run([
        case(10, format!("SELECT * {VOLTAGE} WHERE time < '2024-01-01T00:00:01Z'")).points(10),
        case(10, format!("SELECT value {VOLTAGE} WHERE TIMESTAMP '2024-01-01T00:00:01' > time")).points(10),
        case(
            11,
            format!("SELECT * {VOLTAGE} WHERE time BETWEEN '2024-01-01T00:00:01Z' AND '2024-01-01T00:00:02Z'"),
        )
        .points(11),
        case(
            2,
            format!("SELECT * {VOLTAGE} WHERE time IN (TIMESTAMP '2024-01-01T00:00:01', TIMESTAMP '2024-01-01T00:00:02')"),
        )
        .points(2),
        case(24, format!("SELECT * {LEVEL} WHERE CAST(time AS DATE) = DATE '2024-01-03'")).points(24),
        case(
            10,
            format!(
                "SELECT * {VOLTAGE} WHERE arrow_cast(time, 'Timestamp(Second, None)') \
                 <= arrow_cast('2024-01-01T00:00:00', 'Timestamp(Second, None)')"
            ),
        )
        .points(10),
        case(24, format!("SELECT * {LEVEL} WHERE date_trunc('day', time) = TIMESTAMP '2024-01-03T00:00:00'")).points(24),
        case(12, format!("SELECT * {LEVEL} WHERE date_trunc('hour', time) >= '2024-01-10T11:30:00Z'")).points(12),
        case(240, format!("SELECT * {LEVEL} WHERE date_trunc('month', time) = '2024-01-01'")).points(240),
        case(
            24,
            format!("SELECT * {LEVEL} WHERE date_bin(INTERVAL '1 day', time) = TIMESTAMP '2024-01-03T00:00:00'"),
        )
        .points(24),
        case(
            24,
            format!(
                "SELECT * {LEVEL} WHERE date_bin(INTERVAL '1 day', time, TIMESTAMP '2024-01-01T12:00:00') \
                 = TIMESTAMP '2024-01-03T12:00:00'"
            ),
        )
        .points(24),
        // The data is years old.
        case(0, format!("SELECT * {WALKED} WHERE time >= now() - INTERVAL '1 hour'")).points(0),
        case(0, format!("SELECT * {WALKED} WHERE time > DATE '2024-01-02' + INTERVAL '1 day'")).points(0),
        // Far outside of nanosecond time is before, or after, everything.
        case(
            10,
            format!("SELECT * {VOLTAGE} WHERE time >= DATE '1600-01-01' AND time < '2024-01-01T00:00:01Z'"),
        )
        .points(10),
        // Both days, and nothing of the eight between them.
        case(48, format!("SELECT * {LEVEL} WHERE time < '2024-01-02' OR time >= '2024-01-10'")).points(48),
        case(
            216,
            format!("SELECT * {LEVEL} WHERE NOT (time >= '2024-01-03' AND time < '2024-01-04')"),
        )
        .points(216),
        case(240, format!("SELECT * {LEVEL} WHERE time IS NOT NULL")).points(240),
        // A condition that stays behind does not keep others from narrowing the range.
        case(
            5,
            format!("SELECT * {VOLTAGE} WHERE time < '2024-01-01T00:00:01Z' AND CAST(value AS BIGINT) % 2 = 0"),
        )
        .points(10),
    ])
    .await;
}

#[tokio::test]
async fn what_contradicts_itself_reads_nothing() {
    run([
        case(0, format!("SELECT * {VOLTAGE} WHERE time > '2025-01-01' AND time < '2024-01-01'")),
        case(0, format!("SELECT * {VOLTAGE} WHERE date_trunc('day', time) = '2024-01-03T05:00:00Z'")),
        case(0, format!("SELECT * {VOLTAGE} WHERE time > NULL")),
        case(0, format!("SELECT * {VOLTAGE} WHERE time > '2080-01-01'")),
        case(1, format!("SELECT count(*), max(value) {VOLTAGE} WHERE time > '2025-01-01' AND time < '2024-01-01'")),
        case(0, "SELECT * FROM points WHERE name = 'voltage' AND name = 'current'"),
        case(0, "SELECT * FROM points WHERE name = 'nobody'"),
        case(
            0,
            "SELECT * FROM multi_values('pmu/north/voltage', 'pmu/north/current') \
             WHERE time < '1970-01-01' AND time > '2024-01-01'",
        ),
    ])
    .await;
}

#[tokio::test]
async fn parameters_narrow_as_constants_do() {
    let range = [time(NEW_YEAR), time(NEW_YEAR + SECOND)];
    run([
        case(
            10,
            format!("SELECT * {VOLTAGE} WHERE time >= $1 AND time < $2"),
        )
        .points(10)
        .bind(range.clone()),
        case(
            10,
            "SELECT * FROM raw_values($3) WHERE time >= $1 AND time < $2",
        )
        .points(10)
        .bind(range.clone().into_iter().chain([view("pmu/north/voltage")])),
        case(
            1,
            format!("SELECT avg(value) {VOLTAGE} WHERE time BETWEEN ? AND ?"),
        )
        .windows(1)
        .bind(range),
        case(300, "SELECT * FROM points WHERE name = ?")
            .parts_of_points(PARTITIONS, 300)
            .bind([view("current")]),
        case(
            1,
            "SELECT name, count(*) FROM points WHERE name = ? GROUP BY name",
        )
        .parts_of_windows(PARTITIONS, 1)
        .bind([view("current")]),
    ])
    .await;
}

#[tokio::test]
async fn streams_side_by_side_are_one_call() {
    let both = "multi_values('pmu/north/voltage', 'pmu/north/current')";
    run([
        // Points are counted by row and column.
        Case {
            points: 200,
            ..case(
                100,
                format!("SELECT * FROM {both} WHERE time >= '2024-01-01' AND time < '2024-01-01T00:00:10Z'"),
            )
            .may(Operation::MultiValues, 1)
        },
        Case {
            points: 200,
            ..case(
                10,
                format!(
                    "SELECT date_trunc('second', time) AS s, count(*) FROM {both} \
                     WHERE time < '2024-01-01T00:00:10Z' GROUP BY s"
                ),
            )
            .may(Operation::MultiValues, 1)
        },
    ])
    .await;
}

#[tokio::test]
async fn an_order_by_time_ends_early() {
    let pmu = "FROM points WHERE collection LIKE 'pmu/%'";
    run([
        case(5, format!("SELECT * {WALKED} ORDER BY time LIMIT 5")).points(5),
        case(5, format!("SELECT * {WALKED} ORDER BY time DESC LIMIT 5")).points(5),
        case(
            5,
            format!("SELECT value {WALKED} ORDER BY time DESC LIMIT 5"),
        )
        .points(5),
        case(
            5,
            format!("SELECT * {WALKED} ORDER BY time LIMIT 5 OFFSET 10"),
        )
        .points(15),
        case(
            5,
            format!(
                "SELECT * {WALKED} WHERE time < '2024-01-01T01:00:00Z' ORDER BY time DESC LIMIT 5"
            ),
        )
        .points(5),
        case(
            5,
            format!(
                "SELECT * FROM (SELECT time AS t, value AS v {WALKED}) ORDER BY t DESC LIMIT 5"
            ),
        )
        .points(5),
        case(5, format!("SELECT 1 AS one {WALKED} LIMIT 5")).points(5),
        // Three streams have points, and one has none; each may be asked on its own.
        case(5, format!("SELECT time {pmu} ORDER BY time LIMIT 5")).parts_of_points(4, 15),
        case(5, format!("SELECT time {pmu} ORDER BY time DESC LIMIT 5")).parts_of_points(4, 15),
        case(
            5,
            format!("SELECT time, name {pmu} AND name = 'current' ORDER BY time LIMIT 5"),
        )
        .parts_of_points(PARTITIONS, 5),
    ])
    .await;
}

#[tokio::test]
async fn subtrees_without_wanted_values_are_skipped() {
    run([
        case(1, format!("SELECT * {WALKED} WHERE value > 500")).points(5_000),
        case(
            1,
            format!("SELECT * {WALKED} WHERE 500 <= value AND time >= '2024-01-01'"),
        )
        .points(5_000),
        case(1, format!("SELECT count(*) {WALKED} WHERE value > 500")).points(5_000),
        case(0, format!("SELECT * {WALKED} WHERE value < -500")).points(0),
        case(
            1,
            "SELECT time, value FROM points WHERE value BETWEEN 500 AND 2000",
        )
        .parts_of_points(PARTITIONS, 5_000),
        case(10, format!("SELECT value {WALKED} ORDER BY value LIMIT 10")).points(50_000),
        // Nulls first, as SQL has it: the bound is that a value is null, which none is, or high enough.
        case(
            10,
            format!("SELECT value {WALKED} ORDER BY value DESC LIMIT 10"),
        )
        .points(50_000),
        case(
            10,
            format!("SELECT value {WALKED} ORDER BY value DESC NULLS LAST LIMIT 10"),
        )
        .points(50_000),
        case(
            10,
            format!("SELECT time, value {WALKED} ORDER BY value DESC LIMIT 10"),
        )
        .points(50_000),
    ])
    .await;
}

#[tokio::test]
async fn a_range_from_a_sub_query_is_a_range() {
    run([
        case(
            600,
            format!(
                "SELECT * {VOLTAGE} WHERE time > (SELECT max(time) {VOLTAGE}) - INTERVAL '1 minute'"
            ),
        )
        .points(600)
        .nearest(1),
        case(
            1,
            format!("SELECT * {WALKED} WHERE time = (SELECT max(time) {WALKED})"),
        )
        .points(1)
        .nearest(1),
    ])
    .await;
}
