//! The names of a statement, as DataFusion's catalog.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, CatalogProviderList, SchemaProvider, TableProvider};
use datafusion::error::Result;

use super::information_schema::{Functions, InformationSchema};
use super::resolve::{CATALOG, INFORMATION_SCHEMA, Names};

/// The list of catalogs, which is one: `btrdb`.
#[derive(Clone, Debug)]
pub(super) struct Catalogs {
    pub(super) names: Arc<Names>,
    /// The table functions of the session, for the list of routines.
    pub(super) functions: Functions,
}

impl CatalogProviderList for Catalogs {
    fn register_catalog(
        &self,
        _name: String,
        _catalog: Arc<dyn CatalogProvider>,
    ) -> Option<Arc<dyn CatalogProvider>> {
        None
    }

    fn catalog_names(&self) -> Vec<String> {
        vec![CATALOG.to_owned()]
    }

    fn catalog(&self, name: &str) -> Option<Arc<dyn CatalogProvider>> {
        (name == CATALOG).then(|| Arc::new(Catalog(self.clone())) as _)
    }
}

#[derive(Debug)]
struct Catalog(Catalogs);

impl CatalogProvider for Catalog {
    fn schema_names(&self) -> Vec<String> {
        let schemas = self.0.names.schemas();
        schemas.into_iter().map(str::to_owned).collect()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        let Catalogs { names, functions } = &self.0;
        if name == INFORMATION_SCHEMA {
            return Some(Arc::new(InformationSchema {
                frame: Arc::clone(&names.frame),
                functions: functions.clone(),
            }));
        }
        names.schemas().contains(name).then(|| {
            Arc::new(Schema {
                names: Arc::clone(names),
                name: name.to_owned(),
            }) as _
        })
    }
}

/// A collection, or `public`.
#[derive(Debug)]
struct Schema {
    names: Arc<Names>,
    name: String,
}

#[async_trait]
impl SchemaProvider for Schema {
    fn table_names(&self) -> Vec<String> {
        let tables = self.names.tables(&self.name);
        tables.into_iter().map(str::to_owned).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        Ok(self.names.table(&self.name, name))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.names.table(&self.name, name).is_some()
    }
}
