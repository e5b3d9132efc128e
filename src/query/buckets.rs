//! The private table that stands where an aggregate stood: its rows are answers, its columns are the aggregate's.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;

use super::points::{Group, Label};
use super::scan::ScanExec;
use super::selection::select;
use super::session::Frame;
use super::stats::{Grouping, StatColumn, StatRead};
use super::table::{NamedStream, project};
use crate::model::{Cuts, TimeRange};

/// Whose statistics.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// One stream's.
    Stream(NamedStream),
    /// Those of all streams that the predicates choose.
    Streams(Vec<Expr>),
}

/// Statistics of streams, grouped by a grid of time and by what tells streams apart.
#[derive(Debug)]
pub(super) struct BucketsTable {
    pub(super) frame: Arc<Frame>,
    pub(super) source: Source,
    /// `None` reads nothing.
    pub(super) range: Option<TimeRange>,
    /// `None` is one bucket for the whole range.
    pub(super) grid: Option<Cuts>,
    pub(super) columns: Vec<StatColumn>,
    pub(super) schema: SchemaRef,
}

impl BucketsTable {
    fn labels(&self) -> Vec<Label> {
        self.columns
            .iter()
            .filter_map(|column| match column {
                StatColumn::Label(label) => Some(*label),
                _ => None,
            })
            .collect()
    }

    fn grouping(&self) -> Grouping {
        let labels = self.labels();
        if self.grid.is_none() && labels.is_empty() {
            return Grouping::Whole;
        }
        match self.source {
            Source::Streams(_) if !labels.contains(&Label::Uuid) => Grouping::Merged(labels),
            // Only the uuid tells streams apart: several may have the same collection and name.
            _ => Grouping::PerStream,
        }
    }
}

#[async_trait]
impl TableProvider for BucketsTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let streams: Vec<_> = match &self.source {
            Source::Stream(stream) => {
                vec![(Arc::clone(&stream.descriptor), stream.read(&self.frame))]
            }
            Source::Streams(filters) => select(&self.frame, state, filters)
                .await?
                .into_iter()
                .map(|descriptor| {
                    let read = self.frame.read(descriptor.id, None);
                    (descriptor, read)
                })
                .collect(),
        };
        let schema = match projection {
            Some(indices) => Arc::new(self.schema.project(indices)?),
            None => Arc::clone(&self.schema),
        };
        let read = StatRead {
            frame: Arc::clone(&self.frame),
            streams: Arc::new(Group::of(&streams)),
            range: self.range,
            cuts: match &self.grid {
                Some(grid) => grid.clone(),
                None => Cuts::whole(self.range.unwrap_or(TimeRange::ALL)),
            },
            grouping: self.grouping(),
            columns: project(&self.columns, projection),
            schema,
        };
        Ok(Arc::new(ScanExec::new(Arc::new(read), limit)))
    }
}
