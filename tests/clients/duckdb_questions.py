"""Questions for test_duckdb.py: SQL that both understand, or one text for each.

The points are those of `streams_of_points`. Names of columns choose how they are compared: see `TOLERANCES`.
"""

from datetime import datetime
from typing import NamedTuple


class Question(NamedTuple):
    id: str
    sql: str
    duckdb: str
    parameters: tuple = ()


QUESTIONS = []


def both(id, sql, *parameters):
    QUESTIONS.append(Question(id, sql, sql, parameters))


def each(id, sql, duckdb, *parameters):
    QUESTIONS.append(Question(id, sql, duckdb, parameters))


# Ranges of time.

both("range between", """SELECT time, value FROM "duck/north".voltage
    WHERE time BETWEEN '2023-11-14T22:14:00' AND '2023-11-14T22:14:03' ORDER BY time""")
both("range half-open", """SELECT count(*), min(time), max(time) FROM "duck/north".current
    WHERE time >= '2023-11-14T22:14:00Z' AND time < '2023-11-14T22:14:10Z'""")
both("range open-closed", """SELECT count(*), min(time), max(time) FROM "duck/north".current
    WHERE time > '2023-11-14T22:14:00Z' AND time <= '2023-11-14T22:14:10Z'""")
both("range by cast literal", """SELECT count(*), min(value), max(value) FROM "duck/south".frequency
    WHERE time >= CAST('2021-03-04' AS TIMESTAMP) AND time < CAST('2021-05-06 07:08:09' AS TIMESTAMP)""")
both("range by date", """SELECT count(*), min(value) FROM "duck/south".frequency
    WHERE time >= DATE '2021-03-04' AND time < DATE '2022-01-01'""")
both("range by cast of time", """SELECT count(*), max(value) FROM "duck/south".frequency
    WHERE CAST(time AS DATE) = DATE '2022-07-01'""")
both("range of nanoseconds", """SELECT time, value FROM "duck/edge".odd
    WHERE time > to_timestamp_nanos(-4) AND time <= to_timestamp_nanos(3) ORDER BY time""")
both("range one instant", """SELECT time, value FROM "duck/north".current WHERE time = '2023-11-14T22:15:00.5'""")
both("range instants", """SELECT time, value FROM "duck/north".current
    WHERE time IN ('2023-11-14T22:15:00.5', '2023-11-14T22:16:00.7', '2023-11-14T22:16:00.75', '2050-01-01') ORDER BY time""")
both("range not equal", """SELECT count(*) FROM "duck/edge".odd WHERE time <> to_timestamp_nanos(0)""")
both("range disjoint", """SELECT count(*), min(time), max(time), avg(value) AS mean FROM "duck/south".frequency
    WHERE time < '2020-02-01' OR time BETWEEN '2021-01-01' AND '2021-02-01' OR time >= '2023-12-01'""")
both("range disjoint rows", """SELECT time, value FROM "duck/north".current
    WHERE (time >= '2023-11-14T22:14:00' AND time < '2023-11-14T22:14:01')
    OR (time >= '2023-11-14T22:16:00' AND time < '2023-11-14T22:16:01') ORDER BY time""")
both("range overlapping", """SELECT count(*) FROM "duck/south".frequency
    WHERE (time >= '2021-01-01' AND time < '2021-06-01') OR (time >= '2021-05-01' AND time < '2021-07-01')""")
both("range with a hole", """SELECT count(*), sum(value) AS total FROM "duck/south".frequency
    WHERE time >= '2021-01-01' AND time < '2022-01-01' AND NOT (time >= '2021-03-01' AND time < '2021-04-01')""")
both("range not between", """SELECT count(*) FROM "duck/south".frequency
    WHERE time NOT BETWEEN '2020-06-01' AND '2023-06-01'""")
both("range contradiction, nothing", """SELECT time, value FROM "duck/north".voltage
    WHERE time > '2023-11-15' AND time < '2023-11-14'""")
both("range contradiction aggregates", """SELECT count(*), min(value), max(time), avg(value) AS mean, sum(value) AS total
    FROM "duck/north".voltage WHERE time > '2023-11-15' AND time < '2023-11-14'""")
both("range in the gap", """SELECT count(*), avg(value) AS mean FROM "duck/north".voltage
    WHERE time > '2023-11-14T22:16:15' AND time < '2023-11-14T22:17:30'""")
each("range since an hour", """SELECT count(*), avg(value) AS mean FROM "duck/edge".recent
    WHERE time > now() - INTERVAL '1 hour'""",
    """SELECT count(*), avg(value) AS mean FROM "duck/edge".recent
    WHERE epoch_ns(time) > epoch_ns(now() - INTERVAL '1 hour')""")
each("range relative", """SELECT name, count(*), max(value) FROM points
    WHERE time >= now() - INTERVAL '1 day' AND time < now() - INTERVAL '90 minutes' GROUP BY name""",
    """SELECT name, count(*), max(value) FROM points
    WHERE epoch_ns(time) >= epoch_ns(now() - INTERVAL '1 day') AND epoch_ns(time) < epoch_ns(now() - INTERVAL '90 minutes')
    GROUP BY name""")
each("range until now", "SELECT count(*) FROM points WHERE time <= now()",
    "SELECT count(*) FROM points WHERE epoch_ns(time) <= epoch_ns(now())")
each("range by functions of constants", """SELECT count(*), min(time) FROM "duck/south".frequency
    WHERE time >= date_trunc('month', TIMESTAMP '2021-03-17 11:00:00')
    AND time < TIMESTAMP '2021-03-17' + INTERVAL '2 days 3 hours'""",
    """SELECT count(*), min(time) FROM "duck/south".frequency
    WHERE time >= TIMESTAMP '2021-03-01' AND time < TIMESTAMP '2021-03-19 03:00:00'""")
each("range by seconds", """SELECT count(*), min(value) FROM "duck/south".frequency
    WHERE time >= to_timestamp(1600000000) AND time < to_timestamp(1600000000 + 86400 * 30)""",
    """SELECT count(*), min(value) FROM "duck/south".frequency
    WHERE epoch_ns(time) >= 1600000000000000000 AND epoch_ns(time) < 1602592000000000000""")
both("range of date_bin", """SELECT count(*), min(time), max(time) FROM "duck/north".current
    WHERE date_bin(INTERVAL '1 minute', time) = TIMESTAMP '2023-11-14T22:15:00'""")
both("range of date_bin, from", """SELECT count(*), min(time), sum(value) AS total FROM "duck/north".voltage
    WHERE date_bin(INTERVAL '7 seconds', time) >= TIMESTAMP '2023-11-14T22:15:00'""")
each("range of date_trunc", """SELECT count(*), min(time), max(time) FROM "duck/south".frequency
    WHERE date_trunc('month', time) = '2022-02-01'""",
    """SELECT count(*), min(time), max(time) FROM "duck/south".frequency WHERE time >= '2022-02-01' AND time < '2022-03-01'""")
each("range of date_trunc, up to", """SELECT count(*), max(time) FROM "duck/south".frequency
    WHERE date_trunc('quarter', time) <= '2021-04-01'""",
    """SELECT count(*), max(time) FROM "duck/south".frequency WHERE time < '2021-07-01'""")
both("range of date_bin, between", """SELECT count(*), min(time), max(time) FROM "duck/south".voltage
    WHERE date_bin(INTERVAL '20 seconds', time) BETWEEN TIMESTAMP '2023-11-14T22:14:10' AND TIMESTAMP '2023-11-14T22:15:20'""")
both("range of date_bin, off the grid, nothing", """SELECT time FROM "duck/south".voltage
    WHERE date_bin(INTERVAL '20 seconds', time) = TIMESTAMP '2023-11-14T22:14:10'""")
each("range of date_trunc, after a part", """SELECT count(*), min(time) FROM "duck/south".frequency
    WHERE date_trunc('day', time) > '2023-04-05T06:00:00'""",
    """SELECT count(*), min(time) FROM "duck/south".frequency WHERE time >= '2023-04-06'""")
each("range of date_trunc, several", """SELECT count(*), min(time), max(time) FROM "duck/south".frequency
    WHERE date_trunc('week', time) IN ('2021-03-01', '2022-08-01', '2022-08-02')""",
    """SELECT count(*), min(time), max(time) FROM "duck/south".frequency
    WHERE time >= '2021-03-01' AND time < '2021-03-08' OR time >= '2022-08-01' AND time < '2022-08-08'""")
both("range or value", """SELECT count(*), min(time), max(value) FROM "duck/south".voltage
    WHERE time < '2023-11-14T22:14:00' OR value > 122""")
both("range of part of the streams", """SELECT collection, name, count(*) FROM points
    WHERE (name = 'current' AND time > '2023-11-14T22:15:00') OR (name = 'frequency' AND time < '2021-01-01')
    GROUP BY collection, name""")
both("range of date_part", """SELECT count(*), avg(value) AS mean FROM "duck/south".frequency
    WHERE date_part('hour', time) BETWEEN 8 AND 16""")
each("range of shifted time", """SELECT count(*), min(time) FROM "duck/north".current
    WHERE time + INTERVAL '1 minute' > '2023-11-14T22:17:00.05'""",
    """SELECT count(*), min(time) FROM "duck/north".current WHERE time > '2023-11-14T22:16:00.05'""")
each("bounds before nanoseconds", """SELECT count(*), min(time), max(value) FROM points WHERE time >= '1600-01-01'""",
    """SELECT count(*), min(time), max(value) FROM points WHERE time::TIMESTAMP >= '1600-01-01'""")
each("bounds after nanoseconds", """SELECT count(*), max(time), min(value) FROM "duck/edge".odd WHERE time < '9999-12-31'""",
    """SELECT count(*), max(time), min(value) FROM "duck/edge".odd WHERE time::TIMESTAMP < '9999-12-31'""")
each("bounds on both sides", """SELECT time, value FROM "duck/edge".odd WHERE time BETWEEN '0001-01-01' AND '9999-12-31'
    ORDER BY time LIMIT 3""",
    """SELECT time, value FROM "duck/edge".odd WHERE time::TIMESTAMP BETWEEN '0001-01-01' AND '9999-12-31'
    ORDER BY time LIMIT 3""")
each("bounds that leave nothing", """SELECT time FROM "duck/edge".odd WHERE time < '1600-01-01'""",
    """SELECT time FROM "duck/edge".odd WHERE time::TIMESTAMP < '1600-01-01'""")
both("bounds of nanoseconds", """SELECT count(*), sum(value) AS total FROM "duck/edge".odd
    WHERE time > '1677-09-22' AND time < '2262-04-11'""")
both("bounds beyond the domain", """SELECT count(*), min(time), max(time) FROM "duck/edge".odd
    WHERE time > '1900-01-01' AND time < '2100-01-01'""")

# Parameters.

both("parameters of values", """SELECT count(*), min(value), max(value) FROM "duck/north".voltage
    WHERE value >= ? AND value < ?""", 118, 121.5)
both("parameters of text", """SELECT name, count(*), max(value) FROM points WHERE collection = $1 AND unit = $2
    GROUP BY name""", "duck/north", "A")
both("parameters of time", """SELECT count(*), min(time), avg(value) AS mean FROM "duck/south".frequency
    WHERE time >= CAST(? AS TIMESTAMP) AND time < CAST(? AS TIMESTAMP)""", "2021-02-03 04:05:06", "2021-08-09")
both("parameters of times", """SELECT count(*), max(time), sum(value) AS total FROM "duck/south".frequency
    WHERE time > ? AND time <= ?""",
    datetime(2020, 3, 4, 5, 6, 7, 8), datetime(2023, 3, 4))
both("parameters beside a limit", """SELECT time, value FROM "duck/north".voltage WHERE value < ? ORDER BY time DESC LIMIT 4""",
    119.5)
both("parameters of a bucket", """SELECT date_bin(INTERVAL '1 minute', time) AS bucket, count(*), avg(value) AS mean
    FROM points WHERE name = ? AND collection = ? AND time > CAST(? AS TIMESTAMP) GROUP BY bucket ORDER BY bucket""",
    "voltage", "duck/south", "2023-11-14T22:14:15.16")
both("parameters of nanoseconds", """SELECT time, value FROM "duck/edge".odd
    WHERE time >= to_timestamp_nanos(CAST(? AS BIGINT)) ORDER BY time LIMIT 5""", -2)

# Aggregates of a range with ragged edges.

ALL = """count(*), count(value), min(value), max(value), avg(value) AS mean, sum(value) AS total, stddev(value) AS stddev,
    stddev_pop(value) AS stddev_pop, var_samp(value) AS var_samp, var_pop(value) AS var_pop"""
for stream in ("north.voltage", "north.current", "south.voltage", "south.frequency", "edge.odd", "edge.recent", "edge.empty"):
    folder, name = stream.split(".")
    both(f"aggregates of {stream}", f'SELECT {ALL} FROM "duck/{folder}".{name}')
both("aggregates, ragged", f"""SELECT {ALL} FROM "duck/north".voltage
    WHERE time >= '2023-11-14T22:13:41.123456789' AND time < '2023-11-14T22:19:03.987654321'""")
both("aggregates, ragged over years", f"""SELECT {ALL} FROM "duck/south".frequency
    WHERE time > '2020-01-17T03:04:05' AND time <= '2023-11-29'""")
both("aggregates, ragged around 1970", f"""SELECT {ALL} FROM "duck/edge".odd
    WHERE time >= to_timestamp_nanos(-3) AND time < '2001-02-03'""")
both("aggregates of one point", f"""SELECT {ALL} FROM "duck/north".current WHERE time = '2023-11-14T22:15:00.5'""")
both("aggregates of one instant", f"""SELECT {ALL} FROM "duck/edge".odd WHERE time > '2079-08-08T23:55:13'""")
both("aggregates of everything", f"SELECT {ALL} FROM points")
both("aggregates of several streams", f"SELECT {ALL} FROM points WHERE name = 'voltage' AND time >= '2023-11-14T22:14:17.5'")
both("aggregates twice", """SELECT avg(value) AS mean, avg(value) + 1 AS mean_1, max(value) - min(value), count(*) * 2,
    sum(value) / count(*) AS mean_2 FROM "duck/south".voltage WHERE time < '2023-11-14T22:17:01.5'""")
both("aggregates without values", """SELECT count(*), count(time), min(time), max(time) FROM "duck/south".frequency
    WHERE time >= '2022-02-02T02:02:02'""")
both("aggregate count of everything", "SELECT count(*) FROM points")
both("aggregate count of a collection", "SELECT count(*) FROM points WHERE collection = 'duck/edge'")
both("aggregate count of a stream", """SELECT count(*) FROM "duck/north".voltage""")
each("aggregate count from streams", """SELECT sum(point_count), min(earliest), max(latest) FROM streams""",
    """SELECT count(*), min(time), max(time) FROM points""")
both("aggregates of arithmetic", """SELECT sum(value * value) AS square, avg(value * 2 + 1) AS mean, min(-value),
    max(abs(value)) FROM "duck/north".current WHERE time >= '2023-11-14T22:14:00.05'""")
both("aggregates of CASE", """SELECT sum(CASE WHEN value > 0 THEN 1 ELSE 0 END),
    sum(CASE WHEN value < 0 THEN value END) AS total, count(CASE WHEN value = 0 THEN 1 END) FROM "duck/north".current""")
both("aggregates filtered", """SELECT count(*) FILTER (WHERE value > 0),
    avg(value) FILTER (WHERE time < '2023-11-14T22:15:00') AS mean, count(*) FROM "duck/north".current""")
both("aggregates of distinct values", """SELECT count(DISTINCT value), sum(DISTINCT value) AS total FROM "duck/edge".odd""")
both("aggregates of distinct times", """SELECT count(DISTINCT time), count(time) FROM "duck/south".frequency""")

# Buckets of one width.

both("buckets", """SELECT date_bin(INTERVAL '10 seconds', time) AS bucket, count(*), min(value), max(value),
    avg(value) AS mean FROM "duck/north".voltage GROUP BY bucket ORDER BY bucket""")
both("buckets, ragged", """SELECT date_bin(INTERVAL '1 minute', time) AS bucket, count(*), min(value), max(value),
    sum(value) AS total, stddev(value) AS stddev FROM "duck/north".voltage
    WHERE time > '2023-11-14T22:14:30.3' AND time < '2023-11-14T22:17:59.9' GROUP BY 1 ORDER BY 1""")
both("buckets of an odd width", """SELECT date_bin(INTERVAL '7777 milliseconds', time) AS bucket, count(*),
    avg(value) AS mean, var_pop(value) AS var FROM "duck/south".voltage GROUP BY bucket ORDER BY bucket""")
both("buckets with an origin", """SELECT date_bin(INTERVAL '1 minute', time, TIMESTAMP '2023-11-14T00:00:10') AS bucket,
    count(*), max(value) FROM "duck/north".current GROUP BY bucket ORDER BY bucket""")
both("buckets with an origin to come", """SELECT date_bin(INTERVAL '13 seconds', time,
    TIMESTAMP '2030-01-01T00:00:05.5') AS bucket, count(*), min(value) FROM "duck/north".current
    WHERE time >= '2023-11-14T22:14:01' GROUP BY bucket ORDER BY bucket""")
each("buckets of nanoseconds", """SELECT date_bin(INTERVAL '3 nanoseconds', time) AS bucket, count(*), min(value), max(value)
    FROM "duck/edge".odd WHERE time > to_timestamp_nanos(-10) AND time < to_timestamp_nanos(10) GROUP BY bucket
    ORDER BY bucket""",
    """SELECT nanos_bin(3, time) AS bucket, count(*), min(value), max(value) FROM "duck/edge".odd
    WHERE epoch_ns(time) BETWEEN -9 AND 9 GROUP BY bucket ORDER BY bucket""")
each("buckets of a power of two", """SELECT date_bin(INTERVAL '17179869184 nanoseconds', time) AS bucket, count(*),
    avg(value) AS mean FROM "duck/north".voltage GROUP BY bucket ORDER BY bucket""",
    """SELECT nanos_bin(17179869184, time) AS bucket, count(*), avg(value) AS mean FROM "duck/north".voltage GROUP BY bucket
    ORDER BY bucket""")
both("buckets of a day over all time", """SELECT date_bin(INTERVAL '1 day', time) AS bucket, count(*), sum(value) AS total
    FROM "duck/edge".odd WHERE time >= '1934-01-01' GROUP BY bucket ORDER BY bucket""")
both("buckets before 1970", """SELECT date_bin(INTERVAL '400 days', time) AS bucket, count(*), min(value), avg(value) AS mean
    FROM "duck/edge".odd WHERE time < '1969-12-31T23:59:59.999999999' AND time > '1935-01-01' GROUP BY bucket ORDER BY bucket""")
both("buckets of many streams", """SELECT name, unit, date_bin(INTERVAL '30 seconds', time) AS bucket, count(*), min(value),
    avg(value) AS mean FROM points WHERE collection IN ('duck/north', 'duck/south') AND time > '2023-11-14T22:13:00'
    GROUP BY name, unit, bucket ORDER BY name, unit, bucket""")
both("buckets, newest first", """SELECT date_bin(INTERVAL '20 seconds', time) AS bucket, count(*) FROM "duck/north".voltage
    GROUP BY bucket ORDER BY bucket DESC LIMIT 5""")
both("buckets that have many", """SELECT date_bin(INTERVAL '10 seconds', time) AS bucket, count(*) AS n, avg(value) AS mean
    FROM "duck/north".voltage GROUP BY bucket HAVING count(*) > 299 AND avg(value) > 115 ORDER BY bucket""")
both("buckets of expressions", """SELECT date_bin(INTERVAL '1 minute', time) AS bucket, max(value) - min(value),
    count(*) + 1 FROM "duck/north".current GROUP BY date_bin(INTERVAL '1 minute', time) ORDER BY bucket""")
both("buckets of minutes past", """SELECT date_part('minute', time) AS minute, count(*), avg(value) AS mean
    FROM "duck/north".current GROUP BY minute ORDER BY minute""")
both("buckets of an hour of the day", """SELECT date_part('hour', time) AS hour, count(*), min(value)
    FROM "duck/south".frequency GROUP BY hour ORDER BY hour""")
both("buckets of nothing", """SELECT date_bin(INTERVAL '1 minute', time) AS bucket, count(*) FROM "duck/edge".empty
    GROUP BY bucket""")

# Buckets of the calendar.

for unit in ("second", "minute", "hour", "day", "week", "month", "quarter", "year"):
    each(f"calendar {unit}", f"""SELECT date_trunc('{unit}', time) AS bucket, count(*), min(value), max(value),
        avg(value) AS mean FROM "duck/south".frequency WHERE time < '2020-03-05T06:07:08.9' OR time > '2022-10-11T12:13:14.1'
        GROUP BY bucket ORDER BY bucket""",
        f"""SELECT date_trunc('{unit}', micros(time)) AS bucket, count(*), min(value), max(value), avg(value) AS mean
        FROM "duck/south".frequency WHERE time < '2020-03-05T06:07:08.9' OR time > '2022-10-11T12:13:14.1' GROUP BY bucket
        ORDER BY bucket""")
for unit in ("day", "week", "month", "quarter", "year"):
    each(f"calendar {unit}, ragged, all time", f"""SELECT date_trunc('{unit}', time) AS bucket, count(*), min(value),
        sum(value) AS total, stddev(value) AS stddev FROM "duck/edge".odd
        WHERE time >= '1933-07-30T01:02:03' AND time < '2079-01-31' GROUP BY 1 ORDER BY 1""",
        f"""SELECT date_trunc('{unit}', micros(time)) AS bucket, count(*), min(value), sum(value) AS total,
        stddev(value) AS stddev FROM "duck/edge".odd WHERE time >= '1933-07-30T01:02:03' AND time < '2079-01-31' GROUP BY 1
        ORDER BY 1""")
each("calendar year of the first", """SELECT date_trunc('year', time) AS bucket, count(*), min(time) FROM "duck/edge".odd
    GROUP BY bucket ORDER BY bucket LIMIT 2""",
    """SELECT date_trunc('year', micros(time)) AS bucket, count(*), min(time) FROM "duck/edge".odd GROUP BY bucket
    ORDER BY bucket LIMIT 2""")
each("calendar month of streams", """SELECT collection, date_trunc('month', time) AS bucket, count(*), avg(value) AS mean
    FROM points WHERE time BETWEEN '2023-06-15' AND '2024-01-15' GROUP BY collection, bucket ORDER BY collection, bucket""",
    """SELECT collection, date_trunc('month', micros(time)) AS bucket, count(*), avg(value) AS mean FROM points
    WHERE time BETWEEN '2023-06-15' AND '2024-01-15' GROUP BY collection, bucket ORDER BY collection, bucket""")
both("calendar months by date_bin", """SELECT date_bin(INTERVAL '3 months', time) AS bucket, count(*), max(value)
    FROM "duck/south".frequency GROUP BY bucket ORDER BY bucket""")
each("calendar year and month", """SELECT date_part('year', time) AS year, date_part('month', time) AS month, count(*)
    FROM "duck/south".frequency GROUP BY year, month ORDER BY year, month""",
    """SELECT year(micros(time)) AS year, month(micros(time)) AS month, count(*) FROM "duck/south".frequency
    GROUP BY year, month ORDER BY year, month""")

# Groups of streams.

both("groups by uuid", "SELECT uuid, count(*), min(value), avg(value) AS mean FROM points GROUP BY uuid")
both("groups by collection and name", """SELECT collection, name, count(*), min(time), max(time), stddev(value) AS stddev
    FROM points GROUP BY collection, name ORDER BY collection, name""")
both("groups by unit", """SELECT unit, count(*), sum(value) AS total FROM points WHERE time > '2023-11-14T22:14:00'
    GROUP BY unit ORDER BY unit""")
both("groups by an expression", """SELECT upper(unit) || '/' || name AS label, count(*), max(value) FROM points GROUP BY label
    ORDER BY label""")
both("groups by substring", """SELECT substr(name, 1, 1) AS letter, count(*), avg(value) AS mean FROM points GROUP BY letter
    ORDER BY letter""")
both("groups by CASE", """SELECT CASE WHEN unit IN ('V', 'A') THEN 'power' ELSE 'other' END AS kind, count(*), min(value),
    avg(value) AS mean FROM points GROUP BY kind ORDER BY kind""")
both("groups that are large", """SELECT collection, name, count(*) AS n FROM points GROUP BY collection, name
    HAVING count(*) >= 3000 ORDER BY n DESC, collection, name""")
both("groups by mean", """SELECT name, avg(value) AS mean FROM points WHERE collection LIKE 'duck/%' GROUP BY name
    HAVING max(value) > 60 ORDER BY avg(value) DESC""")
both("groups of nothing", "SELECT name, count(*) FROM points WHERE name = 'empty' GROUP BY name")
both("groups by sign", """SELECT value > 0 AS positive, count(*), avg(value) AS mean FROM "duck/north".current
    GROUP BY positive ORDER BY positive""")
both("groups by rounded value", """SELECT round(value) AS whole, count(*) FROM "duck/north".voltage GROUP BY whole
    HAVING count(*) > 50 ORDER BY whole""")
both("groups by rollup", "SELECT collection, unit, count(*), avg(value) AS mean FROM points GROUP BY ROLLUP (collection, unit)")

# Predicates on streams and values.

both("predicate LIKE", "SELECT name, count(*) FROM points WHERE collection LIKE '%south' AND name NOT LIKE 'v%' GROUP BY name")
both("predicate OR of streams", """SELECT collection, count(*) FROM points
    WHERE name = 'current' OR (unit = 'Hz' AND collection = 'duck/south') GROUP BY collection""")
both("predicate stream or time", """SELECT collection, count(*) FROM points WHERE name = 'current' OR time < '1970-01-01'
    GROUP BY collection""")
both("predicate above", """SELECT time, value FROM "duck/north".voltage WHERE value > 120.5 AND time > '2023-11-14T22:14:00'
    ORDER BY time, value LIMIT 20""")
both("predicate rare", """SELECT time, value FROM "duck/south".voltage WHERE value > 124.5 ORDER BY time""")
both("predicate not negative", """SELECT count(*), min(value), max(value) FROM "duck/north".current WHERE value >= 0""")
both("predicate between values", """SELECT count(*), avg(value) AS mean FROM "duck/south".frequency
    WHERE value BETWEEN 59.99 AND 60.01""")
both("predicate of arithmetic", """SELECT count(*), min(time) FROM "duck/north".current
    WHERE value * value > 20 AND abs(value) < 5""")
both("predicate impossible, nothing", """SELECT time, value FROM "duck/south".voltage WHERE value > 1000""")
both("predicate IN values", """SELECT time, value FROM "duck/edge".odd WHERE value IN (-3, 1, 4, 12.5, 17)
    ORDER BY time, value""")
both("predicate of values over streams", """SELECT collection, name, count(*), min(time) FROM points WHERE value < 0
    GROUP BY collection, name ORDER BY collection, name""")
both("predicate null, nothing", """SELECT time FROM "duck/north".voltage WHERE value IS NULL""")

# Zeros of either sign are one value, but see `TELLS_ZEROS_APART`.

both("zeros", """SELECT time, value FROM "duck/north".current WHERE value = 0 ORDER BY time""")
both("zeros, negative", """SELECT count(*) FROM "duck/north".current WHERE value = -0.0""")
both("zeros between zeros", """SELECT count(*), min(time) FROM "duck/north".current WHERE value BETWEEN 0.0 AND -0.0""")
both("zeros are not above zero", """SELECT count(*) FROM "duck/north".current WHERE value > -0.0""")
both("zeros are not below zero", """SELECT count(*) FROM "duck/north".current WHERE value < 0""")
both("zeros left out", """SELECT count(*) FROM "duck/north".current WHERE value <> 0""")
both("zeros negated", """SELECT count(*) FROM "duck/north".current WHERE NOT (value > 0) AND NOT (value < 0)""")
both("zeros in a list", """SELECT count(*) FROM "duck/north".current WHERE value IN (0, 1)""")
both("zeros in a long list", """SELECT count(*) FROM "duck/north".current WHERE value IN (0, 1, 2, 3, 4, 5)""")
both("zeros not in a long list", """SELECT count(*) FROM "duck/north".current WHERE value NOT IN (-0.0, 1, 2, 3, 4, 5)""")
both("zeros in a sub-query", """SELECT count(*) FROM "duck/north".current
    WHERE value IN (SELECT value FROM "duck/edge".odd)""")
both("zeros of a scalar sub-query", """SELECT count(*) FROM "duck/north".current
    WHERE value >= (SELECT min(abs(value)) FROM "duck/edge".odd)""")
both("zeros grouped", """SELECT value, count(*) FROM "duck/north".current WHERE value = 0 GROUP BY value""")
both("zeros distinct", """SELECT DISTINCT value FROM "duck/north".current WHERE abs(value) < 1e-9""")
both("zeros counted distinct", """SELECT count(DISTINCT value) FROM "duck/north".current""")
both("zeros joined", """SELECT count(*) FROM "duck/north".current AS a JOIN "duck/edge".odd AS b ON a.value = b.value""")
both("zeros joined with their negatives", """SELECT count(*) FROM "duck/north".current AS a
    JOIN "duck/north".current AS b ON a.value = -b.value WHERE a.value = 0""")
both("zeros in order", """SELECT value, time FROM "duck/north".current WHERE value = 0 ORDER BY value, time""")
both("zeros in order backward", """SELECT value, time FROM "duck/edge".odd WHERE value BETWEEN -1 AND 1
    ORDER BY value DESC, time LIMIT 30""")
both("zeros at the top", """SELECT value, time FROM "duck/north".current WHERE value <= 0
    ORDER BY value DESC, time LIMIT 70""")
both("zeros by CASE", """SELECT CASE value WHEN 0 THEN 'zero' ELSE 'other' END AS kind, count(*) FROM "duck/north".current
    GROUP BY kind""")
both("zeros as NULL", """SELECT count(nullif(value, 0)), count(*) FROM "duck/north".current""")
both("zeros in windows", """SELECT value, count(*) OVER (PARTITION BY value) FROM "duck/north".current WHERE value = 0""")
both("zeros, rounded", """SELECT round(value) AS whole, count(*) FROM "duck/north".current GROUP BY whole ORDER BY whole""")

# DataFusion compares floats bit by bit in CASE, nullif and lists of more than three, and by IEEE's total order where it sorts.
TELLS_ZEROS_APART = {
    "zeros in a long list",
    "zeros not in a long list",
    "zeros in order backward",
    "zeros at the top",
    "zeros by CASE",
    "zeros as NULL",
    "zeros in windows",
}

# The first and the last.

FIRST = "first_value(value ORDER BY time)", "first(value ORDER BY time)"
LAST = "last_value(value ORDER BY time)", "last(value ORDER BY time)"


def ends(id, sql):
    each(id, sql.format(FIRST[0], LAST[0]), sql.format(FIRST[1], LAST[1]))


ends("ends of a stream", """SELECT {}, {} FROM "duck/north".voltage""")
ends("ends of a range", """SELECT {}, {}, min(time), max(time) FROM "duck/north".current
    WHERE time > '2023-11-14T22:14:11.11' AND time < '2023-11-14T22:15:00.5'""")
ends("ends of nothing left", """SELECT {}, {} FROM "duck/edge".empty""")
ends("ends by stream", """SELECT collection, name, {}, {} FROM points WHERE collection <> 'duck/edge' AND name <> 'frequency'
    GROUP BY collection, name ORDER BY collection, name""")
ends("ends by bucket", """SELECT date_bin(INTERVAL '1 minute', time) AS bucket, {}, {}, max(value) FROM "duck/north".voltage
    GROUP BY bucket ORDER BY bucket""")
each("ends backwards", """SELECT first_value(value ORDER BY time DESC) FROM "duck/south".voltage""",
    """SELECT first(value ORDER BY time DESC) FROM "duck/south".voltage""")
both("ends, min of time", """SELECT min(time) FROM "duck/edge".odd""")
both("ends, max of time", """SELECT max(time) FROM points WHERE collection = 'duck/north'""")
both("ends, max of time before", """SELECT max(time) FROM "duck/south".frequency WHERE time < '2022-01-01'""")
both("ends, min of time beside others", """SELECT min(time), max(time), count(*), avg(value) AS mean, max(value)
    FROM "duck/south".frequency WHERE time > '2021-05-05'""")
both("ends, of time by stream", "SELECT uuid, min(time), max(time) FROM points GROUP BY uuid")
both("ends, of time of nothing left", """SELECT min(time), max(time) FROM "duck/edge".empty""")

# Order and limits.

both("order forward", """SELECT time, value FROM "duck/north".voltage ORDER BY time LIMIT 10""")
both("order backward", """SELECT time, value FROM "duck/north".voltage ORDER BY time DESC LIMIT 10""")
both("order backward in a range", """SELECT time, value FROM "duck/north".current WHERE time < '2023-11-14T22:15:00.1'
    ORDER BY time DESC LIMIT 7""")
both("order of duplicates", """SELECT time, value FROM "duck/south".frequency ORDER BY time DESC, value LIMIT 50""")
both("order by time, then descending", """SELECT time, value FROM "duck/south".frequency WHERE time > '2022-01-01'
    ORDER BY time, value DESC LIMIT 50""")
both("order over streams", """SELECT time, collection, name, value FROM points
    WHERE collection IN ('duck/north', 'duck/south') AND time >= '2023-11-14T22:14:00'
    ORDER BY time, collection, name LIMIT 40""")
both("order over streams, newest", """SELECT time, name, value FROM points WHERE collection = 'duck/north'
    ORDER BY time DESC, name LIMIT 25""")
both("order with an offset", """SELECT time, value FROM "duck/north".voltage ORDER BY time LIMIT 5 OFFSET 4998""")
both("order backward with an offset", """SELECT time, value FROM "duck/north".current
    ORDER BY time DESC LIMIT 5 OFFSET 1000""")
both("order past the end, nothing", """SELECT time, value FROM "duck/north".current ORDER BY time LIMIT 5 OFFSET 100000""")
both("order up to the last", """SELECT time FROM "duck/north".current ORDER BY time LIMIT 10 OFFSET 2995""")
both("order with a value predicate", """SELECT time, value FROM "duck/north".voltage WHERE value < 119
    ORDER BY time DESC LIMIT 6""")
both("order and limit nothing", """SELECT time FROM "duck/north".current ORDER BY time LIMIT 0""")
both("order limit in a sub-query", """SELECT count(*), avg(value) AS mean
    FROM (SELECT value FROM "duck/north".voltage ORDER BY time DESC LIMIT 100)""")
both("order limit without order", """SELECT count(*) FROM (SELECT value FROM "duck/north".voltage LIMIT 123)""")
both("top by value", """SELECT time, value FROM "duck/north".voltage ORDER BY value DESC LIMIT 10""")
both("bottom by value", """SELECT time, value FROM "duck/south".voltage ORDER BY value LIMIT 10""")
both("top by value in a range", """SELECT time, value FROM "duck/south".voltage WHERE time > '2023-11-14T22:15:00'
    ORDER BY value DESC LIMIT 3""")
both("top by value, ties", """SELECT value FROM "duck/edge".odd ORDER BY value DESC LIMIT 30""")
both("top by value, ties by time", """SELECT value, time FROM "duck/edge".odd ORDER BY value, time LIMIT 30""")
both("top of streams", "SELECT name, time, value FROM points WHERE collection = 'duck/south' ORDER BY value DESC LIMIT 8")
both("top by magnitude", """SELECT time, value FROM "duck/north".current ORDER BY abs(value) DESC LIMIT 5""")
both("top of buckets", """SELECT date_bin(INTERVAL '5 seconds', time) AS bucket, max(value) AS high FROM "duck/south".voltage
    GROUP BY bucket ORDER BY high DESC LIMIT 4""")

# Sub-queries and CTEs.

each("sub-query, the last minute", """SELECT time, value FROM "duck/north".current
    WHERE time > (SELECT max(time) FROM "duck/north".current) - INTERVAL '1 minute' ORDER BY time""",
    """SELECT time, value FROM "duck/north".current
    WHERE time > shift((SELECT max(time) FROM "duck/north".current), -60000000000) ORDER BY time""")
each("sub-query, aggregates of the last minute", """SELECT count(*), avg(value) AS mean FROM "duck/north".voltage
    WHERE time > (SELECT max(time) FROM "duck/north".voltage) - INTERVAL '1 minute'""",
    """SELECT count(*), avg(value) AS mean FROM "duck/north".voltage
    WHERE time > shift((SELECT max(time) FROM "duck/north".voltage), -60000000000)""")
both("sub-query, above average", """SELECT count(*), min(value) FROM "duck/south".voltage
    WHERE value > (SELECT avg(value) FROM "duck/south".voltage)""")
both("sub-query, when it peaked", """SELECT time, value FROM "duck/north".voltage
    WHERE value = (SELECT max(value) FROM "duck/north".voltage)""")
both("sub-query, selected", """SELECT (SELECT count(*) FROM "duck/north".voltage),
    (SELECT max(value) FROM "duck/south".voltage), 1""")
both("sub-query, buckets of buckets", """SELECT count(*), max(n), avg(mean) AS mean
    FROM (SELECT date_bin(INTERVAL '10 seconds', time) AS bucket, count(*) AS n, avg(value) AS mean FROM "duck/north".voltage
    GROUP BY bucket)""")
both("sub-query, of another name", """SELECT n.v AS v, n.t
    FROM (SELECT value AS v, time AS t FROM "duck/north".current WHERE time < '2023-11-14T22:13:21') AS n ORDER BY n.t""")
both("sub-query, filter outside", """SELECT count(*), max(value)
    FROM (SELECT * FROM points WHERE collection = 'duck/north') AS p
    WHERE p.name = 'current' AND p.time >= '2023-11-14T22:14:00.05'""")
both("cte", """WITH v AS (SELECT date_bin(INTERVAL '1 minute', time) AS bucket, avg(value) AS mean FROM "duck/north".voltage
    GROUP BY bucket) SELECT min(mean) AS mean_low, max(mean) AS mean_high, count(*) FROM v""")
both("cte used twice", """WITH v AS (SELECT time, value FROM "duck/north".current WHERE time < '2023-11-14T22:14:00')
    SELECT count(*) FROM v WHERE value > (SELECT avg(value) FROM v)""")
both("cte above its own average", """WITH b AS (SELECT name, date_bin(INTERVAL '1 minute', time) AS bucket, max(value) AS high
    FROM points WHERE name = 'voltage' GROUP BY name, bucket) SELECT bucket, high FROM b WHERE high > (SELECT avg(high) FROM b)
    ORDER BY bucket""")
both("IN of streams", """SELECT name, count(*), avg(value) AS mean FROM points
    WHERE uuid IN (SELECT uuid FROM streams WHERE unit = 'V') GROUP BY name, collection""")
both("IN of values", """SELECT count(*), min(time) FROM "duck/south".voltage
    WHERE time IN (SELECT time FROM "duck/north".current WHERE value > 0)""")
both("NOT IN of streams", """SELECT collection, count(*) FROM points
    WHERE uuid NOT IN (SELECT uuid FROM streams WHERE collection = 'duck/edge') GROUP BY collection""")
both("NOT IN of times", """SELECT count(*) FROM "duck/south".voltage
    WHERE time NOT IN (SELECT time FROM "duck/north".current)""")
both("EXISTS", """SELECT collection, name FROM streams AS s
    WHERE EXISTS (SELECT 1 FROM points AS p WHERE p.uuid = s.uuid AND p.value < 0) ORDER BY collection, name""")
both("NOT EXISTS", "SELECT name FROM streams AS s WHERE NOT EXISTS (SELECT 1 FROM points AS p WHERE p.uuid = s.uuid)")

# Joins.

both("join of points and streams", """SELECT s.collection, s.unit, count(*), avg(p.value) AS mean FROM points AS p
    JOIN streams AS s ON p.uuid = s.uuid GROUP BY s.collection, s.unit ORDER BY s.collection, s.unit""")
both("join of chosen streams", """SELECT s.name, count(*), min(p.value), max(p.time) FROM points AS p
    JOIN streams AS s ON p.uuid = s.uuid
    WHERE s.collection = 'duck/north' AND s.unit <> 'A' AND p.time >= '2023-11-14T22:14:00.01' GROUP BY s.name""")
both("join by uuid", """SELECT s.uuid, count(*), sum(p.value) AS total FROM streams AS s JOIN points AS p USING (uuid)
    WHERE s.name LIKE '%e%' GROUP BY s.uuid""")
both("join rows", """SELECT s.unit, p.time, p.value FROM points AS p JOIN streams AS s ON p.uuid = s.uuid
    WHERE s.name = 'current' AND p.time < '2023-11-14T22:13:22' ORDER BY p.time""")
both("join buckets", """SELECT s.unit, date_bin(INTERVAL '1 minute', p.time) AS bucket, count(*), avg(p.value) AS mean
    FROM points AS p JOIN streams AS s ON p.uuid = s.uuid
    WHERE s.collection IN ('duck/north', 'duck/south') AND p.time > '2023-11-14T22:13:30' GROUP BY s.unit, bucket
    ORDER BY s.unit, bucket""")
both("left join of streams", """SELECT s.name, s.collection, count(p.value), min(p.time), avg(p.value) AS mean
    FROM streams AS s LEFT JOIN points AS p ON p.uuid = s.uuid GROUP BY s.name, s.collection ORDER BY s.name, s.collection""")
both("left join with a range", """SELECT s.name, s.collection, count(p.time) FROM streams AS s
    LEFT JOIN points AS p ON p.uuid = s.uuid AND p.time < '2000-01-01' GROUP BY s.name, s.collection
    ORDER BY s.name, s.collection""")
both("join of two aggregates", """SELECT v.bucket, v.mean AS mean_v, a.mean AS mean_a, v.n, a.n
    FROM (SELECT date_bin(INTERVAL '30 seconds', time) AS bucket, avg(value) AS mean, count(*) AS n FROM "duck/north".voltage
    GROUP BY bucket) AS v
    JOIN (SELECT date_bin(INTERVAL '30 seconds', time) AS bucket, avg(value) AS mean, count(*) AS n FROM "duck/north".current
    GROUP BY bucket) AS a ON v.bucket = a.bucket ORDER BY v.bucket""")
both("full join of two aggregates", """SELECT a.bucket, v.bucket, a.n, v.high
    FROM (SELECT date_bin(INTERVAL '30 seconds', time) AS bucket, count(*) AS n FROM "duck/north".current GROUP BY bucket) AS a
    FULL JOIN (SELECT date_bin(INTERVAL '30 seconds', time) AS bucket, max(value) AS high FROM "duck/north".voltage
    GROUP BY bucket) AS v ON v.bucket = a.bucket""")
both("self-join of buckets", """WITH b AS (SELECT date_bin(INTERVAL '1 minute', time) AS bucket, max(value) AS high
    FROM "duck/north".current GROUP BY bucket) SELECT x.bucket, y.bucket, x.high - y.high FROM b AS x
    JOIN b AS y ON x.bucket > y.bucket ORDER BY x.bucket, y.bucket""")
both("self-join on time", """SELECT count(*), sum(a.value * b.value) AS square FROM "duck/north".current AS a
    JOIN "duck/north".current AS b ON a.time = b.time WHERE a.time < '2023-11-14T22:15:00'""")
both("join of streams on time", """SELECT v.time, v.value, a.value FROM "duck/south".voltage AS v
    JOIN "duck/north".current AS a ON v.time = a.time WHERE a.value > 4.9 ORDER BY v.time""")
both("left join on time", """SELECT v.time, v.value, a.value FROM "duck/south".voltage AS v
    LEFT JOIN "duck/north".current AS a ON v.time = a.time WHERE v.time < '2023-11-14T22:13:23' ORDER BY v.time""")
both("right join of streams", """SELECT s.name, count(p.time), max(p.value) FROM points AS p
    RIGHT JOIN streams AS s ON p.uuid = s.uuid WHERE s.collection = 'duck/edge' GROUP BY s.name ORDER BY s.name""")
both("anti-join of streams", """SELECT s.name FROM streams AS s
    LEFT JOIN (SELECT uuid, count(*) AS n FROM points GROUP BY uuid) AS p ON p.uuid = s.uuid WHERE p.n IS NULL""")
both("anti-join on time", """SELECT count(*) FROM "duck/south".voltage AS v
    LEFT JOIN "duck/north".current AS a ON v.time = a.time WHERE a.time IS NULL""")

# Sets, quantiles and windows over rows.

both("distinct streams", "SELECT DISTINCT collection, unit FROM points")
both("distinct values", """SELECT DISTINCT value FROM "duck/edge".odd WHERE time > '1970-01-01' ORDER BY value""")
both("distinct buckets", """SELECT DISTINCT date_bin(INTERVAL '1 minute', time) AS bucket FROM "duck/north".voltage
    ORDER BY bucket""")
both("distinct names counted", """SELECT count(DISTINCT name), count(DISTINCT uuid), count(*) FROM points
    WHERE time > '2023-01-01'""")
both("union of streams", """SELECT 'v' AS kind, count(*), avg(value) AS mean FROM "duck/north".voltage
    UNION ALL SELECT 'a', count(*), avg(value) FROM "duck/north".current""")
both("union of rows", """SELECT time, value
    FROM (SELECT * FROM "duck/north".current UNION ALL SELECT * FROM "duck/south".voltage) AS u
    WHERE time > '2023-11-14T22:18:19' ORDER BY time, value""")
both("union aggregated", """SELECT count(*), min(value), max(time)
    FROM (SELECT * FROM "duck/north".voltage UNION ALL SELECT * FROM "duck/south".voltage) AS u""")
both("except", """SELECT time FROM "duck/south".voltage WHERE time < '2023-11-14T22:13:30' EXCEPT SELECT time
    FROM "duck/north".current""")
both("intersect", """SELECT time FROM "duck/south".voltage INTERSECT SELECT time FROM "duck/north".current
    WHERE time < '2023-11-14T22:13:50'""")
both("median", """SELECT collection, name, median(value) AS median FROM points GROUP BY collection, name
    ORDER BY collection, name""")
both("median by bucket", """SELECT date_bin(INTERVAL '1 minute', time) AS bucket, median(value) AS median
    FROM "duck/north".voltage GROUP BY bucket ORDER BY bucket""")
both("quantile", """SELECT percentile_cont(0.25) WITHIN GROUP (ORDER BY value) AS median_25,
    percentile_cont(0.9) WITHIN GROUP (ORDER BY value) AS median_90 FROM "duck/south".voltage""")
both("values as a list", """SELECT array_agg(value ORDER BY time) FROM "duck/north".current
    WHERE time < '2023-11-14T22:13:21'""")
both("names as text", "SELECT collection, string_agg(name, ',' ORDER BY name) FROM streams GROUP BY collection")
both("correlation", """SELECT corr(a.value, v.value) * 1000 AS mean, count(*) FROM "duck/north".current AS a
    JOIN "duck/south".voltage AS v ON a.time = v.time""")
both("window lag", """SELECT time, value, value - lag(value) OVER (ORDER BY time) FROM "duck/north".current
    WHERE time < '2023-11-14T22:13:30' ORDER BY time""")
both("window moving average", """SELECT time, avg(value) OVER (ORDER BY time ROWS BETWEEN 4 PRECEDING AND CURRENT ROW) AS mean
    FROM "duck/north".voltage WHERE time < '2023-11-14T22:13:30' ORDER BY time""")
both("window row number by stream", """SELECT name, time, n
    FROM (SELECT name, time, row_number() OVER (PARTITION BY name ORDER BY time DESC) AS n FROM points
    WHERE collection = 'duck/north') AS p WHERE n <= 3 ORDER BY name, n""")
both("window over buckets", """SELECT bucket, n, sum(n) OVER (ORDER BY bucket)
    FROM (SELECT date_bin(INTERVAL '1 minute', time) AS bucket, count(*) AS n FROM "duck/north".voltage GROUP BY bucket) AS b
    ORDER BY bucket""")
both("window of the largest gap", """SELECT time FROM (SELECT time, lag(time) OVER (ORDER BY time) AS before
    FROM "duck/north".voltage) AS g WHERE time - before > INTERVAL '1 second'""")
both("window first value", """SELECT DISTINCT name, first_value(value) OVER (PARTITION BY name ORDER BY time) FROM points
    WHERE collection = 'duck/north'""")

# Table functions.


def windows(id, call, start, stream, where=""):
    each(f"windows {id}", f"SELECT time, min, mean, max, count, stddev FROM {call} {where} ORDER BY time",
        f"""SELECT * FROM (
            SELECT {start} AS time, min(value), avg(value) AS mean, max(value), count(*) AS count, stddev_pop(value) AS stddev
            FROM {stream} GROUP BY 1
        ) {where} ORDER BY time""")


windows("by interval", "windows('duck/north/voltage', INTERVAL '10 seconds')", "date_bin(INTERVAL '10 seconds', time)",
    '"duck/north".voltage')
windows("by nanoseconds", "windows('duck/north/current', 7777777777)", "nanos_bin(7777777777, time)", '"duck/north".current')
windows("with an origin", "windows('duck/north/current', INTERVAL '1 minute', TIMESTAMP '2023-11-14T00:00:10')",
    "date_bin(INTERVAL '1 minute', time, TIMESTAMP '2023-11-14T00:00:10')", '"duck/north".current')
windows("within a range", "windows('duck/south/voltage', INTERVAL '15 seconds')", "date_bin(INTERVAL '15 seconds', time)",
    '"duck/south".voltage',
    where="WHERE time > '2023-11-14T22:14:15' AND time <= '2023-11-14T22:16:15'")
windows("with many points", "windows('duck/south/frequency', INTERVAL '30 days')", "date_bin(INTERVAL '30 days', time)",
    '"duck/south".frequency',
    where="WHERE count > 80")
windows("aligned", "aligned_windows('duck/north/voltage', 33)", "nanos_bin(1::BIGINT << 33, time)", '"duck/north".voltage')
windows("aligned over all time", "aligned_windows('duck/edge/odd', 55)", "nanos_bin(1::BIGINT << 55, time)", '"duck/edge".odd')
windows("aligned, a nanosecond", "aligned_windows('duck/edge/odd', 0)", "nanos_bin(1, time)", '"duck/edge".odd',
    where="WHERE time > to_timestamp_nanos(-100) AND time < to_timestamp_nanos(100)")
windows("aligned, of nothing", "aligned_windows('duck/edge/empty', 40)", "nanos_bin(1, time)", '"duck/edge".empty')
each("windows aggregated", """SELECT count(*), sum(count), max(max)
    FROM windows('duck/north/voltage', INTERVAL '10 seconds')""",
    """SELECT count(DISTINCT date_bin(INTERVAL '10 seconds', time)), count(*), max(value) FROM "duck/north".voltage""")
each("raw values", """SELECT count(*), min(time), max(value) FROM raw_values('duck/south/frequency')
    WHERE time >= '2022-02-02'""",
    """SELECT count(*), min(time), max(value) FROM "duck/south".frequency WHERE time >= '2022-02-02'""")

WIDE = """SELECT coalesce(a.time, b.time) AS time, a.value AS a, b.value AS b FROM (SELECT * FROM "duck/north".current) AS a
    FULL JOIN (SELECT * FROM "duck/south".voltage) AS b ON a.time = b.time"""
each("multi_values", """SELECT * FROM multi_values('duck/north/current', 'duck/south/voltage') ORDER BY time""",
    f"{WIDE} ORDER BY 1")
each("multi_values of a range", """SELECT * FROM multi_values('duck/north/current', 'duck/south/voltage')
    WHERE time >= '2023-11-14T22:14:00' AND time < '2023-11-14T22:14:05' ORDER BY time""",
    f"SELECT * FROM ({WIDE}) WHERE time >= '2023-11-14T22:14:00' AND time < '2023-11-14T22:14:05' ORDER BY 1")
each("multi_values of one column", """SELECT count("duck/north/current"), count(*), max("duck/north/current")
    FROM multi_values('duck/north/current', 'duck/south/voltage')""", f"SELECT count(a), count(*), max(a) FROM ({WIDE})")
each("multi_values compared", """SELECT count(*), avg("duck/north/current" * "duck/south/voltage") AS square
    FROM multi_values('duck/north/current', 'duck/south/voltage') WHERE "duck/south/voltage" > 118""",
    f"SELECT count(*), avg(a * b) AS square FROM ({WIDE}) WHERE b > 118")
each("multi_values newest", """SELECT * FROM multi_values('duck/north/current', 'duck/south/voltage')
    ORDER BY time DESC LIMIT 9""",
    f"{WIDE} ORDER BY 1 DESC LIMIT 9")

# Streams.

both("streams", "SELECT uuid, collection, name, unit FROM streams ORDER BY collection, name")
each("streams and what they hold", """SELECT uuid, point_count, earliest, latest FROM streams""",
    """SELECT s.uuid, count(time), min(time), max(time) FROM streams AS s LEFT JOIN samples AS p ON s.uuid = p.uuid
    GROUP BY s.uuid""")
each("streams by what they hold", """SELECT collection, name FROM streams
    WHERE point_count > 3000 AND earliest < '2023-01-01'""",
    "SELECT collection, name FROM points GROUP BY collection, name HAVING count(*) > 3000 AND min(time) < '2023-01-01'")
each("streams by collection", """SELECT collection, stream_count FROM collections""",
    "SELECT collection, count(*) FROM streams GROUP BY collection")
both("streams by unit", "SELECT unit, count(*), min(name), max(name) FROM streams GROUP BY unit ORDER BY unit")
