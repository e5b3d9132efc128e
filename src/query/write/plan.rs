//! From a statement that writes to what it does, and the query whose rows it does it with.
//!
//! ```text
//! INSERT INTO points VALUES (...)          InsertPoints, VALUES cast to the columns
//! UPDATE streams SET unit = x WHERE p  =>  UpdateStreams, SELECT uuid, property_version, x FROM streams WHERE p
//! DELETE FROM points WHERE p               DeletePoints,  SELECT ... FROM points WHERE p: only p is looked at
//! ```
//!
//! The query is DataFusion's, with its names, casts and types of parameters. What is done with the rows is ours: its own hooks
//! for tables tell neither versions nor what was applied before a failure.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion::common::Column;
use datafusion::execution::SessionState;
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{
    BinaryExpr, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Operator, Projection,
};
use datafusion::sql::parser::{DFParserBuilder, Statement as Parsed};
use datafusion::sql::planner::object_name_to_table_reference;
use datafusion::sql::sqlparser::ast::{
    Assignment, AssignmentTarget, Delete, Ident, Insert, ObjectName, SetExpr, Statement as Sql,
    TableObject, Update,
};

use super::check::{last_word, name_of, refused, table_of};
use super::source::{positional, source_apart};
use super::{Change, Destination};
use crate::error::{Error, Result};
use crate::query::catalogue::StreamColumn;
use crate::query::errors::from_datafusion;
use crate::query::functions::Function;
use crate::query::metadata::StreamsTable;
use crate::query::minutes::complete_column_of;
use crate::query::resolve::{CATALOG, Names};
use crate::query::table::{PointsTable, StreamTable};

/// A table that can be written.
enum Target {
    Streams,
    Points(Destination),
}

/// What the statement does, and with which rows.
///
/// # Errors
/// Unsupported for tables and columns that cannot be written, with the reason; what planning finds wrong with the query.
pub(in crate::query) async fn plan(
    state: &SessionState,
    names: &Names,
    statement: &Sql,
) -> Result<(Change, LogicalPlan)> {
    match statement {
        Sql::Insert(insert) => plan_insert(state, names, insert).await,
        Sql::Update(update) => plan_update(state, names, update).await,
        Sql::Delete(delete) => plan_delete(state, names, delete).await,
        other => Err(Error::internal(format!("\"{other}\" does not write"))),
    }
}

fn target_of(names: &Names, name: &ObjectName, verb: &str) -> Result<Target> {
    let reference = object_name_to_table_reference(name.clone(), true).map_err(from_datafusion)?;
    if reference.schema().is_none() && Function::named(reference.table()).is_some() {
        return Err(refused(
            &format!("{verb} {name}"),
            "it is a function of what is stored; write to the stream's table, or to points",
        ));
    }
    let schema = names.schema_of(&reference).to_owned();
    let resolved = reference.resolve(CATALOG, &schema);
    let Some(table) = names.table(&resolved.schema, &resolved.table) else {
        return Err(refused(
            &format!("{verb} {name}"),
            "what can be written are streams, points, and tables of streams",
        ));
    };
    if table.downcast_ref::<StreamsTable>().is_some() {
        Ok(Target::Streams)
    } else if table.downcast_ref::<PointsTable>().is_some() {
        Ok(Target::Points(Destination::Points))
    } else if let Some(table) = table.downcast_ref::<StreamTable>() {
        if let Some(version) = table.stream.version {
            return Err(refused(
                &format!("{verb} {name}"),
                &format!(
                    "version {version} stays as it is; leave out @{version} to write the stream"
                ),
            ));
        }
        let descriptor = Arc::clone(&table.stream.descriptor);
        Ok(Target::Points(Destination::Stream(descriptor)))
    } else {
        Err(refused(
            &format!("{verb} {name}"),
            "collections are what streams say they are in: INSERT INTO streams, or UPDATE streams SET collection",
        ))
    }
}

async fn plan_insert(
    state: &SessionState,
    names: &Names,
    insert: &Insert,
) -> Result<(Change, LogicalPlan)> {
    let TableObject::TableName(table) = &insert.table else {
        return Err(refused("this target of INSERT", "it takes a table"));
    };
    let target = target_of(names, table, "INSERT INTO")?;
    let mut insert = insert.clone();
    let change = match target {
        Target::Streams => {
            check_stream_columns(&insert)?;
            Change::InsertStreams
        }
        Target::Points(destination) => {
            if insert.columns.is_empty() {
                let columns = positional(state, &insert, &destination).await?;
                insert.columns = columns.iter().map(|name| ident(name).into()).collect();
            }
            check_point_columns(&insert, &destination)?;
            let time = insert
                .columns
                .iter()
                .position(|name| last_word(name) == "time");
            if let (Some(time), Some(source)) = (time, &mut insert.source) {
                complete_column_of(source, time);
            }
            Change::InsertPoints(destination)
        }
    };
    let columns: Vec<String> = insert.columns.iter().map(last_word).collect();
    let apart = source_apart(state, names, &insert).await?;
    let (mut named, input) = match apart {
        Some(planned) => planned,
        None => {
            let parsed = Parsed::Statement(Box::new(Sql::Insert(insert)));
            let plan = state.statement_to_plan(parsed).await;
            projection_of(plan.map_err(from_datafusion)?)?
        }
    };
    named.retain(|expr| columns.iter().any(|column| column == output_name(expr)));
    let input = with_parameters(&named, input)?;
    for expr in &named {
        check_cast(expr, &input)?;
    }
    let plan = Projection::try_new(named, input).map_err(from_datafusion)?;
    Ok((change, LogicalPlan::Projection(plan)))
}

fn check_point_columns(insert: &Insert, destination: &Destination) -> Result<()> {
    let given: Vec<String> = insert.columns.iter().map(last_word).collect();
    let known: &[&str] = match destination {
        Destination::Points => &["uuid", "collection", "name", "unit", "time", "value"],
        Destination::Stream(_) => &["time", "value"],
    };
    if let Some(unknown) = given.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(Error::invalid(format!(
            "there is no column {unknown} to insert into: columns are {}",
            known.join(", ")
        )));
    }
    let has = |name: &str| given.iter().any(|given| given == name);
    if !has("time") || !has("value") {
        return Err(Error::invalid(
            "a point takes a time and a value: name the columns time and value",
        ));
    }
    let names_stream = has("uuid") || (has("collection") && has("name"));
    if matches!(destination, Destination::Points) && !names_stream {
        return Err(Error::invalid(
            "the columns do not say which stream a point belongs to: give uuid, or collection and name",
        ));
    }
    Ok(())
}

/// The columns of `streams` that a user can give, or change.
const GIVEN: [StreamColumn; 7] = [
    StreamColumn::Collection,
    StreamColumn::Name,
    StreamColumn::Unit,
    StreamColumn::Ingress,
    StreamColumn::Distiller,
    StreamColumn::Tags,
    StreamColumn::Annotations,
];

fn check_stream_columns(insert: &Insert) -> Result<()> {
    let given: Vec<String> = insert.columns.iter().map(last_word).collect();
    if given.is_empty() {
        return Err(Error::invalid(
            "INSERT INTO streams names its columns, because some are computed: INSERT INTO streams (collection, name, unit) \
             VALUES (...); also uuid, ingress, distiller, tags, annotations",
        ));
    }
    for name in &given {
        if name != "uuid" {
            stream_column(name, "given")?;
        }
    }
    if !given.iter().any(|name| name == "collection") {
        return Err(Error::invalid(
            "a stream is in a collection: name the column collection",
        ));
    }
    Ok(())
}

/// The column of `streams` of that name, if it can be given or changed.
fn stream_column(name: &str, verb: &str) -> Result<StreamColumn> {
    if let Some(column) = GIVEN.into_iter().find(|column| column.as_str() == name) {
        return Ok(column);
    }
    let why = match name {
        "uuid" => "a stream is its uuid: create another, or obliterate this one",
        "property_version" => {
            "the store counts changes there; in WHERE it guards against changes that came between"
        }
        "version" | "point_count" | "earliest" | "latest" => {
            "it follows from the points: INSERT INTO points, or DELETE FROM points"
        }
        _ => {
            let known = GIVEN.map(StreamColumn::as_str).join(", ");
            return Err(Error::invalid(format!(
                "streams have no column {name}: columns are uuid, {known}"
            )));
        }
    };
    Err(Error::unsupported(format!(
        "column {name} cannot be {verb}: {why}"
    )))
}

async fn plan_update(
    state: &SessionState,
    names: &Names,
    update: &Update,
) -> Result<(Change, LogicalPlan)> {
    let name = name_of(&update.table).ok_or_else(|| refused("this UPDATE", "it takes a table"))?;
    match target_of(names, name, "UPDATE")? {
        Target::Streams => {}
        Target::Points(_) => {
            return Err(refused(
                &format!("UPDATE {name}"),
                "points are not changed in place; SET btrdb.merge = replace and INSERT points at their times, or DELETE them",
            ));
        }
    }
    let mut update = update.clone();
    let mut assigned = Vec::with_capacity(update.assignments.len());
    for Assignment { target, .. } in &mut update.assignments {
        if let AssignmentTarget::ColumnName(name) = target {
            let word = last_word(name);
            assigned.push(stream_column(&word, "changed")?);
            // DataFusion compares the name as it is written.
            *name = ident(&word).into();
        }
    }
    let parsed = Parsed::Statement(Box::new(Sql::Update(update)));
    let plan = state
        .statement_to_plan(parsed)
        .await
        .map_err(from_datafusion)?;
    let (expr, input) = projection_of(plan)?;
    let wanted: Vec<Expr> = expr
        .into_iter()
        .filter(|expr| {
            let name = output_name(expr);
            ["uuid", "property_version"].contains(&name)
                || assigned.iter().any(|column| column.as_str() == name)
        })
        .collect();
    let is_guarded = predicate_of(&input).is_some_and(guards);
    let plan = Projection::try_new(wanted, input).map_err(from_datafusion)?;
    let change = Change::UpdateStreams {
        columns: assigned,
        is_guarded,
    };
    Ok((change, LogicalPlan::Projection(plan)))
}

/// Whether the predicate says which property version it is about.
fn guards(predicate: &Expr) -> bool {
    let is_version = |expr: &Expr| matches!(unaliased(expr), Expr::Column(column) if column.name == "property_version");
    split_conjunction(predicate).into_iter().any(|part| {
        matches!(part, Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right })
            if is_version(left) != is_version(right))
    })
}

async fn plan_delete(
    state: &SessionState,
    names: &Names,
    delete: &Delete,
) -> Result<(Change, LogicalPlan)> {
    let table = table_of(delete).ok_or_else(|| refused("this DELETE", "it takes one table"))?;
    let name = name_of(table).ok_or_else(|| refused("this DELETE", "it takes a table"))?;
    let target = target_of(names, name, "DELETE FROM")?;
    let mut query = template()?;
    if let Sql::Query(query) = &mut query
        && let SetExpr::Select(select) = query.body.as_mut()
    {
        select.from = vec![table.clone()];
        select.selection.clone_from(&delete.selection);
    }
    let plan = state
        .statement_to_plan(Parsed::Statement(Box::new(query)))
        .await
        .map_err(from_datafusion)?;
    let (_, input) = projection_of(plan)?;
    match target {
        Target::Points(destination) => {
            let plan = LogicalPlanBuilder::from(input.as_ref().clone())
                .project([column_of(&input, "time")?])
                .and_then(LogicalPlanBuilder::build);
            let plan = plan.map_err(from_datafusion)?;
            Ok((Change::DeletePoints(destination), plan))
        }
        Target::Streams => {
            let mut wanted = vec![column_of(&input, "uuid")?];
            let is_about_points = predicate_of(&input).is_some_and(asks_about_points);
            if is_about_points {
                wanted.push(column_of(&input, "version")?);
            }
            let plan = LogicalPlanBuilder::from(input.as_ref().clone())
                .project(wanted)
                .and_then(LogicalPlanBuilder::build);
            let plan = plan.map_err(from_datafusion)?;
            Ok((Change::DeleteStreams { is_about_points }, plan))
        }
    }
}

/// Whether a predicate on streams looks at their points.
fn asks_about_points(predicate: &Expr) -> bool {
    let columns = predicate.column_refs();
    columns.iter().any(|column| {
        ["version", "point_count", "earliest", "latest"].contains(&column.name.as_str())
    })
}

/// A query to put a table and a predicate into.
pub(super) fn template() -> Result<Sql> {
    let mut statements = DFParserBuilder::new("SELECT 1 FROM t")
        .build()
        .and_then(|mut parser| parser.parse_statements())
        .map_err(from_datafusion)?;
    match statements.pop_front() {
        Some(Parsed::Statement(sql)) => Ok(*sql),
        _ => Err(Error::internal("a query is no statement")),
    }
}

/// A quoted name, which stays as it is.
fn ident(name: &str) -> Ident {
    Ident::with_quote('"', name)
}

/// The expressions of a plan's outermost projection, and what is beneath.
fn projection_of(plan: LogicalPlan) -> Result<(Vec<Expr>, Arc<LogicalPlan>)> {
    let plan = match plan {
        LogicalPlan::Dml(dml) => Arc::unwrap_or_clone(dml.input),
        plan => plan,
    };
    match plan {
        LogicalPlan::Projection(projection) => Ok((projection.expr, projection.input)),
        other => Err(Error::internal(format!(
            "a write was planned without a projection: {}",
            other.display()
        ))),
    }
}

/// The predicate right beneath the projection of a write's query.
pub(super) fn predicate_of(plan: &LogicalPlan) -> Option<&Expr> {
    match plan {
        LogicalPlan::Filter(filter) => Some(&filter.predicate),
        _ => None,
    }
}

fn column_of(plan: &LogicalPlan, name: &str) -> Result<Expr> {
    let found = plan.schema().qualified_field_with_unqualified_name(name);
    let (qualifier, field) = found.map_err(from_datafusion)?;
    Ok(Expr::Column(Column::from((qualifier, field))))
}

fn unaliased(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => unaliased(&alias.expr),
        Expr::Cast(cast) => unaliased(&cast.expr),
        other => other,
    }
}

/// What a projected expression is called.
fn output_name(expr: &Expr) -> &str {
    match expr {
        Expr::Alias(alias) => &alias.name,
        Expr::Column(column) => &column.name,
        _ => "",
    }
}

/// Refuses casts that nobody means, which Arrow would make: times into values and fractions into times.
fn check_cast(expr: &Expr, input: &LogicalPlan) -> Result<()> {
    let target = output_name(expr);
    let takes = match target {
        "time" => "a timestamp, or whole nanoseconds since 1970",
        "value" => "a number",
        _ => return Ok(()),
    };
    for source in sources(unaliased(expr), input) {
        let fits = match target {
            "time" => source.is_temporal() || source.is_integer(),
            _ => source.is_numeric() || source == DataType::Boolean,
        };
        if !fits && !source.is_null() && !source.is_string() {
            return Err(Error::invalid(format!(
                "column {target} is given {source}: it takes {takes}"
            )));
        }
    }
    Ok(())
}

/// The query of an INSERT, in which a parameter that is delivered as it is has the type of its column.
fn with_parameters(named: &[Expr], input: Arc<LogicalPlan>) -> Result<Arc<LogicalPlan>> {
    let LogicalPlan::Projection(projection) = input.as_ref() else {
        return Ok(input);
    };
    let mut delivered = projection.expr.clone();
    for expr in named {
        let Expr::Column(column) = unaliased(expr) else {
            continue;
        };
        let position = input.schema().maybe_index_of_column(column);
        let target = expr.get_type(input.schema()).map_err(from_datafusion)?;
        if let Some(position) = position
            && let Some(placeholder) = parameter_of(&mut delivered[position])
            && placeholder.field.is_none()
        {
            let field = Field::new(placeholder.id.as_str(), target, true);
            placeholder.field = Some(Arc::new(field));
        }
    }
    let plan = Projection::try_new(delivered, Arc::clone(&projection.input));
    plan.map(|plan| Arc::new(LogicalPlan::Projection(plan)))
        .map_err(from_datafusion)
}

/// The parameter that an expression is, whatever it is called.
fn parameter_of(expr: &mut Expr) -> Option<&mut Placeholder> {
    match expr {
        Expr::Placeholder(placeholder) => Some(placeholder),
        Expr::Alias(alias) => parameter_of(&mut alias.expr),
        _ => None,
    }
}

/// The types that a column of rows to insert has before it is cast; a parameter has none of its own.
fn sources(expr: &Expr, input: &LogicalPlan) -> Vec<DataType> {
    let schema = input.schema();
    let (Expr::Column(column), LogicalPlan::Values(values)) = (expr, input) else {
        return expr.get_type(schema).into_iter().collect();
    };
    let Some(position) = schema.maybe_index_of_column(column) else {
        return Vec::new();
    };
    let cells = values.values.iter().map(|row| unaliased(&row[position]));
    cells
        .filter(|cell| !matches!(cell, Expr::Placeholder(_)))
        .filter_map(|cell| cell.get_type(schema).ok())
        .collect()
}
