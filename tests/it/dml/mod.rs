//! SQL that writes: what it does, what it refuses, and what it says when it fails half way.

mod meddled;
mod model;
mod parameters;
mod plugin;
mod points;
mod refusals;
mod streams;

use std::sync::Arc;

use btrdb_flight::backend::Backend;
use btrdb_flight::error::Result;
use btrdb_flight::model::MergePolicy;
use btrdb_flight::query::{
    Gateway, GatewaySettings, Outcome, SessionOptions, Written, from_datafusion,
};
use datafusion::common::ScalarValue;
use futures::TryStreamExt;

use crate::sql::cells;

pub(super) fn gateway(backend: Arc<dyn Backend>) -> Gateway {
    let settings = GatewaySettings {
        target_partitions: 2,
        ..GatewaySettings::default()
    };
    Gateway::new(backend, settings).expect("a gateway")
}

/// What came of a statement, as far as it was run.
pub(super) async fn outcome(
    gateway: &Gateway,
    sql: &str,
    session: &SessionOptions,
    rows: &[Vec<ScalarValue>],
) -> Outcome {
    match gateway.prepare(sql, session).await {
        Ok(statement) => {
            assert!(statement.is_update(), "{sql}");
            statement.write(rows).await
        }
        Err(error) => Outcome {
            written: Written::default(),
            error: Some(error),
        },
    }
}

pub(super) async fn write(gateway: &Gateway, sql: &str) -> Result<Written> {
    write_with(gateway, sql, &SessionOptions::default(), &[]).await
}

pub(super) async fn write_with(
    gateway: &Gateway,
    sql: &str,
    session: &SessionOptions,
    rows: &[Vec<ScalarValue>],
) -> Result<Written> {
    let outcome = outcome(gateway, sql, session, rows).await;
    match outcome.error {
        None => Ok(outcome.written),
        Some(error) => Err(error),
    }
}

pub(super) fn merging(merge: MergePolicy) -> SessionOptions {
    SessionOptions {
        merge,
        ..SessionOptions::default()
    }
}

/// The rows of a query, as text.
pub(super) async fn read(gateway: &Gateway, sql: &str) -> Vec<Vec<String>> {
    read_with(gateway, sql, &SessionOptions::default()).await
}

pub(super) async fn read_with(
    gateway: &Gateway,
    sql: &str,
    session: &SessionOptions,
) -> Vec<Vec<String>> {
    let statement = gateway.prepare(sql, session).await.expect(sql);
    let rows = statement.execute().await.expect(sql);
    let rows: Vec<_> = rows
        .try_collect()
        .await
        .map_err(from_datafusion)
        .expect(sql);
    cells(&rows)
}

/// The one value that a query answers.
pub(super) async fn one(gateway: &Gateway, sql: &str) -> String {
    read(gateway, sql).await[0][0].clone()
}
