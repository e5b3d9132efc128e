//! Arrow Flight and Flight SQL.
//!
//! ```text
//! descriptor --GetFlightInfo--> statement, planned --> FlightInfo { schema, ticket }
//! ticket     --DoGet---------->  statement, planned again or remembered --> batches, as declared
//! batches    --DoPut---------->  rows, checked --> Backend::insert --> {"<uuid>": version}
//! ```
//!
//! `FlightService` is implemented directly: arrow-flight's Flight SQL trait takes no plain descriptors and tickets. Its messages,
//! metadata builders are reused, and what encodes is Arrow's own.
//!
//! What holds throughout:
//!
//! - Tickets and statement handles are self-contained and signed ([`seal`]): SQL, bound values, settings and the snapshot
//!   travel in them. Any replica with the key can serve them. Transactions and sessions live in the process that opened them,
//!   and the statements that run in the one that runs them.
//! - What a FlightInfo declares, its ticket delivers, to the nullability ([`encode`]). What the engine holds in memory goes out
//!   as it lies there ([`message`], [`direct`]).
//! - Whoever waits for work owns it: a client that leaves, a deadline that passes and a cancellation stop it ([`stop`]).
//!   Statements are planned and run on threads of their own ([`crew`]), and read no further ahead than a batch or two.
//! - What a statement changes, it changes once, however often and by whichever of its calls a client comes back.

use std::sync::Arc;

use crate::error::Result;
use crate::query::Gateway;
use crate::serve::ServeSettings;
use crate::serve::auth::Gate;

mod action;
mod belt;
mod bindings;
mod call;
mod cancel;
mod columns;
mod compression;
mod cookie;
mod crew;
mod descriptor;
mod direct;
mod encode;
mod endpoints;
mod exchange;
mod flights;
mod handshake;
mod idle;
mod keep_alive;
mod keys;
mod message;
mod metadata;
mod obey;
mod operations;
mod options;
mod parameters;
mod poll;
mod prepared;
mod put;
mod recent;
mod reply;
mod seal;
mod service;
mod session;
mod sql_info;
mod statement;
mod status;
mod stop;
mod tables;
mod ticket;
mod transaction;
mod update;
mod xdbc;

use bindings::Bindings;
use cancel::Queries;
use crew::Crew;
pub use direct::FlightRoutes;
use poll::Polls;
use recent::Recent;
use seal::Seal;
use service::FlightServer;
use session::Sessions;
use transaction::Transactions;

/// The Flight service over `gateway`, to be added to a gRPC server.
///
/// # Errors
/// [`ErrorKind::Unavailable`](crate::error::ErrorKind::Unavailable) if the system gives no random key, or no threads.
pub fn service(gateway: Gateway, settings: ServeSettings) -> Result<FlightRoutes> {
    let message_bytes_max = settings.message_bytes_max;
    let shared = Shared {
        gateway,
        seal: Seal::new(settings.ticket_key, Arc::clone(&settings.clock))?,
        transactions: Transactions::new(
            settings.transaction_count_max,
            settings.transaction_idle_max,
        ),
        sessions: Sessions::new(settings.session_count_max, settings.session_idle_max),
        queries: Queries::new(),
        polls: Polls::default(),
        recent: Recent::default(),
        bindings: Bindings::default(),
        crew: Crew::new()?,
        gate: Gate::new(&settings.api_keys),
        settings,
    };
    Ok(FlightRoutes::new(
        FlightServer::new(shared),
        message_bytes_max,
    ))
}

/// What every call needs.
struct Shared {
    gateway: Gateway,
    seal: Seal,
    transactions: Transactions,
    sessions: Sessions,
    queries: Queries,
    polls: Polls,
    recent: Recent,
    bindings: Bindings,
    crew: Crew,
    /// For credentials that come in messages; those in headers were looked at before.
    gate: Gate,
    settings: ServeSettings,
}
