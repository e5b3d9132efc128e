//! The parameters of a statement, and what types they have.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::Result as PlanResult;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::sql::parser::Statement as Parsed;

use super::arguments;
use super::delivered::plain;
use super::errors::from_datafusion;
use crate::error::Result;

/// `$1` to `$n` in order, all nullable; one whose type nothing tells is [`DataType::Null`].
pub(super) fn of(parsed: &Parsed, plan: &LogicalPlan) -> Result<SchemaRef> {
    let mut types = BTreeMap::<usize, DataType>::new();
    let mut told = written_types(plan).map_err(from_datafusion)?;
    for (id, data_type) in plan.get_parameter_types().map_err(from_datafusion)? {
        let data_type = data_type
            .or_else(|| told.remove(&id))
            .unwrap_or(DataType::Null);
        types.insert(arguments::ordinal(&id)?, plain(&data_type));
    }
    for (id, names_stream) in arguments::parameters(parsed) {
        let known = if names_stream {
            DataType::Utf8
        } else {
            DataType::Null
        };
        types.entry(arguments::ordinal(&id)?).or_insert(known);
    }
    let count = types.keys().next_back().copied().unwrap_or(0);
    let fields: Vec<Field> = (1..=count)
        .map(|ordinal| {
            let data_type = types.remove(&ordinal).unwrap_or(DataType::Null);
            Field::new(format!("${ordinal}"), data_type, true)
        })
        .collect();
    Ok(Arc::new(Schema::new(fields)))
}

/// The types that a text spells out where DataFusion infers none: `CAST($1 AS DOUBLE)` takes a double, `LIMIT $1` a number of
/// rows.
fn written_types(plan: &LogicalPlan) -> PlanResult<BTreeMap<String, DataType>> {
    let mut types = BTreeMap::new();
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::Limit(limit) = node {
            let counts = [&limit.skip, &limit.fetch];
            for count in counts.into_iter().flatten() {
                if let Expr::Placeholder(parameter) = count.as_ref() {
                    types.insert(parameter.id.clone(), DataType::Int64);
                }
            }
        }
        node.apply_expressions(|expr| {
            expr.apply(|inner| {
                let cast = match inner {
                    Expr::Cast(cast) => Some((&cast.expr, &cast.field)),
                    Expr::TryCast(cast) => Some((&cast.expr, &cast.field)),
                    _ => None,
                };
                if let Some((value, field)) = cast
                    && let Expr::Placeholder(parameter) = value.as_ref()
                {
                    types.insert(parameter.id.clone(), field.data_type().clone());
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(types)
}
