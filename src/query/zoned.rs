//! `to_timestamp` and its kin in the zone that they promise.
//!
//! DataFusion 55.2 gives times a zone for every argument but columns of text, and then refuses its own rows.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature,
};

/// Those of `functions` that make times, each in its zone.
pub(super) fn zoned(functions: impl IntoIterator<Item = Arc<ScalarUDF>>) -> Vec<ScalarUDF> {
    let times = functions
        .into_iter()
        .filter(|inner| inner.name().starts_with("to_timestamp"));
    times
        .map(|inner| ScalarUDF::new_from_impl(Zoned(inner)))
        .collect()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Zoned(Arc<ScalarUDF>);

impl ScalarUDFImpl for Zoned {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn aliases(&self) -> &[String] {
        self.0.aliases()
    }

    fn signature(&self) -> &Signature {
        self.0.signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.0.return_type(arg_types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        self.0.return_field_from_args(args)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let promised = args.return_field.data_type().clone();
        let times = self.0.invoke_with_args(args)?;
        if times.data_type() == promised {
            return Ok(times);
        }
        times.cast_to(&promised, None)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.0.documentation()
    }
}
