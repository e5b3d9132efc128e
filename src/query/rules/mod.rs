//! Optimizer rules, one per file.

mod grid;
mod push_down_buckets;

pub(super) use push_down_buckets::PushDownBuckets;
