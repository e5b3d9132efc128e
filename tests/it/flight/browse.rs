//! The catalog commands, as drivers send them.

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Schema;
use arrow_flight::sql::{
    CommandGetCrossReference, CommandGetDbSchemas, CommandGetExportedKeys, CommandGetImportedKeys,
    CommandGetPrimaryKeys, CommandGetTables, CommandGetXdbcTypeInfo,
};
use arrow_flight::{FlightInfo, IpcMessage};
use btrdb_flight::backend::observed::Operation;

use super::*;

pub(super) async fn fetch(
    client: &mut FlightSqlServiceClient<Channel>,
    info: FlightInfo,
) -> RecordBatch {
    let declared = info.clone().try_decode_schema().expect("a schema");
    let ticket = info.endpoint[0].ticket.clone().expect("a ticket");
    let mut stream = client.do_get(ticket).await.expect("a stream");
    let batch = stream.try_next().await.expect("rows");
    let batch = batch.unwrap_or_else(|| RecordBatch::new_empty(Arc::new(declared.clone())));
    assert_eq!(*batch.schema(), declared);
    assert!(
        stream.try_next().await.expect("the end").is_none(),
        "one batch"
    );
    batch
}

pub(super) fn column(batch: &RecordBatch, name: &str) -> Vec<String> {
    let column = batch.column_by_name(name).expect("the column");
    let texts = column.as_string::<i32>();
    texts.iter().flatten().map(str::to_owned).collect()
}

/// The columns of the table in a row of GetTables, whose schema is an encapsulated message.
pub(super) fn table_schema(tables: &RecordBatch, row: usize) -> Schema {
    let schemas = tables.column_by_name("table_schema").expect("the column");
    let bytes = schemas.as_binary::<i32>().value(row).to_vec();
    Schema::try_from(IpcMessage(bytes.into())).expect("a schema")
}

fn tables(schema: Option<&str>, table: Option<&str>, include_schema: bool) -> CommandGetTables {
    CommandGetTables {
        catalog: None,
        db_schema_filter_pattern: schema.map(str::to_owned),
        table_name_filter_pattern: table.map(str::to_owned),
        table_types: Vec::new(),
        include_schema,
    }
}

#[tokio::test]
async fn catalogs_schemas_and_tables_are_browsed_without_naming_a_catalog() {
    let server = Server::start().await;
    let mut writer = server.flight().await;
    let names: Vec<String> = (0..50).map(|number| format!("s_{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    put(
        &mut writer,
        path(&["points"]),
        vec![long("pmu/one", &names, 0..50)],
    )
    .await
    .expect("a put");
    put(&mut writer, path(&["lab", "a"]), vec![points(0..3)])
        .await
        .expect("a put");
    let mut client = server.sql().await;

    let info = client.get_catalogs().await.expect("catalogs");
    let catalogs = fetch(&mut client, info).await;
    assert_eq!(column(&catalogs, "catalog_name"), ["btrdb"]);

    let info = client
        .get_db_schemas(CommandGetDbSchemas {
            catalog: None,
            db_schema_filter_pattern: None,
        })
        .await
        .expect("schemas");
    let schemas = fetch(&mut client, info).await;
    assert_eq!(
        column(&schemas, "db_schema_name"),
        ["information_schema", "lab", "pmu/one", "public"]
    );

    let counts = server.backend.counts();
    let (found, described) = (
        counts.calls(Operation::Find),
        counts.calls(Operation::Describe),
    );
    for (request, expected) in [
        (tables(None, None, false), 65),
        (tables(Some("pmu/%"), None, false), 50),
        (tables(Some("public"), None, true), 3),
        (tables(Some("pmu/one"), Some("s\\_4"), true), 1),
        (tables(None, Some("s_4_"), true), 10),
        (tables(Some("nothing"), None, true), 0),
    ] {
        let include_schema = request.include_schema;
        let info = client.get_tables(request).await.expect("tables");
        let tables = fetch(&mut client, info).await;
        assert_eq!(tables.num_rows(), expected);
        assert_eq!(tables.num_columns(), if include_schema { 5 } else { 4 });
    }
    assert_eq!(
        counts.calls(Operation::Find) - found,
        6,
        "one look-up a command at most"
    );
    assert_eq!(counts.calls(Operation::Describe), described);

    for (types, expected) in [
        (vec!["BASE TABLE"], 54),
        (vec!["VIEW"], 11),
        (vec!["table"], 54),
    ] {
        let request = CommandGetTables {
            table_types: types.into_iter().map(str::to_owned).collect(),
            ..tables(None, None, false)
        };
        let info = client.get_tables(request).await.expect("tables");
        assert_eq!(fetch(&mut client, info).await.num_rows(), expected);
    }
}

#[tokio::test]
async fn drivers_find_types_infos_and_no_keys() {
    let server = Server::start().await;
    let mut client = server.sql().await;
    let info = client.get_table_types().await.expect("types");
    assert_eq!(
        column(&fetch(&mut client, info).await, "table_type"),
        ["TABLE", "VIEW"]
    );

    let info = client.get_sql_info(vec![]).await.expect("infos");
    assert!(fetch(&mut client, info).await.num_rows() > 80);

    let info = client
        .get_xdbc_type_info(CommandGetXdbcTypeInfo { data_type: None })
        .await
        .expect("types");
    assert!(fetch(&mut client, info).await.num_rows() >= 10);

    let table = "a".to_owned();
    let infos = [
        client
            .get_primary_keys(CommandGetPrimaryKeys {
                table: table.clone(),
                ..CommandGetPrimaryKeys::default()
            })
            .await,
        client
            .get_exported_keys(CommandGetExportedKeys {
                table: table.clone(),
                ..CommandGetExportedKeys::default()
            })
            .await,
        client
            .get_imported_keys(CommandGetImportedKeys {
                table,
                ..CommandGetImportedKeys::default()
            })
            .await,
        client
            .get_cross_reference(CommandGetCrossReference::default())
            .await,
    ];
    for info in infos {
        let info = info.expect("keys");
        let ticket = info.endpoint[0].ticket.clone().expect("a ticket");
        let batches: Vec<RecordBatch> = client
            .do_get(ticket)
            .await
            .expect("a stream")
            .try_collect()
            .await
            .expect("no rows");
        assert!(batches.iter().all(|batch| batch.num_rows() == 0));
    }
}

#[tokio::test]
async fn a_login_is_answered_with_a_bearer_token() {
    let server = Server::start().await;
    let mut client = server.sql().await;
    client
        .handshake("user", "password")
        .await
        .expect("a handshake");
    assert!(client.token().is_some());
    client.get_catalogs().await.expect("the token is taken");
}
