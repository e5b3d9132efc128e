//! ListFlights: every stream as a flight.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow_flight::{Criteria, FlightDescriptor, FlightInfo};
use bytes::Bytes;

use super::Shared;
use super::call::CallOptions;
use super::columns::of_result;
use super::statement::{flight_info, statement_ticket, stream_sql};
use super::ticket::Ticket;
use crate::error::{Error, Result};
use crate::model::{CollectionMatch, StreamDescriptor, StreamFilter};
use crate::query::SessionOptions;

/// The columns of a stream.
pub(super) fn stream_schema() -> SchemaRef {
    let utc = DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
    of_result(&Schema::new(vec![
        Field::new("time", utc, false),
        Field::new("value", DataType::Float64, false),
    ]))
}

impl Shared {
    /// One FlightInfo for each stream of the collections whose name begins with the criteria, made as they are read.
    ///
    /// Its descriptor is `[collection, name]`, or `[uuid]` where several streams share a name; its metadata is JSON with the
    /// uuid and the unit. All tickets read the same snapshot.
    pub(super) async fn flights(
        self: &Arc<Self>,
        criteria: &Criteria,
        call: &CallOptions,
    ) -> Result<impl Iterator<Item = Result<FlightInfo>> + Send + use<>> {
        let prefix = std::str::from_utf8(&criteria.expression).map_err(|_| {
            Error::invalid("the criteria are not text: they take a prefix of collections")
        })?;
        let filter = if prefix.is_empty() {
            StreamFilter::all()
        } else {
            StreamFilter::collection(CollectionMatch::Prefix(prefix.to_owned()))
        };
        let session = self.session(&[], call).await?;
        let streams = self.gateway.backend().find(filter).await?;
        let mut names: HashMap<(String, String), usize> = HashMap::with_capacity(streams.len());
        for stream in &streams {
            let name = (stream.collection.clone(), stream.tags.name.clone());
            *names.entry(name).or_default() += 1;
        }
        let shared = Arc::clone(self);
        let schema = stream_schema();
        Ok(streams.into_iter().map(move |stream| {
            let name = (stream.collection.clone(), stream.tags.name.clone());
            let path = if names.get(&name) == Some(&1) {
                vec![name.0, name.1]
            } else {
                vec![stream.id.to_string()]
            };
            shared.flight(&stream, path, &schema, &session)
        }))
    }

    fn flight(
        &self,
        stream: &StreamDescriptor,
        path: Vec<String>,
        schema: &Schema,
        session: &SessionOptions,
    ) -> Result<FlightInfo> {
        let ticket = Ticket::new(stream_sql(stream.id, None), Bytes::new(), session);
        let (sealed, expiry) = self.seal_ticket(&ticket);
        let descriptor = FlightDescriptor::new_path(path);
        let info = flight_info(schema, statement_ticket(sealed), Some(expiry), descriptor)?;
        let metadata = serde_json::json!({
            "uuid": stream.id.to_string(),
            "unit": stream.tags.unit,
        });
        Ok(info.with_app_metadata(metadata.to_string()))
    }
}
