//! The functions of PostgreSQL that metadata statements may call: a list, because DataFusion has others too, and some that
//! make much out of little.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, StringArray};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::plan_err;
use datafusion::error::Result;
use datafusion::execution::SessionStateDefaults;
use datafusion::logical_expr::{
    AggregateUDF, ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility, WindowUDF,
};

use super::super::errors::to_datafusion;
use super::{hstore, similar, types};

const SCALAR: [&str; 46] = [
    "abs",
    "array_length",
    "array_position",
    "array_to_string",
    "ascii",
    "bit_length",
    "btrim",
    "cardinality",
    "ceil",
    "character_length",
    "chr",
    "coalesce",
    "concat",
    "concat_ws",
    "exp",
    "floor",
    "greatest",
    "initcap",
    "least",
    "left",
    "ln",
    "log",
    "lower",
    "ltrim",
    "nullif",
    "octet_length",
    "overlay",
    "power",
    "regexp_count",
    "regexp_like",
    "regexp_match",
    "regexp_replace",
    "replace",
    "reverse",
    "right",
    "round",
    "rtrim",
    "signum",
    "split_part",
    "sqrt",
    "starts_with",
    "string_to_array",
    "strpos",
    "substr",
    "translate",
    "upper",
];

const AGGREGATE: [&str; 14] = [
    "array_agg",
    "avg",
    "bool_and",
    "bool_or",
    "count",
    // What DISTINCT ON becomes.
    "first_value",
    "max",
    "min",
    "string_agg",
    "stddev",
    "stddev_pop",
    "sum",
    "var",
    "var_pop",
];

const WINDOW: [&str; 10] = [
    "cume_dist",
    "dense_rank",
    "first_value",
    "lag",
    "last_value",
    "lead",
    "nth_value",
    "ntile",
    "rank",
    "row_number",
];

/// Text read as a uuid, which `::uuid` becomes.
pub(super) const UUID: &str = "uuid";

/// The regular expression of a pattern of SIMILAR TO; PostgreSQL has it by this name.
pub(super) const SIMILAR_TO_ESCAPE: &str = "similar_to_escape";

/// What a session of such statements knows.
pub(super) struct Functions {
    pub(super) scalar: Vec<Arc<ScalarUDF>>,
    pub(super) aggregate: Vec<Arc<AggregateUDF>>,
    pub(super) window: Vec<Arc<WindowUDF>>,
}

impl Default for Functions {
    fn default() -> Self {
        let mut scalar = SessionStateDefaults::default_scalar_functions();
        scalar.retain(|function| SCALAR.contains(&function.name()));
        scalar.extend(hstore::functions());
        scalar.push(text_function(UUID));
        scalar.push(text_function(SIMILAR_TO_ESCAPE));
        let mut aggregate = SessionStateDefaults::default_aggregate_functions();
        aggregate.retain(|function| AGGREGATE.contains(&function.name()));
        let mut window = SessionStateDefaults::default_window_functions();
        window.retain(|function| WINDOW.contains(&function.name()));
        Self {
            scalar,
            aggregate,
            window,
        }
    }
}

fn text_function(name: &'static str) -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::new_from_impl(TextFunction {
        name,
        signature: Signature::user_defined(Volatility::Immutable),
    }))
}

/// A function from text to text.
#[derive(Debug, PartialEq, Eq, Hash)]
struct TextFunction {
    name: &'static str,
    signature: Signature,
}

impl ScalarUDFImpl for TextFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let is_text = arg_types
            .iter()
            .all(|data_type| data_type.is_string() || data_type.is_null());
        let takes = if self.name == UUID { 1..=1 } else { 1..=2 };
        if is_text && takes.contains(&arg_types.len()) {
            Ok(vec![DataType::Utf8; arg_types.len()])
        } else {
            plan_err!("{} takes a text", self.name)
        }
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn return_field_from_args(&self, _args: ReturnFieldArgs) -> Result<FieldRef> {
        let field = Field::new(self.name, DataType::Utf8, true);
        Ok(Arc::new(if self.name == UUID {
            types::uuid_field(field)
        } else {
            field
        }))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let texts: Vec<&StringArray> = arrays.iter().filter_map(|a| a.as_string_opt()).collect();
        let array: ArrayRef = match texts.as_slice() {
            [texts] if self.name == UUID => Arc::new(
                texts
                    .iter()
                    .map(|text| text.map(types::parse_uuid).transpose())
                    .collect::<Result<StringArray>>()?,
            ),
            [patterns] => Arc::new(
                patterns
                    .iter()
                    .map(|pattern| expression(pattern, Some(similar::ESCAPE)))
                    .collect::<Result<StringArray>>()?,
            ),
            [patterns, escapes] => Arc::new(
                patterns
                    .iter()
                    .zip(*escapes)
                    .map(|(pattern, escape)| expression(pattern, escape))
                    .collect::<Result<StringArray>>()?,
            ),
            _ => return plan_err!("{} takes a text", self.name),
        };
        Ok(ColumnarValue::Array(array))
    }
}

fn expression(pattern: Option<&str>, escape: Option<&str>) -> Result<Option<String>> {
    match (pattern, escape) {
        (Some(pattern), Some(escape)) => similar::to_regex(pattern, escape)
            .map(Some)
            .map_err(to_datafusion),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_of_the_lists_is_there() {
        let functions = Functions::default();
        let has = |name: &&str| {
            functions.scalar.iter().any(|f| f.name() == *name)
                || functions.aggregate.iter().any(|f| f.name() == *name)
                || functions.window.iter().any(|f| f.name() == *name)
        };
        let lists = SCALAR.iter().chain(&AGGREGATE).chain(&WINDOW);
        let missing: Vec<_> = lists.filter(|name| !has(name)).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}
