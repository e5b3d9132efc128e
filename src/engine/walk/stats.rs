//! Statistics between cut points: the one primitive behind windows, aligned windows, time buckets and whole ranges.
//!
//! The frontier holds the rest of the tree in order of time. A slot that lies inside one window is folded from its
//! statistics; one that a cut, or the end of a range, divides is looked into. Windows therefore cost their boundaries, not
//! their points.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use crate::engine::history::View;
use crate::engine::tree::{Inner, Link, Node, Piece, Span, rank};
use crate::model::{Cuts, Stat, TimeRange};

/// Nodes asked for at once: the boundaries of a thousand windows in one round a level. Where every point is a window of its own,
/// so many leaves make 80 MiB of windows; more would not be kept in check.
const LOOKAHEAD_NODES: usize = 1024;

/// The statistics of a view's windows, ascending; windows without points are absent.
pub(crate) struct StatWalk {
    plan: WindowPlan,
    frontier: VecDeque<Item>,
    runs: Option<Piece>,
    /// The window being filled, by its start; none before the first.
    open: Option<(i64, Stat)>,
    ready: Ready,
    done: bool,
}

/// What points count for.
#[derive(Clone)]
pub(crate) struct WindowPlan {
    cuts: Cuts,
    /// Those asked for, as far as they lie in windows: ascending and disjoint.
    ranges: Arc<[TimeRange]>,
    /// The view's: points of the tree from here on do not count.
    cut: i64,
}

/// Windows by their starts, and the statistics of each.
#[derive(Debug, Default)]
pub(crate) struct Windows {
    pub(crate) times: Vec<i64>,
    pub(crate) stats: Vec<Stat>,
}

/// Nodes in their order, with the work done that needs nothing but the nodes.
pub(crate) struct Looked {
    nodes: Vec<LookedNode>,
    /// Of the leaves' points, leaf by leaf: a window that spans two leaves is there twice.
    windows: Arc<Windows>,
}

enum LookedNode {
    Inner(Arc<Inner>),
    /// So many of the windows.
    Leaf(usize),
}

enum Item {
    /// Points that all lie in the window that starts there.
    Folded(i64, Stat),
    /// Windows of a leaf.
    Windows(Arc<Windows>, Range<usize>),
    /// A node that some cut divides.
    Pending(Link),
}

impl StatWalk {
    /// Hands out batches of at most `batch` windows. `cuts` have been checked against `ranges`, which are clipped to them,
    /// ascending and disjoint.
    pub(crate) fn new(view: View, cuts: Cuts, ranges: Arc<[TimeRange]>, batch: usize) -> Self {
        let mut walk = Self {
            plan: WindowPlan {
                cuts,
                ranges,
                cut: view.cut,
            },
            frontier: VecDeque::new(),
            runs: view.runs,
            open: None,
            ready: Ready::new(batch),
            done: false,
        };
        let all = Span::ROOT.range();
        if let (Some(root), [first, ..]) = (view.root, walk.plan.ranges_in(all)) {
            let covered = walk.plan.before_cut(*first).covers(all);
            let window = walk.plan.cuts.window_of(all.start);
            let whole = window.filter(|window| covered && all.end <= window.end);
            walk.frontier.push_back(match (whole, view.total) {
                (Some(window), Some(stat)) if stat.count > 0 => Item::Folded(window.start, stat),
                _ => Item::Pending(root),
            });
        }
        walk.drain();
        walk
    }

    /// What points count for.
    pub(crate) fn plan(&self) -> &WindowPlan {
        &self.plan
    }

    /// The next windows, as many as a batch has, or `windows` if they are fewer, except for the last ones; none if more nodes
    /// are needed first, or the walk is over.
    pub(crate) fn next(&mut self, windows: usize) -> Option<Windows> {
        self.ready.next(windows, self.done)
    }

    /// The links whose nodes the walk needs next; empty at its end.
    pub(crate) fn wants(&self) -> Vec<Link> {
        let pending = self.frontier.iter().filter_map(|item| match item {
            Item::Pending(link) => Some(link.clone()),
            Item::Folded(..) | Item::Windows(..) => None,
        });
        pending.take(LOOKAHEAD_NODES).collect()
    }

    /// Goes on with the nodes of the links last wanted, in their order, in one part or several.
    pub(crate) fn supply(&mut self, parts: Vec<Looked>) {
        let mut head = Vec::new();
        for part in parts {
            let mut told = 0;
            for node in part.nodes {
                // What is known before this node goes first; and the node's own link is answered.
                while let Some(item) = self.frontier.pop_front() {
                    if matches!(item, Item::Pending(_)) {
                        break;
                    }
                    self.take(item, &mut head);
                }
                match node {
                    LookedNode::Inner(inner) => self.expand(&inner, &mut head),
                    LookedNode::Leaf(count) => {
                        let windows = Item::Windows(Arc::clone(&part.windows), told..told + count);
                        self.take(windows, &mut head);
                        told += count;
                    }
                }
            }
        }
        for item in head.into_iter().rev() {
            self.frontier.push_front(item);
        }
        self.drain();
    }

    /// Adds what is known up; behind a node that has to be looked at, it waits.
    fn take(&mut self, item: Item, head: &mut Vec<Item>) {
        match item {
            Item::Folded(start, stat) if head.is_empty() => self.add(start, &stat),
            Item::Windows(windows, rows) if head.is_empty() => {
                self.add_all(&windows.times[rows.clone()], &windows.stats[rows]);
            }
            item => head.push(item),
        }
    }

    /// Folds the slots that lie in one window together, and leaves those that a cut divides to be looked into.
    fn expand(&mut self, inner: &Inner, head: &mut Vec<Item>) {
        let span = inner.span;
        let plan = self.plan.clone();
        let mut number = 0;
        for &range in plan.ranges_in(span.range()) {
            let range = plan.before_cut(range);
            let within = range.intersect(span.range());
            if within.is_empty() {
                return;
            }
            // Two ranges may reach into one slot, which is looked into once.
            number = number.max(span.slot_of(within.start));
            let last = span.slot_of(within.end - 1);
            while number <= last {
                let slot = span.child(number).range();
                let window = plan.cuts.window_of(slot.start);
                // How many slots from here on lie whole in the window and in the range.
                let end = window.map_or(slot.start, |window| window.end.min(range.end));
                let whole = if slot.start >= range.start && slot.end <= end {
                    ((end - slot.start) >> span.slot_exponent()) as usize
                } else {
                    0
                };
                match window.filter(|_| whole > 0) {
                    Some(window) => {
                        let behind = (number + whole).min(last + 1);
                        let stat = Stat::fold(inner.run_from(number, behind), |slot| &slot.stat);
                        if stat.count > 0 {
                            self.take(Item::Folded(window.start, stat), head);
                        }
                        number = behind;
                    }
                    None => {
                        let link = inner.slot(number).and_then(|slot| slot.link.as_ref());
                        head.extend(link.cloned().map(Item::Pending));
                        number += 1;
                    }
                }
            }
        }
    }

    /// Adds up what is certain at the front of the frontier.
    fn drain(&mut self) {
        let mut nothing = Vec::new();
        while let Some(Item::Folded(..) | Item::Windows(..)) = self.frontier.front() {
            if let Some(item) = self.frontier.pop_front() {
                self.take(item, &mut nothing);
            }
        }
        if self.frontier.is_empty() && !self.done {
            self.done = true;
            if let Some(runs) = self.runs.take() {
                self.add_runs(&runs);
            }
            self.close();
        }
    }

    /// Adds points of the tree, which come in order of time, and the runs of every window they leave behind.
    fn add(&mut self, start: i64, stat: &Stat) {
        if let Some((open, total)) = &mut self.open
            && *open == start
        {
            total.merge(stat);
            return;
        }
        if let Some(runs) = self.runs.take() {
            let due = runs.times().partition_point(|&time| time < start);
            self.add_runs(&runs.slice(0..due));
            let rest = runs.slice(due..runs.len());
            self.runs = (rest.len() > 0).then_some(rest);
        }
        self.close();
        self.open = Some((start, *stat));
    }

    /// The same, of many windows: whole ones are copied as they lie there.
    fn add_all(&mut self, times: &[i64], stats: &[Stat]) {
        // Two ranges may have points of one window in one leaf.
        let is_plain = self.runs.is_none() && times.is_sorted_by(|a, b| a < b);
        match (times, stats) {
            ([first, within @ .., last], [first_stat, stats @ .., last_stat]) if is_plain => {
                self.add(*first, first_stat);
                self.close();
                self.ready.extend(within, stats);
                self.open = Some((*last, *last_stat));
            }
            _ => times
                .iter()
                .zip(stats)
                .for_each(|(&start, stat)| self.add(start, stat)),
        }
    }

    /// Adds run points, none of which lies before the open window.
    fn add_runs(&mut self, runs: &Piece) {
        let (open, ready) = (&mut self.open, &mut self.ready);
        let mut steady = 1;
        for &range in self.plan.ranges_in(runs.range()) {
            for_each_window(
                &self.plan.cuts,
                &runs.clip(range),
                &mut steady,
                |window, values| match open {
                    Some((current, total)) if *current == window.start => {
                        total.merge(&Stat::of(values));
                    }
                    _ => {
                        if let Some((complete, stat)) =
                            open.replace((window.start, Stat::of(values)))
                        {
                            ready.push(complete, stat);
                        }
                    }
                },
            );
        }
    }

    fn close(&mut self) {
        if let Some((start, stat)) = self.open.take() {
            self.ready.push(start, stat);
        }
    }
}

/// Complete windows, in batches that are handed out as they are.
struct Ready {
    /// Windows of a batch.
    size: usize,
    /// Room that a new one has: where one was filled, the next ones probably are.
    room: usize,
    /// None is empty, and all but the last are full.
    batches: VecDeque<Windows>,
}

impl Ready {
    fn new(size: usize) -> Self {
        Self {
            size: size.max(1),
            room: 0,
            batches: VecDeque::new(),
        }
    }

    fn push(&mut self, time: i64, stat: Stat) {
        self.extend(&[time], &[stat]);
    }

    fn extend(&mut self, mut times: &[i64], mut stats: &[Stat]) {
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
    fn next(&mut self, windows: usize, is_all: bool) -> Option<Windows> {
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

impl WindowPlan {
    /// Looks at nodes: this is where the time goes, and it can be done beside each other.
    pub(crate) fn look(&self, nodes: Vec<Node>) -> Looked {
        let mut windows = Windows::default();
        let mut steady = 1;
        let nodes = nodes.into_iter().map(|node| match node {
            Node::Inner(inner) => LookedNode::Inner(inner),
            Node::Leaf(leaf) => {
                let before = windows.times.len();
                self.divide(&leaf, &mut steady, &mut windows);
                LookedNode::Leaf(windows.times.len() - before)
            }
        });
        Looked {
            nodes: nodes.collect(),
            windows: Arc::new(windows),
        }
    }

    /// The windows of a leaf's points.
    fn divide(&self, leaf: &Piece, steady: &mut usize, windows: &mut Windows) {
        for &range in self.ranges_in(leaf.range()) {
            let leaf = leaf.clip(self.before_cut(range));
            for_each_window(&self.cuts, &leaf, steady, |window, values| {
                windows.times.push(window.start);
                windows.stats.push(Stat::of(values));
            });
        }
    }

    /// The ranges that reach into `span`.
    fn ranges_in(&self, span: TimeRange) -> &[TimeRange] {
        let first = self.ranges.partition_point(|range| range.end <= span.start);
        let rest = &self.ranges[first..];
        &rest[..rest.partition_point(|range| range.start < span.end)]
    }

    /// The part of a range whose points of the tree count.
    fn before_cut(&self, range: TimeRange) -> TimeRange {
        TimeRange::new(range.start, range.end.min(self.cut))
    }
}

/// Divides sorted points by window. Points outside every window are left out. `steady` is how many points windows had before.
fn for_each_window(
    cuts: &Cuts,
    points: &Piece,
    steady: &mut usize,
    mut each: impl FnMut(TimeRange, &[f64]),
) {
    let (mut times, mut values) = (points.times(), points.values());
    let mut before = None;
    while let Some(&time) = times.first() {
        let window = match before {
            Some(before) => cuts.window_behind(before, time),
            None => cuts.window_of(time),
        };
        let mut count = 1;
        if let Some(window) = window {
            count = count_before(times, window.end, *steady);
            each(window, &values[..count]);
            // The first and the last window may go on in other leaves.
            if before.is_some() && count < times.len() {
                *steady = count;
            }
            before = Some(window);
        }
        (times, values) = (&times[count..], &values[count..]);
    }
}

/// How many of the sorted `times` lie before `end`, as the first does. On a steady clock it is `guess`, which is tried first.
fn count_before(times: &[i64], end: i64, guess: usize) -> usize {
    let is_before = |row: usize| times.get(row).map(|&time| time < end);
    if is_before(guess - 1) == Some(true) && is_before(guess) == Some(false) {
        return guess;
    }
    rank(times, end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guess_changes_no_count() {
        let times: Vec<i64> = (0..40).map(|i| i * i).collect();
        for end in 1..1700 {
            let expected = times.partition_point(|&time| time < end);
            for guess in 1..60 {
                assert_eq!(count_before(&times, end, guess), expected, "{end}, {guess}");
            }
        }
    }

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
