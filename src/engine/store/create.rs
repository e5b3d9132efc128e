//! Creating an object that is not there yet, and knowing afterwards whether it was.

use std::sync::Arc;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutMode};
use tokio::time::timeout;

use super::patience::{Backoff, READS_MAX};
use super::{Created, Objects, Place, refusal};
use crate::error::{Error, ErrorKind, Result};

impl Objects {
    /// Makes sure that the store refuses to create an object twice, which every promise about one writer rests on.
    ///
    /// It tries one after the other, so a store that only loses races passes.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if the store does not refuse; others as from [`Objects::create`] and [`Objects::delete`].
    pub(crate) async fn probe(&self) -> Result<()> {
        let name = format!("probe/{}", uuid::Uuid::new_v4());
        let unsafe_store = || {
            Error::unsupported(format!(
                "{self} does not refuse to create {name} a second time, so two writers could overwrite each other: \
                 use a store that honours conditional creates"
            ))
        };
        // A read says at once what is missing or forbidden, where a create goes on until it knows what it did.
        match self.get(&name).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
            Ok(_) => return Err(Error::internal(format!("{self} holds {name} already"))),
        }
        let refused = self.refuses_second(&name).await;
        let deleted = self.delete(vec![name.clone()]).await;
        match refused {
            Ok(true) => deleted,
            Ok(false) => Err(unsafe_store()),
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                Err(unsafe_store().with_source(error))
            }
            Err(error) => Err(error),
        }
    }

    async fn refuses_second(&self, name: &str) -> Result<bool> {
        let (first, second) = (Bytes::from_static(b"first"), Bytes::from_static(b"second"));
        if self.create(name, first.clone()).await? != Created::Now {
            return Ok(false);
        }
        let path = self.path(name)?;
        let mut backoff = Backoff::new(self.patience, READS_MAX);
        loop {
            match self.put(&path, &second).await {
                Ok(()) => return Ok(false),
                Err(object_store::Error::AlreadyExists { .. }) => break,
                Err(error) if refusal(&error).is_some() || !backoff.pause().await => {
                    return Err(self.failed("create", name, error));
                }
                Err(_) => {}
            }
        }
        Ok(self.get(name).await? == first)
    }

    /// Creates the object unless there is one of this name, and finds out what became of it: after any error, the object is
    /// read, and put again while it is absent. Every attempt puts the same bytes, so one that lands late does no harm, and
    /// neither does another call with these bytes.
    ///
    /// Cancelling the call leaves the outcome unknown; it may yet take effect.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] if the outcome stays unknown: the object may hold the bytes now, later, or never.
    /// [`ErrorKind::Denied`], [`ErrorKind::Invalid`], [`ErrorKind::Unsupported`] and [`ErrorKind::NotFound`] (no such bucket)
    /// only if no attempt took effect or will.
    pub(crate) async fn create(&self, name: &str, bytes: Bytes) -> Result<Created> {
        let path = self.path(name)?;
        let mut backoff = Backoff::new(self.patience, u32::MAX);
        // Whether an attempt failed in a way that leaves open what it did.
        let mut doubtful = false;
        let mut failed_before = false;
        loop {
            let error = match self.put(&path, &bytes).await {
                Ok(()) if !failed_before => return Ok(Created::Now),
                Ok(()) => return self.settle(name).await,
                Err(error) => error,
            };
            failed_before = true;
            let refusal = refusal(&error);
            doubtful |= refusal.is_none();
            match self.look(&path).await {
                Ok(Some(found)) if found == bytes => return self.settle(name).await,
                Ok(Some(found)) => return Ok(Created::Taken(found)),
                Ok(None) if refusal.is_some() && !doubtful => {
                    return Err(self.failed("create", name, error));
                }
                Ok(None) => {}
                // The error of the put tells more. With the outcome unknown, another put is as good as another look.
                Err(_) => doubtful = true,
            }
            if !backoff.pause().await {
                return Err(self.unknown(name).with_source(error));
            }
        }
    }

    async fn put(&self, path: &Path, bytes: &Bytes) -> object_store::Result<()> {
        let put = self
            .store
            .put_opts(path, bytes.clone().into(), PutMode::Create.into());
        match timeout(self.patience.put_max, put).await {
            Ok(answer) => answer.map(drop),
            Err(late) => Err(timed_out(late)),
        }
    }

    /// What the object holds, if it is there.
    async fn look(&self, path: &Path) -> object_store::Result<Option<Bytes>> {
        let read = async { self.store.get(path).await?.bytes().await };
        match timeout(self.patience.put_max, read).await {
            Ok(Ok(bytes)) => Ok(Some(bytes)),
            Ok(Err(object_store::Error::NotFound { .. })) => Ok(None),
            Ok(Err(error)) => Err(error),
            Err(late) => Err(timed_out(late)),
        }
    }

    /// The object is there, but not every attempt ended well: in a directory, its entry may not be durable yet.
    async fn settle(&self, name: &str) -> Result<Created> {
        if let Place::Directory(directory) = &self.place {
            let (directory, object) = (Arc::clone(directory), name.to_owned());
            let synced = tokio::task::spawn_blocking(move || directory.sync_way_to(&object));
            let synced = synced.await.unwrap_or_else(|error| Err(error.into()));
            synced.map_err(|error| self.unknown(name).with_source(error))?;
        }
        Ok(Created::Now)
    }

    fn unknown(&self, name: &str) -> Error {
        Error::new(
            ErrorKind::Unavailable,
            format!("the outcome of writing {name} to {self} is unknown"),
        )
    }
}

fn timed_out(late: tokio::time::error::Elapsed) -> object_store::Error {
    object_store::Error::Generic {
        store: "timeout",
        source: late.into(),
    }
}
