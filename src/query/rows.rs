//! The rows of one partition of a scan, up to its limit, and the count of what they cost.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use arrow::array::RecordBatch;
use arrow::compute::filter_record_batch;
use datafusion::common::cast::as_boolean_array;
use datafusion::error::Result;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::metrics::{BaselineMetrics, Count, RecordOutput, Time};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};

use crate::model::{Probe, Taken};

/// The rows of a partition up to the limit, counted. Dropping it drops the backend's stream, which stops the reading.
pub(super) struct Rows {
    pub(super) rows: BoxStream<'static, Result<RecordBatch>>,
    pub(super) left: usize,
    pub(super) filters: Vec<Arc<dyn PhysicalExpr>>,
    pub(super) taken: Taking,
    pub(super) waited: Time,
    pub(super) started: Option<Instant>,
    pub(super) metrics: BaselineMetrics,
}

impl Rows {
    /// The rows of `batch` that pass and are still wanted.
    fn keep(&mut self, mut batch: RecordBatch) -> Result<RecordBatch> {
        for filter in &self.filters {
            let passes = filter.evaluate(&batch)?.into_array(batch.num_rows())?;
            batch = filter_record_batch(&batch, as_boolean_array(&passes)?)?;
        }
        let rows = batch.num_rows().min(self.left);
        self.left -= rows;
        Ok(if rows < batch.num_rows() {
            batch.slice(0, rows)
        } else {
            batch
        })
    }

    fn end(&mut self) {
        if let Some(started) = self.started.take() {
            self.waited.add_elapsed(started);
        }
        // Nothing more is read, even if whoever asked holds on.
        self.rows = futures::stream::empty().boxed();
    }
}

impl Stream for Rows {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        this.started.get_or_insert_with(Instant::now);
        loop {
            if this.left == 0 {
                this.end();
                return Poll::Ready(None);
            }
            let busy = this.metrics.elapsed_compute().timer();
            let next = this.rows.as_mut().poll_next(context);
            busy.done();
            this.taken.note();
            let batch = match ready!(next) {
                Some(Ok(batch)) => this.keep(batch),
                Some(Err(error)) => Err(error),
                None => {
                    this.end();
                    return Poll::Ready(None);
                }
            };
            match batch {
                Ok(batch) if batch.num_rows() == 0 => {}
                Ok(batch) => {
                    (&batch).record_output(&this.metrics);
                    return Poll::Ready(Some(Ok(batch)));
                }
                error => return Poll::Ready(Some(error)),
            }
        }
    }
}

/// From what a probe counts to the metrics of `EXPLAIN ANALYZE`.
pub(super) struct Taking {
    pub(super) probe: Probe,
    pub(super) noted: Taken,
    pub(super) nodes: Count,
    pub(super) points: Count,
    pub(super) cache_hits: Count,
    pub(super) fetches: Count,
    pub(super) fetched_bytes: Count,
}

impl Taking {
    fn note(&mut self) {
        let now = self.probe.taken();
        let counts = [
            (&self.nodes, now.nodes - self.noted.nodes),
            (&self.points, now.points - self.noted.points),
            (&self.cache_hits, now.cache_hits - self.noted.cache_hits),
            (&self.fetches, now.fetches - self.noted.fetches),
            (
                &self.fetched_bytes,
                now.fetched_bytes - self.noted.fetched_bytes,
            ),
        ];
        for (count, more) in counts {
            count.add(usize::try_from(more).unwrap_or(usize::MAX));
        }
        self.noted = now;
    }
}
