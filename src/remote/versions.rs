//! One state for several calls on one stream.
//!
//! A call that names no version sees everything, points that the server has buffered and put into no version yet included; one
//! that names a version does not see those. So the first attempt names none, and what all calls report is compared. Only where
//! that fails, or would take too many calls at once, is a version named, and what is buffered made part of it before.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use futures::StreamExt;
use futures::future::{BoxFuture, try_join_all};
use futures::stream::{self, TryStreamExt};

use super::calls::{Flush, StreamInfo};
use super::failure::Failure;
use super::link::{Link, Repeat};
use super::reads::{Replies, Seen, Target};
use crate::error::{Error, ErrorKind, Result};
use crate::model::time::MIN_TIME;
use crate::model::{Snapshot, StreamId, StreamRead, TimeRange, Version};
use crate::wire::{proto, streams};

/// Attempts at reading the same state by several calls that name none.
pub(super) const ATTEMPTS: usize = 3;

/// Calls on one stream that are begun at once, so that their versions can be compared.
pub(super) const CALLS_AT_ONCE: usize = 4;

/// Refuses snapshots: a remote has no states of the whole store.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for a commit.
pub(super) fn check_snapshot(snapshot: Snapshot) -> Result<()> {
    match snapshot {
        Snapshot::Latest => Ok(()),
        Snapshot::Commit(commit) => Err(Error::unsupported(format!(
            "commit {commit} cannot be read: a remote btrdb has versions of streams, and no commits of the whole store"
        ))),
    }
}

/// The state of a stream now.
pub(super) async fn current(link: &Link, id: StreamId) -> Result<Seen> {
    let ask = proto::StreamInfoParams {
        uuid: streams::uuid(id),
        omit_descriptor: true,
        ..proto::StreamInfoParams::default()
    };
    let info = link.ask::<StreamInfo>(ask, Repeat::Always).await;
    let info = info.map_err(Failure::told)?;
    Ok(Seen {
        major: info.version_major,
        minor: info.version_minor,
    })
}

/// The version of a stream after everything buffered was made part of one.
pub(super) async fn flushed(link: &Link, id: StreamId) -> Result<Version> {
    let ask = proto::FlushParams {
        uuid: streams::uuid(id),
    };
    let flushed = link.ask::<Flush>(ask, Repeat::Always).await;
    let flushed = flushed.map_err(Failure::told)?;
    match flushed.version_major {
        0 => Ok(current(link, id).await?.version(None)),
        major => Ok(Version(major)),
    }
}

/// A version that several calls can name, and that hides nothing which a single call would have seen.
///
/// # Errors
/// [`ErrorKind::Unavailable`] if points are buffered and the server does not put them into a version.
pub(super) async fn pin(link: &Link, read: StreamRead) -> Result<Version> {
    if let Some(version) = read.version {
        return Ok(version);
    }
    let now = current(link, read.id).await?;
    if now.minor == 0 {
        return Ok(now.version(None));
    }
    flushed(link, read.id)
        .await
        .map_err(|error| unflushed(read.id, &error))
}

/// Of a stream whose buffered points stay buffered.
pub(super) fn unflushed(id: StreamId, error: &Error) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!(
            "stream {id} has points that are in no version yet, so that several calls cannot see one state, \
             and it cannot be flushed: {}",
            error.message()
        ),
    )
}

/// The version that a read sees which reads nothing. It finds unknown streams and versions as others do.
pub(super) async fn tell(target: Target<'_>) -> Result<Version> {
    if target.version.is_some() {
        let first = TimeRange::new(MIN_TIME, MIN_TIME + 1);
        let seen = target.raw(first).await?.seen();
        if let Some(seen) = seen {
            return Ok(seen.version(target.version));
        }
    }
    let now = current(target.link, target.id).await?;
    Ok(target.version.unwrap_or(now.version(None)))
}

/// Versions of many streams, a few calls at a time.
pub(super) async fn each<T: Send + 'static>(
    link: &Arc<Link>,
    ids: &[StreamId],
    call: impl Fn(Arc<Link>, StreamId) -> BoxFuture<'static, Result<T>>,
) -> Result<Vec<T>> {
    let calls: Vec<_> = ids.iter().map(|&id| call(Arc::clone(link), id)).collect();
    stream::iter(calls)
        .buffered(link.settings.calls_in_flight.max(1))
        .try_collect()
        .await
}

/// The first answers of several calls on one stream that were begun at once.
///
/// # Errors
/// One that [`is_unsettled`] if they saw different states.
pub(super) async fn agreed<'a, T: Send + 'static>(
    id: StreamId,
    calls: impl Iterator<Item = BoxFuture<'a, Result<Replies<T>>>>,
) -> Result<Vec<Replies<T>>> {
    let replies = try_join_all(calls).await?;
    let mut seen = replies.iter().filter_map(Replies::seen);
    if let Some(first) = seen.next()
        && let Some(other) = seen.find(|other| *other != first)
    {
        return Err(unsettled(id, first, other));
    }
    Ok(replies)
}

/// That a stream changed between two calls which should have seen one state.
#[derive(Debug)]
struct Unsettled;

impl fmt::Display for Unsettled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("two calls saw different states")
    }
}

impl StdError for Unsettled {}

/// Of two calls that saw different states.
pub(super) fn unsettled(id: StreamId, first: Seen, other: Seen) -> Error {
    let tell = |seen: Seen| match seen.minor {
        0 => format!("version {}", seen.major),
        minor => format!("version {} and {minor} points", seen.major),
    };
    Error::new(
        ErrorKind::Unavailable,
        format!(
            "stream {id} changed while it was read: from {} to {}",
            tell(first),
            tell(other)
        ),
    )
    .with_source(Unsettled)
}

/// Whether another attempt may help, or a version that is named.
pub(super) fn is_unsettled(error: &Error) -> bool {
    StdError::source(error).is_some_and(|source| source.is::<Unsettled>())
}
