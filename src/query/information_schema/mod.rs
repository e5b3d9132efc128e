//! `information_schema`: what there is, as the SQL standard lets tools ask for it.
//!
//! DataFusion's own opens every table and names types in Arrow's words; tools match on SQL's. So these views are made here:
//! of a listing, which is one look-up of streams, a batch at a time. Predicates on schemas and tables narrow the look-up.
//! What is about DataFusion (settings, functions) is still DataFusion's.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::information_schema::InformationSchemaProvider;
use datafusion::catalog::{
    MemoryCatalogProviderList, SchemaProvider, Session, TableFunction, TableProvider,
};
use datafusion::common::stats::Precision;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use futures::FutureExt;
use futures::StreamExt;
use futures::stream::{self, BoxStream};

mod columns;
mod constraints;
mod narrow;
mod tables;

use super::errors::to_datafusion;
use super::listing::{self, ListedTable, Section};
use super::provider::{Planning, scan_by_plan};
use super::resolve::CATALOG;
use super::scan::{Ask, Read, ScanExec};
use super::session::Frame;
use columns::ColumnRow;
pub(super) use columns::columns_of;
use constraints::{ConstraintRow, Usage};
pub use constraints::{ForeignKey, PrimaryKey};
use narrow::among;
use tables::Column;

/// A view of the information schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    Columns,
    ConstraintColumnUsage,
    DfSettings,
    KeyColumnUsage,
    Parameters,
    ReferentialConstraints,
    Routines,
    Schemata,
    TableConstraints,
    Tables,
    Views,
}

impl View {
    pub(super) const ALL: [Self; 11] = [
        Self::Columns,
        Self::ConstraintColumnUsage,
        Self::DfSettings,
        Self::KeyColumnUsage,
        Self::Parameters,
        Self::ReferentialConstraints,
        Self::Routines,
        Self::Schemata,
        Self::TableConstraints,
        Self::Tables,
        Self::Views,
    ];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Columns => "columns",
            Self::ConstraintColumnUsage => "constraint_column_usage",
            Self::DfSettings => "df_settings",
            Self::KeyColumnUsage => "key_column_usage",
            Self::Parameters => "parameters",
            Self::ReferentialConstraints => "referential_constraints",
            Self::Routines => "routines",
            Self::Schemata => "schemata",
            Self::TableConstraints => "table_constraints",
            Self::Tables => "tables",
            Self::Views => "views",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|view| view.as_str() == name)
    }

    pub(super) fn comment(self) -> &'static str {
        match self {
            Self::Columns => "columns of tables and views",
            Self::ConstraintColumnUsage => "columns that constraints are about",
            Self::DfSettings => "settings of the query engine",
            Self::KeyColumnUsage => "columns of keys",
            Self::Parameters => "parameters of functions",
            Self::ReferentialConstraints => "foreign keys",
            Self::Routines => "functions",
            Self::Schemata => "schemas: public, and every collection",
            Self::TableConstraints => "keys of tables",
            Self::Tables => "tables and views",
            Self::Views => "views that somebody defined",
        }
    }

    /// The columns, which only DataFusion knows where the view is its own.
    pub(super) fn schema(self) -> SchemaRef {
        match self {
            Self::Columns => tables::schema(columns::COLUMNS),
            Self::ConstraintColumnUsage => tables::schema(constraints::COLUMN_USAGE),
            Self::KeyColumnUsage => tables::schema(constraints::KEY_USAGE),
            Self::ReferentialConstraints => tables::schema(constraints::REFERENTIAL),
            Self::Schemata => tables::schema(tables::SCHEMATA),
            Self::TableConstraints => tables::schema(constraints::TABLE_CONSTRAINTS),
            Self::Tables => tables::schema(tables::TABLES),
            Self::Views => tables::schema(tables::VIEWS),
            Self::DfSettings | Self::Parameters | Self::Routines => {
                match of_datafusion(self, HashMap::new()) {
                    Ok(Some(table)) => table.schema(),
                    Ok(None) | Err(_) => Arc::new(Schema::empty()),
                }
            }
        }
    }
}

/// DataFusion's view of the same name.
fn of_datafusion(view: View, functions: Functions) -> Result<Option<Arc<dyn TableProvider>>> {
    let provider = InformationSchemaProvider::new(Arc::new(MemoryCatalogProviderList::new()))
        .with_table_functions(functions);
    let table = provider.table(view.as_str()).now_or_never();
    table.unwrap_or_else(|| {
        let message = format!("DataFusion's {} took a while", view.as_str());
        Err(DataFusionError::Internal(message))
    })
}

/// Table functions by name.
pub(super) type Functions = HashMap<String, Arc<TableFunction>>;

/// The schema, for one statement.
#[derive(Debug)]
pub(super) struct InformationSchema {
    pub(super) frame: Arc<Frame>,
    pub(super) functions: Functions,
}

#[async_trait]
impl SchemaProvider for InformationSchema {
    fn table_names(&self) -> Vec<String> {
        View::ALL.map(|view| view.as_str().to_owned()).into()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let Some(view) = View::named(name) else {
            return Ok(None);
        };
        if matches!(view, View::DfSettings | View::Parameters | View::Routines) {
            return of_datafusion(view, self.functions.clone());
        }
        Ok(Some(Arc::new(ViewTable {
            frame: Arc::clone(&self.frame),
            view,
            schema: view.schema(),
        })))
    }

    fn table_exist(&self, name: &str) -> bool {
        View::named(name).is_some()
    }
}

/// A view of ours.
#[derive(Debug)]
struct ViewTable {
    frame: Arc<Frame>,
    view: View,
    schema: SchemaRef,
}

impl ViewTable {
    /// The columns by which the view names catalog, schema and table.
    fn naming(&self) -> (&'static str, &'static str, Option<&'static str>) {
        match self.view {
            View::Schemata => ("catalog_name", "schema_name", None),
            _ => ("table_catalog", "table_schema", Some("table_name")),
        }
    }

    /// The tables that rows which pass all of `filters` are about; none if they are of another catalog.
    fn section(&self, filters: &[Expr]) -> Option<Section> {
        let (catalog, schema, table) = self.naming();
        if !among(filters, catalog).admits(CATALOG) {
            return None;
        }
        Some(Section {
            schemas: among(filters, schema),
            tables: table.map_or(listing::Among::Any, |table| among(filters, table)),
        })
    }

    async fn rows(&self, filters: &[Expr]) -> crate::error::Result<Rows> {
        let backend = self.frame.backend.as_ref();
        let Some(section) = self.section(filters) else {
            return Ok(Rows::Tables(Vec::new().into()));
        };
        Ok(match self.view {
            View::Schemata => {
                Rows::Schemata(listing::schemas(backend, &section.schemas).await?.into())
            }
            View::Tables => Rows::Tables(listing::tables(backend, &section).await?.into()),
            View::Columns => Rows::Columns(listing::tables(backend, &section).await?.into()),
            View::TableConstraints => Rows::Constraints(constraints::TABLE_CONSTRAINTS),
            View::ReferentialConstraints => Rows::Constraints(constraints::REFERENTIAL),
            View::KeyColumnUsage => Rows::Usages(constraints::KEY_USAGE, Usage::of_keys()),
            View::ConstraintColumnUsage => {
                Rows::Usages(constraints::COLUMN_USAGE, Usage::of_constraints())
            }
            // There are none: tables are streams, and nobody can define a view.
            View::Views | View::DfSettings | View::Parameters | View::Routines => {
                Rows::Tables(Vec::new().into())
            }
        })
    }
}

impl TableProvider for ViewTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    /// None is taken over for good: they narrow what is looked up.
    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        let narrows = |filter: &Expr| {
            let section = self.section(std::slice::from_ref(filter));
            self.frame.pushdown && section.is_none_or(|section| section != Section::all())
        };
        Ok(filters
            .iter()
            .map(|filter| {
                if narrows(filter) {
                    TableProviderFilterPushDown::Inexact
                } else {
                    TableProviderFilterPushDown::Unsupported
                }
            })
            .collect())
    }

    scan_by_plan!();
}

impl ViewTable {
    fn plan_scan<'a>(
        &'a self,
        _state: &'a dyn Session,
        projection: Option<&'a Vec<usize>>,
        filters: &'a [Expr],
        limit: Option<usize>,
    ) -> Planning<'a> {
        async move {
            let projection = match projection {
                Some(projection) => projection.clone(),
                None => (0..self.schema.fields().len()).collect(),
            };
            let read = ViewRead {
                view: self.view,
                rows: self.rows(filters).await.map_err(to_datafusion)?,
                schema: Arc::new(self.schema.project(&projection)?),
                projection: projection.into(),
                pushdown: self.frame.pushdown,
            };
            Ok(ScanExec::planned(read, limit))
        }
        .boxed()
    }
}

/// What the rows of a view are made of.
#[derive(Clone, Debug)]
enum Rows {
    Tables(Arc<[ListedTable]>),
    /// As many rows as these have columns.
    Columns(Arc<[ListedTable]>),
    Schemata(Arc<[String]>),
    Constraints(&'static [Column<ConstraintRow>]),
    Usages(&'static [Column<Usage>], Vec<Usage>),
}

#[derive(Clone, Debug)]
struct ViewRead {
    view: View,
    rows: Rows,
    schema: SchemaRef,
    projection: Arc<[usize]>,
    pushdown: bool,
}

/// Tables of a batch.
const TABLES_OF_BATCH: usize = 4096;

impl ViewRead {
    /// The rows as batches, of which one is made at a time.
    fn batches(self) -> Box<dyn Iterator<Item = Result<RecordBatch>> + Send> {
        match self.rows.clone() {
            Rows::Tables(tables) => Box::new(
                chunks(tables)
                    .map(move |(tables, range)| self.batch(tables::TABLES, &tables[range])),
            ),
            Rows::Columns(tables) => Box::new(chunks(tables).map(move |(tables, range)| {
                let rows: Vec<_> = tables[range].iter().flat_map(ColumnRow::of).collect();
                self.batch(columns::COLUMNS, &rows)
            })),
            Rows::Schemata(schemas) => Box::new(
                chunks(schemas)
                    .map(move |(schemas, range)| self.batch(tables::SCHEMATA, &schemas[range])),
            ),
            Rows::Constraints(columns) => {
                let mut rows = ConstraintRow::all();
                if self.view == View::ReferentialConstraints {
                    rows.retain(|row| row.references.is_some());
                }
                Box::new(std::iter::once_with(move || self.batch(columns, &rows)))
            }
            Rows::Usages(columns, rows) => {
                Box::new(std::iter::once_with(move || self.batch(columns, &rows)))
            }
        }
    }

    fn batch<R>(&self, columns: &[Column<R>], rows: &[R]) -> Result<RecordBatch> {
        tables::batch(columns, rows, &self.projection, &self.schema)
    }
}

/// A slice in parts, each with the whole that it is a part of.
fn chunks<T>(whole: Arc<[T]>) -> impl Iterator<Item = (Arc<[T]>, std::ops::Range<usize>)> {
    (0..whole.len()).step_by(TABLES_OF_BATCH).map(move |start| {
        let end = whole.len().min(start + TABLES_OF_BATCH);
        (Arc::clone(&whole), start..end)
    })
}

impl fmt::Display for ViewRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.rows {
            Rows::Tables(tables) => write!(f, "ListTables, tables={}", tables.len()),
            Rows::Columns(tables) => write!(f, "ListColumns, tables={}", tables.len()),
            Rows::Schemata(schemas) => write!(f, "ListSchemas, schemas={}", schemas.len()),
            Rows::Constraints(_) | Rows::Usages(..) => f.write_str("ListKeys"),
        }
    }
}

impl Read for ViewRead {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn pushdown(&self) -> bool {
        self.pushdown
    }

    fn rows(&self) -> Precision<usize> {
        match &self.rows {
            Rows::Tables(tables) => Precision::Exact(tables.len()),
            Rows::Columns(tables) => Precision::Inexact(2 * tables.len()),
            Rows::Schemata(schemas) => Precision::Exact(schemas.len()),
            Rows::Constraints(_) | Rows::Usages(..) => Precision::Absent,
        }
    }

    fn open(&self, _partition: usize, _ask: &Ask) -> BoxStream<'static, Result<RecordBatch>> {
        stream::iter(self.clone().batches()).boxed()
    }
}
