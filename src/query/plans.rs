//! Plans of statements that come again: text in, plan out, if the names in it still mean the same streams.
//!
//! A plan holds names and predicates, never a state of the store: what is kept is put under the frame of the statement that
//! asks. Whatever a plan owes to the moment (`now()`) is planned anew each time.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility};
use datafusion::sql::parser::Statement as Parsed;
use quick_cache::sync::Cache;

use super::resolve::{Meaning, Wanted};
use super::statement::Writing;
use crate::model::MergePolicy;

/// Statements whose plans are kept.
const PLANS_MAX: usize = 512;

/// Longest text whose plan is kept.
const TEXT_BYTES_MAX: usize = 16 << 10;

/// What tells statements apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) sql: String,
    pub(super) pushdown: bool,
    pub(super) merge: MergePolicy,
    pub(super) schema: String,
}

/// A statement as it was planned.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) parsed: Parsed,
    pub(super) wanted: Wanted,
    /// What its names meant.
    pub(super) meaning: Meaning,
    pub(super) plan: LogicalPlan,
    /// None where the next time would have another.
    pub(super) optimized: Option<LogicalPlan>,
    pub(super) schema: SchemaRef,
    pub(super) parameters: SchemaRef,
    /// What is done with the rows, if it writes.
    pub(super) writing: Option<Writing>,
}

/// The plans of recent statements.
#[derive(Debug)]
pub(super) struct Plans(Cache<Key, Arc<Planned>>);

impl Default for Plans {
    fn default() -> Self {
        Self(Cache::new(PLANS_MAX))
    }
}

impl Plans {
    pub(super) fn get(&self, key: &Key) -> Option<Arc<Planned>> {
        self.0.get(key)
    }

    pub(super) fn keep(&self, key: Key, planned: Planned) {
        let shows = matches!(
            planned.plan,
            LogicalPlan::Explain(_) | LogicalPlan::Analyze(_) | LogicalPlan::Statement(_)
        ) || planned.writing.as_ref().is_some_and(Writing::is_explained);
        if key.sql.len() <= TEXT_BYTES_MAX && !shows && !planned.wanted.is_about_schemas {
            self.0.insert(key, Arc::new(planned));
        }
    }
}

/// Whether planning comes out the same at any moment.
pub(super) fn is_timeless(plan: &LogicalPlan) -> Result<bool> {
    let mut timeless = true;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|inner| {
                if let Expr::ScalarFunction(call) = inner {
                    timeless &= call.func.signature().volatility == Volatility::Immutable;
                }
                Ok(if timeless {
                    TreeNodeRecursion::Continue
                } else {
                    TreeNodeRecursion::Stop
                })
            })
        })
    })?;
    Ok(timeless)
}
