//! Statistics between cut points: the one primitive behind windows, aligned windows, time buckets and whole ranges.
//!
//! The frontier holds the rest of the tree in order of time. A slot that lies inside one window is folded from its
//! statistics; one that a cut, or the end of a range, divides is looked into. Windows therefore cost their boundaries, not
//! their points.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use super::kept::{KEPT_WINDOWS_MAX, Worth};
use super::ready::Ready;
use crate::engine::cache::Grid;
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
    /// Of a walk over one node that is to be kept: the parts of its first window.
    first: Option<Vec<(i64, Stat)>>,
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
    /// Under which whole nodes may be known, if any.
    grid: Option<Grid>,
}

/// Windows by their starts, and the statistics of each.
#[derive(Debug, Default)]
pub(crate) struct Windows {
    pub(crate) times: Vec<i64>,
    pub(crate) stats: Vec<Stat>,
}

/// A node that the walk goes on with.
#[derive(Clone)]
pub(crate) struct Want {
    pub(crate) link: Link,
    /// Whether all points beneath it count.
    pub(super) is_whole: bool,
    /// An inner node that is worth keeping.
    pub(crate) kept: Option<Worth>,
}

/// A node, with the work done that needs nothing but the node.
pub(crate) enum LookedNode {
    Inner(Arc<Inner>),
    /// These windows of a leaf's points, among those of other leaves: a window that spans two leaves is there twice.
    Leaf(Arc<Windows>, Range<usize>),
    /// The windows of a node that was divided so before.
    Known(Arc<[(i64, Stat)]>),
}

enum Item {
    /// Points that all lie in the window that starts there.
    Folded(i64, Stat),
    /// Windows of a leaf.
    Windows(Arc<Windows>, Range<usize>),
    /// The same, as they were kept.
    Known(Arc<[(i64, Stat)]>),
    /// A node that some cut divides.
    Pending(Want),
}

impl LookedNode {
    /// The windows of a leaf, if they are few enough to be kept.
    pub(crate) fn few(&self) -> Option<Arc<[(i64, Stat)]>> {
        match self {
            Self::Leaf(windows, rows) if rows.len() <= KEPT_WINDOWS_MAX => {
                let times = windows.times[rows.clone()].iter().copied();
                Some(
                    times
                        .zip(windows.stats[rows.clone()].iter().copied())
                        .collect(),
                )
            }
            _ => None,
        }
    }
}

impl StatWalk {
    /// Hands out batches of at most `batch` windows. `cuts` have been checked against `ranges`, which are clipped to them,
    /// ascending and disjoint. Nodes may be known under `grid`.
    pub(crate) fn new(
        view: View,
        cuts: Cuts,
        ranges: Arc<[TimeRange]>,
        grid: Option<Grid>,
        batch: usize,
    ) -> Self {
        let plan = WindowPlan {
            cuts,
            ranges,
            cut: view.cut,
            grid,
        };
        let mut walk = Self {
            runs: view.runs,
            ..Self::over(plan, batch)
        };
        let all = Span::ROOT.range();
        if let (Some(root), [first, ..]) = (view.root, walk.plan.ranges_in(all)) {
            let covered = walk.plan.before_cut(*first).covers(all);
            let window = walk.plan.cuts.window_of(all.start);
            let whole = window.filter(|window| covered && all.end <= window.end);
            walk.frontier.push_back(match (whole, view.total) {
                (Some(window), Some(stat)) if stat.count > 0 => Item::Folded(window.start, stat),
                _ => Item::Pending(Want {
                    link: root,
                    is_whole: false,
                    kept: None,
                }),
            });
        }
        walk.drain();
        walk
    }

    /// A walk over all of an inner node, as `plan` divides it, to be [kept](Self::into_kept).
    pub(crate) fn beneath(link: Link, span: Span, plan: &WindowPlan) -> Self {
        let plan = WindowPlan {
            ranges: Arc::new([span.range()]),
            cut: i64::MAX,
            // It is this node that is kept, and its leaves.
            grid: None,
            cuts: plan.cuts.clone(),
        };
        let mut walk = Self {
            first: Some(Vec::new()),
            ..Self::over(plan, usize::MAX)
        };
        walk.frontier.push_back(Item::Pending(Want {
            link,
            is_whole: false,
            kept: None,
        }));
        walk
    }

    fn over(plan: WindowPlan, batch: usize) -> Self {
        Self {
            plan,
            frontier: VecDeque::new(),
            runs: None,
            first: None,
            open: None,
            ready: Ready::new(batch),
            done: false,
        }
    }

    /// What a walk [beneath](Self::beneath) a node found, when it wants no more.
    pub(crate) fn into_kept(mut self) -> Arc<[(i64, Stat)]> {
        let first = self.first.take().unwrap_or_default();
        let rest = self.ready.next(usize::MAX, true).unwrap_or_default();
        let rest = rest.times.into_iter().zip(rest.stats);
        first.into_iter().chain(rest).collect()
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

    /// The nodes that the walk needs next; empty at its end.
    pub(crate) fn wants(&self) -> Vec<Want> {
        let pending = self.frontier.iter().filter_map(|item| match item {
            Item::Pending(want) => Some(want.clone()),
            Item::Folded(..) | Item::Windows(..) | Item::Known(_) => None,
        });
        pending.take(LOOKAHEAD_NODES).collect()
    }

    /// Goes on with the nodes last wanted, in their order, or with the first of them.
    pub(crate) fn supply(&mut self, nodes: impl IntoIterator<Item = LookedNode>) {
        let mut head = Vec::new();
        for node in nodes {
            // What is known before this node goes first; and the node's own link is answered.
            while let Some(item) = self.frontier.pop_front() {
                if matches!(item, Item::Pending(_)) {
                    break;
                }
                self.take(item, &mut head);
            }
            match node {
                LookedNode::Inner(inner) => self.expand(&inner, &mut head),
                LookedNode::Leaf(windows, rows) => {
                    self.take(Item::Windows(windows, rows), &mut head);
                }
                LookedNode::Known(windows) => self.take(Item::Known(windows), &mut head),
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
            Item::Known(windows) if head.is_empty() => {
                for (start, stat) in windows.iter() {
                    self.add(*start, stat);
                }
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
                        let is_whole = range.start <= slot.start && slot.end <= range.end;
                        if let Some(entry) = inner.slot(number)
                            && let Some(link) = entry.link.clone()
                        {
                            let child = span.child(number);
                            let grid = plan.grid.filter(|_| is_whole);
                            let is_last = inner.is_last(number);
                            head.push(Item::Pending(Want {
                                link,
                                is_whole,
                                kept: grid.and_then(|grid| grid.worth(entry, child, is_last)),
                            }));
                        }
                        number += 1;
                    }
                }
            }
        }
    }

    /// Adds up what is certain at the front of the frontier.
    fn drain(&mut self) {
        let mut nothing = Vec::new();
        while let Some(Item::Folded(..) | Item::Windows(..) | Item::Known(_)) =
            self.frontier.front()
        {
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
        if let Some(first) = &mut self.first
            && first.first().is_none_or(|(window, _)| *window == start)
        {
            first.push((start, *stat));
            return;
        }
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

impl WindowPlan {
    /// Looks at nodes: this is where the time goes, and it can be done beside each other.
    pub(crate) fn look(&self, nodes: Vec<Node>) -> Vec<LookedNode> {
        let mut windows = Windows::default();
        let mut steady = 1;
        let rows: Vec<_> = nodes
            .iter()
            .map(|node| {
                let before = windows.times.len();
                if let Node::Leaf(leaf) = node {
                    self.divide(leaf, &mut steady, &mut windows);
                }
                before..windows.times.len()
            })
            .collect();
        let windows = Arc::new(windows);
        let looked = nodes.into_iter().zip(rows).map(|(node, rows)| match node {
            Node::Inner(inner) => LookedNode::Inner(inner),
            Node::Leaf(_) => LookedNode::Leaf(Arc::clone(&windows), rows),
        });
        looked.collect()
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
}
