-- Which version is a stream at?
SELECT version, point_count, latest FROM streams WHERE collection = 'pmu/north' AND name = 'voltage';

-- Which parts of time may differ between two versions, to about 18 minutes (2^40 ns)? 0 is the latest version.
SELECT start_time, end_time FROM changes('pmu/north/voltage', 11, 0, 40);

-- How many points did each minute gain between them?
SELECT now.minute, now.points - coalesce(earlier.points, 0) AS gained
FROM (SELECT date_bin(INTERVAL '1 minute', time) AS minute, count(*) AS points FROM "pmu/north"."voltage@12" GROUP BY minute) now
LEFT JOIN (SELECT date_bin(INTERVAL '1 minute', time) AS minute, count(*) AS points FROM "pmu/north"."voltage@11" GROUP BY minute) earlier
  ON now.minute = earlier.minute
WHERE now.points <> coalesce(earlier.points, 0)
ORDER BY now.minute;

-- A stream then and now, side by side.
SELECT time, "pmu/north/voltage@11" AS earlier, "pmu/north/voltage" AS now
FROM multi_values('pmu/north/voltage@11', 'pmu/north/voltage')
WHERE "pmu/north/voltage@11" IS DISTINCT FROM "pmu/north/voltage";
