//! The tree as values: nodes in, nodes out. No I/O, no locks, no clocks.
//!
//! ```text
//! Inner (64 slots of equal width)            slot = generation, statistics, link to a child
//!   ├─ Inner ...                             down to 4 ns at level 11
//!   └─ Leaf (up to 1024 points)              a slice of a chunk that its neighbours share
//! ```
//!
//! The geometry is BTrDB's: the root spans 2^62 ns, each level divides by 64, and a leaf that would hold more than 1024
//! points becomes an inner node, except at level 11, where it grows. Nothing is ever changed in place: a mutation copies
//! the nodes on its paths and shares the rest, so every earlier root stays readable.

mod delete;
mod insert;
mod node;
mod span;

pub(crate) use delete::delete;
pub(crate) use insert::{dedupe, insert};
pub(crate) use node::{Chunk, Inner, Leaf, Link, Node, Piece, Slot, last_time};
pub(crate) use span::Span;

/// Points in a leaf before it becomes an inner node: BTrDB's vector size.
pub(crate) const LEAF_POINTS_MAX: usize = 1024;
