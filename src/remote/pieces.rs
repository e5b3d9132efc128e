//! What a question about windows takes: whole windows of one width side by side, and parts of windows where ranges cut them.

use crate::model::{Cuts, TimeRange, Timestamp};

/// What one call answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// The points of `range`, which lies in the window that starts at `name`.
    Part {
        /// Start of the window.
        name: Timestamp,
        /// Not empty.
        range: TimeRange,
    },
    /// Whole windows, each named by its start.
    Run(Run),
}

impl Piece {
    /// All of it.
    pub(super) fn range(&self) -> TimeRange {
        match self {
            Self::Part { range, .. } => *range,
            Self::Run(run) => run.range(),
        }
    }
}

/// `count` windows of `width` ns from `start` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) start: Timestamp,
    pub(super) width: u64,
    pub(super) count: u64,
}

impl Run {
    /// All of it.
    pub(super) fn range(&self) -> TimeRange {
        let len = i128::from(self.count) * i128::from(self.width);
        TimeRange::new(self.start, (i128::from(self.start) + len) as i64)
    }

    /// The windows with these numbers.
    pub(super) fn part(&self, from: u64, to: u64) -> Self {
        let start = i128::from(self.start) + i128::from(from) * i128::from(self.width);
        Self {
            start: start as i64,
            width: self.width,
            count: to - from,
        }
    }

    /// The exponent of the width, if the windows are those of BTrDB's own grid: of a power of two, on a multiple of it.
    pub(super) fn exponent(&self) -> Option<u32> {
        let on_grid = self.width.is_power_of_two() && self.width <= 1 << EXPONENT_MAX;
        (on_grid && self.start & (self.width as i64 - 1) == 0).then(|| self.width.ilog2())
    }
}

/// The widest windows of BTrDB's own grid that all servers have. Beyond, they disagree about where it starts.
const EXPONENT_MAX: u32 = 60;

/// The pieces of `ranges`, ascending by window. Neighbours may belong to one window, where two ranges share it.
pub(super) fn pieces(cuts: &Cuts, ranges: &[TimeRange]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for &range in ranges {
        match cuts {
            Cuts::Every { origin, width } => every(*origin, *width, range, &mut pieces),
            Cuts::At(cuts) => between(cuts, range, &mut pieces),
        }
    }
    pieces
}

fn every(origin: Timestamp, width: u64, range: TimeRange, pieces: &mut Vec<Piece>) {
    let (origin, wide) = (i128::from(origin), i128::from(width));
    let (start, end) = (i128::from(range.start), i128::from(range.end));
    let floor = |time: i128| origin + (time - origin).div_euclid(wide) * wide;
    let (first, last) = (floor(start), floor(end));
    let part = |name: i128, start: i128, end: i128| Piece::Part {
        name: name as i64,
        range: TimeRange::new(start as i64, end as i64),
    };
    if first == last {
        pieces.push(part(first, start, end));
        return;
    }
    let whole = if first < start {
        pieces.push(part(first, start, first + wide));
        first + wide
    } else {
        first
    };
    if whole < last {
        pieces.push(Piece::Run(Run {
            start: whole as i64,
            width,
            count: ((last - whole) / wide) as u64,
        }));
    }
    if last < end {
        pieces.push(part(last, last, end));
    }
}

fn between(cuts: &[Timestamp], range: TimeRange, pieces: &mut Vec<Piece>) {
    let first = cuts
        .partition_point(|&cut| cut <= range.start)
        .saturating_sub(1);
    for pair in cuts[first..].windows(2) {
        let window = TimeRange::new(pair[0], pair[1]);
        if window.start >= range.end {
            break;
        }
        let inside = window.intersect(range);
        if inside.is_empty() {
            continue;
        }
        if inside != window {
            pieces.push(Piece::Part {
                name: window.start,
                range: inside,
            });
            continue;
        }
        let width = window.end.abs_diff(window.start);
        match pieces.last_mut() {
            Some(Piece::Run(run)) if run.width == width && run.range().end == window.start => {
                run.count += 1;
            }
            _ => pieces.push(Piece::Run(Run {
                start: window.start,
                width,
                count: 1,
            })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::{MAX_TIME, MIN_TIME};

    fn part(name: i64, start: i64, end: i64) -> Piece {
        Piece::Part {
            name,
            range: TimeRange::new(start, end),
        }
    }

    fn run(start: i64, width: u64, count: u64) -> Piece {
        Piece::Run(Run {
            start,
            width,
            count,
        })
    }

    #[test]
    fn grids_have_ragged_ends() {
        let cuts = Cuts::Every {
            origin: 3,
            width: 10,
        };
        let of = |start, end| pieces(&cuts, &[TimeRange::new(start, end)]);
        assert_eq!(
            of(5, 41),
            [part(3, 5, 13), run(13, 10, 2), part(33, 33, 41)]
        );
        assert_eq!(of(13, 33), [run(13, 10, 2)]);
        assert_eq!(of(14, 20), [part(13, 14, 20)]);
        assert_eq!(of(14, 23), [part(13, 14, 23)]);
        assert_eq!(
            of(-9, 5),
            [part(-17, -9, -7), run(-7, 10, 1), part(3, 3, 5)]
        );
    }

    #[test]
    fn a_window_may_start_before_time() {
        let cuts = Cuts::Every {
            origin: 0,
            width: 1 << 63,
        };
        assert_eq!(
            pieces(&cuts, &[TimeRange::new(MIN_TIME, MAX_TIME - 1)]),
            [part(i64::MIN, MIN_TIME, 0), part(0, 0, MAX_TIME - 1)]
        );
    }

    #[test]
    fn days_of_a_calendar_are_one_call() {
        let cuts = Cuts::At([0, 24, 48, 72, 95, 119, 143].into());
        assert_eq!(
            pieces(&cuts, &[TimeRange::new(0, 143)]),
            [run(0, 24, 3), run(72, 23, 1), run(95, 24, 2)]
        );
        assert_eq!(
            pieces(&cuts, &[TimeRange::new(-5, 30), TimeRange::new(40, 50)]),
            [
                run(0, 24, 1),
                part(24, 24, 30),
                part(24, 40, 48),
                part(48, 48, 50)
            ]
        );
        assert_eq!(pieces(&cuts, &[TimeRange::new(143, 150)]), []);
        assert_eq!(pieces(&cuts, &[TimeRange::new(-10, 0)]), []);
    }

    #[test]
    fn own_grids_are_recognised() {
        let exponent = |start, width| {
            let run = Run {
                start,
                width,
                count: 1,
            };
            run.exponent()
        };
        assert_eq!(exponent(-8, 8), Some(3));
        assert_eq!(exponent(-4, 8), None);
        assert_eq!(exponent(9, 1), Some(0));
        assert_eq!(exponent(0, 24), None);
        assert_eq!(exponent(0, 1 << 61), None);
    }
}
