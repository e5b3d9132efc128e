//! What the tables have in common as DataFusion's `TableProvider`s: methods that async traits declare, without the attribute.
//!
//! The attribute would hold the predicates in a future, and the compiler would look through all of DataFusion's expressions to
//! find that it is `Send`, anew in each table: five seconds for each (see [`Veil`](super::Veil)). Passed on to methods without
//! bounds, it finds that once.

/// `scan`, by a method `plan_scan` that boxes its future.
macro_rules! scan_by_plan {
    () => {
        fn scan<'table, 'state, 'columns, 'filters, 'scan>(
            &'table self,
            state: &'state dyn ::datafusion::catalog::Session,
            projection: Option<&'columns Vec<usize>>,
            filters: &'filters [::datafusion::logical_expr::Expr],
            limit: Option<usize>,
        ) -> $crate::query::provider::Planning<'scan>
        where
            'table: 'scan,
            'state: 'scan,
            'columns: 'scan,
            'filters: 'scan,
            Self: 'scan,
        {
            self.plan_scan(state, projection, filters, limit)
        }
    };
}

/// `delete_from`, `update` and `truncate`, refused: DataFusion tells a table only what its optimizer left of a predicate.
macro_rules! refuse_changes {
    () => {
        fn delete_from<'table, 'state, 'change>(
            &'table self,
            _state: &'state dyn ::datafusion::catalog::Session,
            _filters: Vec<::datafusion::logical_expr::Expr>,
        ) -> $crate::query::provider::Planning<'change>
        where
            'table: 'change,
            'state: 'change,
            Self: 'change,
        {
            $crate::query::provider::refused("DELETE")
        }

        fn update<'table, 'state, 'change>(
            &'table self,
            _state: &'state dyn ::datafusion::catalog::Session,
            _assignments: Vec<(String, ::datafusion::logical_expr::Expr)>,
            _filters: Vec<::datafusion::logical_expr::Expr>,
        ) -> $crate::query::provider::Planning<'change>
        where
            'table: 'change,
            'state: 'change,
            Self: 'change,
        {
            $crate::query::provider::refused("UPDATE")
        }

        fn truncate<'table, 'state, 'change>(
            &'table self,
            _state: &'state dyn ::datafusion::catalog::Session,
        ) -> $crate::query::provider::Planning<'change>
        where
            'table: 'change,
            'state: 'change,
            Self: 'change,
        {
            $crate::query::provider::refused("TRUNCATE")
        }
    };
}

use std::future;
use std::sync::Arc;

use datafusion::error::Result;
use datafusion::physical_plan::ExecutionPlan;
use futures::FutureExt;
use futures::future::BoxFuture;
pub(super) use {refuse_changes, scan_by_plan};

use super::write::foreign;

/// A plan in the making.
pub(super) type Planning<'a> = BoxFuture<'a, Result<Arc<dyn ExecutionPlan>>>;

/// The answer to a change through DataFusion's own hooks.
pub(super) fn refused<'a>(what: &str) -> Planning<'a> {
    future::ready(foreign::refuse(what, foreign::LEFT_OVER)).boxed()
}
