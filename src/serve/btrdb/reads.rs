//! Points of one stream, the nearest of them, and where versions differ.

use futures::{StreamExt, TryStreamExt, stream};

use super::Shared;
use super::answer::{Groups, Messages};
use super::template::Template;
use crate::error::{Code, Error, Result};
use crate::model::{
    ChangesQuery, Direction, NearestQuery, PointQuery, StreamRead, TimeRange, Version,
};
use crate::wire::points::MESSAGE_POINTS;
use crate::wire::proto::{
    ArrowRawValuesParams, ArrowRawValuesResponse, ChangedRange, ChangesParams, ChangesResponse,
    NearestParams, NearestResponse, RawValuesParams, RawValuesResponse,
};
use crate::wire::{arrow, points, streams};

/// Changed ranges of one message.
const MESSAGE_RANGES: usize = 1000;

/// Which stream, at which version, a request names.
pub(super) fn stream_read(uuid: &[u8], version_major: u64) -> Result<StreamRead> {
    Ok(StreamRead {
        id: streams::id(uuid)?,
        version: streams::version(version_major),
    })
}

impl Shared {
    pub(super) fn raw_values(
        &self,
        params: &RawValuesParams,
    ) -> Result<Messages<RawValuesResponse>> {
        let read = stream_read(&params.uuid, params.version_major)?;
        let query = PointQuery {
            batch_rows: MESSAGE_POINTS,
            ..PointQuery::new(vec![read], TimeRange::new(params.start, params.end))
        };
        let messages = self
            .backend()
            .points(query)
            .map_ok(|batch| RawValuesResponse {
                stat: None,
                version_major: batch.version.0,
                version_minor: 0,
                values: points::rows(&batch.times, &batch.values),
            });
        Ok(messages.boxed())
    }

    pub(super) fn arrow_raw_values(
        &self,
        params: ArrowRawValuesParams,
    ) -> Result<Messages<ArrowRawValuesResponse>> {
        let read = stream_read(&params.uuid, params.version_major)?;
        let template = Template::of(params.template_bytes, arrow::points_schema())?;
        let query = PointQuery {
            batch_rows: arrow::MESSAGE_ROWS,
            ..PointQuery::new(vec![read], TimeRange::new(params.start, params.end))
        };
        let messages = self.backend().points(query).map(move |batch| {
            let batch = batch?;
            let rows = arrow::points_batch(template.source(), batch.times, batch.values)?;
            Ok(ArrowRawValuesResponse {
                stat: None,
                version_major: batch.version.0,
                version_minor: 0,
                arrow_bytes: template.encode(rows)?,
            })
        });
        Ok(messages.boxed())
    }

    pub(super) async fn nearest(&self, params: &NearestParams) -> Result<NearestResponse> {
        let read = stream_read(&params.uuid, params.version_major)?;
        let direction = if params.backward {
            Direction::Backward
        } else {
            Direction::Forward
        };
        let query = NearestQuery::new(vec![read], params.time, direction);
        let nearest = self.backend().nearest(query).await?.pop();
        let Some((version, Some(point))) = nearest else {
            return Err(Error::not_found("no such point").with_code(Code::NoSuchPoint));
        };
        Ok(NearestResponse {
            stat: None,
            version_major: version.0,
            version_minor: 0,
            value: Some(points::row(point)),
        })
    }

    pub(super) async fn changes(
        &self,
        params: &ChangesParams,
    ) -> Result<Messages<ChangesResponse>> {
        let read = stream_read(&params.uuid, params.to_major)?;
        let resolution = u8::try_from(params.resolution)
            .ok()
            .filter(|bits| *bits <= 63);
        let resolution = resolution.ok_or_else(|| {
            let message = format!("resolution {} is not between 0 and 63", params.resolution);
            Error::invalid(message).with_code(Code::InvalidPointWidth)
        })?;
        let from = Version(params.from_major);
        if let Some(to) = read.version.filter(|to| from > *to) {
            let message = format!("start version after end version: {from} > {to}");
            return Err(Error::invalid(message).with_code(Code::InvalidVersions));
        }
        let query = ChangesQuery {
            stream: read.id,
            from,
            to: read.version,
            resolution,
        };
        let changes = self.backend().changes(query).await?;
        let ranges = changes.ranges.into_iter().map(|range| ChangedRange {
            start: range.start,
            end: range.end,
        });
        let groups = Groups::new(ranges, MESSAGE_RANGES, |_| size_of::<ChangedRange>());
        let messages = groups.map(move |ranges| {
            Ok(ChangesResponse {
                stat: None,
                version_major: changes.version.0,
                version_minor: 0,
                ranges,
            })
        });
        Ok(stream::iter(messages).boxed())
    }
}
