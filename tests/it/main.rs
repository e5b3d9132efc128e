//! The integration tests: one binary, because linking DataFusion once is enough.

#![allow(
    clippy::unwrap_used,
    reason = "in a test, a panic that names the line is the report"
)]
#![allow(
    clippy::clone_on_ref_ptr,
    reason = "tests clone columns for brevity, and nothing here is hot"
)]

mod btrdb;
mod cli;
mod conformance;
mod deploy;
mod dml;
mod elsewhere;
mod flight;
mod format;
mod fuzz;
mod grids;
mod layers;
mod metadata_sql;
mod model;
mod plugin;
mod pushdown;
mod remote;
mod running;
mod sql;
mod store;
mod subject;
