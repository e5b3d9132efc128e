//! Rows of VALUES, worked out without a plan of their own: for one row of parameters or for ten thousand.
//!
//! ```text
//! INSERT INTO points VALUES ($1, $2, $3 * 2)    and 10,000 rows of parameters
//!     parameters  => columns $1, $2, $3 of 10,000 rows
//!     expressions => evaluated over these, once
//! ```

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::{CastOptions, cast_with_options, interleave};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::execution::SessionState;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{Expr, LogicalPlan, Values, cast};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use uuid::Uuid;

use super::reworded;
use crate::error::{Error, Result};
use crate::query::errors::from_datafusion;

/// The rows that `plan` delivers for all of `rows` together, if it is VALUES and nothing else; `rows` come one after the other.
pub(super) fn evaluate(
    state: &SessionState,
    plan: &LogicalPlan,
    parameters: &SchemaRef,
    rows: &[Vec<ScalarValue>],
) -> Result<Option<RecordBatch>> {
    let LogicalPlan::Projection(projection) = plan else {
        return Ok(None);
    };
    let LogicalPlan::Values(values) = projection.input.as_ref() else {
        return Ok(None);
    };
    if !is_plain(values)? {
        return Ok(None);
    }
    let given = parameter_batch(parameters, rows)?;
    let schema = Arc::new(values.schema.as_arrow().clone());
    let listed = listed(state, values, &schema, &given)?;
    let input = DFSchema::try_from(nullable(&schema)).map_err(from_datafusion)?;
    let count = listed.num_rows();
    let mut fields = Vec::with_capacity(projection.expr.len());
    let mut columns = Vec::with_capacity(projection.expr.len());
    for (expr, field) in projection.expr.iter().zip(projection.schema.fields()) {
        let expr = unqualified(expr)?;
        let column = state
            .create_physical_expr(expr, &input)
            .and_then(|expr| expr.evaluate(&listed)?.into_array(count))
            .map_err(from_datafusion)?;
        fields.push(Field::new(field.name(), column.data_type().clone(), true));
        columns.push(column);
    }
    let schema = Arc::new(Schema::new(fields));
    batch(schema, columns, count).map(Some)
}

/// Whether nothing in it needs a plan: no sub-queries.
fn is_plain(values: &Values) -> Result<bool> {
    let mut plain = true;
    for cell in values.values.iter().flatten() {
        cell.apply(|expr| {
            plain &= !matches!(
                expr,
                Expr::ScalarSubquery(_)
                    | Expr::Exists(_)
                    | Expr::InSubquery(_)
                    | Expr::SetComparison(_)
            );
            Ok(TreeNodeRecursion::Continue)
        })
        .map_err(from_datafusion)?;
    }
    Ok(plain)
}

/// The columns of VALUES, for all rows of parameters.
fn listed(
    state: &SessionState,
    values: &Values,
    schema: &SchemaRef,
    given: &RecordBatch,
) -> Result<RecordBatch> {
    let given_schema = DFSchema::try_from(given.schema()).map_err(from_datafusion)?;
    let count = given.num_rows();
    let mut columns = Vec::with_capacity(schema.fields().len());
    for (position, field) in schema.fields().iter().enumerate() {
        let cells = values.values.iter().map(|row| &row[position]);
        columns.push(match constants(cells.clone(), field.data_type()) {
            Some(column) if count == 1 => column?,
            _ => {
                let cells = cells.enumerate().map(|(row, cell)| {
                    let column = cell_column(state, cell, field.data_type(), given, &given_schema);
                    column.map_err(|error| {
                        let message = format!(
                            "VALUES, row {}, column {}: {}",
                            row + 1,
                            position + 1,
                            error.message()
                        );
                        reworded(error, message)
                    })
                });
                woven(&cells.collect::<Result<Vec<ArrayRef>>>()?, count)?
            }
        });
    }
    batch(nullable(schema), columns, count * values.values.len())
}

/// A column of constants, if that is all it has.
fn constants<'a>(
    cells: impl Iterator<Item = &'a Expr>,
    data_type: &DataType,
) -> Option<Result<ArrayRef>> {
    if data_type.is_nested() {
        return None;
    }
    let scalars: Option<Vec<ScalarValue>> = cells.map(|cell| constant(cell, data_type)).collect();
    Some(ScalarValue::iter_to_array(scalars?).map_err(from_datafusion))
}

/// The value of a constant as `data_type`, if it has one: what fails is left to the evaluation that says why.
fn constant(cell: &Expr, data_type: &DataType) -> Option<ScalarValue> {
    let value = match cell {
        Expr::Literal(value, _) => value.clone(),
        Expr::Cast(cast) => constant(&cast.expr, cast.field.data_type())?,
        Expr::Alias(alias) => constant(&alias.expr, data_type)?,
        _ => return None,
    };
    if value.data_type() == *data_type {
        return Some(value);
    }
    value.cast_to(data_type).ok()
}

/// One cell of VALUES over all rows of parameters.
fn cell_column(
    state: &SessionState,
    cell: &Expr,
    data_type: &DataType,
    given: &RecordBatch,
    schema: &DFSchema,
) -> Result<ArrayRef> {
    // Functions of the moment, such as now(), have a value only once they are simplified.
    let expr = simplified(state, with_columns(cell, schema)?, schema)?;
    let column = state
        .create_physical_expr(expr, schema)
        .and_then(|expr| expr.evaluate(given)?.into_array(given.num_rows()))
        .map_err(from_datafusion)?;
    exactly(&column, data_type)
}

/// An expression with its types settled and its constants worked out.
pub(super) fn simplified(state: &SessionState, expr: Expr, schema: &DFSchema) -> Result<Expr> {
    let context = SimplifyContext::builder()
        .with_schema(Arc::new(schema.clone()))
        .with_config_options(Arc::clone(state.config_options()))
        .with_query_execution_start_time(state.execution_props().query_execution_start_time)
        .build();
    let simplifier = ExprSimplifier::new(context);
    let coerced = simplifier.coerce(expr, schema);
    coerced
        .and_then(|expr| simplifier.simplify(expr))
        .map_err(from_datafusion)
}

/// `$1` as the column of that name.
fn with_columns(cell: &Expr, schema: &DFSchema) -> Result<Expr> {
    let replaced = cell.clone().transform(|expr| {
        Ok(match expr {
            Expr::Placeholder(placeholder) => {
                let column = Expr::Column(Column::new_unqualified(placeholder.id.clone()));
                let given = schema.field_with_unqualified_name(&placeholder.id)?;
                Transformed::yes(match &placeholder.field {
                    Some(field) if field.data_type() != given.data_type() => {
                        cast(column, field.data_type().clone())
                    }
                    _ => column,
                })
            }
            other => Transformed::no(other),
        })
    });
    Ok(replaced.map_err(from_datafusion)?.data)
}

/// Columns of the cells, row by row of parameters: all cells for the first row, then for the second.
fn woven(cells: &[ArrayRef], count: usize) -> Result<ArrayRef> {
    if let [cell] = cells {
        return Ok(Arc::clone(cell));
    }
    let arrays: Vec<&dyn Array> = cells.iter().map(AsRef::as_ref).collect();
    let order: Vec<(usize, usize)> = (0..count)
        .flat_map(|row| (0..arrays.len()).map(move |cell| (cell, row)))
        .collect();
    interleave(&arrays, &order).map_err(|error| from_datafusion(error.into()))
}

/// The parameters as columns `$1` to `$n`, each of the type that the statement says.
fn parameter_batch(parameters: &SchemaRef, rows: &[Vec<ScalarValue>]) -> Result<RecordBatch> {
    let mut fields = Vec::with_capacity(parameters.fields().len());
    let mut columns = Vec::with_capacity(parameters.fields().len());
    for (position, field) in parameters.fields().iter().enumerate() {
        let data_type = match field.data_type() {
            DataType::Null => rows
                .iter()
                .map(|row| row[position].data_type())
                .find(|data_type| *data_type != DataType::Null)
                .unwrap_or(DataType::Null),
            known => known.clone(),
        };
        let values = rows.iter().enumerate().map(|(row, values)| {
            fitted(&values[position], &data_type).map_err(|error| {
                let message = format!(
                    "row {}: the value of {} is no {data_type}: {}",
                    row + 1,
                    field.name(),
                    error.message()
                );
                reworded(error, message)
            })
        });
        let values = values.collect::<Result<Vec<ScalarValue>>>()?;
        columns.push(ScalarValue::iter_to_array(values).map_err(from_datafusion)?);
        fields.push(Field::new(field.name(), data_type, true));
    }
    batch(Arc::new(Schema::new(fields)), columns, rows.len())
}

/// A value of a parameter as its type; 16 bytes for a text are a uuid.
pub(super) fn fitted(value: &ScalarValue, data_type: &DataType) -> Result<ScalarValue> {
    if value.data_type() == *data_type {
        return Ok(value.clone());
    }
    if let (ScalarValue::FixedSizeBinary(16, Some(bytes)), true) = (value, data_type.is_string())
        && let Ok(uuid) = Uuid::from_slice(bytes)
    {
        return Ok(ScalarValue::Utf8(Some(uuid.to_string())));
    }
    let cast = value.cast_to(data_type).map_err(from_datafusion)?;
    if value.data_type().is_floating() && data_type.is_integer() {
        // Arrow would cut the fraction off.
        let back = cast.cast_to(&value.data_type()).map_err(from_datafusion)?;
        if back != *value {
            return Err(Error::invalid(format!("{value} is no whole number")));
        }
    }
    Ok(cast)
}

fn exactly(column: &ArrayRef, data_type: &DataType) -> Result<ArrayRef> {
    if column.data_type() == data_type {
        return Ok(Arc::clone(column));
    }
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    cast_with_options(column, data_type, &options).map_err(|error| from_datafusion(error.into()))
}

/// What is not null is found later, by the row.
fn nullable(schema: &SchemaRef) -> SchemaRef {
    let fields = schema.fields().iter();
    let fields = fields.map(|field| field.as_ref().clone().with_nullable(true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn unqualified(expr: &Expr) -> Result<Expr> {
    let stripped = expr.clone().transform(|expr| {
        Ok(match expr {
            Expr::Column(column) if column.relation.is_some() => {
                Transformed::yes(Expr::Column(Column::new_unqualified(column.name)))
            }
            other => Transformed::no(other),
        })
    });
    Ok(stripped.map_err(from_datafusion)?.data)
}

fn batch(schema: SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema, columns, &options)
        .map_err(|error| Error::internal(error.to_string()))
}
