//! What Flight SQL's catalog commands answer.
//!
//! One catalog, `btrdb`. Its schema `public` holds the relations of the query layer; every collection is a schema too, and its
//! streams are tables. The store is asked once for a command, never once for a table.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow_flight::error::FlightError;
use arrow_flight::sql::metadata::GetCatalogsBuilder;
use arrow_flight::sql::{Command, CommandGetDbSchemas, CommandGetTableTypes, CommandGetTables};

use super::Shared;
use super::flights::stream_schema;
use super::{sql_info, xdbc};
use crate::error::{Error, Result};
use crate::model::{CollectionMatch, StreamFilter};
use crate::query::SessionOptions;

/// The only catalog.
pub(super) const CATALOG: &str = "btrdb";

/// The schema of the relations that are not streams.
pub(super) const PUBLIC: &str = "public";

/// The relations of [`PUBLIC`].
const RELATIONS: [&str; 3] = ["collections", "points", "streams"];

/// Schemas that a collection cannot hide: one of the same name is reached by uuid only.
const RESERVED: [&str; 2] = [PUBLIC, "information_schema"];

/// The type of every table.
const TABLE: &str = "TABLE";

/// Whether [`Shared::metadata`] answers `command`.
pub(super) fn is_metadata(command: &Command) -> bool {
    matches!(
        command,
        Command::CommandGetCatalogs(_)
            | Command::CommandGetDbSchemas(_)
            | Command::CommandGetTables(_)
            | Command::CommandGetTableTypes(_)
            | Command::CommandGetSqlInfo(_)
            | Command::CommandGetXdbcTypeInfo(_)
            | Command::CommandGetPrimaryKeys(_)
            | Command::CommandGetExportedKeys(_)
            | Command::CommandGetImportedKeys(_)
            | Command::CommandGetCrossReference(_)
    )
}

impl Shared {
    /// The schema of the answer.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`](crate::error::ErrorKind::Internal) if `command` is not one of [`is_metadata`].
    pub(super) fn metadata_schema(&self, command: &Command) -> Result<SchemaRef> {
        Ok(match command {
            Command::CommandGetCatalogs(_) => GetCatalogsBuilder::new().schema(),
            Command::CommandGetDbSchemas(request) => request.clone().into_builder().schema(),
            Command::CommandGetTables(request) => request.clone().into_builder().schema(),
            Command::CommandGetTableTypes(request) => request.into_builder().schema(),
            Command::CommandGetSqlInfo(_) => sql_info::infos(&self.settings)?
                .record_batch([])
                .map_err(unbuilt)?
                .schema(),
            Command::CommandGetXdbcTypeInfo(_) => xdbc::types()?.schema(),
            Command::CommandGetPrimaryKeys(_) => primary_keys_schema(),
            Command::CommandGetExportedKeys(_)
            | Command::CommandGetImportedKeys(_)
            | Command::CommandGetCrossReference(_) => foreign_keys_schema(),
            other => return Err(not_metadata(other)),
        })
    }

    /// The answer, in one batch: some clients read only the first.
    ///
    /// # Errors
    /// As [`Self::metadata_schema`], and those of the store.
    pub(super) async fn metadata(&self, command: Command) -> Result<RecordBatch> {
        match command {
            Command::CommandGetCatalogs(_) => {
                let mut catalogs = GetCatalogsBuilder::new();
                catalogs.append(CATALOG);
                catalogs.build().map_err(unbuilt)
            }
            Command::CommandGetDbSchemas(request) => self.schemas(request).await,
            Command::CommandGetTables(request) => self.tables(request).await,
            Command::CommandGetTableTypes(_) => table_types(),
            Command::CommandGetSqlInfo(request) => sql_info::infos(&self.settings)?
                .record_batch(request.info)
                .map_err(unbuilt),
            Command::CommandGetXdbcTypeInfo(request) => xdbc::types()?
                .record_batch(request.data_type)
                .map_err(unbuilt),
            Command::CommandGetPrimaryKeys(_) => Ok(RecordBatch::new_empty(primary_keys_schema())),
            Command::CommandGetExportedKeys(_)
            | Command::CommandGetImportedKeys(_)
            | Command::CommandGetCrossReference(_) => {
                Ok(RecordBatch::new_empty(foreign_keys_schema()))
            }
            other => Err(not_metadata(&other)),
        }
    }

    async fn schemas(&self, request: CommandGetDbSchemas) -> Result<RecordBatch> {
        let prefix = literal_prefix(request.db_schema_filter_pattern.as_deref()).to_owned();
        let mut schemas = request.into_builder();
        schemas.append(CATALOG, PUBLIC);
        for collection in self.gateway.backend().collections(&prefix).await? {
            if !RESERVED.contains(&collection.as_str()) {
                schemas.append(CATALOG, collection);
            }
        }
        schemas.build().map_err(unbuilt)
    }

    async fn tables(&self, mut request: CommandGetTables) -> Result<RecordBatch> {
        let wanted = wants_tables(&request.table_types);
        // Checked here, where the other spellings of the type are known.
        request.table_types.clear();
        let prefix = literal_prefix(request.db_schema_filter_pattern.as_deref()).to_owned();
        let include_schema = request.include_schema;
        let mut tables = request.into_builder();
        if !wanted {
            return tables.build().map_err(unbuilt);
        }
        for relation in RELATIONS {
            let schema = if include_schema {
                self.relation_schema(relation).await?
            } else {
                Arc::new(Schema::empty())
            };
            let schema = annotated(&schema, PUBLIC, relation);
            tables
                .append(CATALOG, PUBLIC, relation, TABLE, &schema)
                .map_err(unbuilt)?;
        }
        let filter = if prefix.is_empty() {
            StreamFilter::all()
        } else {
            StreamFilter::collection(CollectionMatch::Prefix(prefix))
        };
        let streams = self.gateway.backend().find(filter).await?;
        let columns = stream_schema();
        let mut last: Option<(&str, &str)> = None;
        for stream in &streams {
            let (collection, name) = (stream.collection.as_str(), stream.tags.name.as_str());
            // Streams come ordered by name, so those that share one are neighbours: one table stands for all of them.
            if name.is_empty() || RESERVED.contains(&collection) || last == Some((collection, name))
            {
                continue;
            }
            last = Some((collection, name));
            let appended = if include_schema {
                let schema = annotated(&columns, collection, name);
                tables.append(CATALOG, collection, name, TABLE, &schema)
            } else {
                tables.append(CATALOG, collection, name, TABLE, &columns)
            };
            appended.map_err(unbuilt)?;
        }
        tables.build().map_err(unbuilt)
    }

    async fn relation_schema(&self, relation: &str) -> Result<SchemaRef> {
        let sql = format!("SELECT * FROM {CATALOG}.{PUBLIC}.{relation}");
        let statement = self
            .gateway
            .prepare(&sql, &SessionOptions::default())
            .await?;
        Ok(statement.schema())
    }
}

fn table_types() -> Result<RecordBatch> {
    let mut types = CommandGetTableTypes {}.into_builder();
    types.append(TABLE);
    types.build().map_err(unbuilt)
}

/// Whether a filter of table types lets tables through. Grafana and Power BI ask for `BASE TABLE`, others for `table`.
fn wants_tables(types: &[String]) -> bool {
    types.is_empty()
        || types
            .iter()
            .any(|name| name.eq_ignore_ascii_case(TABLE) || name.eq_ignore_ascii_case("BASE TABLE"))
}

/// The part of a LIKE pattern before its first wildcard or escape: everything that matches begins so.
fn literal_prefix(pattern: Option<&str>) -> &str {
    let pattern = pattern.unwrap_or_default();
    let end = pattern.find(['%', '_', '\\']).unwrap_or(pattern.len());
    &pattern[..end]
}

/// `schema` with what Flight SQL says about columns.
fn annotated(schema: &Schema, db_schema: &str, table: &str) -> Schema {
    let fields: Vec<Field> = schema
        .fields()
        .iter()
        .map(|field| {
            let mut metadata = HashMap::from([
                (
                    "ARROW:FLIGHT:SQL:CATALOG_NAME".to_owned(),
                    CATALOG.to_owned(),
                ),
                (
                    "ARROW:FLIGHT:SQL:SCHEMA_NAME".to_owned(),
                    db_schema.to_owned(),
                ),
                ("ARROW:FLIGHT:SQL:TABLE_NAME".to_owned(), table.to_owned()),
                (
                    "ARROW:FLIGHT:SQL:IS_AUTO_INCREMENT".to_owned(),
                    "0".to_owned(),
                ),
                ("ARROW:FLIGHT:SQL:IS_READ_ONLY".to_owned(), "0".to_owned()),
                ("ARROW:FLIGHT:SQL:IS_SEARCHABLE".to_owned(), "1".to_owned()),
            ]);
            if let Some(name) = xdbc::type_name(field.data_type()) {
                metadata.insert("ARROW:FLIGHT:SQL:TYPE_NAME".to_owned(), name.to_owned());
            }
            Field::clone(field).with_metadata(metadata)
        })
        .collect();
    Schema::new(fields)
}

fn primary_keys_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("catalog_name", DataType::Utf8, true),
        Field::new("db_schema_name", DataType::Utf8, true),
        Field::new("table_name", DataType::Utf8, false),
        Field::new("column_name", DataType::Utf8, false),
        Field::new("key_name", DataType::Utf8, true),
        Field::new("key_sequence", DataType::Int32, false),
    ]))
}

fn foreign_keys_schema() -> SchemaRef {
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

pub(super) fn unbuilt(error: FlightError) -> Error {
    Error::internal(format!(
        "the answer of a catalog command could not be built: {error}"
    ))
}

fn not_metadata(command: &Command) -> Error {
    Error::internal(format!("{} is no catalog command", command.type_url()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_narrow_the_look_up_up_to_their_first_wildcard() {
        for (pattern, prefix) in [
            (None, ""),
            (Some("%"), ""),
            (Some("pmu/%"), "pmu/"),
            (Some("a_b"), "a"),
            (Some("a\\_b"), "a"),
            (Some("plain"), "plain"),
        ] {
            assert_eq!(literal_prefix(pattern), prefix);
        }
    }

    #[test]
    fn tables_are_found_under_every_spelling() {
        assert!(wants_tables(&[]));
        assert!(wants_tables(&["BASE TABLE".into(), "VIEW".into()]));
        assert!(wants_tables(&["table".into()]));
        assert!(!wants_tables(&["VIEW".into()]));
    }
}
