-- Every stream of a collection as a column, resampled to whole seconds.
SELECT * FROM sampled_values(INTERVAL '1 second', 'pmu/north/*')
WHERE time >= '2024-01-01' AND time < '2024-01-01T00:01:00Z';

-- A quantity computed of two streams, where both have a point.
SELECT time, "pmu/north/voltage" * "pmu/north/current" AS power
FROM multi_values('pmu/north/voltage', 'pmu/north/current')
WHERE "pmu/north/voltage" IS NOT NULL AND "pmu/north/current" IS NOT NULL;

-- Two streams minute by minute.
SELECT v.minute, v.mean AS voltage, c.mean AS current
FROM (SELECT date_bin(INTERVAL '1 minute', time) AS minute, avg(value) AS mean FROM "pmu/north"."voltage" GROUP BY minute) v
JOIN (SELECT date_bin(INTERVAL '1 minute', time) AS minute, avg(value) AS mean FROM "pmu/north"."current" GROUP BY minute) c
  ON v.minute = c.minute
ORDER BY v.minute;

-- How far do two streams differ, where both have a point?
SELECT count(*) AS times, avg(n.value - s.value) AS mean, max(abs(n.value - s.value)) AS furthest
FROM "pmu/north"."voltage" n JOIN "pmu/south"."voltage" s ON n.time = s.time;

-- From each point to the next: the step, and the rate a second.
SELECT time, step, step / seconds AS rate
FROM (
  SELECT
    time,
    value - lag(value) OVER (ORDER BY time) AS step,
    extract(epoch FROM time) - lag(extract(epoch FROM time)) OVER (ORDER BY time) AS seconds
  FROM "pmu/north"."current"
)
WHERE step IS NOT NULL
ORDER BY time;
