//! Which parts of time may differ between two versions.

use std::sync::Arc;

use crate::engine::history::View;
use crate::engine::tree::{Link, Node};
use crate::model::{TimeRange, Version};

use super::resolve;

/// Ranges that may differ between version `from` and the version that `view` is of: ascending, disjoint, not adjacent.
///
/// Walks only slots that changed after `from`, and stops at nodes whose slots are 2^resolution ns wide or less, which it
/// reports by whole slots. Where the view is a cut of a later tree, what changed after it is reported too: more than changed is
/// allowed, less is not. A changed leaf is reported whole, and so is a slot whose points were deleted. Points beside the
/// tree are reported by the aligned 2^resolution ns they lie in.
pub(crate) fn changes(view: &View, from: Version, resolution: u8) -> Vec<TimeRange> {
    let mut ranges = Vec::new();
    let mut level: Vec<Link> = view
        .root
        .iter()
        .map(|root| Link::Held(Node::Inner(Arc::clone(root))))
        .collect();
    while !level.is_empty() {
        let mut next = Vec::new();
        for node in resolve(level) {
            let Node::Inner(inner) = node else {
                continue;
            };
            if inner.born > from {
                ranges.push(inner.span.range());
                continue;
            }
            let stop = inner.span.slot_exponent() <= u32::from(resolution);
            for (span, slot) in inner.slots_in(TimeRange::ALL) {
                if slot.generation <= from {
                    continue;
                }
                match &slot.link {
                    Some(link @ Link::Held(Node::Inner(_))) if !stop => next.push(link.clone()),
                    _ => ranges.push(span.range()),
                }
            }
        }
        level = next;
    }
    if let Some(runs) = &view.runs {
        let mask = (-1_i64).checked_shl(u32::from(resolution)).unwrap_or(0);
        ranges.extend(runs.times().iter().map(|time| {
            let start = time & mask;
            TimeRange::new(start, start.saturating_add_unsigned(1 << resolution))
                .intersect(TimeRange::ALL)
        }));
    }
    merge(ranges)
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
