//! A plan made ahead of its execution.

use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;
use parking_lot::Mutex;

/// The physical plan of one execution, if it was made already. A copy has none: some operators run only once.
#[derive(Debug, Default)]
pub(super) struct Ahead(Mutex<Option<Arc<dyn ExecutionPlan>>>);

impl Ahead {
    pub(super) fn of(plan: Arc<dyn ExecutionPlan>) -> Self {
        Self(Mutex::new(Some(plan)))
    }

    /// The plan, for whoever comes first.
    pub(super) fn take(&self) -> Option<Arc<dyn ExecutionPlan>> {
        self.0.lock().take()
    }
}

impl Clone for Ahead {
    fn clone(&self) -> Self {
        Self::default()
    }
}
