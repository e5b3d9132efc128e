//! A BTrDB elsewhere: the seam over BTrDB's own gRPC interface.
//!
//! Nothing is kept here but connections: every read is a call, and sees what the server has. What the protocol lacks is composed of
//! what it has (points from the end, windows with ragged ends), and what servers differ in is made up for.
//!
//! ```text
//! backend     one method a line
//! points stats multi lookups metadata writes subscribe      what to call, and how answers become one
//!   spans  pieces wide  join                                 ... where that takes some thought
//! versions    one state for several calls on one stream
//! ahead  room many streams in their order, the next ones begun early, memory bounded
//! reads       answers in Arrow or in rows of protobuf, as one
//! link        who asks whom, what is tried again        calls  failure  patience
//! pool        connections
//! ```
//!
//! Two rules. A read is repeated until something was handed on, and never afterwards. A change is repeated only if it is known that
//! nothing was done, or that doing it twice is doing it once; otherwise its error says that nobody knows.

use std::fmt;
use std::sync::Arc;

mod ahead;
mod backend;
mod calls;
mod failure;
mod join;
mod link;
mod lookups;
mod metadata;
mod multi;
mod patience;
mod pieces;
mod points;
mod pool;
pub mod profile;
mod reads;
mod room;
mod settings;
mod spans;
mod stats;
mod subscribe;
mod versions;
mod wide;
mod writes;

use link::Link;
pub use settings::Settings;

use crate::error::Result;

/// A BTrDB that is reached by its gRPC interface.
#[derive(Debug)]
pub struct Remote {
    link: Arc<Link>,
}

impl Remote {
    /// The BTrDB of `settings`, asked what it is.
    ///
    /// Once connected, it may go and come back: calls fail meanwhile, and succeed afterwards.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) for an address that is not `HOST:PORT` and certificates that cannot
    /// be read, [`ErrorKind::Unavailable`](crate::error::ErrorKind::Unavailable) if nobody answers there,
    /// [`ErrorKind::Denied`](crate::error::ErrorKind::Denied) for a key that it does not take,
    /// [`ErrorKind::Unsupported`](crate::error::ErrorKind::Unsupported) if it is no BTrDB, or one before version 5.
    pub async fn connect(settings: Settings) -> Result<Arc<Self>> {
        let remote = Self::lazy(settings)?;
        remote.link.introduce().await?;
        Ok(remote)
    }

    /// The BTrDB of `settings`, to which nothing is sent before the first call. To be made on a runtime.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) as [`connect`](Self::connect).
    pub fn lazy(settings: Settings) -> Result<Arc<Self>> {
        Ok(Arc::new(Self {
            link: Arc::new(Link::new(settings)?),
        }))
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Remote({})", self.link.settings.endpoint)
    }
}
