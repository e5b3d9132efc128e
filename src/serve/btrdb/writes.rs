//! What changes points.

use ::arrow::array::RecordBatch;
use ::arrow::buffer::ScalarBuffer;

use super::Shared;
use crate::error::{Code, Error, ErrorKind, Result};
use crate::model::time::{MAX_TIME, MIN_TIME};
use crate::model::{InsertOptions, StreamId, TimeRange, Version, Write};
use crate::wire::proto::{
    ArrowInsertParams, DeleteParams, DeleteResponse, FlushParams, FlushResponse, InsertParams,
    InsertResponse, ObliterateParams, ObliterateResponse,
};
use crate::wire::{arrow, points, streams};

impl Shared {
    /// `sync` asks for nothing that is not done anyway: what is acknowledged is durable.
    pub(super) async fn insert(&self, params: InsertParams) -> Result<InsertResponse> {
        let stream = streams::id(&params.uuid)?;
        let options = points::into_insert_options(params.merge_policy, params.rounding)?;
        self.check_size(params.values.len())?;
        let columns = points::columns(&params.values);
        self.write(stream, columns, options).await
    }

    pub(super) async fn arrow_insert(&self, params: ArrowInsertParams) -> Result<InsertResponse> {
        let stream = streams::id(&params.uuid)?;
        let options = points::into_insert_options(params.merge_policy, params.rounding)?;
        let (schema, batches) = arrow::decode_plain(params.arrow_bytes)?;
        // Columns of no rows have types too.
        arrow::check_points(&schema)?;
        self.check_size(batches.iter().map(RecordBatch::num_rows).sum())?;
        let mut columns = Vec::with_capacity(batches.len());
        for batch in &batches {
            columns.push(arrow::points_of(batch)?);
        }
        self.write(stream, concatenated(columns), options).await
    }

    fn check_size(&self, points: usize) -> Result<()> {
        let most = self.settings.insert_points_max;
        if points <= most {
            return Ok(());
        }
        let message = format!("Insert too big: {points} points, {most} at most");
        Err(Error::new(ErrorKind::Exhausted, message).with_code(Code::InsertTooBig))
    }

    async fn write(
        &self,
        stream: StreamId,
        (times, values): (ScalarBuffer<i64>, ScalarBuffer<f64>),
        options: InsertOptions,
    ) -> Result<InsertResponse> {
        let write = Write {
            stream,
            times,
            values,
        };
        let mut answers = self.backend().insert(vec![write], options).await;
        let version = answers
            .pop()
            .unwrap_or_else(|| Err(Error::internal("an insert was left without an answer")))?;
        Ok(InsertResponse {
            stat: None,
            version_major: version.0,
            version_minor: 0,
        })
    }

    pub(super) async fn delete(&self, params: &DeleteParams) -> Result<DeleteResponse> {
        let stream = streams::id(&params.uuid)?;
        let range = TimeRange::new(params.start, params.end);
        if range.start < MIN_TIME || range.end > MAX_TIME {
            let message = format!(
                "delete time range out of bounds: {range:?} is not inside {:?}",
                TimeRange::ALL
            );
            return Err(Error::invalid(message).with_code(Code::InvalidTimeRange));
        }
        let version = self.backend().delete(stream, range).await?;
        Ok(DeleteResponse {
            stat: None,
            version_major: version.0,
            version_minor: 0,
        })
    }

    pub(super) async fn flush(&self, params: &FlushParams) -> Result<FlushResponse> {
        let stream = streams::id(&params.uuid)?;
        let versions = self.backend().flush(&[stream]).await?;
        Ok(FlushResponse {
            stat: None,
            version_major: only(&versions)?.0,
            version_minor: 0,
        })
    }

    pub(super) async fn obliterate(&self, params: &ObliterateParams) -> Result<ObliterateResponse> {
        let stream = streams::id(&params.uuid)?;
        if !self.settings.allow_obliterate {
            let message = "Obliterate is disabled on this node";
            return Err(Error::new(ErrorKind::Denied, message).with_code(Code::ObliterateDisabled));
        }
        self.backend().obliterate(stream).await?;
        Ok(ObliterateResponse { stat: None })
    }
}

/// The version of the one stream that was asked about.
///
/// # Errors
/// Internal if the backend answered nothing.
pub(super) fn only(versions: &[Version]) -> Result<Version> {
    versions
        .first()
        .copied()
        .ok_or_else(|| Error::internal("the backend told no version of a stream"))
}

/// Columns one after the other; a single pair is not copied.
fn concatenated(
    mut parts: Vec<(ScalarBuffer<i64>, ScalarBuffer<f64>)>,
) -> (ScalarBuffer<i64>, ScalarBuffer<f64>) {
    if parts.len() == 1 {
        return parts.pop().unwrap_or_default();
    }
    let times = parts.iter().flat_map(|(times, _)| times.iter().copied());
    let values = parts.iter().flat_map(|(_, values)| values.iter().copied());
    (
        times.collect::<Vec<_>>().into(),
        values.collect::<Vec<_>>().into(),
    )
}
