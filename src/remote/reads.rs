//! Calls that read one stream, whichever way the server answers: rows of protobuf, or Arrow.

use arrow::array::RecordBatch;
use arrow::buffer::ScalarBuffer;
use futures::stream::{self, try_unfold};
use futures::{StreamExt, TryStreamExt};

use super::ahead::Results;
use super::calls::{
    AlignedWindows, Answer, ArrowAlignedWindows, ArrowRawValues, ArrowWindows, RawValues,
    Windows as AnyWindows,
};
use super::failure::Failure;
use super::link::{Link, Messages};
use crate::error::{Code, Error, Result};
use crate::model::{Probe, Stat, StreamId, StreamRead, TimeRange, Timestamp, Version};
use crate::wire::{arrow as wire_arrow, points, proto, streams, windows};

/// The state that an answer tells about: a version, and how many points wait beside it that are in none yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) major: u64,
    pub(super) minor: u64,
}

impl Seen {
    /// The version that a read saw. Some servers leave it out; then it is the one asked for, or 0.
    pub(super) fn version(self, asked: Option<Version>) -> Version {
        match self.major {
            0 => asked.unwrap_or_default(),
            major => Version(major),
        }
    }
}

/// Times and values side by side.
pub(super) type Columns = (ScalarBuffer<i64>, ScalarBuffer<f64>);

/// Windows with points in them, ascending.
#[derive(Clone, Debug, Default)]
pub(super) struct Windows {
    pub(super) times: Vec<Timestamp>,
    pub(super) stats: Vec<Stat>,
}

/// One stream in one state, or in the latest.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) link: &'a Link,
    pub(super) id: StreamId,
    pub(super) version: Option<Version>,
    pub(super) probe: &'a Probe,
}

impl<'a> Target<'a> {
    pub(super) fn new(link: &'a Link, read: StreamRead, probe: &'a Probe) -> Self {
        Self {
            link,
            id: read.id,
            version: read.version,
            probe,
        }
    }

    /// The same stream at another version.
    pub(super) fn at(self, version: Option<Version>) -> Self {
        Self { version, ..self }
    }

    /// What is read.
    pub(super) fn read(self) -> StreamRead {
        StreamRead {
            id: self.id,
            version: self.version,
        }
    }

    fn major(self) -> u64 {
        self.version.map_or(0, |version| version.0)
    }

    /// The points of a range, ascending.
    pub(super) async fn raw(self, range: TimeRange) -> Result<Replies<Columns>> {
        let (uuid, major) = (streams::uuid(self.id), self.major());
        if self.link.has_arrow().await? {
            let ask = proto::ArrowRawValuesParams {
                uuid,
                start: range.start,
                end: range.end,
                version_major: major,
                template_bytes: Default::default(),
            };
            let messages = self.link.open::<ArrowRawValues>(ask).await;
            let messages = messages.map_err(Failure::told)?;
            Replies::new(messages, self.probe, |message| {
                let bytes = message.arrow_bytes.len();
                let seen = seen(message.version_major, message.version_minor);
                let rows = points_of(message.arrow_bytes)?;
                Ok((seen, rows.0.len(), bytes, rows))
            })
            .await
        } else {
            let ask = proto::RawValuesParams {
                uuid,
                start: range.start,
                end: range.end,
                version_major: major,
            };
            let messages = self.link.open::<RawValues>(ask).await;
            let messages = messages.map_err(Failure::told)?;
            Replies::new(messages, self.probe, |message| {
                let seen = seen(message.version_major, message.version_minor);
                let count = message.values.len();
                Ok((seen, count, 16 * count, points::columns(&message.values)))
            })
            .await
        }
    }

    /// The windows of a grid that begins at the start of a range, as many as fit.
    pub(super) async fn windows(self, range: TimeRange, width: u64) -> Result<Replies<Windows>> {
        let ask = proto::WindowsParams {
            uuid: streams::uuid(self.id),
            start: range.start,
            end: range.end,
            version_major: self.major(),
            width,
            depth: 0,
        };
        if self.link.has_arrow().await? {
            let messages = self.link.open::<ArrowWindows>(ask).await;
            Replies::of_windows(messages, self.probe, |message| {
                let seen = seen(message.version_major, message.version_minor);
                arrow_windows(seen, message.arrow_bytes)
            })
            .await
        } else {
            let messages = self.link.open::<AnyWindows>(ask).await;
            Replies::of_windows(messages, self.probe, |message| {
                let seen = seen(message.version_major, message.version_minor);
                Ok(plain_windows(seen, &message.values))
            })
            .await
        }
    }

    /// The windows of `2^exponent` ns in a range, both of whose ends lie on the grid of such windows.
    pub(super) async fn aligned(self, range: TimeRange, exponent: u32) -> Result<Replies<Windows>> {
        let ask = proto::AlignedWindowsParams {
            uuid: streams::uuid(self.id),
            start: range.start,
            end: range.end,
            version_major: self.major(),
            point_width: exponent,
        };
        if self.link.has_arrow().await? {
            let messages = self.link.open::<ArrowAlignedWindows>(ask).await;
            Replies::of_windows(messages, self.probe, |message| {
                let seen = seen(message.version_major, message.version_minor);
                arrow_windows(seen, message.arrow_bytes)
            })
            .await
        } else {
            let messages = self.link.open::<AlignedWindows>(ask).await;
            Replies::of_windows(messages, self.probe, |message| {
                let seen = seen(message.version_major, message.version_minor);
                Ok(plain_windows(seen, &message.values))
            })
            .await
        }
    }
}

/// What a message holds: the state, points and bytes of it for the probe, and the rows.
type Decoded<T> = (Seen, usize, usize, T);

/// The answers of one call, up to the first of which it has been waited.
pub(super) struct Replies<T> {
    first: Option<(Seen, T)>,
    rest: Results<(Seen, T)>,
}

impl<T: Send + 'static> Replies<T> {
    async fn new<A: Answer>(
        messages: Messages<A>,
        probe: &Probe,
        decode: impl Fn(A) -> Result<Decoded<T>> + Send + 'static,
    ) -> Result<Self> {
        let probe = probe.clone();
        let replies = try_unfold(messages, |mut messages| async move {
            let message = messages.next().await.map_err(Failure::told)?;
            Ok(message.map(|message| (message, messages)))
        });
        let replies = replies.and_then(move |message| {
            let decoded = decode(message).map(|(seen, points, bytes, rows)| {
                probe.node(points as u64, false);
                probe.fetch(bytes as u64);
                (seen, rows)
            });
            std::future::ready(decoded)
        });
        let mut rest = replies.boxed();
        let first = rest.next().await.transpose()?;
        Ok(Self { first, rest })
    }

    /// No answers.
    pub(super) fn none() -> Self {
        Self {
            first: None,
            rest: stream::empty().boxed(),
        }
    }

    /// The state told about; none if nothing was answered.
    pub(super) fn seen(&self) -> Option<Seen> {
        self.first.as_ref().map(|(seen, _)| *seen)
    }

    /// All answers, with the version that they saw.
    pub(super) fn into_results(self, asked: Option<Version>) -> Results<(Version, T)> {
        let first = stream::iter(self.first.map(Ok));
        first
            .chain(self.rest)
            .map_ok(move |(seen, rows)| (seen.version(asked), rows))
            .boxed()
    }

    /// All answers, with the states that they saw.
    pub(super) fn into_seen(self) -> Results<(Seen, T)> {
        stream::iter(self.first.map(Ok)).chain(self.rest).boxed()
    }
}

impl Replies<Windows> {
    async fn of_windows<A: Answer>(
        messages: Result<Messages<A>, Failure>,
        probe: &Probe,
        decode: impl Fn(A) -> Result<Decoded<Windows>> + Send + 'static,
    ) -> Result<Self> {
        match messages {
            Ok(messages) => Self::new(messages, probe, decode).await,
            // Some servers refuse ranges in which no window fits, where others answer that there is none.
            Err(failure) if failure.error.code() == Some(Code::InvalidTimeRange) => {
                Ok(Self::none())
            }
            Err(failure) => Err(failure.told()),
        }
    }
}

/// Of a message that names its version.
fn seen(major: u64, minor: u64) -> Seen {
    Seen { major, minor }
}

fn plain_windows(seen: Seen, rows: &[proto::StatPoint]) -> Decoded<Windows> {
    let found = rows.iter().filter(|row| row.count > 0);
    let windows = found.map(|row| (row.time, windows::stat(row)));
    (seen, 0, 48 * rows.len(), ordered(windows))
}

fn arrow_windows(seen: Seen, bytes: bytes::Bytes) -> Result<Decoded<Windows>> {
    let len = bytes.len();
    let (times, stats) = one(bytes, wire_arrow::windows_of, |parts| {
        let (times, stats): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
        (joined(&times), stats.concat())
    })?;
    let times = times.to_vec();
    let is_tidy = times.is_sorted() && stats.iter().all(|stat| stat.count > 0);
    if is_tidy {
        return Ok((seen, 0, len, Windows { times, stats }));
    }
    let found = times.into_iter().zip(stats);
    let windows = found.filter(|(_, stat)| stat.count > 0);
    Ok((seen, 0, len, ordered(windows)))
}

/// Windows in the order of time.
pub(super) fn ordered(windows: impl Iterator<Item = (Timestamp, Stat)>) -> Windows {
    let mut windows: Vec<_> = windows.collect();
    if !windows.is_sorted_by_key(|(time, _)| *time) {
        windows.sort_by_key(|(time, _)| *time);
    }
    let (times, stats) = windows.into_iter().unzip();
    Windows { times, stats }
}

/// The points of a message in Arrow.
pub(super) fn points_of(bytes: bytes::Bytes) -> Result<Columns> {
    one(bytes, wire_arrow::points_of, |parts| {
        let (times, values): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
        (joined(&times), joined(&values))
    })
}

/// The rows of a message in Arrow, which may be several batches, or nothing at all.
fn one<T: Default>(
    bytes: bytes::Bytes,
    decode: impl Fn(&RecordBatch) -> Result<T>,
    join: impl FnOnce(Vec<T>) -> T,
) -> Result<T> {
    if bytes.is_empty() {
        return Ok(T::default());
    }
    let decoded = || -> Result<T> {
        let (_, batches) = wire_arrow::decode(bytes)?;
        match batches.as_slice() {
            [] => Ok(T::default()),
            [batch] => decode(batch),
            batches => Ok(join(batches.iter().map(decode).collect::<Result<_>>()?)),
        }
    };
    decoded().map_err(|error| unreadable(&error))
}

/// Of an answer that makes no sense: it is not the caller's mistake.
pub(super) fn unreadable(error: &Error) -> Error {
    Error::internal(format!(
        "btrdb sends what cannot be read: {}",
        error.message()
    ))
}

fn joined<T: arrow::datatypes::ArrowNativeType>(parts: &[ScalarBuffer<T>]) -> ScalarBuffer<T> {
    let parts: Vec<&[T]> = parts.iter().map(|part| &**part).collect();
    parts.concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_of_one_message_are_sorted_and_empty_ones_dropped() {
        let row = |time, count| proto::StatPoint {
            time,
            count,
            ..proto::StatPoint::default()
        };
        let rows = [row(30, 1), row(10, 2), row(20, 0)];
        let (.., found) = plain_windows(seen(11, 0), &rows);
        assert_eq!(found.times, [10, 30]);
        assert_eq!(found.stats[0].count, 2);
    }

    #[test]
    fn a_version_left_out_is_the_one_asked_for() {
        assert_eq!(seen(12, 3).version(None), Version(12));
        assert_eq!(seen(0, 0).version(Some(Version(11))), Version(11));
        assert_eq!(seen(0, 0).version(None), Version(0));
    }

    #[test]
    fn arrow_without_bytes_is_no_rows() {
        let (_, _, _, found) = arrow_windows(seen(1, 0), bytes::Bytes::new()).expect("nothing");
        assert!(found.times.is_empty());
        let error = arrow_windows(seen(1, 0), bytes::Bytes::from_static(b"no arrow"));
        let error = error.expect_err("garbage");
        assert_eq!(error.kind(), crate::error::ErrorKind::Internal);
    }
}
