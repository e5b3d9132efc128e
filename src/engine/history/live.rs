//! Additive mutations that wait beside a tree.

use std::sync::Arc;

use crate::engine::block::Runs;
use crate::engine::tree::{Chunk, Piece};

/// Runs in the order they came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Live {
    runs: Runs,
    /// The commit of each.
    commits: Vec<u64>,
    /// Which of them began at or before a point stored earlier.
    late: Vec<u32>,
    /// All of it, sorted, once a read asked for it.
    sorted: Option<Piece>,
}

impl Live {
    /// From its parts, as a checkpoint holds them.
    pub(crate) fn from_parts(runs: Runs, commits: Vec<u64>, late: Vec<u32>) -> Self {
        Self {
            runs,
            commits,
            late,
            sorted: None,
        }
    }

    pub(crate) fn runs(&self) -> &Runs {
        &self.runs
    }

    pub(crate) fn commits(&self) -> &[u64] {
        &self.commits
    }

    pub(crate) fn late(&self) -> &[u32] {
        &self.late
    }

    /// How many mutations.
    pub(crate) fn len(&self) -> usize {
        self.commits.len()
    }

    /// How many points.
    pub(crate) fn points(&self) -> usize {
        self.runs.times.len()
    }

    /// What it takes in memory, about.
    pub(crate) fn bytes(&self) -> usize {
        16 * self.runs.times.len() + 12 * self.commits.len()
    }

    /// Whether the runs cannot be read off a tree by cutting it.
    pub(crate) fn is_late(&self) -> bool {
        !self.late.is_empty()
    }

    /// Whether that is so of the first `count`.
    pub(crate) fn is_late_before(&self, count: usize) -> bool {
        self.late.first().is_some_and(|&run| (run as usize) < count)
    }

    /// How many mutations `commit` includes.
    pub(crate) fn count_at(&self, commit: u64) -> usize {
        self.commits.partition_point(|&made| made <= commit)
    }

    pub(crate) fn push(&mut self, points: &Piece, late: bool, commit: u64) {
        if late {
            self.late.push(self.commits.len() as u32);
        }
        self.runs.times.extend_from_slice(points.times());
        self.runs.values.extend_from_slice(points.values());
        self.runs.ends.push(self.runs.times.len() as u32);
        self.commits.push(commit);
        self.sorted = None;
    }

    /// Keeps the first `count` mutations and answers the others.
    pub(crate) fn split_off(&mut self, count: usize) -> Self {
        if count >= self.len() {
            return Self::default();
        }
        let end = count
            .checked_sub(1)
            .map_or(0, |last| self.runs.ends[last] as usize);
        let late = self.late.partition_point(|&run| (run as usize) < count);
        let shift = |values: Vec<u32>, by: usize| -> Vec<u32> {
            values.into_iter().map(|value| value - by as u32).collect()
        };
        self.sorted = None;
        Self {
            runs: Runs {
                times: self.runs.times.split_off(end),
                values: self.runs.values.split_off(end),
                ends: shift(self.runs.ends.split_off(count), end),
            },
            commits: self.commits.split_off(count),
            late: shift(self.late.split_off(late), count),
            sorted: None,
        }
    }

    /// The commit of each, and where a tree that has grown over these runs is cut for it.
    pub(crate) fn cuts(&self) -> impl Iterator<Item = (u64, i64)> {
        assert!(!self.is_late());
        let ends = self.runs.ends.iter();
        let cuts = ends.map(|&end| self.runs.times[end as usize - 1] + 1);
        self.commits.iter().copied().zip(cuts)
    }

    /// All runs in one.
    pub(crate) fn all(&mut self) -> Option<Piece> {
        self.first_runs(self.len())
    }

    /// The first `count` runs in one, sorted by time, earlier runs first where times are equal.
    pub(crate) fn first_runs(&mut self, count: usize) -> Option<Piece> {
        if count < self.len() {
            return sorted_runs(&self.runs, count);
        }
        if self.sorted.is_none() {
            self.sorted = sorted_runs(&self.runs, count);
        }
        self.sorted.clone()
    }
}

/// The first `count` runs in one, sorted by time, earlier runs first where times are equal.
pub(crate) fn sorted_runs(runs: &Runs, count: usize) -> Option<Piece> {
    let end = *runs.ends.get(..count)?.last()? as usize;
    let (times, values) = (&runs.times[..end], &runs.values[..end]);
    if times.is_sorted() {
        let chunk = Chunk::new(times.to_vec(), values.to_vec());
        return Some(Piece::whole(Arc::new(chunk)));
    }
    let mut order: Vec<usize> = (0..end).collect();
    order.sort_by_key(|&row| times[row]);
    let (times, values) = order
        .into_iter()
        .map(|row| (times[row], values[row]))
        .unzip();
    Some(Piece::whole(Arc::new(Chunk::new(times, values))))
}
