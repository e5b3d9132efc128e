//! Where nodes lie in the store.

use std::ops::Range;
use std::sync::Arc;

/// Some bytes of a segment: enough to fetch them in one exact read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Address {
    pub(crate) segment: u32,
    pub(crate) offset: u32,
    pub(crate) length: u32,
}

impl Address {
    /// The first byte behind it.
    pub(crate) fn end(self) -> u64 {
        u64::from(self.offset) + u64::from(self.length)
    }

    /// Whether `next` begins where this ends.
    pub(crate) fn adjoins(self, next: Self) -> bool {
        self.segment == next.segment && self.end() == u64::from(next.offset)
    }
}

/// Pages of one inner node that lie side by side in the store, so that one read brings them and one buffer takes their points.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PageRun {
    /// All of them.
    pub(crate) address: Address,
    pub(crate) pages: Vec<Page>,
    pub(crate) rows: u32,
}

/// One page of a run: some leaves, encoded together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) address: Address,
    /// Its place among the points of the run.
    pub(crate) first_row: u32,
    pub(crate) rows: u32,
}

/// A leaf: some rows of one page.
#[derive(Clone, Debug)]
pub(crate) struct LeafRef {
    pub(crate) run: Arc<PageRun>,
    /// Which page of the run.
    pub(crate) page: u16,
    /// Which rows of the run.
    pub(crate) rows: Range<u32>,
}

impl LeafRef {
    /// The page it is in.
    pub(crate) fn page(&self) -> Page {
        self.run.pages[usize::from(self.page)]
    }
}

/// Points that pages side by side may hold to be read as one: a MiB of times and values.
pub(crate) const RUN_ROWS_MAX: u32 = 64 * 1024;

/// Where leaves lie whose pages, in order, hold leaves of so many points each; none if no node can hold so much, or a page
/// stands there twice.
///
/// Pages that lie side by side become one run. The same pages always make the same runs, so that a run is cached once.
pub(crate) fn place_leaves(pages: &[(Address, &[u32])]) -> Option<Vec<LeafRef>> {
    let mut addresses: Vec<Address> = pages.iter().map(|(address, _)| *address).collect();
    addresses.sort_unstable();
    if addresses.windows(2).any(|pair| pair[0] == pair[1]) {
        return None;
    }
    let mut runs: Vec<(PageRun, usize)> = Vec::new();
    for (position, &(address, leaves)) in pages.iter().enumerate() {
        let rows = leaves
            .iter()
            .try_fold(0_u32, |sum, &rows| sum.checked_add(rows))?;
        let joins = runs.last().is_some_and(|(run, _)| {
            run.address.adjoins(address) && run.rows.saturating_add(rows) <= RUN_ROWS_MAX
        });
        if !joins {
            let empty = PageRun {
                address: Address {
                    length: 0,
                    ..address
                },
                pages: Vec::new(),
                rows: 0,
            };
            runs.push((empty, position));
        }
        let (run, _) = runs.last_mut()?;
        run.pages.push(Page {
            address,
            first_row: run.rows,
            rows,
        });
        run.address.length = run.address.length.checked_add(address.length)?;
        run.rows = run.rows.checked_add(rows)?;
    }
    let mut links = Vec::new();
    for (run, first) in runs {
        let run = Arc::new(run);
        for (page, of_run) in run.pages.iter().enumerate() {
            let mut row = of_run.first_row;
            for &rows in pages[first + page].1 {
                links.push(LeafRef {
                    run: Arc::clone(&run),
                    page: u16::try_from(page).ok()?,
                    rows: row..row + rows,
                });
                row += rows;
            }
        }
    }
    Some(links)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_stands_in_one_place() {
        let page = |offset| Address {
            segment: 1,
            offset,
            length: 10,
        };
        let leaves = place_leaves(&[(page(0), &[3, 4]), (page(10), &[5])]).expect("placed");
        let rows: Vec<_> = leaves.iter().map(|leaf| leaf.rows.clone()).collect();
        assert_eq!(rows, [0..3, 3..7, 7..12]);
        assert!(place_leaves(&[(page(0), &[3]), (page(10), &[5]), (page(0), &[4])]).is_none());
    }
}
