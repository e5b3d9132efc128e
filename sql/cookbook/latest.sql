-- The latest value of every stream, and when it was.
SELECT uuid, collection, name, last_value(value ORDER BY time) AS value, max(time) AS time
FROM points
GROUP BY uuid, collection, name
ORDER BY collection, name;

-- The latest value of one stream.
SELECT time, value FROM "pmu/north"."voltage" ORDER BY time DESC LIMIT 1;

-- Which streams have had no point since a time?
SELECT collection, name, latest FROM streams WHERE latest < '2024-01-01T00:04:00Z' OR latest IS NULL;

-- The last point before a time, and the first one at or after it.
SELECT time, value FROM nearest('pmu/north/voltage', '2024-01-01T00:02:30.05Z', true);
SELECT time, value FROM nearest('pmu/north/voltage', '2024-01-01T00:02:30.05Z', false);

-- What every stream of a collection stood at, at a time: its last point until then.
SELECT name, last_value(value ORDER BY time) AS value, max(time) AS since
FROM points
WHERE collection = 'pmu/north' AND time <= '2024-01-01T00:02:30Z'
GROUP BY name;

-- The last hour of data, counted from the newest point and not from now.
SELECT time, value
FROM "pmu/north"."voltage"
WHERE time > (SELECT max(time) - INTERVAL '1 hour' FROM "pmu/north"."voltage");

-- Its statistics.
SELECT count(*), min(value), avg(value), max(value)
FROM "pmu/north"."voltage"
WHERE time > (SELECT max(time) - INTERVAL '1 hour' FROM "pmu/north"."voltage");
