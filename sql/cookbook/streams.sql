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
