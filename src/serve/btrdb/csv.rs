//! Points or windows of many streams as rows of text.
//!
//! Rows are a full outer join on time, made one at a time: each stream is read by itself, and of each there is a batch in
//! hand. All are read as of one snapshot.

use std::sync::Arc;

use ::arrow::buffer::ScalarBuffer;
use chrono::{DateTime, SecondsFormat};
use futures::stream::{BoxStream, Fuse, try_unfold};
use futures::{StreamExt, TryStreamExt, stream};

use super::Shared;
use super::answer::Messages;
use super::reads::stream_read;
use super::windows::Frame;
use crate::backend::Backend;
use crate::error::{Code, Error, Result};
use crate::model::{PointQuery, Snapshot, Stat, StreamRead, TimeRange, Timestamp, Version};
use crate::wire::proto::generate_csv_params::QueryType;
use crate::wire::proto::{GenerateCsvParams, GenerateCsvResponse};

/// Rows that all streams together have in hand, about.
const ROWS_HELD: usize = 1 << 18;

/// Streams that are opened at a time.
const OPENING_MAX: usize = 16;

/// What the cells of a stream are.
#[derive(Clone, Debug)]
enum Cells {
    /// One: the value of a point.
    Points(TimeRange),
    /// Four: least, mean, greatest and count of a window.
    Windows(Frame),
}

/// Part of a stream.
struct Part {
    version: Version,
    times: ScalarBuffer<i64>,
    cells: PartCells,
}

enum PartCells {
    Points(ScalarBuffer<f64>),
    Windows(Vec<Stat>),
}

/// One stream of the join.
struct Column {
    source: Fuse<BoxStream<'static, Result<Part>>>,
    /// The part in hand, of which rows from `next` on are not told yet.
    part: Part,
    next: usize,
}

impl Shared {
    pub(super) async fn generate_csv(
        &self,
        params: GenerateCsvParams,
    ) -> Result<Messages<GenerateCsvResponse>> {
        let reads = params
            .streams
            .iter()
            .map(|stream| stream_read(&stream.uuid, stream.version))
            .collect::<Result<Vec<_>>>()?;
        let cells = self.cells(&params)?;
        let rows = (ROWS_HELD / reads.len().max(1)).clamp(16, 4096);
        let snapshot = self.backend().snapshot().await?;
        let opening = reads
            .into_iter()
            .map(|read| Column::open(cells.read(self.backend(), read, snapshot, rows)));
        let columns: Vec<Column> = stream::iter(opening)
            .buffered(OPENING_MAX)
            .try_collect()
            .await?;
        let header = GenerateCsvResponse {
            stat: None,
            is_header: true,
            row: header(&params, &columns, &cells),
        };
        let rows = try_unfold(columns, move |mut columns| {
            let width = cells.width();
            async move {
                let row = next_row(&mut columns, width).await?;
                Ok(row.map(|row| (row, columns)))
            }
        });
        let rows = rows.map_ok(|row| GenerateCsvResponse {
            stat: None,
            is_header: false,
            row,
        });
        Ok(stream::once(async { Ok(header) }).chain(rows).boxed())
    }

    fn cells(&self, params: &GenerateCsvParams) -> Result<Cells> {
        let (start, end) = (params.start_time, params.end_time);
        match QueryType::try_from(params.query_type) {
            Ok(QueryType::RawQuery) => TimeRange::checked(start, end).map(Cells::Points),
            Ok(QueryType::AlignedWindowsQuery) => {
                Frame::aligned(start, end, params.depth).map(Cells::Windows)
            }
            Ok(QueryType::WindowsQuery) => {
                let is_filled = !self.settings.omit_empty_windows;
                Frame::regular(start, end, params.window_size, params.depth, is_filled)
                    .map(Cells::Windows)
            }
            Err(_) => Err(Error::invalid(format!(
                "query type {} is unknown: 0 is aligned windows, 1 windows, 2 raw",
                params.query_type
            ))
            .with_code(Code::InvalidParameter)),
        }
    }
}

impl Cells {
    /// How many there are of one stream in a row.
    fn width(&self) -> usize {
        match self {
            Self::Points(_) => 1,
            Self::Windows(_) => 4,
        }
    }

    fn read(
        &self,
        backend: &Arc<dyn Backend>,
        read: StreamRead,
        snapshot: Snapshot,
        rows: usize,
    ) -> BoxStream<'static, Result<Part>> {
        match self {
            Self::Points(range) => {
                let query = PointQuery {
                    snapshot,
                    batch_rows: rows,
                    ..PointQuery::new(vec![read], *range)
                };
                let points = backend.points(query).map_ok(|batch| Part {
                    version: batch.version,
                    times: batch.times,
                    cells: PartCells::Points(batch.values),
                });
                points.boxed()
            }
            Self::Windows(frame) => {
                let windows = frame.read(backend, read, snapshot, rows);
                let windows = windows.map_ok(|batch| Part {
                    version: batch.version,
                    times: batch.times.into(),
                    cells: PartCells::Windows(batch.stats),
                });
                windows.boxed()
            }
        }
    }
}

impl Column {
    /// Reads the first part, which tells the version.
    async fn open(source: BoxStream<'static, Result<Part>>) -> Result<Self> {
        let mut source = source.fuse();
        let part = source.try_next().await?;
        let part =
            part.ok_or_else(|| Error::internal("the backend told no version of a stream"))?;
        Ok(Self {
            source,
            part,
            next: 0,
        })
    }

    /// The time of the next row; none at the end.
    async fn time(&mut self) -> Result<Option<Timestamp>> {
        while self.next == self.part.times.len() {
            match self.source.try_next().await? {
                Some(part) => (self.part, self.next) = (part, 0),
                None => return Ok(None),
            }
        }
        Ok(self.part.times.get(self.next).copied())
    }

    /// Appends the cells of the next row.
    fn tell(&mut self, row: &mut Vec<String>) {
        match &self.part.cells {
            PartCells::Points(values) => row.push(number(values[self.next])),
            PartCells::Windows(stats) => {
                let stat = &stats[self.next];
                let numbers = match stat.count {
                    0 => [0.0; 3],
                    _ => [stat.min, stat.mean, stat.max],
                };
                row.extend(numbers.map(number));
                row.push(stat.count.to_string());
            }
        }
        self.next += 1;
    }
}

async fn next_row(columns: &mut [Column], width: usize) -> Result<Option<Vec<String>>> {
    let mut times = Vec::with_capacity(columns.len());
    for column in &mut *columns {
        times.push(column.time().await?);
    }
    let Some(now) = times.iter().flatten().min().copied() else {
        return Ok(None);
    };
    let mut row = Vec::with_capacity(2 + columns.len() * width);
    row.push(now.to_string());
    row.push(DateTime::from_timestamp_nanos(now).to_rfc3339_opts(SecondsFormat::Secs, true));
    for (column, time) in columns.iter_mut().zip(times) {
        if time == Some(now) {
            column.tell(&mut row);
        } else {
            row.extend(std::iter::repeat_n(String::new(), width));
        }
    }
    Ok(Some(row))
}

fn header(params: &GenerateCsvParams, columns: &[Column], cells: &Cells) -> Vec<String> {
    let mut row = vec![
        "Timestamp (ns)".to_owned(),
        "Human-Readable Time (UTC)".to_owned(),
    ];
    for (stream, column) in params.streams.iter().zip(columns) {
        let label = if params.include_versions {
            format!("{}, ver. {}", stream.label, column.part.version)
        } else {
            stream.label.clone()
        };
        match cells {
            Cells::Points(_) => row.push(label),
            Cells::Windows(_) => {
                let parts = ["Min", "Mean", "Max", "Count"];
                row.extend(parts.map(|part| format!("{label} ({part})")));
            }
        }
    }
    row
}

fn number(value: f64) -> String {
    format!("{value:.6}")
}
