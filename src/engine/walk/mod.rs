//! Walks over one view of a stream, level by level.
//!
//! A walk never fetches. It answers either results or *all* links it needs next, and goes on when it is given their nodes:
//!
//! ```text
//! loop { walk.wants() -> links;  fetch them together -> nodes;  walk.supply(nodes) }   until walk.next() has a result
//! ```
//!
//! so that a store may stand beneath, one round of fetches a level, and the walks can be tested without it.

mod changes;
mod kept;
mod points;
mod ready;
mod stats;

pub(crate) use changes::ChangeWalk;
pub(crate) use kept::Worth;
pub(crate) use points::PointWalk;
pub(crate) use stats::{LookedNode, StatWalk, Want, WindowPlan, Windows};
