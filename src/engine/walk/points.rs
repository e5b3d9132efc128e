//! Raw points in either direction, with a limit.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::buffer::ScalarBuffer;

use crate::engine::history::View;
use crate::engine::tree::{Inner, Link, Node, Piece};
use crate::model::{Direction, PointQuery, TimeRange, ValueBounds};

/// Nodes asked for at once. With leaves of 129 points, as 30 Hz has them, this is a batch's worth.
const LOOKAHEAD_NODES: usize = 512;

/// Leaves asked for at once where only some values are of use: few, because what they hold may narrow which ones. Twice as many
/// each time that it does not.
const CAREFUL_LEAVES: usize = 8;

/// Points after which no more nodes are asked for at once.
const LOOKAHEAD_POINTS: u64 = 128 * 1024;

/// Pieces at least this long are handed out as slices of their chunk; shorter ones are copied together, because a message of
/// fewer rows costs more than copying them.
const SLICE_POINTS_MIN: usize = 8192;

/// The points of a view that lie in some ranges.
pub(crate) struct PointWalk {
    view: View,
    direction: Direction,
    /// Those not begun yet, the next one last.
    ranges: Vec<TimeRange>,
    range: TimeRange,
    /// What is left of the tree in `range`, in the direction of travel.
    frontier: VecDeque<Item>,
    /// What is left of the runs in `range`.
    runs: Option<Piece>,
    /// Points in final order, not handed out yet.
    ready: VecDeque<Piece>,
    ready_points: usize,
    /// Points that may still be found.
    remaining: u64,
    values: Option<Wanted>,
}

/// Which values are of use, and how far ahead of them the walk goes.
struct Wanted {
    bounds: Arc<ValueBounds>,
    /// As they were when nodes were last asked for.
    last: (f64, f64),
    /// To be asked for at once.
    leaves: usize,
    /// Whether points were handed out since.
    has_told: bool,
}

enum Item {
    /// Not looked at yet; `points` of it are known to lie in the range.
    Pending {
        link: Link,
        points: u64,
        /// The least and the greatest value beneath.
        extremes: (f64, f64),
    },
    Found(Piece),
}

impl PointWalk {
    /// What a query, whose ranges have been checked, asks of one view.
    pub(crate) fn new(view: View, query: &PointQuery) -> Self {
        let mut ranges = query.ranges.clone();
        if query.direction == Direction::Forward {
            ranges.reverse();
        }
        Self {
            view,
            direction: query.direction,
            ranges,
            range: TimeRange::new(0, 0),
            frontier: VecDeque::new(),
            runs: None,
            ready: VecDeque::new(),
            ready_points: 0,
            remaining: query.limit.unwrap_or(u64::MAX),
            values: query.values.as_ref().map(|bounds| Wanted {
                bounds: Arc::clone(bounds),
                last: bounds.get(),
                leaves: CAREFUL_LEAVES,
                has_told: false,
            }),
        }
    }

    /// Up to `rows` points in final order, fewer only if more need nodes or there are no more. Where only some values are of
    /// use, whatever there is: the reader may learn from it.
    ///
    /// After none, ask for [`wants`](Self::wants): if that is empty too, the walk is over.
    pub(crate) fn next(&mut self, rows: usize) -> Option<(ScalarBuffer<i64>, ScalarBuffer<f64>)> {
        if self.ready_points < rows && !self.is_exhausted() && self.values.is_none() {
            return None;
        }
        let first = self.ready.front()?;
        if let Some(wanted) = &mut self.values {
            wanted.has_told = true;
        }
        let batch =
            if self.direction == Direction::Forward && first.len() >= SLICE_POINTS_MIN.min(rows) {
                // Even parts: a batch of a few rows costs as much to send as one of thousands.
                let part = first.len().div_ceil(first.len().div_ceil(rows));
                let taken = first.slice(0..part);
                self.consume(taken.len());
                (
                    taken.chunk.times.slice(taken.rows.start, taken.len()),
                    taken.chunk.values.slice(taken.rows.start, taken.len()),
                )
            } else {
                self.copy(rows)
            };
        Some(batch)
    }

    /// Whether the walk looks as far ahead as it ever does.
    pub(crate) fn is_at_full_speed(&self) -> bool {
        let full = |wanted: &Wanted| wanted.leaves == LOOKAHEAD_NODES;
        self.values.as_ref().is_none_or(full)
    }

    /// The links whose nodes the walk needs next.
    pub(crate) fn wants(&mut self) -> Vec<Link> {
        let leaves_max = self.narrow();
        while self.frontier.is_empty() && self.runs.is_none() && self.remaining > 0 {
            let Some(range) = self.ranges.pop() else {
                break;
            };
            self.begin(range);
        }
        let mut links = Vec::new();
        let (mut leaves, mut points) = (0, 0);
        let enough = LOOKAHEAD_POINTS.min(self.remaining);
        for item in &self.frontier {
            if let Item::Pending {
                link,
                points: known,
                ..
            } = item
            {
                links.push(link.clone());
                points += known;
                leaves += usize::from(link.is_leaf());
                if links.len() == LOOKAHEAD_NODES || leaves == leaves_max || points >= enough {
                    break;
                }
            }
        }
        links
    }

    /// Goes on with the nodes of the links last wanted, in their order.
    pub(crate) fn supply(&mut self, nodes: Vec<Node>) {
        let mut head = Vec::new();
        for node in nodes {
            while let Some(Item::Found(_)) = self.frontier.front() {
                head.extend(self.frontier.pop_front());
            }
            if let Some(item) = self.frontier.pop_front()
                && self.excludes(&item)
            {
                continue;
            }
            match node {
                Node::Leaf(leaf) => head.push(Item::Found(leaf.clip(self.tree_range()))),
                Node::Inner(inner) => self.expand(&inner, &mut head),
            }
        }
        for item in head.into_iter().rev() {
            self.frontier.push_front(item);
        }
        self.drain();
    }

    fn is_exhausted(&self) -> bool {
        (self.frontier.is_empty() && self.runs.is_none() && self.ranges.is_empty())
            || self.remaining == 0
    }

    fn tree_range(&self) -> TimeRange {
        TimeRange::new(self.range.start, self.range.end.min(self.view.cut))
    }

    fn begin(&mut self, range: TimeRange) {
        self.range = range;
        let runs = self.view.runs.as_ref().map(|runs| runs.clip(range));
        self.runs = runs.filter(|runs| runs.len() > 0 && !self.excludes_all(runs));
        let total = self.view.total;
        let root = self.view.root.clone().map(|link| Item::Pending {
            link,
            points: 0,
            extremes: total.map_or((f64::NEG_INFINITY, f64::INFINITY), |stat| {
                (stat.min, stat.max)
            }),
        });
        self.frontier
            .extend(root.filter(|root| !self.excludes(root)));
        self.drain();
    }

    /// Whether the item is known to hold nothing of use.
    fn excludes(&self, item: &Item) -> bool {
        match (&self.values, item) {
            (Some(wanted), Item::Pending { extremes, .. }) => {
                wanted.bounds.excludes(extremes.0, extremes.1)
            }
            _ => false,
        }
    }

    fn excludes_all(&self, piece: &Piece) -> bool {
        let excludes = |wanted: &Wanted| -> bool {
            piece
                .values()
                .iter()
                .all(|&value| wanted.bounds.excludes(value, value))
        };
        self.values.as_ref().is_some_and(excludes)
    }

    /// Forgets what the bounds exclude by now; answers how many leaves to ask for.
    fn narrow(&mut self) -> usize {
        let Some(wanted) = &mut self.values else {
            return LOOKAHEAD_NODES;
        };
        let (moved, leaves) = (wanted.look(), wanted.leaves);
        if moved {
            let mut frontier = std::mem::take(&mut self.frontier);
            frontier.retain(|item| !self.excludes(item));
            self.frontier = frontier;
            let runs = self.runs.take();
            self.runs = runs.filter(|runs| !self.excludes_all(runs));
            self.drain();
        }
        leaves
    }

    fn expand(&self, inner: &Inner, frontier: &mut Vec<Item>) {
        let range = self.tree_range();
        let pending = inner.slots_in(range).filter_map(|(span, slot)| {
            let link = slot.link.clone()?;
            let points = if range.covers(span.range()) {
                slot.stat.count
            } else {
                0
            };
            let extremes = (slot.stat.min, slot.stat.max);
            Some(Item::Pending {
                link,
                points,
                extremes,
            })
        });
        let pending = pending.filter(|item| !self.excludes(item));
        let first = frontier.len();
        frontier.extend(pending);
        if self.direction == Direction::Backward {
            frontier[first..].reverse();
        }
    }

    /// Moves what is certain from the front of the frontier, merged with the runs, to `ready`.
    fn drain(&mut self) {
        while let Some(Item::Found(_)) = self.frontier.front() {
            let Some(Item::Found(piece)) = self.frontier.pop_front() else {
                break;
            };
            match self.direction {
                Direction::Forward => self.merge_forward(piece),
                Direction::Backward => self.merge_backward(piece),
            }
        }
        if self.frontier.is_empty()
            && let Some(rest) = self.runs.take()
        {
            self.push(rest);
        }
        if self.remaining == 0 {
            self.frontier.clear();
            self.runs = None;
        }
    }

    /// Run points go behind points of the tree that have their time.
    fn merge_forward(&mut self, mut piece: Piece) {
        while piece.len() > 0 {
            let Some(runs) = self.runs.clone() else { break };
            let before = piece
                .times()
                .partition_point(|&time| time <= runs.times()[0]);
            self.push(piece.slice(0..before));
            piece = piece.slice(before..piece.len());
            if let Some(&next) = piece.times().first() {
                let due = runs.times().partition_point(|&time| time < next);
                self.push(runs.slice(0..due));
                self.set_runs(runs.slice(due..runs.len()));
            }
        }
        self.push(piece);
    }

    /// Backwards, run points come first.
    fn merge_backward(&mut self, mut piece: Piece) {
        while piece.len() > 0 {
            let Some(runs) = self.runs.clone() else { break };
            let newest = runs.times()[runs.len() - 1];
            let after = piece.times().partition_point(|&time| time <= newest);
            self.push(piece.slice(after..piece.len()));
            piece = piece.slice(0..after);
            if let Some(&next) = piece.times().last() {
                let due = runs.times().partition_point(|&time| time < next);
                self.push(runs.slice(due..runs.len()));
                self.set_runs(runs.slice(0..due));
            }
        }
        self.push(piece);
    }

    fn set_runs(&mut self, runs: Piece) {
        self.runs = (runs.len() > 0).then_some(runs);
    }

    fn push(&mut self, piece: Piece) {
        let len = piece
            .len()
            .min(usize::try_from(self.remaining).unwrap_or(usize::MAX));
        if len == 0 {
            return;
        }
        let kept = match self.direction {
            Direction::Forward => piece.slice(0..len),
            Direction::Backward => piece.slice(piece.len() - len..piece.len()),
        };
        self.remaining -= len as u64;
        self.ready_points += len;
        let joined = self.direction == Direction::Forward
            && self.ready.back_mut().is_some_and(|last| last.extend(&kept));
        if !joined {
            self.ready.push_back(kept);
        }
    }

    /// Drops `points` from the front of `ready`.
    fn consume(&mut self, points: usize) {
        self.ready_points -= points;
        let mut left = points;
        while left > 0 {
            let Some(first) = self.ready.front_mut() else {
                break;
            };
            let taken = left.min(first.len());
            match self.direction {
                Direction::Forward => first.rows.start += taken,
                Direction::Backward => first.rows.end -= taken,
            }
            if first.len() == 0 {
                self.ready.pop_front();
            }
            left -= taken;
        }
    }

    /// Copies short pieces together, up to `rows` or to the next piece worth a slice of its own.
    fn copy(&mut self, rows: usize) -> (ScalarBuffer<i64>, ScalarBuffer<f64>) {
        let capacity = rows.min(self.ready_points);
        let mut times = Vec::with_capacity(capacity);
        let mut values = Vec::with_capacity(capacity);
        for piece in &self.ready {
            let room = rows - times.len();
            if room == 0
                || (self.direction == Direction::Forward
                    && !times.is_empty()
                    && piece.len() >= SLICE_POINTS_MIN)
            {
                break;
            }
            let len = piece.len().min(room);
            match self.direction {
                Direction::Forward => {
                    times.extend_from_slice(&piece.times()[..len]);
                    values.extend_from_slice(&piece.values()[..len]);
                }
                Direction::Backward => {
                    times.extend(piece.times().iter().rev().take(len));
                    values.extend(piece.values().iter().rev().take(len));
                }
            }
        }
        self.consume(times.len());
        (times.into(), values.into())
    }
}

impl Wanted {
    /// Answers whether the bounds have moved, and decides how far ahead to look.
    fn look(&mut self) -> bool {
        let bounds = self.bounds.get();
        let moved = bounds != self.last;
        if moved {
            self.leaves = CAREFUL_LEAVES;
        } else if self.has_told {
            self.leaves = (2 * self.leaves).min(LOOKAHEAD_NODES);
        }
        self.last = bounds;
        self.has_told = false;
        moved
    }
}
