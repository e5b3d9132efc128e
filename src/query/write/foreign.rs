//! Writing in somebody else's DataFusion session: INSERT through DataFusion's own hook, and the reason why nothing else.
//!
//! DataFusion hands a DELETE or UPDATE to a table as the predicates that its optimizer left over. A sub-query has become a join
//! by then and is not among them, so that `uuid IN (SELECT ...) AND time < x` would arrive as `time < x`, and take points from
//! every stream. What cannot be told from what was meant is refused.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::datasource::sink::{DataSink, DataSinkExec};
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::dml::InsertOp;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan};
use futures::TryStreamExt;

use super::insert::Sink;
use super::streams::Creation;
use super::{Destination, Ledger};
use crate::backend::Backend;
use crate::error::Error;
use crate::model::MergePolicy;
use crate::query::catalogue::StreamColumn;
use crate::query::errors::{from_datafusion, to_datafusion};
use crate::query::session::Settings;

/// What a table takes rows for.
#[derive(Clone, Debug)]
pub(in crate::query) enum Takes {
    Points(Destination),
    Streams,
}

/// The plan that writes the rows of `input`.
pub(in crate::query) fn insert_into(
    backend: &Arc<dyn Backend>,
    takes: Takes,
    state: &dyn Session,
    input: Arc<dyn ExecutionPlan>,
    operation: InsertOp,
) -> Result<Arc<dyn ExecutionPlan>> {
    if operation != InsertOp::Append {
        return refuse(
            operation.name(),
            "the setting btrdb.merge says what becomes of points whose time is taken",
        );
    }
    let settings = state.config_options().extensions.get::<Settings>();
    let rows = Rows {
        backend: Arc::clone(backend),
        takes,
        merge: settings.map_or_else(MergePolicy::default, |settings| settings.merge),
        schema: input.schema(),
    };
    Ok(Arc::new(DataSinkExec::new(input, Arc::new(rows), None)))
}

/// The answer to every other hook.
pub(in crate::query) fn refuse(what: &str, why: &str) -> Result<Arc<dyn ExecutionPlan>> {
    let message = format!("{what} is not supported in a session of DataFusion's: {why}");
    Err(to_datafusion(Error::unsupported(message)))
}

/// Why DELETE and UPDATE are refused.
pub(in crate::query) const LEFT_OVER: &str = "it tells a table only what its optimizer left of the predicate, which may be less \
                                              than was written; Flight SQL and the library's Gateway do it";

/// Rows on their way into the store.
#[derive(Debug)]
struct Rows {
    backend: Arc<dyn Backend>,
    takes: Takes,
    merge: MergePolicy,
    schema: SchemaRef,
}

impl DisplayAs for Rows {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.takes {
            Takes::Points(to) => write!(f, "Insert, into={to}, merge={}", self.merge.as_str()),
            Takes::Streams => f.write_str("Create, one call for each row, after a check of all"),
        }
    }
}

#[async_trait]
impl DataSink for Rows {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    async fn write_all(
        &self,
        mut data: SendableRecordBatchStream,
        _context: &Arc<TaskContext>,
    ) -> Result<u64> {
        let mut ledger = Ledger::default();
        let done = match &self.takes {
            Takes::Points(to) => {
                let mut sink = Sink::new(Arc::clone(&self.backend), to, self.merge, &mut ledger);
                async {
                    while let Some(batch) = data.try_next().await? {
                        sink.take(&batch).await.map_err(to_datafusion)?;
                    }
                    sink.commit().await.map_err(to_datafusion)
                }
                .await
            }
            Takes::Streams => {
                let mut creation = Creation::default();
                async {
                    while let Some(batch) = data.try_next().await? {
                        check_computed(&batch)?;
                        creation.accept(&batch).map_err(to_datafusion)?;
                    }
                    let created = creation.run(self.backend.as_ref(), &mut ledger);
                    created.await.map_err(to_datafusion)
                }
                .await
            }
        };
        match done {
            Ok(()) => Ok(ledger.rows),
            Err(error) => {
                let error = from_datafusion(error);
                Err(to_datafusion(ledger.explained(error)))
            }
        }
    }
}

/// Refuses values of columns that follow from others: DataFusion hands over every column, NULL where none was given.
fn check_computed(batch: &RecordBatch) -> Result<()> {
    let computed = StreamColumn::ALL
        .into_iter()
        .filter(|column| !column.is_told() || *column == StreamColumn::PropertyVersion);
    for column in computed {
        let given = batch
            .column_by_name(column.as_str())
            .is_some_and(|values| values.null_count() < values.len());
        if given {
            return Err(to_datafusion(Error::unsupported(format!(
                "column {} cannot be given: the store counts it",
                column.as_str()
            ))));
        }
    }
    Ok(())
}
