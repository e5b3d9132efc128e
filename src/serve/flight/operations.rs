//! Actions for the operations of BTrDB that SQL has no words for: JSON in, JSON out.
//!
//! ```text
//! btrdb.Info           {}                                -> {"server", "version", "backend", "snapshot"}
//! btrdb.Versions       {"streams": ["lab/a", "lab/*"]}   -> {"<uuid>": version, ...}
//! btrdb.Flush          {"streams": [...]}                -> {"<uuid>": version, ...}
//! btrdb.MetadataUsage  {"collection_prefix": "lab"}      -> {"tags": ["name", "unit"], "annotations": {"phase": 2}}
//! ```
//!
//! A stream is a uuid or `collection/name`, `prefix/*` is many, as in SQL. Versions come in as many results as it takes to keep
//! each small.

use arrow_flight::{Action, ActionType};
use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::Shared;
use super::descriptor::{Place, find_below};
use crate::error::{Code, Error, Result};
use crate::model::{Snapshot, StreamId, Version};

const INFO: &str = "btrdb.Info";
const VERSIONS: &str = "btrdb.Versions";
const FLUSH: &str = "btrdb.Flush";
const METADATA_USAGE: &str = "btrdb.MetadataUsage";

const ALL: [(&str, &str); 4] = [
    (
        INFO,
        "Says what serves here, and which commit of the store is the newest.\n\
         Request Message: JSON {}, or nothing\n\
         Response Message: JSON {\"server\": text, \"version\": text, \"backend\": text, \"snapshot\": number or null}",
    ),
    (
        VERSIONS,
        "Tells the latest versions of streams, to be read later as \"collection\".\"name@version\".\n\
         Request Message: JSON {\"streams\": [\"uuid\", \"collection/name\", \"prefix/*\", ...]}\n\
         Response Message: JSON {\"<uuid>\": version, ...}; several for very many streams",
    ),
    (
        FLUSH,
        "Makes points that are buffered part of a version, which it tells.\n\
         Request Message: JSON {\"streams\": [\"uuid\", \"collection/name\", \"prefix/*\", ...]}\n\
         Response Message: JSON {\"<uuid>\": version, ...}; several for very many streams",
    ),
    (
        METADATA_USAGE,
        "Lists the tags, and counts the streams that have each annotation.\n\
         Request Message: JSON {\"collection_prefix\": text}, or nothing for all\n\
         Response Message: JSON {\"tags\": [key, ...], \"annotations\": {key: count, ...}}",
    ),
];

/// Streams whose versions go into one result: about a mebibyte of JSON.
const RESULT_STREAMS: usize = 16 * 1024;

/// Whether an action of that name is answered here.
pub(super) fn is_one(action: &str) -> bool {
    ALL.iter().any(|(name, _)| *name == action)
}

/// The actions, and what they are.
pub(super) fn action_types() -> impl Iterator<Item = ActionType> {
    ALL.into_iter().map(|(name, description)| ActionType {
        r#type: name.to_owned(),
        description: description.to_owned(),
    })
}

impl Shared {
    /// Does what `action` says; answers the bodies of its results.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) for a body that is not the JSON it takes, and those of the
    /// operation.
    pub(super) async fn operate(&self, action: &Action) -> Result<Vec<Bytes>> {
        let mut request = Request::parse(action)?;
        let backend = self.gateway.backend();
        match action.r#type.as_str() {
            INFO => {
                request.end()?;
                let snapshot = match backend.snapshot().await? {
                    Snapshot::Latest => Value::Null,
                    Snapshot::Commit(commit) => commit.into(),
                };
                Ok(vec![body(&json!({
                    "server": env!("CARGO_PKG_NAME"),
                    "version": env!("CARGO_PKG_VERSION"),
                    "backend": backend.to_string(),
                    "snapshot": snapshot,
                }))])
            }
            VERSIONS => {
                let streams = self.named(request).await?;
                let versions = backend.versions(&streams, Snapshot::Latest).await?;
                Ok(told(&streams, &versions))
            }
            FLUSH => {
                let streams = self.named(request).await?;
                let versions = backend.flush(&streams).await?;
                Ok(told(&streams, &versions))
            }
            METADATA_USAGE => {
                let prefix = request.text("collection_prefix")?.unwrap_or_default();
                request.end()?;
                let usage = backend.metadata_usage(&prefix).await?;
                // Without their counts: BTrDB answers 0, whatever the streams have.
                let tags: Vec<_> = usage.tags.iter().map(|(key, _)| key.as_str()).collect();
                Ok(vec![body(&json!({
                    "tags": tags,
                    "annotations": counts(usage.annotations.into_iter()),
                }))])
            }
            other => Err(Error::internal(format!(
                "action {other} is not one of these"
            ))),
        }
    }

    /// The streams that a request names, each once.
    async fn named(&self, mut request: Request<'_>) -> Result<Vec<StreamId>> {
        let names = request.texts("streams")?;
        request.end()?;
        let backend = self.gateway.backend().as_ref();
        let mut streams = Vec::with_capacity(names.len());
        for name in &names {
            match Place::of_word(name) {
                Some(Place::Stream(path)) => match path.resolve(backend).await? {
                    (id, None) => streams.push(id),
                    (_, Some(version)) => {
                        return Err(request.refused(&format!(
                            "\"{name}\" names version {version}, where the stream is wanted"
                        )));
                    }
                },
                Some(Place::Below(prefix)) => {
                    let found = find_below(backend, &prefix).await?;
                    streams.extend(found.iter().map(|stream| stream.id));
                }
                Some(Place::Relation(_)) | None => {
                    return Err(request.refused(&format!(
                        "\"{}\" is no stream: streams are uuids, collection/name, or prefix/*",
                        name.escape_debug()
                    )));
                }
            }
        }
        streams.sort_unstable();
        streams.dedup();
        Ok(streams)
    }
}

fn told(streams: &[StreamId], versions: &[Version]) -> Vec<Bytes> {
    let told: Vec<_> = streams.iter().zip(versions).collect();
    let mut bodies: Vec<Bytes> = told
        .chunks(RESULT_STREAMS)
        .map(|told| {
            let told = told.iter().map(|(id, version)| (id.to_string(), version.0));
            body(&counts(told))
        })
        .collect();
    if bodies.is_empty() {
        bodies.push(body(&json!({})));
    }
    bodies
}

fn counts(counts: impl Iterator<Item = (String, u64)>) -> Value {
    Value::Object(counts.map(|(key, count)| (key, count.into())).collect())
}

fn body(value: &Value) -> Bytes {
    value.to_string().into()
}

/// The body of an action, of which each key is taken once.
struct Request<'a> {
    action: &'a str,
    keys: Map<String, Value>,
}

impl<'a> Request<'a> {
    fn parse(action: &'a Action) -> Result<Self> {
        let mut request = Self {
            action: &action.r#type,
            keys: Map::new(),
        };
        if action.body.iter().all(u8::is_ascii_whitespace) {
            return Ok(request);
        }
        match serde_json::from_slice(&action.body) {
            Ok(Value::Object(keys)) => request.keys = keys,
            Ok(_) => return Err(request.refused("the body is JSON, and not an object")),
            Err(error) => return Err(request.refused(&format!("the body is not JSON: {error}"))),
        }
        Ok(request)
    }

    fn refused(&self, why: &str) -> Error {
        let takes = ALL.iter().find(|(name, _)| *name == self.action);
        let takes = takes.and_then(|(_, description)| {
            let request = description.lines().nth(1)?;
            request.strip_prefix("Request Message: ")
        });
        let takes = takes.unwrap_or("JSON");
        Error::invalid(format!(
            "action {}: {why}; its body is {takes}",
            self.action
        ))
        .with_code(Code::InvalidParameter)
    }

    fn text(&mut self, key: &str) -> Result<Option<String>> {
        match self.keys.remove(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.refused(&format!("\"{key}\" is not text"))),
        }
    }

    fn texts(&mut self, key: &str) -> Result<Vec<String>> {
        let not_texts =
            |request: &Self| request.refused(&format!("\"{key}\" is not a list of text"));
        match self.keys.remove(key) {
            None => Err(self.refused(&format!("\"{key}\" is missing"))),
            Some(Value::Array(values)) => values
                .into_iter()
                .map(|value| match value {
                    Value::String(text) => Ok(text),
                    _ => Err(not_texts(self)),
                })
                .collect(),
            Some(_) => Err(not_texts(self)),
        }
    }

    /// Refuses what was not asked for: a misspelt key must not be ignored.
    fn end(&self) -> Result<()> {
        match self.keys.keys().next() {
            None => Ok(()),
            Some(key) => Err(self.refused(&format!("\"{}\" is no key of it", key.escape_debug()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_checked_to_the_last_key() {
        let parse = |body: &'static str| Action {
            r#type: FLUSH.to_owned(),
            body: Bytes::from_static(body.as_bytes()),
        };
        let good = parse(r#"{"streams": ["a/b"]}"#);
        let mut request = Request::parse(&good).expect("JSON");
        assert_eq!(request.texts("streams").expect("a list"), ["a/b"]);
        request.end().expect("nothing else");
        for bad in [
            "nonsense",
            "[]",
            "{}",
            r#"{"streams": "a/b"}"#,
            r#"{"streams": [1]}"#,
            r#"{"streams": [], "more": 1}"#,
        ] {
            let bad = parse(bad);
            let error = Request::parse(&bad)
                .and_then(|mut request| {
                    request.texts("streams")?;
                    request.end()
                })
                .expect_err("must be refused");
            let message = error.message();
            assert!(
                message.contains(FLUSH) && message.contains("\"streams\": ["),
                "{message}"
            );
        }
    }
}
