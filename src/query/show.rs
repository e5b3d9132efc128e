//! `SHOW` and `DESCRIBE`: short words for questions to `information_schema`.
//!
//! | statement | columns |
//! | --- | --- |
//! | `SHOW DATABASES` | `database_name` |
//! | `SHOW CATALOGS` | `catalog_name` |
//! | `SHOW SCHEMAS` | `catalog_name, schema_name` |
//! | `SHOW [FULL] TABLES [FROM schema]`, `SHOW VIEWS` | `table_catalog, table_schema, table_name, table_type` |
//! | `SHOW COLUMNS FROM table` | `table_catalog, table_schema, table_name, column_name, data_type, is_nullable`; `FULL` has all |
//! | `DESCRIBE table`, `DESCRIBE SELECT ...` | `column_name, data_type, is_nullable` |
//!
//! All but `DESCRIBE` take `LIKE 'pattern'`; those before the columns take `WHERE` over the columns shown, too. Tables of which
//! no listing tells, as a version of a stream, are described like any other.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::MemTable;
use datafusion::catalog::default_table_source::provider_as_source;
use datafusion::common::TableReference;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use datafusion::sql::parser::Statement as Parsed;
use datafusion::sql::sqlparser::ast::{
    Ident, ObjectName, ShowStatementFilter, ShowStatementFilterPosition, ShowStatementIn,
    ShowStatementInParentType, ShowStatementOptions, Statement as Sql,
};

use super::errors::from_datafusion;
use super::information_schema::columns_of;
use super::listing::matching;
use super::resolve::{CATALOG, Names};
use crate::error::{Error, Result};

/// What can be shown, for messages that refuse the rest.
pub(super) const SHOWN: &str = "what can be shown is DATABASES, CATALOGS, SCHEMAS, TABLES, VIEWS, COLUMNS FROM a table, \
     FUNCTIONS, ALL, and settings by name";

/// The query that a SHOW stands for; none if it is left to the planner.
///
/// # Errors
/// Unsupported for clauses that it does not have here.
pub(super) fn query_of(statement: &Sql) -> Result<Option<String>> {
    let (what, forms, options) = match statement {
        Sql::ShowDatabases {
            terse,
            history,
            show_options,
        } => (
            "DATABASES",
            [("TERSE", *terse), ("HISTORY", *history)],
            show_options,
        ),
        Sql::ShowCatalogs {
            terse,
            history,
            show_options,
        } => (
            "CATALOGS",
            [("TERSE", *terse), ("HISTORY", *history)],
            show_options,
        ),
        Sql::ShowSchemas {
            terse,
            history,
            show_options,
        } => (
            "SCHEMAS",
            [("TERSE", *terse), ("HISTORY", *history)],
            show_options,
        ),
        Sql::ShowTables {
            terse,
            history,
            external,
            show_options,
            ..
        } => (
            "TABLES",
            [
                ("TERSE", *terse),
                ("HISTORY or EXTERNAL", *history || *external),
            ],
            show_options,
        ),
        Sql::ShowViews {
            terse,
            materialized,
            show_options,
        } => (
            "VIEWS",
            [("TERSE", *terse), ("MATERIALIZED", *materialized)],
            show_options,
        ),
        _ => return Ok(None),
    };
    if let Some((form, _)) = forms.iter().find(|(_, wanted)| *wanted) {
        return Err(Error::unsupported(format!(
            "SHOW {what} has no {form} form"
        )));
    }
    let query = match what {
        "DATABASES" => named_catalog("database_name"),
        "CATALOGS" => named_catalog("catalog_name"),
        "SCHEMAS" => "SELECT catalog_name, schema_name FROM information_schema.schemata".to_owned(),
        "VIEWS" => format!("{TABLES} WHERE table_type = 'VIEW'"),
        _ => TABLES.to_owned(),
    };
    narrowed(what, &query, options).map(Some)
}

const TABLES: &str =
    "SELECT table_catalog, table_schema, table_name, table_type FROM information_schema.tables";

fn named_catalog(column: &str) -> String {
    format!(
        "SELECT {column} FROM (VALUES ({})) AS named({column})",
        literal(CATALOG)
    )
}

/// `query` as the clauses behind a SHOW narrow it.
fn narrowed(what: &str, query: &str, options: &ShowStatementOptions) -> Result<String> {
    let column = match what {
        "DATABASES" => "database_name",
        "CATALOGS" => "catalog_name",
        "SCHEMAS" => "schema_name",
        _ => "table_name",
    };
    let mut conditions = match &options.show_in {
        Some(place) => inside(what, place)?,
        None => Vec::new(),
    };
    if let Some(prefix) = &options.starts_with {
        conditions.push(format!("starts_with({column}, {prefix})"));
    }
    match filter_of(options) {
        None => {}
        Some(ShowStatementFilter::Like(pattern) | ShowStatementFilter::NoKeyword(pattern)) => {
            conditions.push(format!("{column} LIKE {}", literal(pattern)));
        }
        Some(ShowStatementFilter::ILike(pattern)) => {
            conditions.push(format!("{column} ILIKE {}", literal(pattern)));
        }
        Some(ShowStatementFilter::Where(condition)) => conditions.push(format!("({condition})")),
    }
    if options.limit_from.is_some() {
        return Err(Error::unsupported(format!(
            "SHOW {what} LIMIT ... FROM is not supported: query information_schema with OFFSET"
        )));
    }
    let mut narrowed = format!("SELECT * FROM ({query}) AS shown");
    if !conditions.is_empty() {
        narrowed.push_str(&format!(" WHERE {}", conditions.join(" AND ")));
    }
    let order = match what {
        "TABLES" | "VIEWS" => "table_schema, table_name",
        _ => column,
    };
    narrowed.push_str(&format!(" ORDER BY {order}"));
    if let Some(limit) = &options.limit {
        narrowed.push_str(&format!(" LIMIT {limit}"));
    }
    Ok(narrowed)
}

fn filter_of(options: &ShowStatementOptions) -> Option<&ShowStatementFilter> {
    options
        .filter_position
        .as_ref()
        .map(|position| match position {
            ShowStatementFilterPosition::Infix(filter)
            | ShowStatementFilterPosition::Suffix(filter) => filter,
        })
}

/// The conditions of `FROM place`.
///
/// The catalog's own name is taken for the catalog, as that of a database is elsewhere; a collection of that name is
/// `btrdb.btrdb`.
fn inside(what: &str, place: &ShowStatementIn) -> Result<Vec<String>> {
    let refused =
        |why: &str| Error::unsupported(format!("SHOW {what} {place} is not supported: {why}"));
    let names: Vec<String> = place.parent_name.iter().flat_map(parts).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (catalog, schema) = match (what, &place.parent_type, names.as_slice()) {
        (_, Some(ShowStatementInParentType::Account), _) | (_, _, []) => (None, None),
        ("TABLES" | "VIEWS", Some(ShowStatementInParentType::Schema), [schema]) => {
            (None, Some(*schema))
        }
        ("TABLES" | "VIEWS", None, [schema]) if *schema != CATALOG => (None, Some(*schema)),
        ("TABLES" | "VIEWS", None | Some(ShowStatementInParentType::Schema), [catalog, schema]) => {
            (Some(*catalog), Some(*schema))
        }
        (
            "SCHEMAS" | "TABLES" | "VIEWS",
            None | Some(ShowStatementInParentType::Database),
            [catalog],
        ) => (Some(*catalog), None),
        ("TABLES" | "VIEWS", ..) => return Err(refused("it takes a schema")),
        ("SCHEMAS", ..) => return Err(refused("it takes a catalog")),
        _ => return Err(refused("there is nothing around them")),
    };
    let columns = if what == "SCHEMAS" {
        ("catalog_name", "schema_name")
    } else {
        ("table_catalog", "table_schema")
    };
    let equals = |column: &str, value: &str| format!("{column} = {}", literal(value));
    let catalog = catalog.map(|name| equals(columns.0, name));
    let schema = schema.map(|name| equals(columns.1, name));
    Ok(catalog.into_iter().chain(schema).collect())
}

pub(super) fn parts(name: &ObjectName) -> Vec<String> {
    let idents = name.0.iter().filter_map(|part| part.as_ident());
    idents.map(normal).collect()
}

/// An identifier as SQL reads it: without quotes, in lower case.
pub(super) fn normal(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The plan of `SHOW COLUMNS`, if `parsed` is one.
///
/// # Errors
/// Unsupported for clauses that it does not have here, Invalid without a table.
pub(super) fn columns_plan(parsed: &Parsed, names: &Names) -> Result<Option<LogicalPlan>> {
    let Parsed::Statement(statement) = parsed else {
        return Ok(None);
    };
    let Sql::ShowColumns {
        extended,
        full,
        show_options: options,
    } = statement.as_ref()
    else {
        return Ok(None);
    };
    let name = match &options.show_in {
        Some(ShowStatementIn {
            parent_type: None | Some(ShowStatementInParentType::Table),
            parent_name: Some(name),
            ..
        }) => parts(name),
        _ => {
            return Err(Error::invalid(
                "SHOW COLUMNS needs a table: SHOW COLUMNS FROM streams",
            ));
        }
    };
    let (schema, table) = match name.as_slice() {
        [table] => {
            let reference = TableReference::bare(table.as_str());
            (names.schema_of(&reference), table.as_str())
        }
        [.., schema, table] => (schema.as_str(), table.as_str()),
        [] => return Err(Error::invalid("SHOW COLUMNS needs the name of a table")),
    };
    let columns = names
        .columns(schema, table)
        .ok_or_else(|| Error::not_found(format!("table \"{table}\" does not exist")))?;
    let mut rows = columns_of(schema, table, &columns).map_err(from_datafusion)?;
    if options.starts_with.is_some() || options.limit.is_some() || options.limit_from.is_some() {
        return Err(only_like());
    }
    match filter_of(options) {
        None => {}
        Some(ShowStatementFilter::Like(pattern) | ShowStatementFilter::NoKeyword(pattern)) => {
            let names = columns.fields().iter().map(|field| field.name().as_str());
            rows = filter_record_batch(&rows, &matching(pattern, names)?)
                .map_err(|error| from_datafusion(error.into()))?;
        }
        Some(ShowStatementFilter::ILike(_) | ShowStatementFilter::Where(_)) => {
            return Err(only_like());
        }
    }
    if !extended && !full {
        let shown = [
            "table_catalog",
            "table_schema",
            "table_name",
            "column_name",
            "data_type",
            "is_nullable",
        ];
        rows = of_columns(&rows, &shown)?;
    }
    plan_of(rows).map(Some)
}

fn only_like() -> Error {
    Error::unsupported(
        "SHOW COLUMNS takes LIKE and nothing else: query information_schema.columns for more",
    )
}

/// What describes the columns of `schema`.
pub(super) fn description(schema: &Schema) -> Result<LogicalPlan> {
    let schema: SchemaRef = Arc::new(schema.clone());
    let rows = columns_of("", "", &schema).map_err(from_datafusion)?;
    plan_of(of_columns(
        &rows,
        &["column_name", "data_type", "is_nullable"],
    )?)
}

fn of_columns(rows: &RecordBatch, names: &[&str]) -> Result<RecordBatch> {
    let indices = names.iter().map(|name| rows.schema().index_of(name));
    indices
        .collect::<std::result::Result<Vec<_>, _>>()
        .and_then(|indices| rows.project(&indices))
        .map_err(|error| from_datafusion(error.into()))
}

/// A plan that delivers `rows`.
fn plan_of(rows: RecordBatch) -> Result<LogicalPlan> {
    let table = MemTable::try_new(rows.schema(), vec![vec![rows]]).map_err(from_datafusion)?;
    LogicalPlanBuilder::scan("columns", provider_as_source(Arc::new(table)), None)
        .and_then(LogicalPlanBuilder::build)
        .map_err(from_datafusion)
}

#[cfg(test)]
mod tests {
    use datafusion::sql::parser::DFParser;

    use super::*;
    use crate::error::ErrorKind;

    fn parsed(sql: &str) -> Parsed {
        let mut statements = DFParser::parse_sql(sql).expect(sql);
        statements.pop_front().expect("one statement")
    }

    fn query(sql: &str) -> Result<String> {
        let Parsed::Statement(statement) = parsed(sql) else {
            panic!("{sql} is a statement");
        };
        query_of(&statement).map(|query| query.expect("a query"))
    }

    #[test]
    fn what_follows_a_show_becomes_a_condition() {
        for (sql, conditions) in [
            ("SHOW TABLES", ""),
            ("SHOW FULL TABLES", ""),
            ("SHOW TABLES FROM Lab", " WHERE table_schema = 'lab'"),
            (
                "SHOW TABLES IN \"O'Hare\"",
                " WHERE table_schema = 'O''Hare'",
            ),
            (
                "SHOW TABLES FROM btrdb.lab LIKE 'o%'",
                " WHERE table_catalog = 'btrdb' AND table_schema = 'lab' AND table_name LIKE 'o%'",
            ),
            ("SHOW TABLES FROM btrdb", " WHERE table_catalog = 'btrdb'"),
            ("SHOW TABLES LIKE 'it''s'", " WHERE table_name LIKE 'it''s'"),
            (
                "SHOW TABLES WHERE table_type = 'VIEW' OR true",
                " WHERE (table_type = 'VIEW' OR true)",
            ),
            (
                "SHOW SCHEMAS LIKE 'pmu/%'",
                " WHERE schema_name LIKE 'pmu/%'",
            ),
            ("SHOW SCHEMAS FROM btrdb", " WHERE catalog_name = 'btrdb'"),
            ("SHOW DATABASES LIKE 'b%'", " WHERE database_name LIKE 'b%'"),
            ("SHOW TABLES LIMIT 5", " LIMIT 5"),
        ] {
            let query = query(sql).expect(sql);
            let shown = query.split_once(" AS shown").expect("a query of a query").1;
            let (before, ordered) = shown.split_once(" ORDER BY ").expect("an order");
            let limit = ordered.find(" LIMIT").map_or("", |at| &ordered[at..]);
            assert_eq!(format!("{before}{limit}"), conditions, "{sql}");
        }
    }

    #[test]
    fn forms_of_other_databases_are_refused_by_name() {
        for sql in [
            "SHOW TERSE TABLES",
            "SHOW TABLES HISTORY",
            "SHOW EXTERNAL TABLES",
            "SHOW MATERIALIZED VIEWS",
            "SHOW DATABASES IN lab",
            "SHOW SCHEMAS IN a.b",
            "SHOW TABLES IN a.b.c",
        ] {
            let error = query(sql).expect_err(sql);
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{sql}: {error}");
        }
    }
}
