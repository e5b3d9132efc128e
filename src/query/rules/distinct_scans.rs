//! Names that say what is read, for calls of table functions.
//!
//! ```text
//!                                      SubqueryAlias(raw_values())
//! TableScan(raw_values())      =>        TableScan(raw_values(<uuid>))
//! ```
//!
//! DataFusion names a call without its arguments, compares scans by their names, and works out equal scalar sub-queries once:
//! `(SELECT count(*) FROM raw_values('a/x'))` and the same of `'a/y'` would have one answer.

use std::sync::Arc;

use datafusion::catalog::default_table_source::source_as_provider;
use datafusion::common::TableReference;
use datafusion::common::tree_node::Transformed;
use datafusion::error::Result;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder, SubqueryAlias, TableScan};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

use crate::query::lookups::{ChangesTable, NearestTable};
use crate::query::multi::MultiTable;
use crate::query::table::StreamTable;
use crate::query::windows::WindowsTable;

/// Gives scans of different things different names.
#[derive(Debug)]
pub(in crate::query) struct DistinctScans;

impl OptimizerRule for DistinctScans {
    fn name(&self) -> &str {
        "distinct_scans"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::TableScan(scan) = &plan else {
            return Ok(Transformed::no(plan));
        };
        // The way DataFusion writes calls; what was renamed has something between the parentheses.
        let Some(function) = scan.table_name.table().strip_suffix("()") else {
            return Ok(Transformed::no(plan));
        };
        let Some(arguments) = arguments(scan)? else {
            return Ok(Transformed::no(plan));
        };
        let named = LogicalPlanBuilder::scan_with_filters_fetch(
            TableReference::bare(format!("{function}({arguments})")),
            Arc::clone(&scan.source),
            scan.projection.clone(),
            scan.filters.clone(),
            scan.fetch,
        )?;
        let alias = SubqueryAlias::try_new(Arc::new(named.build()?), scan.table_name.clone())?;
        Ok(Transformed::yes(LogicalPlan::SubqueryAlias(alias)))
    }
}

/// What was called with, as far as it matters.
fn arguments(scan: &TableScan) -> Result<Option<String>> {
    let table = source_as_provider(&scan.source)?;
    Ok(if let Some(table) = table.downcast_ref::<StreamTable>() {
        Some(table.stream.to_string())
    } else if let Some(table) = table.downcast_ref::<WindowsTable>() {
        Some(table.arguments())
    } else if let Some(table) = table.downcast_ref::<MultiTable>() {
        Some(table.arguments())
    } else if let Some(table) = table.downcast_ref::<NearestTable>() {
        Some(table.arguments())
    } else {
        table
            .downcast_ref::<ChangesTable>()
            .map(ChangesTable::arguments)
    })
}
