//! Microsoft's Flight SQL connector: how it browses, asks for types and keys, and folds queries.

use super::*;

#[tokio::test]
async fn databases_schemas_and_tables_are_navigated() {
    let server = site().await;
    let mut client = server.sql().await;
    // The connector sends the database as a header of every call.
    client.set_header("database", "btrdb");
    let (names, rows) = cells(&mut client, "SHOW DATABASES").await;
    assert_eq!(
        (names, rows),
        (
            vec!["database_name".to_owned()],
            vec![vec!["btrdb".to_owned()]]
        )
    );

    let (names, rows) = cells(
        &mut client,
        "SELECT schema_name AS Name FROM information_schema.schemata WHERE catalog_name = 'btrdb' AND schema_name <> 'information_schema'",
    )
    .await;
    assert_eq!(names, ["Name"]);
    assert_eq!(rows, [["lab"], ["pmu/north"], ["public"]]);

    let before = calls(&server);
    let (names, rows) = cells(
        &mut client,
        "SELECT table_name AS Name, table_type FROM information_schema.tables WHERE table_catalog = 'btrdb' AND table_schema = 'pmu/north'",
    )
    .await;
    assert_eq!(names, ["Name", "table_type"]);
    assert_eq!(rows, [["current", "BASE TABLE"], ["voltage", "BASE TABLE"]]);
    assert_eq!(asked_since(&server, &before), [(Operation::Find, 1)]);

    let (_, rows) = cells(
        &mut client,
        "SELECT table_name AS Name, table_type FROM information_schema.tables WHERE table_catalog = 'btrdb' AND table_schema = 'public'",
    )
    .await;
    let names: Vec<_> = rows.iter().map(|row| row[0].as_str()).collect();
    assert_eq!(
        names,
        [
            "00000000-0000-0000-0000-000000000003",
            "00000000-0000-0000-0000-000000000004",
            "collections",
            "points",
            "streams"
        ],
        "streams that share a name are listed by uuid"
    );
}

#[tokio::test]
async fn types_are_named_in_words_that_it_matches() {
    let server = site().await;
    let mut client = server.sql().await;
    let before = calls(&server);
    let columns = |schema: &str, table: &str| {
        format!(
            "SELECT column_name, data_type, is_nullable FROM information_schema.columns WHERE table_catalog = 'btrdb' AND table_schema = '{schema}' AND table_name = '{table}' ORDER BY ordinal_position"
        )
    };
    let (names, rows) = cells(&mut client, &columns("pmu/north", "voltage")).await;
    assert_eq!(names, ["column_name", "data_type", "is_nullable"]);
    assert_eq!(
        rows,
        [
            ["time", "TIMESTAMP WITH TIME ZONE", "NO"],
            ["value", "DOUBLE", "NO"]
        ]
    );
    assert_eq!(asked_since(&server, &before), [(Operation::Find, 1)]);

    let before = calls(&server);
    let (_, rows) = cells(&mut client, &columns("public", "streams")).await;
    let types: Vec<_> = rows
        .iter()
        .map(|row| (row[0].as_str(), row[1].as_str()))
        .collect();
    assert_eq!(types[0], ("uuid", "VARCHAR"));
    assert_eq!(types[7], ("tags", "MAP(VARCHAR, VARCHAR)"));
    assert_eq!(types[9], ("version", "BIGINT UNSIGNED"));
    assert_eq!(types[10], ("point_count", "BIGINT"));
    assert_eq!(
        asked_since(&server, &before),
        [],
        "no stream is called streams"
    );
}

#[tokio::test]
async fn keys_are_those_that_hold() {
    let server = site().await;
    let mut client = server.sql().await;
    let primary = |schema: &str, table: &str| {
        format!(
            "SELECT kcu.column_name FROM information_schema.table_constraints tc JOIN information_schema.key_column_usage kcu   ON tc.constraint_name = kcu.constraint_name   AND tc.table_catalog = kcu.table_catalog   AND tc.table_schema = kcu.table_schema   AND tc.table_name = kcu.table_name WHERE tc.constraint_type = 'PRIMARY KEY'   AND tc.table_catalog = 'btrdb'  AND tc.table_schema = '{schema}'  AND tc.table_name = '{table}' ORDER BY kcu.ordinal_position"
        )
    };
    for (schema, table, key) in [
        ("public", "streams", Some("uuid")),
        ("public", "collections", Some("collection")),
        ("public", "points", None),
        ("pmu/north", "voltage", None),
    ] {
        let (_, rows) = cells(&mut client, &primary(schema, table)).await;
        let found: Vec<_> = rows.iter().flatten().map(String::as_str).collect();
        assert_eq!(found, key.into_iter().collect::<Vec<_>>(), "{table}");
    }
    let (names, rows) = cells(
        &mut client,
        "SELECT kcu.column_name AS from_column, ccu.table_schema AS to_schema,   ccu.table_name AS to_table, ccu.column_name AS to_column FROM information_schema.table_constraints tc JOIN information_schema.key_column_usage kcu   ON tc.constraint_name = kcu.constraint_name AND tc.table_catalog = kcu.table_catalog   AND tc.table_schema = kcu.table_schema AND tc.table_name = kcu.table_name JOIN information_schema.constraint_column_usage ccu   ON tc.constraint_name = ccu.constraint_name AND tc.table_catalog = ccu.table_catalog WHERE tc.constraint_type = 'FOREIGN KEY'   AND tc.table_catalog = 'btrdb'  AND tc.table_schema = 'public'  AND tc.table_name = 'points'",
    )
    .await;
    assert_eq!(names, ["from_column", "to_schema", "to_table", "to_column"]);
    assert_eq!(rows, [["uuid", "public", "streams", "uuid"]]);
}

#[tokio::test]
async fn the_keys_that_are_told_hold() {
    let server = site().await;
    let mut client = server.sql().await;
    for sql in [
        "SELECT uuid FROM streams GROUP BY uuid HAVING count(*) > 1",
        "SELECT collection FROM collections GROUP BY collection HAVING count(*) > 1",
        "SELECT uuid FROM points WHERE uuid NOT IN (SELECT uuid FROM streams)",
        "SELECT collection FROM streams WHERE collection NOT IN (SELECT collection FROM collections)",
    ] {
        let (_, rows) = cells(&mut client, sql).await;
        assert_eq!(rows.len(), 0, "{sql}");
    }
}

#[tokio::test]
async fn a_probe_for_types_reads_nothing() {
    let server = site().await;
    let mut client = server.sql().await;
    for (query, columns, asked) in [
        ("SELECT * FROM points", 6, vec![]),
        ("SELECT * FROM streams", 13, vec![]),
        (
            "SELECT uuid, count(*) AS n, avg(value) AS mean FROM points GROUP BY uuid",
            3,
            vec![],
        ),
        // Its name is looked up; it is not read.
        (
            "SELECT * FROM \"pmu/north\".\"voltage\"",
            2,
            vec![(Operation::Find, 1)],
        ),
        (
            "SELECT * FROM windows('pmu/north/voltage', INTERVAL '1 minute')",
            6,
            vec![(Operation::Find, 1)],
        ),
    ] {
        let before = calls(&server);
        let probe = format!("SELECT * FROM ({query}) AS \"_\" WHERE 0 = 1");
        let (schema, batches) = answer(&mut client, &probe).await;
        assert_eq!(schema.fields().len(), columns, "{query}");
        assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 0);
        assert_eq!(asked_since(&server, &before), asked, "{query}");
    }
}

#[tokio::test]
async fn folded_queries_run_in_the_store() {
    let server = site().await;
    let mut client = server.sql().await;
    let folded = r#"
        select "rows"."name" as "name", count(1) as "a0", max("rows"."value") as "a1"
        from
        (
            select "_"."name", "_"."value", "_"."time"
            from
            (
                select "$Table"."uuid" as "uuid", "$Table"."collection" as "collection", "$Table"."name" as "name",
                       "$Table"."time" as "time", "$Table"."value" as "value"
                from "public"."points" as "$Table"
            ) as "_"
            where "_"."time" >= TIMESTAMP '2024-01-01 00:01:00.000000' and "_"."time" < TIMESTAMP '2024-01-01 00:02:00.000000'
                  and "_"."collection" = CAST('pmu/north' as VARCHAR)
        ) as "rows"
        group by "rows"."name"
        order by "name"
        LIMIT 1000001"#;
    let points = server.backend.counts().points();
    let (names, rows) = cells(&mut client, folded).await;
    assert_eq!(names, ["name", "a0", "a1"]);
    assert_eq!(
        rows,
        [["current", "60", "119.0"], ["voltage", "60", "119.0"]]
    );
    assert_eq!(
        server.backend.counts().points() - points,
        0,
        "statistics answer it"
    );

    let mut nested = "select time, value from \"pmu/north\".\"voltage\"".to_owned();
    for _ in 0..15 {
        nested = format!("select \"_\".\"time\", \"_\".\"value\" from ({nested}) as \"_\"");
    }
    let points = server.backend.counts().points();
    let top = format!("{nested} order by \"time\" desc LIMIT 3 OFFSET 1");
    let (_, rows) = cells(&mut client, &top).await;
    assert_eq!(
        rows.iter().map(|row| row[1].as_str()).collect::<Vec<_>>(),
        ["598.0", "597.0", "596.0"]
    );
    assert!(
        server.backend.counts().points() - points <= 4,
        "the limit goes down"
    );
}
