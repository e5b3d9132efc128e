//! What PostgreSQL's hstore can do, over maps of text: `annotations -> 'key'`, `annotations ? 'key'`, `skeys(annotations)`.

use std::sync::{Arc, LazyLock};

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, ListBuilder, MapArray, StringArray, StringBuilder,
};
use arrow::datatypes::{DataType, Field};
use datafusion::common::plan_err;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// A function of an hstore, and of a key for some.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Hstore {
    /// `->`: the value of a key.
    Fetch,
    /// `?`: whether there is such a key.
    Exist,
    /// Whether there is such a key, with a value.
    Defined,
    /// All keys.
    Keys,
    /// All values.
    Values,
    /// The text of it.
    Text,
}

impl Hstore {
    const ALL: [Self; 6] = [
        Self::Fetch,
        Self::Exist,
        Self::Defined,
        Self::Keys,
        Self::Values,
        Self::Text,
    ];

    /// What PostgreSQL calls the function.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Fetch => "fetchval",
            Self::Exist => "exist",
            Self::Defined => "defined",
            Self::Keys => "akeys",
            Self::Values => "avals",
            Self::Text => "hstore_out",
        }
    }

    fn takes_key(self) -> bool {
        matches!(self, Self::Fetch | Self::Exist | Self::Defined)
    }
}

/// All of them.
pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    Hstore::ALL.map(function).into()
}

/// `"key"=>"value"`, as a cast of an hstore to text writes it.
pub(super) fn text_of(expr: Expr) -> Expr {
    static TEXT: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| function(Hstore::Text));
    TEXT.call(vec![expr])
}

fn function(of: Hstore) -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::new_from_impl(HstoreFunction {
        of,
        signature: Signature::user_defined(Volatility::Immutable),
    }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct HstoreFunction {
    of: Hstore,
    signature: Signature,
}

impl ScalarUDFImpl for HstoreFunction {
    fn name(&self) -> &str {
        self.of.as_str()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        match arg_types {
            [map @ DataType::Map(..)] if !self.of.takes_key() => Ok(vec![map.clone()]),
            [map @ DataType::Map(..), key]
                if self.of.takes_key() && (key.is_string() || key.is_null()) =>
            {
                Ok(vec![map.clone(), DataType::Utf8])
            }
            _ if self.of.takes_key() => plan_err!("{} takes an hstore and a text", self.name()),
            _ => plan_err!("{} takes an hstore", self.name()),
        }
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(match self.of {
            Hstore::Fetch | Hstore::Text => DataType::Utf8,
            Hstore::Exist | Hstore::Defined => DataType::Boolean,
            Hstore::Keys | Hstore::Values => {
                DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true)))
            }
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let mut arrays = args.args.into_iter().map(|arg| arg.into_array(rows));
        let Some(map) = arrays.next().transpose()? else {
            return plan_err!("{} takes an hstore", self.name());
        };
        let key = arrays.next().transpose()?;
        let Some(map) = map.as_map_opt() else {
            return plan_err!("{} takes an hstore", self.name());
        };
        let entries = Entries::of(map)?;
        let array: ArrayRef = match (self.of, key.as_ref().and_then(|key| key.as_string_opt())) {
            (Hstore::Fetch, Some(keys)) => Arc::new(
                entries
                    .find(keys)
                    .map(|found| found.and_then(|at| entries.value(at?)))
                    .collect::<StringArray>(),
            ),
            (Hstore::Exist, Some(keys)) => Arc::new(
                entries
                    .find(keys)
                    .map(|found| found.map(|at| at.is_some()))
                    .collect::<BooleanArray>(),
            ),
            (Hstore::Defined, Some(keys)) => Arc::new(
                entries
                    .find(keys)
                    .map(|found| found.map(|at| at.is_some_and(|at| entries.value(at).is_some())))
                    .collect::<BooleanArray>(),
            ),
            (Hstore::Keys, _) => Arc::new(entries.list(|at| Some(entries.keys.value(at)))),
            (Hstore::Values, _) => Arc::new(entries.list(|at| entries.value(at))),
            (Hstore::Text, _) => Arc::new(entries.texts()),
            (Hstore::Fetch | Hstore::Exist | Hstore::Defined, None) => {
                return plan_err!("{} takes an hstore and a text", self.name());
            }
        };
        Ok(ColumnarValue::Array(array))
    }
}

/// The keys and values of a column of maps.
struct Entries<'a> {
    map: &'a MapArray,
    keys: &'a StringArray,
    values: &'a StringArray,
}

impl<'a> Entries<'a> {
    fn of(map: &'a MapArray) -> Result<Self> {
        match (map.keys().as_string_opt(), map.values().as_string_opt()) {
            (Some(keys), Some(values)) => Ok(Self { map, keys, values }),
            _ => Err(DataFusionError::Internal(
                "an hstore is of text to text".to_owned(),
            )),
        }
    }

    /// Where the entries of a row are; none for NULL.
    fn row(&self, row: usize) -> Option<std::ops::Range<usize>> {
        let offsets = self.map.value_offsets();
        let range = offsets[row] as usize..offsets[row + 1] as usize;
        self.map.is_valid(row).then_some(range)
    }

    fn value(&self, at: usize) -> Option<&'a str> {
        self.values.is_valid(at).then(|| self.values.value(at))
    }

    /// Where in each row its key is, if it is there; none at all where row or key are NULL.
    fn find(&self, keys: &StringArray) -> impl Iterator<Item = Option<Option<usize>>> {
        (0..self.map.len()).map(move |row| {
            let range = self.row(row).filter(|_| keys.is_valid(row))?;
            let key = keys.value(row);
            Some(range.into_iter().find(|&at| self.keys.value(at) == key))
        })
    }

    fn list(&self, item: impl Fn(usize) -> Option<&'a str>) -> arrow::array::ListArray {
        let mut list = ListBuilder::new(StringBuilder::new());
        for row in 0..self.map.len() {
            let range = self.row(row);
            let is_valid = range.is_some();
            for at in range.into_iter().flatten() {
                list.values().append_option(item(at));
            }
            list.append(is_valid);
        }
        list.finish()
    }

    fn texts(&self) -> StringArray {
        (0..self.map.len())
            .map(|row| {
                let entries = self.row(row)?.map(|at| {
                    let key = quoted(self.keys.value(at));
                    match self.value(at) {
                        Some(value) => format!("{key}=>{}", quoted(value)),
                        None => format!("{key}=>NULL"),
                    }
                });
                Some(entries.collect::<Vec<_>>().join(", "))
            })
            .collect()
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
