//! A directory as the place of a store: its lock, what interrupted writes left in it, and how its entries become durable.
//! All of it blocks.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use super::Access;
use crate::error::{Error, ErrorKind, Result};

/// Locked by the writer, and holds its process id. The one file of the directory that is no object.
pub(super) const LOCK: &str = "LOCK";

/// Where the objects are, one level deep.
const FOLDERS: [&str; 4] = ["log", "data", "checkpoint", "probe"];

pub(super) struct Directory {
    root: PathBuf,
    fsync: bool,
    /// The operating system releases the lock when the file closes, however the process ends.
    lock: Mutex<Option<File>>,
}

impl Directory {
    pub(super) fn open(path: &Path, access: Access, fsync: bool) -> Result<Self> {
        let failed = |doing: &str, error| failed(doing, path, error);
        if access == Access::Write {
            create(path, fsync).map_err(|error| failed("create", error))?;
        }
        let root = fs::canonicalize(path).map_err(|error| failed("open", error))?;
        if !root.is_dir() {
            return Err(failed("open", io::ErrorKind::NotADirectory.into()));
        }
        let lock = match access {
            Access::Write => Some(lock(&root)?),
            Access::Read => None,
        };
        if access == Access::Write {
            sweep(&root)
                .map_err(|error| failed("remove leftovers of interrupted writes from", error))?;
        }
        Ok(Self {
            root,
            fsync,
            lock: Mutex::new(lock),
        })
    }

    /// Lets the next writer in. A put that is still under way loses its race for the log like any other.
    pub(super) fn release(&self) {
        *self.lock.lock() = None;
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Makes every entry on the way to the object durable. An upload that failed may have made its folder, too, and a later
    /// one that finds the folder there does not see to it.
    pub(super) fn sync_way_to(&self, object: &str) -> io::Result<()> {
        if !self.fsync {
            return Ok(());
        }
        self.root
            .join(object)
            .ancestors()
            .skip(1)
            .take_while(|folder| folder.starts_with(&self.root))
            .try_for_each(sync_folder)
    }
}

/// Creates the directory with its parents. A new one is durable once the folder that holds it is.
fn create(path: &Path, fsync: bool) -> io::Result<()> {
    let path = std::path::absolute(path)?;
    let missing = path.ancestors().take_while(|dir| !dir.exists()).count();
    fs::create_dir_all(&path)?;
    if fsync {
        let parents = path.ancestors().skip(1).take(missing);
        parents.into_iter().try_for_each(sync_folder)?;
    }
    Ok(())
}

/// Only Unix can sync a folder. Elsewhere there is nothing to do, as in `object_store`.
fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(path)?.sync_all()?;
    }
    Ok(())
}

fn lock(root: &Path) -> Result<File> {
    let failed = |error| failed("lock", root, error);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let mut file = options.open(root.join(LOCK)).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(locked(root, file)),
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    let id = std::process::id();
    file.set_len(0)
        .and_then(|()| writeln!(file, "{id}"))
        .map_err(failed)?;
    Ok(file)
}

fn locked(root: &Path, mut file: File) -> Error {
    let mut holder = String::new();
    // The sentence is of use without the number, too.
    let read = file.read_to_string(&mut holder);
    let holder = match holder.trim() {
        id if read.is_ok() && !id.is_empty() => format!("process {id}"),
        _ => "another process".into(),
    };
    Error::new(
        ErrorKind::Conflict,
        format!(
            "the store {} is open for writing in {holder}: stop that process, or open the store for reading",
            root.display()
        ),
    )
}

/// Removes what uploads left that were interrupted. Nobody else is uploading: the caller holds the lock.
fn sweep(root: &Path) -> io::Result<()> {
    for folder in FOLDERS {
        let entries = match fs::read_dir(root.join(folder)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            if entry.file_name().to_str().is_some_and(is_staged) {
                remove(&entry.path())?;
            }
        }
    }
    Ok(())
}

/// A writer that let go of the lock may still be ending its last upload, so the file may go by itself.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        removed => removed?,
    }
    tracing::info!(path = %path.display(), "removed a leftover of an interrupted write");
    Ok(())
}

/// `object_store` writes the object `name` as `name#1`, or another number, and links it to its name when it is whole.
fn is_staged(name: &str) -> bool {
    name.split_once('#')
        .is_some_and(|(_, id)| !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit()))
}

fn failed(doing: &str, path: &Path, error: io::Error) -> Error {
    use io::ErrorKind as Io;
    let path = path.display();
    let (kind, message) = match error.kind() {
        Io::NotFound => (
            ErrorKind::NotFound,
            format!("there is no store at {path}: nothing was ever written there"),
        ),
        Io::NotADirectory | Io::AlreadyExists => (
            ErrorKind::Invalid,
            format!("a store cannot be at {path}: a file is in the way"),
        ),
        other => (
            match other {
                Io::PermissionDenied | Io::ReadOnlyFilesystem => ErrorKind::Denied,
                Io::InvalidInput | Io::InvalidFilename => ErrorKind::Invalid,
                Io::Unsupported => ErrorKind::Unsupported,
                _ => ErrorKind::Unavailable,
            },
            format!("cannot {doing} the store's directory {path}"),
        ),
    };
    Error::new(kind, message).with_source(error)
}
