//! The points of many streams in one order of time.
//!
//! ```text
//! few rows wanted    streams in turns: each gives its first k, the best k of all stay, and later streams need not read beyond
//!                    them
//! many or all rows   time in turns: slices that hold about as many points as fit, found by counting, sorted one by one
//! ```
//!
//! Either way the memory held does not grow with the streams or with the points.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::interleave_record_batch;
use arrow::datatypes::{SchemaRef, TimestampNanosecondType};
use datafusion::common::stats::Precision;
use datafusion::error::{DataFusionError, Result};
use datafusion::physical_expr::PhysicalSortExpr;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};

use super::errors::to_datafusion;
use super::pins::Calls;
use super::points::{Opened, PointColumn, PointRead};
use super::scan::{Ask, Read};
use crate::model::{Cuts, Direction, PointQuery, StatQuery, StreamRead, TimeRange};

/// Rows that are sorted at once, as far as times can be told apart: 16 MiB of points.
const SLICE_ROWS: u64 = 256 * 1024;

/// Slices that a range is divided into at once.
const SLICES_MAX: i128 = 64;

/// Rows beyond which a limit is no longer few.
const FEW_ROWS: usize = 16 * 1024;

/// Rows gathered before all but the best are let go.
const GATHERED_ROWS: usize = 512 * 1024;

/// Points of many streams, in order of time within every partition.
#[derive(Clone, Debug)]
pub(super) struct OrderedRead(pub(super) PointRead);

impl fmt::Display for OrderedRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, merged by time", self.0)
    }
}

impl Read for OrderedRead {
    fn schema(&self) -> &SchemaRef {
        self.0.schema()
    }

    fn partitions(&self) -> usize {
        self.0.partitions()
    }

    fn orderings(&self) -> Vec<Vec<PhysicalSortExpr>> {
        self.0.by_time()
    }

    fn reordered(&self, direction: Direction) -> Option<Arc<dyn Read>> {
        self.0.reordered(direction)
    }

    fn pushdown(&self) -> bool {
        self.0.pushdown()
    }

    fn narrows(&self) -> bool {
        true
    }

    fn rows(&self) -> Precision<usize> {
        self.0.rows()
    }

    fn open(&self, partition: usize, ask: &Ask) -> BoxStream<'static, Result<RecordBatch>> {
        let (read, ask) = (self.0.clone(), ask.clone());
        let opened = async move {
            let opened = Opened::new(&read, partition, &ask).await?;
            if opened.is_empty() {
                return Ok(stream::empty().boxed());
            }
            // A limit that is passed on has no predicates behind it.
            let few = ask.limit.filter(|limit| *limit <= FEW_ROWS);
            Ok::<_, DataFusionError>(match few {
                Some(limit) => stream::once(best(read, opened, ask, limit)).boxed(),
                None => slices(read, opened, ask).await?,
            })
        };
        stream::once(opened).try_flatten().boxed()
    }
}

/// Rows of some batches with their times.
struct Gathered {
    schema: SchemaRef,
    direction: Direction,
    time: usize,
    batches: Vec<RecordBatch>,
    /// Time, batch, row.
    rows: Vec<(i64, u32, u32)>,
}

impl Gathered {
    fn new(read: &PointRead) -> Result<Self> {
        let columns = read.columns.iter();
        let time = columns
            .copied()
            .position(|column| column == PointColumn::Time);
        Ok(Self {
            schema: Arc::clone(&read.schema),
            direction: read.direction,
            time: time.ok_or_else(|| {
                DataFusionError::Internal("an order of time without the time".to_owned())
            })?,
            batches: Vec::new(),
            rows: Vec::new(),
        })
    }

    fn add(&mut self, batch: RecordBatch) {
        let times = batch
            .column(self.time)
            .as_primitive::<TimestampNanosecondType>();
        let place = self.batches.len() as u32;
        let rows = times.values().iter().zip(0..);
        self.rows
            .extend(rows.map(|(&time, row)| (time, place, row)));
        self.batches.push(batch);
    }

    /// Rows of one time stay in the order they came.
    fn sort(&mut self) {
        let direction = self.direction;
        self.rows.sort_unstable_by(|a, b| {
            let by_time = match direction {
                Direction::Forward => a.0.cmp(&b.0),
                Direction::Backward => b.0.cmp(&a.0),
            };
            by_time.then((a.1, a.2).cmp(&(b.1, b.2)))
        });
    }

    /// Rows of the order, once it is [sorted](Self::sort).
    fn take(&self, rows: std::ops::Range<usize>) -> Result<RecordBatch> {
        if rows.is_empty() {
            return Ok(RecordBatch::new_empty(Arc::clone(&self.schema)));
        }
        let places: Vec<(usize, usize)> = self.rows[rows]
            .iter()
            .map(|&(_, batch, row)| (batch as usize, row as usize))
            .collect();
        let batches: Vec<&RecordBatch> = self.batches.iter().collect();
        Ok(interleave_record_batch(&batches, &places)?)
    }

    /// Keeps the first `limit` rows, and answers the time of the last if there are so many.
    fn prune(&mut self, limit: usize) -> Result<Option<i64>> {
        self.sort();
        self.rows.truncate(limit);
        let kept = self.take(0..self.rows.len())?;
        let last = self.rows.last().map(|row| row.0);
        let full = self.rows.len() == limit;
        self.batches.clear();
        self.rows.clear();
        if kept.num_rows() > 0 {
            self.add(kept);
        }
        Ok(last.filter(|_| full))
    }
}

/// The first `limit` rows of all streams.
async fn best(read: PointRead, opened: Opened, ask: Ask, limit: usize) -> Result<RecordBatch> {
    let mut gathered = Gathered::new(&read)?;
    let turn = (GATHERED_ROWS / limit.max(1)).clamp(1, opened.group.reads.len());
    let mut ranges = opened.ranges.clone();
    let mut first = 0;
    for streams in opened.group.reads.chunks(turn) {
        ask.calls.add(1);
        let mut batches = read.frame.backend.points(PointQuery {
            streams: streams.to_vec(),
            ranges: ranges.clone(),
            limit: Some(limit as u64),
            ..opened.query(&read, &ask)
        });
        while let Some(mut batch) = batches.try_next().await.map_err(to_datafusion)? {
            batch.stream += first;
            if !batch.is_empty() {
                gathered.add(opened.rows(&batch)?);
            }
        }
        first += streams.len();
        if let Some(last) = gathered.prune(limit)? {
            ranges.retain_mut(|range| {
                *range = match read.direction {
                    Direction::Forward => {
                        range.intersect(TimeRange::new(range.start, last.saturating_add(1)))
                    }
                    Direction::Backward => range.intersect(TimeRange::new(last, range.end)),
                };
                !range.is_empty()
            });
        }
    }
    gathered.sort();
    gathered.take(0..gathered.rows.len())
}

/// All rows, slice by slice.
async fn slices(
    read: PointRead,
    mut opened: Opened,
    ask: Ask,
) -> Result<BoxStream<'static, Result<RecordBatch>>> {
    let reads = read.frame.settle(opened.group.reads, Calls::Several).await;
    opened.group.reads = reads.map_err(to_datafusion)?;
    let mut left: Vec<TimeRange> = opened.ranges.clone();
    if read.direction == Direction::Forward {
        left.reverse();
    }
    let state = Slices {
        read,
        opened,
        ask,
        left,
        sorted: None,
    };
    let slices = stream::try_unfold(state, |mut state| async move {
        Ok(state.next().await?.map(|batch| (batch, state)))
    });
    Ok(slices.boxed())
}

struct Slices {
    read: PointRead,
    opened: Opened,
    ask: Ask,
    /// The next one last.
    left: Vec<TimeRange>,
    /// A slice in order, and how many of its rows were handed out.
    sorted: Option<(Gathered, usize)>,
}

impl Slices {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some((gathered, given)) = &mut self.sorted {
                let end = gathered.rows.len().min(*given + self.read.frame.batch_rows);
                if *given < end {
                    let batch = gathered.take(*given..end)?;
                    *given = end;
                    return Ok(Some(batch));
                }
                self.sorted = None;
            }
            let Some(range) = self.left.pop() else {
                return Ok(None);
            };
            self.opened.narrowing.refresh();
            let count = self.count(range).await?;
            match count.cmp(&SLICE_ROWS) {
                Ordering::Greater if range.end - range.start > 1 => self.divide(range, count),
                _ if count == 0 => {}
                _ => self.sorted = Some((self.gather(range).await?, 0)),
            }
        }
    }

    fn reads(&self) -> Vec<StreamRead> {
        self.opened.group.reads.clone()
    }

    async fn count(&self, range: TimeRange) -> Result<u64> {
        self.ask.calls.add(1);
        let counted = self.read.frame.backend.stats(StatQuery {
            snapshot: self.read.frame.snapshot(),
            probe: self.ask.probe.clone(),
            ..StatQuery::new(self.reads(), range, Cuts::whole(range))
        });
        counted
            .map_err(to_datafusion)
            .try_fold(0, |sum, batch| async move {
                Ok(sum + batch.stats.iter().map(|stat| stat.count).sum::<u64>())
            })
            .await
    }

    /// Puts equal parts of `range` where it was.
    fn divide(&mut self, range: TimeRange, count: u64) {
        let (start, len) = (
            i128::from(range.start),
            i128::from(range.end) - i128::from(range.start),
        );
        let parts = i128::from(count.div_ceil(SLICE_ROWS))
            .clamp(2, SLICES_MAX)
            .min(len);
        let at = |part: i128| (start + len * part / parts) as i64;
        let parts = (0..parts).map(|part| TimeRange::new(at(part), at(part + 1)));
        match self.read.direction {
            Direction::Forward => self.left.extend(parts.rev()),
            Direction::Backward => self.left.extend(parts),
        }
    }

    async fn gather(&self, range: TimeRange) -> Result<Gathered> {
        let mut gathered = Gathered::new(&self.read)?;
        self.ask.calls.add(1);
        let mut batches = self.read.frame.backend.points(PointQuery {
            ranges: vec![range],
            ..self.opened.query(&self.read, &self.ask)
        });
        while let Some(batch) = batches.try_next().await.map_err(to_datafusion)? {
            if !batch.is_empty() {
                gathered.add(self.opened.rows(&batch)?);
            }
        }
        gathered.sort();
        Ok(gathered)
    }
}
