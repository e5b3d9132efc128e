//! Adding points to a tree.

use std::ops::Range;
use std::sync::Arc;

use super::{Chunk, Inner, LEAF_POINTS_MAX, Leaf, Link, Node, Piece, Slot, Span};
use crate::model::{MergePolicy, Version};

/// The tree over what `root` holds and `points`; slots on the way carry `generation`.
///
/// Nodes whose span holds any of `points` must be in hand (see [`missing`](super::missing)).
///
/// `points` must be sorted by time and free of duplicates among themselves that `merge` would drop (see [`dedupe`]).
pub(crate) fn insert(
    root: Option<&Inner>,
    points: &Piece,
    merge: MergePolicy,
    generation: Version,
) -> Arc<Inner> {
    let insertion = Insertion { merge, generation };
    let inner = root
        .cloned()
        .unwrap_or_else(|| Inner::empty(Span::ROOT, Version(0)));
    Arc::new(insertion.inner(inner, points))
}

struct Insertion {
    merge: MergePolicy,
    generation: Version,
}

impl Insertion {
    fn inner(&self, mut inner: Inner, points: &Piece) -> Inner {
        for (number, rows) in by_slot(inner.span, points.times()) {
            let points = points.slice(rows);
            let span = inner.span.child(number);
            let slot = inner.slot(number);
            let born = slot.map_or(Version(0), |slot| slot.generation);
            let node = match slot.and_then(|slot| slot.link.as_ref()) {
                None => self.fresh(span, born, points),
                Some(Link::Held(Node::Inner(child))) => {
                    Node::Inner(Arc::new(self.inner(child.as_ref().clone(), &points)))
                }
                Some(Link::Held(Node::Leaf(leaf))) => {
                    self.fresh(span, born, merge_points(leaf, &points, self.merge))
                }
                Some(Link::Inner(_) | Link::Leaf(_)) => {
                    unreachable!("nodes on the way of an insert are in hand")
                }
            };
            inner.set(number, Slot::over(node, self.generation));
        }
        inner
    }

    /// A node over points where there was none, or a leaf.
    fn fresh(&self, span: Span, born: Version, points: Piece) -> Node {
        if points.len() <= LEAF_POINTS_MAX || span.is_bottom() {
            Node::Leaf(points)
        } else {
            Node::Inner(Arc::new(self.inner(Inner::empty(span, born), &points)))
        }
    }
}

/// Divides sorted times by the slots of `span` they fall in.
fn by_slot(span: Span, times: &[i64]) -> Vec<(usize, Range<usize>)> {
    let mut parts = Vec::new();
    let mut start = 0;
    while start < times.len() {
        let slot = span.slot_of(times[start]);
        let rest = &times[start..];
        let len = if slot == 63 {
            rest.len()
        } else {
            let end = span.start + ((slot as i64 + 1) << span.slot_exponent());
            gallop(rest, end)
        };
        parts.push((slot, start..start + len));
        start += len;
    }
    parts
}

/// How many of the sorted `times` lie before `end`: as `partition_point`, but quick where the answer is small.
fn gallop(times: &[i64], end: i64) -> usize {
    let mut step = 1;
    while step < times.len() && times[step] < end {
        step *= 2;
    }
    let from = step / 2;
    from + times[from..step.min(times.len())].partition_point(|&time| time < end)
}

/// Stored points and new ones in one: stored ones first where times are equal, new ones dropped or stored ones replaced as the
/// policy says.
fn merge_points(stored: &Leaf, new: &Piece, merge: MergePolicy) -> Piece {
    let mut out = Builder::with_capacity(stored.len() + new.len());
    let (old_times, new_times) = (stored.times(), new.times());
    let (mut old, mut fresh) = (0, 0);
    while fresh < new.len() {
        let time = new_times[fresh];
        let before = old + old_times[old..].partition_point(|&stored| stored < time);
        out.copy(stored, old..before);
        let same_old =
            before..before + old_times[before..].partition_point(|&stored| stored == time);
        let same_new = fresh..fresh + new_times[fresh..].partition_point(|&new| new == time);
        old = same_old.end;
        fresh = same_new.end;
        match merge {
            MergePolicy::Never => {
                out.copy(stored, same_old);
                out.copy(new, same_new);
            }
            MergePolicy::Equal => {
                out.copy(stored, same_old.clone());
                for row in same_new {
                    if !stored.values()[same_old.clone()].contains(&new.values()[row]) {
                        out.copy(new, row..row + 1);
                    }
                }
            }
            MergePolicy::Retain if same_old.is_empty() => out.copy(new, same_new),
            MergePolicy::Retain => out.copy(stored, same_old),
            MergePolicy::Replace => out.copy(new, same_new),
        }
    }
    out.copy(stored, old..stored.len());
    out.finish()
}

/// Drops from sorted points, equal times in batch order, what `merge` drops within one batch.
///
/// `Equal` keeps the first of equal (time, value), `Retain` the first of a time, `Replace` the last of a time.
pub(crate) fn dedupe(points: Piece, merge: MergePolicy) -> Piece {
    let times = points.times();
    if merge == MergePolicy::Never || times.windows(2).all(|pair| pair[0] < pair[1]) {
        return points;
    }
    let mut out = Builder::with_capacity(points.len());
    let mut start = 0;
    while start < times.len() {
        let end = start + times[start..].partition_point(|&time| time == times[start]);
        match merge {
            MergePolicy::Never => out.copy(&points, start..end),
            MergePolicy::Retain => out.copy(&points, start..start + 1),
            MergePolicy::Replace => out.copy(&points, end - 1..end),
            MergePolicy::Equal => {
                // Few points share a time, as a rule; a set of their values where they do not.
                let mut seen = std::collections::HashSet::new();
                for row in start..end {
                    // Adding zero makes -0.0 equal to 0.0 as bits too.
                    if seen.insert((points.values()[row] + 0.0).to_bits()) {
                        out.copy(&points, row..row + 1);
                    }
                }
            }
        }
        start = end;
    }
    out.finish()
}

/// Points gathered from several pieces.
struct Builder {
    times: Vec<i64>,
    values: Vec<f64>,
}

impl Builder {
    fn with_capacity(points: usize) -> Self {
        Self {
            times: Vec::with_capacity(points),
            values: Vec::with_capacity(points),
        }
    }

    fn copy(&mut self, from: &Piece, rows: Range<usize>) {
        self.times.extend_from_slice(&from.times()[rows.clone()]);
        self.values.extend_from_slice(&from.values()[rows]);
    }

    fn finish(self) -> Piece {
        Piece::whole(Arc::new(Chunk::new(self.times, self.values)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(points: &[(i64, f64)]) -> Piece {
        let (times, values) = points.iter().copied().unzip();
        Piece::whole(Arc::new(Chunk::new(times, values)))
    }

    fn values(points: &Piece) -> Vec<f64> {
        points.values().to_vec()
    }

    #[test]
    fn policies_decide_over_stored_points() {
        let stored = piece(&[(10, 1.0), (10, 2.0)]);
        let batch = piece(&[(10, 3.0), (10, 1.0)]);
        let merged = |merge| values(&merge_points(&stored, &dedupe(batch.clone(), merge), merge));
        assert_eq!(merged(MergePolicy::Never), [1.0, 2.0, 3.0, 1.0]);
        assert_eq!(merged(MergePolicy::Equal), [1.0, 2.0, 3.0]);
        assert_eq!(merged(MergePolicy::Retain), [1.0, 2.0]);
        assert_eq!(merged(MergePolicy::Replace), [1.0]);
    }

    #[test]
    fn policies_decide_within_a_batch() {
        let batch = piece(&[(110, 2.0), (110, 3.0), (110, 2.0), (111, 0.0), (111, -0.0)]);
        let kept = |merge| values(&dedupe(batch.clone(), merge));
        assert_eq!(kept(MergePolicy::Never), [2.0, 3.0, 2.0, 0.0, -0.0]);
        assert_eq!(kept(MergePolicy::Equal), [2.0, 3.0, 0.0]);
        assert_eq!(kept(MergePolicy::Retain), [2.0, 0.0]);
        assert_eq!(kept(MergePolicy::Replace), [2.0, 0.0]);
        assert!(kept(MergePolicy::Replace)[1].is_sign_negative());
    }

    #[test]
    fn a_leaf_at_the_bottom_grows_without_limit() {
        let many: Vec<_> = (0..10_000).map(|i| (7, f64::from(i))).collect();
        let root = insert(None, &piece(&many), MergePolicy::Never, Version(11));
        assert_eq!(root.stat().count, 10_000);
    }

    #[test]
    fn galloping_agrees_with_bisecting() {
        let times: Vec<i64> = (0..100).map(|i| i * i).collect();
        for end in [0, 1, 2, 50, 5000, 9801, 9802] {
            assert_eq!(
                gallop(&times, end),
                times.partition_point(|&time| time < end),
                "{end}"
            );
        }
    }
}
