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
mod points;
mod stats;

pub(crate) use changes::changes;
pub(crate) use points::PointWalk;
pub(crate) use stats::StatWalk;

use super::tree::{Link, Node};

/// Finds the nodes that links name.
pub(crate) fn resolve(links: Vec<Link>) -> Vec<Node> {
    links.into_iter().map(|Link::Held(node)| node).collect()
}

/// All points of a view.
#[cfg(test)]
pub(crate) fn points_of(view: &super::history::View) -> Vec<crate::model::Point> {
    use crate::model::{Direction, Point, TimeRange};
    let mut walk = PointWalk::new(view.clone(), vec![TimeRange::ALL], Direction::Forward, None);
    let mut points = Vec::new();
    while let Some((times, values)) = super::read::next_points(&mut walk, 1000) {
        points.extend(
            times
                .iter()
                .zip(values.iter())
                .map(|(&time, &value)| Point { time, value }),
        );
    }
    points
}
