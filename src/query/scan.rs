//! The plan node: declares, and does no work.
//!
//! Every scan of BTrDB is one [`ScanExec`] around a [`Read`], which says what is asked of the backend. The node knows about
//! limits, order and metrics; the read knows about streams, ranges and columns.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::SortOptions;
use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{
    EquivalenceProperties, LexOrdering, Partitioning, PhysicalExpr, PhysicalSortExpr,
};
use datafusion::physical_plan::coop::make_cooperative;
use datafusion::physical_plan::execution_plan::{
    Boundedness, EmissionType, ReplaceChildrenOptions, SchedulingType,
};
use datafusion::physical_plan::metrics::{
    BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet, RecordOutput,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, SendableRecordBatchStream,
    SortOrderPushdownResult,
};
use futures::Stream;
use futures::stream::BoxStream;

use crate::model::{Direction, StreamDescriptor, StreamRead, TimeRange};

/// What a scan asks of the backend, and the columns it makes of the answer.
pub(super) trait Read: fmt::Debug + fmt::Display + Send + Sync + 'static {
    /// The columns, after projection.
    fn schema(&self) -> &SchemaRef;

    /// How many independent parts.
    fn partitions(&self) -> usize {
        1
    }

    /// Orders that hold within every partition.
    fn orderings(&self) -> Vec<Vec<PhysicalSortExpr>> {
        Vec::new()
    }

    /// The same rows in another order along time, if that is all it takes.
    fn reordered(&self, _direction: Direction) -> Option<Arc<dyn Read>> {
        None
    }

    /// Whether limits and orders may go down.
    fn pushdown(&self) -> bool;

    /// The rows of one partition; with a limit, reading on beyond it is wasted. Returns at once.
    fn open(&self, partition: usize, limit: Option<u64>)
    -> BoxStream<'static, Result<RecordBatch>>;
}

/// A read as a node of a physical plan.
#[derive(Debug)]
pub(super) struct ScanExec {
    read: Arc<dyn Read>,
    limit: Option<usize>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl ScanExec {
    pub(super) fn new(read: Arc<dyn Read>, limit: Option<usize>) -> Self {
        let orderings = read.orderings().into_iter().filter_map(LexOrdering::new);
        let equivalences =
            EquivalenceProperties::new_with_orderings(Arc::clone(read.schema()), orderings);
        let properties = PlanProperties::new(
            equivalences,
            // Never `Hash`: DataFusion takes every hash partitioning for its own hash function.
            Partitioning::UnknownPartitioning(read.partitions()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        )
        .with_scheduling_type(SchedulingType::Cooperative);
        let limit = limit.filter(|_| read.pushdown());
        Self {
            read,
            limit,
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        }
    }

    /// The direction along time that `order` asks for, if it asks for nothing else.
    ///
    /// Times repeat, so a second key would have something to say.
    fn direction_of(&self, order: &[PhysicalSortExpr]) -> Option<Direction> {
        let [key] = order else {
            return None;
        };
        let column = key.expr.downcast_ref::<Column>()?;
        (self.read.schema().field(column.index()).name() == "time").then_some(
            if key.options.descending {
                Direction::Backward
            } else {
                Direction::Forward
            },
        )
    }
}

impl DisplayAs for ScanExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if matches!(format, DisplayFormatType::TreeRender) {
            return writeln!(f, "{}", self.read);
        }
        write!(f, "{}: {}", self.name(), self.read)?;
        if let Some(limit) = self.limit {
            write!(f, ", limit={limit}")?;
        }
        let names: Vec<_> = self
            .read
            .schema()
            .fields()
            .iter()
            .map(|f| f.name().as_str())
            .collect();
        write!(f, ", columns=[{}]", names.join(", "))
    }
}

impl ExecutionPlan for ScanExec {
    fn name(&self) -> &str {
        "BtrdbScanExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        _children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(
        self: Arc<Self>,
        _children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(
        &self,
        partition: usize,
        _context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let rows = Rows {
            rows: self
                .read
                .open(partition, self.limit.map(|limit| limit as u64)),
            left: self.limit.unwrap_or(usize::MAX),
            metrics: BaselineMetrics::new(&self.metrics, partition),
        };
        let adapted = RecordBatchStreamAdapter::new(Arc::clone(self.read.schema()), rows);
        Ok(make_cooperative(Box::pin(adapted)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn supports_limit_pushdown(&self) -> bool {
        false
    }

    fn fetch(&self) -> Option<usize> {
        self.limit
    }

    fn with_fetch(&self, limit: Option<usize>) -> Option<Arc<dyn ExecutionPlan>> {
        self.read
            .pushdown()
            .then(|| Arc::new(Self::new(Arc::clone(&self.read), limit)) as _)
    }

    fn try_pushdown_sort(
        &self,
        order: &[PhysicalSortExpr],
    ) -> Result<SortOrderPushdownResult<Arc<dyn ExecutionPlan>>> {
        // A limit already here chose its rows in the present order.
        if self.limit.is_some() || !self.read.pushdown() {
            return Ok(SortOrderPushdownResult::Unsupported);
        }
        let reordered = self
            .direction_of(order)
            .and_then(|direction| self.read.reordered(direction));
        Ok(match reordered {
            Some(read) => SortOrderPushdownResult::Exact {
                inner: Arc::new(Self::new(read, None)),
            },
            None => SortOrderPushdownResult::Unsupported,
        })
    }
}

/// The rows of a partition up to the limit, counted. Dropping it drops the backend's stream, which stops the reading.
struct Rows {
    rows: BoxStream<'static, Result<RecordBatch>>,
    left: usize,
    metrics: BaselineMetrics,
}

impl Stream for Rows {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let next = self.rows.as_mut().poll_next(context).map_ok(|batch| {
            let rows = batch.num_rows().min(self.left);
            self.left -= rows;
            if rows < batch.num_rows() {
                batch.slice(0, rows)
            } else {
                batch
            }
        });
        if let Poll::Ready(Some(Ok(batch))) = &next {
            batch.record_output(&self.metrics);
        }
        next
    }
}

/// A batch of columns, of which there may be none.
pub(super) fn batch_of(
    schema: &SchemaRef,
    columns: Vec<ArrayRef>,
    rows: usize,
) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
        .map_err(DataFusionError::from)
}

/// `column` of `schema` as the key of an order, if it was projected.
pub(super) fn sort_key(
    schema: &SchemaRef,
    column: &str,
    direction: Direction,
) -> Option<PhysicalSortExpr> {
    let index = schema.index_of(column).ok()?;
    Some(PhysicalSortExpr::new(
        Arc::new(Column::new(column, index)),
        SortOptions {
            descending: direction == Direction::Backward,
            nulls_first: direction == Direction::Backward,
        },
    ))
}

/// Streams for people: the first few by path and version, and how many there are.
pub(super) struct ShownStreams<'a> {
    pub(super) descriptors: &'a [Arc<StreamDescriptor>],
    pub(super) reads: &'a [StreamRead],
}

impl fmt::Display for ShownStreams<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN_MAX: usize = 3;
        write!(f, "streams={} [", self.reads.len())?;
        for (position, (descriptor, read)) in self
            .descriptors
            .iter()
            .zip(self.reads)
            .take(SHOWN_MAX)
            .enumerate()
        {
            if position > 0 {
                f.write_str(", ")?;
            }
            f.write_str(&descriptor.path())?;
            if let Some(version) = read.version {
                write!(f, "@{version}")?;
            }
        }
        if self.reads.len() > SHOWN_MAX {
            f.write_str(", ...")?;
        }
        f.write_str("]")
    }
}

/// Ranges for people: one as it is, several as the first and how many.
pub(super) struct ShownRanges<'a>(pub(super) &'a [TimeRange]);

impl fmt::Display for ShownRanges<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => f.write_str("range=nothing"),
            [range] => write!(f, "range={range}"),
            [first, rest @ ..] => write!(f, "ranges={first} and {} more", rest.len()),
        }
    }
}
