-- The extremes of each day.
SELECT date_trunc('day', time) AS day, min(value) AS lowest, max(value) AS highest
FROM "pmu/north"."voltage"
GROUP BY day
ORDER BY day;

-- The ten highest values of a stream, and when they were.
SELECT time, value FROM "pmu/north"."voltage" ORDER BY value DESC LIMIT 10;

-- The same over every stream of a unit.
SELECT collection, name, time, value FROM points WHERE unit = 'V' ORDER BY value DESC LIMIT 10;

-- When was the peak?
SELECT time, value
FROM "pmu/north"."voltage"
WHERE value = (SELECT max(value) FROM "pmu/north"."voltage");

-- Where was a value exceeded? Parts of a stream without such values are not read.
SELECT time, value FROM "pmu/north"."voltage" WHERE value > 98 ORDER BY time;

-- In which minutes was it, and how far?
SELECT date_bin(INTERVAL '1 minute', time) AS minute, max(value) AS highest
FROM "pmu/north"."voltage"
GROUP BY minute
HAVING max(value) > 98
ORDER BY minute;

-- How often, in each stream?
SELECT collection, name, count(*) AS points, count(*) FILTER (WHERE value > 98) AS too_high
FROM points
WHERE collection LIKE 'pmu/%'
GROUP BY collection, name
ORDER BY collection, name;

-- Which bins are unusual: further from the mean of all of them than one and a half deviations?
WITH bins AS (
  SELECT date_bin(INTERVAL '10 seconds', time) AS bin, avg(value) AS mean FROM "pmu/north"."current" GROUP BY bin
)
SELECT bin, mean
FROM bins
WHERE abs(mean - (SELECT avg(mean) FROM bins)) > 1.5 * (SELECT stddev(mean) FROM bins)
ORDER BY bin;
