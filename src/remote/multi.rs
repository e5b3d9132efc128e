//! Many streams side by side: one call where the server has it, otherwise each stream and a join.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, UInt64Array};
use arrow::buffer::ScalarBuffer;
use arrow::compute::take;
use arrow::datatypes::Float64Type;
use futures::stream::{self, try_unfold};
use futures::{StreamExt, TryFutureExt, TryStreamExt};

use super::ahead::Results;
use super::calls::ArrowMultiValues;
use super::failure::Failure;
use super::join::{self, Side, Snap};
use super::link::{Link, Messages};
use super::reads::{Target, unreadable};
use super::versions::check_snapshot;
use crate::error::{Code, Error, ErrorKind, Result};
use crate::model::time::{MAX_TIME, MIN_TIME};
use crate::model::{MultiBatch, MultiQuery, Probe, StreamRead, TimeRange};
use crate::wire::{arrow as wire_arrow, proto, streams};

/// Points of all streams together that are joined here, where the server cannot: 128 MiB.
const JOIN_POINTS_MAX: usize = 8 << 20;

/// The rows of a query.
pub(super) fn multi_values(link: Arc<Link>, query: MultiQuery) -> Results<MultiBatch> {
    async move {
        let (range, period) = check(&query)?;
        match link.has_arrow().await? {
            true => ask(&link, &query, range, period).await,
            false => joined(link, query, range, period).await,
        }
    }
    .try_flatten_stream()
    .boxed()
}

/// The range to ask for, and the period of the grid.
fn check(query: &MultiQuery) -> Result<(TimeRange, i64)> {
    let range = TimeRange::checked(query.range.start, query.range.end)?;
    check_snapshot(query.snapshot)?;
    let parameter = |message: String| Error::invalid(message).with_code(Code::InvalidParameter);
    if query.streams.is_empty() {
        return Err(parameter("no streams to join".to_owned()));
    }
    let period = i64::try_from(query.snap_period)
        .map_err(|_| parameter(format!("period of {} ns is too long", query.snap_period)))?;
    // The last nanosecond holds no point, and some servers refuse ranges that reach beyond it; but a line of the grid may lie
    // on it.
    let last = MAX_TIME - 1;
    let has_line =
        period > 0 && (i128::from(last) - i128::from(range.start)) % i128::from(period) == 0;
    let end = if has_line {
        range.end
    } else {
        range.end.min(last)
    };
    Ok((
        TimeRange::new(range.start, end.max(range.start + 1)),
        period,
    ))
}

async fn ask(
    link: &Link,
    query: &MultiQuery,
    range: TimeRange,
    period: i64,
) -> Result<Results<MultiBatch>> {
    let ask = proto::ArrowMultiValuesParams {
        uuid: query
            .streams
            .iter()
            .map(|read| streams::uuid(read.id))
            .collect(),
        version_major: query
            .streams
            .iter()
            .map(|read| read.version.map_or(0, |version| version.0))
            .collect(),
        start: range.start,
        end: range.end,
        snap_period_ns: period,
        template_bytes: Default::default(),
    };
    let messages = link.open::<ArrowMultiValues>(ask).await;
    let messages = messages.map_err(Failure::told)?;
    let state = Rows {
        messages,
        columns: query.streams.len(),
        probe: query.probe.clone(),
        last: None,
    };
    let rows = try_unfold(state, |mut state| async move {
        Ok(state.next().await?.map(|batch| (batch, state)))
    });
    Ok(rows.boxed())
}

/// The rows of one call, as they come.
struct Rows {
    messages: Messages<proto::ArrowMultiValuesResponse>,
    columns: usize,
    probe: Probe,
    /// The last time that was answered.
    last: Option<i64>,
}

impl Rows {
    async fn next(&mut self) -> Result<Option<MultiBatch>> {
        while let Some(message) = self.messages.next().await.map_err(Failure::told)? {
            if message.arrow_bytes.is_empty() {
                continue;
            }
            self.probe.fetch(message.arrow_bytes.len() as u64);
            let batch = self
                .decode(message.arrow_bytes)
                .map_err(|error| unreadable(&error))?;
            let Some((&first, &last)) = batch.times.first().zip(batch.times.last()) else {
                continue;
            };
            if self.last.is_some_and(|before| before >= first) {
                return Err(Error::internal(
                    "btrdb sends rows of several streams in disorder",
                ));
            }
            self.last = Some(last);
            return Ok(Some(batch));
        }
        Ok(None)
    }

    fn decode(&self, bytes: bytes::Bytes) -> Result<MultiBatch> {
        let (_, batches) = wire_arrow::decode(bytes)?;
        let parts = batches
            .iter()
            .map(|batch| wire_arrow::multi_of(batch, self.columns));
        let parts: Vec<MultiBatch> = parts.collect::<Result<_>>()?;
        let batch = concatenated(parts, self.columns)?;
        for column in &batch.columns {
            let points = column.len() - column.null_count();
            self.probe.node(points as u64, false);
        }
        sorted(batch)
    }
}

fn concatenated(mut parts: Vec<MultiBatch>, columns: usize) -> Result<MultiBatch> {
    if parts.len() == 1 {
        return Ok(parts.remove(0));
    }
    let times: Vec<i64> = parts
        .iter()
        .flat_map(|part| part.times.iter().copied())
        .collect();
    let columns = (0..columns).map(|column| -> Float64Array {
        let parts = parts.iter().flat_map(|part| part.columns[column].iter());
        parts.collect()
    });
    Ok(MultiBatch {
        columns: columns.collect(),
        times: times.into(),
    })
}

/// Rows in the order of time.
fn sorted(batch: MultiBatch) -> Result<MultiBatch> {
    if batch.times.is_sorted() {
        return Ok(batch);
    }
    let mut rows: Vec<u64> = (0..batch.times.len() as u64).collect();
    rows.sort_by_key(|&row| batch.times[row as usize]);
    let times: Vec<i64> = rows.iter().map(|&row| batch.times[row as usize]).collect();
    let rows = UInt64Array::from(rows);
    let columns = batch.columns.iter().map(|column| {
        let column: &dyn Array = column;
        let taken: ArrayRef = take(column, &rows, None)
            .map_err(|error| Error::internal("rows cannot be sorted").with_source(error))?;
        Ok(taken.as_primitive::<Float64Type>().clone())
    });
    Ok(MultiBatch {
        columns: columns.collect::<Result<_>>()?,
        times: ScalarBuffer::from(times),
    })
}

/// The rows, made here of the points of each stream.
///
/// # Errors
/// [`ErrorKind::Exhausted`] for more points than fit.
async fn joined(
    link: Arc<Link>,
    query: MultiQuery,
    range: TimeRange,
    period: i64,
) -> Result<Results<MultiBatch>> {
    // Points up to half a period before the range move into it.
    let start = range.start.saturating_sub(period / 2).max(MIN_TIME);
    let part = TimeRange::new(start, range.end.min(MAX_TIME - 1));
    let width = link.settings.calls_in_flight.max(1);
    let snap = (period > 0).then_some(Snap { range, period });
    let reads = query.streams.clone().into_iter();
    let calls = reads.map(|read| side(Arc::clone(&link), query.probe.clone(), read, part, snap));
    let mut sides = stream::iter(calls.collect::<Vec<_>>()).buffered(width);
    let (mut all, mut points) = (Vec::new(), 0);
    while let Some((side, read)) = sides.try_next().await? {
        points += read;
        if points > JOIN_POINTS_MAX {
            return Err(too_many());
        }
        all.push(side);
    }
    Ok(stream::iter(join::batches(all)).map(Ok).boxed())
}

/// The points of one stream, at most one for each row, and how many were read for them.
async fn side(
    link: Arc<Link>,
    probe: Probe,
    read: StreamRead,
    range: TimeRange,
    snap: Option<Snap>,
) -> Result<(Side, usize)> {
    let mut side = Side::new(snap);
    if range.is_empty() {
        return Ok((side, 0));
    }
    let replies = Target::new(&link, read, &probe).raw(range).await?;
    let mut parts = replies.into_results(read.version);
    let mut points = 0;
    while let Some((_, (times, values))) = parts.try_next().await? {
        points += times.len();
        if points > JOIN_POINTS_MAX {
            return Err(too_many());
        }
        side.extend(&times, &values);
    }
    Ok((side, points))
}

fn too_many() -> Error {
    Error::new(
        ErrorKind::Exhausted,
        format!(
            "this btrdb cannot put streams side by side, and more than {JOIN_POINTS_MAX} points would have to be read to do it \
             here: ask for a shorter range or fewer streams"
        ),
    )
}
