//! Small questions about many streams: their versions, the points next to a time, what changed.

use std::sync::Arc;

use futures::{FutureExt, StreamExt, TryStreamExt, stream};

use super::calls::{Changes as ChangesCall, Delete, Nearest};
use super::failure::Failure;
use super::link::{Link, Repeat};
use super::reads::Seen;
use super::versions::{check_snapshot, current, each, flushed};
use crate::error::{Code, Error, Result};
use crate::model::time::MAX_TIME;
use crate::model::{
    Changes, ChangesQuery, Direction, NearestQuery, Point, Snapshot, StreamId, StreamRead,
    TimeRange, Version,
};
use crate::wire::{points, proto, streams};

/// The versions of `ids` now.
pub(super) async fn versions(
    link: &Arc<Link>,
    ids: &[StreamId],
    snapshot: Snapshot,
) -> Result<Vec<Version>> {
    check_snapshot(snapshot)?;
    let call =
        |link: Arc<Link>, id| async move { Ok(current(&link, id).await?.version(None)) }.boxed();
    each(link, ids, call).await
}

/// The versions of `ids` after everything buffered was made part of one.
pub(super) async fn flush(link: &Arc<Link>, ids: &[StreamId]) -> Result<Vec<Version>> {
    let call = |link: Arc<Link>, id| async move { flushed(&link, id).await }.boxed();
    each(link, ids, call).await
}

/// Removes points.
pub(super) async fn delete(link: &Link, id: StreamId, range: TimeRange) -> Result<Version> {
    let range = TimeRange::checked(range.start, range.end)?;
    // The last nanosecond holds no point, and some servers refuse ranges that reach beyond it.
    let end = range.end.min(MAX_TIME - 1);
    let ask = proto::DeleteParams {
        uuid: streams::uuid(id),
        start: range.start,
        end: if end > range.start { end } else { range.end },
    };
    let answer = link.ask::<Delete>(ask, Repeat::IfUnsent).await;
    let answer = answer.map_err(|failure| {
        failure.of_change(format_args!("stream {id} lost its points in {range:?}"))
    })?;
    match answer.version_major {
        0 => Ok(current(link, id).await?.version(None)),
        major => Ok(Version(major)),
    }
}

/// The points next to a time.
pub(super) async fn nearest(
    link: &Arc<Link>,
    query: NearestQuery,
) -> Result<Vec<(Version, Option<Point>)>> {
    if !TimeRange::ALL.contains(query.time) {
        return Err(Error::invalid(format!(
            "nearest time out of range: {} is not in {:?}",
            query.time,
            TimeRange::ALL
        ))
        .with_code(Code::InvalidTimeRange));
    }
    check_snapshot(query.snapshot)?;
    let calls = query.streams.iter().map(|&read| {
        let (link, query) = (Arc::clone(link), query.clone());
        async move { nearest_of(&link, &query, read).await }
    });
    let calls: Vec<_> = calls.collect();
    stream::iter(calls)
        .buffered(link.settings.calls_in_flight.max(1))
        .try_collect()
        .await
}

async fn nearest_of(
    link: &Link,
    query: &NearestQuery,
    read: StreamRead,
) -> Result<(Version, Option<Point>)> {
    let ask = proto::NearestParams {
        uuid: streams::uuid(read.id),
        time: query.time,
        version_major: read.version.map_or(0, |version| version.0),
        backward: query.direction == Direction::Backward,
    };
    let answer = link.ask::<Nearest>(ask, Repeat::Always).await;
    let answer = answer.map_err(Failure::told)?;
    query.probe.node(u64::from(answer.value.is_some()), false);
    let is_none = answer.stat.is_some_and(|stat| stat.code != 0);
    let point = answer.value.filter(|_| !is_none);
    let point = point.as_ref().map(points::point);
    let seen = Seen {
        major: answer.version_major,
        minor: answer.version_minor,
    };
    let version = match seen.version(read.version) {
        // Who finds nothing often does not say where.
        Version(0) if point.is_none() => current(link, read.id).await?.version(None),
        version => version,
    };
    Ok((version, point))
}

/// What may differ between two versions.
pub(super) async fn changes(link: &Link, query: ChangesQuery) -> Result<Changes> {
    if query.resolution > 63 {
        return Err(Error::invalid(format!(
            "resolution {} is not between 0 and 63",
            query.resolution
        ))
        .with_code(Code::InvalidPointWidth));
    }
    let ask = proto::ChangesParams {
        uuid: streams::uuid(query.stream),
        from_major: query.from.0,
        to_major: query.to.map_or(0, |version| version.0),
        resolution: query.resolution.into(),
    };
    let answers = link.collect::<ChangesCall>(ask).await;
    let answers = answers.map_err(Failure::told)?;
    let major = answers.iter().map(|answer| answer.version_major).max();
    let version = match (query.to, major) {
        (_, Some(major)) if major != 0 => Version(major),
        (Some(version), _) => version,
        (None, _) => current(link, query.stream).await?.version(None),
    };
    let ranges = answers.iter().flat_map(|answer| &answer.ranges);
    let ranges = ranges.map(|range| TimeRange::new(range.start, range.end));
    Ok(Changes {
        version,
        ranges: united(ranges.collect()),
    })
}

/// The same spans of time, ascending and apart.
fn united(mut ranges: Vec<TimeRange>) -> Vec<TimeRange> {
    ranges.sort_unstable_by_key(|range| range.start);
    let mut united: Vec<TimeRange> = Vec::with_capacity(ranges.len());
    for range in ranges {
        let range = range.intersect(TimeRange::ALL);
        match united.last_mut() {
            _ if range.is_empty() => {}
            Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
            _ => united.push(range),
        }
    }
    united
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_ranges_are_ascending_and_apart() {
        let range = TimeRange::new;
        let found = united(vec![
            range(64, 128),
            range(0, 64),
            range(256, 320),
            range(i64::MIN, i64::MIN + 1),
            range(300, 310),
        ]);
        assert_eq!(found, [range(0, 128), range(256, 320)]);
    }
}
