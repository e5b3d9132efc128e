//! ListFlights: streams as flights.
//!
//! ```text
//! criteria  (empty)     every stream
//!           lab/        those of collections whose name begins so
//!           {"collection_prefix": "lab/", "collection": "lab/one", "name": "a", "tags": {"unit": "V"},
//!            "annotations": {"phase": "A", "checked": null}}      those for which all of it holds; null is any value
//! ```

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow_flight::{Criteria, FlightDescriptor, FlightInfo};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use serde_json::{Map, Value};

use super::Shared;
use super::call::CallOptions;
use super::columns::of_result;
use super::statement::{flight_info, statement_ticket, stream_sql};
use super::ticket::Ticket;
use crate::error::{Code, Error, Result};
use crate::model::{CollectionMatch, StreamDescriptor, StreamFilter, TagKey};
use crate::query::{SessionOptions, Veil};

/// The columns of a stream.
pub(super) fn stream_schema() -> SchemaRef {
    let utc = DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
    of_result(&Schema::new(vec![
        Field::new("time", utc, false),
        Field::new("value", DataType::Float64, false),
    ]))
}

impl Shared {
    /// One FlightInfo for each stream that meets the criteria, ascending by collection and name, made as they are read.
    ///
    /// Its descriptor is `[collection, name]`, or `[uuid]` where several streams share a name; its metadata is JSON with uuid,
    /// collection, name and unit. All tickets read the same snapshot. Nothing is counted for it: records and bytes are -1.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) for criteria of another form.
    pub(super) fn flights<'a>(
        shared: &'a Veil<Self>,
        criteria: &'a Criteria,
        call: &'a CallOptions,
    ) -> BoxFuture<'a, Result<BoxStream<'static, Result<FlightInfo>>>> {
        async move {
            let filter = filter_of(&criteria.expression)?;
            let session = shared.session(&[], call).await?;
            // Whether a name is shared does not depend on the other criteria, so they are left to us.
            let named = StreamFilter {
                collection: filter.collection.clone(),
                tags: filter
                    .tags
                    .iter()
                    .filter(|(key, _)| *key == TagKey::Name)
                    .cloned()
                    .collect(),
                annotations: Vec::new(),
            };
            let streams: Arc<[_]> = shared.gateway.backend().find(named).await?.into();
            let (shared, schema) = (shared.clone(), stream_schema());
            let flights = (0..streams.len()).filter_map(move |place| {
                let stream = &streams[place];
                filter.matches(stream).then(|| {
                    let path = path_of(&streams, place);
                    shared.flight(stream, path, &schema, &session)
                })
            });
            Ok(stream::iter(flights).boxed())
        }
        .boxed()
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
            "collection": stream.collection,
            "name": stream.tags.name,
            "unit": stream.tags.unit,
        });
        Ok(info.with_app_metadata(metadata.to_string()))
    }
}

/// The path of a stream among others, which are in the order of their names.
fn path_of(streams: &[Arc<StreamDescriptor>], place: usize) -> Vec<String> {
    let stream = &streams[place];
    let shares = |other: Option<&Arc<StreamDescriptor>>| {
        other.is_some_and(|other| {
            other.tags.name == stream.tags.name && other.collection == stream.collection
        })
    };
    let before = place.checked_sub(1).and_then(|place| streams.get(place));
    if shares(before) || shares(streams.get(place + 1)) {
        vec![stream.id.to_string()]
    } else {
        vec![stream.collection.clone(), stream.tags.name.clone()]
    }
}

fn filter_of(criteria: &Bytes) -> Result<StreamFilter> {
    let text = std::str::from_utf8(criteria).map_err(|_| refused("they are not text"))?;
    if text.trim_start().starts_with('{') {
        return of_json(text);
    }
    Ok(if text.is_empty() {
        StreamFilter::all()
    } else {
        StreamFilter::collection(CollectionMatch::Prefix(text.to_owned()))
    })
}

fn of_json(text: &str) -> Result<StreamFilter> {
    let keys: Map<String, Value> = serde_json::from_str(text).map_err(|error| {
        refused(&format!(
            "they begin with a brace, and are not JSON: {error}"
        ))
    })?;
    let mut filter = StreamFilter::all();
    for (key, value) in &keys {
        match key.as_str() {
            "collection" | "collection_prefix" => {
                if filter.collection != CollectionMatch::Any {
                    return Err(refused(
                        "\"collection\" and \"collection_prefix\" exclude each other",
                    ));
                }
                let name = text_of(key, value)?;
                filter.collection = if key == "collection" {
                    CollectionMatch::Exact(name)
                } else {
                    CollectionMatch::Prefix(name)
                };
            }
            "name" => filter.tags.push((TagKey::Name, Some(text_of(key, value)?))),
            "tags" => {
                for (tag, value) in object_of(key, value)? {
                    filter.tags.push((tag.parse()?, any_or_text(tag, value)?));
                }
            }
            "annotations" => {
                for (annotation, value) in object_of(key, value)? {
                    let value = any_or_text(annotation, value)?;
                    filter.annotations.push((annotation.clone(), value));
                }
            }
            other => {
                return Err(refused(&format!(
                    "\"{}\" is no key of them",
                    other.escape_debug()
                )));
            }
        }
    }
    Ok(filter)
}

fn text_of(key: &str, value: &Value) -> Result<String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        _ => Err(refused(&format!("\"{key}\" is not text"))),
    }
}

fn any_or_text(key: &str, value: &Value) -> Result<Option<String>> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        _ => Err(refused(&format!(
            "\"{}\" is neither text nor null",
            key.escape_debug()
        ))),
    }
}

fn object_of<'a>(key: &str, value: &'a Value) -> Result<&'a Map<String, Value>> {
    value
        .as_object()
        .ok_or_else(|| refused(&format!("\"{key}\" is not an object")))
}

fn refused(why: &str) -> Error {
    Error::invalid(format!(
        "the criteria cannot be read, {why}: they are empty, a prefix of collections, or JSON with collection or \
         collection_prefix, name, tags, annotations"
    ))
    .with_code(Code::InvalidParameter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn criteria_are_a_prefix_or_json() {
        let filter = |text: &'static str| filter_of(&Bytes::from_static(text.as_bytes()));
        assert_eq!(filter("").expect("all"), StreamFilter::all());
        assert_eq!(
            filter("lab/").expect("a prefix"),
            StreamFilter::collection(CollectionMatch::Prefix("lab/".to_owned()))
        );
        let json = r#"{"collection": "lab", "name": "a", "tags": {"unit": "V"}, "annotations": {"x": null}}"#;
        let expected = StreamFilter {
            collection: CollectionMatch::Exact("lab".to_owned()),
            tags: vec![
                (TagKey::Name, Some("a".to_owned())),
                (TagKey::Unit, Some("V".to_owned())),
            ],
            annotations: vec![("x".to_owned(), None)],
        };
        assert_eq!(filter(json).expect("JSON"), expected);
        for (bad, said) in [
            ("{", "not JSON"),
            (r#"{"colection": "a"}"#, "colection"),
            (r#"{"name": 1}"#, "\"name\""),
            (r#"{"tags": {"colour": "red"}}"#, "colour"),
            (
                r#"{"collection": "a", "collection_prefix": "b"}"#,
                "exclude",
            ),
        ] {
            let error = filter(bad).expect_err("must be refused");
            assert!(error.message().contains(said), "{error}");
        }
    }
}
