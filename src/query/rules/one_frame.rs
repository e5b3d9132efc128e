//! One state of the store for all scans of a statement, in sessions that have no other place to say so.
//!
//! ```text
//! TableScan(points, whatever state it finds)        TableScan(points, state x)
//! TableScan("a"."b", whatever state it finds)   =>  TableScan("a"."b", state x)
//! ```

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::catalog::default_table_source::{provider_as_source, source_as_provider};
use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

use crate::query::buckets::BucketsTable;
use crate::query::lookups::{ChangesTable, NearestTable};
use crate::query::metadata::{CollectionsTable, StreamsTable};
use crate::query::multi::MultiTable;
use crate::query::session::{Frame, Settings};
use crate::query::table::{PointsTable, StreamTable};
use crate::query::windows::WindowsTable;

/// Gives all scans of a plan one new frame, under the session's settings.
#[derive(Debug)]
pub(in crate::query) struct OneFrame {
    /// Makes the frame of one statement.
    pub(in crate::query) home: Arc<Frame>,
}

impl OptimizerRule for OneFrame {
    fn name(&self) -> &str {
        "one_frame"
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let mut frames = Vec::new();
        plan.apply_with_subqueries(|node| {
            if let LogicalPlan::TableScan(scan) = node
                && let Some(frame) = frame_of(source_as_provider(&scan.source)?.as_ref())
            {
                frames.push(frame);
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        // The later passes over a plan find it done.
        let done = frames
            .windows(2)
            .all(|pair| Arc::ptr_eq(&pair[0], &pair[1]))
            && frames
                .first()
                .is_none_or(|frame| !Arc::ptr_eq(frame, &self.home));
        if done {
            return Ok(Transformed::no(plan));
        }
        let options = config.options();
        let settings = options
            .extensions
            .get::<Settings>()
            .cloned()
            .unwrap_or_default();
        let frame = self
            .home
            .fresh(settings.pushdown, options.execution.target_partitions);
        if matches!(plan, LogicalPlan::Dml(_)) {
            frame.pin_reads();
        }
        Ok(Transformed::yes(with_frame(plan, &Arc::new(frame))?))
    }
}

/// The plan with every scan of ours under `frame`.
pub(in crate::query) fn with_frame(plan: LogicalPlan, frame: &Arc<Frame>) -> Result<LogicalPlan> {
    let framed = plan.transform_down_with_subqueries(|node| {
        let LogicalPlan::TableScan(mut scan) = node else {
            return Ok(Transformed::no(node));
        };
        let table = source_as_provider(&scan.source)?;
        Ok(match framed(table.as_ref(), frame) {
            Some(table) => {
                scan.source = provider_as_source(table);
                Transformed::yes(LogicalPlan::TableScan(scan))
            }
            None => Transformed::no(LogicalPlan::TableScan(scan)),
        })
    })?;
    Ok(framed.data)
}

/// The table under another frame, if it is one of ours.
fn framed(table: &dyn TableProvider, frame: &Arc<Frame>) -> Option<Arc<dyn TableProvider>> {
    let frame = || Arc::clone(frame);
    Some(if let Some(table) = table.downcast_ref::<StreamTable>() {
        Arc::new(table.with_frame(frame()))
    } else if let Some(table) = table.downcast_ref::<PointsTable>() {
        Arc::new(table.with_frame(frame()))
    } else if let Some(table) = table.downcast_ref::<BucketsTable>() {
        Arc::new(table.with_frame(frame()))
    } else if let Some(table) = table.downcast_ref::<WindowsTable>() {
        Arc::new(table.with_frame(frame()))
    } else if let Some(table) = table.downcast_ref::<MultiTable>() {
        Arc::new(table.with_frame(frame()))
    } else if let Some(table) = table.downcast_ref::<StreamsTable>() {
        Arc::new(table.with_frame(frame()))
    } else if let Some(table) = table.downcast_ref::<CollectionsTable>() {
        Arc::new(table.with_frame(frame()))
    } else if let Some(table) = table.downcast_ref::<NearestTable>() {
        Arc::new(table.with_frame(frame()))
    } else {
        let table = table.downcast_ref::<ChangesTable>()?;
        Arc::new(table.with_frame(frame()))
    })
}

/// The frame of a table, if it is one of ours.
fn frame_of(table: &dyn TableProvider) -> Option<Arc<Frame>> {
    let frame = if let Some(table) = table.downcast_ref::<StreamTable>() {
        &table.frame
    } else if let Some(table) = table.downcast_ref::<PointsTable>() {
        &table.frame
    } else if let Some(table) = table.downcast_ref::<BucketsTable>() {
        &table.frame
    } else if let Some(table) = table.downcast_ref::<WindowsTable>() {
        &table.frame
    } else if let Some(table) = table.downcast_ref::<MultiTable>() {
        &table.frame
    } else if let Some(table) = table.downcast_ref::<StreamsTable>() {
        &table.frame
    } else if let Some(table) = table.downcast_ref::<CollectionsTable>() {
        &table.frame
    } else if let Some(table) = table.downcast_ref::<NearestTable>() {
        &table.frame
    } else {
        &table.downcast_ref::<ChangesTable>()?.frame
    };
    Some(Arc::clone(frame))
}
