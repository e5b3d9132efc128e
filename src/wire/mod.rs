//! BTrDB's protocol as values: protobuf and Arrow on one side, the model on the other. No I/O.
//!
//! What the server encodes the client decodes, so both halves of each shape are in one file. What is checked here is form (a
//! uuid of 16 bytes, a column of times); whether a request makes sense is for the backend to say.

pub mod arrow;
pub mod grpc;
pub mod points;
pub mod status;
pub mod streams;
pub mod windows;

/// Messages, client and server, generated from `proto/btrdb.proto`.
#[allow(missing_docs, clippy::all, clippy::clone_on_ref_ptr, unreachable_pub)]
pub mod proto {
    tonic::include_proto!("v5api");
}
