-- A new stream. A uuid is made, unless one is given.
INSERT INTO streams (collection, name, unit, annotations)
VALUES ('pmu/east', 'voltage', 'V', MAP {'site': 'east', 'vendor': 'acme'});

-- Points into it, by its table, or by its collection and name.
INSERT INTO "pmu/east"."voltage" (time, value)
VALUES ('2024-01-01T00:00:00Z', 229.8), ('2024-01-01T00:00:01Z', 230.1);

INSERT INTO points (collection, name, time, value)
VALUES ('pmu/east', 'voltage', '2024-01-01T00:00:02Z', 230.0);

-- A point whose time is taken: replaced here, kept beside the other by default.
SET btrdb.merge = replace;

INSERT INTO "pmu/east"."voltage" VALUES ('2024-01-01T00:00:02Z', 231.5);

-- A stream made of another: power from voltage and current, where both have a point.
INSERT INTO streams (collection, name, unit, distiller) VALUES ('pmu/north', 'power', 'W', 'sql');

INSERT INTO "pmu/north"."power"
SELECT time, "pmu/north/voltage" * "pmu/north/current"
FROM multi_values('pmu/north/voltage', 'pmu/north/current')
WHERE "pmu/north/voltage" IS NOT NULL AND "pmu/north/current" IS NOT NULL;

-- Means of a minute each, kept as a stream of their own.
INSERT INTO streams (collection, name, unit) VALUES ('pmu/north/minutes', 'voltage', 'V');

INSERT INTO "pmu/north/minutes"."voltage"
SELECT date_bin(INTERVAL '1 minute', time), avg(value) FROM "pmu/north"."voltage" GROUP BY 1;

-- Other units for all streams of a collection.
UPDATE streams SET unit = 'mV' WHERE collection = 'pmu/north' AND unit = 'V';

-- A change that must not overwrite somebody else's: it changes nothing if the stream is not what it was.
UPDATE streams SET annotations = MAP {'site': 'south', 'calibrated': '2024-02-01'}
WHERE collection = 'pmu/south' AND name = 'voltage' AND property_version = 1;

-- What would be deleted, and how much of it there is.
EXPLAIN DELETE FROM points WHERE collection LIKE 'pmu/%' AND time < '2024-01-01T00:01:00Z';

-- The points of a range, of several streams. Earlier versions still have them.
DELETE FROM points WHERE collection LIKE 'pmu/%' AND unit = 'mV' AND time < '2024-01-01T00:01:00Z';

-- Streams without points, with all they have: this cannot be undone.
DELETE FROM streams WHERE point_count = 0;
