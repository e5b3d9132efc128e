//! Joins with `streams` and conditions on them: only the streams that match.

use super::{PARTITIONS, case, run};

#[tokio::test]
async fn only_streams_that_match_are_read() {
    let of_unit_a = "(SELECT uuid FROM streams WHERE unit = 'A')";
    run([
        case(
            1,
            "SELECT s.unit, count(*), avg(p.value) FROM points AS p JOIN streams AS s ON p.uuid = s.uuid \
             WHERE s.unit = 'A' GROUP BY s.unit",
        )
        .parts_of_windows(PARTITIONS, 2),
        case(
            4,
            "SELECT s.unit, count(*), max(p.value) FROM points AS p JOIN streams AS s USING (uuid) GROUP BY s.unit",
        )
        .parts_of_windows(PARTITIONS, 7),
        case(
            5,
            "SELECT date_trunc('minute', p.time) AS m, s.name, avg(p.value) \
             FROM points AS p JOIN streams AS s USING (uuid) WHERE s.name = 'current' GROUP BY m, s.name",
        )
        .parts_of_windows(PARTITIONS, 5),
        case(
            302,
            "SELECT s.unit, p.time, p.value FROM points AS p JOIN streams AS s ON p.uuid = s.uuid WHERE s.unit = 'A'",
        )
        .parts_of_points(PARTITIONS, 302),
        case(302, format!("SELECT time, value FROM points WHERE uuid IN {of_unit_a}"))
            .parts_of_points(PARTITIONS, 302),
        case(1, format!("SELECT avg(value) FROM points WHERE uuid IN {of_unit_a}"))
            .parts_of_windows(PARTITIONS, 2),
        // The names of these are current and twin, which is one stream more than the units say.
        case(
            303,
            "SELECT uuid, time FROM points WHERE name IN (SELECT name FROM streams WHERE unit = 'A')",
        )
        .parts_of_points(PARTITIONS, 303),
        case(
            300,
            "SELECT * FROM points WHERE name = arrow_cast('current', 'LargeUtf8')",
        )
        .parts_of_points(PARTITIONS, 300),
        case(60, "SELECT * FROM points WHERE collection LIKE 'pmu/s%'").parts_of_points(PARTITIONS, 60),
        case(
            2,
            "SELECT * FROM points AS p WHERE upper(p.name) = 'TWIN' AND p.unit || p.name = 'Atwin'",
        )
        .parts_of_points(PARTITIONS, 2),
        case(
            300,
            "SELECT q.n, q.t FROM (SELECT name AS n, time AS t FROM points) AS q WHERE q.n = 'current'",
        )
        .parts_of_points(PARTITIONS, 300),
    ])
    .await;
}
