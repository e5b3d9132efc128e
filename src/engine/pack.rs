//! From a tree in hand to blocks in a segment: leaves into pages, children before parents.

use std::sync::Arc;

use super::block::{Kind, encode_page};
use super::segment::SegmentWriter;
use super::tree::{Address, Inner, Link, Node, PAGE_POINTS, Piece, Slot, place_leaves};

/// Writes every node of `root` that is in hand; answers the slot over the root as it is in the store.
///
/// All pages come before all inner nodes, so that a scan reads the ones and statistics the others in long reads.
pub(crate) fn pack(slot: Slot, stream: u32, out: &mut SegmentWriter) -> Slot {
    let link = match slot.link {
        Some(Link::Held(Node::Inner(root))) => {
            let paged = put_pages(&root, stream, out);
            Some(Link::Inner(put_inners(paged, stream, out)))
        }
        stored => stored,
    };
    Slot { link, ..slot }
}

/// A node whose leaves are in the store, and those of its children that are not yet.
struct Paged {
    inner: Inner,
    children: Vec<(usize, Paged)>,
}

fn put_pages(inner: &Inner, stream: u32, out: &mut SegmentWriter) -> Paged {
    let mut paged = Paged {
        inner: inner.clone(),
        children: Vec::new(),
    };
    let mut pages = Pages {
        stream,
        waiting: Vec::new(),
        placed: Vec::new(),
        leaves: Vec::new(),
    };
    for (number, slot) in inner.slots() {
        match &slot.link {
            Some(Link::Held(Node::Inner(child))) => {
                let child = put_pages(child, stream, out);
                paged.children.push((number, child));
            }
            Some(Link::Held(Node::Leaf(leaf))) => {
                pages.add(leaf, out);
                pages.leaves.push(number);
            }
            // The leaves of a page are neighbours, so one that stays where it is ends a page.
            Some(Link::Leaf(leaf)) => {
                pages.flush(out);
                assert!(leaf.rows.end <= leaf.page().first_row + leaf.page().rows);
                pages.keep(leaf.page().address, leaf.rows.len() as u32);
                pages.leaves.push(number);
            }
            Some(Link::Inner(_)) | None => {}
        }
    }
    pages.flush(out);
    let sized: Vec<(Address, &[u32])> = pages
        .placed
        .iter()
        .map(|(address, rows)| (*address, rows.as_slice()))
        .collect();
    let links = place_leaves(&sized)
        .expect("64 leaves hold fewer points than 2^32, and a page that stays keeps its leaves side by side");
    for (&number, leaf) in pages.leaves.iter().zip(links) {
        set_link(&mut paged.inner, number, Link::Leaf(leaf));
    }
    paged
}

fn put_inners(mut paged: Paged, stream: u32, out: &mut SegmentWriter) -> Address {
    for (number, child) in paged.children {
        let address = put_inners(child, stream, out);
        set_link(&mut paged.inner, number, Link::Inner(address));
    }
    out.put_inner(stream, Arc::new(paged.inner))
}

fn set_link(inner: &mut Inner, number: usize, link: Link) {
    if let Some(slot) = inner.slot(number) {
        let slot = Slot {
            link: Some(link),
            ..slot.clone()
        };
        inner.set(number, slot);
    }
}

/// The pages of one node while they are filled.
struct Pages {
    stream: u32,
    waiting: Vec<Piece>,
    /// Every page of the node, and how many points each of its leaves has.
    placed: Vec<(Address, Vec<u32>)>,
    /// The slots of the leaves.
    leaves: Vec<usize>,
}

impl Pages {
    /// A leaf of a page that stays where it is.
    fn keep(&mut self, page: Address, rows: u32) {
        match self.placed.last_mut() {
            Some((last, leaves)) if *last == page => leaves.push(rows),
            _ => self.placed.push((page, vec![rows])),
        }
    }

    fn add(&mut self, leaf: &Piece, out: &mut SegmentWriter) {
        let points: usize = self.waiting.iter().map(Piece::len).sum();
        if points > 0 && points + leaf.len() > PAGE_POINTS {
            self.flush(out);
        }
        self.waiting.push(leaf.clone());
    }

    fn flush(&mut self, out: &mut SegmentWriter) {
        let leaves = std::mem::take(&mut self.waiting);
        let Some((first, others)) = leaves.split_first() else {
            return;
        };
        let mut points = first.clone();
        // Leaves that were written together are slices of one chunk, as a rule.
        let address = if others.iter().all(|leaf| points.extend(leaf)) {
            out.put(Kind::Page, self.stream, |out| {
                encode_page(points.times(), points.values(), out);
            })
        } else {
            let times: Vec<&[i64]> = leaves.iter().map(Piece::times).collect();
            let values: Vec<&[f64]> = leaves.iter().map(Piece::values).collect();
            out.put(Kind::Page, self.stream, |out| {
                encode_page(&times.concat(), &values.concat(), out);
            })
        };
        let rows = leaves.iter().map(|leaf| leaf.len() as u32).collect();
        self.placed.push((address, rows));
    }
}
