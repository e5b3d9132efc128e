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
