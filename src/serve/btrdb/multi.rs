//! Points of many streams side by side.

use futures::{TryStreamExt, stream};

use super::Shared;
use super::answer::{Messages, or_else};
use super::reads::stream_read;
use super::template::Template;
use crate::error::{Code, Error, Result};
use crate::model::{MultiBatch, MultiQuery, StreamRead, TimeRange};
use crate::wire::arrow::{self, MESSAGE_BYTES, MESSAGE_ROWS};
use crate::wire::proto::{ArrowMultiValuesParams, ArrowMultiValuesResponse};

/// What the schema takes of each message for a column, about.
const FIELD_BYTES: usize = 200;

impl Shared {
    pub(super) fn arrow_multi_values(
        &self,
        params: ArrowMultiValuesParams,
    ) -> Result<Messages<ArrowMultiValuesResponse>> {
        let streams = reads(&params)?;
        let snap_period = u64::try_from(params.snap_period_ns).map_err(|_| {
            refused(format!(
                "period of {} ns is negative",
                params.snap_period_ns
            ))
        })?;
        let schema = arrow::multi_schema(streams.iter().map(|read| read.id));
        let template = Template::of(params.template_bytes, schema)?;
        let rows = rows_of_message(streams.len());
        let range = TimeRange::new(params.start, params.end);
        let batches = self
            .backend()
            .multi_values(MultiQuery::new(streams, range, snap_period));
        let nothing = template.clone();
        let messages = batches
            .map_ok(move |batch| stream::iter(split(batch, rows).map(Ok)))
            .try_flatten()
            .and_then(move |batch| {
                let message = arrow::multi_batch(template.source(), &batch)
                    .and_then(|rows| message(&template, rows));
                async { message }
            });
        Ok(or_else(messages, move || {
            message(&nothing, nothing.no_rows())
        }))
    }
}

fn message(
    template: &Template,
    rows: ::arrow::array::RecordBatch,
) -> Result<ArrowMultiValuesResponse> {
    Ok(ArrowMultiValuesResponse {
        stat: None,
        arrow_bytes: template.encode(rows)?,
    })
}

fn reads(params: &ArrowMultiValuesParams) -> Result<Vec<StreamRead>> {
    if params.uuid.is_empty() {
        return Err(refused("no streams to join".to_owned()));
    }
    if params.uuid.len() != params.version_major.len() {
        return Err(refused(format!(
            "{} versions of {} streams",
            params.version_major.len(),
            params.uuid.len()
        )));
    }
    let named = params.uuid.iter().zip(&params.version_major);
    named
        .map(|(uuid, &version)| stream_read(uuid, version))
        .collect()
}

fn refused(message: String) -> Error {
    Error::invalid(message).with_code(Code::InvalidParameter)
}

/// As many rows as make a message of the usual size, or as take no less room than the schema that each message repeats.
fn rows_of_message(streams: usize) -> usize {
    let columns = streams + 1;
    let bytes = MESSAGE_BYTES.max(columns * FIELD_BYTES);
    (bytes / (8 * columns)).clamp(1, MESSAGE_ROWS)
}

/// `batch` in pieces of at most `rows` rows.
fn split(batch: MultiBatch, rows: usize) -> impl Iterator<Item = MultiBatch> + Send {
    let starts = (0..batch.times.len()).step_by(rows);
    starts.map(move |start| {
        let length = rows.min(batch.times.len() - start);
        MultiBatch {
            times: batch.times.slice(start, length),
            columns: batch
                .columns
                .iter()
                .map(|column| column.slice(start, length))
                .collect(),
        }
    })
}
