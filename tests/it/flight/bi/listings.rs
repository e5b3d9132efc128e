//! Listings of many streams: one look-up, whatever is asked, and no more of it than a predicate leaves.

use arrow_flight::sql::CommandGetTables;
use btrdb_flight::model::{StreamDescriptor, StreamId, Tags};
use uuid::Uuid;

use super::*;

const SITES: u128 = 20;
const STREAMS: u128 = 100;

async fn grid() -> Server {
    let server = Server::start().await;
    for site in 0..SITES {
        for stream in 0..STREAMS {
            let descriptor = StreamDescriptor {
                id: StreamId(Uuid::from_u128(1 + site * STREAMS + stream)),
                collection: format!("grid/site_{site:02}"),
                tags: Tags {
                    name: format!("s{stream:03}"),
                    unit: "V".to_owned(),
                    ..Tags::default()
                },
                annotations: Default::default(),
                property_version: 0,
            };
            server
                .backend
                .create(descriptor)
                .await
                .expect("the stream is new");
        }
    }
    server
}

#[tokio::test]
async fn a_listing_is_one_look_up_and_opens_no_stream() {
    let server = grid().await;
    let mut client = server.sql().await;
    let all = SITES * STREAMS;
    let find = vec![(Operation::Find, 1)];
    for (sql, rows, asked) in [
        (
            "SELECT * FROM information_schema.tables",
            all + 3 + 11,
            find.clone(),
        ),
        ("SHOW TABLES", all + 3 + 11, find.clone()),
        (
            "SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema LIKE 'grid/%'",
            2 * all,
            find.clone(),
        ),
        (
            "SELECT * FROM information_schema.tables WHERE table_schema = 'grid/site_07'",
            STREAMS,
            find.clone(),
        ),
        (
            "SHOW TABLES FROM \"grid/site_07\" LIKE 's00_'",
            10,
            find.clone(),
        ),
        (
            "SELECT * FROM information_schema.columns WHERE table_schema = 'grid/site_07' AND table_name = 's001'",
            2,
            find.clone(),
        ),
        (
            "SELECT * FROM information_schema.tables WHERE table_name IN ('s001', 'points')",
            SITES + 1,
            find.clone(),
        ),
        (
            "SELECT * FROM information_schema.tables WHERE table_schema IN ('grid/site_01', 'grid/site_02')",
            2 * STREAMS,
            vec![(Operation::Find, 2)],
        ),
        (
            "SELECT * FROM information_schema.schemata",
            SITES + 2,
            vec![(Operation::Collections, 1)],
        ),
        (
            "SHOW SCHEMAS LIKE 'grid/site_1%'",
            10,
            vec![(Operation::Collections, 1)],
        ),
        (
            "SELECT * FROM information_schema.tables WHERE table_catalog = 'other'",
            0,
            vec![],
        ),
        (
            "SELECT * FROM information_schema.tables WHERE table_schema = 'information_schema'",
            11,
            vec![],
        ),
        ("SHOW DATABASES", 1, vec![]),
        ("SHOW btrdb.pushdown", 1, vec![]),
        (
            "SELECT count(*) FROM information_schema.table_constraints",
            1,
            vec![],
        ),
        ("DESCRIBE streams", 13, vec![]),
        ("DESCRIBE \"grid/site_07\".s001", 2, find.clone()),
        ("SHOW COLUMNS FROM \"grid/site_07\".s001", 2, find.clone()),
    ] {
        let before = calls(&server);
        let (_, batches) = answer(&mut client, sql).await;
        let found: usize = batches.iter().map(RecordBatch::num_rows).sum();
        assert_eq!(found as u128, rows, "{sql}");
        assert_eq!(asked_since(&server, &before), asked, "{sql}");
    }
}

#[tokio::test]
async fn a_predicate_narrows_what_is_looked_up_and_changes_no_answer() {
    let server = grid().await;
    let mut client = server.sql().await;
    let mut plain = server.sql().await;
    plain.set_header("x-btrdb-pushdown", "false");
    for condition in [
        "table_schema = 'grid/site_03'",
        "table_schema LIKE 'grid/site\\_0%' AND table_name LIKE '%9'",
        "table_schema LIKE 'grid/site_03' OR table_name = 'points'",
        "table_schema IN ('public', 'grid/site_03') AND table_name IN ('s001', 'streams', 'nothing')",
        "table_schema NOT LIKE 'grid/%'",
        "table_schema > 'grid/site_18' AND table_name < 's005'",
        "table_schema = 'grid/site_03' AND table_schema = 'grid/site_04'",
        "upper(table_name) = 'S001'",
        "table_schema = table_name",
        "table_name = '00000000-0000-0000-0000-000000000001'",
    ] {
        let sql = format!(
            "SELECT table_schema, table_name, column_name FROM information_schema.columns WHERE {condition} ORDER BY 1, 2, ordinal_position"
        );
        let narrowed = cells(&mut client, &sql).await;
        assert_eq!(narrowed, cells(&mut plain, &sql).await, "{condition}");
    }
}

#[tokio::test]
async fn get_tables_and_the_information_schema_agree() {
    let server = grid().await;
    create(server.backend.as_ref(), 9_001, "lab", "twin", "V").await;
    create(server.backend.as_ref(), 9_002, "lab", "twin", "A").await;
    create(server.backend.as_ref(), 9_003, "public", "streams", "V").await;
    create(
        server.backend.as_ref(),
        9_004,
        "information_schema",
        "tables",
        "V",
    )
    .await;
    let mut client = server.sql().await;
    let info = client
        .get_tables(CommandGetTables::default())
        .await
        .expect("tables");
    let tables = browse::fetch(&mut client, info).await;
    let listed: Vec<Vec<String>> = browse::column(&tables, "db_schema_name")
        .into_iter()
        .zip(browse::column(&tables, "table_name"))
        .map(|(schema, name)| vec![schema, name])
        .collect();
    assert!(listed.is_sorted());
    let (_, rows) = cells(
        &mut client,
        "SELECT table_schema, table_name FROM information_schema.tables",
    )
    .await;
    assert_eq!(rows, listed);
    for (schema, name) in listed
        .iter()
        .map(|row| (&row[0], &row[1]))
        .filter(|(schema, _)| !schema.starts_with("grid/"))
    {
        let sql = format!("SELECT * FROM \"{schema}\".\"{name}\" LIMIT 1");
        answer(&mut client, &sql).await;
    }
}
