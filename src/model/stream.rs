//! Streams: identity, names, tags, annotations, versions, and the rules BTrDB has for them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

use crate::error::{Code, Error, Result};

/// What a stream is, for ever: a uuid is never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub Uuid);

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl FromStr for StreamId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Uuid::parse_str(text).map(Self).map_err(|_| {
            Error::invalid(format!("\"{text}\" is not a uuid")).with_code(Code::InvalidParameter)
        })
    }
}

/// The major version of a stream's data: one more with each mutation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u64);

impl Version {
    /// Of a stream that was created and never written: empty, readable for ever.
    pub const CREATED: Self = Self(10);

    /// The version after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The four tags that every BTrDB stream has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TagKey {
    /// The name within its collection.
    Name,
    /// The unit of its values.
    Unit,
    /// How the points arrive.
    Ingress,
    /// What computed the points.
    Distiller,
}

impl TagKey {
    /// All of them, in BTrDB's order.
    pub const ALL: [Self; 4] = [Self::Name, Self::Unit, Self::Ingress, Self::Distiller];

    /// The key as text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Unit => "unit",
            Self::Ingress => "ingress",
            Self::Distiller => "distiller",
        }
    }
}

impl FromStr for TagKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|key| key.as_str() == text)
            .ok_or_else(|| {
                Error::invalid(format!(
                    "tag key \"{text}\" is invalid: keys are name, unit, ingress, distiller"
                ))
                .with_code(Code::InvalidTagKey)
            })
    }
}

/// The values of the four tags; a tag never set is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tags {
    /// See [`TagKey::Name`].
    pub name: String,
    /// See [`TagKey::Unit`].
    pub unit: String,
    /// See [`TagKey::Ingress`].
    pub ingress: String,
    /// See [`TagKey::Distiller`].
    pub distiller: String,
}

impl Tags {
    /// The value of one tag.
    pub fn get(&self, key: TagKey) -> &str {
        match key {
            TagKey::Name => &self.name,
            TagKey::Unit => &self.unit,
            TagKey::Ingress => &self.ingress,
            TagKey::Distiller => &self.distiller,
        }
    }

    /// Sets one tag.
    pub fn set(&mut self, key: TagKey, value: String) {
        match key {
            TagKey::Name => self.name = value,
            TagKey::Unit => self.unit = value,
            TagKey::Ingress => self.ingress = value,
            TagKey::Distiller => self.distiller = value,
        }
    }
}

/// Free-form properties; a key may stand without a value.
pub type Annotations = BTreeMap<String, Option<String>>;

/// Everything about a stream but its points.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamDescriptor {
    /// Its identity.
    pub id: StreamId,
    /// The collection it is in: a path, whose slashes mean nothing to BTrDB.
    pub collection: String,
    /// Its tags.
    pub tags: Tags,
    /// Its annotations.
    pub annotations: Annotations,
    /// 1 at creation, one more with each change of tags, annotations or collection.
    pub property_version: u64,
}

impl StreamDescriptor {
    /// `collection/name`, as people write it.
    pub fn path(&self) -> String {
        format!("{}/{}", self.collection, self.tags.name)
    }

    /// Refuses what BTrDB does not store.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) with BTrDB code 407, 408 or 409.
    pub fn check(&self) -> Result<()> {
        check_collection(&self.collection)?;
        for key in TagKey::ALL {
            check_tag(key, self.tags.get(key))?;
        }
        for (key, value) in &self.annotations {
            check_annotation(key, value.as_deref())?;
        }
        Ok(())
    }
}

/// How a collection is chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CollectionMatch {
    /// Any.
    Any,
    /// This one.
    Exact(String),
    /// Those whose name begins so, byte for byte.
    Prefix(String),
}

impl CollectionMatch {
    /// Whether `collection` is chosen.
    pub fn matches(&self, collection: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(name) => name == collection,
            Self::Prefix(prefix) => collection.starts_with(prefix),
        }
    }
}

/// Which keys are in use, and by how many streams.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetadataUsage {
    /// The four tag keys.
    pub tags: Vec<(TagKey, u64)>,
    /// Annotation keys, ascending.
    pub annotations: Vec<(String, u64)>,
}

/// Longest collection, in characters.
pub const COLLECTION_CHARS_MAX: usize = 256;

/// Longest tag value, annotation key and annotation value, in characters.
pub const PROPERTY_CHARS_MAX: usize = 255;

fn is_storable(text: &str, chars_max: usize) -> bool {
    !text.contains('\0') && (text.len() <= chars_max || text.chars().count() <= chars_max)
}

/// # Errors
/// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) with code 407 if the name is empty, too long, or holds a NUL.
pub fn check_collection(collection: &str) -> Result<()> {
    if !collection.is_empty() && is_storable(collection, COLLECTION_CHARS_MAX) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "collection \"{}\" is invalid: it takes 1 to {COLLECTION_CHARS_MAX} characters, none of them NUL",
        collection.escape_debug()
    ))
    .with_code(Code::InvalidCollection))
}

/// # Errors
/// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) with code 409 if the value is too long or holds a NUL.
pub fn check_tag(key: TagKey, value: &str) -> Result<()> {
    if is_storable(value, PROPERTY_CHARS_MAX) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "tag value for key \"{}\" is invalid: it takes up to {PROPERTY_CHARS_MAX} characters, none of them NUL",
        key.as_str()
    ))
    .with_code(Code::InvalidTagValue))
}

/// # Errors
/// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) with code 408 or 409 if key or value is too long, holds a NUL, or
/// the key is empty.
pub fn check_annotation(key: &str, value: Option<&str>) -> Result<()> {
    if key.is_empty() || !is_storable(key, PROPERTY_CHARS_MAX) {
        return Err(Error::invalid(format!(
            "annotation key \"{}\" is invalid",
            key.escape_debug()
        ))
        .with_code(Code::InvalidTagKey));
    }
    if value.is_some_and(|value| !is_storable(value, PROPERTY_CHARS_MAX)) {
        return Err(
            Error::invalid(format!("annotation value for key \"{key}\" is invalid"))
                .with_code(Code::InvalidTagValue),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_measured_in_characters() {
        check_collection(&"é".repeat(256)).expect("256 characters, 512 bytes");
        assert_eq!(
            check_collection(&"e".repeat(257))
                .expect_err("too long")
                .code(),
            Some(Code::InvalidCollection)
        );
        assert_eq!(
            check_collection("").expect_err("empty").code(),
            Some(Code::InvalidCollection)
        );
        assert_eq!(
            check_tag(TagKey::Unit, "a\0b").expect_err("NUL").code(),
            Some(Code::InvalidTagValue)
        );
        assert_eq!(
            check_annotation("", None).expect_err("empty key").code(),
            Some(Code::InvalidTagKey)
        );
        check_annotation("k", None).expect("a key may stand alone");
    }
}
