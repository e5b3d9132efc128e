//! Batches to the server.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::RecordBatch;
use arrow_flight::client::FlightClient;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{FlightDescriptor, PutResult};
use futures::{StreamExt, TryStreamExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use super::Progress;
use crate::cli::connect::from_flight;
use crate::error::{Error, Result};
use crate::model::MergePolicy;

/// A put that is about to begin.
pub(super) struct Put {
    pub(super) client: FlightServiceClient<Channel>,
    /// The header that carries the key, if there is one.
    pub(super) authorization: Option<(&'static str, String)>,
    pub(super) merge: MergePolicy,
    pub(super) may_create: bool,
}

/// What the server made of it.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// Points that are now stored (or dropped by the merge policy).
    pub(super) accepted: u64,
    pub(super) streams: usize,
}

impl Put {
    /// Sends all `batches`; without any the server is left alone.
    pub(super) async fn run(
        self,
        mut batches: mpsc::Receiver<RecordBatch>,
        progress: Arc<Progress>,
    ) -> Result<Answer> {
        let Some(first) = batches.recv().await else {
            return Ok(Answer::default());
        };
        let counted = Arc::clone(&progress);
        let batches = futures::stream::once(async { first })
            .chain(ReceiverStream::new(batches))
            .map(move |batch| {
                counted
                    .sent
                    .fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
                Ok(batch)
            });
        let messages = FlightDataEncoderBuilder::new()
            .with_flight_descriptor(Some(FlightDescriptor::new_path(vec!["points".to_owned()])))
            .build(batches);
        let mut client = FlightClient::new_from_inner(self.client);
        for (header, value) in [
            ("x-btrdb-merge", self.merge.as_str()),
            (
                "x-btrdb-create",
                if self.may_create { "true" } else { "false" },
            ),
        ] {
            client.add_header(header, value).map_err(from_flight)?;
        }
        if let Some((header, key)) = &self.authorization {
            client.add_header(header, key).map_err(from_flight)?;
        }
        let mut answers = client.do_put(messages).await.map_err(from_flight)?;
        let mut streams = HashSet::new();
        while let Some(answer) = answers.try_next().await.map_err(from_flight)? {
            streams.extend(streams_of(&answer)?);
        }
        Ok(Answer {
            // A put that ends well has applied everything that was sent.
            accepted: progress.sent.load(Ordering::Relaxed),
            streams: streams.len(),
        })
    }
}

/// The uuids of an answer: a JSON object of uuids and their new versions.
fn streams_of(answer: &PutResult) -> Result<Vec<String>> {
    if answer.app_metadata.is_empty() {
        return Ok(Vec::new());
    }
    let versions: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&answer.app_metadata).map_err(|error| {
            Error::internal("the server's answer to a put is not understood").with_source(error)
        })?;
    Ok(versions.into_iter().map(|(uuid, _)| uuid).collect())
}
