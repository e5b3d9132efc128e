//! The query of an INSERT: which columns it is for, and planned apart where that makes a difference.
//!
//! DataFusion gives the columns' types to every VALUES beneath an INSERT, by position: right for the rows that are inserted, and wrong
//! for those that a query only reads from. `SELECT ... FROM (VALUES ('1.50')) x(s)` would find a number in `s`.

use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::common::Column;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan};
use datafusion::sql::parser::Statement as Parsed;
use datafusion::sql::planner::object_name_to_table_reference;
use datafusion::sql::sqlparser::ast::{
    Insert, Query, SetExpr, Statement as Sql, TableObject, Visit, Visitor,
};

use super::Destination;
use super::check::last_word;
use crate::error::{Code, Error, Result};
use crate::query::errors::from_datafusion;
use crate::query::resolve::{CATALOG, Names};

/// The columns of an INSERT into points that names none, by how many there are.
pub(super) async fn positional(
    state: &SessionState,
    insert: &Insert,
    destination: &Destination,
) -> Result<&'static [&'static str]> {
    if let Destination::Stream(_) = destination {
        return Ok(&["time", "value"]);
    }
    let source = insert
        .source
        .as_ref()
        .ok_or_else(|| Error::internal("an INSERT without rows was let through"))?;
    let count = match source.body.as_ref() {
        SetExpr::Values(values) => values.rows.first().map_or(0, |row| row.content.len()),
        _ => {
            let query = Parsed::Statement(Box::new(Sql::Query(source.clone())));
            let plan = state.statement_to_plan(query).await;
            plan.map_err(from_datafusion)?.schema().fields().len()
        }
    };
    match count {
        3 => Ok(&["uuid", "time", "value"]),
        4 => Ok(&["collection", "name", "time", "value"]),
        6 => Ok(&["uuid", "collection", "name", "unit", "time", "value"]),
        _ => Err(Error::invalid(format!(
            "INSERT INTO points takes uuid, time, value; or collection, name, time, value; or all six columns; here are \
             {count}: name them, as in INSERT INTO points (uuid, time, value)"
        ))),
    }
}

/// The columns to insert, cast and called as in the table, and the query that they are of; none if the query may be planned with
/// its INSERT.
///
/// # Errors
/// Those of the query; Invalid if it has another number of columns than there are to insert.
pub(super) async fn source_apart(
    state: &SessionState,
    names: &Names,
    insert: &Insert,
) -> Result<Option<(Vec<Expr>, Arc<LogicalPlan>)>> {
    let (Some(source), TableObject::TableName(table)) = (&insert.source, &insert.table) else {
        return Ok(None);
    };
    if !reads_values(source) {
        return Ok(None);
    }
    let reference = object_name_to_table_reference(table.clone(), true).map_err(from_datafusion)?;
    let schema = names.schema_of(&reference).to_owned();
    let resolved = reference.resolve(CATALOG, &schema);
    let table = names
        .table(&resolved.schema, &resolved.table)
        .ok_or_else(|| Error::internal("a table was lost while an INSERT was planned"))?
        .schema();
    let query = Parsed::Statement(Box::new(Sql::Query(source.clone())));
    let plan = state.statement_to_plan(query).await;
    let plan = plan.map_err(from_datafusion)?;
    let columns: Vec<String> = match insert.columns.as_slice() {
        [] => table
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .collect(),
        columns => columns.iter().map(last_word).collect(),
    };
    let found = plan.schema().fields().len();
    if found != columns.len() {
        return Err(Error::invalid(format!(
            "the query has {found} columns, and {} are to be inserted: {}",
            columns.len(),
            columns.join(", ")
        ))
        .with_code(Code::InvalidParameter));
    }
    let mut named = Vec::with_capacity(found);
    for (position, name) in columns.iter().enumerate() {
        let field = table.field_with_name(name).map_err(|_| {
            Error::invalid(format!("there is no column \"{name}\" to insert into"))
                .with_code(Code::InvalidParameter)
        })?;
        let column = Column::from(plan.schema().qualified_field(position));
        let cast = Expr::Column(column).cast_to(field.data_type(), plan.schema());
        named.push(cast.map_err(from_datafusion)?.alias(name));
    }
    Ok(Some((named, Arc::new(plan))))
}

/// Whether there are VALUES in the query that are not what it delivers as they stand.
fn reads_values(source: &Query) -> bool {
    let mut count = ValuesCount(0);
    let _ = source.visit(&mut count);
    let is_delivered = matches!(source.body.as_ref(), SetExpr::Values(_));
    count.0 > usize::from(is_delivered)
}

/// Counts queries that have VALUES.
struct ValuesCount(usize);

impl Visitor for ValuesCount {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.0 += usize::from(has_values(&query.body));
        ControlFlow::Continue(())
    }
}

/// Whether VALUES stand in a query itself. What stands in parentheses is a query of its own.
fn has_values(body: &SetExpr) -> bool {
    match body {
        SetExpr::Values(_) => true,
        SetExpr::SetOperation { left, right, .. } => has_values(left) || has_values(right),
        _ => false,
    }
}
