//! Points that were checked and wait for their commit.

use std::collections::HashMap;

use arrow::buffer::ScalarBuffer;
use tokio::time::Instant;

use super::targets::Targets;
use crate::error::Result;
use crate::model::Write;

/// Points that make a commit: 16 MiB.
pub(super) const COMMIT_POINTS: usize = 1 << 20;

/// Rows that were checked and wait for their commit.
#[derive(Default)]
pub(super) struct Pending {
    points: usize,
    /// When the first of them came.
    since: Option<Instant>,
    /// They waited long enough.
    overdue: bool,
    /// The points of each slot.
    streams: Vec<(usize, Gathered)>,
    positions: HashMap<usize, usize>,
}

/// The points of one stream.
enum Gathered {
    /// As they came: no copy is made.
    Whole(ScalarBuffer<i64>, ScalarBuffer<f64>),
    /// From several places.
    Parts(Vec<i64>, Vec<f64>),
}

impl Pending {
    /// When the first of them came.
    pub(super) fn since(&self) -> Option<Instant> {
        self.since
    }

    /// They waited long enough.
    pub(super) fn overdue(&mut self) {
        self.overdue = true;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.points == 0
    }

    /// Whether it is time to commit.
    pub(super) fn is_due(&self) -> bool {
        self.points >= COMMIT_POINTS || (self.overdue && self.points > 0)
    }

    pub(super) fn push(
        &mut self,
        slot: usize,
        times: ScalarBuffer<i64>,
        values: ScalarBuffer<f64>,
    ) {
        self.points += times.len();
        self.since.get_or_insert_with(Instant::now);
        match self.positions.get(&slot) {
            Some(position) => self.streams[*position].1.extend(&times, &values),
            None => {
                self.positions.insert(slot, self.streams.len());
                self.streams.push((slot, Gathered::Whole(times, values)));
            }
        }
    }

    /// What waited, as writes of streams that were resolved.
    pub(super) fn take(&mut self, targets: &Targets) -> Result<Vec<Write>> {
        let pending = std::mem::take(self);
        pending
            .streams
            .into_iter()
            .map(|(slot, gathered)| {
                let (times, values) = match gathered {
                    Gathered::Whole(times, values) => (times, values),
                    Gathered::Parts(times, values) => (times.into(), values.into()),
                };
                Ok(Write {
                    stream: targets.id(slot)?,
                    times,
                    values,
                })
            })
            .collect()
    }
}

impl Gathered {
    fn extend(&mut self, times: &[i64], values: &[f64]) {
        if let Self::Whole(first_times, first_values) = self {
            *self = Self::Parts(first_times.to_vec(), first_values.to_vec());
        }
        if let Self::Parts(all_times, all_values) = self {
            all_times.extend_from_slice(times);
            all_values.extend_from_slice(values);
        }
    }
}
