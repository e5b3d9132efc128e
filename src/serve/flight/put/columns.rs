//! A client's columns of points, checked and turned into times, values and keys.

use arrow::array::{Array, AsArray, FixedSizeBinaryArray, RecordBatch, StringArray};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::Schema;

use super::cells::{Kind, check_finite, check_nulls, invalid, numbers, plain, text, times};
use super::claims::Said;
use crate::error::Result;

/// Where a batch has what.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    time: usize,
    /// The columns with values: one, or one for each stream.
    values: Vec<usize>,
    key: Key,
}

/// The columns that choose the stream.
#[derive(Clone, Copy, Debug)]
enum Key {
    /// None: the descriptor chose it.
    None,
    /// Each column of values is a stream, by its name.
    Wide,
    /// By uuid, and what else is said of that stream.
    Uuid {
        uuid: usize,
        collection: Option<usize>,
        name: Option<usize>,
        unit: Option<usize>,
    },
    Named {
        collection: usize,
        name: usize,
        unit: Option<usize>,
    },
}

/// The streams of the rows, as the client names them.
pub(super) enum Keys {
    /// All rows go where the descriptor says.
    None,
    /// By uuid; what else is said must be true.
    Uuids(Uuids, Said),
    /// By collection and name; the unit is for streams to create.
    Named {
        collection: StringArray,
        name: StringArray,
        unit: Option<StringArray>,
    },
}

/// Uuids.
pub(super) enum Uuids {
    /// In 16 bytes each.
    Bytes(FixedSizeBinaryArray),
    Text(StringArray),
}

const LONG: &str = "time, value, and uuid, or collection and name (and unit), or all of them; or time, and columns named by uuid or \
                    collection/name";

const KEYS: [&str; 3] = ["uuid", "collection", "name"];

impl Layout {
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) naming the column that is missing, of the wrong type, or not expected.
    pub(super) fn of(schema: &Schema, long: bool) -> Result<Self> {
        let expected = if long { LONG } else { "time, value" };
        let find = |name: &str| {
            schema
                .fields()
                .iter()
                .position(|field| field.name() == name)
        };
        let require = |name: &str| {
            find(name).ok_or_else(|| {
                invalid(format!(
                    "column \"{name}\" is missing: columns are {expected}"
                ))
            })
        };
        let time = require("time")?;
        if long && find("value").is_none() && KEYS.iter().all(|key| find(key).is_none()) {
            return Self::wide(schema, time);
        }
        let value = require("value")?;
        let key = if !long {
            Key::None
        } else if let Some(uuid) = find("uuid") {
            Key::Uuid {
                uuid,
                collection: find("collection"),
                name: find("name"),
                unit: find("unit"),
            }
        } else if find("collection").is_some() || find("name").is_some() {
            Key::Named {
                collection: require("collection")?,
                name: require("name")?,
                unit: find("unit"),
            }
        } else {
            return Err(invalid(format!(
                "no column says which stream a row belongs to: columns are {expected}"
            )));
        };
        let layout = Self {
            time,
            values: vec![value],
            key,
        };
        let known = layout.known();
        for (position, field) in schema.fields().iter().enumerate() {
            if !known.contains(&position) {
                return Err(invalid(format!(
                    "column \"{}\" is not expected here, or stands twice: columns are {expected}",
                    field.name()
                )));
            }
        }
        layout.check_types(schema)?;
        Ok(layout)
    }

    /// All columns but the time are streams.
    fn wide(schema: &Schema, time: usize) -> Result<Self> {
        let values: Vec<usize> = (0..schema.fields().len())
            .filter(|position| *position != time)
            .collect();
        if values.is_empty() {
            return Err(invalid(format!(
                "no column says which stream a row belongs to: columns are {LONG}"
            )));
        }
        let layout = Self {
            time,
            values,
            key: Key::Wide,
        };
        layout.check_types(schema)?;
        Ok(layout)
    }

    /// The names of the columns that are streams; none unless the batches are wide.
    pub(super) fn stream_names<'a>(&self, schema: &'a Schema) -> Vec<&'a str> {
        match self.key {
            Key::Wide => self
                .values
                .iter()
                .map(|position| schema.field(*position).name().as_str())
                .collect(),
            Key::None | Key::Uuid { .. } | Key::Named { .. } => Vec::new(),
        }
    }

    fn known(&self) -> Vec<usize> {
        let mut known = vec![self.time];
        known.extend(&self.values);
        match self.key {
            Key::None | Key::Wide => {}
            Key::Uuid {
                uuid,
                collection,
                name,
                unit,
            } => {
                known.push(uuid);
                known.extend([collection, name, unit].into_iter().flatten());
            }
            Key::Named {
                collection,
                name,
                unit,
            } => {
                known.extend([collection, name]);
                known.extend(unit);
            }
        }
        known
    }

    fn check_types(&self, schema: &Schema) -> Result<()> {
        Kind::Time.check(schema.field(self.time))?;
        for value in &self.values {
            Kind::Number.check(schema.field(*value))?;
        }
        let texts = |positions: [Option<usize>; 3]| {
            let mut fields = positions.into_iter().flatten();
            fields.try_for_each(|position| Kind::Text.check(schema.field(position)))
        };
        match self.key {
            Key::None | Key::Wide => Ok(()),
            Key::Uuid {
                uuid,
                collection,
                name,
                unit,
            } => {
                Kind::Uuid.check(schema.field(uuid))?;
                texts([collection, name, unit])
            }
            Key::Named {
                collection,
                name,
                unit,
            } => texts([Some(collection), Some(name), unit]),
        }
    }

    /// The times of `batch` in nanoseconds; `first` is the number of its first row, for errors.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) naming the row that is null or outside BTrDB's time.
    pub(super) fn times(&self, batch: &RecordBatch, first: u64) -> Result<ScalarBuffer<i64>> {
        times("time", batch.column(self.time), first)
    }

    /// The values of `batch`, one for each row.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) naming the row that is null, NaN, infinite, or no float64.
    pub(super) fn values(&self, batch: &RecordBatch, first: u64) -> Result<ScalarBuffer<f64>> {
        let column = batch.column(self.values[0]);
        check_nulls("value", column, first)?;
        let values = numbers("value", column, first)?.values().clone();
        check_finite("value", &values, |row| first + row as u64)?;
        Ok(values)
    }

    /// The points of each stream of a wide batch, in the order of its columns. A null is no point.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) naming the column and row that is NaN or infinite.
    pub(super) fn wide_points(
        &self,
        batch: &RecordBatch,
        times: &ScalarBuffer<i64>,
        first: u64,
    ) -> Result<Vec<(ScalarBuffer<i64>, ScalarBuffer<f64>)>> {
        let schema = batch.schema();
        self.values
            .iter()
            .map(|position| {
                let name = schema.field(*position).name();
                let column = numbers(name, batch.column(*position), first)?;
                let rows: Vec<usize> = match column.nulls().filter(|nulls| nulls.null_count() > 0) {
                    None => {
                        let values = column.values().clone();
                        check_finite(name, &values, |row| first + row as u64)?;
                        return Ok((times.clone(), values));
                    }
                    Some(nulls) => nulls.valid_indices().collect(),
                };
                let values: Vec<f64> = rows.iter().map(|row| column.value(*row)).collect();
                check_finite(name, &values, |point| first + rows[point] as u64)?;
                let times: Vec<i64> = rows.iter().map(|row| times[*row]).collect();
                Ok((times.into(), values.into()))
            })
            .collect()
    }

    /// The streams of the rows of `batch`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) naming the column and row that is null.
    pub(super) fn keys(&self, batch: &RecordBatch, first: u64) -> Result<Keys> {
        let required = |name: &str, position: usize| {
            let column = batch.column(position);
            check_nulls(name, column, first)?;
            text(name, column)
        };
        let optional = |name: &str, position: Option<usize>| {
            let column = position.map(|position| text(name, batch.column(position)));
            column.transpose()
        };
        match self.key {
            Key::None | Key::Wide => Ok(Keys::None),
            Key::Uuid {
                uuid,
                collection,
                name,
                unit,
            } => {
                check_nulls("uuid", batch.column(uuid), first)?;
                let column = plain("uuid", batch.column(uuid))?;
                let uuids = match column.as_fixed_size_binary_opt() {
                    Some(bytes) => Uuids::Bytes(bytes.clone()),
                    None => Uuids::Text(required("uuid", uuid)?),
                };
                let said = Said {
                    collection: optional("collection", collection)?,
                    name: optional("name", name)?,
                    unit: optional("unit", unit)?,
                };
                Ok(Keys::Uuids(uuids, said))
            }
            Key::Named {
                collection,
                name,
                unit,
            } => Ok(Keys::Named {
                collection: required("collection", collection)?,
                name: required("name", name)?,
                unit: optional("unit", unit)?,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        ArrayRef, Float32Array, Float64Array, Int64Array, TimestampMillisecondArray,
    };
    use arrow::datatypes::{DataType, Field};

    use super::*;
    use crate::error::Error;

    fn batch(columns: &[(&str, ArrayRef)]) -> RecordBatch {
        RecordBatch::try_from_iter(columns.iter().cloned()).expect("columns of one length")
    }

    fn ints(values: &[i64]) -> ArrayRef {
        Arc::new(Int64Array::from(values.to_vec()))
    }

    #[test]
    fn units_and_narrow_numbers_become_nanoseconds_and_doubles() {
        let millis = TimestampMillisecondArray::from(vec![1, -2]).with_timezone("Europe/Berlin");
        let batch = batch(&[
            ("value", Arc::new(Float32Array::from(vec![0.5, 2.0]))),
            ("time", Arc::new(millis)),
        ]);
        let layout = Layout::of(batch.schema_ref(), false).expect("in any order");
        assert_eq!(
            &layout.times(&batch, 0).expect("valid")[..],
            [1_000_000, -2_000_000]
        );
        assert_eq!(&layout.values(&batch, 0).expect("valid")[..], [0.5, 2.0]);
    }

    #[test]
    fn columns_that_do_not_fit_are_named() {
        let time = ("time", ints(&[1]));
        let value = ("value", ints(&[1]));
        for (columns, long, named) in [
            (vec![time.clone()], false, "\"value\" is missing"),
            (
                vec![time.clone(), value.clone(), ("extra", ints(&[1]))],
                false,
                "\"extra\"",
            ),
            (vec![time.clone(), value.clone()], true, "which stream"),
            (
                vec![time.clone(), value.clone(), ("name", ints(&[1]))],
                true,
                "\"collection\" is missing",
            ),
            (
                vec![time.clone(), value.clone(), ("uuid", ints(&[1]))],
                true,
                "\"uuid\" is Int64",
            ),
        ] {
            let error =
                Layout::of(batch(&columns).schema_ref(), long).expect_err("must be refused");
            assert!(error.message().contains(named), "{error}");
        }
        let twice = Schema::new(vec![
            Field::new("time", DataType::Int64, false),
            Field::new("value", DataType::Int64, false),
            Field::new("value", DataType::Int64, false),
        ]);
        assert!(Layout::of(&twice, false).is_err());
    }

    #[test]
    fn nulls_of_wide_batches_are_no_points() {
        let sparse: ArrayRef = Arc::new(Float64Array::from(vec![None, Some(2.0), None]));
        let wide = batch(&[
            ("a/b", sparse),
            ("time", ints(&[5, 6, 7])),
            ("a/c", ints(&[1, 2, 3])),
        ]);
        let layout = Layout::of(wide.schema_ref(), true).expect("wide");
        assert_eq!(layout.stream_names(wide.schema_ref()), ["a/b", "a/c"]);
        let times = layout.times(&wide, 0).expect("valid");
        let points = layout.wide_points(&wide, &times, 0).expect("valid");
        assert_eq!((&points[0].0[..], &points[0].1[..]), (&[6][..], &[2.0][..]));
        assert_eq!(points[1].0.len(), 3);
        let nan: ArrayRef = Arc::new(Float64Array::from(vec![None, Some(f64::NAN)]));
        let wide = batch(&[("time", ints(&[5, 6])), ("a/b", nan)]);
        let error = layout_error(&wide);
        assert!(error.message().contains("\"a/b\", row 11"), "{error}");
    }

    fn layout_error(wide: &RecordBatch) -> Error {
        let layout = Layout::of(wide.schema_ref(), true).expect("wide");
        let times = layout.times(wide, 10).expect("valid");
        layout.wide_points(wide, &times, 10).expect_err("NaN")
    }

    #[test]
    fn rows_that_cannot_be_stored_are_numbered_over_the_whole_put() {
        let good = ints(&[1, 2]);
        let nulls: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None]));
        let nan: ArrayRef = Arc::new(Float64Array::from(vec![1.0, f64::NAN]));
        let late: ArrayRef = Arc::new(TimestampMillisecondArray::from(vec![1, i64::MAX]));
        for (time, value, named) in [
            (&nulls, &good, "\"time\", row 101"),
            (&late, &good, "\"time\", row 101"),
            (&good, &nulls, "\"value\", row 101"),
            (&good, &nan, "\"value\", row 101"),
        ] {
            let batch = batch(&[("time", Arc::clone(time)), ("value", Arc::clone(value))]);
            let layout = Layout::of(batch.schema_ref(), false).expect("types fit");
            let error = layout
                .times(&batch, 100)
                .map(drop)
                .and_then(|()| layout.values(&batch, 100).map(drop))
                .expect_err("must be refused");
            assert!(error.message().contains(named), "{error}");
        }
    }
}
