//! Optimizer rules, one per file.

mod beneath;
mod clip_time_bounds;
mod distinct_keys;
mod distinct_scans;
mod join_streams;
mod one_frame;
mod push_down_buckets;
mod short_times;

use std::sync::Arc;

use datafusion::optimizer::OptimizerRule;

use clip_time_bounds::ClipTimeBounds;
pub(super) use clip_time_bounds::clip;
use distinct_keys::DistinctKeys;
use distinct_scans::DistinctScans;
use join_streams::JoinStreams;
pub(super) use one_frame::{OneFrame, with_frame};
use push_down_buckets::PushDownBuckets;

type Rules = Vec<Arc<dyn OptimizerRule + Send + Sync>>;

/// Our rules for before everything costly, so that the rest of planning sees little.
pub(super) fn first() -> Rules {
    vec![
        Arc::new(DistinctScans),
        Arc::new(ClipTimeBounds),
        Arc::new(JoinStreams),
        Arc::new(PushDownBuckets),
    ]
}

/// Our rules among DataFusion's: before them, and again behind them for what only these bring to light.
pub(super) fn among(others: Rules) -> Rules {
    let mut rules = first();
    rules.extend(others);
    rules.push(Arc::new(JoinStreams));
    rules.push(Arc::new(DistinctKeys));
    rules.push(Arc::new(PushDownBuckets));
    rules
}
