//! What rows say of streams that they name by uuid.
//!
//! Rows that were read from `points` have the collection, name and unit of their stream beside its uuid. They can be put back,
//! and must be true: a uuid that went into the wrong row would scatter points over streams that they are not of.

use std::collections::HashMap;

use arrow::array::{Array, StringArray};

use crate::backend::Backend;
use crate::error::{Code, Error, Result};
use crate::model::{StreamDescriptor, StreamId};

/// The columns, as far as they are there. Null says nothing.
#[derive(Default)]
pub(super) struct Said {
    pub(super) collection: Option<StringArray>,
    pub(super) name: Option<StringArray>,
    pub(super) unit: Option<StringArray>,
}

impl Said {
    fn is_silent(&self) -> bool {
        self.collection.is_none() && self.name.is_none() && self.unit.is_none()
    }

    fn at(&self, row: usize) -> Claim<&str> {
        Claim {
            collection: text_at(self.collection.as_ref(), row),
            name: text_at(self.name.as_ref(), row),
            unit: text_at(self.unit.as_ref(), row),
        }
    }
}

fn text_at(column: Option<&StringArray>, row: usize) -> Option<&str> {
    let column = column.filter(|column| column.is_valid(row))?;
    Some(column.value(row))
}

/// What one row says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Claim<T> {
    collection: Option<T>,
    name: Option<T>,
    unit: Option<T>,
}

impl Claim<&str> {
    fn is(&self, other: &Claim<String>) -> bool {
        self.collection == other.collection.as_deref()
            && self.name == other.name.as_deref()
            && self.unit == other.unit.as_deref()
    }

    fn kept(&self) -> Claim<String> {
        Claim {
            collection: self.collection.map(str::to_owned),
            name: self.name.map(str::to_owned),
            unit: self.unit.map(str::to_owned),
        }
    }
}

impl Claim<String> {
    fn is_true_of(&self, stream: &StreamDescriptor) -> bool {
        let agrees =
            |said: &Option<String>, is: &str| said.as_deref().is_none_or(|said| said == is);
        agrees(&self.collection, &stream.collection)
            && agrees(&self.name, &stream.tags.name)
            && agrees(&self.unit, &stream.tags.unit)
    }
}

/// What the rows of a put have said so far.
#[derive(Default)]
pub(super) struct Claims {
    /// The last claim for each slot of a stream.
    last: HashMap<usize, Claim<String>>,
    unchecked: Vec<(usize, u64, Claim<String>)>,
}

impl Claims {
    /// Notes what row `row` of the columns says of the stream in `slot`; `number` is its number in the put.
    pub(super) fn note(&mut self, slot: usize, said: &Said, row: usize, number: u64) {
        if said.is_silent() {
            return;
        }
        let claim = said.at(row);
        if self.last.get(&slot).is_some_and(|known| claim.is(known)) {
            return;
        }
        self.last.insert(slot, claim.kept());
        self.unchecked.push((slot, number, claim.kept()));
    }

    /// Checks what is new.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) naming the first row that is wrong about its stream.
    pub(super) async fn check(
        &mut self,
        backend: &dyn Backend,
        id: impl Fn(usize) -> Result<StreamId>,
    ) -> Result<()> {
        if self.unchecked.is_empty() {
            return Ok(());
        }
        let claims = std::mem::take(&mut self.unchecked);
        let ids = claims.iter().map(|(slot, ..)| id(*slot));
        let streams = backend.describe(&ids.collect::<Result<Vec<_>>>()?).await?;
        for ((_, row, claim), stream) in claims.iter().zip(streams) {
            if !claim.is_true_of(&stream) {
                return Err(Error::invalid(format!(
                    "row {row}: stream {} is {}, unit \"{}\", and the row says otherwise: leave out collection, name and unit, or \
                     the uuid",
                    stream.id,
                    stream.path(),
                    stream.tags.unit
                ))
                .with_code(Code::InvalidParameter));
            }
        }
        Ok(())
    }
}
