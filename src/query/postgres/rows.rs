//! Rows as JSON objects.

use std::io::Write;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, ListArray, MapArray,
    RecordBatch, StringArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use bytes::Bytes;

use super::rewrite::shown;
use crate::error::{Error, Result};

/// Rows of a chunk, at most.
pub(super) const ROWS_MAX: usize = 1000;

/// Bytes of a chunk, about: it is full once it has so many.
const CHUNK_BYTES: usize = 1 << 20;

/// The rows of a batch, written when they are asked for.
pub(super) struct Chunks {
    /// The keys as they are written, `"name":`, each with what it has for values.
    columns: Vec<(Vec<u8>, Values)>,
    next: usize,
    rows: usize,
}

impl Chunks {
    pub(super) fn of(batch: &RecordBatch) -> Result<Self> {
        let schema = batch.schema_ref();
        let columns = schema
            .fields()
            .iter()
            .zip(batch.columns())
            .map(|(field, column)| {
                let mut key = Vec::new();
                write_text(&mut key, shown(field.name()))?;
                key.push(b':');
                Ok((key, Values::of(column)?))
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            columns,
            next: 0,
            rows: batch.num_rows(),
        })
    }

    fn row(&self, row: usize) -> Result<Vec<u8>> {
        let mut object = Vec::with_capacity(64 * self.columns.len());
        object.push(b'{');
        for (position, (key, values)) in self.columns.iter().enumerate() {
            if position > 0 {
                object.push(b',');
            }
            object.extend_from_slice(key);
            values.write(row, &mut object)?;
        }
        object.push(b'}');
        Ok(object)
    }
}

impl Iterator for Chunks {
    type Item = Result<Vec<Bytes>>;

    fn next(&mut self) -> Option<Self::Item> {
        let (mut chunk, mut bytes) = (Vec::new(), 0);
        while self.next < self.rows && chunk.len() < ROWS_MAX && bytes < CHUNK_BYTES {
            match self.row(self.next) {
                Ok(row) => {
                    bytes += row.len();
                    chunk.push(Bytes::from(row));
                    self.next += 1;
                }
                Err(error) => {
                    self.next = self.rows;
                    return Some(Err(error));
                }
            }
        }
        (!chunk.is_empty()).then_some(Ok(chunk))
    }
}

/// A column, by how its values are written.
enum Values {
    Null,
    Boolean(BooleanArray),
    Integer(Int64Array),
    Float(Float64Array),
    Text(StringArray),
    /// Numbers of other types: their text is a number.
    Number(ArrayRef),
    Map(Box<Entries>),
    List(ListArray, Box<Values>),
    /// Whatever else there is, in quotes.
    Shown(ArrayRef),
}

/// The keys and values of a column of maps.
struct Entries {
    map: MapArray,
    keys: StringArray,
    values: Values,
}

impl Values {
    fn of(array: &ArrayRef) -> Result<Self> {
        let cast_to = |to: &DataType| cast(array, to).map_err(unwritable);
        Ok(match array.data_type() {
            DataType::Null => Self::Null,
            DataType::Boolean => Self::Boolean(array.as_boolean().clone()),
            DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => Self::Integer(
                cast_to(&DataType::Int64)?
                    .as_primitive::<Int64Type>()
                    .clone(),
            ),
            DataType::Float16 | DataType::Float32 | DataType::Float64 => {
                let floats = cast_to(&DataType::Float64)?;
                Self::Float(floats.as_primitive::<Float64Type>().clone())
            }
            data_type if data_type.is_numeric() => Self::Number(Arc::clone(array)),
            data_type if data_type.is_string() => {
                Self::Text(cast_to(&DataType::Utf8)?.as_string::<i32>().clone())
            }
            DataType::Dictionary(_, values) => Self::of(&cast_to(values)?)?,
            DataType::Map(..) => {
                let map = array.as_map().clone();
                let keys = cast(map.keys(), &DataType::Utf8).map_err(unwritable)?;
                Self::Map(Box::new(Entries {
                    keys: keys.as_string().clone(),
                    values: Self::of(map.values())?,
                    map,
                }))
            }
            DataType::List(_) => {
                let list = array.as_list::<i32>();
                Self::List(list.clone(), Box::new(Self::of(list.values())?))
            }
            _ => Self::Shown(Arc::clone(array)),
        })
    }

    fn is_null(&self, row: usize) -> bool {
        match self {
            Self::Null => true,
            Self::Boolean(array) => array.is_null(row),
            Self::Integer(array) => array.is_null(row),
            Self::Float(array) => array.is_null(row),
            Self::Text(array) => array.is_null(row),
            Self::Map(entries) => entries.map.is_null(row),
            Self::List(array, _) => array.is_null(row),
            Self::Number(array) | Self::Shown(array) => array.is_null(row),
        }
    }

    fn write(&self, row: usize, json: &mut Vec<u8>) -> Result<()> {
        if self.is_null(row) {
            json.extend_from_slice(b"null");
            return Ok(());
        }
        match self {
            Self::Null => {}
            Self::Boolean(array) => write!(json, "{}", array.value(row)).map_err(unwritable)?,
            Self::Integer(array) => write!(json, "{}", array.value(row)).map_err(unwritable)?,
            Self::Float(array) => write_float(json, array.value(row))?,
            Self::Text(array) => write_text(json, array.value(row))?,
            Self::Number(array) => json.extend_from_slice(text_of(array, row)?.as_bytes()),
            Self::Shown(array) => write_text(json, &text_of(array, row)?)?,
            Self::Map(entries) => {
                let offsets = entries.map.value_offsets();
                json.push(b'{');
                for (position, at) in (offsets[row]..offsets[row + 1]).enumerate() {
                    if position > 0 {
                        json.push(b',');
                    }
                    write_text(json, entries.keys.value(at as usize))?;
                    json.push(b':');
                    entries.values.write(at as usize, json)?;
                }
                json.push(b'}');
            }
            Self::List(array, values) => {
                let offsets = array.value_offsets();
                json.push(b'[');
                for (position, at) in (offsets[row]..offsets[row + 1]).enumerate() {
                    if position > 0 {
                        json.push(b',');
                    }
                    values.write(at as usize, json)?;
                }
                json.push(b']');
            }
        }
        Ok(())
    }
}

fn write_text(json: &mut Vec<u8>, text: &str) -> Result<()> {
    serde_json::to_writer(json, text).map_err(unwritable)
}

/// JSON has no words for what is no number; PostgreSQL's own functions write a text.
fn write_float(json: &mut Vec<u8>, value: f64) -> Result<()> {
    if value.is_finite() {
        serde_json::to_writer(json, &value).map_err(unwritable)
    } else if value.is_nan() {
        write_text(json, "NaN")
    } else if value > 0.0 {
        write_text(json, "Infinity")
    } else {
        write_text(json, "-Infinity")
    }
}

fn text_of(array: &ArrayRef, row: usize) -> Result<String> {
    let options = FormatOptions::default();
    let formatter = ArrayFormatter::try_new(array.as_ref(), &options).map_err(unwritable)?;
    formatter.value(row).try_to_string().map_err(unwritable)
}

fn unwritable(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::internal("a row could not be written as JSON").with_source(error)
}
