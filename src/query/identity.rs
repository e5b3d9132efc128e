//! What a session says of itself: `version()`, `current_catalog`, `current_database()`, `current_schema()`.
//!
//! Tools ask for these before anything else. DataFusion has `version()` only, and tells its own.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// Name and number of this program.
const VERSION: &str = concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION"));

/// All of them.
pub(super) fn functions() -> impl Iterator<Item = Arc<ScalarUDF>> {
    [
        Subject::Version,
        Subject::Catalog,
        Subject::Database,
        Subject::Schema,
    ]
    .into_iter()
    .map(|subject| {
        Arc::new(ScalarUDF::from(Identity {
            subject,
            // Another session may have another schema.
            signature: Signature::nullary(Volatility::Stable),
        }))
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Subject {
    Version,
    Catalog,
    Database,
    Schema,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Identity {
    subject: Subject,
    signature: Signature,
}

impl ScalarUDFImpl for Identity {
    fn name(&self) -> &str {
        match self.subject {
            Subject::Version => "version",
            Subject::Catalog => "current_catalog",
            Subject::Database => "current_database",
            Subject::Schema => "current_schema",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let catalog = &args.config_options.catalog;
        let answer = match self.subject {
            Subject::Version => VERSION,
            Subject::Catalog | Subject::Database => &catalog.default_catalog,
            Subject::Schema => &catalog.default_schema,
        };
        Ok(ColumnarValue::Scalar(ScalarValue::Utf8(Some(
            answer.to_owned(),
        ))))
    }
}
