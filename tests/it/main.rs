//! The integration tests: one binary, because linking DataFusion once is enough.

mod conformance;
mod model;
