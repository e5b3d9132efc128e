//! The integration tests: one binary, because linking DataFusion once is enough.

mod cli;
mod conformance;
mod deploy;
mod flight;
mod layers;
mod model;
mod sql;
