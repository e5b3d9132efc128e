//! Named objects over `object_store`; the only part of the engine that imports it.
//!
//! ```text
//! create      conditional creates and what became of them; the probe
//! directory   a directory's lock and leftovers          location   what a location names
//! patience    pauses between attempts
//! ```
//!
//! An object has a name like `log/00000000000000000007`, is created whole or not at all, and is never changed.
//! Three promises are kept here that the stores beneath do not keep:
//!
//! - [`Objects::create`] says what became of a put, or that nobody knows. Every store can report a failure after the put
//!   took effect, and some report their own success as "already exists".
//! - An object that is shorter than the ranges asked of it is damage, not passing trouble and not a panic.
//! - Errors name the object and the store.
//!
//! It knows nothing of what the bytes mean.

mod create;
mod directory;
mod location;
mod patience;
#[cfg(test)]
mod tests;

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{
    OBJECT_STORE_COALESCE_DEFAULT, ObjectStore, ObjectStoreExt, RetryConfig, coalesce_ranges,
};

use self::directory::{Directory, LOCK};
use self::location::Location;
use self::patience::{Backoff, Patience, READS_MAX};
use crate::error::{Error, ErrorKind, Result};

/// Named objects in memory, in a directory or in a bucket.
pub(crate) struct Objects {
    store: Arc<dyn ObjectStore>,
    place: Place,
    patience: Patience,
}

/// What a conditional create found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Created {
    /// The object holds exactly these bytes now, put by this call or by an earlier attempt of it.
    Now,
    /// It holds others.
    Taken(Bytes),
}

/// An object as a list shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Object {
    pub(crate) name: String,
    pub(crate) bytes: u64,
}

/// What a directory is opened for. Other stores know no difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// By the only writer: takes the directory's lock.
    Write,
    /// Beside whoever writes.
    Read,
}

enum Place {
    Memory,
    Directory(Arc<Directory>),
    /// As a URL.
    Bucket(String),
    /// A store that the caller brought.
    Given,
}

/// Why one attempt failed.
enum Failure {
    /// Perhaps worth another attempt.
    Store(object_store::Error),
    Final(Error),
}

impl From<object_store::Error> for Failure {
    fn from(error: object_store::Error) -> Self {
        Self::Store(error)
    }
}

impl Objects {
    /// An empty store in memory, gone when dropped.
    pub(crate) fn memory() -> Self {
        Self::new(Arc::new(InMemory::new()), Place::Memory)
    }

    /// Over a store that the caller brings. It is taken to be shared, and there is no lock.
    pub(crate) fn over(store: Arc<dyn ObjectStore>) -> Self {
        Self::new(store, Place::Given)
    }

    /// The store at `location`:
    ///
    /// - `memory:` is an empty store in memory.
    /// - `s3://bucket/prefix` is a bucket of S3 or a look-alike that honours `If-None-Match: *`; [`Objects::probe`] tells.
    ///   The environment says how to reach it: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`,
    ///   `AWS_REGION`, `AWS_ENDPOINT` (for a look-alike), `AWS_ALLOW_HTTP=true` (for one without TLS),
    ///   `AWS_DISABLE_BULK_DELETE=true` (for one without `DeleteObjects`), and the other `AWS_*` variables that
    ///   `AmazonS3Builder::from_env` documents, web identities and container credentials among them.
    ///   Nothing is sent yet, so a bucket that is missing or forbidden shows at the first use.
    /// - Anything else is a directory, also as `file:///path`. With [`Access::Write`] it is created when missing, locked for
    ///   the life of the answer, and swept of what interrupted writes left. With `fsync`, what [`Objects::create`] reports as
    ///   written survives a power loss.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if another process has the directory open for writing, [`ErrorKind::NotFound`] if it is to be
    /// read and missing, [`ErrorKind::Invalid`] if a file is in the way or the location or the environment makes no sense,
    /// [`ErrorKind::Unsupported`] for other kinds of store, [`ErrorKind::Denied`] and [`ErrorKind::Unavailable`] from the
    /// operating system.
    pub(crate) async fn open(location: &str, access: Access, fsync: bool) -> Result<Self> {
        match Location::parse(location)? {
            Location::Memory => Ok(Self::memory()),
            Location::Bucket { name, prefix } => Self::bucket(&name, &prefix),
            Location::Directory(path) => {
                let opened =
                    tokio::task::spawn_blocking(move || Directory::open(&path, access, fsync));
                let directory = opened.await.map_err(|error| {
                    Error::internal(format!("opening {location} panicked")).with_source(error)
                })??;
                Self::directory(directory, fsync)
            }
        }
    }

    fn directory(directory: Directory, fsync: bool) -> Result<Self> {
        let store = LocalFileSystem::new_with_prefix(directory.root()).map_err(|error| {
            let root = directory.root().display();
            Error::new(ErrorKind::Unavailable, format!("cannot open {root}")).with_source(error)
        })?;
        let place = Place::Directory(Arc::new(directory));
        Ok(Self::new(Arc::new(store.with_fsync(fsync)), place))
    }

    fn bucket(name: &str, prefix: &str) -> Result<Self> {
        let url = match prefix {
            "" => format!("s3://{name}"),
            prefix => format!("s3://{name}/{prefix}"),
        };
        // Reqwest is built without a provider of cryptography. If somebody else was first with one, theirs will do.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let retries = RetryConfig {
            max_retries: 2,
            retry_timeout: Duration::from_secs(10),
            ..RetryConfig::default()
        };
        // Few retries of its own: ours look first at what the last attempt did. Conditional creates are on by default.
        let built = AmazonS3Builder::from_env()
            .with_bucket_name(name)
            .with_retry(retries)
            .build();
        let invalid = |error: object_store::Error| {
            Error::invalid(format!("{url} and the AWS_* variables name no store"))
                .with_source(error)
        };
        let store: AmazonS3 = built.map_err(invalid)?;
        let store: Arc<dyn ObjectStore> = if prefix.is_empty() {
            Arc::new(store)
        } else {
            let prefix = Path::parse(prefix).map_err(|error| invalid(error.into()))?;
            Arc::new(PrefixStore::new(store, prefix))
        };
        Ok(Self::new(store, Place::Bucket(url)))
    }

    fn new(store: Arc<dyn ObjectStore>, place: Place) -> Self {
        Self {
            store,
            place,
            patience: Patience::default(),
        }
    }

    /// The same store, giving up on a create after `total` and on a single put after thrice that.
    #[cfg(test)]
    pub(crate) fn with_patience(mut self, total: Duration) -> Self {
        self.patience.total = total;
        self.patience.put_max = total * 3;
        self
    }

    /// Gives the lock of a directory back before its time.
    pub(crate) fn release(&self) {
        if let Place::Directory(directory) = &self.place {
            directory.release();
        }
    }

    /// Whether a writer here must reckon with another one.
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self.place, Place::Bucket(_) | Place::Given)
    }

    /// All of the object.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if it is absent, [`ErrorKind::Denied`], or [`ErrorKind::Unavailable`] after a few attempts.
    pub(crate) async fn get(&self, name: &str) -> Result<Bytes> {
        let path = self.path(name)?;
        let read = || async { Ok(self.store.get(&path).await?.bytes().await?) };
        self.retried("read", name, read).await
    }

    /// Parts of the object, in the order asked for. None may be empty. Neighbours are read together, so an answer may be a
    /// slice of a larger buffer: whoever keeps it for long should copy it.
    ///
    /// # Errors
    /// As [`Objects::get`], and [`ErrorKind::Corrupt`] if a range reaches beyond the end of the object.
    pub(crate) async fn get_ranges(&self, name: &str, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        if let Some(range) = ranges.iter().find(|range| range.is_empty()) {
            return Err(Error::internal(format!(
                "the empty range {}..{} was asked of {name} of {self}",
                range.start, range.end
            )));
        }
        let path = self.path(name)?;
        self.retried("read", name, || self.fetch(name, &path, ranges))
            .await
    }

    async fn fetch(
        &self,
        name: &str,
        path: &Path,
        ranges: &[Range<u64>],
    ) -> Result<Vec<Bytes>, Failure> {
        let parts = if self.is_shared() {
            // As the store's own `get_ranges` would, except that that panics where a merged read comes back short.
            let read = |range: Range<u64>| async move {
                let part = self.store.get_range(path, range.clone()).await?;
                let end = range.start + part.len() as u64;
                if end < range.end {
                    return Err(Failure::Final(self.truncated(name, ranges, end)));
                }
                Ok(part)
            };
            coalesce_ranges(ranges, read, OBJECT_STORE_COALESCE_DEFAULT).await
        } else {
            let parts = self.store.get_ranges(path, ranges).await;
            parts.map_err(Failure::Store)
        };
        match parts {
            Ok(parts) => {
                let ends = ranges
                    .iter()
                    .zip(&parts)
                    .map(|(range, part)| (range, range.start + part.len() as u64));
                match ends.into_iter().find(|(range, end)| *end < range.end) {
                    Some((_, end)) => Err(Failure::Final(self.truncated(name, ranges, end))),
                    None => Ok(parts),
                }
            }
            // Stores report a range beyond the end in ways that cannot be told from other trouble: the length can.
            Err(Failure::Store(error)) => match self.store.head(path).await {
                Ok(object) if ranges.iter().any(|range| range.end > object.size) => Err(
                    Failure::Final(self.truncated(name, ranges, object.size).with_source(error)),
                ),
                _ => Err(Failure::Store(error)),
            },
            failed => failed,
        }
    }

    fn truncated(&self, name: &str, ranges: &[Range<u64>], end: u64) -> Error {
        let beyond = ranges.iter().find(|range| range.end > end);
        let Range { start, end: stop } = beyond.cloned().unwrap_or_default();
        Error::new(
            ErrorKind::Corrupt,
            format!(
                "{name} of {self} is truncated: bytes {start}..{stop} were asked for and it ends at {end}"
            ),
        )
    }

    /// The objects of a folder, ascending by name, strictly after the name `after`. Names include the folder. A folder that
    /// does not exist is empty.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`], or [`ErrorKind::Unavailable`] after a few attempts. A bucket that is missing is `Unavailable`,
    /// too: the client cannot tell.
    pub(crate) async fn list(&self, folder: &str, after: Option<&str>) -> Result<Vec<Object>> {
        let prefix = self.path(folder)?;
        let offset = after.map(|name| self.path(name)).transpose()?;
        let list = || async {
            let objects = match &offset {
                Some(offset) => self.store.list_with_offset(Some(&prefix), offset),
                None => self.store.list(Some(&prefix)),
            };
            let objects = objects.map_ok(|object| Object {
                name: object.location.into(),
                bytes: object.size,
            });
            let error = match objects.try_collect::<Vec<_>>().await {
                Ok(objects) => return Ok(objects),
                Err(error) => error,
            };
            // The client of S3 hides why a list failed, and not why a read did.
            match self.store.head(&prefix).await {
                Err(read) if refusal(&read) == Some(ErrorKind::Denied) => Err(read.into()),
                _ => Err(error.into()),
            }
        };
        let mut objects = self.retried("list", folder, list).await?;
        objects.retain(|object| {
            object.name != LOCK && after.is_none_or(|after| *object.name > *after)
        });
        // Directories have no order, and of the kinds of bucket not all have one.
        objects.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(objects)
    }

    /// Deletes the objects; absent ones are no error. In a directory, they may be back after a power loss.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`], or [`ErrorKind::Unavailable`] after a few attempts: then some may be gone.
    pub(crate) async fn delete(&self, names: Vec<String>) -> Result<()> {
        let what = match names.as_slice() {
            [] => return Ok(()),
            [one] => one.clone(),
            [first, rest @ ..] => format!("{first} and {} more", rest.len()),
        };
        let paths = names
            .iter()
            .map(|name| self.path(name))
            .collect::<Result<Vec<_>>>()?;
        let delete = || async {
            let mut answers = self
                .store
                .delete_stream(stream::iter(paths.clone()).map(Ok).boxed());
            // An error is no reason to leave the others.
            let mut failed = None;
            while let Some(answer) = answers.next().await {
                match answer {
                    Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                    Err(error) => failed = failed.or(Some(error)),
                }
            }
            failed.map_or(Ok(()), |error| Err(error.into()))
        };
        self.retried("delete", &what, delete).await
    }

    async fn retried<T, F>(&self, verb: &str, name: &str, call: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let mut backoff = Backoff::new(self.patience, READS_MAX);
        loop {
            let error = match call().await {
                Ok(answer) => return Ok(answer),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Store(error)) => error,
            };
            if refusal(&error).is_some() || !backoff.pause().await {
                return Err(self.failed(verb, name, error));
            }
        }
    }

    fn path(&self, name: &str) -> Result<Path> {
        Path::parse(name).map_err(|error| {
            Error::invalid(format!(
                "{name:?} cannot be the name of an object of {self}"
            ))
            .with_source(error)
        })
    }

    fn failed(&self, verb: &str, name: &str, error: object_store::Error) -> Error {
        let kind = refusal(&error).unwrap_or(ErrorKind::Unavailable);
        // Only a read can miss the object: what else is missing is the bucket.
        let why = match (kind, verb) {
            (ErrorKind::NotFound, "read") => ": it is not there",
            (ErrorKind::NotFound, _) => ": the store itself is not there",
            _ => "",
        };
        Error::new(kind, format!("cannot {verb} {name} of {self}{why}")).with_source(error)
    }
}

/// What the store will say again however often it is asked. A put that was refused changed nothing.
fn refusal(error: &object_store::Error) -> Option<ErrorKind> {
    use object_store::Error as Store;
    match error {
        Store::NotFound { .. } => Some(ErrorKind::NotFound),
        Store::PermissionDenied { .. } | Store::Unauthenticated { .. } => Some(ErrorKind::Denied),
        Store::InvalidPath { .. } => Some(ErrorKind::Invalid),
        Store::NotImplemented { .. } | Store::NotSupported { .. } => Some(ErrorKind::Unsupported),
        // The operating system's answer is beneath types that are private.
        error => std::iter::successors(error.source(), |cause| (*cause).source())
            .filter_map(|cause| cause.downcast_ref::<io::Error>())
            .any(|cause| {
                matches!(
                    cause.kind(),
                    io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
                )
            })
            .then_some(ErrorKind::Denied),
    }
}

/// The location.
impl fmt::Display for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Memory => f.write_str("memory:"),
            Place::Directory(directory) => write!(f, "{}", directory.root().display()),
            Place::Bucket(url) => f.write_str(url),
            Place::Given => write!(f, "{}", self.store),
        }
    }
}

/// Only the location: a client's own form holds credentials.
impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Objects({self})")
    }
}
