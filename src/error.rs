//! The one error type of the crate.
//!
//! A kind says what the caller can do about it; a BTrDB code, where BTrDB has one, says which documented mistake it was.
//! Messages are lower case and carry the evidence: stream, range, version, name.

use std::error::Error as StdError;
use std::fmt;

/// What went wrong, and what to do about it.
pub struct Error {
    kind: ErrorKind,
    code: Option<Code>,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync + 'static>>,
}

/// The result of nearly everything here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the caller can do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Change the request: it can never succeed as it is.
    Invalid,
    /// What was named does not exist (any more).
    NotFound,
    /// The state changed underneath, or the name is taken: read again and decide.
    Conflict,
    /// Passing trouble: retry with backoff.
    Unavailable,
    /// Over a limit: ask for less.
    Exhausted,
    /// The caller may not do this.
    Denied,
    /// This build or backend does not do this.
    Unsupported,
    /// Stored bytes are damaged: a retry is useless, tell the operator.
    Corrupt,
    /// A defect of this program.
    Internal,
}

/// Error codes of the BTrDB protocol.
///
/// The numbers are BTrDB's own; `btrdb-python` turns them into its exception classes. Those that only other servers raise are
/// here as far as a client must know them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Code {
    /// No point at or beyond the time asked for.
    NoSuchPoint = 401,
    /// The call was cancelled, or took too long.
    ContextError = 402,
    /// An insert failed for a reason of the server's.
    InsertFailure = 403,
    /// No stream has this uuid.
    NoSuchStream = 404,
    /// Another node of the cluster is to be asked.
    WrongEndpoint = 405,
    /// The collection is empty, too long, or holds a NUL.
    InvalidCollection = 407,
    /// A tag or annotation key that BTrDB does not take.
    InvalidTagKey = 408,
    /// A tag or annotation value that BTrDB does not take.
    InvalidTagValue = 409,
    /// A range that is empty, reversed, or outside BTrDB's time.
    InvalidTimeRange = 413,
    /// More points in one insert than the limit.
    InsertTooBig = 414,
    /// A point width, window width or resolution out of bounds.
    InvalidPointWidth = 415,
    /// What no other code says.
    GenericError = 416,
    /// A live stream has this uuid.
    SameStream = 417,
    /// Another stream has this collection and these tags.
    AmbiguousStream = 418,
    /// The cluster lacks members, for now.
    ClusterDegraded = 419,
    /// Arguments that contradict each other.
    WrongArgs = 421,
    /// The property version expected is not the current one.
    AnnotationVersionMismatch = 423,
    /// Faults are injected only where that was allowed.
    FaultInjectionDisabled = 424,
    /// NaN or infinity, which BTrDB does not store.
    BadValue = 425,
    /// A queue or a limit ran over.
    ResourceDepleted = 426,
    /// The first version comes after the second.
    InvalidVersions = 427,
    /// The uuid belonged to a stream that was obliterated.
    ReusedUuid = 429,
    /// Streams cannot be obliterated here.
    ObliterateDisabled = 431,
    /// The store of objects fails.
    StoreFailure = 432,
    /// The caller may not do this.
    Unauthorized = 437,
    /// An argument that fits no other code.
    InvalidParameter = 438,
    /// The store of descriptions cannot be reached.
    MetadataConnection = 440,
    /// SQL over descriptions that does not parse, or names what there is not.
    BadSqlValue = 441,
    /// A version in the future, before the first, or pruned.
    VersionNotAvailable = 450,
    /// A defect of the server.
    InvariantFailure = 500,
    /// The server does not do this.
    NotImplemented = 501,
}

impl Code {
    const ALL: [Self; 31] = [
        Self::NoSuchPoint,
        Self::ContextError,
        Self::InsertFailure,
        Self::NoSuchStream,
        Self::WrongEndpoint,
        Self::InvalidCollection,
        Self::InvalidTagKey,
        Self::InvalidTagValue,
        Self::InvalidTimeRange,
        Self::InsertTooBig,
        Self::InvalidPointWidth,
        Self::GenericError,
        Self::SameStream,
        Self::AmbiguousStream,
        Self::ClusterDegraded,
        Self::WrongArgs,
        Self::AnnotationVersionMismatch,
        Self::FaultInjectionDisabled,
        Self::BadValue,
        Self::ResourceDepleted,
        Self::InvalidVersions,
        Self::ReusedUuid,
        Self::ObliterateDisabled,
        Self::StoreFailure,
        Self::Unauthorized,
        Self::InvalidParameter,
        Self::MetadataConnection,
        Self::BadSqlValue,
        Self::VersionNotAvailable,
        Self::InvariantFailure,
        Self::NotImplemented,
    ];

    /// The code with this number, if it is one that is known here.
    pub fn of_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|code| *code as u32 == number)
    }
}

impl Error {
    /// An error of `kind`. The message is lower case, unpunctuated, and names what it is about.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            code: None,
            message: message.into(),
            source: None,
        }
    }

    /// [`ErrorKind::Invalid`].
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// [`ErrorKind::NotFound`].
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// [`ErrorKind::Unsupported`].
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, message)
    }

    /// [`ErrorKind::Internal`].
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// The same error with BTrDB's code for it.
    #[must_use]
    pub fn with_code(mut self, code: Code) -> Self {
        self.code = Some(code);
        self
    }

    /// The same error with what caused it.
    #[must_use]
    pub fn with_source(
        mut self,
        source: impl Into<Box<dyn StdError + Send + Sync + 'static>>,
    ) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What the caller can do.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// BTrDB's code, where it has one.
    pub fn code(&self) -> Option<Code> {
        self.code
    }

    /// The sentence, without its causes.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.kind)?;
        if let Some(code) = self.code {
            write!(f, "({code:?})")?;
        }
        write!(f, ": {}", self.message)?;
        match &self.source {
            Some(source) => write!(f, ": {source:?}"),
            None => Ok(()),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source
            .as_ref()
            .map(|source| source.as_ref() as &(dyn StdError + 'static))
    }
}
