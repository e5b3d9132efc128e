//! What Flight SQL lets a server say of columns, beside their Arrow types.
//!
//! JDBC and ODBC read it from the metadata of fields: of tables, in the answer to GetTables, and of results.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::query::{ListedTable, SqlType};

/// Prefix of the keys.
const PREFIX: &str = "ARROW:FLIGHT:SQL:";

type Metadata = HashMap<String, String>;

/// The columns of a table.
pub(super) fn of_table(table: &ListedTable) -> Schema {
    let columns = table.columns().into_iter().map(|column| {
        let mut metadata = of_type(column.field.data_type());
        let mut say = |key: &str, value: &str| {
            metadata.insert(format!("{PREFIX}{key}"), value.to_owned());
        };
        say("CATALOG_NAME", table.catalog());
        // The protocol's key, and the one that the clients in C++, Go and Java look for.
        say("DB_SCHEMA_NAME", table.schema());
        say("SCHEMA_NAME", table.schema());
        say("TABLE_NAME", table.name());
        say("IS_READ_ONLY", flag(column.is_read_only));
        if let Some(comment) = &column.comment {
            say("REMARKS", comment);
        }
        Field::clone(&column.field).with_metadata(metadata)
    });
    Schema::new(columns.collect::<Vec<_>>())
}

/// The columns of a result. There are no remarks among them: JDBC shows these in the place of names.
pub(super) fn of_result(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| {
        let mut metadata = field.metadata().clone();
        metadata.extend(of_type(field.data_type()));
        Field::clone(field).with_metadata(metadata)
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn of_type(data_type: &DataType) -> Metadata {
    let sql = SqlType::of(data_type);
    let mut metadata = Metadata::with_capacity(12);
    let mut say = |key: &str, value: &str| {
        metadata.insert(format!("{PREFIX}{key}"), value.to_owned());
    };
    say("TYPE_NAME", &sql.name);
    if let Some(width) = sql.width {
        say("PRECISION", &width.to_string());
    }
    if let Some(scale) = sql.scale.or(sql.fraction) {
        say("SCALE", &scale.to_string());
    }
    say("IS_AUTO_INCREMENT", flag(false));
    say("IS_CASE_SENSITIVE", flag(*data_type == DataType::Utf8));
    // Nothing compares maps, lists and structures as a whole.
    say("IS_SEARCHABLE", flag(!data_type.is_nested()));
    metadata
}

fn flag(yes: bool) -> &'static str {
    if yes { "1" } else { "0" }
}
