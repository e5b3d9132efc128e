//! JDBC and ODBC: every command of their metadata calls, decoded as they decode it.

use std::collections::BTreeMap;

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Field, UInt8Type};
use arrow_flight::FlightInfo;
use arrow_flight::sql::{
    CommandGetCrossReference, CommandGetDbSchemas, CommandGetExportedKeys, CommandGetImportedKeys,
    CommandGetPrimaryKeys, CommandGetTables, CommandGetXdbcTypeInfo,
};

use super::*;

fn text(name: &str, nullable: bool) -> Field {
    Field::new(name, DataType::Utf8, nullable)
}

fn assert_columns(batch: &RecordBatch, expected: &[Field]) {
    let found: Vec<Field> = batch
        .schema()
        .fields()
        .iter()
        .map(|f| f.as_ref().clone())
        .collect();
    assert_eq!(found, expected);
}

pub(super) async fn fetched(
    client: &mut FlightSqlServiceClient<Channel>,
    info: Result<FlightInfo, FlightError>,
) -> RecordBatch {
    browse::fetch(client, info.expect("an answer")).await
}

#[tokio::test]
async fn catalog_calls_answer_in_the_protocols_columns() {
    let server = site().await;
    let mut client = server.sql().await;

    let info = client.get_catalogs().await;
    let batch = fetched(&mut client, info).await;
    assert_columns(&batch, &[text("catalog_name", false)]);

    for (catalog, pattern, expected) in [
        (
            None,
            None,
            vec!["information_schema", "lab", "pmu/north", "public"],
        ),
        (Some("btrdb"), Some("p%"), vec!["pmu/north", "public"]),
        (Some("btrdb"), Some("pmu_north"), vec!["pmu/north"]),
        (Some("btrdb"), Some("pmu\\_north"), vec![]),
        (Some(""), None, vec![]),
        (Some("other"), None, vec![]),
        (None, Some(""), vec![]),
        (None, Some("ü\u{0}%"), vec![]),
    ] {
        let info = client
            .get_db_schemas(CommandGetDbSchemas {
                catalog: catalog.map(str::to_owned),
                db_schema_filter_pattern: pattern.map(str::to_owned),
            })
            .await;
        let batch = fetched(&mut client, info).await;
        assert_columns(
            &batch,
            &[text("catalog_name", true), text("db_schema_name", false)],
        );
        assert_eq!(
            browse::column(&batch, "db_schema_name"),
            expected,
            "{catalog:?} {pattern:?}"
        );
    }

    let info = client.get_table_types().await;
    let batch = fetched(&mut client, info).await;
    assert_columns(&batch, &[text("table_type", false)]);
    assert_eq!(browse::column(&batch, "table_type"), ["TABLE", "VIEW"]);

    let tables = |catalog: &str, types: &[&str], include_schema| CommandGetTables {
        catalog: Some(catalog.to_owned()),
        db_schema_filter_pattern: Some("pmu/%".to_owned()),
        table_name_filter_pattern: Some("%".to_owned()),
        table_types: types.iter().map(|name| (*name).to_owned()).collect(),
        include_schema,
    };
    let mut columns = vec![
        text("catalog_name", true),
        text("db_schema_name", true),
        text("table_name", false),
        text("table_type", false),
    ];
    let info = client.get_tables(tables("btrdb", &["TABLE"], false)).await;
    let batch = fetched(&mut client, info).await;
    assert_columns(&batch, &columns);
    assert_eq!(browse::column(&batch, "table_name"), ["current", "voltage"]);
    columns.push(Field::new("table_schema", DataType::Binary, false));
    let info = client.get_tables(tables("btrdb", &[], true)).await;
    assert_columns(&fetched(&mut client, info).await, &columns);
    for request in [
        tables("", &[], false),
        tables("other", &[], false),
        tables("btrdb", &["VIEW"], false),
    ] {
        let info = client.get_tables(request).await;
        assert_eq!(fetched(&mut client, info).await.num_rows(), 0);
    }
}

#[tokio::test]
async fn columns_are_described_beside_their_types() {
    let server = site().await;
    let mut client = server.sql().await;
    let mut described =
        async |schema: &str, table: &str| -> BTreeMap<String, BTreeMap<String, String>> {
            let info = client
                .get_tables(CommandGetTables {
                    db_schema_filter_pattern: Some(schema.to_owned()),
                    table_name_filter_pattern: Some(table.to_owned()),
                    include_schema: true,
                    ..CommandGetTables::default()
                })
                .await;
            let batch = fetched(&mut client, info).await;
            assert_eq!(batch.num_rows(), 1, "{table}");
            let columns = browse::table_schema(&batch, 0);
            let columns = columns.fields().iter().map(|field| {
                let metadata = field.metadata().iter().map(|(key, value)| {
                    let key = key
                        .strip_prefix("ARROW:FLIGHT:SQL:")
                        .expect("the protocol's");
                    (key.to_owned(), value.clone())
                });
                (field.name().clone(), metadata.collect())
            });
            columns.collect()
        };
    let voltage = described("pmu/north", "voltage").await;
    let value: Vec<_> = voltage["value"]
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    assert_eq!(
        value,
        [
            ("CATALOG_NAME", "btrdb"),
            ("DB_SCHEMA_NAME", "pmu/north"),
            ("IS_AUTO_INCREMENT", "0"),
            ("IS_CASE_SENSITIVE", "0"),
            ("IS_READ_ONLY", "0"),
            ("IS_SEARCHABLE", "1"),
            ("PRECISION", "15"),
            ("REMARKS", "what was measured, in V"),
            ("SCHEMA_NAME", "pmu/north"),
            ("TABLE_NAME", "voltage"),
            ("TYPE_NAME", "DOUBLE"),
        ]
    );
    assert_eq!(voltage["time"]["TYPE_NAME"], "TIMESTAMP WITH TIME ZONE");
    assert_eq!(voltage["time"]["SCALE"], "9");
    let streams = described("public", "streams").await;
    for (column, read_only) in [
        ("unit", "0"),
        ("version", "1"),
        ("point_count", "1"),
        ("latest", "1"),
    ] {
        assert_eq!(streams[column]["IS_READ_ONLY"], read_only, "{column}");
    }
    assert_eq!(streams["name"]["IS_CASE_SENSITIVE"], "1");
    assert_eq!(streams["tags"]["IS_SEARCHABLE"], "0");
    assert_eq!(streams["tags"]["TYPE_NAME"], "MAP(VARCHAR, VARCHAR)");
}

#[tokio::test]
async fn results_tell_drivers_their_types_but_not_other_names() {
    let server = site().await;
    let mut client = server.sql().await;
    let sql = "SELECT name, count(*) AS n, max(time) AS last, CAST(avg(value) AS DECIMAL(10, 2)) AS mean FROM points GROUP BY name";
    let (schema, _) = answer(&mut client, sql).await;
    let prepared = client
        .prepare(sql.to_owned(), None)
        .await
        .expect("prepares");
    assert_eq!(*prepared.dataset_schema().expect("a schema"), schema);
    let told = |key: &str| -> Vec<Option<&str>> {
        let key = format!("ARROW:FLIGHT:SQL:{key}");
        let fields = schema.fields().iter();
        fields
            .map(|field| field.metadata().get(&key).map(String::as_str))
            .collect()
    };
    let names = [
        "VARCHAR",
        "BIGINT",
        "TIMESTAMP WITH TIME ZONE",
        "DECIMAL(10, 2)",
    ];
    assert_eq!(told("TYPE_NAME"), names.map(Some));
    assert_eq!(
        told("PRECISION"),
        [None, Some("19"), Some("35"), Some("10")]
    );
    assert_eq!(told("SCALE"), [None, Some("0"), Some("9"), Some("2")]);
    // JDBC would show it in the place of the name.
    assert_eq!(told("REMARKS"), [None; 4]);
}

#[tokio::test]
async fn keys_answer_in_the_protocols_columns() {
    let server = site().await;
    let mut client = server.sql().await;
    let primary = |schema: Option<&str>, table: &str| CommandGetPrimaryKeys {
        catalog: None,
        db_schema: schema.map(str::to_owned),
        table: table.to_owned(),
    };
    for (request, expected) in [
        (primary(None, "streams"), vec!["uuid"]),
        (primary(Some("public"), "collections"), vec!["collection"]),
        (primary(Some("lab"), "streams"), vec![]),
        (primary(None, "points"), vec![]),
        (primary(None, "voltage"), vec![]),
    ] {
        let info = client.get_primary_keys(request).await;
        let batch = fetched(&mut client, info).await;
        assert_columns(
            &batch,
            &[
                text("catalog_name", true),
                text("db_schema_name", true),
                text("table_name", false),
                text("column_name", false),
                text("key_name", true),
                Field::new("key_sequence", DataType::Int32, false),
            ],
        );
        assert_eq!(browse::column(&batch, "column_name"), expected);
    }
    let imported = |table: &str| CommandGetImportedKeys {
        table: table.to_owned(),
        ..CommandGetImportedKeys::default()
    };
    let exported = |table: &str| CommandGetExportedKeys {
        table: table.to_owned(),
        ..CommandGetExportedKeys::default()
    };
    let crossing = |from: &str, to: &str| CommandGetCrossReference {
        fk_table: from.to_owned(),
        pk_table: to.to_owned(),
        ..CommandGetCrossReference::default()
    };
    let answers = [
        (
            client.get_imported_keys(imported("points")).await,
            vec!["points_uuid_fkey"],
        ),
        (client.get_imported_keys(imported("voltage")).await, vec![]),
        (
            client.get_exported_keys(exported("collections")).await,
            vec!["streams_collection_fkey"],
        ),
        (client.get_exported_keys(exported("points")).await, vec![]),
        (
            client
                .get_cross_reference(crossing("points", "streams"))
                .await,
            vec!["points_uuid_fkey"],
        ),
        (
            client
                .get_cross_reference(crossing("streams", "points"))
                .await,
            vec![],
        ),
    ];
    for (info, expected) in answers {
        let batch = fetched(&mut client, info).await;
        assert_columns(
            &batch,
            &[
                text("pk_catalog_name", true),
                text("pk_db_schema_name", true),
                text("pk_table_name", false),
                text("pk_column_name", false),
                text("fk_catalog_name", true),
                text("fk_db_schema_name", true),
                text("fk_table_name", false),
                text("fk_column_name", false),
                Field::new("key_sequence", DataType::Int32, false),
                text("fk_key_name", true),
                text("pk_key_name", true),
                Field::new("update_rule", DataType::UInt8, false),
                Field::new("delete_rule", DataType::UInt8, false),
            ],
        );
        assert_eq!(browse::column(&batch, "fk_key_name"), expected);
        let rules = batch.column(12).as_primitive::<UInt8Type>();
        assert!(
            rules.values().iter().all(|rule| *rule == 0),
            "points go with their stream"
        );
    }
}

#[tokio::test]
async fn types_are_told_by_number_and_all_together() {
    let server = site().await;
    let mut client = server.sql().await;
    let mut types = async |data_type| {
        let info = client
            .get_xdbc_type_info(CommandGetXdbcTypeInfo { data_type })
            .await;
        fetched(&mut client, info).await
    };
    let all = types(None).await;
    let names = browse::column(&all, "type_name");
    for name in [
        "BIGINT",
        "BIGINT UNSIGNED",
        "BOOLEAN",
        "DATE",
        "DECIMAL",
        "DOUBLE",
        "INTERVAL",
        "MAP",
        "TIME",
        "TIMESTAMP",
        "TIMESTAMP WITH TIME ZONE",
        "VARBINARY",
        "VARCHAR",
    ] {
        assert!(names.iter().any(|found| found == name), "{name}: {names:?}");
    }
    // ODBC reads them by position.
    let positions = [
        "type_name",
        "data_type",
        "column_size",
        "literal_prefix",
        "literal_suffix",
        "create_params",
    ];
    for (position, name) in positions.into_iter().enumerate() {
        assert_eq!(all.schema().field(position).name(), name);
    }
    assert_eq!(
        browse::column(&types(Some(93)).await, "type_name"),
        ["TIMESTAMP", "TIMESTAMP WITH TIME ZONE"]
    );
    assert_eq!(
        browse::column(&types(Some(8)).await, "type_name"),
        ["DOUBLE"]
    );
}
