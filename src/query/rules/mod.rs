//! Optimizer rules, one per file.

mod beneath;
mod clip_time_bounds;
mod distinct_scans;
mod join_streams;
mod one_frame;
mod push_down_buckets;

use std::sync::Arc;

use datafusion::optimizer::OptimizerRule;

use clip_time_bounds::ClipTimeBounds;
use distinct_scans::DistinctScans;
use join_streams::JoinStreams;
pub(super) use one_frame::{OneFrame, with_frame};
use push_down_buckets::PushDownBuckets;

/// Our rules among DataFusion's: before everything costly, so that the rest of planning sees little, and again behind it, for
/// what only the others bring to light.
pub(super) fn among(
    others: Vec<Arc<dyn OptimizerRule + Send + Sync>>,
) -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    let mut rules: Vec<Arc<dyn OptimizerRule + Send + Sync>> = vec![
        Arc::new(DistinctScans),
        Arc::new(ClipTimeBounds),
        Arc::new(JoinStreams),
        Arc::new(PushDownBuckets),
    ];
    rules.extend(others);
    rules.push(Arc::new(JoinStreams));
    rules.push(Arc::new(PushDownBuckets));
    rules
}
