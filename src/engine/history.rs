//! Every version of one stream, readable, at almost no cost for streams that only grow.
//!
//! A version is not a tree of its own. It is one of
//!
//! ```text
//! append   a later tree that only grew, cut off at a time      one mark a version
//! runs     an earlier tree plus the first few of some runs     the points, kept beside the tree
//! ```
//!
//! Small additive mutations collect as *live* runs and are folded into the tree together, which changes no version. A read
//! sees a [`View`]: a tree, a cut, and runs; it cannot tell which kind of version it reads.
//!
//! Mutations are taken into the history when they are sequenced, before they are durable. Readers ask for a commit, and see
//! none that is not.

mod live;

use super::marks::{Lookup, MarkLog, Spill};
use super::tree::{Address, Link, Piece, Slot};
use crate::error::{Code, Error, ErrorKind, Result};
use crate::model::time::MIN_TIME;
use crate::model::{Stat, Version};

pub(crate) use live::{Live, sorted_runs};

/// One version of a stream, as reads see it: the points of `root` before `cut`, and those of `runs`.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) version: Version,
    pub(crate) root: Option<Link>,
    /// Of all points of the tree, where that is known without looking and nothing is cut off.
    pub(crate) total: Option<Stat>,
    /// Points of the tree at or after this time belong to later versions.
    pub(crate) cut: i64,
    /// Additive points beside the tree, sorted; at equal times they come after the tree's.
    pub(crate) runs: Option<Piece>,
}

/// All versions of one stream.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    /// Of every version up to the newest tree's.
    pub(crate) marks: MarkLog,
    /// Ascending; how the versions that `marks` holds are read.
    pub(crate) intervals: Vec<Interval>,
    /// The tree of the last version that `marks` holds, in the store; none before there is one.
    pub(crate) base: Option<Slot>,
    /// The versions after that.
    pub(crate) live: Live,
    /// Of the latest version.
    pub(crate) last_time: Option<i64>,
}

/// Consecutive versions that are read alike, up to the next interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interval {
    pub(crate) first: Version,
    pub(crate) kind: IntervalKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IntervalKind {
    /// `root` cut at the mark of the version. In the last interval the root is the newest tree, whatever stands here.
    Append { root: Option<Address> },
    /// `root` and the first runs of a block, up to and with the version's.
    Runs {
        root: Option<Address>,
        runs: Address,
    },
}

/// What has to be read before a version can be.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Ready(View),
    /// The cut of this version, from blocks; then the view is `root` cut there.
    Cut {
        root: Option<Address>,
        lookup: Lookup<i64>,
    },
    /// The first `count` runs of a block beside `root`.
    Runs {
        root: Option<Address>,
        runs: Address,
        count: usize,
    },
}

/// A mutation worked out but not yet part of the history.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// A few more points beside the tree.
    Run(Piece),
    /// The tree with the live runs and more points after them.
    Grown { root: Slot, last_time: i64 },
    /// Any other tree. What was live before it is found in `folded`, a tree of its own, or in `runs`, a block.
    Replaced {
        folded: Option<Slot>,
        runs: Option<Address>,
        root: Option<Slot>,
        last_time: Option<i64>,
    },
}

/// Live runs moved into the tree: no new version.
#[derive(Clone, Debug)]
pub(crate) struct Fold {
    /// The last version folded.
    pub(crate) upto: Version,
    pub(crate) root: Slot,
    /// Where the runs lie, if they cannot be read off the tree.
    pub(crate) runs: Option<Address>,
}

impl History {
    /// The newest version, durable or not.
    pub(crate) fn latest(&self) -> Version {
        Version(self.marks.last().0 + self.live.len() as u64)
    }

    /// The newest version that `commit` includes.
    pub(crate) fn version_at(&self, commit: u64) -> Lookup<Version> {
        match self.live.count_at(commit) {
            0 => self.marks.version_at(commit),
            count => Lookup::Found(Version(self.marks.last().0 + count as u64)),
        }
    }

    /// How a version is read; `newest` is the newest that the reader may see.
    pub(crate) fn step(&mut self, version: Version, newest: Version) -> Result<Step> {
        if version < Version::CREATED || version > newest {
            let message = format!(
                "version {version} is not available: there are {} to {newest}",
                Version::CREATED
            );
            return Err(
                Error::new(ErrorKind::NotFound, message).with_code(Code::VersionNotAvailable)
            );
        }
        let base = self.marks.last();
        if version >= base {
            return Ok(Step::Ready(View {
                version,
                root: self.base.as_ref().and_then(|slot| slot.link.clone()),
                total: Some(self.base.as_ref().map_or(Stat::EMPTY, |slot| slot.stat)),
                cut: i64::MAX,
                runs: self.live.first_runs((version.0 - base.0) as usize),
            }));
        }
        let after = self
            .intervals
            .partition_point(|interval| interval.first <= version);
        let Some(interval) = after.checked_sub(1).map(|index| self.intervals[index]) else {
            return Ok(Step::Ready(View {
                version,
                root: None,
                total: Some(Stat::EMPTY),
                cut: i64::MAX,
                runs: None,
            }));
        };
        Ok(match interval.kind {
            IntervalKind::Append { root } => Step::Cut {
                root: if after == self.intervals.len() {
                    self.base_address()
                } else {
                    root
                },
                lookup: self.marks.cut(version),
            },
            IntervalKind::Runs { root, runs } => Step::Runs {
                root,
                runs,
                count: (version.0 - interval.first.0 + 1) as usize,
            },
        })
    }

    /// Whether what `change` says of the live runs can be so: asked of changes that come from outside.
    pub(crate) fn accepts(&self, change: &Change) -> bool {
        match change {
            Change::Run(points) => points.len() > 0,
            Change::Grown { .. } => !self.live.is_late(),
            Change::Replaced { folded, runs, .. } => {
                let told = folded.is_some() || runs.is_some();
                told == (self.live.len() > 0) && (runs.is_some() || !self.live.is_late())
            }
        }
    }

    /// As [`accepts`](Self::accepts), of a fold.
    pub(crate) fn accepts_fold(&self, fold: &Fold) -> bool {
        let base = self.marks.last();
        let latest = self.latest();
        base < fold.upto
            && fold.upto <= latest
            && (fold.runs.is_some() || !self.live.is_late_before((fold.upto.0 - base.0) as usize))
    }

    /// Makes `change`, which was worked out on this very state, the next version.
    pub(crate) fn apply(&mut self, change: Change, commit: u64) -> Version {
        assert!(self.accepts(&change));
        match change {
            Change::Run(points) => {
                let (first, last) = (points.times()[0], points.times()[points.len() - 1]);
                let late = self.last_time.is_some_and(|stored| first <= stored);
                self.last_time = Some(self.last_time.map_or(last, |stored| stored.max(last)));
                self.live.push(&points, late, commit);
            }
            Change::Grown { root, last_time } => {
                self.close_live(None);
                self.begin_append();
                self.last_time = Some(last_time);
                self.marks.push(commit, cut_after(self.last_time));
                self.base = Some(root);
            }
            Change::Replaced {
                folded,
                runs,
                root,
                last_time,
            } => {
                self.close_live(runs);
                if folded.is_some() {
                    self.base = folded;
                }
                self.begin(IntervalKind::Append { root: None });
                self.last_time = last_time;
                self.marks.push(commit, cut_after(last_time));
                self.base = root;
            }
        }
        self.latest()
    }

    /// Moves live runs into the tree that `fold` brings, worked out on this very tree and a prefix of these runs.
    pub(crate) fn apply_fold(&mut self, fold: Fold) {
        assert!(self.accepts_fold(&fold));
        let count = (fold.upto.0 - self.marks.last().0) as usize;
        let rest = self.live.split_off(count);
        self.close_live(fold.runs);
        self.live = rest;
        self.base = Some(fold.root);
    }

    /// Marks that were written out leave memory.
    pub(crate) fn apply_spill(&mut self, spill: &Spill) {
        self.marks.take_over(spill);
    }

    /// The tree's address.
    pub(crate) fn base_address(&self) -> Option<Address> {
        address_of(self.base.as_ref())
    }

    /// What the history keeps in memory that folds make room for.
    pub(crate) fn live_bytes(&self) -> u64 {
        self.live.bytes() as u64
    }

    /// Marks the live versions: cuts of a tree about to come, or the runs of a block.
    fn close_live(&mut self, runs: Option<Address>) {
        if self.live.len() == 0 {
            return;
        }
        match runs {
            Some(runs) => {
                let root = self.base_address();
                self.begin(IntervalKind::Runs { root, runs });
                for &commit in self.live.commits() {
                    self.marks.push(commit, i64::MAX);
                }
            }
            None => {
                self.begin_append();
                for (commit, cut) in self.live.cuts() {
                    self.marks.push(commit, cut);
                }
            }
        }
        self.live = Live::default();
    }

    /// Versions that come now are cuts of the newest tree; so are those before, if they were.
    fn begin_append(&mut self) {
        let grows = matches!(
            self.intervals.last(),
            Some(Interval {
                kind: IntervalKind::Append { .. },
                ..
            })
        );
        if !grows {
            self.begin(IntervalKind::Append { root: None });
        }
    }

    /// Versions that come now are read another way; those before keep the tree they have.
    fn begin(&mut self, kind: IntervalKind) {
        let newest = self.base_address();
        if let Some(Interval {
            kind: IntervalKind::Append { root },
            ..
        }) = self.intervals.last_mut()
        {
            *root = newest;
        }
        self.intervals.push(Interval {
            first: self.marks.last().next(),
            kind,
        });
    }
}

/// Where the node under a slot lies.
pub(crate) fn address_of(slot: Option<&Slot>) -> Option<Address> {
    match slot?.link {
        Some(Link::Inner(address)) => Some(address),
        _ => None,
    }
}

/// The cut that keeps everything up to and with `last`.
fn cut_after(last: Option<i64>) -> i64 {
    last.map_or(MIN_TIME, |last| last + 1)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::engine::tree::Chunk;

    fn piece(times: &[i64]) -> Piece {
        let values = times.iter().map(|&time| time as f64).collect();
        Piece::whole(Arc::new(Chunk::new(times.to_vec(), values)))
    }

    /// A tree that stands for the points whose number it is given.
    fn tree(number: u32) -> Slot {
        Slot {
            generation: Version(0),
            stat: Stat::of(&[1.0]),
            link: Some(Link::Inner(address(number))),
        }
    }

    fn address(number: u32) -> Address {
        Address {
            segment: number,
            offset: 0,
            length: 1,
        }
    }

    fn step(history: &mut History, version: u64) -> Step {
        let newest = history.latest();
        history
            .step(Version(version), newest)
            .expect("the version exists")
    }

    #[test]
    fn growing_versions_are_cuts_of_the_newest_tree() {
        let mut history = History::default();
        for (commit, time) in [(1, 10), (2, 20), (3, 30)] {
            history.apply(Change::Run(piece(&[time])), commit);
        }
        history.apply_fold(Fold {
            upto: Version(12),
            root: tree(1),
            runs: None,
        });
        history.apply(
            Change::Grown {
                root: tree(2),
                last_time: 90,
            },
            4,
        );
        assert_eq!(history.intervals.len(), 1);
        let cut = |step: Step| match step {
            Step::Cut {
                root: Some(root),
                lookup: Lookup::Found(cut),
            } => (root.segment, cut),
            other => panic!("{other:?}"),
        };
        assert_eq!(cut(step(&mut history, 11)), (2, 11));
        assert_eq!(cut(step(&mut history, 13)), (2, 31));
        assert!(matches!(step(&mut history, 14), Step::Ready(view) if view.cut == i64::MAX));
        assert_eq!(history.version_at(3), Lookup::Found(Version(13)));
    }

    #[test]
    fn late_runs_and_other_trees_leave_earlier_versions_as_they_were() {
        let mut history = History::default();
        history.apply(
            Change::Grown {
                root: tree(1),
                last_time: 100,
            },
            1,
        );
        history.apply(Change::Run(piece(&[50])), 2);
        history.apply(Change::Run(piece(&[200])), 3);
        history.apply_fold(Fold {
            upto: Version(13),
            root: tree(2),
            runs: Some(address(9)),
        });
        history.apply(
            Change::Replaced {
                folded: None,
                runs: None,
                root: Some(tree(3)),
                last_time: Some(40),
            },
            4,
        );
        assert!(
            matches!(step(&mut history, 12), Step::Runs { root: Some(root), count: 1, .. } if root == address(1))
        );
        assert!(matches!(
            step(&mut history, 13),
            Step::Runs { count: 2, .. }
        ));
        assert!(
            matches!(step(&mut history, 11), Step::Cut { root: Some(root), .. } if root == address(1))
        );
        let error = history
            .step(Version(15), history.latest())
            .expect_err("the future");
        assert_eq!(error.code(), Some(Code::VersionNotAvailable));
        history.step(Version(9), Version(14)).expect_err("the past");
    }
}
