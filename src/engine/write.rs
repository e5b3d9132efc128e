//! Mutations: validate and sort outside every lock, work out under the stream's, make visible under the store's.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::buffer::ScalarBuffer;
use parking_lot::MutexGuard;

use super::Store;
use super::catalogue::Stream;
use super::history::{Change, History};
use super::tree::{Chunk, Piece, dedupe};
use crate::error::{Code, Error, ErrorKind, Result};
use crate::model::point::check_points;
use crate::model::{InsertOptions, MergePolicy, StreamId, TimeRange, Version, Write};

/// Points that one write may bring: 256 MiB of them. Callers with more send several.
const WRITE_POINTS_MAX: usize = 16 << 20;

/// A write that passed every check which does not need the stream's history.
struct Ready {
    /// Its place in the call.
    index: usize,
    stream: Arc<Stream>,
    points: Option<Piece>,
}

impl Store {
    /// Inserts, one answer a write. All become visible in one commit; where a stream stands more than once, its writes follow
    /// one another in rounds, each a version.
    pub(crate) fn insert(
        &self,
        writes: Vec<Write>,
        options: InsertOptions,
    ) -> Vec<Result<Version>> {
        let mut answers: Vec<Option<Result<Version>>> = writes.iter().map(|_| None).collect();
        let mut rounds: Vec<Vec<Ready>> = Vec::new();
        let mut seen: HashMap<StreamId, usize> = HashMap::new();
        for (index, write) in writes.iter().enumerate() {
            match self.make_ready(index, write, options) {
                Err(error) => answers[index] = Some(Err(error)),
                Ok(ready) => {
                    let round = seen
                        .entry(write.stream)
                        .and_modify(|round| *round += 1)
                        .or_default();
                    if *round == rounds.len() {
                        rounds.push(Vec::new());
                    }
                    rounds[*round].push(ready);
                }
            }
        }
        self.commit_rounds(&rounds, options.merge, &mut answers);
        for (write, answer) in writes.into_iter().zip(&answers) {
            if matches!(answer, Some(Ok(_))) && !write.times.is_empty() {
                self.subscribers.publish(write);
            }
        }
        let unanswered = || Err(Error::internal("a write was left without an answer"));
        answers
            .into_iter()
            .map(|answer| answer.unwrap_or_else(unanswered))
            .collect()
    }

    /// Removes a range, in a new version whether or not it held points.
    pub(crate) fn delete(&self, id: StreamId, range: TimeRange) -> Result<Version> {
        let range = TimeRange::checked(range.start, range.end)?;
        let stream = self.catalogue.stream(id)?;
        let _writing = stream.writing.lock();
        let change = stream.with_history(|history| history.deletion(range))?;
        let mut made = self.commit(vec![(&stream, change)]);
        made.pop()
            .unwrap_or_else(|| Err(Error::internal("a delete was left without an answer")))
    }

    fn make_ready(&self, index: usize, write: &Write, options: InsertOptions) -> Result<Ready> {
        if write.times.len() > WRITE_POINTS_MAX {
            let message = format!(
                "insert too big: {} points, {WRITE_POINTS_MAX} at most",
                write.times.len()
            );
            return Err(Error::new(ErrorKind::Exhausted, message).with_code(Code::InsertTooBig));
        }
        check_points(&write.times, &write.values)?;
        let stream = self.catalogue.stream(write.stream)?;
        let points = (!write.times.is_empty())
            .then(|| -> Result<Piece> {
                Ok(dedupe(
                    sorted(rounded(write, options.rounding_bits)?),
                    options.merge,
                ))
            })
            .transpose()?;
        Ok(Ready {
            index,
            stream,
            points,
        })
    }

    /// Makes the rounds of a call visible together. Every stream of a later round is in the first one too.
    fn commit_rounds(
        &self,
        rounds: &[Vec<Ready>],
        merge: MergePolicy,
        answers: &mut [Option<Result<Version>>],
    ) {
        let Some((first, later)) = rounds.split_first() else {
            return;
        };
        // Locks are taken in one order everywhere, so that two calls cannot wait for each other.
        let mut streams: Vec<&Arc<Stream>> = first.iter().map(|ready| &ready.stream).collect();
        streams.sort_by_key(|stream| stream.id);
        let _writing: Vec<MutexGuard<'_, ()>> =
            streams.iter().map(|stream| stream.writing.lock()).collect();
        let changes = work_out(first, merge, answers);
        if changes.is_empty() && later.is_empty() {
            return;
        }
        let _sequence = self.sequencer.lock();
        let commit = self.committed() + 1;
        apply(changes, commit, answers);
        // A later round builds on the one before, so it is worked out while others wait. Few calls have one.
        for round in later {
            let changes = work_out(round, merge, answers);
            apply(changes, commit, answers);
        }
        self.committed.store(commit, Ordering::Release);
    }

    /// Makes changes visible together. The caller holds the write locks of their streams.
    fn commit(&self, changes: Vec<(&Arc<Stream>, Change)>) -> Vec<Result<Version>> {
        if changes.is_empty() {
            return Vec::new();
        }
        let _sequence = self.sequencer.lock();
        let commit = self.committed() + 1;
        let versions = changes
            .into_iter()
            .map(|(stream, change)| {
                stream.with_history(|history: &mut History| history.apply(change, commit))
            })
            .collect();
        self.committed.store(commit, Ordering::Release);
        versions
    }
}

/// What the writes of a round change, on the very state they find; writes without points and failures are answered.
fn work_out<'a>(
    round: &'a [Ready],
    merge: MergePolicy,
    answers: &mut [Option<Result<Version>>],
) -> Vec<(&'a Ready, Change)> {
    let mut changes = Vec::with_capacity(round.len());
    for ready in round {
        let insertion = |points| {
            let insertion = |history: &mut History| history.insertion(points, merge);
            ready.stream.with_history(insertion)
        };
        match ready.points.as_ref().map(insertion) {
            None => {
                let latest = |history: &mut History| history.latest();
                answers[ready.index] = Some(ready.stream.with_history(latest));
            }
            Some(Err(error)) => answers[ready.index] = Some(Err(error)),
            Some(Ok(change)) => changes.push((ready, change)),
        }
    }
    changes
}

/// Makes changes part of their histories, and answers their writes.
fn apply(changes: Vec<(&Ready, Change)>, commit: u64, answers: &mut [Option<Result<Version>>]) {
    for (ready, change) in changes {
        let apply = |history: &mut History| history.apply(change, commit);
        answers[ready.index] = Some(ready.stream.with_history(apply));
    }
}

/// The points of a write, ascending; equal times in the order they came.
fn sorted((times, values): (ScalarBuffer<i64>, ScalarBuffer<f64>)) -> Piece {
    let chunk = if times.is_sorted() {
        Chunk { times, values }
    } else {
        let mut order: Vec<u32> = (0..times.len() as u32).collect();
        order.sort_by_key(|&row| times[row as usize]);
        let (times, values) = order
            .into_iter()
            .map(|row| (times[row as usize], values[row as usize]))
            .unzip();
        Chunk::new(times, values)
    };
    Piece::whole(Arc::new(chunk))
}

/// Values with so many low bits of the mantissa rounded away, to nearest even.
fn rounded(write: &Write, bits: u8) -> Result<(ScalarBuffer<i64>, ScalarBuffer<f64>)> {
    let times = write.times.clone();
    if bits == 0 {
        return Ok((times, write.values.clone()));
    }
    if bits > 52 {
        return Err(
            Error::invalid(format!("rounding to {bits} bits is not between 0 and 52"))
                .with_code(Code::InvalidParameter),
        );
    }
    let values: Vec<f64> = write
        .values
        .iter()
        .map(|&value| round(value, bits))
        .collect();
    check_points(&times, &values)?;
    Ok((times, values.into()))
}

fn round(value: f64, bits: u8) -> f64 {
    let raw = value.to_bits();
    let half = 1_u64 << (bits - 1);
    let odd = raw >> bits & 1;
    // Carries run into the exponent as they should: the next power of two has a mantissa of zeros.
    f64::from_bits((raw + (half - 1) + odd) >> bits << bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_goes_to_the_nearest_even() {
        assert_eq!(round(1.0, 52), 1.0);
        assert_eq!(round(1.5, 52), 2.0);
        assert_eq!(round(-1.4, 52), -1.0);
        assert_eq!(round(1.0 + f64::EPSILON, 1), 1.0);
        assert_eq!(round(1.0 + 3.0 * f64::EPSILON, 1), 1.0 + 4.0 * f64::EPSILON);
        assert!(round(f64::MAX, 10).is_infinite());
    }
}
