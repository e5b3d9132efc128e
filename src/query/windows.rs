//! `windows(stream, width [, origin])` and `aligned_windows(stream, pointwidth)` as tables.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;

use super::filter::time_set;
use super::points::Group;
use super::scan::ScanExec;
use super::session::Frame;
use super::stats::{Grouping, StatColumn, StatRead};
use super::table::{NamedStream, accepted_times, exact_if, is_time_column, not_accepted, project};
use crate::model::{Cuts, TimeRange, Timestamp};

/// The windows of one stream on one grid.
#[derive(Debug)]
pub(super) struct WindowsTable {
    frame: Arc<Frame>,
    stream: NamedStream,
    origin: i64,
    width: u64,
    schema: SchemaRef,
}

impl WindowsTable {
    /// # Errors
    /// Code 415 for windows of no or too much width, 413 for a grid that does not fit into time.
    pub(super) fn new(
        frame: Arc<Frame>,
        stream: NamedStream,
        origin: i64,
        width: u64,
    ) -> crate::error::Result<Self> {
        Cuts::Every { origin, width }.check(TimeRange::ALL)?;
        Ok(Self {
            frame,
            stream,
            origin,
            width,
            schema: StatColumn::windows_schema(),
        })
    }
}

#[async_trait]
impl TableProvider for WindowsTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(exact_if(filters, |filter| {
            self.frame.pushdown
                && time_set(filter, &is_time_column).is_some_and(|set| set.interval().is_some())
        }))
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let starts = accepted_times(filters)?
            .interval()
            .ok_or_else(|| not_accepted(filters))?;
        let range = starts.and_then(|starts| whole_windows(starts, self.origin, self.width));
        let stream = (
            Arc::clone(&self.stream.descriptor),
            self.stream.read(&self.frame),
        );
        let schema = match projection {
            Some(indices) => Arc::new(self.schema.project(indices)?),
            None => Arc::clone(&self.schema),
        };
        let read = StatRead {
            frame: Arc::clone(&self.frame),
            streams: Arc::new(Group::of(&[stream])),
            range,
            cuts: Cuts::Every {
                origin: self.origin,
                width: self.width,
            },
            grouping: Grouping::PerStream,
            columns: project(&StatColumn::OF_WINDOWS, projection),
            schema,
        };
        Ok(Arc::new(ScanExec::new(Arc::new(read), limit)))
    }
}

/// The range of the windows whose *starts* lie between `first` and `last`, both inside: whole windows, because a condition on
/// the start never changes what is in a window.
fn whole_windows(
    (first, last): (Timestamp, Timestamp),
    origin: i64,
    width: u64,
) -> Option<TimeRange> {
    let (origin, width) = (i128::from(origin), i128::from(width));
    let floor = |time: i128| origin + (time - origin).div_euclid(width) * width;
    let first = floor(i128::from(first) + width - 1);
    let end = floor(i128::from(last)) + width;
    let (min, max) = (
        i128::from(TimeRange::ALL.start),
        i128::from(TimeRange::ALL.end),
    );
    let range = TimeRange::new(first.clamp(min, max) as i64, end.clamp(min, max) as i64);
    (!range.is_empty()).then_some(range)
}

#[cfg(test)]
mod tests {
    use datafusion::common::ScalarValue;
    use datafusion::logical_expr::{col, lit};

    use super::*;
    use crate::model::time::{MAX_TIME, MIN_TIME};

    fn windows(starts: &Expr, origin: i64, width: u64) -> Option<TimeRange> {
        let starts = time_set(starts, &is_time_column).expect("understood");
        let interval = starts.interval().expect("one interval");
        interval.and_then(|interval| whole_windows(interval, origin, width))
    }

    fn ns(time: i64) -> Expr {
        lit(ScalarValue::TimestampNanosecond(
            Some(time),
            Some("UTC".into()),
        ))
    }

    #[test]
    fn conditions_choose_windows_by_their_start() {
        let from = col("time").gt_eq(ns(11)).and(col("time").lt(ns(30)));
        assert_eq!(
            windows(&from, 0, 10),
            Some(TimeRange::new(20, 30)),
            "the window at 10 starts too early, the one at 30 too late"
        );
        let closed = col("time").between(ns(10), ns(30));
        assert_eq!(windows(&closed, 0, 10), Some(TimeRange::new(10, 40)));
        let between = col("time").between(ns(11), ns(19));
        assert_eq!(windows(&between, 0, 10), None);
        assert_eq!(windows(&between, 5, 10), Some(TimeRange::new(15, 25)));
        assert_eq!(windows(&lit(false), 0, 10), None);
    }

    #[test]
    fn everything_is_the_whole_domain() {
        for (origin, width) in [(0, 1), (7, 1 << 40), (0, 1 << 63)] {
            assert_eq!(
                windows(&lit(true), origin, width),
                Some(TimeRange::new(MIN_TIME, MAX_TIME))
            );
        }
    }
}
