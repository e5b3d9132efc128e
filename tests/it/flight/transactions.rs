//! Transactions as read snapshots, and settings inside them.

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use arrow_flight::sql::{
    CommandStatementIngest, EndTransaction, TableDefinitionOptions, TableExistsOption,
    TableNotExistOption,
};
use bytes::Bytes;

use super::*;

async fn count(client: &mut FlightSqlServiceClient<Channel>, transaction: Option<Bytes>) -> i64 {
    let info = client
        .execute("SELECT count(*) FROM points".to_owned(), transaction)
        .await
        .expect("executed");
    let ticket = info.endpoint[0].ticket.clone().expect("a ticket");
    let batches: Vec<RecordBatch> = client
        .do_get(ticket)
        .await
        .expect("a stream")
        .try_collect()
        .await
        .expect("rows");
    batches[0].column(0).as_primitive::<Int64Type>().value(0)
}

#[tokio::test]
async fn all_statements_of_a_transaction_read_the_snapshot_of_the_first() {
    let server = Server::start().await;
    let mut writer = server.flight().await;
    let mut client = server.sql().await;
    put(&mut writer, path(&["lab", "a"]), vec![points(0..10)])
        .await
        .expect("a put");
    let transaction = client.begin_transaction().await.expect("begun");
    // Nothing was read yet, so this is still seen.
    put(&mut writer, path(&["lab", "a"]), vec![points(10..15)])
        .await
        .expect("a put");
    assert_eq!(count(&mut client, Some(transaction.clone())).await, 15);
    put(&mut writer, path(&["lab", "b"]), vec![points(0..100)])
        .await
        .expect("a put");
    // Where a store numbers no states, each stream is pinned when it is first read, which this one was not.
    let seen = if subject::is_loop() { 115 } else { 15 };
    assert_eq!(count(&mut client, Some(transaction.clone())).await, seen);
    put(&mut writer, path(&["lab", "a"]), vec![points(15..16)])
        .await
        .expect("a put");
    assert_eq!(count(&mut client, Some(transaction.clone())).await, seen);
    assert_eq!(count(&mut client, None).await, 116);
    client
        .end_transaction(transaction.clone(), EndTransaction::Commit)
        .await
        .expect("committed");
    let error = client
        .execute("SELECT 1".to_owned(), Some(transaction.clone()))
        .await
        .expect_err("it ended");
    assert!(error.to_string().contains("no such transaction"), "{error}");
    client
        .end_transaction(transaction.clone(), EndTransaction::Commit)
        .await
        .expect_err("committed twice");
    client
        .end_transaction(transaction, EndTransaction::Rollback)
        .await
        .expect("what is gone is rolled back");
}

#[tokio::test]
async fn settings_last_as_long_as_their_transaction() {
    let server = Server::start().await;
    let mut client = server.sql().await;
    let shown = async |client: &mut FlightSqlServiceClient<Channel>, transaction| {
        let info = client
            .execute("SHOW btrdb.pushdown".to_owned(), Some(transaction))
            .await
            .expect("executed");
        let ticket = info.endpoint[0].ticket.clone().expect("a ticket");
        let batches: Vec<RecordBatch> = client
            .do_get(ticket)
            .await
            .expect("a stream")
            .try_collect()
            .await
            .expect("rows");
        batches[0].column(1).as_string::<i32>().value(0).to_owned()
    };
    let transaction = client.begin_transaction().await.expect("begun");
    assert_eq!(shown(&mut client, transaction.clone()).await, "true");
    // As ADBC does: prepare, then the query path, and the ticket may never be redeemed.
    let mut set = client
        .prepare(
            "SET btrdb.pushdown = false".to_owned(),
            Some(transaction.clone()),
        )
        .await
        .expect("prepared");
    let info = set.execute().await.expect("executed");
    assert_eq!(shown(&mut client, transaction.clone()).await, "false");
    let ticket = info.endpoint[0].ticket.clone().expect("a ticket");
    let batches: Vec<RecordBatch> = client
        .do_get(ticket)
        .await
        .expect("a stream")
        .try_collect()
        .await
        .expect("no rows");
    assert!(batches.iter().all(|batch| batch.num_rows() == 0));
    // As JDBC does: an update.
    let changed = client
        .execute_update(
            "SET btrdb.pushdown = true".to_owned(),
            Some(transaction.clone()),
        )
        .await
        .expect("executed");
    assert_eq!(changed, 0);
    assert_eq!(shown(&mut client, transaction.clone()).await, "true");
    for sql in ["SET btrdb.pushdown = perhaps", "SET btrdb.unknown = 1"] {
        client
            .execute(sql.to_owned(), Some(transaction.clone()))
            .await
            .expect_err(sql);
    }
    let error = client
        .execute("SET btrdb.pushdown = false".to_owned(), None)
        .await
        .expect_err("it would not last");
    assert!(error.to_string().contains("x-btrdb-pushdown"), "{error}");
}

#[tokio::test]
async fn what_is_ingested_in_a_transaction_is_seen_in_it() {
    let server = Server::start().await;
    let mut client = server.sql().await;
    let mut writer = server.flight().await;
    put(&mut writer, path(&["lab", "a"]), vec![points(0..10)])
        .await
        .expect("a put");
    let transaction = client.begin_transaction().await.expect("begun");
    assert_eq!(count(&mut client, Some(transaction.clone())).await, 10);
    let ingest = CommandStatementIngest {
        table_definition_options: Some(TableDefinitionOptions {
            if_not_exist: TableNotExistOption::Fail.into(),
            if_exists: TableExistsOption::Append.into(),
        }),
        table: "points".to_owned(),
        transaction_id: Some(transaction.clone()),
        ..CommandStatementIngest::default()
    };
    let ingested = client
        .execute_ingest(
            ingest.clone(),
            futures::stream::iter([Ok(long("lab", &["a"], 10..30))]),
        )
        .await
        .expect("ingested");
    assert_eq!(ingested, 20);
    // The write of another client stays out of sight, its own does not.
    put(&mut writer, path(&["lab", "c"]), vec![points(0..7)])
        .await
        .expect("a put");
    // ... unless it is of a stream that was not read yet, in a store that numbers no states.
    let seen = if subject::is_loop() { 37 } else { 30 };
    assert_eq!(count(&mut client, Some(transaction)).await, seen);
    assert_eq!(count(&mut client, None).await, 37);
    let create = CommandStatementIngest {
        table_definition_options: Some(TableDefinitionOptions {
            if_not_exist: TableNotExistOption::Create.into(),
            if_exists: TableExistsOption::Fail.into(),
        }),
        transaction_id: None,
        ..ingest
    };
    let error = client
        .execute_ingest(
            create,
            futures::stream::iter([Ok(long("lab", &["a"], 0..1))]),
        )
        .await
        .expect_err("the table exists");
    assert!(error.to_string().contains("append"), "{error}");
}
