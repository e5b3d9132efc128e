//! Which commit made each version of a stream, and where its tree is cut: an index that only grows.
//!
//! ```text
//! levels[1]   references to index blocks of 64 references each      older
//! levels[0]   references to blocks of marks, up to 64
//! tail        the newest marks, in memory                           newest
//! ```
//!
//! On a regular clock a version costs next to nothing: its mark is one more step of two regular columns.

use super::block::{MarkRef, Marks};
use super::tree::Address;
use crate::model::Version;

/// Marks in memory after which a fold writes them out.
const TAIL_MARKS_MAX: usize = 256;

/// References at one level before they become an index block of the next.
const FAN_OUT: usize = 64;

/// The marks of every version up to the newest tree's.
#[derive(Clone, Debug)]
pub(crate) struct MarkLog {
    /// Oldest first within a level; higher levels are older.
    levels: Vec<Vec<MarkRef>>,
    tail: Marks,
    /// The commit of the newest version.
    last_commit: u64,
}

/// An answer, or the block that has to be read for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lookup<T> {
    Found(T),
    /// In a block: of marks at level 0, of references to the level below above it.
    In {
        level: u8,
        address: Address,
    },
}

/// Marks that were written out, and references to them, by level, in the order they are taken over.
pub(crate) type Spill = Vec<(u8, MarkRef)>;

impl Default for MarkLog {
    fn default() -> Self {
        Self {
            levels: Vec::new(),
            tail: Marks {
                first: Version::CREATED.next(),
                commits: Vec::new(),
                cuts: Vec::new(),
            },
            last_commit: 0,
        }
    }
}

impl MarkLog {
    /// From its parts, as a checkpoint holds them.
    pub(crate) fn from_parts(levels: Vec<Vec<MarkRef>>, tail: Marks, last_commit: u64) -> Self {
        Self {
            levels,
            tail,
            last_commit,
        }
    }

    /// Its parts.
    pub(crate) fn parts(&self) -> (&[Vec<MarkRef>], &Marks, u64) {
        (&self.levels, &self.tail, self.last_commit)
    }

    /// The newest version marked.
    pub(crate) fn last(&self) -> Version {
        Version(self.tail.first.0 + self.tail.commits.len() as u64 - 1)
    }

    pub(crate) fn push(&mut self, commit: u64, cut: i64) {
        self.tail.commits.push(commit);
        self.tail.cuts.push(cut);
        self.last_commit = commit;
    }

    /// The tail, if it is long enough to be written out.
    pub(crate) fn spillable(&self) -> Option<&Marks> {
        (self.tail.commits.len() >= TAIL_MARKS_MAX).then_some(&self.tail)
    }

    /// References to full levels once `mark` has been added to level 0: what index blocks have to be written, lowest first.
    ///
    /// `write` writes an index block and answers where.
    pub(crate) fn spill(
        &self,
        mark: MarkRef,
        mut write: impl FnMut(&[MarkRef]) -> Address,
    ) -> Spill {
        let mut spill = vec![(0, mark)];
        let mut next = mark;
        for (level, refs) in self.levels.iter().enumerate() {
            if refs.len() + 1 < FAN_OUT {
                break;
            }
            let mut refs = refs.clone();
            refs.push(next);
            next = MarkRef {
                first: refs[0].first,
                count: refs.iter().map(|mark| mark.count).sum(),
                first_commit: refs[0].first_commit,
                address: write(&refs),
            };
            spill.push((level as u8 + 1, next));
        }
        spill
    }

    /// Takes over what was written out: the marks leave the tail, and references the levels that an index now stands for.
    pub(crate) fn take_over(&mut self, spill: &Spill) {
        for &(level, mark) in spill {
            let level = usize::from(level);
            while self.levels.len() <= level {
                self.levels.push(Vec::new());
            }
            if level == 0 {
                let count = (mark.count as usize).min(self.tail.commits.len());
                self.tail.commits.drain(..count);
                self.tail.cuts.drain(..count);
                self.tail.first = Version(self.tail.first.0 + count as u64);
            } else {
                self.levels[level - 1].clear();
            }
            self.levels[level].push(mark);
        }
    }

    /// Where the tree of `version` is cut.
    pub(crate) fn cut(&self, version: Version) -> Lookup<i64> {
        if let Some(offset) = version.0.checked_sub(self.tail.first.0) {
            return Lookup::Found(
                self.tail
                    .cuts
                    .get(offset as usize)
                    .copied()
                    .unwrap_or(i64::MAX),
            );
        }
        self.refer(|mark| mark.first <= version)
            .unwrap_or(Lookup::Found(i64::MAX))
    }

    /// The newest version marked that `commit` includes.
    pub(crate) fn version_at(&self, commit: u64) -> Lookup<Version> {
        if commit >= self.last_commit {
            return Lookup::Found(self.last());
        }
        let before = Version(self.tail.first.0 - 1);
        match self.tail.commits.first() {
            Some(&first) if first <= commit => {
                let made = self.tail.commits.partition_point(|&made| made <= commit);
                return Lookup::Found(Version(before.0 + made as u64));
            }
            _ => {}
        }
        self.refer(|mark| mark.first_commit <= commit)
            .unwrap_or(Lookup::Found(Version::CREATED))
    }

    /// The newest reference that `begins` holds for.
    fn refer<T>(&self, begins: impl Fn(&MarkRef) -> bool) -> Option<Lookup<T>> {
        self.levels.iter().enumerate().find_map(|(level, refs)| {
            let mark = refs[..refs.partition_point(&begins)].last()?;
            Some(Lookup::In {
                level: level as u8,
                address: mark.address,
            })
        })
    }
}

/// As [`MarkLog::cut`], in a block of marks.
pub(crate) fn cut_in(marks: &Marks, version: Version) -> Option<i64> {
    let offset = version.0.checked_sub(marks.first.0)?;
    marks.cuts.get(offset as usize).copied()
}

/// As [`MarkLog::version_at`], in a block of marks.
pub(crate) fn version_in(marks: &Marks, commit: u64) -> Version {
    let made = marks.commits.partition_point(|&made| made <= commit);
    Version(marks.first.0 - 1 + made as u64)
}

/// The newest reference of an index that `begins` holds for.
pub(crate) fn refer_in(refs: &[MarkRef], begins: impl Fn(&MarkRef) -> bool) -> Option<MarkRef> {
    refs[..refs.partition_point(begins)].last().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(first: u64, number: u32) -> MarkRef {
        MarkRef {
            first: Version(first),
            count: 2,
            first_commit: first * 10,
            address: Address {
                segment: 0,
                offset: number,
                length: 1,
            },
        }
    }

    #[test]
    fn full_levels_become_one_reference() {
        let mut log = MarkLog::default();
        let mut written = 0;
        for number in 0..200_u64 {
            log.push(number, 0);
            log.push(number, 0);
            let spill = log.spill(mark(11 + 2 * number, number as u32), |refs| {
                assert_eq!(refs.len(), FAN_OUT);
                written += 1;
                refs[0].address
            });
            log.take_over(&spill);
        }
        assert_eq!(written, 3);
        assert_eq!((log.levels[0].len(), log.levels[1].len()), (8, 3));
        assert_eq!(log.last(), Version(410));
        assert!(matches!(log.cut(Version(410)), Lookup::In { level: 0, .. }));
        assert!(matches!(log.cut(Version(11)), Lookup::In { level: 1, .. }));
        assert_eq!(log.cut(Version(411)), Lookup::Found(i64::MAX));
    }
}
