//! What is kept of nodes under a grid of windows.
//!
//! ```text
//! windows      |      |      |      |      |      |
//! node             [------------------------)
//! kept             p p|w     |w     |w     |w
//! ```
//!
//! Of the window that begins before the node, every part is kept as it was found (`p`): added up in the order of a first read, they
//! give the same sums to the last bit. Of the others one total is enough, the last of which may go on behind the node.

use super::stats::Want;
use crate::engine::cache::{CutKey, Grid, Kept};
use crate::engine::tree::{Link, Slot, Span};

/// Points of a leaf whose windows are worth keeping: fewer are divided as fast as they are found.
const KEPT_POINTS_MIN: usize = 64;

/// Windows of a leaf that are kept, at most: two where a cut goes through it.
pub(super) const KEPT_WINDOWS_MAX: usize = 4;

/// Windows that an inner node is kept with. The next level has 64 times as many, so that one level is always among these.
const NODE_WINDOWS: std::ops::RangeInclusive<u64> = 16..=1024;

/// Points of a window, at least, that make keeping an inner node worth its memory: some leaves.
const NODE_WINDOW_POINTS_MIN: u64 = 1024;

/// An inner node that is worth keeping.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Worth {
    pub(crate) span: Span,
    /// How many windows it has, about.
    pub(crate) windows: u64,
    /// Whether it may change soon: then its leaves are kept too, for the next time.
    pub(crate) is_edge: bool,
}

impl Grid {
    /// What it is worth to keep what a slot over `span` leads to, if that is an inner node and worth it.
    pub(super) fn worth(self, slot: &Slot, span: Span, is_edge: bool) -> Option<Worth> {
        let windows = (span.end() - span.start).unsigned_abs() / self.width();
        let is_worth_it = matches!(slot.link, Some(Link::Inner(_)))
            && NODE_WINDOWS.contains(&windows)
            && slot.stat.count >= windows * NODE_WINDOW_POINTS_MIN;
        is_worth_it.then_some(Worth {
            span,
            windows,
            is_edge,
        })
    }
}

impl Want {
    /// Under what the node is kept, if it may be: its windows have to be the same for whoever asks for this grid.
    pub(crate) fn key(&self, grid: Grid) -> Option<CutKey> {
        if !self.is_whole {
            return None;
        }
        let node = match &self.link {
            Link::Leaf(leaf) if leaf.rows.len() >= KEPT_POINTS_MIN => Kept::Leaf {
                run: leaf.run.address,
                first_row: leaf.rows.start,
                behind_row: leaf.rows.end,
            },
            Link::Inner(address) if self.kept.is_some() => Kept::Inner(*address),
            _ => return None,
        };
        Some(CutKey { node, grid })
    }
}
