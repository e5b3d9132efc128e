//! Views and walks as streams of batches: the only place that fetches nodes.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::{BoxStream, try_unfold};

use super::Store;
use super::walk::{PointWalk, StatWalk, resolve};
use crate::error::Result;
use crate::model::{
    PointBatch, PointQuery, Snapshot, StatBatch, StatQuery, StreamRead, TimeRange, Version,
};

/// Windows of one batch of statistics.
const BATCH_WINDOWS: usize = 8192;

/// Whole-range statistics of so many streams are worked out before the executor gets a turn.
const STREAMS_PER_TURN: usize = 64;

impl Store {
    /// The snapshot with `Latest` made definite, so that all streams of a read see the same one.
    pub(crate) fn pin(&self, snapshot: Snapshot) -> Snapshot {
        match snapshot {
            Snapshot::Latest => Snapshot::Commit(self.committed()),
            pinned => pinned,
        }
    }

    /// A walk over the points of one stream.
    pub(crate) fn walk_points(
        &self,
        query: &PointQuery,
        read: StreamRead,
    ) -> Result<(Version, PointWalk)> {
        let view = self.catalogue.stream(read.id)?.view(read, query.snapshot)?;
        let version = view.version;
        Ok((
            version,
            PointWalk::new(view, query.ranges.clone(), query.direction, query.limit),
        ))
    }
}

/// Reads a walk to its next batch.
pub(crate) fn next_points(
    walk: &mut PointWalk,
    rows: usize,
) -> Option<(
    arrow::buffer::ScalarBuffer<i64>,
    arrow::buffer::ScalarBuffer<f64>,
)> {
    loop {
        if let Some(batch) = walk.next(rows) {
            return Some(batch);
        }
        let links = walk.wants();
        if links.is_empty() {
            return walk.next(rows);
        }
        walk.supply(resolve(links));
    }
}

struct Points {
    store: Arc<Store>,
    query: PointQuery,
    left: VecDeque<(usize, StreamRead)>,
    current: Option<(usize, Version, PointWalk)>,
}

/// The points of a query, stream by stream.
pub(crate) fn points(
    store: Arc<Store>,
    mut query: PointQuery,
) -> BoxStream<'static, Result<PointBatch>> {
    query.snapshot = store.pin(query.snapshot);
    if let Err(error) = query
        .ranges
        .iter()
        .try_for_each(|range| TimeRange::checked(range.start, range.end).map(drop))
    {
        return futures::stream::once(async { Err(error) }).boxed();
    }
    let left = query.streams.iter().copied().enumerate().collect();
    let state = Points {
        store,
        query,
        left,
        current: None,
    };
    try_unfold(state, |mut state| async move {
        Ok(state.next()?.map(|batch| (batch, state)))
    })
    .boxed()
}

impl Points {
    fn next(&mut self) -> Result<Option<PointBatch>> {
        let rows = self.query.batch_rows.max(1);
        loop {
            if let Some((stream, version, walk)) = &mut self.current {
                if let Some((times, values)) = next_points(walk, rows) {
                    return Ok(Some(PointBatch {
                        stream: *stream,
                        version: *version,
                        times,
                        values,
                    }));
                }
                self.current = None;
            }
            let Some((stream, read)) = self.left.pop_front() else {
                return Ok(None);
            };
            let (version, walk) = self.store.walk_points(&self.query, read)?;
            self.current = Some((stream, version, walk));
        }
    }
}

struct Stats {
    store: Arc<Store>,
    query: StatQuery,
    left: VecDeque<(usize, StreamRead)>,
    current: Option<(usize, Version, StatWalk, u64)>,
    begun: usize,
}

/// The statistics of a query, stream by stream.
pub(crate) fn stats(
    store: Arc<Store>,
    mut query: StatQuery,
) -> BoxStream<'static, Result<StatBatch>> {
    query.snapshot = store.pin(query.snapshot);
    let checked = TimeRange::checked(query.range.start, query.range.end)
        .and_then(|range| query.cuts.check(range));
    if let Err(error) = checked {
        return futures::stream::once(async { Err(error) }).boxed();
    }
    let left = query.streams.iter().copied().enumerate().collect();
    let state = Stats {
        store,
        query,
        left,
        current: None,
        begun: 0,
    };
    try_unfold(state, |mut state| async move {
        if state.begun >= STREAMS_PER_TURN {
            state.begun = 0;
            tokio::task::yield_now().await;
        }
        Ok(state.next()?.map(|batch| (batch, state)))
    })
    .boxed()
}

impl Stats {
    fn next(&mut self) -> Result<Option<StatBatch>> {
        loop {
            if let Some((stream, version, walk, remaining)) = &mut self.current {
                let windows = usize::try_from(*remaining)
                    .unwrap_or(usize::MAX)
                    .min(BATCH_WINDOWS);
                if let Some((times, stats)) = next_windows(walk, windows) {
                    *remaining -= times.len() as u64;
                    return Ok(Some(StatBatch {
                        stream: *stream,
                        version: *version,
                        times,
                        stats,
                    }));
                }
                self.current = None;
            }
            let Some((stream, read)) = self.left.pop_front() else {
                return Ok(None);
            };
            self.begun += 1;
            let view = self
                .store
                .catalogue
                .stream(read.id)?
                .view(read, self.query.snapshot)?;
            let version = view.version;
            let walk = StatWalk::new(view, self.query.cuts.clone(), self.query.range);
            self.current = Some((stream, version, walk, self.query.limit.unwrap_or(u64::MAX)));
        }
    }
}

fn next_windows(
    walk: &mut StatWalk,
    windows: usize,
) -> Option<(Vec<i64>, Vec<crate::model::Stat>)> {
    if windows == 0 {
        return None;
    }
    loop {
        if let Some(batch) = walk.next(windows) {
            return Some(batch);
        }
        let links = walk.wants();
        if links.is_empty() {
            return walk.next(windows);
        }
        walk.supply(resolve(links));
    }
}
