//! Statistics between cut points: the one primitive behind windows, aligned windows, time buckets and whole ranges.
//!
//! The frontier holds the rest of the tree in order of time. A slot that lies inside one window is folded from its
//! statistics; one that a cut, or the end of a range, divides is looked into. Windows therefore cost their boundaries, not
//! their points.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::engine::history::View;
use crate::engine::tree::{Inner, Link, Node, Piece, Span};
use crate::model::{Cuts, Stat, TimeRange};

/// Nodes asked for at once: the boundaries of a thousand windows in one round a level. Where every point is a window of its own,
/// so many leaves make 80 MiB of windows; more would not be kept in check.
const LOOKAHEAD_NODES: usize = 1024;

/// The statistics of a view's windows, ascending; windows without points are absent.
pub(crate) struct StatWalk {
    plan: WindowPlan,
    frontier: VecDeque<Item>,
    runs: Option<Piece>,
    /// The window being filled; none before the first.
    open: Option<(TimeRange, Stat)>,
    /// Complete windows.
    ready: VecDeque<(i64, Stat)>,
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

/// A node with the work done that needs nothing but the node.
pub(crate) enum Looked {
    Inner(Arc<Inner>),
    /// The windows of a leaf's points.
    Leaf(Vec<(TimeRange, Stat)>),
}

enum Item {
    /// Points that all lie in one window.
    Folded { window: TimeRange, stat: Stat },
    /// A node that some cut divides.
    Pending(Link),
}

impl StatWalk {
    /// `cuts` have been checked against `ranges`, which are clipped to them, ascending and disjoint.
    pub(crate) fn new(view: View, cuts: Cuts, ranges: Arc<[TimeRange]>) -> Self {
        let mut walk = Self {
            plan: WindowPlan {
                cuts,
                ranges,
                cut: view.cut,
            },
            frontier: VecDeque::new(),
            runs: view.runs,
            open: None,
            ready: VecDeque::new(),
            done: false,
        };
        let all = Span::ROOT.range();
        if let (Some(root), [first, ..]) = (view.root, walk.plan.ranges_in(all)) {
            let covered = walk.plan.before_cut(*first).covers(all);
            let window = walk.plan.cuts.window_of(all.start);
            let whole = window.filter(|window| covered && all.end <= window.end);
            walk.frontier.push_back(match (whole, view.total) {
                (Some(window), Some(stat)) if stat.count > 0 => Item::Folded { window, stat },
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

    /// Up to `windows` complete windows; none if more nodes are needed first, or the walk is over.
    pub(crate) fn next(&mut self, windows: usize) -> Option<(Vec<i64>, Vec<Stat>)> {
        if self.ready.is_empty() || (self.ready.len() < windows && !self.done) {
            return None;
        }
        let count = windows.min(self.ready.len());
        Some(self.ready.drain(..count).unzip())
    }

    /// The links whose nodes the walk needs next; empty at its end.
    pub(crate) fn wants(&self) -> Vec<Link> {
        let pending = self.frontier.iter().filter_map(|item| match item {
            Item::Pending(link) => Some(link.clone()),
            Item::Folded { .. } => None,
        });
        pending.take(LOOKAHEAD_NODES).collect()
    }

    /// Goes on with the nodes of the links last wanted, in their order.
    pub(crate) fn supply(&mut self, nodes: Vec<Looked>) {
        let mut head = Vec::with_capacity(4 * nodes.len());
        for node in nodes {
            while let Some(Item::Folded { .. }) = self.frontier.front() {
                head.extend(self.frontier.pop_front());
            }
            self.frontier.pop_front();
            match node {
                Looked::Leaf(windows) => head.extend(
                    windows
                        .into_iter()
                        .map(|(window, stat)| Item::Folded { window, stat }),
                ),
                Looked::Inner(inner) => self.expand(&inner, &mut head),
            }
        }
        for item in head.into_iter().rev() {
            self.frontier.push_front(item);
        }
        self.drain();
    }

    /// Folds the slots that lie in one window together, and leaves those that a cut divides to be looked into.
    fn expand(&self, inner: &Inner, frontier: &mut Vec<Item>) {
        let span = inner.span;
        let mut number = 0;
        for &range in self.plan.ranges_in(span.range()) {
            let range = self.plan.before_cut(range);
            let within = range.intersect(span.range());
            if within.is_empty() {
                return;
            }
            // Two ranges may reach into one slot, which is looked into once.
            number = number.max(span.slot_of(within.start));
            let last = span.slot_of(within.end - 1);
            while number <= last {
                let slot = span.child(number).range();
                let window = self.plan.cuts.window_of(slot.start);
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
                        let linked = inner.run_from(number, behind).iter();
                        let stat = Stat::fold(linked.map(|slot| &slot.stat));
                        if stat.count > 0 {
                            frontier.push(Item::Folded { window, stat });
                        }
                        number = behind;
                    }
                    None => {
                        let link = inner.slot(number).and_then(|slot| slot.link.as_ref());
                        frontier.extend(link.cloned().map(Item::Pending));
                        number += 1;
                    }
                }
            }
        }
    }

    /// Folds what is certain from the front of the frontier into windows.
    fn drain(&mut self) {
        while let Some(Item::Folded { window, stat }) = self.frontier.front() {
            let (window, stat) = (*window, *stat);
            self.frontier.pop_front();
            self.add(window, &stat);
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
    fn add(&mut self, window: TimeRange, stat: &Stat) {
        if let Some((open, total)) = &mut self.open
            && *open == window
        {
            total.merge(stat);
            return;
        }
        if let Some(runs) = self.runs.take() {
            let due = runs.times().partition_point(|&time| time < window.start);
            self.add_runs(&runs.slice(0..due));
            let rest = runs.slice(due..runs.len());
            self.runs = (rest.len() > 0).then_some(rest);
        }
        self.close();
        self.open = Some((window, *stat));
    }

    /// Adds run points, none of which lies before the open window.
    fn add_runs(&mut self, runs: &Piece) {
        let mut open = self.open.take();
        let mut ready = std::mem::take(&mut self.ready);
        for &range in self.plan.ranges_in(runs.range()) {
            for_each_window(
                &self.plan.cuts,
                &runs.clip(range),
                |window, values| match &mut open {
                    Some((current, total)) if *current == window => total.merge(&Stat::of(values)),
                    _ => {
                        if let Some((complete, stat)) = open.replace((window, Stat::of(values))) {
                            ready.push_back((complete.start, stat));
                        }
                    }
                },
            );
        }
        self.ready = ready;
        self.open = open;
    }

    fn close(&mut self) {
        if let Some((window, stat)) = self.open.take() {
            self.ready.push_back((window.start, stat));
        }
    }
}

impl WindowPlan {
    /// Looks at nodes: this is where the time goes, and it can be done beside each other.
    pub(crate) fn look(&self, nodes: Vec<Node>) -> Vec<Looked> {
        let looked = nodes.into_iter().map(|node| match node {
            Node::Inner(inner) => Looked::Inner(inner),
            Node::Leaf(leaf) => Looked::Leaf(self.windows(&leaf)),
        });
        looked.collect()
    }

    fn windows(&self, leaf: &Piece) -> Vec<(TimeRange, Stat)> {
        // Most leaves are looked at because one cut divides them.
        let mut windows = Vec::with_capacity(2);
        for &range in self.ranges_in(leaf.range()) {
            let leaf = leaf.clip(self.before_cut(range));
            for_each_window(&self.cuts, &leaf, |window, values| {
                windows.push((window, Stat::of(values)));
            });
        }
        windows
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

/// Divides sorted points by window. Points outside every window are left out.
fn for_each_window(cuts: &Cuts, points: &Piece, mut each: impl FnMut(TimeRange, &[f64])) {
    let (times, values) = (points.times(), points.values());
    let mut row = 0;
    while row < times.len() {
        let Some(window) = cuts.window_of(times[row]) else {
            row += 1;
            continue;
        };
        let len = times[row..].partition_point(|&time| time < window.end);
        each(window, &values[row..row + len]);
        row += len;
    }
}
