//! What a session says of itself: `version()`, `current_catalog`, `current_database()`, `current_schema()`.
//!
//! Tools ask for these before anything else. DataFusion has `version()` only, and tells its own.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF, Volatility, create_udf};

use super::resolve::{CATALOG, PUBLIC};

/// Name and number of this program.
const VERSION: &str = concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION"));

/// All of them.
pub(super) fn functions() -> impl Iterator<Item = Arc<ScalarUDF>> {
    [
        ("version", VERSION),
        ("current_catalog", CATALOG),
        ("current_database", CATALOG),
        ("current_schema", PUBLIC),
    ]
    .into_iter()
    .map(|(name, answer)| Arc::new(constant(name, answer)))
}

fn constant(name: &str, answer: &'static str) -> ScalarUDF {
    let answer = move |_: &[ColumnarValue]| {
        Ok(ColumnarValue::Scalar(ScalarValue::Utf8(Some(
            answer.to_owned(),
        ))))
    };
    create_udf(
        name,
        Vec::new(),
        DataType::Utf8,
        Volatility::Immutable,
        Arc::new(answer),
    )
}
