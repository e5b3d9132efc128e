//! SQL and Apache Arrow for BTrDB.
//!
//! ```text
//! 5  cli                              arguments, settings, wiring, exit codes
//! 4  serve     flight | btrdb         decode, call, encode; nothing else
//! 3  query | engine | remote          SQL over any backend | local tree | a BTrDB elsewhere: strangers to each other
//! 2  backend | wire                   the seam and its wrappers | protobuf and Arrow <-> model
//! 1  model                            time, points, windows, streams, versions: no I/O, no async
//! 0  error
//! ```
//!
//! A module imports only from rows beneath it, never sideways.

pub mod backend;
pub mod cli;
pub mod engine;
pub mod error;
pub mod model;
pub mod query;
pub mod remote;
pub mod serve;
pub mod wire;
