//! Raw points: one call a stream and range, handed on as it answers.

use std::sync::Arc;

use futures::stream::{self, try_unfold};
use futures::{FutureExt, StreamExt, TryFutureExt};

use super::ahead::{Bytes, READ_AHEAD_BYTES, Results, in_order};
use super::link::Link;
use super::reads::{Columns, Target};
use super::spans;
use super::versions::{ATTEMPTS, CALLS_AT_ONCE, agreed, check_snapshot, is_unsettled, pin, tell};
use crate::error::Result;
use crate::model::time::MAX_TIME;
use crate::model::{Direction, PointBatch, PointQuery, StreamId, StreamRead, TimeRange, Version};

/// Ranges of one stream that are read ahead where there are many.
const RANGES_AHEAD: usize = 4;

impl Bytes for PointBatch {
    fn bytes(&self) -> usize {
        64 + 16 * self.len()
    }
}

impl Bytes for (Version, Columns) {
    fn bytes(&self) -> usize {
        64 + 16 * self.1.0.len()
    }
}

/// The points of a query, stream by stream.
pub(super) fn points(link: Arc<Link>, query: PointQuery) -> Results<PointBatch> {
    let checked = TimeRange::check_all(&query.ranges).and_then(|()| check_snapshot(query.snapshot));
    if let Err(error) = checked {
        return stream::once(async { Err(error) }).boxed();
    }
    let ranges: Arc<[TimeRange]> = storable(&query.ranges).collect();
    let calls = ranges.len().clamp(1, CALLS_AT_ONCE);
    let width = link.settings.calls_in_flight / calls;
    // What is read of some values may spare the rest: of those no more than the first batch is read early.
    let ahead = match query.values {
        Some(_) => 1,
        None => READ_AHEAD_BYTES,
    };
    let query = Arc::new(query);
    let room = link.room.clone();
    let jobs = (0..query.streams.len()).map(move |place| {
        let parts = of_stream(&link, &query, &ranges, place);
        batches(parts, &query, place)
    });
    in_order(jobs, width, ahead, &room)
}

/// The parts of `ranges` that can hold points. The last nanosecond cannot, and there are servers that refuse ranges which
/// reach beyond it.
pub(super) fn storable(ranges: &[TimeRange]) -> impl Iterator<Item = TimeRange> {
    let clip = |range: &TimeRange| TimeRange::new(range.start, range.end.min(MAX_TIME - 1));
    ranges.iter().map(clip).filter(|range| !range.is_empty())
}

/// The points of one stream in the order asked for, not cut to size yet.
fn of_stream(
    link: &Arc<Link>,
    query: &Arc<PointQuery>,
    ranges: &Arc<[TimeRange]>,
    place: usize,
) -> Results<(Version, Columns)> {
    let (link, query, ranges) = (Arc::clone(link), Arc::clone(query), Arc::clone(ranges));
    async move {
        let read = query.streams[place];
        let target = Target::new(&link, read, &query.probe);
        if ranges.is_empty() || query.limit == Some(0) {
            return empty(tell(target).await?);
        }
        if query.direction == Direction::Backward || query.values.is_some() {
            let version = pin(&link, read).await?;
            return Ok(spans::points(link, query, &ranges, read.id, version));
        }
        if let [range] = *ranges {
            let replies = target.raw(range).await?;
            return match replies.seen() {
                Some(_) => Ok(replies.into_results(read.version)),
                None => empty(tell(target).await?),
            };
        }
        if ranges.len() <= CALLS_AT_ONCE {
            return few(target, &ranges).await;
        }
        let version = pin(&link, read).await?;
        Ok(many(&link, &query, ranges.to_vec(), read.id, version))
    }
    .try_flatten_stream()
    .boxed()
}

/// Nothing of one version.
fn empty(version: Version) -> Result<Results<(Version, Columns)>> {
    Ok(stream::iter([Ok((version, Columns::default()))]).boxed())
}

/// The points of a few ranges, all of one state.
async fn few(target: Target<'_>, ranges: &[TimeRange]) -> Result<Results<(Version, Columns)>> {
    let mut target = target;
    let mut attempts = 1;
    loop {
        let calls = ranges.iter().map(|&range| target.raw(range).boxed());
        match agreed(target.id, calls).await {
            Ok(replies) => {
                let version = target.version;
                let parts = replies
                    .into_iter()
                    .map(move |part| part.into_results(version));
                return Ok(stream::iter(parts).flatten().boxed());
            }
            Err(error) if !is_unsettled(&error) || target.version.is_some() => return Err(error),
            Err(_) if attempts < ATTEMPTS => attempts += 1,
            Err(_) => target = target.at(Some(pin(target.link, target.read()).await?)),
        }
    }
}

/// The points of many ranges of one version.
fn many(
    link: &Arc<Link>,
    query: &Arc<PointQuery>,
    ranges: Vec<TimeRange>,
    id: StreamId,
    version: Version,
) -> Results<(Version, Columns)> {
    let (link, query) = (Arc::clone(link), Arc::clone(query));
    let room = link.room.clone();
    let parts = ranges.into_iter().map(move |range| {
        let (link, query) = (Arc::clone(&link), Arc::clone(&query));
        async move {
            let read = StreamRead {
                id,
                version: Some(version),
            };
            let replies = Target::new(&link, read, &query.probe).raw(range).await?;
            Ok(replies.into_results(Some(version)))
        }
        .try_flatten_stream()
        .boxed()
    });
    in_order(parts, RANGES_AHEAD, READ_AHEAD_BYTES, &room)
}

/// What one stream answers, cut to the size of batches, up to the limit; at least one batch, for the version.
fn batches(
    parts: Results<(Version, Columns)>,
    query: &PointQuery,
    place: usize,
) -> Results<PointBatch> {
    let rows_max = query.batch_rows.max(1);
    let state = Batches {
        parts,
        part: None,
        left: query.limit.unwrap_or(u64::MAX),
        is_told: false,
    };
    try_unfold(state, move |mut state| async move {
        let batch = state.next(rows_max).await?;
        Ok(batch.map(|(version, (times, values))| {
            let batch = PointBatch {
                stream: place,
                version,
                times,
                values,
            };
            (batch, state)
        }))
    })
    .boxed()
}

struct Batches {
    parts: Results<(Version, Columns)>,
    part: Option<(Version, Columns)>,
    left: u64,
    /// Whether a batch was answered that told the version.
    is_told: bool,
}

impl Batches {
    async fn next(&mut self, rows_max: usize) -> Result<Option<(Version, Columns)>> {
        let mut version = Version::default();
        while self.left > 0 {
            let (seen, (times, values)) = match self.part.take() {
                Some(part) => part,
                None => match self.parts.next().await.transpose()? {
                    Some(part) => part,
                    None => break,
                },
            };
            version = seen;
            let left = usize::try_from(self.left).unwrap_or(usize::MAX);
            let rows = times.len().min(rows_max).min(left);
            if rows == 0 {
                continue;
            }
            if rows < times.len() {
                let (from, rest) = (rows, times.len() - rows);
                self.part = Some((seen, (times.slice(from, rest), values.slice(from, rest))));
            }
            self.left -= rows as u64;
            self.is_told = true;
            return Ok(Some((seen, (times.slice(0, rows), values.slice(0, rows)))));
        }
        if std::mem::replace(&mut self.is_told, true) {
            return Ok(None);
        }
        if version == Version::default()
            && let Some((seen, _)) = self.parts.next().await.transpose()?
        {
            version = seen;
        }
        Ok(Some((version, Columns::default())))
    }
}
