//! What BI tools and drivers send, word for word, and the shapes that they need in answer.

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use btrdb_flight::backend::observed::Operation;

use super::*;
use crate::sql::{NEW_YEAR, SECOND, create, insert};

mod drivers;
mod grafana;
mod infos;
mod listings;
mod power_bi;

/// A server with two streams of one site, ten minutes of a point a second, and a name that two streams share.
async fn site() -> Server {
    let server = Server::start().await;
    let store = server.backend.as_ref();
    create(store, 1, "pmu/north", "voltage", "V").await;
    create(store, 2, "pmu/north", "current", "A").await;
    create(store, 3, "lab", "twin", "V").await;
    create(store, 4, "lab", "twin", "A").await;
    for stream in [1, 2] {
        let points = (0..600).map(|second| (NEW_YEAR + second * SECOND, second as f64));
        insert(store, stream, points.collect()).await;
    }
    server
}

/// The rows of a statement, sent as drivers send it: one endpoint, and what was declared is what comes.
async fn answer(
    client: &mut FlightSqlServiceClient<Channel>,
    sql: &str,
) -> (Schema, Vec<RecordBatch>) {
    let info = match client.execute(sql.to_owned(), None).await {
        Ok(info) => info,
        Err(error) => panic!("{sql}: {error}"),
    };
    let [endpoint] = info.endpoint.as_slice() else {
        panic!("{sql}: {} endpoints", info.endpoint.len());
    };
    let ticket = endpoint.ticket.clone().expect("a ticket");
    let schema = info.try_decode_schema().expect("a schema");
    let stream = client.do_get(ticket).await.expect("a stream");
    let batches: Vec<RecordBatch> = match stream.try_collect().await {
        Ok(batches) => batches,
        Err(error) => panic!("{sql}: {error}"),
    };
    assert!(
        batches.iter().all(|batch| *batch.schema() == schema),
        "{sql}: what was declared is what comes"
    );
    (schema, batches)
}

/// Names of columns and the cells of all rows.
async fn cells(
    client: &mut FlightSqlServiceClient<Channel>,
    sql: &str,
) -> (Vec<String>, Vec<Vec<String>>) {
    let (schema, batches) = answer(client, sql).await;
    let names = schema.fields().iter().map(|field| field.name().clone());
    let options = FormatOptions::default().with_null("NULL");
    let mut rows = Vec::new();
    for batch in &batches {
        let columns: Vec<_> = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column, &options).expect("printable"))
            .collect();
        rows.extend((0..batch.num_rows()).map(|row| {
            let cells = columns.iter().map(|column| column.value(row).to_string());
            cells.collect::<Vec<_>>()
        }));
    }
    (names.collect(), rows)
}

/// How often the backend was asked, by operation.
fn calls(server: &Server) -> Vec<(Operation, u64)> {
    let counts = server.backend.counts();
    Operation::ALL
        .into_iter()
        .map(|operation| (operation, counts.calls(operation)))
        .collect()
}

/// The operations that the backend was asked for since, but for snapshots, which a statement takes and nobody waits for.
fn asked_since(server: &Server, before: &[(Operation, u64)]) -> Vec<(Operation, u64)> {
    let now = calls(server).into_iter().zip(before);
    now.map(|((operation, now), (_, before))| (operation, now - before))
        .filter(|(operation, count)| *operation != Operation::Snapshot && *count > 0)
        .collect()
}
