//! The first and the last point of streams in some ranges: what `min(time)`, `first_value(value ORDER BY time)` and their
//! opposites ask for.

use datafusion::error::Result;

use super::errors::to_datafusion;
use super::scan::Ask;
use super::session::Frame;
use crate::model::time::MAX_TIME;
use crate::model::{Direction, NearestQuery, Point, StreamRead, TimeRange};

/// The first and the last point, where they were wanted and there are any.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Extremes {
    pub(super) first: Option<Point>,
    pub(super) last: Option<Point>,
}

/// Which of the two.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) first: bool,
    pub(super) last: bool,
}

impl Extremes {
    /// Of points here and there: of two at one time, the one here is first and the one there is last.
    pub(super) fn merge(&mut self, there: &Self) {
        self.first = match (self.first, there.first) {
            (Some(here), Some(there)) if there.time < here.time => Some(there),
            (here, there) => here.or(there),
        };
        self.last = match (self.last, there.last) {
            (Some(here), Some(there)) if there.time < here.time => Some(here),
            (here, there) => there.or(here),
        };
    }
}

/// Those of `reads`, in order: one call a range and direction, for the streams that have found nothing yet.
pub(super) async fn read(
    frame: &Frame,
    reads: &[StreamRead],
    ranges: &[TimeRange],
    wanted: Wanted,
    ask: &Ask,
) -> Result<Vec<Extremes>> {
    let mut found = vec![Extremes::default(); reads.len()];
    let forward = wanted.first.then_some(Direction::Forward);
    let backward = wanted.last.then_some(Direction::Backward);
    for direction in forward.into_iter().chain(backward) {
        let mut left: Vec<usize> = (0..reads.len()).collect();
        let mut ranges = ranges.to_vec();
        if direction == Direction::Backward {
            ranges.reverse();
        }
        for range in ranges {
            if left.is_empty() {
                break;
            }
            let time = match direction {
                Direction::Forward => range.start,
                // Backward is before the time, and the last nanosecond of the domain holds no point.
                Direction::Backward => range.end.min(MAX_TIME - 1),
            };
            ask.calls.add(1);
            let answers = frame.backend.nearest(NearestQuery {
                streams: left.iter().map(|&place| reads[place]).collect(),
                time,
                direction,
                snapshot: frame.snapshot(),
                probe: ask.probe.clone(),
            });
            let answers = answers.await.map_err(to_datafusion)?;
            let mut without = Vec::new();
            for (place, (_, point)) in left.into_iter().zip(answers) {
                match point.filter(|point| range.contains(point.time)) {
                    None => without.push(place),
                    point if direction == Direction::Forward => found[place].first = point,
                    point => found[place].last = point,
                }
            }
            left = without;
        }
    }
    Ok(found)
}
