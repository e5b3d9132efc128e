//! SQL and Apache Arrow for BTrDB.
//!
//! ```text
//! 5  cli                              arguments, settings, wiring, exit codes
//! 4  serve     flight                 decode, call, encode; nothing else
//! 3  query | engine                   SQL over any backend | local tree: strangers to each other
//! 2  backend                          the seam and its wrappers
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
pub mod serve;
