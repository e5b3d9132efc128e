-- A chart of any span: one row a minute, from statistics, whatever the rate of the points.
SELECT date_bin(INTERVAL '1 minute', time) AS minute, min(value), avg(value), max(value)
FROM "pmu/north"."voltage"
WHERE time >= '2024-01-01' AND time < '2024-01-02'
GROUP BY minute
ORDER BY minute;

-- The same as BTrDB calls it, with the population standard deviation of each window.
SELECT time, min, mean, max, count, stddev
FROM windows('pmu/north/voltage', INTERVAL '1 minute')
WHERE time >= '2024-01-01' AND time < '2024-01-02';

-- Windows of 2^34 ns, about 17 seconds: the cheapest, because the tree keeps them.
SELECT * FROM aligned_windows('pmu/north/voltage', 34);

-- Every stream of a unit at once.
SELECT uuid, date_bin(INTERVAL '1 minute', time) AS minute, avg(value) AS mean
FROM points
WHERE unit = 'V' AND time >= '2024-01-01'
GROUP BY uuid, minute
ORDER BY uuid, minute;

-- The first, highest, lowest and last value of each minute.
SELECT
  date_bin(INTERVAL '1 minute', time) AS minute,
  first_value(value ORDER BY time) AS open,
  max(value) AS high,
  min(value) AS low,
  last_value(value ORDER BY time) AS close
FROM "pmu/north"."voltage"
GROUP BY minute
ORDER BY minute;

-- Months and years begin where the calendar says.
SELECT date_trunc('month', time) AS month, count(*), avg(value)
FROM "pmu/north"."voltage"
GROUP BY month
ORDER BY month;

-- Days that begin at six.
SELECT time, mean, count FROM windows('pmu/north/voltage', INTERVAL '1 day', '2024-01-01T06:00:00Z');

-- A row for every half minute, also where there are no points.
SELECT t.bin, coalesce(v.points, 0) AS points, v.mean
FROM generate_series(TIMESTAMP '2024-01-01T00:00:00', TIMESTAMP '2024-01-01T00:02:00', INTERVAL '30 seconds') AS t(bin)
LEFT JOIN (
  SELECT date_bin(INTERVAL '30 seconds', time) AS bin, count(*) AS points, avg(value) AS mean
  FROM "pmu/south"."voltage"
  GROUP BY 1
) v ON v.bin = t.bin
ORDER BY t.bin;
