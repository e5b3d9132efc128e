//! Removing a range of points from a tree.

use std::sync::Arc;

use super::{Chunk, Inner, Link, Node, Piece, Slot};
use crate::model::{Stat, TimeRange, Version};

/// The tree without the points of `range`; slots that lost any carry `generation`.
///
/// Nodes that reach over an end of the range must be in hand (see [`missing`](super::missing)).
pub(crate) fn delete(root: &Arc<Inner>, range: TimeRange, generation: Version) -> Arc<Inner> {
    let mut inner = root.as_ref().clone();
    for (span, slot) in root.slots_in(range) {
        if slot.link.is_none() {
            continue;
        }
        let number = root.span.slot_of(span.start);
        if range.covers(span.range()) {
            inner.set(
                number,
                Slot {
                    generation,
                    stat: Stat::EMPTY,
                    link: None,
                },
            );
            continue;
        }
        let rest = match slot.link.as_ref() {
            Some(Link::Held(Node::Inner(child))) => Node::Inner(delete(child, range, generation)),
            Some(Link::Held(Node::Leaf(leaf))) => Node::Leaf(without(leaf, range)),
            _ => unreachable!("nodes that reach over an end of the range are in hand"),
        };
        let thinned = Slot::over(rest, generation);
        if thinned.stat.count != slot.stat.count {
            inner.set(number, thinned);
        }
    }
    Arc::new(inner)
}

fn without(leaf: &Piece, range: TimeRange) -> Piece {
    let cut = leaf.times().partition_point(|&time| time < range.start);
    let resume = leaf
        .times()
        .partition_point(|&time| time < range.end)
        .max(cut);
    if resume == leaf.len() {
        return leaf.slice(0..cut);
    }
    if cut == 0 {
        return leaf.slice(resume..leaf.len());
    }
    let rest = |column: &[i64]| [&column[..cut], &column[resume..]].concat();
    let values = [&leaf.values()[..cut], &leaf.values()[resume..]].concat();
    Piece::whole(Arc::new(Chunk::new(rest(leaf.times()), values)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::tree::insert;
    use crate::model::MergePolicy;

    fn tree(times: impl Iterator<Item = i64>) -> Arc<Inner> {
        let (times, values) = times.map(|time| (time, time as f64)).unzip();
        let points = Piece::whole(Arc::new(Chunk::new(times, values)));
        insert(None, &points, MergePolicy::Never, Version(11))
    }

    #[test]
    fn only_the_range_goes_and_the_old_tree_stays() {
        let before = tree(0..5000);
        let after = delete(&before, TimeRange::new(10, 4990), Version(12));
        assert_eq!((before.stat().count, after.stat().count), (5000, 20));
        assert_eq!(after.stat().max, 4999.0);
    }

    #[test]
    fn deleting_nothing_changes_no_generation() {
        let before = tree([0, 100].into_iter());
        let after = delete(&before, TimeRange::new(50, 60), Version(12));
        assert!(
            after
                .slots_in(TimeRange::ALL)
                .all(|(_, slot)| slot.generation == Version(11))
        );
    }

    #[test]
    fn an_emptied_slot_remembers_when() {
        let after = delete(&tree([0, 100].into_iter()), TimeRange::ALL, Version(12));
        let slots: Vec<_> = after.slots_in(TimeRange::ALL).collect();
        assert_eq!((slots.len(), slots[0].1.generation), (1, Version(12)));
        assert!(slots[0].1.link.is_none());
    }
}
