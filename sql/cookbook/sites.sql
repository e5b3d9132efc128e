-- A table by day and site, where the site is an annotation of the streams.
SELECT s.annotations['site'] AS site, date_trunc('day', p.time) AS day, count(*) AS points, avg(p.value) AS mean, max(p.value) AS highest
FROM points p JOIN streams s ON p.uuid = s.uuid
WHERE s.unit = 'V' AND p.time >= '2024-01-01' AND p.time < '2024-01-08'
GROUP BY site, day
ORDER BY site, day;

-- All points of the streams that have an annotation of a value.
SELECT p.collection, p.name, p.time, p.value
FROM points p
WHERE p.uuid IN (SELECT uuid FROM streams WHERE annotations['site'] = 'pmu/south');

-- A row for each site, and a column for each quantity.
SELECT
  s.annotations['site'] AS site,
  avg(CASE WHEN s.name = 'voltage' THEN p.value END) AS voltage,
  avg(CASE WHEN s.name = 'current' THEN p.value END) AS current
FROM points p JOIN streams s ON p.uuid = s.uuid
WHERE s.collection LIKE 'pmu/%'
GROUP BY site
ORDER BY site;

-- Streams that have no points.
SELECT collection, name FROM streams WHERE point_count = 0;

-- Names that several streams of a collection share: these are reached by uuid.
SELECT collection, name, count(*) AS streams FROM streams GROUP BY collection, name HAVING count(*) > 1;
