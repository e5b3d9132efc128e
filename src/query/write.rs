//! What a statement that writes did.

use crate::error::Error;
use crate::model::{StreamId, Version};

/// What a write did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Rows that it inserted, changed or removed.
    pub rows: u64,
    /// The streams whose points it changed, and the versions they have now; a stream stands here once, with its last version.
    pub versions: Vec<(StreamId, Version)>,
}

/// What a write did, and what kept it from doing more.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What was applied, and stays.
    pub written: Written,
    /// Why not everything was.
    pub error: Option<Error>,
}
