//! Rows of `streams`: what a client says of streams that are to be.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Schema};
use uuid::Uuid;

use super::cells::{Kind, check_nulls, invalid, plain, text};
use crate::error::{Code, Error, Result};
use crate::model::{Annotations, StreamDescriptor, StreamId, TagKey, Tags};

const COLUMNS: &str =
    "collection and name, and perhaps unit, ingress, distiller, tags, annotations, uuid";

/// Columns that `streams` has and nobody can write.
const COMPUTED: [&str; 5] = [
    "property_version",
    "version",
    "point_count",
    "earliest",
    "latest",
];

/// Checks the columns.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) naming the column that is missing, of the wrong type, or not expected.
pub(super) fn check_columns(schema: &Schema) -> Result<()> {
    let has = |wanted: &str| schema.fields().iter().any(|field| field.name() == wanted);
    let mut seen = std::collections::HashSet::new();
    for field in schema.fields() {
        let kind = match field.name().as_str() {
            "uuid" => Kind::Uuid,
            "collection" | "name" | "unit" | "ingress" | "distiller" => Kind::Text,
            "tags" | "annotations" => Kind::Properties,
            computed if COMPUTED.contains(&computed) => {
                return Err(invalid(format!(
                    "column \"{computed}\" is told by the store, and cannot be written: leave it out; columns are {COLUMNS}"
                )));
            }
            other => {
                return Err(invalid(format!(
                    "column \"{}\" is not expected here: columns are {COLUMNS}",
                    other.escape_debug()
                )));
            }
        };
        kind.check(field)?;
        if !seen.insert(field.name()) {
            return Err(invalid(format!("column \"{}\" stands twice", field.name())));
        }
    }
    if !has("collection") || !(has("name") || has("tags")) {
        let missing = if has("collection") {
            "name"
        } else {
            "collection"
        };
        return Err(invalid(format!(
            "column \"{missing}\" is missing: columns are {COLUMNS}"
        )));
    }
    Ok(())
}

/// The streams that the rows of `batch` describe; those without a uuid get one. `first` is the number of its first row.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) naming the row that is none.
pub(super) fn streams_of(batch: &RecordBatch, first: u64) -> Result<Vec<StreamDescriptor>> {
    let collection = required(batch, "collection", first)?;
    let columns = Columns::of(batch)?;
    let ids = ids(batch, first)?;
    (0..batch.num_rows())
        .zip(ids)
        .map(|(row, id)| {
            let number = first + row as u64;
            Ok(StreamDescriptor {
                id,
                collection: collection.value(row).to_owned(),
                tags: columns.tags(row, number)?,
                annotations: columns.annotations(row),
                property_version: 1,
            })
        })
        .collect()
}

fn required(batch: &RecordBatch, name: &str, first: u64) -> Result<StringArray> {
    let column = batch
        .column_by_name(name)
        .ok_or_else(|| Error::internal(format!("column {name} went missing")))?;
    check_nulls(name, column, first)?;
    text(name, column)
}

fn ids(batch: &RecordBatch, first: u64) -> Result<Vec<StreamId>> {
    let rows = batch.num_rows();
    let Some(column) = batch.column_by_name("uuid") else {
        return Ok((0..rows).map(|_| StreamId(Uuid::new_v4())).collect());
    };
    let column = plain("uuid", column)?;
    let id = |row: usize| -> Result<Uuid> {
        if column.is_null(row) {
            return Ok(Uuid::new_v4());
        }
        if let Some(bytes) = column.as_fixed_size_binary_opt() {
            return Uuid::from_slice(bytes.value(row))
                .map_err(|error| Error::internal(error.to_string()));
        }
        let texts = text("uuid", &column.slice(row, 1))?;
        Uuid::parse_str(texts.value(0)).map_err(|_| {
            Error::invalid(format!(
                "column \"uuid\", row {}: \"{}\" is not a uuid",
                first + row as u64,
                texts.value(0).escape_debug()
            ))
            .with_code(Code::InvalidParameter)
        })
    };
    (0..rows).map(|row| id(row).map(StreamId)).collect()
}

/// The columns that make tags and annotations.
struct Columns {
    tags: Vec<(TagKey, StringArray)>,
    more_tags: Option<Properties>,
    annotations: Option<Properties>,
}

impl Columns {
    fn of(batch: &RecordBatch) -> Result<Self> {
        let properties = |name: &str| {
            let column = batch.column_by_name(name);
            column
                .map(|column| Properties::of(name, column))
                .transpose()
        };
        let mut tags = Vec::new();
        for key in TagKey::ALL {
            if let Some(column) = batch.column_by_name(key.as_str()) {
                tags.push((key, text(key.as_str(), column)?));
            }
        }
        Ok(Self {
            tags,
            more_tags: properties("tags")?,
            annotations: properties("annotations")?,
        })
    }

    /// The tags of a row; one that is null or stands nowhere is empty, but for the name.
    fn tags(&self, row: usize, number: u64) -> Result<Tags> {
        let mut values: BTreeMap<&str, (TagKey, String)> = BTreeMap::new();
        for (key, column) in &self.tags {
            if column.is_valid(row) {
                values.insert(key.as_str(), (*key, column.value(row).to_owned()));
            }
        }
        let more = self.more_tags.as_ref();
        for (key, value) in more.map(|more| more.of_row(row)).unwrap_or_default() {
            let tag: TagKey = key.parse().map_err(|error: Error| {
                Error::invalid(format!(
                    "column \"tags\", row {number}: {}",
                    error.message()
                ))
                .with_code(Code::InvalidTagKey)
            })?;
            let value = value.unwrap_or_default();
            let before = values.insert(tag.as_str(), (tag, value.clone()));
            if let Some((_, before)) = before
                && before != value
            {
                return Err(invalid(format!(
                    "row {number}: column \"{}\" says \"{}\", and \"tags\" says \"{}\"",
                    tag.as_str(),
                    before.escape_debug(),
                    value.escape_debug()
                )));
            }
        }
        if !values.contains_key(TagKey::Name.as_str()) {
            return Err(invalid(format!("row {number}: the stream has no name")));
        }
        let mut tags = Tags::default();
        for (key, value) in values.into_values() {
            tags.set(key, value);
        }
        Ok(tags)
    }

    fn annotations(&self, row: usize) -> Annotations {
        let annotations = self.annotations.as_ref();
        let annotations = annotations.map(|annotations| annotations.of_row(row));
        annotations.unwrap_or_default().into_iter().collect()
    }
}

/// Texts by key, a set of them a row.
enum Properties {
    /// A null value is a key that stands alone.
    Map {
        column: ArrayRef,
        keys: Box<StringArray>,
        values: Box<StringArray>,
    },
    /// A field of each key, whose null is no such key: what Python makes of dictionaries that differ.
    Struct {
        column: ArrayRef,
        fields: Vec<(String, StringArray)>,
    },
    None,
}

impl Properties {
    fn of(name: &str, column: &ArrayRef) -> Result<Self> {
        let column = plain(name, column)?;
        match column.data_type() {
            DataType::Map(_, _) => {
                let map = column.as_map();
                let keys = Box::new(text(name, map.keys())?);
                let values = Box::new(text(name, map.values())?);
                Ok(Self::Map {
                    keys,
                    values,
                    column,
                })
            }
            DataType::Struct(fields) => {
                let children = column.as_struct().columns();
                let fields = fields.iter().zip(children).map(|(field, child)| {
                    let child = text(field.name(), child)?;
                    Ok((field.name().clone(), child))
                });
                Ok(Self::Struct {
                    fields: fields.collect::<Result<_>>()?,
                    column,
                })
            }
            _ => Ok(Self::None),
        }
    }

    fn of_row(&self, row: usize) -> Vec<(String, Option<String>)> {
        match self {
            Self::Map {
                column,
                keys,
                values,
            } => {
                if column.is_null(row) {
                    return Vec::new();
                }
                let offsets = column.as_map().value_offsets();
                let entries = offsets[row] as usize..offsets[row + 1] as usize;
                entries
                    .map(|entry| {
                        let value = values
                            .is_valid(entry)
                            .then(|| values.value(entry).to_owned());
                        (keys.value(entry).to_owned(), value)
                    })
                    .collect()
            }
            Self::Struct { column, fields } => {
                if column.is_null(row) {
                    return Vec::new();
                }
                fields
                    .iter()
                    .filter(|(_, values)| values.is_valid(row))
                    .map(|(key, values)| (key.clone(), Some(values.value(row).to_owned())))
                    .collect()
            }
            Self::None => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{MapBuilder, StringBuilder, StructArray, UInt64Array};
    use arrow::datatypes::Field;

    use super::*;

    fn batch(columns: &[(&str, ArrayRef)]) -> RecordBatch {
        let columns = columns
            .iter()
            .map(|(name, column)| (*name, Arc::clone(column), true));
        RecordBatch::try_from_iter_with_nullable(columns).expect("columns of one length")
    }

    fn texts(values: &[Option<&str>]) -> ArrayRef {
        Arc::new(StringArray::from(values.to_vec()))
    }

    #[test]
    fn tags_and_annotations_come_from_columns_maps_and_structs() {
        let mut tags = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
        tags.keys().append_value("unit");
        tags.values().append_value("V");
        tags.append(true).expect("a row");
        tags.append(false).expect("a row");
        let (phase, note) = (texts(&[Some("A"), None]), texts(&[None, None]));
        let annotations = StructArray::from(vec![
            (Arc::new(Field::new("phase", DataType::Utf8, true)), phase),
            (Arc::new(Field::new("note", DataType::Utf8, true)), note),
        ]);
        let batch = batch(&[
            ("collection", texts(&[Some("lab"), Some("lab")])),
            ("name", texts(&[Some("a"), Some("b")])),
            ("ingress", texts(&[None, Some("file")])),
            ("tags", Arc::new(tags.finish())),
            ("annotations", Arc::new(annotations)),
        ]);
        check_columns(batch.schema_ref()).expect("columns of streams");
        let streams = streams_of(&batch, 0).expect("streams");
        assert_eq!(streams[0].tags.unit, "V");
        assert_eq!(streams[1].tags.ingress, "file");
        assert_eq!(streams[1].tags.unit, "");
        let phase = Some("A".to_owned());
        assert_eq!(streams[0].annotations.get("phase"), Some(&phase));
        assert!(streams[1].annotations.is_empty());
        assert_ne!(streams[0].id, streams[1].id);
    }

    #[test]
    fn what_is_no_stream_is_refused_by_column_or_row() {
        let (lab, a) = (texts(&[Some("lab")]), texts(&[Some("a")]));
        let numbers: ArrayRef = Arc::new(UInt64Array::from(vec![1]));
        for (columns, said) in [
            (vec![("collection", &lab)], "\"name\" is missing"),
            (vec![("name", &a)], "\"collection\" is missing"),
            (
                vec![("collection", &lab), ("name", &numbers)],
                "\"name\" is UInt64",
            ),
            (
                vec![("collection", &lab), ("name", &a), ("version", &numbers)],
                "leave it out",
            ),
            (
                vec![("collection", &lab), ("name", &a), ("colour", &a)],
                "\"colour\"",
            ),
            (
                vec![("collection", &lab), ("name", &texts(&[None]))],
                "row 7: the stream has no name",
            ),
            (
                vec![("collection", &texts(&[None])), ("name", &a)],
                "row 7: the value is null",
            ),
            (
                vec![("collection", &lab), ("name", &a), ("uuid", &a)],
                "row 7: \"a\" is not a uuid",
            ),
        ] {
            let columns: Vec<_> = columns
                .into_iter()
                .map(|(name, column)| (name, Arc::clone(column)))
                .collect();
            let batch = batch(&columns);
            let error = check_columns(batch.schema_ref())
                .and_then(|()| streams_of(&batch, 7))
                .expect_err("must be refused");
            assert!(error.message().contains(said), "{error}");
        }
    }
}
