//! GetTables: the tables of every schema, and their columns where these are asked for.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, RecordBatch, StringArray};
use arrow::datatypes::SchemaRef;
use arrow_flight::sql::CommandGetTables;
use futures::StreamExt;
use futures::stream::{self, BoxStream};

use super::Shared;
use super::columns::of_table;
use super::encode::schema_bytes;
use super::metadata::{CATALOG, unbuilt_arrow};
use crate::error::Result;
use crate::query::ListedTable;

/// The types of tables, in order.
pub(super) const TYPES: [&str; 2] = ["TABLE", "VIEW"];

/// Tables of a batch. Some clients read only the first, where they ask for a single table.
const TABLES_OF_BATCH: usize = 16 * 1024;

/// Tables of a batch with their columns, which take about 2 KiB a table: no more are held at a time.
const DESCRIBED_OF_BATCH: usize = 512;

/// An answer in batches, which are made as they are read.
pub(super) type Batches = BoxStream<'static, Result<RecordBatch>>;

pub(super) fn schema(request: &CommandGetTables) -> SchemaRef {
    request.clone().into_builder().schema()
}

/// The tables that match, ascending by schema and name.
pub(super) async fn tables(shared: &Shared, request: CommandGetTables) -> Result<Batches> {
    let schema = schema(&request);
    let types = Types::of(&request.table_types);
    // An empty name asks for tables without a catalog, of which there are none.
    let wanted = request
        .catalog
        .as_deref()
        .is_none_or(|catalog| catalog == CATALOG);
    let mut listed = if wanted && (types.tables.is_some() || types.views) {
        let schemas = request.db_schema_filter_pattern.as_deref();
        let tables = request.table_name_filter_pattern.as_deref();
        shared.gateway.tables(schemas, tables).await?
    } else {
        Vec::new()
    };
    listed.retain(|table| types.name(table).is_some());
    let listed: Arc<[ListedTable]> = listed.into();
    let step = if request.include_schema {
        DESCRIBED_OF_BATCH
    } else {
        TABLES_OF_BATCH
    };
    // A batch at least, even if it is empty.
    let batches = (0..listed.len().max(1)).step_by(step).map(move |start| {
        let end = listed.len().min(start + step);
        batch(&schema, &listed[start..end], &types, request.include_schema)
    });
    Ok(stream::iter(batches).boxed())
}

fn batch(
    schema: &SchemaRef,
    tables: &[ListedTable],
    types: &Types,
    include_schema: bool,
) -> Result<RecordBatch> {
    let text = |text: fn(&ListedTable) -> &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(tables.iter().map(text)))
    };
    let type_names = tables.iter().map(|table| types.name(table));
    let mut columns = vec![
        text(|table| table.catalog()),
        text(ListedTable::schema),
        text(ListedTable::name),
        Arc::new(type_names.collect::<StringArray>()),
    ];
    if include_schema {
        let schemas = tables.iter().map(|table| schema_bytes(&of_table(table)));
        let schemas = schemas.collect::<Result<Vec<_>>>()?;
        columns.push(Arc::new(BinaryArray::from_iter_values(schemas)));
    }
    RecordBatch::try_new(Arc::clone(schema), columns).map_err(unbuilt_arrow)
}

/// Which types of tables are asked for, and in which words.
#[derive(Debug, PartialEq, Eq)]
struct Types {
    /// What tables are called. Grafana and Power BI ask for `BASE TABLE`, others for `table`: who asks in other words than
    /// ours may look for them in the answer.
    tables: Option<String>,
    views: bool,
}

impl Types {
    fn of(asked: &[String]) -> Self {
        let named = |type_name: &str| {
            let mut asked = asked.iter();
            asked.find(|asked| asked.eq_ignore_ascii_case(type_name))
        };
        Self {
            tables: if asked.is_empty() {
                Some(TYPES[0].to_owned())
            } else {
                named(TYPES[0]).or_else(|| named("BASE TABLE")).cloned()
            },
            views: asked.is_empty() || named(TYPES[1]).is_some(),
        }
    }

    /// What `table` is called, if it is asked for.
    fn name(&self, table: &ListedTable) -> Option<&str> {
        if table.is_view() {
            self.views.then_some(TYPES[1])
        } else {
            self.tables.as_deref()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_found_under_every_spelling() {
        let types = |asked: &[&str]| {
            let asked: Vec<_> = asked.iter().map(|name| (*name).to_owned()).collect();
            let types = Types::of(&asked);
            (types.tables, types.views)
        };
        let named = |name: &str| Some(name.to_owned());
        assert_eq!(types(&[]), (named("TABLE"), true));
        assert_eq!(types(&["BASE TABLE", "VIEW"]), (named("BASE TABLE"), true));
        assert_eq!(types(&["BASE TABLE", "table"]), (named("table"), false));
        assert_eq!(types(&["View"]), (None, true));
        assert_eq!(types(&["SYSTEM TABLE"]), (None, false));
    }
}
