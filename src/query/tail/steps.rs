//! What is done with each batch of a tail.

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use datafusion::error::{DataFusionError, Result};
use datafusion::physical_expr::PhysicalExpr;

use crate::query::scan::batch_of;

/// What is done with each batch, from the scan up.
pub(super) enum Step {
    Filter(Arc<dyn PhysicalExpr>),
    Project(Vec<Arc<dyn PhysicalExpr>>, SchemaRef),
    /// Passes over so many rows more, and ends after so many more.
    Limit {
        skip: usize,
        left: Option<usize>,
    },
}

impl Step {
    pub(super) fn apply(&mut self, batch: RecordBatch) -> Result<RecordBatch> {
        match self {
            Self::Filter(predicate) => {
                let kept = predicate.evaluate(&batch)?.into_array(batch.num_rows())?;
                let kept = kept.as_boolean_opt().ok_or_else(|| {
                    DataFusionError::Internal("a predicate is not boolean".to_owned())
                })?;
                Ok(filter_record_batch(&batch, kept)?)
            }
            Self::Project(exprs, schema) => {
                let rows = batch.num_rows();
                let columns = exprs
                    .iter()
                    .map(|expr| expr.evaluate(&batch)?.into_array(rows))
                    .collect::<Result<Vec<_>>>()?;
                batch_of(schema, columns, rows)
            }
            Self::Limit { skip, left } => {
                let passed = batch.num_rows().min(*skip);
                *skip -= passed;
                let rows = batch.num_rows() - passed;
                let rows = left.map_or(rows, |left| left.min(rows));
                if let Some(left) = left {
                    *left -= rows;
                }
                Ok(batch.slice(passed, rows))
            }
        }
    }
}
