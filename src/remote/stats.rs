//! Statistics: whole windows as the server has them, ragged ends as windows of their own, and what is missing made up for.
//!
//! Everything that one stream answers comes from one state (see [`versions`](super::versions)). A deviation that the server does
//! not know, over points that it has in no version yet, is worked out from the points themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::stream::{self, try_unfold};
use futures::{FutureExt, StreamExt, TryFutureExt, TryStreamExt};

use super::ahead::{Bytes, READ_AHEAD_BYTES, Results, in_order};
use super::link::Link;
use super::pieces::{Piece, Run, pieces};
use super::points::storable;
use super::reads::{Replies, Seen, Target, Windows, ordered};
use super::versions::{
    ATTEMPTS, CALLS_AT_ONCE, agreed, check_snapshot, is_unsettled, pin, tell, unsettled,
};
use super::{lookups, wide};
use crate::error::{Error, ErrorKind, Result};
use crate::model::time::{MAX_TIME, MIN_TIME};
use crate::model::{
    Direction, NearestQuery, Point, Stat, StatBatch, StatQuery, StreamId, StreamRead, TimeRange,
    Timestamp, Version,
};

/// Windows of one stream that are held back before the first is answered: as long as none was, another attempt can be made,
/// and windows in disorder can be sorted. A megabyte.
const HELD_WINDOWS: usize = 16 * 1024;

/// Pieces of one stream that are begun at once where there are many of both.
const PIECES_AHEAD: usize = 8;

/// Points that one query reads to work out deviations.
const REPAIR_POINTS: u64 = 1_000_000;

impl Bytes for StatBatch {
    fn bytes(&self) -> usize {
        64 + 64 * self.times.len()
    }
}

impl Bytes for (Version, Windows) {
    fn bytes(&self) -> usize {
        64 + 64 * self.1.times.len()
    }
}

/// The statistics of a query, stream by stream.
pub(super) fn stats(link: Arc<Link>, query: StatQuery) -> Results<StatBatch> {
    if let Err(error) = check(&query) {
        return stream::once(async { Err(error) }).boxed();
    }
    let clipped: Vec<TimeRange> = query
        .ranges
        .iter()
        .map(|&range| query.cuts.clip(range))
        .collect();
    let ranges: Vec<TimeRange> = storable(&clipped).collect();
    let pieces: Arc<[Piece]> = pieces(&query.cuts, &ranges).into();
    let is_few = pieces.len() <= CALLS_AT_ONCE && !pieces.iter().any(wide::is_wide);
    let calls = match is_few {
        true => pieces.len().max(1),
        false => PIECES_AHEAD,
    };
    let width = link.settings.calls_in_flight / calls;
    let streams = query.streams.len();
    let room = link.room.clone();
    let reader = Reader {
        link,
        query: Arc::new(query),
        pieces,
        is_few,
        repairs: Arc::new(AtomicU64::new(REPAIR_POINTS)),
    };
    let jobs = (0..streams).map(move |place| {
        let reader = reader.clone();
        let results = async move { reader.stream(reader.query.streams[place]).await };
        let results = results.try_flatten_stream();
        let batches = results.map_ok(move |(version, windows)| StatBatch {
            stream: place,
            version,
            times: windows.times,
            stats: windows.stats,
        });
        batches.boxed()
    });
    in_order(jobs, width, READ_AHEAD_BYTES, &room)
}

fn check(query: &StatQuery) -> Result<()> {
    TimeRange::check_all(&query.ranges)?;
    if let Some(&first) = query.ranges.first() {
        query.cuts.check(first)?;
    }
    check_snapshot(query.snapshot)
}

/// What reads the statistics of streams.
#[derive(Clone)]
pub(super) struct Reader {
    pub(super) link: Arc<Link>,
    pub(super) query: Arc<StatQuery>,
    pieces: Arc<[Piece]>,
    /// Whether the pieces of a stream are so few that all can be begun at once.
    is_few: bool,
    /// Points that may still be read for deviations.
    repairs: Arc<AtomicU64>,
}

impl Reader {
    /// The windows of one stream, all of one state; at least one answer, for the version.
    async fn stream(&self, read: StreamRead) -> Result<Results<(Version, Windows)>> {
        let target = Target::new(&self.link, read, &self.query.probe);
        if self.pieces.is_empty() || self.query.limit == Some(0) {
            return nothing(tell(target).await?);
        }
        let mut version = read.version;
        if !self.is_few {
            version = Some(pin(&self.link, read).await?);
        }
        let mut attempts = 1;
        loop {
            match self.attempt(read.id, version).await {
                Ok(results) => return Ok(results),
                Err(error) if !is_unsettled(&error) || version.is_some() => return Err(error),
                Err(_) if attempts < ATTEMPTS => attempts += 1,
                Err(_) => version = Some(pin(&self.link, read).await?),
            }
        }
    }

    /// One attempt, as far as it can still be repeated.
    async fn attempt(
        &self,
        id: StreamId,
        version: Option<Version>,
    ) -> Result<Results<(Version, Windows)>> {
        let results = match (self.is_few, version) {
            (false, Some(version)) => self.many(id, version),
            _ => self.few(id, version).await?,
        };
        let mut results = limited(merged(results), self.query.limit);
        let mut held = Vec::new();
        let mut windows = 0;
        while windows < HELD_WINDOWS {
            match results.try_next().await? {
                Some(result) => {
                    windows += result.1.times.len();
                    held.push(Ok(result));
                }
                None if held.is_empty() => {
                    let read = StreamRead { id, version };
                    let target = Target::new(&self.link, read, &self.query.probe);
                    return nothing(tell(target).await?);
                }
                None => return Ok(stream::iter(held).boxed()),
            }
        }
        Ok(stream::iter(held).chain(results).boxed())
    }

    /// Pieces that are begun at once, so that they can be seen to agree.
    async fn few(
        &self,
        id: StreamId,
        version: Option<Version>,
    ) -> Result<Results<(Version, Windows)>> {
        let read = StreamRead { id, version };
        let target = Target::new(&self.link, read, &self.query.probe);
        let calls = self.pieces.iter().map(|piece| open(target, *piece).boxed());
        let replies = agreed(id, calls).await?;
        let mut parts = Vec::with_capacity(replies.len());
        for (piece, replies) in self.pieces.iter().zip(replies) {
            parts.push(self.results(read, *piece, replies).await?);
        }
        Ok(stream::iter(parts).flatten().boxed())
    }

    /// Pieces of a version that has a name, begun a few at a time.
    fn many(&self, id: StreamId, version: Version) -> Results<(Version, Windows)> {
        let reader = self.clone();
        let read = StreamRead {
            id,
            version: Some(version),
        };
        let streams = self.query.streams.len().max(1);
        let width = (self.link.settings.calls_in_flight / streams).max(PIECES_AHEAD);
        let results = async move {
            let room = reader.link.room.clone();
            let pieces = reader.occupied(read).await?;
            let jobs = pieces.into_iter().map(move |piece| match piece {
                Piece::Run(run) if wide::is_wide(&piece) => {
                    wide::windows(reader.clone(), read, run)
                }
                piece => reader.clone().piece(read, piece),
            });
            Ok(in_order(jobs, width, READ_AHEAD_BYTES, &room))
        };
        results.try_flatten_stream().boxed()
    }

    /// The pieces that can have points. The months since 1933 are a call each, and most streams are younger: two calls tell.
    async fn occupied(&self, read: StreamRead) -> Result<Vec<Piece>> {
        let pieces = self.pieces.to_vec();
        if pieces.len() <= CALLS_AT_ONCE {
            return Ok(pieces);
        }
        let next_to = |time, direction| {
            let query = NearestQuery {
                probe: self.query.probe.clone(),
                ..NearestQuery::new(vec![read], time, direction)
            };
            lookups::nearest(&self.link, query)
        };
        let (first, last) = futures::try_join!(
            next_to(MIN_TIME, Direction::Forward),
            next_to(MAX_TIME - 1, Direction::Backward)
        )?;
        let time = |found: Vec<(Version, Option<Point>)>| Some(found.first()?.1?.time);
        let (Some(first), Some(last)) = (time(first), time(last)) else {
            return Ok(Vec::new());
        };
        let has_points = |range: TimeRange| range.start <= last && first < range.end;
        let occupied = pieces.into_iter();
        Ok(occupied.filter(|piece| has_points(piece.range())).collect())
    }

    /// The windows of one piece.
    pub(super) fn piece(self, read: StreamRead, piece: Piece) -> Results<(Version, Windows)> {
        async move {
            let target = Target::new(&self.link, read, &self.query.probe);
            let replies = open(target, piece).await?;
            self.results(read, piece, replies).await
        }
        .try_flatten_stream()
        .boxed()
    }

    /// What a piece answered, ascending, named, and with deviations.
    async fn results(
        &self,
        read: StreamRead,
        piece: Piece,
        replies: Replies<Windows>,
    ) -> Result<Results<(Version, Windows)>> {
        let reader = self.clone();
        let results = sorted(read.id, replies).await?;
        let results = results.and_then(move |(seen, windows)| {
            let reader = reader.clone();
            async move {
                let version = seen.version(read.version);
                if is_as_asked(piece, &windows) {
                    return Ok((version, windows));
                }
                let mut named = Windows::default();
                for (time, mut stat) in windows.times.into_iter().zip(windows.stats) {
                    let Some((name, range)) = window(piece, time) else {
                        continue;
                    };
                    if stat.m2.is_nan() {
                        stat = reader.repair(read, seen, range, &stat).await?;
                    }
                    named.times.push(name);
                    named.stats.push(stat);
                }
                Ok((version, named))
            }
        });
        Ok(results.boxed())
    }

    /// The statistics of a window whose deviation the server does not know.
    async fn repair(
        &self,
        read: StreamRead,
        seen: Seen,
        range: TimeRange,
        stat: &Stat,
    ) -> Result<Stat> {
        let take = |left: u64| left.checked_sub(stat.count);
        if self
            .repairs
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .is_err()
        {
            if read.version.is_none() {
                // Flushed, the server will know.
                return Err(unsettled(read.id, seen, seen));
            }
            return Err(Error::new(
                ErrorKind::Exhausted,
                format!(
                    "stream {}: btrdb does not know the standard deviation of the {} points in {range:?}, and more than \
                     {REPAIR_POINTS} points would have to be read for it",
                    read.id, stat.count
                ),
            ));
        }
        let target = Target::new(&self.link, read, &self.query.probe);
        let mut replies = target.raw(range).await?.into_seen();
        let mut values = Vec::new();
        while let Some((now, (_, part))) = replies.try_next().await? {
            if now.major != seen.major {
                return Err(unsettled(read.id, seen, now));
            }
            values.extend_from_slice(&part);
        }
        Ok(Stat::of(&values))
    }
}

/// Nothing of one version.
fn nothing(version: Version) -> Result<Results<(Version, Windows)>> {
    Ok(stream::iter([Ok((version, Windows::default()))]).boxed())
}

/// Begins the call of a piece.
async fn open(target: Target<'_>, piece: Piece) -> Result<Replies<Windows>> {
    match piece {
        Piece::Part { range, .. } => {
            let width = range.end.abs_diff(range.start);
            target.windows(range, width).await
        }
        Piece::Run(run) => match run.exponent() {
            Some(exponent) => target.aligned(run.range(), exponent).await,
            None => target.windows(run.range(), run.width).await,
        },
    }
}

/// The name of a window that a piece answered, and the time it spans; none if it was not asked for.
fn window(piece: Piece, time: Timestamp) -> Option<(Timestamp, TimeRange)> {
    match piece {
        Piece::Part { name, range } => Some((name, range)),
        Piece::Run(Run { width, .. }) if width > i64::MAX as u64 => None,
        Piece::Run(run) => {
            let range = TimeRange::new(time, time.saturating_add(run.width as i64));
            run.range().covers(range).then_some((time, range))
        }
    }
}

/// Whether ascending windows can be passed on as a piece answered them: all were asked for, and their deviations are known.
fn is_as_asked(piece: Piece, windows: &Windows) -> bool {
    let (Piece::Run(run), [first, .., last]) = (piece, windows.times.as_slice()) else {
        return false;
    };
    let is_known = || !windows.stats.iter().any(|stat| stat.m2.is_nan());
    let ends = [*first, *last];
    let is_named = |time: Timestamp| window(piece, time).is_some_and(|(name, _)| name == time);
    run.count > 0 && ends.into_iter().all(is_named) && is_known()
}

/// The answers of one call in the order of time.
///
/// # Errors
/// Internal if they are in disorder and too many to sort.
async fn sorted(id: StreamId, replies: Replies<Windows>) -> Result<Results<(Seen, Windows)>> {
    let Some(seen) = replies.seen() else {
        return Ok(stream::empty().boxed());
    };
    let mut replies = replies.into_seen();
    let mut first = Vec::new();
    let mut held = 0;
    let mut is_all = false;
    while held < HELD_WINDOWS && !is_all {
        match replies.try_next().await? {
            Some((_, windows)) => {
                held += windows.times.len();
                first.push(windows);
            }
            None => is_all = true,
        }
    }
    // Each answer is sorted; most times their sequence is as well.
    if !first.iter().flat_map(|windows| &windows.times).is_sorted() {
        let windows = first.into_iter();
        let windows = windows.flat_map(|windows| windows.times.into_iter().zip(windows.stats));
        first = vec![ordered(windows)];
    }
    let mut ends = first
        .iter()
        .rev()
        .filter_map(|windows| windows.times.last());
    let mut last = ends.next().copied();
    let rest = replies.map(move |reply| {
        let (seen, windows) = reply?;
        if windows.times.first().copied() < last && !windows.times.is_empty() {
            return Err(Error::internal(format!(
                "btrdb sends the windows of stream {id} in disorder, and too many to sort"
            )));
        }
        last = windows.times.last().copied().or(last);
        Ok((seen, windows))
    });
    let first = stream::iter(first).map(move |windows| Ok((seen, windows)));
    Ok(match is_all {
        true => first.boxed(),
        false => first.chain(rest).boxed(),
    })
}

/// Windows of one name as one window, wherever they were answered.
fn merged(results: Results<(Version, Windows)>) -> Results<(Version, Windows)> {
    let state = (results, Open::None, false);
    try_unfold(state, |(mut results, mut open, is_over)| async move {
        if is_over {
            return Ok(None);
        }
        let Some((version, windows)) = results.try_next().await? else {
            let Some((version, time, stat)) = open.take() else {
                return Ok(None);
            };
            let whole = Windows {
                times: vec![time],
                stats: vec![stat],
            };
            return Ok(Some(((version, whole), (results, None, true))));
        };
        let (whole, open) = behind(open, version, windows);
        Ok(Some(((version, whole), (results, open, false))))
    })
    .boxed()
}

/// A window that may go on in what comes next.
type Open = Option<(Version, Timestamp, Stat)>;

/// The windows that are whole once `windows` follow on the open one, and the one that is open then.
fn behind(mut open: Open, version: Version, mut windows: Windows) -> (Windows, Open) {
    if windows.times.is_empty() {
        return (windows, open);
    }
    if windows.times.is_sorted_by(|a, b| a < b) {
        // Which is how whole windows are answered: they stay where they are.
        let before = match open {
            Some((_, last, mut sum)) if last == windows.times[0] => {
                sum.merge(&windows.stats[0]);
                windows.stats[0] = sum;
                None
            }
            before => before,
        };
        // The last one leaves before the other comes, so that there is room.
        let last = windows.times.pop().zip(windows.stats.pop());
        if let Some((_, time, stat)) = before {
            windows.times.insert(0, time);
            windows.stats.insert(0, stat);
        }
        return (windows, last.map(|(time, stat)| (version, time, stat)));
    }
    let mut whole = Windows::default();
    for (time, stat) in windows.times.into_iter().zip(windows.stats) {
        match &mut open {
            Some((_, last, sum)) if *last == time => sum.merge(&stat),
            _ => {
                if let Some((_, last, sum)) = open.replace((version, time, stat)) {
                    whole.times.push(last);
                    whole.stats.push(sum);
                }
            }
        }
    }
    (whole, open)
}

/// The first so many windows. What comes after them is not asked for.
fn limited(
    results: Results<(Version, Windows)>,
    limit: Option<u64>,
) -> Results<(Version, Windows)> {
    let Some(limit) = limit else {
        return results;
    };
    try_unfold((results, limit), |(mut results, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        let Some((version, mut windows)) = results.try_next().await? else {
            return Ok(None);
        };
        let taken = windows.times.len() as u64;
        if taken > left {
            windows.times.truncate(left as usize);
            windows.stats.truncate(left as usize);
        }
        Ok(Some((
            (version, windows),
            (results, left.saturating_sub(taken)),
        )))
    })
    .boxed()
}
