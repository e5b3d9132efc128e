//! What Flight SQL's catalog commands answer.
//!
//! One catalog, `btrdb`. Its schema `public` holds the relations of the query layer; every collection is a schema too, and its
//! streams are tables; `information_schema` holds views. The store is asked once for a command, never once for a table.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow_flight::error::FlightError;
use arrow_flight::sql::metadata::GetCatalogsBuilder;
use arrow_flight::sql::{Command, CommandGetDbSchemas, CommandGetTableTypes};
use futures::StreamExt;
use futures::stream;

use super::tables::Batches;
use super::{Shared, keys, sql_info, tables, xdbc};
use crate::error::{Error, Result};

/// The only catalog.
pub(super) const CATALOG: &str = "btrdb";

/// The schema of the relations that are not streams.
pub(super) const PUBLIC: &str = "public";

/// The schema about schemas.
pub(super) const INFORMATION_SCHEMA: &str = "information_schema";

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
            Command::CommandGetTables(request) => tables::schema(request),
            Command::CommandGetTableTypes(request) => request.into_builder().schema(),
            Command::CommandGetSqlInfo(_) => sql_info::infos(&self.settings)?
                .record_batch([])
                .map_err(unbuilt)?
                .schema(),
            Command::CommandGetXdbcTypeInfo(_) => xdbc::types()?.schema(),
            Command::CommandGetPrimaryKeys(_) => keys::primary_schema(),
            Command::CommandGetExportedKeys(_)
            | Command::CommandGetImportedKeys(_)
            | Command::CommandGetCrossReference(_) => keys::foreign_schema(),
            other => return Err(not_metadata(other)),
        })
    }

    /// The answer: one batch, as some clients read only the first; more only where it is a list of very many tables.
    ///
    /// # Errors
    /// As [`Self::metadata_schema`], and those of the store.
    pub(super) async fn metadata(&self, command: Command) -> Result<Batches> {
        let batch = match command {
            Command::CommandGetTables(request) => return tables::tables(self, request).await,
            Command::CommandGetCatalogs(_) => {
                let mut catalogs = GetCatalogsBuilder::new();
                catalogs.append(CATALOG);
                catalogs.build().map_err(unbuilt)
            }
            Command::CommandGetDbSchemas(request) => self.schemas(request).await,
            Command::CommandGetTableTypes(_) => table_types(),
            Command::CommandGetSqlInfo(request) => sql_info::infos(&self.settings)?
                .record_batch(request.info)
                .map_err(unbuilt),
            Command::CommandGetXdbcTypeInfo(request) => xdbc::types()?
                .record_batch(request.data_type)
                .map_err(unbuilt),
            Command::CommandGetPrimaryKeys(request) => keys::primary(&request),
            other => keys::foreign(&other).unwrap_or_else(|| Err(not_metadata(&other))),
        };
        Ok(stream::iter([batch]).boxed())
    }

    async fn schemas(&self, request: CommandGetDbSchemas) -> Result<RecordBatch> {
        let wanted = request
            .catalog
            .as_deref()
            .is_none_or(|catalog| catalog == CATALOG);
        let schemas = if wanted {
            let pattern = request.db_schema_filter_pattern.as_deref();
            self.gateway.schemas(pattern).await?
        } else {
            Vec::new()
        };
        let catalogs = StringArray::from_iter_values(schemas.iter().map(|_| CATALOG));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(catalogs),
            Arc::new(StringArray::from_iter_values(&schemas)),
        ];
        RecordBatch::try_new(request.into_builder().schema(), columns).map_err(unbuilt_arrow)
    }
}

fn table_types() -> Result<RecordBatch> {
    let mut types = CommandGetTableTypes {}.into_builder();
    for name in tables::TYPES {
        types.append(name);
    }
    types.build().map_err(unbuilt)
}

pub(super) fn unbuilt(error: FlightError) -> Error {
    Error::internal(format!(
        "the answer of a catalog command could not be built: {error}"
    ))
}

pub(super) fn unbuilt_arrow(error: ArrowError) -> Error {
    unbuilt(FlightError::from(error))
}

fn not_metadata(command: &Command) -> Error {
    Error::internal(format!("{} is no catalog command", command.type_url()))
}
