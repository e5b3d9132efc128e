//! Nodes that a mutation will touch, brought into memory before it is worked out.
//!
//! ```text
//! loop { missing(root, touched, known) -> links;  fetch them together;  known.add(...) }   until none is missing
//! assemble(root, known) -> the same tree, with the nodes in hand where it is touched
//! ```

use std::collections::HashMap;
use std::sync::Arc;

use super::{Address, Inner, LeafRef, Link, Node, PAGE_POINTS, Piece, Slot, Span};

/// What a mutation does to a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Touch {
    No,
    /// Everything in it goes, whatever it is.
    Whole,
    /// What it becomes depends on what is in it.
    Part,
}

/// Nodes fetched so far.
#[derive(Debug, Default)]
pub(crate) struct Known {
    inners: HashMap<Address, Arc<Inner>>,
    /// Whole pages.
    pages: HashMap<Address, Piece>,
}

impl Known {
    /// Takes the node that `link` names.
    pub(crate) fn add(&mut self, link: &Link, node: Node) {
        match (link, node) {
            (Link::Inner(address), Node::Inner(inner)) => {
                self.inners.insert(*address, inner);
            }
            (Link::Leaf(leaf), Node::Leaf(points)) => {
                self.pages.insert(leaf.page().address, points);
            }
            _ => {}
        }
    }
}

/// What has to be fetched before a mutation that does to spans what `touches` says can be worked out: inner nodes, and
/// leaves as whole pages.
pub(crate) fn missing(root: &Link, touches: &impl Fn(Span) -> Touch, known: &Known) -> Vec<Link> {
    let mut wanted = Vec::new();
    collect(root, touches, known, &mut wanted);
    wanted
}

fn collect(link: &Link, touches: &impl Fn(Span) -> Touch, known: &Known, wanted: &mut Vec<Link>) {
    let inner = match link {
        Link::Held(Node::Inner(inner)) => inner,
        Link::Inner(address) => match known.inners.get(address) {
            Some(inner) => inner,
            None => return wanted.push(link.clone()),
        },
        Link::Held(Node::Leaf(_)) | Link::Leaf(_) => return,
    };
    for leaf in touched_pages(inner, touches) {
        if !known.pages.contains_key(&leaf.page().address) {
            wanted.push(Link::Leaf(whole_page(leaf)));
        }
    }
    for (number, slot) in inner.slots() {
        if let Some(child @ (Link::Held(Node::Inner(_)) | Link::Inner(_))) = &slot.link
            && touches(inner.span.child(number)) == Touch::Part
        {
            collect(child, touches, known, wanted);
        }
    }
}

/// A leaf of every page that the mutation writes anew. A page stays or goes with all of its leaves, so those are
/// - pages with a leaf that is touched, unless all of them go;
/// - pages with a leaf on either side of a slot that is about to be filled;
/// - pages in front of a touched slot that are less than half full, so that slow streams do not pile up small ones.
fn touched_pages<'a>(inner: &'a Inner, touches: &impl Fn(Span) -> Touch) -> Vec<&'a LeafRef> {
    let leaves: Vec<(usize, &LeafRef)> = inner
        .slots()
        .filter_map(|(number, slot)| match &slot.link {
            Some(Link::Leaf(leaf)) => Some((number, leaf)),
            _ => None,
        })
        .collect();
    let touch = |number: usize| touches(inner.span.child(number));
    let pages: Vec<&[(usize, &LeafRef)]> = leaves
        .chunk_by(|(_, a), (_, b)| a.page() == b.page())
        .collect();
    let mut touched = Vec::new();
    for (position, page) in pages.iter().enumerate() {
        let (first, leaf) = page[0];
        let last = page[page.len() - 1].0;
        let changes = page.iter().any(|&(number, _)| touch(number) != Touch::No)
            && page
                .iter()
                .any(|&(number, _)| touch(number) != Touch::Whole);
        let next = pages.get(position + 1).map_or(64, |next| next[0].0 + 1);
        let is_short = (leaf.page().rows as usize) < PAGE_POINTS / 2;
        let until = if is_short { next } else { last };
        if changes || (first..until).any(|number| touch(number) == Touch::Part) {
            touched.push(leaf);
        }
    }
    touched
}

fn whole_page(leaf: &LeafRef) -> LeafRef {
    let page = leaf.page();
    LeafRef {
        rows: page.first_row..page.first_row + page.rows,
        ..leaf.clone()
    }
}

/// The tree of `root` with every known node in hand; none where the root itself is not known.
pub(crate) fn assemble(root: &Link, known: &Known) -> Option<Arc<Inner>> {
    let inner = match root {
        Link::Held(Node::Inner(inner)) => inner,
        Link::Inner(address) => known.inners.get(address)?,
        Link::Held(Node::Leaf(_)) | Link::Leaf(_) => return None,
    };
    let mut whole = inner.as_ref().clone();
    for (number, slot) in inner.slots() {
        let node = match &slot.link {
            Some(link @ Link::Inner(_)) => assemble(link, known).map(Node::Inner),
            Some(Link::Leaf(leaf)) => known.pages.get(&leaf.page().address).map(|points| {
                let first = leaf.page().first_row;
                let rows = (leaf.rows.start - first) as usize..(leaf.rows.end - first) as usize;
                Node::Leaf(points.slice(rows))
            }),
            _ => None,
        };
        if let Some(node) = node {
            let held = Slot {
                link: Some(Link::Held(node)),
                ..slot.clone()
            };
            whole.set(number, held);
        }
    }
    Some(Arc::new(whole))
}
