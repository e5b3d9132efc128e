//! A full outer join on time of streams that are in memory.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use arrow::array::Float64Builder;

use crate::model::{MultiBatch, TimeRange, Timestamp};

/// Values of one batch, over all its columns: 8 MiB of them.
const BATCH_VALUES_MAX: usize = 1 << 20;

/// Rows of one batch, however few its columns are.
const BATCH_ROWS_MAX: usize = 64 * 1024;

/// The grid that values move to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Snap {
    pub(super) range: TimeRange,
    /// Positive, in nanoseconds.
    pub(super) period: i64,
}

impl Snap {
    /// The line that `time` moves to, halves going forward, and how far that is; none outside the range.
    fn line(self, time: Timestamp) -> Option<(Timestamp, i128)> {
        let (start, period) = (i128::from(self.range.start), i128::from(self.period));
        let steps = (i128::from(time) - start + period / 2).div_euclid(period);
        let line = start + steps * period;
        let inside = line >= start && line < i128::from(self.range.end);
        inside.then_some((line as i64, (line - i128::from(time)).abs()))
    }
}

/// One stream of a join: at most one value a time.
#[derive(Debug)]
pub(super) struct Side {
    snap: Option<Snap>,
    times: Vec<Timestamp>,
    values: Vec<f64>,
    /// How far the last value has moved.
    distance: i128,
}

impl Side {
    pub(super) fn new(snap: Option<Snap>) -> Self {
        Self {
            snap,
            times: Vec::new(),
            values: Vec::new(),
            distance: 0,
        }
    }

    /// Adds points that come after those before. Of several at one time the last stands; of several that move to one line the
    /// nearest, and of equally near ones the earliest.
    pub(super) fn extend(&mut self, times: &[Timestamp], values: &[f64]) {
        for (&time, &value) in times.iter().zip(values) {
            let (line, distance) = match self.snap {
                None => (time, 0),
                Some(snap) => match snap.line(time) {
                    Some(line) => line,
                    None => continue,
                },
            };
            match self.times.last() {
                Some(&last) if last == line => {
                    if self.snap.is_none() || distance < self.distance {
                        self.distance = distance;
                        if let Some(value_of_last) = self.values.last_mut() {
                            *value_of_last = value;
                        }
                    }
                }
                _ => {
                    self.times.push(line);
                    self.values.push(value);
                    self.distance = distance;
                }
            }
        }
    }
}

/// The rows of a join, ascending.
pub(super) fn batches(sides: Vec<Side>) -> impl Iterator<Item = MultiBatch> + Send {
    let rows = (BATCH_VALUES_MAX / sides.len().max(1)).clamp(1, BATCH_ROWS_MAX);
    let heads = sides.iter().enumerate();
    let heads = heads.filter_map(|(place, side)| Some(Reverse((*side.times.first()?, place))));
    let mut join = Join {
        next: heads.collect(),
        taken: vec![0; sides.len()],
        sides,
    };
    std::iter::from_fn(move || join.batch(rows))
}

struct Join {
    sides: Vec<Side>,
    /// Values of each side that are in rows already.
    taken: Vec<usize>,
    /// The next time of each side that has one.
    next: BinaryHeap<Reverse<(Timestamp, usize)>>,
}

impl Join {
    fn batch(&mut self, rows_max: usize) -> Option<MultiBatch> {
        let mut times: Vec<Timestamp> = Vec::new();
        let mut columns: Vec<Float64Builder> =
            self.sides.iter().map(|_| Float64Builder::new()).collect();
        while let Some(&Reverse((time, place))) = self.next.peek() {
            if times.last() != Some(&time) {
                if times.len() == rows_max {
                    break;
                }
                times.push(time);
            }
            self.next.pop();
            let (side, column) = (&self.sides[place], &mut columns[place]);
            column.append_nulls(times.len() - 1 - column_len(column));
            column.append_value(side.values[self.taken[place]]);
            self.taken[place] += 1;
            if let Some(&time) = side.times.get(self.taken[place]) {
                self.next.push(Reverse((time, place)));
            }
        }
        let rows = times.len();
        (rows > 0).then(|| MultiBatch {
            times: times.into(),
            columns: columns
                .iter_mut()
                .map(|column| {
                    column.append_nulls(rows - column_len(column));
                    column.finish()
                })
                .collect(),
        })
    }
}

fn column_len(column: &Float64Builder) -> usize {
    arrow::array::ArrayBuilder::len(column)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(sides: Vec<Side>) -> Vec<(i64, Vec<Option<f64>>)> {
        let mut rows = Vec::new();
        for batch in batches(sides) {
            for (row, &time) in batch.times.iter().enumerate() {
                let cells = batch
                    .columns
                    .iter()
                    .map(|column| column.iter().nth(row).flatten());
                rows.push((time, cells.collect()));
            }
        }
        rows
    }

    fn side(snap: Option<Snap>, points: &[(i64, f64)]) -> Side {
        let mut side = Side::new(snap);
        // Point by point: where parts are cut means nothing.
        for &(time, value) in points {
            side.extend(&[time], &[value]);
        }
        side
    }

    #[test]
    fn streams_join_on_their_times() {
        let sides = vec![
            side(None, &[(1, 1.0), (3, 2.0), (3, 3.0)]),
            side(None, &[]),
            side(None, &[(2, 20.0), (3, 30.0)]),
        ];
        assert_eq!(
            rows(sides),
            [
                (1, vec![Some(1.0), None, None]),
                (2, vec![None, None, Some(20.0)]),
                (3, vec![Some(3.0), None, Some(30.0)]),
            ]
        );
    }

    #[test]
    fn of_snapped_points_the_nearest_then_the_earliest_stands() {
        let snap = Some(Snap {
            range: TimeRange::new(0, 100),
            period: 10,
        });
        let sides = vec![side(
            snap,
            &[
                (-6, 9.0),
                (7, 1.0),
                (9, 2.0),
                (12, 3.0),
                (19, 4.0),
                (21, 5.0),
                (95, 6.0),
            ],
        )];
        assert_eq!(rows(sides), [(10, vec![Some(2.0)]), (20, vec![Some(4.0)])]);
    }
}
