//! Windows on their way out.

use std::collections::VecDeque;

use super::Windows;
use crate::model::Stat;

/// Complete windows, in batches that are handed out as they are.
pub(super) struct Ready {
    /// Windows of a batch.
    size: usize,
    /// Room that a new one has: where one was filled, the next ones probably are.
    room: usize,
    /// None is empty, and all but the last are full.
    batches: VecDeque<Windows>,
}

impl Ready {
    pub(super) fn new(size: usize) -> Self {
        Self {
            size: size.max(1),
            room: 0,
            batches: VecDeque::new(),
        }
    }

    pub(super) fn push(&mut self, time: i64, stat: Stat) {
        self.extend(&[time], &[stat]);
    }

    pub(super) fn extend(&mut self, mut times: &[i64], mut stats: &[Stat]) {
        while !times.is_empty() {
            let is_full = |batch: &Windows| batch.times.len() == self.size;
            if self.batches.back().is_none_or(is_full) {
                self.batches.push_back(Windows {
                    times: Vec::with_capacity(self.room),
                    stats: Vec::with_capacity(self.room),
                });
            }
            let Some(batch) = self.batches.back_mut() else {
                return;
            };
            let count = times.len().min(self.size - batch.times.len());
            batch.times.extend_from_slice(&times[..count]);
            batch.stats.extend_from_slice(&stats[..count]);
            if batch.times.len() == self.size {
                self.room = self.size;
            }
            (times, stats) = (&times[count..], &stats[count..]);
        }
    }

    /// The first windows: a batch, or `windows` if they are fewer; whatever there is, if that `is_all`.
    pub(super) fn next(&mut self, windows: usize, is_all: bool) -> Option<Windows> {
        let is_last = self.batches.len() == 1;
        let batch = self.batches.front_mut()?;
        if is_last && !is_all && batch.times.len() < windows.min(self.size) {
            return None;
        }
        if batch.times.len() <= windows {
            return self.batches.pop_front();
        }
        Some(Windows {
            times: batch.times.drain(..windows).collect(),
            stats: batch.stats.drain(..windows).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_full_but_for_the_last() {
        let mut ready = Ready::new(4);
        ready.extend(&[0, 1, 2], &[Stat::EMPTY; 3]);
        assert!(ready.next(9, false).is_none(), "more may come");
        assert_eq!(ready.next(2, false).expect("a short one").times, [0, 1]);
        ready.extend(&[3, 4, 5, 6, 7, 8, 9], &[Stat::EMPTY; 7]);
        assert_eq!(ready.next(9, false).expect("full").times, [2, 3, 4, 5]);
        assert_eq!(ready.next(9, false).expect("full").times, [6, 7, 8, 9]);
        ready.push(10, Stat::EMPTY);
        assert!(ready.next(9, false).is_none());
        assert_eq!(ready.next(9, true).expect("the rest").times, [10]);
        assert!(ready.next(9, true).is_none());
    }
}
