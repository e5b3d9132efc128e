//! Many streams side by side: a full outer join on time.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::Float64Builder;
use futures::stream::{BoxStream, try_unfold};
use futures::{StreamExt, TryStreamExt};

use super::Store;
use super::fetch::Fetcher;
use super::read::next_points;
use super::walk::PointWalk;
use crate::error::{Code, Error, Result};
use crate::model::time::MIN_TIME;
use crate::model::{MultiBatch, MultiQuery, Point, PointQuery, TimeRange};

/// Values of one batch, over all its columns: 8 MiB of them.
const BATCH_VALUES_MAX: usize = 1 << 20;

/// Rows of one batch, however few its columns are.
const BATCH_ROWS_MAX: usize = 64 * 1024;

/// Points read ahead of each stream; there may be thousands of streams.
const READ_ROWS: usize = 4096;

/// The rows of a query.
pub(crate) fn multi_values(
    store: Arc<Store>,
    query: MultiQuery,
) -> BoxStream<'static, Result<MultiBatch>> {
    let opened = match store.pin(query.snapshot) {
        Ok(commit) => async move { open(&store, query, commit).await },
        Err(error) => return futures::stream::once(async { Err(error) }).boxed(),
    };
    futures::stream::once(opened)
        .map_ok(|join| {
            try_unfold(join, |mut join| async move {
                Ok(join.next().await?.map(|batch| (batch, join)))
            })
        })
        .try_flatten()
        .boxed()
}

async fn open(store: &Arc<Store>, query: MultiQuery, commit: u64) -> Result<Join> {
    let range = TimeRange::checked(query.range.start, query.range.end)?;
    if query.streams.is_empty() {
        return Err(Error::invalid("no streams to join").with_code(Code::InvalidParameter));
    }
    let Ok(period) = i64::try_from(query.snap_period) else {
        return Err(
            Error::invalid(format!("period of {} ns is too long", query.snap_period))
                .with_code(Code::InvalidParameter),
        );
    };
    // Points up to half a period before the range move into it.
    let start = range.start.saturating_sub(period / 2).max(MIN_TIME);
    let points = PointQuery {
        ranges: vec![TimeRange::new(start, range.end)],
        probe: query.probe,
        ..PointQuery::new(query.streams, range)
    };
    let mut sides = Vec::with_capacity(points.streams.len());
    for &read in &points.streams {
        let (_, walk, fetcher) = store.walk_points(&points, read, commit).await?;
        sides.push(Side {
            points: Points::new(walk, fetcher),
            snap: (period > 0).then_some(Snap { range, period }),
            head: None,
        });
    }
    Ok(Join { sides })
}

struct Join {
    sides: Vec<Side>,
}

/// One stream of the join: at most one point a time.
struct Side {
    points: Points,
    snap: Option<Snap>,
    head: Option<Point>,
}

/// The grid that values move to.
#[derive(Clone, Copy)]
struct Snap {
    range: TimeRange,
    period: i64,
}

/// A walk, point by point: what has been read of it, and the rest.
struct Points {
    walk: PointWalk,
    fetcher: Fetcher,
    times: VecDeque<i64>,
    values: VecDeque<f64>,
    is_at_end: bool,
}

impl Join {
    async fn next(&mut self) -> Result<Option<MultiBatch>> {
        let rows = (BATCH_VALUES_MAX / self.sides.len()).clamp(1, BATCH_ROWS_MAX);
        let mut times = Vec::new();
        let mut columns: Vec<Float64Builder> =
            self.sides.iter().map(|_| Float64Builder::new()).collect();
        while times.len() < rows {
            self.fill().await?;
            if self.sides.iter().all(|side| side.head.is_none()) {
                break;
            }
            // Without waiting, for as long as every side knows its next point.
            while times.len() < rows && self.append_row(&mut times, &mut columns) {}
        }
        Ok((!times.is_empty()).then(|| MultiBatch {
            times: times.into(),
            columns: columns.iter_mut().map(Float64Builder::finish).collect(),
        }))
    }

    /// Gives every side its next point, if it has one.
    async fn fill(&mut self) -> Result<()> {
        for side in &mut self.sides {
            while side.head.is_none() && !side.try_advance() {
                side.points.read_on().await?;
            }
        }
        Ok(())
    }

    /// Appends the next row; answers whether every side knows what comes after it.
    fn append_row(&mut self, times: &mut Vec<i64>, columns: &mut [Float64Builder]) -> bool {
        let heads = self.sides.iter().filter_map(|side| side.head);
        let Some(time) = heads.map(|point| point.time).min() else {
            return false;
        };
        times.push(time);
        let mut all_known = true;
        for (side, column) in self.sides.iter_mut().zip(columns) {
            match side.head {
                Some(point) if point.time == time => {
                    column.append_value(point.value);
                    side.head = None;
                    all_known &= side.try_advance();
                }
                _ => column.append_null(),
            }
        }
        all_known
    }
}

impl Side {
    /// Finds the next point, or that there is none; answers whether that could be told from what has been read.
    fn try_advance(&mut self) -> bool {
        match self.snap {
            None => self.points.try_distinct(&mut self.head),
            Some(snap) => self.points.try_snapped(snap, &mut self.head),
        }
    }
}

impl Points {
    fn new(walk: PointWalk, fetcher: Fetcher) -> Self {
        Self {
            walk,
            fetcher,
            times: VecDeque::new(),
            values: VecDeque::new(),
            is_at_end: false,
        }
    }

    async fn read_on(&mut self) -> Result<()> {
        match next_points(&mut self.walk, &mut self.fetcher, READ_ROWS).await? {
            Some((times, values)) => {
                self.times.extend(times.iter());
                self.values.extend(values.iter());
            }
            None => self.is_at_end = true,
        }
        Ok(())
    }

    /// The last stored point of the next time.
    fn try_distinct(&mut self, head: &mut Option<Point>) -> bool {
        let Some(&time) = self.times.front() else {
            return self.is_at_end;
        };
        let same = self
            .times
            .iter()
            .take_while(|&&other| other == time)
            .count();
        if same == self.times.len() && !self.is_at_end {
            return false;
        }
        let value = self.values[same - 1];
        self.consume(same);
        *head = Some(Point { time, value });
        true
    }

    /// The point nearest to the next line of the grid that has any, moved to it; the earliest of equally near ones.
    fn try_snapped(&mut self, snap: Snap, head: &mut Option<Point>) -> bool {
        let outside = self
            .times
            .iter()
            .take_while(|&&time| snap.line(time).is_none())
            .count();
        self.consume(outside);
        let Some((line, distance)) = self.times.front().and_then(|&time| snap.line(time)) else {
            return self.is_at_end;
        };
        let (mut best, mut nearest) = (0, distance);
        let mut same = 1;
        while let Some(&time) = self.times.get(same) {
            match snap.line(time) {
                Some((other, further)) if other == line => {
                    if further < nearest {
                        (best, nearest) = (same, further);
                    }
                }
                _ => break,
            }
            same += 1;
        }
        if same == self.times.len() && !self.is_at_end {
            return false;
        }
        let value = self.values[best];
        self.consume(same);
        *head = Some(Point { time: line, value });
        true
    }

    fn consume(&mut self, points: usize) {
        self.times.drain(..points);
        self.values.drain(..points);
    }
}

impl Snap {
    /// The line that `time` moves to, and how far that is; none outside the range.
    fn line(self, time: i64) -> Option<(i64, i128)> {
        let (start, period) = (i128::from(self.range.start), i128::from(self.period));
        let steps = (i128::from(time) - start + period / 2).div_euclid(period);
        let line = start + steps * period;
        let inside = line >= start && line < i128::from(self.range.end);
        inside.then_some((line as i64, (line - i128::from(time)).abs()))
    }
}
