//! The integration tests: one binary, because linking DataFusion once is enough.

mod cli;
mod deploy;
mod layers;
mod flight;
mod conformance;
mod model;
mod sql;
