//! Aggregates: statistics and nearest points instead of points.

use super::{LEVEL, PARTITIONS, VOLTAGE, WALKED, case, run};

#[tokio::test]
async fn whole_ranges_are_one_statistic() {
    let all = "count(*), count(value), min(value), max(value), avg(value), sum(value), \
               stddev(value), stddev_pop(value), var_samp(value), var_pop(value)";
    run([
        case(1, format!("SELECT {all} {VOLTAGE}")).windows(1),
        case(1, format!("SELECT {all} {WALKED}")).windows(1),
        // Ragged at both edges.
        case(
            1,
            format!("SELECT {all} {WALKED} WHERE time > '2024-01-01T00:00:00.05Z' AND time <= '2024-01-01T03:33:33.33Z'"),
        )
        .windows(1),
        case(
            1,
            format!("SELECT {all} {WALKED} WHERE time < '2024-01-01T01:00:00Z' OR time >= '2024-01-01T02:00:00Z'"),
        )
        .windows(2),
        case(
            1,
            format!("SELECT avg(value) {LEVEL} WHERE CAST(time AS DATE) <> DATE '2024-01-03'"),
        )
        .windows(2),
        case(1, format!("SELECT count(*) {WALKED}")).windows(1),
        case(1, "SELECT count(*) FROM raw_values('pmu/north/voltage@11')").windows(1),
        case(1, "SELECT count(*), avg(value) FROM points").parts_of_windows(PARTITIONS, 7),
        case(1, "SELECT avg(value) FROM points WHERE unit = 'A'").parts_of_windows(PARTITIONS, 2),
        case(1, format!("SELECT max(value) - min(value), sum(value) / count(*) {WALKED}")).windows(1),
        case(1, format!("SELECT (SELECT max(value) {WALKED}), (SELECT count(*) {LEVEL})"))
            .parts_of_windows(2, 2),
        // DataFusion runs sub-queries that it takes for equal once, and compares scans by name, not by what they read.
        case(1, format!("SELECT (SELECT count(*) {WALKED}) AS a, (SELECT count(*) {LEVEL}) AS b"))
            .parts_of_windows(2, 2),
        case(
            1,
            format!("SELECT (SELECT count(*) {LEVEL} WHERE time < '2024-01-02') AS a, (SELECT count(*) {LEVEL}) AS b"),
        )
        .parts_of_windows(2, 2),
        case(
            1,
            "SELECT 1 AS one WHERE (SELECT count(*) FROM raw_values('lab/level')) \
             <> (SELECT count(*) FROM raw_values('pmu/north/current'))",
        )
        .parts_of_windows(2, 2),
    ])
    .await;
}

#[tokio::test]
async fn buckets_are_windows() {
    let by = |bucket: &str, from: &str| {
        format!("SELECT {bucket} AS b, min(value), avg(value), stddev(value) {from} GROUP BY b")
    };
    run([
        case(5, by("date_bin(INTERVAL '1 minute', time)", VOLTAGE)).windows(5),
        // A power of two, from where the tree's nodes begin: 2^35 ns, about 34 seconds.
        case(10, by("date_bin(INTERVAL '34359738368 nanoseconds', time)", VOLTAGE)).windows(10),
        case(
            6,
            by("date_bin(INTERVAL '1 minute', time, TIMESTAMP '2024-01-01T00:00:10')", VOLTAGE),
        )
        .windows(6),
        case(43, by("date_bin(INTERVAL '7 seconds', time, '2024-01-01T00:00:00Z')", VOLTAGE)).windows(43),
        case(5, by("date_trunc('minute', time)", VOLTAGE)).windows(5),
        case(6, by("date_trunc('hour', time)", WALKED)).windows(6),
        case(10, by("date_trunc('day', time)", LEVEL)).windows(10),
        case(10, by("CAST(time AS DATE)", LEVEL)).windows(10),
        case(2, by("date_trunc('week', time)", LEVEL)).windows(2),
        case(1, by("date_trunc('month', time)", LEVEL)).windows(1),
        case(1, by("date_trunc('quarter', time)", LEVEL)).windows(1),
        case(1, by("date_trunc('year', time)", LEVEL)).windows(1),
        case(1, by("date_bin(INTERVAL '1 month', time)", LEVEL)).windows(1),
        case(
            2,
            by("date_bin(INTERVAL '3 months', time, TIMESTAMP '2023-10-05T00:00:00')", LEVEL),
        )
        .windows(2),
        // Ragged first and last bins.
        case(
            4,
            format!(
                "SELECT date_bin(INTERVAL '1 minute', time) AS b, count(*), avg(value) {VOLTAGE} \
                 WHERE time > '2024-01-01T00:00:30Z' AND time < '2024-01-01T00:03:30Z' GROUP BY b ORDER BY b"
            ),
        )
        .windows(4),
        // Two days that are not neighbours.
        case(
            2,
            format!(
                "SELECT date_trunc('day', time) AS b, count(*) {LEVEL} \
                 WHERE time < '2024-01-02' OR time >= '2024-01-10' GROUP BY b"
            ),
        )
        .windows(2),
    ])
    .await;
}

#[tokio::test]
async fn many_streams_are_one_set() {
    let by = |key: &str| {
        format!("SELECT {key} AS k, count(*), avg(value), max(value) FROM points GROUP BY k")
    };
    let minutes = "date_bin(INTERVAL '1 minute', time) AS m";
    run([
        case(7, by("uuid")).parts_of_windows(PARTITIONS, 7),
        case(5, by("name")).parts_of_windows(PARTITIONS, 7),
        case(4, by("collection")).parts_of_windows(PARTITIONS, 7),
        case(5, by("upper(name)")).parts_of_windows(PARTITIONS, 7),
        case(4, by("unit")).parts_of_windows(PARTITIONS, 7),
        case(2, by("collection LIKE 'pmu/%'")).parts_of_windows(PARTITIONS, 7),
        case(2, "SELECT uuid, sum(value) FROM points WHERE unit = 'A' GROUP BY uuid")
            .parts_of_windows(PARTITIONS, 2),
        case(
            6,
            format!("SELECT uuid, {minutes}, avg(value) FROM points WHERE name = 'voltage' GROUP BY uuid, m"),
        )
        .parts_of_windows(PARTITIONS, 6),
        case(
            5,
            format!("SELECT {minutes}, stddev(value) FROM points WHERE collection LIKE 'pmu/%' GROUP BY m ORDER BY m"),
        )
        .parts_of_windows(PARTITIONS, 11),
        case(
            10,
            format!("SELECT {minutes}, collection || '/' || name AS path, count(*) FROM points \
                     WHERE collection = 'pmu/north' GROUP BY m, path"),
        )
        .parts_of_windows(PARTITIONS, 10),
    ])
    .await;
}

#[tokio::test]
async fn aggregates_go_down_from_wherever_they_stand() {
    let minutes = "date_bin(INTERVAL '1 minute', time) AS m";
    let by_minute = |table: &str| {
        format!("SELECT {minutes}, count(*) AS n, avg(value) AS mean FROM {table} GROUP BY m")
    };
    let (voltage, current) = ("\"pmu/north\".\"voltage\"", "\"pmu/north\".\"current\"");
    let named = format!("SELECT {minutes}, name, avg(value) AS mean FROM points GROUP BY m, name");
    run([
        case(
            5,
            format!("SELECT {minutes}, max(value) {VOLTAGE} GROUP BY m HAVING count(*) > 10"),
        )
        .windows(5),
        case(1, format!("SELECT count(*), max(n) FROM ({})", by_minute(voltage))).windows(5),
        case(
            5,
            format!("WITH w AS ({}) SELECT m, n FROM w ORDER BY m", by_minute(voltage)),
        )
        .windows(5),
        case(
            5,
            format!(
                "SELECT o.m, o.x FROM (SELECT i.m, i.mean AS x FROM ({}) AS i) AS o ORDER BY o.m",
                by_minute("(SELECT t.time, t.value FROM (SELECT * FROM \"pmu/north\".\"voltage\") AS t) AS u")
            ),
        )
        .windows(5),
        case(
            5,
            format!(
                "SELECT v.m, v.mean, c.mean AS other FROM ({}) AS v JOIN ({}) AS c ON v.m = c.m",
                by_minute(voltage),
                by_minute(current)
            ),
        )
        .parts_of_windows(2, 10),
        // Conditions outside choose streams and time inside.
        case(
            1,
            format!("SELECT * FROM ({}) WHERE m = TIMESTAMP '2024-01-01T00:04:00'", by_minute(voltage)),
        )
        .windows(1),
        case(
            2,
            format!("SELECT * FROM ({}) WHERE m >= '2024-01-01T00:03:00Z'", by_minute(voltage)),
        )
        .windows(2),
        case(
            1,
            format!(
                "SELECT * FROM ({named}) WHERE m >= '2024-01-01T00:04:00Z' AND m < '2024-01-01T00:05:00Z' AND name = 'current'"
            ),
        )
        .parts_of_windows(PARTITIONS, 1),
        case(
            5,
            format!("WITH w AS ({named}) SELECT w.m, w.mean FROM w WHERE w.name = 'current'"),
        )
        .parts_of_windows(PARTITIONS, 5),
        // Names are only names.
        case(
            5,
            "SELECT date_trunc('minute', x.moment) AS m, avg(x.reading) \
             FROM (SELECT time AS moment, value AS reading FROM \"pmu/north\".\"voltage\") AS x GROUP BY m",
        )
        .windows(5),
        case(
            2,
            "SELECT * FROM windows('pmu/north/voltage', INTERVAL '1 minute') WHERE time >= '2024-01-01T00:03:00Z'",
        )
        .windows(2),
        case(2, "SELECT * FROM windows('pmu/north/voltage', INTERVAL '1 minute') ORDER BY time LIMIT 2").windows(2),
    ])
    .await;
}

#[tokio::test]
async fn ends_of_a_range_are_its_nearest_points() {
    let range = "WHERE time >= '2024-01-01T00:00:30Z' AND time < '2024-01-01T00:03:30Z'";
    run([
        case(1, format!("SELECT min(time) {WALKED}")).nearest(1),
        case(1, format!("SELECT max(time) {WALKED} {range}")).nearest(1),
        case(1, format!("SELECT min(time), max(time) {WALKED} {range}")).nearest(2),
        case(1, format!("SELECT first_value(value ORDER BY time) {WALKED} {range}")).nearest(1),
        case(1, format!("SELECT last_value(value ORDER BY time) {WALKED} {range}")).nearest(1),
        case(1, format!("SELECT first_value(value ORDER BY time DESC), max(time) {WALKED}")).nearest(2),
        case(
            1,
            format!("SELECT min(time), last_value(value ORDER BY time), avg(value), count(*) {WALKED} {range}"),
        )
        .nearest(2)
        .windows(1),
        case(1, "SELECT max(time) FROM \"pmu/south\".\"empty\"").nearest(1),
        case(1, "SELECT min(time), max(time) FROM points").nearest(2 * PARTITIONS),
        case(2, "SELECT uuid, max(time) FROM points WHERE name = 'voltage' GROUP BY uuid").nearest(PARTITIONS),
        case(
            3,
            "SELECT uuid, last_value(value ORDER BY time) FROM points WHERE collection LIKE 'pmu/%' GROUP BY uuid",
        )
        .nearest(PARTITIONS),
        case(4, "SELECT unit, max(time), avg(value) FROM points GROUP BY unit")
            .nearest(PARTITIONS)
            .parts_of_windows(PARTITIONS, 7),
    ])
    .await;
}

#[tokio::test]
async fn which_streams_have_points_is_asked_of_no_point() {
    let any = |rows, sql: &str| {
        case(rows, sql)
            .parts_of_windows(PARTITIONS, 7)
            .nearest(PARTITIONS)
    };
    run([
        any(5, "SELECT DISTINCT name FROM points"),
        any(
            6,
            "SELECT DISTINCT collection, name FROM points ORDER BY collection, name",
        ),
        any(1, "SELECT count(DISTINCT uuid) FROM points"),
        any(
            1,
            "SELECT count(DISTINCT uuid) FROM points WHERE time < '2024-01-02'",
        ),
        any(
            4,
            "SELECT collection, count(DISTINCT uuid) FROM points GROUP BY collection",
        ),
    ])
    .await;
}
