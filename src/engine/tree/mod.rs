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
//!
//! In the store, leaves lie in pages: a page packs consecutive leaves of one inner node, and is what a mutation writes anew.
//! A mutation first *hydrates* the nodes it will touch, works on them as values, and is packed into a segment then.

mod address;
mod delete;
mod hydrate;
mod insert;
mod node;
mod span;

pub(crate) use address::{Address, LeafRef, Page, RUN_ROWS_MAX, place_leaves};
pub(crate) use delete::delete;
pub(crate) use hydrate::{Known, Touch, assemble, missing};
pub(crate) use insert::{dedupe, insert};
pub(crate) use node::{Chunk, Inner, Leaf, Link, Node, Piece, Slot, rank};
pub(crate) use span::Span;

/// Points in a leaf before it becomes an inner node: BTrDB's vector size.
pub(crate) const LEAF_POINTS_MAX: usize = 1024;

/// Points after which no more leaves are packed into a page. A page is what one look at a few points has to decode.
pub(crate) const PAGE_POINTS: usize = 2048;
