-- Which streams are there, and what do they hold?
SELECT collection, name, unit, point_count, earliest, latest
FROM streams
ORDER BY collection, name;

-- The same for one collection and everything below it.
SELECT uuid, name FROM streams WHERE collection LIKE 'pmu/%' AND unit = 'V';

-- Where do streams have an annotation?
SELECT name, annotations['site'] AS site FROM streams WHERE annotations['site'] IS NOT NULL;

-- How large are the collections?
SELECT collection, stream_count FROM collections ORDER BY stream_count DESC;

-- How many points does each stream have in a range?
SELECT uuid, collection, name, count(*) AS points
FROM points
WHERE time >= '2024-01-01' AND time < '2024-01-02'
GROUP BY uuid, collection, name
ORDER BY points DESC;

-- And all in all? Streams without points count too.
SELECT collection, count(*) AS streams, sum(point_count) AS points, min(earliest) AS earliest, max(latest) AS latest
FROM streams
GROUP BY collection
ORDER BY collection;
