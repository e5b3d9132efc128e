//! Views and walks as streams of batches.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::buffer::ScalarBuffer;
use futures::StreamExt;
use futures::stream::BoxStream;

use super::Store;
use super::ahead::{Read, batches};
use super::cache::{Cached, Grid};
use super::catalogue::Stream;
use super::codec::Damage;
use super::divide::{Round, divided};
use super::fetch::{Decode, Fetcher, corrupt};
use super::history::{Step, View, sorted_runs};
use super::marks::{Lookup, cut_in, version_in};
use super::tree::Link;
use super::walk::{PointWalk, StatWalk, Windows};
use crate::error::{Code, Error, Result};
use crate::model::{
    PointBatch, PointQuery, Probe, Snapshot, StatBatch, StatQuery, StreamRead, TimeRange, Version,
};

/// Windows of one batch of statistics: half a megabyte.
const BATCH_WINDOWS: usize = 10_000;

/// So many streams are asked for a point or a window before the executor gets a turn.
pub(crate) const STREAMS_PER_TURN: usize = 64;

impl Store {
    /// The snapshot with `Latest` made definite, so that all streams of a read see the same one.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`](crate::error::ErrorKind::Conflict) if another writer may have made a later state.
    pub(crate) fn pin(&self, snapshot: Snapshot) -> Result<u64> {
        match snapshot {
            Snapshot::Latest => {
                self.log.readable()?;
                Ok(self.log.committed())
            }
            Snapshot::Commit(commit) if commit > self.log.committed() => {
                Err(Error::not_found(format!(
                    "commit {commit} is not in this store: its newest is {}",
                    self.log.committed()
                ))
                .with_code(Code::VersionNotAvailable))
            }
            Snapshot::Commit(commit) => Ok(commit),
        }
    }

    /// The newest version that `commit` includes.
    pub(crate) async fn version_at(
        self: &Arc<Self>,
        stream: &Stream,
        commit: u64,
        probe: &Probe,
    ) -> Result<Version> {
        match stream.with_history(|history| history.version_at(commit))? {
            Lookup::Found(version) => Ok(version),
            Lookup::In { level, address } => {
                let fetcher = Fetcher::new(self, stream.id, probe);
                let marks = fetcher
                    .marks(level, address, |mark| mark.first_commit <= commit)
                    .await?;
                Ok(version_in(&marks, commit))
            }
        }
    }

    /// The view that a read of a stream at `commit` sees.
    pub(crate) async fn view(
        self: &Arc<Self>,
        read: StreamRead,
        commit: u64,
        probe: &Probe,
    ) -> Result<View> {
        let stream = self.catalogue.stream(read.id)?;
        let (version, newest) = match read.version {
            None => {
                let version = self.version_at(&stream, commit, probe).await?;
                (version, version)
            }
            Some(version) => {
                let newest = self
                    .version_at(&stream, self.log.committed(), probe)
                    .await?;
                (version, newest)
            }
        };
        let step = stream
            .with_history(|history| history.step(version, newest))?
            .map_err(|error| {
                let message = format!("stream {}: {}", stream.id, error.message());
                Error::new(error.kind(), message).with_code(Code::VersionNotAvailable)
            })?;
        let (root, cut, runs) = match step {
            Step::Ready(view) => return Ok(view),
            Step::Cut {
                root,
                lookup: Lookup::Found(cut),
            } => (root, cut, None),
            Step::Cut {
                root,
                lookup: Lookup::In { level, address },
            } => {
                let marks = Fetcher::new(self, stream.id, probe)
                    .marks(level, address, |mark| mark.first <= version)
                    .await?;
                let cut = cut_in(&marks, version).ok_or_else(|| {
                    let damage = Damage("marks lack a version that their reference names");
                    corrupt(self, stream.id, address, damage)
                })?;
                (root, cut, None)
            }
            Step::Runs { root, runs, count } => {
                let block = Fetcher::new(self, stream.id, probe)
                    .other(runs, Decode::Runs)
                    .await?;
                let runs = match block {
                    Cached::Runs(runs) => sorted_runs(&runs, count),
                    _ => None,
                };
                (root, i64::MAX, runs)
            }
        };
        Ok(View {
            version,
            root: root.map(Link::Inner),
            total: None,
            cut,
            runs,
        })
    }

    /// A walk over the points of one stream, and what fetches for it.
    pub(crate) async fn walk_points(
        self: &Arc<Self>,
        query: &PointQuery,
        read: StreamRead,
        commit: u64,
    ) -> Result<(Version, PointWalk, Fetcher)> {
        let view = self.view(read, commit, &query.probe).await?;
        let version = view.version;
        count_live(&view, &query.ranges, &query.probe);
        let walk = PointWalk::new(view, query);
        Ok((version, walk, Fetcher::new(self, read.id, &query.probe)))
    }
}

/// Counts the points of a view that are in no tree yet: they are looked at like a leaf in memory.
fn count_live(view: &View, ranges: &[TimeRange], probe: &Probe) {
    if let Some(runs) = &view.runs {
        let points = ranges.iter().map(|range| runs.clip(*range).len() as u64);
        let points = points.sum();
        if points > 0 {
            probe.node(points, true);
        }
    }
}

/// Times and values side by side.
pub(crate) type Columns = (ScalarBuffer<i64>, ScalarBuffer<f64>);

/// Reads a walk to its next batch.
pub(crate) async fn next_points(
    walk: &mut PointWalk,
    fetcher: &mut Fetcher,
    rows: usize,
) -> Result<Option<Columns>> {
    loop {
        if let Some(batch) = walk.next(rows) {
            return Ok(Some(batch));
        }
        let links = walk.wants();
        if links.is_empty() {
            return Ok(walk.next(rows));
        }
        walk.supply(fetcher.nodes(&links).await?);
    }
}

struct Points {
    store: Arc<Store>,
    query: PointQuery,
    commit: u64,
    left: VecDeque<(usize, StreamRead)>,
    current: Option<CurrentPoints>,
}

/// The stream whose points are being read.
struct CurrentPoints {
    stream: usize,
    version: Version,
    walk: PointWalk,
    fetcher: Fetcher,
    /// Whether a batch was answered that told the version.
    is_told: bool,
}

/// The points of a query, stream by stream.
pub(crate) fn points(
    store: Arc<Store>,
    query: PointQuery,
) -> BoxStream<'static, Result<PointBatch>> {
    let checked = TimeRange::check_all(&query.ranges).and_then(|()| store.pin(query.snapshot));
    let commit = match checked {
        Ok(commit) => commit,
        Err(error) => return futures::stream::once(async { Err(error) }).boxed(),
    };
    let left = query.streams.iter().copied().enumerate().collect();
    let state = Points {
        store,
        query,
        commit,
        left,
        current: None,
    };
    batches(state)
}

/// Batches of points that a long read hands out before the next ones are fetched and decoded beside its reader.
const BATCHES_HERE: u32 = 2;

impl Read for Points {
    type Batch = PointBatch;

    const AHEAD: usize = 2;

    /// Not while what the reader does with a batch may spare it the next ones.
    fn may_read_ahead(&self, given: u32) -> bool {
        let current = self.current.as_ref();
        given >= BATCHES_HERE && current.is_none_or(|current| current.walk.is_at_full_speed())
    }

    async fn next(&mut self) -> Result<Option<PointBatch>> {
        let rows = self.query.batch_rows.max(1);
        loop {
            if let Some(current) = &mut self.current {
                let (walk, fetcher) = (&mut current.walk, &mut current.fetcher);
                let points = next_points(walk, fetcher, rows).await?;
                if points.is_some() || !current.is_told {
                    current.is_told = true;
                    let (times, values) = points.unwrap_or_default();
                    return Ok(Some(PointBatch {
                        stream: current.stream,
                        version: current.version,
                        times,
                        values,
                    }));
                }
                self.current = None;
            }
            let Some((stream, read)) = self.left.pop_front() else {
                return Ok(None);
            };
            let (version, walk, fetcher) = self
                .store
                .walk_points(&self.query, read, self.commit)
                .await?;
            self.current = Some(CurrentPoints {
                stream,
                version,
                walk,
                fetcher,
                is_told: false,
            });
        }
    }
}

struct Stats {
    store: Arc<Store>,
    query: StatQuery,
    /// Those of the query, as far as they lie in windows.
    ranges: Arc<[TimeRange]>,
    commit: u64,
    /// That of the query, if it was asked for before.
    grid: Option<Grid>,
    left: VecDeque<(usize, StreamRead)>,
    current: Option<Current>,
    begun: usize,
}

/// The stream whose statistics are being read.
struct Current {
    stream: usize,
    version: Version,
    walk: StatWalk,
    fetcher: Fetcher,
    grid: Option<Grid>,
    /// Windows that may be answered, and those that were.
    limit: u64,
    given: u64,
    /// Whether a batch was answered that told the version.
    is_told: bool,
}

/// The statistics of a query, stream by stream.
pub(crate) fn stats(store: Arc<Store>, query: StatQuery) -> BoxStream<'static, Result<StatBatch>> {
    let checked = TimeRange::check_all(&query.ranges)
        .and_then(|()| {
            query
                .ranges
                .first()
                .map_or(Ok(()), |&first| query.cuts.check(first))
        })
        .and_then(|()| store.pin(query.snapshot));
    let commit = match checked {
        Ok(commit) => commit,
        Err(error) => return futures::stream::once(async { Err(error) }).boxed(),
    };
    let left = query.streams.iter().copied().enumerate().collect();
    let clipped = query.ranges.iter().map(|&range| query.cuts.clip(range));
    let ranges = clipped.filter(|range| !range.is_empty()).collect();
    let state = Stats {
        grid: store.caches.known_grid(&query.cuts),
        store,
        query,
        ranges,
        commit,
        left,
        current: None,
        begun: 0,
    };
    batches(state)
}

impl Read for Stats {
    type Batch = StatBatch;

    const AHEAD: usize = 1;

    /// Where one batch was not enough for a stream.
    fn may_read_ahead(&self, _given: u32) -> bool {
        let current = self.current.as_ref();
        current.is_some_and(|current| current.given >= BATCH_WINDOWS as u64)
    }

    async fn next(&mut self) -> Result<Option<StatBatch>> {
        if self.begun >= STREAMS_PER_TURN {
            self.begun = 0;
            tokio::task::yield_now().await;
        }
        loop {
            if let Some(current) = &mut self.current {
                let windows = current.next().await?;
                if windows.is_some() || !current.is_told {
                    current.is_told = true;
                    let Windows { times, stats } = windows.unwrap_or_default();
                    return Ok(Some(StatBatch {
                        stream: current.stream,
                        version: current.version,
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
                .view(read, self.commit, &self.query.probe)
                .await?;
            count_live(&view, &self.ranges, &self.query.probe);
            self.current = Some(Current {
                stream,
                version: view.version,
                walk: StatWalk::new(
                    view,
                    self.query.cuts.clone(),
                    Arc::clone(&self.ranges),
                    self.grid,
                    BATCH_WINDOWS,
                ),
                fetcher: Fetcher::new(&self.store, read.id, &self.query.probe),
                grid: self.grid,
                limit: self.query.limit.unwrap_or(u64::MAX),
                given: 0,
                is_told: false,
            });
        }
    }
}

impl Current {
    async fn next(&mut self) -> Result<Option<Windows>> {
        let windows = usize::try_from(self.limit - self.given)
            .unwrap_or(usize::MAX)
            .min(BATCH_WINDOWS);
        if windows == 0 {
            return Ok(None);
        }
        let batch = loop {
            if let Some(batch) = self.walk.next(windows) {
                break Some(batch);
            }
            let wants = self.walk.wants();
            if wants.is_empty() {
                break self.walk.next(windows);
            }
            let round = Round {
                grid: self.grid,
                left: self.limit - self.given,
                batch: windows as u64,
            };
            let nodes = divided(&mut self.fetcher, self.walk.plan(), round, wants).await?;
            self.walk.supply(nodes);
        };
        self.given += batch.as_ref().map_or(0, |batch| batch.times.len() as u64);
        Ok(batch)
    }
}
