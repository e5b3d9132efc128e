-- Raw points of a stream.
SELECT time, value FROM "pmu/north"."voltage" WHERE time >= '2024-01-01' AND time < '2024-01-01T00:00:10Z';

-- The last ten, read backwards.
SELECT time, value FROM "pmu/north"."voltage" ORDER BY time DESC LIMIT 10;

-- As of an earlier version of the stream.
SELECT count(*) FROM "pmu/north"."voltage@11";

-- Streams side by side, joined on time.
SELECT * FROM multi_values('pmu/north/voltage', 'pmu/north/current') WHERE time < '2024-01-01T00:01:00Z';

-- What a stream gained between two versions.
SELECT time, value FROM "pmu/north"."voltage@12"
EXCEPT
SELECT time, value FROM "pmu/north"."voltage@11";

-- Points of several ranges, in one statement.
SELECT time, value
FROM "pmu/north"."voltage"
WHERE (time >= '2024-01-01T00:00:00Z' AND time < '2024-01-01T00:00:01Z')
   OR (time >= '2024-01-01T00:04:00Z' AND time < '2024-01-01T00:04:01Z');

-- All points of a day, of every stream with a name.
SELECT collection, time, value FROM points WHERE name = 'voltage' AND CAST(time AS DATE) = DATE '2024-01-01';

-- Where are gaps of more than half a second?
SELECT previous, time, time - previous AS gap
FROM (SELECT time, lag(time) OVER (ORDER BY time) AS previous FROM "pmu/north"."current")
WHERE time - previous > INTERVAL '500 milliseconds'
ORDER BY time;
