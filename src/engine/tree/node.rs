//! Inner nodes, leaves, and the chunks that leaves share.

use std::ops::Range;
use std::sync::Arc;

use arrow::buffer::ScalarBuffer;

use super::{Address, LeafRef, Span};
use crate::model::{Stat, TimeRange, Version};

/// A reference to a node, as a slot holds it.
///
/// Walks hand links out and get nodes back; they never ask where a node is.
#[derive(Clone, Debug)]
pub(crate) enum Link {
    /// The node itself: only while a mutation is worked out, and in tests.
    Held(Node),
    /// An inner node in the store.
    Inner(Address),
    /// Points in the store.
    Leaf(LeafRef),
}

impl Link {
    pub(crate) fn is_leaf(&self) -> bool {
        matches!(self, Self::Leaf(_) | Self::Held(Node::Leaf(_)))
    }
}

/// A node in hand.
#[derive(Clone, Debug)]
pub(crate) enum Node {
    Inner(Arc<Inner>),
    Leaf(Leaf),
}

/// Sixty-four slots of equal width, of which only the occupied ones are kept.
#[derive(Clone, Debug)]
pub(crate) struct Inner {
    pub(crate) span: Span,
    /// Up to this version the node was a leaf, or nothing: what changed then is only known to lie somewhere in the span.
    pub(crate) born: Version,
    /// Bit i is set if slot i is occupied.
    mask: u64,
    /// The occupied slots, in order.
    slots: Vec<Slot>,
}

/// What a node knows of a child without looking at it.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    /// The version that last changed anything beneath.
    pub(crate) generation: Version,
    /// Of all points beneath.
    pub(crate) stat: Stat,
    /// None where everything beneath was deleted: the generation stays, so that changes can be told.
    pub(crate) link: Option<Link>,
}

impl Slot {
    /// A slot over `node`.
    pub(crate) fn over(node: Node, generation: Version) -> Self {
        let stat = node.stat();
        Self {
            generation,
            stat,
            link: (stat.count > 0).then_some(Link::Held(node)),
        }
    }
}

impl Node {
    fn stat(&self) -> Stat {
        match self {
            Self::Inner(inner) => inner.stat(),
            Self::Leaf(leaf) => Stat::of(leaf.values()),
        }
    }
}

impl Inner {
    /// Without slots, in the place of a leaf or of nothing that last changed at `born`.
    pub(crate) fn empty(span: Span, born: Version) -> Self {
        Self {
            span,
            born,
            mask: 0,
            slots: Vec::new(),
        }
    }

    /// The slot with this number, if it is occupied.
    pub(crate) fn slot(&self, number: usize) -> Option<&Slot> {
        (self.mask >> number & 1 == 1).then(|| &self.slots[self.rank(number)])
    }

    /// Whether this number is that of the last occupied slot.
    pub(crate) fn is_last(&self, number: usize) -> bool {
        self.mask >> number == 1
    }

    /// Puts a slot at this number, whether or not one was there.
    pub(crate) fn set(&mut self, number: usize, slot: Slot) {
        let rank = self.rank(number);
        if self.mask >> number & 1 == 1 {
            self.slots[rank] = slot;
        } else {
            self.slots.insert(rank, slot);
            self.mask |= 1 << number;
        }
        assert_eq!(self.mask.count_ones() as usize, self.slots.len());
    }

    /// Every occupied slot, ascending, with its number.
    pub(crate) fn slots(&self) -> impl Iterator<Item = (usize, &Slot)> {
        let numbers = (0..64).filter(|&number| self.mask >> number & 1 == 1);
        numbers.zip(&self.slots)
    }

    /// What the node takes in memory, without its children.
    pub(crate) fn bytes(&self) -> usize {
        // Runs of pages are shared by the leaves of the node; a page takes some 20 bytes.
        size_of::<Self>() + self.slots.len() * (size_of::<Slot>() + 24)
    }

    /// Occupied slots that reach into `range`, ascending, with what they cover.
    pub(crate) fn slots_in(&self, range: TimeRange) -> impl Iterator<Item = (Span, &Slot)> {
        let range = range.intersect(self.span.range());
        let (first, last) = if range.is_empty() {
            (1, 0)
        } else {
            (
                self.span.slot_of(range.start),
                self.span.slot_of(range.end - 1),
            )
        };
        (first..=last).filter_map(|number| Some((self.span.child(number), self.slot(number)?)))
    }

    /// The occupied slots from this number up to, and without, another; 64 is behind the last.
    pub(crate) fn run_from(&self, number: usize, behind: usize) -> &[Slot] {
        let end = if behind >= 64 {
            self.slots.len()
        } else {
            self.rank(behind)
        };
        &self.slots[self.rank(number)..end]
    }

    /// Of all points beneath.
    pub(crate) fn stat(&self) -> Stat {
        Stat::fold(&self.slots, |slot| &slot.stat)
    }

    fn rank(&self, number: usize) -> usize {
        (self.mask & ((1 << number) - 1)).count_ones() as usize
    }
}

/// Sorted points in two buffers. Leaves that were written together are slices of one chunk, and a scan that crosses them
/// hands out one slice.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    pub(crate) times: ScalarBuffer<i64>,
    pub(crate) values: ScalarBuffer<f64>,
}

impl Chunk {
    pub(crate) fn new(times: Vec<i64>, values: Vec<f64>) -> Self {
        assert_eq!(times.len(), values.len());
        assert!(times.is_sorted());
        Self {
            times: times.into(),
            values: values.into(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.times.len()
    }
}

/// Some consecutive points of a chunk.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub(crate) chunk: Arc<Chunk>,
    pub(crate) rows: Range<usize>,
}

impl Piece {
    pub(crate) fn whole(chunk: Arc<Chunk>) -> Self {
        let rows = 0..chunk.len();
        Self { chunk, rows }
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn times(&self) -> &[i64] {
        &self.chunk.times[self.rows.clone()]
    }

    pub(crate) fn values(&self) -> &[f64] {
        &self.chunk.values[self.rows.clone()]
    }

    /// From its first point to its last; empty if it has none.
    pub(crate) fn range(&self) -> TimeRange {
        match self.times() {
            [] => TimeRange::new(0, 0),
            times => TimeRange::new(times[0], times[times.len() - 1] + 1),
        }
    }

    /// These rows of it, counted from its own first.
    pub(crate) fn slice(&self, rows: Range<usize>) -> Self {
        assert!(rows.end <= self.len());
        let base = self.rows.start;
        Self {
            chunk: Arc::clone(&self.chunk),
            rows: base + rows.start..base + rows.end,
        }
    }

    /// The part whose times lie in `range`.
    pub(crate) fn clip(&self, range: TimeRange) -> Self {
        let times = self.times();
        let start = rank(times, range.start);
        self.slice(start..start.max(rank(times, range.end)))
    }

    /// Grows by `next` if that continues it in the same chunk.
    pub(crate) fn extend(&mut self, next: &Self) -> bool {
        let adjoins = Arc::ptr_eq(&self.chunk, &next.chunk) && self.rows.end == next.rows.start;
        if adjoins {
            self.rows.end = next.rows.end;
        }
        adjoins
    }
}

/// How many of the sorted `times` lie before `bound`.
///
/// Looks where a steady clock would have it first: memory that nobody looked at lately is what a search waits for.
pub(crate) fn rank(times: &[i64], bound: i64) -> usize {
    let (Some(&first), Some(&last)) = (times.first(), times.last()) else {
        return 0;
    };
    if bound <= first {
        return 0;
    }
    if bound > last {
        return times.len();
    }
    // Both differences fit, taken without a sign.
    let part = bound.wrapping_sub(first) as u64 as f64 / last.wrapping_sub(first) as u64 as f64;
    let guess = ((part * (times.len() - 1) as f64).ceil() as usize).clamp(1, times.len() - 1);
    let (mut low, mut high) = (guess, guess);
    let mut step = 1;
    while times[high] < bound {
        low = high + 1;
        high = (high + step).min(times.len() - 1);
        step *= 2;
    }
    step = 1;
    while times[low - 1] >= bound {
        high = low - 1;
        low = low.saturating_sub(step).max(1);
        step *= 2;
    }
    low + times[low..high].partition_point(|&time| time < bound)
}

/// Up to [`LEAF_POINTS_MAX`](super::LEAF_POINTS_MAX) points (more only at the bottom), ascending by time, equal times in
/// stored order.
pub(crate) type Leaf = Piece;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_those_of_a_search() {
        let squares: Vec<i64> = (0..40).map(|i| i * i).collect();
        let roots: Vec<i64> = (0..400).map(|i| 100 * f64::from(i).sqrt() as i64).collect();
        let steady: Vec<i64> = (0..100).map(|i| 7 * i - 300).collect();
        let ends = vec![i64::MIN, i64::MIN, -1, 0, 0, 0, 1, i64::MAX, i64::MAX];
        for times in [squares, roots, steady, ends, vec![5], vec![3, 3, 3], vec![]] {
            let near = times
                .iter()
                .flat_map(|&time| [time.saturating_sub(1), time, time.saturating_add(1)]);
            for bound in near.chain([i64::MIN, 0, i64::MAX]) {
                let expected = times.partition_point(|&time| time < bound);
                assert_eq!(rank(&times, bound), expected, "{bound} in {times:?}");
            }
        }
    }
}
