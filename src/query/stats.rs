//! Statistics of windows: what `windows`, `aligned_windows` and pushed-down aggregates read.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::stats::Precision;
use datafusion::error::{DataFusionError, Result};
use datafusion::physical_expr::PhysicalSortExpr;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use tokio::task::JoinSet;

use super::errors::to_datafusion;
use super::extremes::{self, Extremes};
use super::pins::Calls;
use super::points::{Group, ShownSnapshot};
use super::scan::{Ask, Read, ShownRanges, ShownStreams, batch_of, sort_key};
use super::session::Frame;
use super::stat_column::{Row, StatColumn};
use crate::error::{Error, ErrorKind};
use crate::model::{
    Cuts, Direction, StatQuery, StreamDescriptor, StreamRead, TimeRange, Timestamp,
};

/// How the windows of several streams become rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Grouping {
    /// Each window of each stream is a row.
    PerStream,
    /// Windows with the same start, of streams with the same number here, are one row.
    Merged(Arc<[usize]>),
    /// One row of everything, even of nothing.
    Whole,
}

/// Statistics of some streams between cut points.
#[derive(Clone, Debug)]
pub(super) struct StatRead {
    pub(super) frame: Arc<Frame>,
    /// One entry a partition.
    pub(super) groups: Arc<[Group]>,
    /// Of all partitions together.
    pub(super) streams: Arc<Group>,
    pub(super) ranges: Vec<TimeRange>,
    pub(super) cuts: Cuts,
    pub(super) grouping: Grouping,
    /// What streams are grouped by, one row a stream.
    pub(super) keys: Arc<[ArrayRef]>,
    pub(super) columns: Vec<StatColumn>,
    pub(super) schema: SchemaRef,
}

impl StatRead {
    /// The statistics of these streams over all of time, a row a stream, before anything is said of columns.
    pub(super) fn of(frame: Arc<Frame>, streams: &[(Arc<StreamDescriptor>, StreamRead)]) -> Self {
        Self {
            groups: Group::divide(streams, frame.partitions).into(),
            frame,
            streams: Arc::new(Group::of(streams)),
            ranges: vec![TimeRange::ALL],
            cuts: Cuts::whole(TimeRange::ALL),
            grouping: Grouping::PerStream,
            keys: Arc::new([]),
            columns: Vec::new(),
            schema: Arc::new(Schema::empty()),
        }
    }

    fn takes_extremes(&self) -> bool {
        self.columns.iter().any(|column| column.is_extreme())
    }

    /// Whether statistics are needed: for their columns, or to know which windows have points.
    fn takes_stats(&self) -> bool {
        self.columns.iter().any(|column| column.is_stat()) || !self.takes_extremes()
    }
}

impl fmt::Display for StatRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let windows = match &self.cuts {
            Cuts::Every { .. } => true,
            Cuts::At(cuts) => cuts.len() > 2,
        };
        let operation = match &self.cuts {
            Cuts::Every { origin, width }
                if width.is_power_of_two() && i128::from(*origin) % i128::from(*width) == 0 =>
            {
                "AlignedWindows"
            }
            _ if windows => "Windows",
            _ if self.takes_stats() && self.takes_extremes() => "Statistics and Nearest",
            _ if self.takes_extremes() => "Nearest",
            _ => "Statistics",
        };
        let streams = ShownStreams {
            descriptors: &self.streams.descriptors,
            reads: &self.streams.reads,
        };
        let ranges = ShownRanges(&self.ranges);
        let snapshot = ShownSnapshot::of(&self.frame, &self.streams.reads, self.calls());
        write!(f, "{operation}, {streams}, {ranges}, {snapshot}")?;
        if windows {
            write!(f, ", {}", self.cuts)?;
        }
        Ok(())
    }
}

/// What is guessed of a window's share where nothing is known.
const WINDOWS_GUESS: usize = 1_000;

impl Read for StatRead {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn partitions(&self) -> usize {
        match self.grouping {
            Grouping::PerStream => self.groups.len().max(1),
            Grouping::Merged(_) | Grouping::Whole => 1,
        }
    }

    fn orderings(&self) -> Vec<Vec<PhysicalSortExpr>> {
        let in_order = match &self.grouping {
            Grouping::PerStream => self.groups.iter().all(|group| group.reads.len() <= 1),
            Grouping::Merged(numbers) => numbers.iter().all(|number| *number == 0),
            Grouping::Whole => true,
        };
        if !in_order {
            return Vec::new();
        }
        let start = self
            .columns
            .iter()
            .position(|column| *column == StatColumn::Start);
        start
            .and_then(|index| {
                let name = self.schema.field(index).name();
                sort_key(&self.schema, name, Direction::Forward)
            })
            .map(|key| vec![key])
            .into_iter()
            .collect()
    }

    fn pushdown(&self) -> bool {
        self.frame.pushdown
    }

    fn rows(&self) -> Precision<usize> {
        if self.grouping == Grouping::Whole {
            return Precision::Exact(1);
        }
        let windows = match &self.cuts {
            Cuts::Every { width, .. } => {
                let time: i128 = self
                    .ranges
                    .iter()
                    .map(|range| i128::from(range.end) - i128::from(range.start))
                    .sum();
                // Few ask for more windows than they can look at.
                usize::try_from(time / i128::from(*width) + 1)
                    .map_or(WINDOWS_GUESS, |windows| windows.min(WINDOWS_GUESS))
            }
            Cuts::At(cuts) => cuts.len() - 1,
        };
        Precision::Inexact(self.streams.reads.len().saturating_mul(windows))
    }

    fn open(&self, partition: usize, ask: &Ask) -> BoxStream<'static, Result<RecordBatch>> {
        let (read, ask) = (self.clone(), ask.clone());
        match &self.grouping {
            Grouping::PerStream => {
                let first = self.groups[..partition.min(self.groups.len())]
                    .iter()
                    .map(|group| group.reads.len())
                    .sum();
                let group = self.groups.get(partition).cloned().unwrap_or_default();
                per_stream(read, group.reads, first, ask)
            }
            Grouping::Merged(numbers) => {
                let numbers = Arc::clone(numbers);
                stream::once(async move { read.merged(&numbers, ask).await })
                    .map_ok(|batches| stream::iter(batches).map(Ok))
                    .try_flatten()
                    .boxed()
            }
            Grouping::Whole => stream::once(async move { read.whole(ask).await }).boxed(),
        }
    }
}

/// Windows of some streams, in the order they come in; `first` is the place of the first stream among all.
fn per_stream(
    read: StatRead,
    reads: Vec<StreamRead>,
    first: usize,
    ask: Ask,
) -> BoxStream<'static, Result<RecordBatch>> {
    let windows = if read.takes_extremes() {
        let (read, ask) = (read.clone(), ask);
        let all = async move {
            let rows = whole_rows(&read, reads, &ask).await?;
            let rows = rows.into_iter().enumerate();
            let found = rows.filter(|(_, row)| row.is_found());
            let found = found.map(|(place, row)| Ok((place, vec![row])));
            Ok::<_, DataFusionError>(stream::iter(found.collect::<Vec<_>>()))
        };
        stream::once(all).try_flatten().boxed()
    } else {
        windows(&read, reads, &ask, ask.limit)
    };
    // Many streams with a window each would be as many batches.
    stream::try_unfold((read, windows), move |(read, mut windows)| async move {
        let (mut rows, mut streams) = (Vec::new(), Vec::new());
        while rows.len() < read.frame.batch_rows
            && let Some((place, more)) = windows.try_next().await?
        {
            streams.extend(std::iter::repeat_n((first + place) as u32, more.len()));
            rows.extend(more);
        }
        if rows.is_empty() {
            return Ok(None);
        }
        let batch = read.batch(&rows, &streams)?;
        Ok(Some((batch, (read, windows))))
    })
    .boxed()
}

/// The windows of each stream, with its place among `reads`.
fn windows(
    read: &StatRead,
    reads: Vec<StreamRead>,
    ask: &Ask,
    limit: Option<usize>,
) -> BoxStream<'static, Result<(usize, Vec<Row>)>> {
    if reads.is_empty() || read.ranges.is_empty() {
        return stream::empty().boxed();
    }
    let (frame, ask) = (Arc::clone(&read.frame), ask.clone());
    let query = StatQuery {
        streams: Vec::new(),
        ranges: read.ranges.clone(),
        cuts: read.cuts.clone(),
        limit: limit.map(|limit| limit as u64),
        snapshot: frame.snapshot(),
        probe: ask.probe.clone(),
    };
    let settled = async move {
        let streams = frame.settle(reads, Calls::One).await?;
        ask.calls.add(1);
        Ok::<_, Error>(frame.backend.stats(StatQuery { streams, ..query }))
    };
    stream::once(settled)
        .try_flatten()
        .map(|batch| {
            let batch = batch.map_err(to_datafusion)?;
            let rows = batch.times.into_iter().zip(batch.stats);
            let rows = rows.map(|(start, stat)| Row {
                start,
                stat,
                extremes: Extremes::default(),
            });
            Ok((batch.stream, rows.collect()))
        })
        .boxed()
}

/// One row for each of `reads`, in order, of all that lies in the ranges: there may be nothing.
async fn whole_rows(read: &StatRead, reads: Vec<StreamRead>, ask: &Ask) -> Result<Vec<Row>> {
    let mut rows = vec![Row::default(); reads.len()];
    let reads = read.frame.settle(reads, read.calls()).await;
    let reads = reads.map_err(to_datafusion)?;
    if read.takes_stats() {
        let mut batches = windows(read, reads.clone(), ask, None);
        while let Some((place, windows)) = batches.try_next().await? {
            for window in windows {
                rows[place].stat.merge(&window.stat);
            }
        }
    }
    if read.takes_extremes() {
        let wanted = read.wanted();
        let found = extremes::read(&read.frame, &reads, &read.ranges, wanted, ask).await?;
        for (row, extremes) in rows.iter_mut().zip(found) {
            row.extremes = extremes;
        }
    }
    Ok(rows)
}

/// Windows that are held while streams are merged: about 400 MiB of them.
const MERGED_WINDOWS_MAX: usize = 4 << 20;

/// Streams below which dividing them among tasks costs more than it brings.
const STREAMS_OF_TASK_MIN: usize = 64;

/// Windows of groups of streams, by the number of the group.
type Groups = BTreeMap<usize, BTreeMap<Timestamp, Row>>;

impl StatRead {
    /// Which ends of each stream are to be found.
    fn wanted(&self) -> extremes::Wanted {
        let any = |of: fn(&StatColumn) -> bool| self.columns.iter().any(of);
        extremes::Wanted {
            first: any(|column| matches!(column, StatColumn::FirstTime | StatColumn::FirstValue)),
            last: any(|column| matches!(column, StatColumn::LastTime | StatColumn::LastValue)),
        }
    }

    /// How often each stream is asked about.
    fn calls(&self) -> Calls {
        let extremes::Wanted { first, last } = self.wanted();
        let extremes = (usize::from(first) + usize::from(last)) * self.ranges.len();
        Calls::several(usize::from(self.takes_stats()) + extremes > 1)
    }

    /// Rows with the places of their streams.
    fn batch(&self, rows: &[Row], streams: &[u32]) -> Result<RecordBatch> {
        let streams = UInt32Array::from(streams.to_vec());
        let arrays = self
            .columns
            .iter()
            .map(|column| match column {
                StatColumn::Key(key) => Ok(take(&self.keys[*key], &streams, None)?),
                column => column.column(rows),
            })
            .collect::<Result<Vec<_>>>()?;
        batch_of(&self.schema, arrays, rows.len())
    }

    /// The parts that tasks take: places among the streams.
    fn parts(&self) -> Vec<std::ops::Range<usize>> {
        let streams = self.streams.reads.len();
        let tasks = (streams / STREAMS_OF_TASK_MIN).clamp(1, self.frame.partitions);
        let size = streams.div_ceil(tasks).max(1);
        (0..streams)
            .step_by(size)
            .map(|first| first..(first + size).min(streams))
            .collect()
    }

    /// Adds up all streams by group, on as many tasks as pay.
    async fn groups(&self, numbers: &Arc<[usize]>, ask: &Ask) -> Result<Groups> {
        let mut parts = self.parts();
        if parts.len() <= 1 {
            return match parts.pop() {
                Some(part) => self.part(part, numbers, ask).await,
                None => Ok(Groups::new()),
            };
        }
        let mut tasks = JoinSet::new();
        for (place, part) in parts.into_iter().enumerate() {
            let (read, numbers, ask) = (self.clone(), Arc::clone(numbers), ask.clone());
            tasks.spawn(async move { (place, read.part(part, &numbers, &ask).await) });
        }
        let mut done = BTreeMap::new();
        while let Some(part) = tasks.join_next().await {
            let (place, groups) = part.map_err(|error| DataFusionError::External(error.into()))?;
            done.insert(place, groups?);
        }
        // In the order of the streams, so that the same data always rounds the same way.
        let mut parts = done.into_values();
        let mut all = parts.next().unwrap_or_default();
        for part in parts {
            for (number, windows) in part {
                let group = all.entry(number).or_default();
                for (start, row) in windows {
                    group.entry(start).or_default().merge(start, &row);
                }
            }
        }
        Ok(all)
    }

    async fn part(
        &self,
        part: std::ops::Range<usize>,
        numbers: &[usize],
        ask: &Ask,
    ) -> Result<Groups> {
        let first = part.start;
        let reads = self.streams.reads[part].to_vec();
        let mut groups = Groups::new();
        if self.takes_extremes() {
            let rows = whole_rows(self, reads, ask).await?;
            for (place, row) in rows.into_iter().enumerate() {
                if row.is_found() {
                    let group = groups.entry(numbers[first + place]).or_default();
                    group.entry(0).or_default().merge(0, &row);
                }
            }
            return Ok(groups);
        }
        let mut held = 0;
        let mut batches = windows(self, reads, ask, None);
        while let Some((place, rows)) = batches.try_next().await? {
            let group = groups.entry(numbers[first + place]).or_default();
            let before = group.len();
            for row in &rows {
                group.entry(row.start).or_default().merge(row.start, row);
            }
            held += group.len() - before;
            if held > MERGED_WINDOWS_MAX {
                let message = format!(
                    "the answer has more than {MERGED_WINDOWS_MAX} windows that several streams share: take wider \
                     windows or a shorter range, or group by uuid too"
                );
                return Err(to_datafusion(Error::new(ErrorKind::Exhausted, message)));
            }
            // A store in memory is always ready, and would never let go of the thread.
            tokio::task::consume_budget().await;
        }
        Ok(groups)
    }

    /// Rows of the same group and window, added up; in memory, because there are as many as answers.
    async fn merged(self, numbers: &Arc<[usize]>, ask: Ask) -> Result<Vec<RecordBatch>> {
        let groups = self.groups(numbers, &ask).await?;
        let mut members = vec![0; self.streams.reads.len()];
        for (place, number) in numbers.iter().enumerate().rev() {
            members[*number] = place as u32;
        }
        // Groups with one window each would be batches of one row.
        let (mut rows, mut streams) = (Vec::new(), Vec::new());
        for (number, windows) in groups {
            streams.extend(std::iter::repeat_n(members[number], windows.len()));
            rows.extend(windows.into_values());
        }
        let size = self.frame.batch_rows.max(1);
        rows.chunks(size)
            .zip(streams.chunks(size))
            .map(|(rows, streams)| self.batch(rows, streams))
            .collect()
    }

    /// Everything in one row.
    async fn whole(self, ask: Ask) -> Result<RecordBatch> {
        let numbers: Arc<[usize]> = vec![0; self.streams.reads.len()].into();
        let groups = self.groups(&numbers, &ask).await?;
        let mut whole = Row::default();
        for row in groups.values().flat_map(BTreeMap::values) {
            whole.merge(0, row);
        }
        self.batch(&[whole], &[0])
    }
}
