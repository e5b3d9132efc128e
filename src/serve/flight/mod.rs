//! Arrow Flight and Flight SQL.
//!
//! ```text
//! descriptor --GetFlightInfo--> statement, planned --> FlightInfo { schema, ticket }
//! ticket     --DoGet---------->  statement, planned again or remembered --> batches, as declared
//! batches    --DoPut---------->  rows, checked --> Backend::insert --> {"<uuid>": version}
//! ```
//!
//! `FlightService` is implemented directly: arrow-flight's Flight SQL trait takes no plain descriptors and tickets. Its messages,
//! metadata builders and encoder are reused.
//!
//! What holds throughout:
//!
//! - Tickets and statement handles are self-contained and signed ([`seal`]): SQL, bound values, settings and the snapshot
//!   travel in them. Any replica with the key can serve them. Only transactions live in the process that opened them.
//! - What a FlightInfo declares, its ticket delivers, to the nullability ([`encode`]).
//! - Work happens while its answer is polled, never in a task of its own: a client that leaves stops it.
//!
//! Handshake: a client that logs in with a user and a password gets the password back as a bearer token, which is the API key
//! where one is needed. Where none is, any credentials are taken.

use std::sync::Arc;

use arrow_flight::flight_service_server::FlightServiceServer;

use crate::error::Result;
use crate::query::Gateway;
use crate::serve::ServeSettings;

mod action;
mod call;
mod compression;
mod descriptor;
mod encode;
mod endpoints;
mod flights;
mod idle;
mod keep_alive;
mod metadata;
mod parameters;
mod prepared;
mod put;
mod recent;
mod seal;
mod service;
mod sql_info;
mod statement;
mod status;
mod ticket;
mod transaction;
mod xdbc;

use recent::Recent;
use seal::Seal;
pub use service::FlightServer;
use transaction::Transactions;

/// The Flight service over `gateway`, to be added to a gRPC server.
///
/// # Errors
/// [`ErrorKind::Unavailable`](crate::error::ErrorKind::Unavailable) if the system gives no random key.
pub fn service(
    gateway: Gateway,
    settings: ServeSettings,
) -> Result<FlightServiceServer<FlightServer>> {
    let message_bytes_max = settings.message_bytes_max;
    let shared = Arc::new(Shared {
        gateway,
        seal: Seal::new(settings.ticket_key, Arc::clone(&settings.clock))?,
        transactions: Transactions::new(
            settings.transaction_count_max,
            settings.transaction_idle_max,
        ),
        recent: Recent::default(),
        settings,
    });
    Ok(FlightServiceServer::new(FlightServer::new(shared))
        .max_decoding_message_size(message_bytes_max)
        .max_encoding_message_size(usize::MAX))
}

/// What every call needs.
struct Shared {
    gateway: Gateway,
    seal: Seal,
    transactions: Transactions,
    recent: Recent,
    settings: ServeSettings,
}
