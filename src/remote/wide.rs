//! Narrow windows over wide ranges.
//!
//! The protocol answers every window of a width that is no power of two, empty ones included; a year has 31 million seconds. So
//! first it is asked, by a few thousand windows of its own grid, where points are. Where they are dense, windows are asked for;
//! where most windows would be empty, the points are, and the windows are made here.

use futures::stream::try_unfold;
use futures::{StreamExt, TryFutureExt, TryStreamExt};

use super::ahead::{READ_AHEAD_BYTES, Results, in_order};
use super::pieces::{Piece, Run};
use super::reads::{Columns, Target, Windows};
use super::spans::aligned;
use super::stats::Reader;
use crate::model::{Stat, StreamRead, Timestamp, Version};

/// Windows of one call, empty ones included, that are asked for without a look: 5 MB.
const WINDOWS_MAX: u64 = 100_000;

/// Windows of BTrDB's own grid that a look takes.
const LOOK_WINDOWS: i128 = 4096;

/// Windows that are asked for however few points there are.
const WINDOWS_ANYWAY: u64 = 1024;

/// Windows for each point, at most, where windows are asked for: one takes the room of three points.
const WINDOWS_PER_POINT: u64 = 2;

/// Stretches that are read ahead.
const STRETCHES_AHEAD: usize = 4;

/// Whether a piece has more windows than are asked for without a look.
pub(super) fn is_wide(piece: &Piece) -> bool {
    match piece {
        Piece::Part { .. } => false,
        Piece::Run(run) => run.count > WINDOWS_MAX && run.exponent().is_none(),
    }
}

/// A part of a run with points in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stretch {
    run: Run,
    /// Whether points are asked for instead of windows.
    is_sparse: bool,
}

/// The windows of a run, at a version that has a name.
pub(super) fn windows(reader: Reader, read: StreamRead, run: Run) -> Results<(Version, Windows)> {
    async move {
        let target = Target::new(&reader.link, read, &reader.query.probe);
        let range = run.range();
        let exponent = look_exponent(run);
        let replies = target.aligned(aligned(range, exponent), exponent).await?;
        let mut occupied = Vec::new();
        let mut results = replies.into_results(read.version);
        while let Some((_, windows)) = results.try_next().await? {
            let counts = windows.stats.iter().map(|stat| stat.count);
            occupied.extend(windows.times.into_iter().zip(counts));
        }
        occupied.sort_unstable();
        let stretches = stretches(run, exponent, &occupied);
        let room = reader.link.room.clone();
        let reader = reader.clone();
        let jobs = stretches.into_iter().map(move |stretch| {
            let reader = reader.clone();
            match stretch.is_sparse {
                true => folded(reader, read, stretch.run),
                false => reader.piece(read, Piece::Run(stretch.run)),
            }
        });
        Ok(in_order(jobs, STRETCHES_AHEAD, READ_AHEAD_BYTES, &room))
    }
    .try_flatten_stream()
    .boxed()
}

/// Of windows, no narrower than those of the run, so that a look takes few.
fn look_exponent(run: Run) -> u32 {
    let range = run.range();
    let width = i128::from(range.end) - i128::from(range.start);
    let least = (width / LOOK_WINDOWS).max(i128::from(run.width)).max(1) as u128;
    least.next_power_of_two().ilog2()
}

/// The windows of a run that overlap windows with points, put together where neighbours are to be asked for alike.
fn stretches(run: Run, exponent: u32, occupied: &[(Timestamp, u64)]) -> Vec<Stretch> {
    let (start, width) = (i128::from(run.start), i128::from(run.width));
    let mut stretches: Vec<Stretch> = Vec::new();
    let mut done = 0_u64;
    for &(time, count) in occupied {
        let time = i128::from(time);
        let first = (time - start).div_euclid(width).max(0) as u64;
        let last = (time + (1_i128 << exponent) - 1 - start).div_euclid(width);
        let (from, to) = (first.max(done), ((last + 1).max(0) as u64).min(run.count));
        if from >= to {
            continue;
        }
        let is_sparse = to - from > WINDOWS_ANYWAY.max(count.saturating_mul(WINDOWS_PER_POINT));
        match stretches.last_mut() {
            Some(last) if from == done && last.is_sparse == is_sparse && done > 0 => {
                last.run.count += to - from;
            }
            _ => stretches.push(Stretch {
                run: run.part(from, to),
                is_sparse,
            }),
        }
        done = to;
    }
    stretches
}

/// The windows of a run, made of its points.
fn folded(reader: Reader, read: StreamRead, run: Run) -> Results<(Version, Windows)> {
    async move {
        let target = Target::new(&reader.link, read, &reader.query.probe);
        let parts = target.raw(run.range()).await?.into_results(read.version);
        Ok(fold(parts, run))
    }
    .try_flatten_stream()
    .boxed()
}

fn fold(parts: Results<(Version, Columns)>, run: Run) -> Results<(Version, Windows)> {
    let state = (parts, None::<(Version, Timestamp, Stat)>);
    try_unfold(state, move |(mut parts, mut open)| async move {
        let mut whole = Windows::default();
        let mut close = |closed: Option<(Version, Timestamp, Stat)>| {
            if let Some((_, time, stat)) = closed {
                whole.times.push(time);
                whole.stats.push(stat);
            }
        };
        let Some((version, (times, values))) = parts.try_next().await? else {
            let Some((version, ..)) = open else {
                return Ok(None);
            };
            close(open.take());
            return Ok(Some(((version, whole), (parts, None))));
        };
        let mut from = 0;
        while from < times.len() {
            let number = (i128::from(times[from]) - i128::from(run.start)) / i128::from(run.width);
            let window = run.part(number as u64, number as u64 + 1).range();
            let len = times[from..].partition_point(|&time| time < window.end);
            let stat = Stat::of(&values[from..from + len.max(1)]);
            match &mut open {
                Some((_, last, sum)) if *last == window.start => sum.merge(&stat),
                _ => close(open.replace((version, window.start, stat))),
            }
            from += len.max(1);
        }
        Ok(Some(((version, whole), (parts, open))))
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn year() -> Run {
        Run {
            start: 1_500_000_000_000_000_007,
            width: SECOND,
            count: 31_536_000,
        }
    }

    #[test]
    fn a_look_takes_few_windows() {
        let exponent = look_exponent(year());
        assert!(year().range().end.abs_diff(year().start) >> exponent <= 4096);
        assert!(1 << exponent >= SECOND);
    }

    #[test]
    fn every_occupied_window_is_in_one_stretch() {
        let (run, exponent) = (year(), look_exponent(year()));
        let grid = aligned(run.range(), exponent);
        let width = 1_i64 << exponent;
        // Dense at both ends, sparse beside the first, nothing in between.
        let last = grid.end - width;
        let occupied = [
            (grid.start, 1_000_000),
            (grid.start + width, 1_000_000),
            (grid.start + 2 * width, 1),
            (last, 1_000_000),
        ];
        let found = stretches(run, exponent, &occupied);
        let kinds: Vec<bool> = found.iter().map(|stretch| stretch.is_sparse).collect();
        assert_eq!(kinds, [false, true, false]);
        assert_eq!(found[0].run.start, run.start);
        assert_eq!(found[0].run.range().end, found[1].run.start, "side by side");
        assert_eq!(found[2].run.range().end, run.range().end);
        assert!(found[1].run.range().end >= grid.start + 3 * width);
        assert!(found[2].run.start <= last);
    }

    #[tokio::test]
    async fn points_become_windows_across_messages() {
        let run = Run {
            start: -5,
            width: 10,
            count: 100,
        };
        let part = |times: &[i64]| {
            let values: Vec<f64> = times.iter().map(|&time| time as f64).collect();
            Ok((Version(11), (times.to_vec().into(), values.into())))
        };
        let parts = [part(&[-5, -1, 3]), part(&[4]), part(&[5, 44]), part(&[])];
        let parts = futures::stream::iter(parts).boxed();
        let windows: Vec<_> = fold(parts, run).try_collect().await.expect("folded");
        let found: Vec<(i64, u64)> = windows
            .iter()
            .flat_map(|(_, windows)| windows.times.iter().zip(&windows.stats))
            .map(|(&time, stat)| (time, stat.count))
            .collect();
        assert_eq!(found, [(-5, 4), (5, 1), (35, 1)]);
    }
}
