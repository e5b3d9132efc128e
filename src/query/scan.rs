//! The plan node: declares, and does no work.
//!
//! Every scan of BTrDB is one [`ScanExec`] around a [`Read`], which says what is asked of the backend. The node knows about
//! limits, order and metrics; the read knows about streams, ranges and columns.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::SortOptions;
use arrow::datatypes::SchemaRef;
use datafusion::common::Statistics;
use datafusion::common::config::ConfigOptions;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{
    ConstExpr, EquivalenceProperties, LexOrdering, Partitioning, PhysicalExpr, PhysicalSortExpr,
    split_conjunction,
};
use datafusion::physical_plan::coop::make_cooperative;
use datafusion::physical_plan::execution_plan::{
    Boundedness, EmissionType, ReplaceChildrenOptions, SchedulingType, apply_expression_roots,
};
use datafusion::physical_plan::filter_pushdown::{
    ChildPushdownResult, FilterPushdownPhase, FilterPushdownPropagation, PushedDown,
};
use datafusion::physical_plan::metrics::{
    BaselineMetrics, Count, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet,
};
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, SendableRecordBatchStream,
    SortOrderPushdownResult,
};
use futures::stream::BoxStream;

use super::catalogue::StreamColumn;
use super::narrow::{constant_column, narrows};
use super::rows::{Rows, Taking};
use crate::model::{Direction, Probe, StreamDescriptor, StreamRead, Taken, TimeRange};

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

    /// The same rows in order of time, one way or the other.
    fn reordered(&self, _direction: Direction) -> Option<Arc<dyn Read>> {
        None
    }

    /// Whether limits and orders may go down.
    fn pushdown(&self) -> bool;

    /// Whether predicates of a running plan can spare it work.
    fn narrows(&self) -> bool {
        false
    }

    /// How many rows there are, or about how many.
    fn rows(&self) -> Precision<usize> {
        Precision::Absent
    }

    /// The rows of one partition. Returns at once.
    fn open(&self, partition: usize, ask: &Ask) -> BoxStream<'static, Result<RecordBatch>>;
}

/// What a running plan wants of a read.
#[derive(Clone, Debug, Default)]
pub(super) struct Ask {
    /// Reading on beyond so many rows is wasted.
    pub(super) limit: Option<usize>,
    /// Rows that fail these are of no use. They need not be left out.
    pub(super) filters: Vec<Arc<dyn PhysicalExpr>>,
    /// Counts what the read takes.
    pub(super) probe: Probe,
    /// Counts calls of the backend.
    pub(super) calls: Count,
}

/// A read as a node of a physical plan.
#[derive(Clone, Debug)]
pub(super) struct ScanExec {
    read: Arc<dyn Read>,
    limit: Option<usize>,
    /// Predicates that rows must pass here.
    filters: Vec<Arc<dyn PhysicalExpr>>,
    /// Predicates of operators above, which move while the plan runs, and are only hints.
    hints: Vec<Arc<dyn PhysicalExpr>>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl ScanExec {
    /// The node of `read`, in a plan.
    pub(super) fn planned(read: impl Read, limit: Option<usize>) -> Arc<dyn ExecutionPlan> {
        Arc::new(Self::new(Arc::new(read), limit))
    }

    fn new(read: Arc<dyn Read>, limit: Option<usize>) -> Self {
        let limit = limit.filter(|_| read.pushdown());
        Self {
            properties: properties(read.as_ref(), &[]),
            read,
            limit,
            filters: Vec::new(),
            hints: Vec::new(),
            metrics: ExecutionPlanMetricsSet::new(),
        }
    }

    /// The direction along time that `order` asks for, if it asks for nothing else but that streams ascend within one time.
    ///
    /// Times repeat, so any other second key would have something to say.
    fn direction_of(&self, order: &[PhysicalSortExpr]) -> Option<Direction> {
        let (key, tie) = match order {
            [key] => (key, None),
            [key, tie] => (key, Some(tie)),
            _ => return None,
        };
        let place = |key: &PhysicalSortExpr| key.expr.downcast_ref::<Column>().map(Column::index);
        // Points of one time stand in the order of their streams.
        if let Some(tie) = tie
            && (tie.options.descending
                || self.read.schema().field(place(tie)?).name() != StreamColumn::Uuid.as_str())
        {
            return None;
        }
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

/// What a scan declares of its rows.
fn properties(read: &dyn Read, filters: &[Arc<dyn PhysicalExpr>]) -> Arc<PlanProperties> {
    let orderings = read.orderings().into_iter().filter_map(LexOrdering::new);
    let mut equivalences =
        EquivalenceProperties::new_with_orderings(Arc::clone(read.schema()), orderings);
    // As DataFusion's own filter would say: a column that equals a constant needs no sort.
    let constants = filters.iter().flat_map(|filter| split_conjunction(filter));
    let constants = constants.filter_map(constant_column).map(ConstExpr::from);
    if equivalences.add_constants(constants).is_err() {
        equivalences = EquivalenceProperties::new(Arc::clone(read.schema()));
    }
    let properties = PlanProperties::new(
        equivalences,
        // Never `Hash`: DataFusion takes every hash partitioning for its own hash function.
        Partitioning::UnknownPartitioning(read.partitions()),
        EmissionType::Incremental,
        Boundedness::Bounded,
    );
    Arc::new(properties.with_scheduling_type(SchedulingType::Cooperative))
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
        for (name, filters) in [
            ("filters", &self.filters),
            ("run-time filters", &self.hints),
        ] {
            if !filters.is_empty() {
                let filters: Vec<_> = filters.iter().map(ToString::to_string).collect();
                write!(f, ", {name}=[{}]", filters.join(", "))?;
            }
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
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        apply_expression_roots(self.filters.iter().chain(&self.hints), f)
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
        let counter =
            |name: &'static str| MetricBuilder::new(&self.metrics).counter(name, partition);
        let ask = Ask {
            // With predicates to pass, nobody knows how many rows it takes.
            limit: self.limit.filter(|_| self.filters.is_empty()),
            filters: self.filters.iter().chain(&self.hints).cloned().collect(),
            probe: Probe::counting(),
            calls: counter("backend_calls"),
        };
        let rows = Rows {
            rows: self.read.open(partition, &ask),
            left: self.limit.unwrap_or(usize::MAX),
            filters: self.filters.clone(),
            taken: Taking {
                probe: ask.probe,
                noted: Taken::default(),
                nodes: counter("nodes_read"),
                points: counter("points_read"),
                cache_hits: counter("cache_hits"),
                fetches: counter("fetches"),
                fetched_bytes: counter("bytes_fetched"),
            },
            waited: MetricBuilder::new(&self.metrics).subset_time("time_reading", partition),
            started: None,
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
        self.read.pushdown().then(|| {
            Arc::new(Self {
                limit,
                ..self.clone()
            }) as _
        })
    }

    fn statistics_from_inputs(
        &self,
        _inputs: &[Arc<Statistics>],
        args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        let mut statistics = Statistics::new_unknown(self.read.schema());
        statistics.num_rows = self.read.rows();
        if !self.filters.is_empty() {
            statistics.num_rows = statistics.num_rows.to_inexact();
        }
        if let Some(limit) = self.limit {
            let most = Precision::Exact(limit).to_inexact();
            statistics.num_rows = match statistics.num_rows {
                Precision::Absent => most,
                Precision::Exact(rows) => Precision::Exact(rows.min(limit)),
                Precision::Inexact(rows) => Precision::Inexact(rows.min(limit)),
            };
        }
        if args.partition().is_some() {
            let partitions = self.read.partitions();
            let share = |rows: usize| rows.div_ceil(partitions);
            statistics.num_rows = match statistics.num_rows {
                Precision::Exact(rows) if partitions == 1 => Precision::Exact(rows),
                Precision::Exact(rows) | Precision::Inexact(rows) => {
                    Precision::Inexact(share(rows))
                }
                Precision::Absent => Precision::Absent,
            };
        }
        Ok(Arc::new(statistics))
    }

    fn handle_child_pushdown_result(
        &self,
        phase: FilterPushdownPhase,
        result: ChildPushdownResult,
        _config: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn ExecutionPlan>>> {
        // A limit already here chose its rows before any predicate of those above.
        if !self.read.pushdown() || !self.read.narrows() || self.limit.is_some() {
            return Ok(FilterPushdownPropagation::all_unsupported(result));
        }
        let mut scan = self.clone();
        let taken = match phase {
            FilterPushdownPhase::Pre => &mut scan.filters,
            FilterPushdownPhase::Post => &mut scan.hints,
        };
        let mut answers = Vec::with_capacity(result.parent_filters.len());
        for parent in result.parent_filters {
            let wanted = phase == FilterPushdownPhase::Post || narrows(&parent.filter);
            if wanted {
                taken.push(parent.filter);
            }
            answers.push(if wanted {
                PushedDown::Yes
            } else {
                PushedDown::No
            });
        }
        scan.properties = properties(scan.read.as_ref(), &scan.filters);
        let any = answers
            .iter()
            .any(|answer| matches!(answer, PushedDown::Yes));
        let answer = FilterPushdownPropagation::with_parent_pushdown_result(answers);
        Ok(if any {
            answer.with_updated_node(Arc::new(scan) as _)
        } else {
            answer
        })
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
                inner: Arc::new(Self {
                    properties: properties(read.as_ref(), &self.filters),
                    filters: self.filters.clone(),
                    hints: self.hints.clone(),
                    ..Self::new(read, None)
                }),
            },
            None => SortOrderPushdownResult::Unsupported,
        })
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
