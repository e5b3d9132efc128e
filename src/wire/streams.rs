//! Streams: uuids, descriptors, tags, annotations.

use bytes::Bytes;
use uuid::Uuid;

use super::proto::{KeyOptValue, OptValue, StreamDescriptor as Descriptor};
use crate::error::{Code, Error, Result};
use crate::model::{Annotations, StreamDescriptor, StreamId, TagKey, Tags, Version};

/// A stream's identity as it travels.
pub fn uuid(id: StreamId) -> Bytes {
    Bytes::copy_from_slice(id.0.as_bytes())
}

/// A stream's identity as it arrives.
///
/// # Errors
/// Code 438 if it is not 16 bytes long.
pub fn id(uuid: &[u8]) -> Result<StreamId> {
    Uuid::from_slice(uuid).map(StreamId).map_err(|_| {
        Error::invalid(format!("a uuid is 16 bytes, not {}", uuid.len()))
            .with_code(Code::InvalidParameter)
    })
}

/// A version as a request names it: 0 is the latest.
pub fn version(major: u64) -> Option<Version> {
    (major != 0).then_some(Version(major))
}

/// A key that may stand without a value.
pub fn key_value(key: &str, value: Option<&str>) -> KeyOptValue {
    KeyOptValue {
        key: key.to_owned(),
        val: value.map(|value| OptValue {
            value: value.to_owned(),
        }),
    }
}

/// The value of a pair, if it has one.
pub fn value(pair: KeyOptValue) -> (String, Option<String>) {
    (pair.key, pair.val.map(|val| val.value))
}

/// All four tags.
pub fn tags(tags: &Tags) -> Vec<KeyOptValue> {
    TagKey::ALL
        .into_iter()
        .map(|key| key_value(key.as_str(), Some(tags.get(key))))
        .collect()
}

/// Tags as they arrive; one without a value is empty.
///
/// # Errors
/// Code 408 for a key that is none of the four.
pub fn into_tags(pairs: Vec<KeyOptValue>) -> Result<Tags> {
    let mut tags = Tags::default();
    for pair in pairs {
        let (key, value) = value(pair);
        tags.set(key.parse()?, value.unwrap_or_default());
    }
    Ok(tags)
}

/// Annotations as they travel.
pub fn annotations(annotations: &Annotations) -> Vec<KeyOptValue> {
    annotations
        .iter()
        .map(|(key, value)| key_value(key, value.as_deref()))
        .collect()
}

/// Annotations as they arrive.
pub fn into_annotations(pairs: Vec<KeyOptValue>) -> Annotations {
    pairs.into_iter().map(value).collect()
}

/// A descriptor as it travels.
pub fn descriptor(stream: &StreamDescriptor) -> Descriptor {
    Descriptor {
        uuid: uuid(stream.id),
        collection: stream.collection.clone(),
        tags: tags(&stream.tags),
        annotations: annotations(&stream.annotations),
        property_version: stream.property_version,
    }
}

/// A descriptor as it arrives. Tags of other keys, which older servers know, are passed over.
///
/// # Errors
/// Code 438 for a uuid that is none.
pub fn into_descriptor(stream: Descriptor) -> Result<StreamDescriptor> {
    let mut tags = Tags::default();
    for pair in stream.tags {
        let (key, value) = value(pair);
        if let Ok(key) = key.parse() {
            tags.set(key, value.unwrap_or_default());
        }
    }
    Ok(StreamDescriptor {
        id: id(&stream.uuid)?,
        collection: stream.collection,
        tags,
        annotations: into_annotations(stream.annotations),
        property_version: stream.property_version,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_survive_the_wire() {
        let stream = StreamDescriptor {
            id: StreamId(Uuid::from_u128(7)),
            collection: "a/b".to_owned(),
            tags: Tags {
                name: "x".to_owned(),
                ..Tags::default()
            },
            annotations: [
                ("k".to_owned(), None),
                ("l".to_owned(), Some(String::new())),
            ]
            .into(),
            property_version: 3,
        };
        let told = descriptor(&stream);
        assert_eq!(told.tags.len(), 4, "tags never set are empty, not absent");
        assert_eq!(into_descriptor(told).expect("well formed"), stream);
    }

    #[test]
    fn malformed_identities_are_refused() {
        let error = id(&[1, 2, 3]).expect_err("too short");
        assert_eq!(error.code(), Some(Code::InvalidParameter));
        let pair = key_value("colour", Some("red"));
        let error = into_tags(vec![pair]).expect_err("unknown");
        assert_eq!(error.code(), Some(Code::InvalidTagKey));
    }
}
