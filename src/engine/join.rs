//! Many streams side by side: a full outer join on time.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::Float64Builder;
use arrow::buffer::ScalarBuffer;
use futures::StreamExt;
use futures::stream::{BoxStream, try_unfold};

use super::Store;
use super::read::next_points;
use super::walk::PointWalk;
use crate::error::{Code, Error, Result};
use crate::model::time::MIN_TIME;
use crate::model::{Direction, MultiBatch, MultiQuery, Point, PointQuery, TimeRange};

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
    let joined = match open(&store, query) {
        Ok(joined) => joined,
        Err(error) => return futures::stream::once(async { Err(error) }).boxed(),
    };
    try_unfold(joined, |mut joined| async move {
        Ok(joined.next().map(|batch| (batch, joined)))
    })
    .boxed()
}

fn open(store: &Arc<Store>, query: MultiQuery) -> Result<Join> {
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
        direction: Direction::Forward,
        snapshot: store.pin(query.snapshot),
        ..PointQuery::new(query.streams, range)
    };
    let sides = points.streams.iter().map(|&read| {
        let (_, walk) = store.walk_points(&points, read)?;
        Ok(Side {
            points: Points::new(walk),
            snap: (period > 0).then_some(Snap { range, period }),
            head: None,
        })
    });
    let mut join = Join {
        sides: sides.collect::<Result<_>>()?,
    };
    for side in &mut join.sides {
        side.advance();
    }
    Ok(join)
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

/// A walk, point by point.
struct Points {
    walk: PointWalk,
    batch: (ScalarBuffer<i64>, ScalarBuffer<f64>),
    row: usize,
    /// Put back by a reader that looked too far.
    returned: VecDeque<Point>,
}

impl Join {
    fn next(&mut self) -> Option<MultiBatch> {
        let rows = (BATCH_VALUES_MAX / self.sides.len()).clamp(1, BATCH_ROWS_MAX);
        let mut times = Vec::new();
        let mut columns: Vec<Float64Builder> =
            self.sides.iter().map(|_| Float64Builder::new()).collect();
        while times.len() < rows {
            let Some(time) = self
                .sides
                .iter()
                .filter_map(|side| side.head)
                .map(|point| point.time)
                .min()
            else {
                break;
            };
            times.push(time);
            for (side, column) in self.sides.iter_mut().zip(&mut columns) {
                match side.head {
                    Some(point) if point.time == time => {
                        column.append_value(point.value);
                        side.advance();
                    }
                    _ => column.append_null(),
                }
            }
        }
        (!times.is_empty()).then(|| MultiBatch {
            times: times.into(),
            columns: columns.iter_mut().map(Float64Builder::finish).collect(),
        })
    }
}

impl Side {
    fn advance(&mut self) {
        self.head = match self.snap {
            None => self.points.next_distinct(),
            Some(snap) => self.points.next_snapped(snap),
        };
    }
}

impl Points {
    fn new(walk: PointWalk) -> Self {
        let empty = (Vec::new().into(), Vec::new().into());
        Self {
            walk,
            batch: empty,
            row: 0,
            returned: VecDeque::new(),
        }
    }

    fn next(&mut self) -> Option<Point> {
        if let Some(point) = self.returned.pop_front() {
            return Some(point);
        }
        if self.row == self.batch.0.len() {
            self.batch = next_points(&mut self.walk, READ_ROWS)?;
            self.row = 0;
        }
        let point = Point {
            time: self.batch.0[self.row],
            value: self.batch.1[self.row],
        };
        self.row += 1;
        Some(point)
    }

    /// The last stored point of the next time.
    fn next_distinct(&mut self) -> Option<Point> {
        let mut point = self.next()?;
        while let Some(next) = self.next() {
            if next.time != point.time {
                self.returned.push_back(next);
                break;
            }
            point = next;
        }
        Some(point)
    }

    /// The point nearest to the next line of the grid that has any, moved to it; the earliest of equally near ones.
    fn next_snapped(&mut self, snap: Snap) -> Option<Point> {
        loop {
            let point = self.next()?;
            let Some((line, mut distance)) = snap.line(point.time) else {
                continue;
            };
            let mut best = Point {
                time: line,
                value: point.value,
            };
            while let Some(next) = self.next() {
                match snap.line(next.time) {
                    Some((same, further)) if same == line => {
                        if further < distance {
                            distance = further;
                            best.value = next.value;
                        }
                    }
                    _ => {
                        self.returned.push_back(next);
                        break;
                    }
                }
            }
            return Some(best);
        }
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
