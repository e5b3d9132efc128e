//! Statements in this process.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};

use super::statement::{self, Kind};
use super::{Outcome, Rows};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::query::{Gateway, GatewaySettings, SessionOptions, from_datafusion};

/// A gateway, and what `SET` has set so far.
pub(super) struct Local {
    gateway: Gateway,
    options: SessionOptions,
}

impl Local {
    pub(super) fn new(backend: Arc<dyn Backend>) -> Result<Self> {
        Ok(Self {
            gateway: Gateway::new(backend, GatewaySettings::default())?,
            options: SessionOptions::default(),
        })
    }

    pub(super) async fn run(&mut self, sql: &str) -> Result<Outcome> {
        let statement = self.gateway.prepare(sql, &self.options).await?;
        if let Some(command) = statement.command() {
            if command.apply(&mut self.options)? {
                return Ok(Outcome::Set);
            }
            return Err(Error::unsupported(format!(
                "{} is not supported here: transactions are kept by a server, see --connect",
                command.verb()
            )));
        }
        let batches = statement.execute().await?;
        let schema = batches.schema();
        let batches = batches.map_err(from_datafusion).boxed();
        match statement::kind(sql) {
            Kind::Update => Ok(Outcome::Changed(changed(batches).await?)),
            Kind::Query | Kind::Set { .. } => Ok(Outcome::Rows(Rows { schema, batches })),
        }
    }
}

/// The sum of the counts that DML answers with.
async fn changed(
    mut batches: futures::stream::BoxStream<'static, Result<arrow::array::RecordBatch>>,
) -> Result<Option<u64>> {
    let mut total = None;
    while let Some(batch) = batches.try_next().await? {
        let counts = batch.columns().first().and_then(|column| {
            let counts = arrow::compute::cast(column, &arrow::datatypes::DataType::UInt64).ok()?;
            let counts =
                arrow::array::cast::as_primitive_array::<arrow::datatypes::UInt64Type>(&counts);
            arrow::compute::sum(counts)
        });
        if let Some(counts) = counts {
            total = Some(total.unwrap_or(0) + counts);
        }
    }
    Ok(total)
}
