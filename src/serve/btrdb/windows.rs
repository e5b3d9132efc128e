//! Statistics of windows of one stream.
//!
//! The backend leaves windows without points out. So do BTrDB's aligned windows; its other windows are all answered, in
//! their order, those without points with a count of 0: there may be many more of them than there are points.

use std::sync::Arc;

use futures::stream::{BoxStream, try_unfold};
use futures::{StreamExt, TryStreamExt};

use super::Shared;
use super::answer::Messages;
use super::reads::stream_read;
use crate::backend::Backend;
use crate::error::{Code, Error, Result};
use crate::model::{
    Cuts, PointWidth, Snapshot, Stat, StatBatch, StatQuery, StreamRead, TimeRange, Timestamp,
    Version,
};
use crate::wire::points::MESSAGE_POINTS;
use crate::wire::proto::{
    AlignedWindowsParams, AlignedWindowsResponse, ArrowAlignedWindowsResponse,
    ArrowWindowsResponse, WindowsParams, WindowsResponse,
};
use crate::wire::{arrow, windows};

/// Rows of one Arrow message: six columns of eight bytes.
const MESSAGE_WINDOWS: usize = arrow::MESSAGE_BYTES / 48;

/// A message of one part in so many of its rows is sent as it is, instead of waiting for more.
const MESSAGE_SHARE: usize = 4;

/// Which windows a request is about: none at all, where its range holds no whole one.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    /// What the request named.
    range: TimeRange,
    /// The whole windows in it.
    grid: Option<Grid>,
    /// Whether those without points are answered.
    is_filled: bool,
}

#[derive(Clone, Copy, Debug)]
struct Grid {
    /// The start of a window, the first one unless empty ones are left out.
    origin: Timestamp,
    /// Nanoseconds.
    width: u64,
    /// From the first point that counts to the last window's end.
    covered: TimeRange,
    /// How many windows.
    count: u64,
}

impl Frame {
    /// Windows 2^`point_width` ns wide that run through 1970: from the one that `start` lies in up to the last that ends by
    /// `end`, without empty ones.
    ///
    /// # Errors
    /// Code 413 for a range that makes no sense, 415 for a point width beyond 63.
    pub(super) fn aligned(start: Timestamp, end: Timestamp, point_width: u32) -> Result<Self> {
        let range = TimeRange::checked(start, end)?;
        let point_width = PointWidth::new(point_width.into())?;
        let aligned = point_width.align(range);
        // The widest windows begin before time does.
        let covered = aligned.intersect(TimeRange::ALL);
        let grid = (!covered.is_empty()).then(|| Grid {
            origin: 0,
            width: point_width.width(),
            covered,
            count: aligned.end.abs_diff(aligned.start) >> point_width.exponent(),
        });
        Ok(Self {
            range,
            grid,
            is_filled: false,
        })
    }

    /// Windows `width` ns wide from `start` on, as many as end by `end`. `depth` once traded accuracy for speed.
    ///
    /// # Errors
    /// Code 413 for a range that makes no sense, 415 for a width that is not between 1 and 2^63 or a depth beyond 63.
    pub(super) fn regular(
        start: Timestamp,
        end: Timestamp,
        width: u64,
        depth: u32,
        is_filled: bool,
    ) -> Result<Self> {
        let range = TimeRange::checked(start, end)?;
        let refuse = |message| Err(Error::invalid(message).with_code(Code::InvalidPointWidth));
        if width == 0 {
            return refuse("window width is 0".to_owned());
        }
        if width > 1 << 63 {
            return refuse(format!("window width is absurd: {width} ns, 2^63 at most"));
        }
        if depth > 63 {
            return refuse(format!(
                "window depth invalid: {depth} is not between 0 and 63"
            ));
        }
        // A checked range is at most 2^62 long.
        let count = range.end.abs_diff(range.start) / width;
        let covered = TimeRange::new(start, start.saturating_add_unsigned(count * width));
        let grid = (count > 0).then_some(Grid {
            origin: start,
            width,
            covered,
            count,
        });
        Ok(Self {
            range,
            grid,
            is_filled,
        })
    }

    /// The windows of one stream, ascending, at most `rows` a batch, and one batch at least.
    pub(super) fn read(
        &self,
        backend: &Arc<dyn Backend>,
        read: StreamRead,
        snapshot: Snapshot,
        rows: usize,
    ) -> BoxStream<'static, Result<StatBatch>> {
        let query = match self.grid {
            Some(grid) => {
                let (origin, width) = (grid.origin, grid.width);
                StatQuery::new(vec![read], grid.covered, Cuts::Every { origin, width })
            }
            // No windows, and yet the stream must be there, and its version told.
            None => StatQuery {
                limit: Some(0),
                ..StatQuery::new(vec![read], self.range, Cuts::whole(self.range))
            },
        };
        let windows = Windows {
            source: backend.stats(StatQuery { snapshot, ..query }).fuse(),
            version: None,
            held: StatBatch::default(),
            next: 0,
            due: self.grid.filter(|_| self.is_filled),
        };
        try_unfold(windows, move |mut windows| async move {
            let batch = windows.next(rows).await?;
            Ok(batch.map(|batch| (batch, windows)))
        })
        .boxed()
    }
}

/// Windows as they are read.
struct Windows {
    source: futures::stream::Fuse<BoxStream<'static, Result<StatBatch>>>,
    /// Known once the backend has answered.
    version: Option<Version>,
    /// The backend's answer in hand, of which those from `next` on are not told yet.
    held: StatBatch,
    next: usize,
    /// What is still to be told where empty windows are: `origin` is the next window, `count` how many from there.
    due: Option<Grid>,
}

impl Windows {
    async fn next(&mut self, rows: usize) -> Result<Option<StatBatch>> {
        let is_first = self.version.is_none();
        let mut told = StatBatch::default();
        while told.times.len() < rows {
            if self.next < self.held.times.len() {
                self.tell(&mut told, rows);
            } else if told.times.len() >= rows.div_ceil(MESSAGE_SHARE) {
                break;
            } else if let Some(batch) = self.source.try_next().await? {
                self.version = Some(batch.version);
                (self.held, self.next) = (batch, 0);
            } else {
                self.fill(&mut told, rows, None);
                break;
            }
        }
        if told.times.is_empty() && !is_first {
            return Ok(None);
        }
        told.version = self
            .version
            .ok_or_else(|| Error::internal("the backend told no version of a stream"))?;
        Ok(Some(told))
    }

    /// Tells windows in hand, and the empty ones before them.
    fn tell(&mut self, told: &mut StatBatch, rows: usize) {
        self.fill(told, rows, Some(self.held.times[self.next]));
        let count = self.in_a_row().min(rows - told.times.len());
        let rows = self.next..self.next + count;
        if told.times.is_empty() && count == self.held.times.len() {
            *told = std::mem::take(&mut self.held);
        } else {
            told.times.extend_from_slice(&self.held.times[rows.clone()]);
            told.stats.extend_from_slice(&self.held.stats[rows]);
            self.next += count;
        }
        if let Some(due) = &mut self.due {
            due.advance(count as u64);
        }
    }

    /// How many of the windows in hand have no empty one between them.
    fn in_a_row(&self) -> usize {
        let times = &self.held.times[self.next..];
        let (Some(due), Some(&first)) = (self.due, times.first()) else {
            return times.len();
        };
        let is_behind = |row: usize| {
            let offset = (row as u64).checked_mul(due.width);
            offset.and_then(|offset| first.checked_add_unsigned(offset)) == Some(times[row])
        };
        if is_behind(times.len() - 1) {
            return times.len();
        }
        // Windows are distinct and ascend: behind the first that is missing all come later than they would.
        let (mut from, mut to) = (1, times.len());
        while from < to {
            let middle = from.midpoint(to);
            if is_behind(middle) {
                from = middle + 1;
            } else {
                to = middle;
            }
        }
        from
    }

    /// Tells the empty windows up to the one at `until`, or up to the last.
    fn fill(&mut self, told: &mut StatBatch, rows: usize, until: Option<Timestamp>) {
        let Some(due) = &mut self.due else {
            return;
        };
        while told.times.len() < rows
            && due.count > 0
            && until.is_none_or(|until| due.origin < until)
        {
            told.times.push(due.origin);
            told.stats.push(Stat::EMPTY);
            due.advance(1);
        }
    }
}

impl Grid {
    /// Past so many windows.
    fn advance(&mut self, windows: u64) {
        self.origin = self
            .origin
            .saturating_add_unsigned(self.width.saturating_mul(windows));
        self.count = self.count.saturating_sub(windows);
    }
}

fn rows(batch: &StatBatch) -> Vec<crate::wire::proto::StatPoint> {
    let windows = batch.times.iter().zip(&batch.stats);
    windows
        .map(|(&time, stat)| windows::row(time, stat))
        .collect()
}

fn encoded(batch: StatBatch) -> Result<bytes::Bytes> {
    arrow::encode(&arrow::windows_batch(
        arrow::windows_schema(),
        batch.times,
        &batch.stats,
    )?)
}

impl Shared {
    fn aligned(
        &self,
        params: &AlignedWindowsParams,
        rows: usize,
    ) -> Result<BoxStream<'static, Result<StatBatch>>> {
        let read = stream_read(&params.uuid, params.version_major)?;
        let frame = Frame::aligned(params.start, params.end, params.point_width)?;
        Ok(frame.read(self.backend(), read, Snapshot::Latest, rows))
    }

    fn regular(
        &self,
        params: &WindowsParams,
        rows: usize,
    ) -> Result<BoxStream<'static, Result<StatBatch>>> {
        let read = stream_read(&params.uuid, params.version_major)?;
        let is_filled = !self.settings.omit_empty_windows;
        let WindowsParams { start, end, .. } = *params;
        let frame = Frame::regular(start, end, params.width, params.depth, is_filled)?;
        Ok(frame.read(self.backend(), read, Snapshot::Latest, rows))
    }

    pub(super) fn aligned_windows(
        &self,
        params: &AlignedWindowsParams,
    ) -> Result<Messages<AlignedWindowsResponse>> {
        let batches = self.aligned(params, MESSAGE_POINTS)?;
        let messages = batches.map_ok(|batch| AlignedWindowsResponse {
            stat: None,
            version_major: batch.version.0,
            version_minor: 0,
            values: rows(&batch),
        });
        Ok(messages.boxed())
    }

    pub(super) fn arrow_aligned_windows(
        &self,
        params: &AlignedWindowsParams,
    ) -> Result<Messages<ArrowAlignedWindowsResponse>> {
        let batches = self.aligned(params, MESSAGE_WINDOWS)?;
        let messages = batches.map(|batch| {
            let batch = batch?;
            Ok(ArrowAlignedWindowsResponse {
                stat: None,
                version_major: batch.version.0,
                version_minor: 0,
                arrow_bytes: encoded(batch)?,
            })
        });
        Ok(messages.boxed())
    }

    pub(super) fn windows(&self, params: &WindowsParams) -> Result<Messages<WindowsResponse>> {
        let batches = self.regular(params, MESSAGE_POINTS)?;
        let messages = batches.map_ok(|batch| WindowsResponse {
            stat: None,
            version_major: batch.version.0,
            version_minor: 0,
            values: rows(&batch),
        });
        Ok(messages.boxed())
    }

    pub(super) fn arrow_windows(
        &self,
        params: &WindowsParams,
    ) -> Result<Messages<ArrowWindowsResponse>> {
        let batches = self.regular(params, MESSAGE_WINDOWS)?;
        let messages = batches.map(|batch| {
            let batch = batch?;
            Ok(ArrowWindowsResponse {
                stat: None,
                version_major: batch.version.0,
                version_minor: 0,
                arrow_bytes: encoded(batch)?,
            })
        });
        Ok(messages.boxed())
    }
}
