//! BTrDB's own protocol, for the clients that BTrDB has.
//!
//! ```text
//! message --decode--> query --Backend--> batches --encode--> messages, one at a time as the client takes them
//! ```
//!
//! What holds throughout:
//!
//! - Errors are answers ([`answer`]): a message with nothing but `stat`, and gRPC's status stays OK. A success has no `stat`.
//! - A streamed answer has one message at least, and each of its messages the version and, in Arrow, the schema.
//! - Messages are made when the connection has room for them, never in a task of their own: a client that leaves stops the
//!   work, and no answer is ever in memory as a whole.
//! - A request is checked from the outside in: its form (438), its bounds (413, 415, ...), then by the backend whether there is
//!   such a stream (404) and such a version (450).
//!
//! What a store cannot know is made here: windows without points, which BTrDB counts and the backend leaves out
//! ([`windows`]), and the types that a client wishes for ([`template`]).

use std::fmt;
use std::sync::Arc;

use tonic::codec::CompressionEncoding;

use crate::backend::Backend;
use crate::query::Gateway;
use crate::wire::proto::b_tr_db_server::BTrDbServer;

mod answer;
mod csv;
mod metadata;
mod multi;
mod node;
mod reads;
mod service;
mod subscribe;
mod template;
mod windows;
mod writes;

pub use service::BtrdbServer;

/// How to serve BTrDB's protocol. Plain data, with the defaults of a BTrDB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BtrdbSettings {
    /// Whether streams can be obliterated; if not, code 431.
    pub allow_obliterate: bool,
    /// Whether faults can be injected; if not, code 424.
    pub allow_fault_injection: bool,
    /// Whether windows of a free width are left out where they are empty, as aligned ones are. BTrDB answers them, with count 0.
    pub omit_empty_windows: bool,
    /// Points of one insert; more are code 414.
    pub insert_points_max: usize,
    /// Largest message that a client may send.
    pub message_bytes_max: usize,
}

impl Default for BtrdbSettings {
    fn default() -> Self {
        Self {
            allow_obliterate: true,
            allow_fault_injection: false,
            omit_empty_windows: false,
            insert_points_max: 250_000,
            message_bytes_max: 128 << 20,
        }
    }
}

/// The service of BTrDB's protocol over `gateway`, to be added to a gRPC server.
///
/// Requests may be compressed with gzip, as older clients do. Answers are not: clients that take gzip say so without wanting
/// it, and points hardly shrink.
pub fn service(gateway: Gateway, settings: BtrdbSettings) -> BTrDbServer<BtrdbServer> {
    let message_bytes_max = settings.message_bytes_max;
    BTrDbServer::new(BtrdbServer::new(Shared { gateway, settings }))
        .accept_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(message_bytes_max)
        .max_encoding_message_size(usize::MAX)
}

/// What every call needs.
struct Shared {
    gateway: Gateway,
    settings: BtrdbSettings,
}

impl Shared {
    fn backend(&self) -> &Arc<dyn Backend> {
        self.gateway.backend()
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("backend", &format_args!("{}", self.backend()))
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
