//! Every version of one stream, readable, at almost no cost for streams that only grow.
//!
//! A version is not a tree of its own. It is one of
//!
//! ```text
//! append   a later tree that only grew, cut off at a time      one time mark a version
//! runs     an earlier tree plus the first few of some runs     the points, kept beside the tree
//! ```
//!
//! Small additive mutations collect as *live* runs and are folded into the tree together. A read sees a [`View`]: a tree, a
//! cut, and runs; it cannot tell which kind of version it reads.

use std::sync::Arc;

use super::tree::{self, Chunk, Inner, Piece};
use crate::error::{Code, Error, ErrorKind, Result};
use crate::model::time::MIN_TIME;
use crate::model::{MergePolicy, TimeRange, Version};

/// Points that collect as live runs before they are folded: about four leaves, so that a fold writes more points than nodes.
const LIVE_POINTS_MAX: usize = 4096;

/// One version of a stream, as reads see it: the points of `root` before `cut`, and those of `runs`.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) version: Version,
    pub(crate) root: Option<Arc<Inner>>,
    /// Points of the tree at or after this time belong to later versions.
    pub(crate) cut: i64,
    /// Additive points beside the tree, sorted; at equal times they come after the tree's.
    pub(crate) runs: Option<Piece>,
}

/// All versions of one stream.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// Ascending; together they hold every version up to the newest tree's.
    intervals: Vec<Interval>,
    /// The store's commit of each version, from the first after creation.
    commits: Vec<u64>,
    /// The tree of the last version that `intervals` hold.
    base: Option<Arc<Inner>>,
    /// The versions after that.
    live: Live,
    /// Of the latest version.
    last_time: Option<i64>,
}

/// Consecutive versions that are read alike.
#[derive(Debug)]
struct Interval {
    first: Version,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// `root` cut at the mark of the version.
    Append {
        root: Option<Arc<Inner>>,
        cuts: Vec<i64>,
    },
    /// `root` and the first runs, up to and with the version's.
    Runs {
        root: Option<Arc<Inner>>,
        runs: Live,
    },
}

/// Additive mutations in the order they came.
#[derive(Debug, Default)]
struct Live {
    times: Vec<i64>,
    values: Vec<f64>,
    /// Where each mutation's points end.
    ends: Vec<usize>,
    /// Some mutation began at or before a point stored earlier.
    late: bool,
    /// All of it, sorted, once a read asked for it.
    sorted: Option<Piece>,
}

/// A mutation worked out but not yet part of the history.
#[derive(Debug)]
pub(crate) struct Change {
    kind: ChangeKind,
    last_time: Option<i64>,
}

#[derive(Debug)]
enum ChangeKind {
    /// A few more points beside the tree.
    Run { points: Piece, late: bool },
    /// The tree with the live runs and points after them.
    Grown { root: Arc<Inner> },
    /// Any other tree. `folded` is the version before it as a tree of its own, if live runs had to be folded for it.
    Replaced {
        folded: Option<Arc<Inner>>,
        root: Option<Arc<Inner>>,
    },
}

impl History {
    /// The newest version.
    pub(crate) fn latest(&self) -> Version {
        Version(Version::CREATED.0 + self.commits.len() as u64)
    }

    /// The newest version that `commit` includes.
    pub(crate) fn version_at(&self, commit: u64) -> Version {
        Version(Version::CREATED.0 + self.commits.partition_point(|&made| made <= commit) as u64)
    }

    /// One version, for reading.
    pub(crate) fn view(&mut self, version: Version) -> Result<View> {
        if version < Version::CREATED || version > self.latest() {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!(
                    "version {version} is not available: there are {} to {}",
                    Version::CREATED,
                    self.latest()
                ),
            )
            .with_code(Code::VersionNotAvailable));
        }
        let live_first = Version(self.latest().0 + 1 - self.live.ends.len() as u64);
        if version >= live_first {
            let runs = self
                .live
                .first_runs((version.0 - live_first.0 + 1) as usize);
            return Ok(View {
                version,
                root: self.base.clone(),
                cut: i64::MAX,
                runs,
            });
        }
        let after = self
            .intervals
            .partition_point(|interval| interval.first <= version);
        let Some(interval) = after.checked_sub(1).map(|index| &mut self.intervals[index]) else {
            return Ok(View {
                version,
                root: None,
                cut: i64::MAX,
                runs: None,
            });
        };
        let offset = (version.0 - interval.first.0) as usize;
        Ok(match &mut interval.kind {
            Kind::Append { root, cuts } => View {
                version,
                root: root.clone(),
                cut: cuts[offset],
                runs: None,
            },
            Kind::Runs { root, runs } => View {
                version,
                root: root.clone(),
                cut: i64::MAX,
                runs: runs.first_runs(offset + 1),
            },
        })
    }

    /// What inserting `points` would change. They are sorted, deduplicated for `merge`, and at least one.
    pub(crate) fn insertion(&mut self, points: &Piece, merge: MergePolicy) -> Change {
        let (first, last) = (points.times()[0], points.times()[points.len() - 1]);
        let late = self.last_time.is_some_and(|stored| first <= stored);
        let last_time = Some(self.last_time.map_or(last, |stored| stored.max(last)));
        let additive = merge == MergePolicy::Never || !late;
        let version = self.latest().next();
        let kind = if additive && self.live.times.len() + points.len() < LIVE_POINTS_MAX {
            ChangeKind::Run {
                points: points.clone(),
                late,
            }
        } else if late || self.live.late {
            let (folded, before) = self.folded();
            let root = tree::insert(before.as_deref(), points, merge, version);
            ChangeKind::Replaced {
                folded,
                root: Some(root),
            }
        } else {
            let grown = match self.live.all() {
                None => points.clone(),
                Some(live) => concat(&live, points),
            };
            ChangeKind::Grown {
                root: tree::insert(self.base.as_deref(), &grown, MergePolicy::Never, version),
            }
        };
        Change { kind, last_time }
    }

    /// What removing the points of `range` would change.
    pub(crate) fn deletion(&mut self, range: TimeRange) -> Change {
        let version = self.latest().next();
        let (folded, before) = self.folded();
        let root = before.map(|root| tree::delete(&root, range, version));
        let last_time = root.as_deref().and_then(tree::last_time);
        Change {
            kind: ChangeKind::Replaced { folded, root },
            last_time,
        }
    }

    /// Makes `change`, which was worked out on this very state, the next version.
    pub(crate) fn apply(&mut self, change: Change, commit: u64) -> Version {
        debug_assert!(self.commits.last().is_none_or(|&last| last <= commit));
        self.commits.push(commit);
        self.last_time = change.last_time;
        match change.kind {
            ChangeKind::Run { points, late } => self.live.push(&points, late),
            ChangeKind::Grown { root } => {
                let mut cuts = std::mem::take(&mut self.live).cuts();
                cuts.push(cut_after(self.last_time));
                self.close_appended(Some(root), cuts);
            }
            ChangeKind::Replaced { folded, root } => {
                let live = std::mem::take(&mut self.live);
                if live.late {
                    let first = Version(self.latest().0 - live.ends.len() as u64);
                    let kind = Kind::Runs {
                        root: self.base.take(),
                        runs: live,
                    };
                    self.intervals.push(Interval { first, kind });
                } else if !live.ends.is_empty() {
                    // One version has just been pushed that is not among these.
                    self.commits.pop();
                    self.close_appended(folded, live.cuts());
                    self.commits.push(commit);
                }
                let kind = Kind::Append {
                    root: root.clone(),
                    cuts: vec![cut_after(self.last_time)],
                };
                self.intervals.push(Interval {
                    first: self.latest(),
                    kind,
                });
                self.base = root;
            }
        }
        self.latest()
    }

    /// The latest version as a tree, and separately that tree if live runs were folded to make it.
    fn folded(&mut self) -> (Option<Arc<Inner>>, Option<Arc<Inner>>) {
        let latest = self.latest();
        match self.live.all() {
            None => (None, self.base.clone()),
            Some(runs) => {
                let root = tree::insert(self.base.as_deref(), &runs, MergePolicy::Never, latest);
                (Some(Arc::clone(&root)), Some(root))
            }
        }
    }

    /// Takes the newest `cuts.len()` versions into the intervals, all of them cuts of `root`, which is `base` grown.
    fn close_appended(&mut self, root: Option<Arc<Inner>>, cuts: Vec<i64>) {
        let first = Version(self.latest().0 + 1 - cuts.len() as u64);
        match self.intervals.last_mut().map(|interval| &mut interval.kind) {
            // Earlier appends are cuts of the grown tree as well: their own tree is no longer needed.
            Some(Kind::Append {
                root: earlier,
                cuts: marks,
            }) => {
                earlier.clone_from(&root);
                marks.extend(cuts);
            }
            _ => self.intervals.push(Interval {
                first,
                kind: Kind::Append {
                    root: root.clone(),
                    cuts,
                },
            }),
        }
        self.base = root;
    }
}

impl Live {
    fn push(&mut self, points: &Piece, late: bool) {
        self.times.extend_from_slice(points.times());
        self.values.extend_from_slice(points.values());
        self.ends.push(self.times.len());
        self.late |= late;
        self.sorted = None;
    }

    /// Where a tree that has grown over these runs is cut for each of them.
    fn cuts(&self) -> Vec<i64> {
        debug_assert!(!self.late);
        self.ends
            .iter()
            .map(|&end| self.times[end - 1] + 1)
            .collect()
    }

    fn all(&mut self) -> Option<Piece> {
        self.first_runs(self.ends.len())
    }

    /// The first `count` runs in one, sorted by time, earlier runs first where times are equal.
    fn first_runs(&mut self, count: usize) -> Option<Piece> {
        let end = *self.ends[..count].last()?;
        if end == self.times.len() {
            if self.sorted.is_none() {
                self.sorted = Some(self.sort(end));
            }
            return self.sorted.clone();
        }
        Some(self.sort(end))
    }

    fn sort(&self, end: usize) -> Piece {
        let (times, values) = (&self.times[..end], &self.values[..end]);
        if !self.late {
            return Piece::whole(Arc::new(Chunk::new(times.to_vec(), values.to_vec())));
        }
        let mut order: Vec<usize> = (0..end).collect();
        order.sort_by_key(|&row| times[row]);
        let (times, values) = order
            .into_iter()
            .map(|row| (times[row], values[row]))
            .unzip();
        Piece::whole(Arc::new(Chunk::new(times, values)))
    }
}

/// The cut that keeps everything up to and with `last`.
fn cut_after(last: Option<i64>) -> i64 {
    last.map_or(MIN_TIME, |last| last + 1)
}

fn concat(first: &Piece, then: &Piece) -> Piece {
    let times = [first.times(), then.times()].concat();
    let values = [first.values(), then.values()].concat();
    Piece::whole(Arc::new(Chunk::new(times, values)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::walk::points_of;

    fn piece(times: impl IntoIterator<Item = i64>) -> Piece {
        let times: Vec<i64> = times.into_iter().collect();
        let values = times.iter().map(|&time| time as f64).collect();
        Piece::whole(Arc::new(Chunk::new(times, values)))
    }

    fn insert(history: &mut History, commit: u64, times: impl IntoIterator<Item = i64>) {
        let change = history.insertion(&piece(times), MergePolicy::Never);
        history.apply(change, commit);
    }

    fn times(history: &mut History, version: u64) -> Vec<i64> {
        let view = history.view(Version(version)).expect("the version exists");
        points_of(&view)
            .into_iter()
            .map(|point| point.time)
            .collect()
    }

    #[test]
    fn growing_versions_share_one_tree() {
        let mut history = History::default();
        for i in 0..10_000 {
            insert(&mut history, i, [i as i64 * 10]);
        }
        assert_eq!(history.intervals.len(), 1);
        assert!(times(&mut history, 10).is_empty());
        assert_eq!(times(&mut history, 13), [0, 10, 20]);
        assert_eq!(times(&mut history, 10_010).len(), 10_000);
    }

    #[test]
    fn late_points_and_deletes_leave_every_version_as_it_was() {
        let mut history = History::default();
        insert(&mut history, 1, [100, 200]);
        insert(&mut history, 2, [50]);
        insert(&mut history, 3, [300]);
        let change = history.deletion(TimeRange::new(60, 250));
        history.apply(change, 4);
        insert(&mut history, 5, [400]);
        insert(&mut history, 6, 500..10_000);
        insert(&mut history, 7, [400]);
        assert_eq!(times(&mut history, 11), [100, 200]);
        assert_eq!(times(&mut history, 12), [50, 100, 200]);
        assert_eq!(times(&mut history, 13), [50, 100, 200, 300]);
        assert_eq!(times(&mut history, 14), [50, 300]);
        assert_eq!(times(&mut history, 15), [50, 300, 400]);
        assert_eq!(times(&mut history, 16).len(), 9503);
        assert_eq!(times(&mut history, 17).len(), 9504);
        assert_eq!(
            history.view(Version(18)).expect_err("the future").code(),
            Some(Code::VersionNotAvailable)
        );
        assert_eq!(
            history.view(Version(9)).expect_err("the past").code(),
            Some(Code::VersionNotAvailable)
        );
        assert_eq!(history.version_at(3), Version(13));
    }
}
