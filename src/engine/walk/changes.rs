//! Which parts of time may differ between two versions.

use crate::engine::history::View;
use crate::engine::tree::{Link, Node};
use crate::model::{TimeRange, Version};

/// Ranges that may differ between version `from` and the version that a view is of.
///
/// Walks only slots that changed after `from`, and stops at nodes whose slots are 2^resolution ns wide or less, which it
/// reports by whole slots. Where the view is a cut of a later tree, what changed after it is reported too: more than changed is
/// allowed, less is not. A changed leaf is reported whole, and so is a slot whose points were deleted. Points beside the
/// tree are reported by the aligned 2^resolution ns they lie in.
pub(crate) struct ChangeWalk {
    from: Version,
    resolution: u8,
    ranges: Vec<TimeRange>,
    level: Vec<Link>,
}

impl ChangeWalk {
    pub(crate) fn new(view: &View, from: Version, resolution: u8) -> Self {
        let mask = (-1_i64).checked_shl(u32::from(resolution)).unwrap_or(0);
        let runs = view.runs.iter().flat_map(|runs| runs.times());
        let ranges = runs.map(|time| {
            let start = time & mask;
            TimeRange::new(start, start.saturating_add_unsigned(1 << resolution))
                .intersect(TimeRange::ALL)
        });
        Self {
            from,
            resolution,
            ranges: ranges.collect(),
            level: view.root.iter().cloned().collect(),
        }
    }

    /// The links whose nodes the walk needs next; empty at its end.
    pub(crate) fn wants(&mut self) -> Vec<Link> {
        std::mem::take(&mut self.level)
    }

    /// Goes on with the nodes of the links last wanted.
    pub(crate) fn supply(&mut self, nodes: Vec<Node>) {
        for node in nodes {
            let Node::Inner(inner) = node else {
                continue;
            };
            if inner.born > self.from {
                self.ranges.push(inner.span.range());
                continue;
            }
            let stop = inner.span.slot_exponent() <= u32::from(self.resolution);
            for (span, slot) in inner.slots_in(TimeRange::ALL) {
                if slot.generation <= self.from {
                    continue;
                }
                match &slot.link {
                    Some(link @ (Link::Held(Node::Inner(_)) | Link::Inner(_))) if !stop => {
                        self.level.push(link.clone());
                    }
                    _ => self.ranges.push(span.range()),
                }
            }
        }
    }

    /// Ascending, disjoint, not adjacent.
    pub(crate) fn finish(self) -> Vec<TimeRange> {
        merge(self.ranges)
    }
}

fn merge(mut ranges: Vec<TimeRange>) -> Vec<TimeRange> {
    ranges.sort_by_key(|range| range.start);
    let mut merged: Vec<TimeRange> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}
