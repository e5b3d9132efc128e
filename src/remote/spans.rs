//! Points from the end, or only those of some values: a part of the stream at a time, found by its windows.
//!
//! The protocol has no call that reads backward, or that looks at values. But it counts the points of windows and tells their
//! extremes, and so the stream can be taken apart: windows with many points into narrower ones, down to spans that are read whole.
//!
//! ```text
//! 64 windows or fewer over the range      |      12 M     |    |   400 M   |   3 M  |
//! the last one in up to 4,096 narrower                                     |9 k|60 k|...
//! spans of up to 65,536 points                                             |---------|---
//! ```
//!
//! All calls name one version, so that counts hold until the points are read.

use std::cmp::Reverse;
use std::sync::Arc;

use futures::stream::try_unfold;
use futures::{StreamExt, TryStreamExt};

use super::ahead::Results;
use super::link::Link;
use super::reads::{Columns, Target};
use crate::error::Result;
use crate::model::query::BATCH_ROWS;
use crate::model::{Direction, PointQuery, StreamId, StreamRead, TimeRange, ValueBounds, Version};

/// Points of one span, where the bounds of values do not spare many: a batch.
const SPAN_POINTS_MAX: u64 = BATCH_ROWS as u64;

/// Points of a span where a few may do: what a call costs anyway.
const SPAN_POINTS_MIN: u64 = 1024;

/// Windows that a range is taken apart into at first.
const WINDOWS_FIRST: i128 = 64;

/// Powers of two by which windows become narrower at once: replies of up to 4,096 windows.
const STEPS_MAX: u32 = 12;

/// Spans that are read ahead of the reader.
const SPANS_AHEAD: usize = 3;

/// The points of one stream at one version, in the direction of the query, as far as its bounds of values want them.
pub(super) fn points(
    link: Arc<Link>,
    query: Arc<PointQuery>,
    ranges: &[TimeRange],
    id: StreamId,
    version: Version,
) -> Results<(Version, Columns)> {
    let is_backward = query.direction == Direction::Backward;
    // What a reader does with some points may spare it others.
    let ahead = match query.limit.is_some() || query.values.is_some() {
        true => 1,
        false => SPANS_AHEAD,
    };
    let mut ranges = ranges.to_vec();
    if !is_backward {
        ranges.reverse();
    }
    let search = Search {
        reader: Reader {
            link,
            query: Arc::clone(&query),
            read: StreamRead {
                id,
                version: Some(version),
            },
        },
        bounds: query.values.clone(),
        is_backward,
        points: match (query.limit, &query.values) {
            (Some(limit), _) => limit.clamp(SPAN_POINTS_MIN, SPAN_POINTS_MAX),
            (None, Some(_)) => SPAN_POINTS_MIN,
            (None, None) => SPAN_POINTS_MAX,
        },
        ranges,
        range: TimeRange::new(0, 0),
        spans: Vec::new(),
    };
    let reader = search.reader.clone();
    // A first part, so that the version is told even if no span has points.
    let nothing = futures::stream::iter([Ok((version, Columns::default()))]);
    let spans = try_unfold(search, |mut search| async move {
        Ok(search.next().await?.map(|span| (span, search)))
    });
    let parts = spans
        .map_ok(move |span| reader.clone().read(span, is_backward))
        .try_buffered(ahead);
    nothing.chain(parts).boxed()
}

/// What reads spans.
#[derive(Clone)]
struct Reader {
    link: Arc<Link>,
    query: Arc<PointQuery>,
    read: StreamRead,
}

impl Reader {
    fn target(&self) -> Target<'_> {
        Target::new(&self.link, self.read, &self.query.probe)
    }

    async fn read(self, span: TimeRange, is_backward: bool) -> Result<(Version, Columns)> {
        let replies = self.target().raw(span).await?;
        let (mut times, mut values) = (Vec::new(), Vec::new());
        let mut parts = replies.into_results(self.read.version);
        while let Some((_, part)) = parts.try_next().await? {
            times.extend_from_slice(&part.0);
            values.extend_from_slice(&part.1);
        }
        if is_backward {
            times.reverse();
            values.reverse();
        }
        let version = self.read.version.unwrap_or_default();
        Ok((version, (times.into(), values.into())))
    }
}

/// The spans of a stream that are worth reading, one after the other.
struct Search {
    reader: Reader,
    bounds: Option<Arc<ValueBounds>>,
    is_backward: bool,
    /// Points that a span is to have, about.
    points: u64,
    /// Those not begun yet, the next one last.
    ranges: Vec<TimeRange>,
    range: TimeRange,
    /// What was found of the range, the next one last.
    spans: Vec<Span>,
}

/// A window with points.
struct Span {
    window: TimeRange,
    /// Of its width as a power of two.
    exponent: u32,
    count: u64,
    min: f64,
    max: f64,
}

impl Search {
    async fn next(&mut self) -> Result<Option<TimeRange>> {
        loop {
            let Some(span) = self.spans.pop() else {
                let Some(range) = self.ranges.pop() else {
                    return Ok(None);
                };
                self.range = range;
                self.open(range, first_exponent(range)).await?;
                continue;
            };
            if !self.is_wanted(&span) {
                continue;
            }
            if span.count > self.points && span.exponent > 0 {
                let steps = (span.count / self.points).ilog2() + 2;
                let exponent = span.exponent.saturating_sub(steps.clamp(1, STEPS_MAX));
                self.open(span.window, exponent).await?;
                continue;
            }
            let whole = self.gather(&span);
            if self.bounds.is_some() {
                // As long as nothing is spared, larger spans cost less.
                self.points = (self.points * 2).min(SPAN_POINTS_MAX);
            }
            return Ok(Some(whole.intersect(self.range)));
        }
    }

    /// Takes the part of the range that lies in `window` apart.
    async fn open(&mut self, window: TimeRange, exponent: u32) -> Result<()> {
        let part = aligned(window.intersect(self.range), exponent);
        let replies = self.reader.target().aligned(part, exponent).await?;
        let mut found = Vec::new();
        let mut results = replies.into_results(self.reader.read.version);
        while let Some((_, windows)) = results.try_next().await? {
            for (start, stat) in windows.times.into_iter().zip(windows.stats) {
                found.push(Span {
                    window: TimeRange::new(start, start + (1 << exponent)),
                    exponent,
                    count: stat.count,
                    min: stat.min,
                    max: stat.max,
                });
            }
        }
        match self.is_backward {
            true => found.sort_by_key(|span| span.window.start),
            false => found.sort_by_key(|span| Reverse(span.window.start)),
        }
        self.spans.extend(found);
        Ok(())
    }

    fn is_wanted(&self, span: &Span) -> bool {
        let excluded = self.bounds.as_ref();
        let excluded = excluded.is_some_and(|bounds| bounds.excludes(span.min, span.max));
        !excluded && !span.window.intersect(self.range).is_empty()
    }

    /// The span and as many of the next ones as make one read. Between them there is nothing.
    fn gather(&mut self, first: &Span) -> TimeRange {
        let (mut whole, mut count) = (first.window, first.count);
        while let Some(next) = self.spans.last()
            && self.is_wanted(next)
            && count + next.count <= self.points
        {
            count += next.count;
            whole = TimeRange::new(
                whole.start.min(next.window.start),
                whole.end.max(next.window.end),
            );
            self.spans.pop();
        }
        whole
    }
}

/// Of the widest windows that a range is taken apart into.
fn first_exponent(range: TimeRange) -> u32 {
    let width = i128::from(range.end) - i128::from(range.start);
    let per_window = (width / WINDOWS_FIRST).max(1) as u128;
    per_window.next_power_of_two().ilog2()
}

/// The range with both ends moved out to the grid of windows of `2^exponent` ns. Time itself begins and ends on it.
pub(super) fn aligned(range: TimeRange, exponent: u32) -> TimeRange {
    let mask = !((1_i64 << exponent) - 1);
    let past = range.end.saturating_add((1 << exponent) - 1) & mask;
    TimeRange::new(range.start & mask, past)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::{MAX_TIME, MIN_TIME};

    #[test]
    fn the_first_windows_are_few_and_inside_of_time() {
        for range in [
            TimeRange::ALL,
            TimeRange::new(MIN_TIME + 1, MAX_TIME - 1),
            TimeRange::new(0, 1),
            TimeRange::new(-1, 1),
            TimeRange::new(5, 64_005),
        ] {
            let exponent = first_exponent(range);
            let part = aligned(range, exponent);
            assert!(
                part.covers(range) && TimeRange::ALL.covers(part),
                "{range:?}"
            );
            let windows = (i128::from(part.end) - i128::from(part.start)) >> exponent;
            assert!((1..=66).contains(&windows), "{range:?}: {windows}");
        }
    }
}
