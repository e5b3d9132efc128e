//! Keys, as Flight SQL asks for them: those that `information_schema` tells, in the protocol's columns.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray, UInt8Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow_flight::sql::{
    Command, CommandGetCrossReference, CommandGetExportedKeys, CommandGetImportedKeys,
    CommandGetPrimaryKeys, UpdateDeleteRules,
};

use super::metadata::{CATALOG, unbuilt_arrow};
use crate::error::Result;
use crate::query::{ForeignKey, PrimaryKey};

/// A table as a command names it. No catalog or schema is any.
struct Named<'a> {
    catalog: &'a Option<String>,
    schema: &'a Option<String>,
    table: &'a str,
}

impl Named<'_> {
    fn is(&self, table: &str) -> bool {
        let is =
            |asked: &Option<String>, name: &str| asked.as_deref().is_none_or(|asked| asked == name);
        is(self.catalog, CATALOG) && is(self.schema, PrimaryKey::SCHEMA) && self.table == table
    }
}

/// The primary key of a table, if it has one.
pub(super) fn primary(request: &CommandGetPrimaryKeys) -> Result<RecordBatch> {
    let table = Named {
        catalog: &request.catalog,
        schema: &request.db_schema,
        table: &request.table,
    };
    let keys: Vec<_> = PrimaryKey::ALL
        .into_iter()
        .filter(|key| table.is(key.table))
        .collect();
    let text = |text: fn(&PrimaryKey) -> &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(keys.iter().map(text)))
    };
    let columns = vec![
        text(|_| CATALOG),
        text(|_| PrimaryKey::SCHEMA),
        text(|key| key.table),
        text(|key| key.column),
        text(|key| key.name),
        Arc::new(Int32Array::from_iter_values(keys.iter().map(|_| 1))),
    ];
    RecordBatch::try_new(primary_schema(), columns).map_err(unbuilt_arrow)
}

/// The foreign keys that a command asks for; none for other commands.
pub(super) fn foreign(command: &Command) -> Option<Result<RecordBatch>> {
    let mut keys = ForeignKey::ALL.to_vec();
    match command {
        Command::CommandGetImportedKeys(CommandGetImportedKeys {
            catalog,
            db_schema: schema,
            table,
        }) => {
            let table = Named {
                catalog,
                schema,
                table,
            };
            keys.retain(|key| table.is(key.table));
        }
        Command::CommandGetExportedKeys(CommandGetExportedKeys {
            catalog,
            db_schema: schema,
            table,
        }) => {
            let table = Named {
                catalog,
                schema,
                table,
            };
            keys.retain(|key| table.is(key.references.table));
        }
        Command::CommandGetCrossReference(CommandGetCrossReference {
            pk_catalog,
            pk_db_schema,
            pk_table,
            fk_catalog,
            fk_db_schema,
            fk_table,
        }) => {
            let from = Named {
                catalog: fk_catalog,
                schema: fk_db_schema,
                table: fk_table,
            };
            let to = Named {
                catalog: pk_catalog,
                schema: pk_db_schema,
                table: pk_table,
            };
            keys.retain(|key| from.is(key.table) && to.is(key.references.table));
        }
        _ => return None,
    }
    Some(foreign_rows(&keys))
}

fn foreign_rows(keys: &[ForeignKey]) -> Result<RecordBatch> {
    let text = |text: fn(&ForeignKey) -> &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(keys.iter().map(text)))
    };
    let rule = |rule: UpdateDeleteRules| -> ArrayRef {
        Arc::new(UInt8Array::from_iter_values(
            keys.iter().map(|_| rule as u8),
        ))
    };
    let columns = vec![
        text(|_| CATALOG),
        text(|_| PrimaryKey::SCHEMA),
        text(|key| key.references.table),
        text(|key| key.references.column),
        text(|_| CATALOG),
        text(|_| PrimaryKey::SCHEMA),
        text(|key| key.table),
        text(|key| key.column),
        Arc::new(Int32Array::from_iter_values(keys.iter().map(|_| 1))),
        text(|key| key.name),
        text(|key| key.references.name),
        rule(UpdateDeleteRules::NoAction),
        rule(UpdateDeleteRules::Cascade),
    ];
    RecordBatch::try_new(foreign_schema(), columns).map_err(unbuilt_arrow)
}

pub(super) fn primary_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("catalog_name", DataType::Utf8, true),
        Field::new("db_schema_name", DataType::Utf8, true),
        Field::new("table_name", DataType::Utf8, false),
        Field::new("column_name", DataType::Utf8, false),
        Field::new("key_name", DataType::Utf8, true),
        Field::new("key_sequence", DataType::Int32, false),
    ]))
}

pub(super) fn foreign_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("pk_catalog_name", DataType::Utf8, true),
        Field::new("pk_db_schema_name", DataType::Utf8, true),
        Field::new("pk_table_name", DataType::Utf8, false),
        Field::new("pk_column_name", DataType::Utf8, false),
        Field::new("fk_catalog_name", DataType::Utf8, true),
        Field::new("fk_db_schema_name", DataType::Utf8, true),
        Field::new("fk_table_name", DataType::Utf8, false),
        Field::new("fk_column_name", DataType::Utf8, false),
        Field::new("key_sequence", DataType::Int32, false),
        Field::new("fk_key_name", DataType::Utf8, true),
        Field::new("pk_key_name", DataType::Utf8, true),
        Field::new("update_rule", DataType::UInt8, false),
        Field::new("delete_rule", DataType::UInt8, false),
    ]))
}
