//! Which streams a predicate means.
//!
//! `LIKE`, `IN`, `OR` and functions are not reinterpreted: DataFusion's own expressions are evaluated over the catalogue's
//! columns, so the choice is exact by construction. Equalities narrow what is fetched first.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{Field, Schema};
use datafusion::catalog::Session;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::error::Result;
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{BinaryExpr, Expr, Operator, Volatility};

use super::catalogue::StreamColumn;
use super::errors::to_datafusion;
use super::scan::batch_of;
use super::session::Frame;
use crate::error::ErrorKind;
use crate::model::{CollectionMatch, StreamDescriptor, StreamFilter, StreamId, TagKey};

/// Whether `filter` can be decided from the catalogue alone, once per stream.
pub(super) fn is_about_streams(filter: &Expr) -> bool {
    let mut about_streams = true;
    let mut has_column = false;
    let visited = filter.apply(|expr| {
        match expr {
            Expr::Column(column) if StreamColumn::told(&column.name).is_some() => has_column = true,
            Expr::Column(_)
            | Expr::OuterReferenceColumn(..)
            | Expr::ScalarSubquery(_)
            | Expr::Exists(_)
            | Expr::InSubquery(_)
            | Expr::SetComparison(_)
            | Expr::Placeholder(_) => about_streams = false,
            // random() < 0.5 is a question about each row, not about each stream.
            Expr::ScalarFunction(call)
                if call.func.signature().volatility == Volatility::Volatile =>
            {
                about_streams = false;
            }
            _ => {}
        }
        Ok(if about_streams {
            TreeNodeRecursion::Continue
        } else {
            TreeNodeRecursion::Stop
        })
    });
    visited.is_ok() && about_streams && has_column
}

/// The streams for which all of `filters` that are about streams are true, ascending by collection, name, uuid.
pub(super) async fn select(
    frame: &Frame,
    state: &dyn Session,
    filters: &[Expr],
) -> Result<Vec<Arc<StreamDescriptor>>> {
    // What a filter says of every stream alike was about streams before it was simplified.
    if filters.iter().any(holds_for_none) {
        return Ok(Vec::new());
    }
    let filters: Vec<Expr> = filters
        .iter()
        .filter(|filter| is_about_streams(filter))
        .map(unqualified)
        .collect::<Result<_>>()?;
    let streams = fetch(frame, &filters).await?;
    let Some(predicate) = conjunction(filters) else {
        return Ok(streams);
    };
    let chosen = evaluate(state, predicate, &streams)?;
    let chosen = chosen.as_boolean();
    Ok(streams
        .into_iter()
        .enumerate()
        .filter(|(row, _)| chosen.is_valid(*row) && chosen.value(*row))
        .map(|(_, stream)| stream)
        .collect())
}

/// Whether it is a constant that is not true. DataFusion simplifies `name IN (NULL)` to one after the scan has accepted it.
fn holds_for_none(filter: &Expr) -> bool {
    match filter {
        Expr::Literal(ScalarValue::Boolean(holds), _) => *holds != Some(true),
        Expr::Literal(value, _) => value.is_null(),
        _ => false,
    }
}

/// An expression [about streams](is_about_streams), one row a stream.
pub(super) fn evaluate(
    state: &dyn Session,
    expr: Expr,
    streams: &[Arc<StreamDescriptor>],
) -> Result<ArrayRef> {
    let expr = unqualified(&expr)?;
    let columns = expr.column_refs();
    let mut columns: Vec<StreamColumn> = columns
        .into_iter()
        .filter_map(|column| StreamColumn::told(&column.name))
        .collect();
    columns.dedup();
    let batch = told_batch(&columns, streams)?;
    let schema = DFSchema::try_from(batch.schema())?;
    state
        .create_physical_expr(expr, &schema)?
        .evaluate(&batch)?
        .into_array(batch.num_rows())
}

/// Columns of the catalogue, one row a stream.
pub(super) fn told_batch(
    columns: &[StreamColumn],
    streams: &[Arc<StreamDescriptor>],
) -> Result<RecordBatch> {
    let fields: Vec<Field> = columns.iter().map(|column| column.field()).collect();
    let arrays = columns
        .iter()
        .map(|column| column.told_column(streams))
        .collect::<Result<Vec<_>>>()?;
    batch_of(&Arc::new(Schema::new(fields)), arrays, streams.len())
}

/// The filter as a question about the catalogue, whatever the table is called in the statement.
fn unqualified(filter: &Expr) -> Result<Expr> {
    use datafusion::common::tree_node::Transformed;
    let stripped = filter.clone().transform(|expr| {
        Ok(match expr {
            Expr::Column(column) if column.relation.is_some() => {
                Transformed::yes(Expr::Column(Column::new_unqualified(column.name)))
            }
            other => Transformed::no(other),
        })
    })?;
    Ok(stripped.data)
}

/// The streams that may satisfy `filters`: what equalities name, or all.
async fn fetch(frame: &Frame, filters: &[Expr]) -> Result<Vec<Arc<StreamDescriptor>>> {
    let equal = |wanted: &str| {
        filters
            .iter()
            .flat_map(split_conjunction)
            .find_map(|filter| equality(filter, wanted))
    };
    if let Some(uuid) = equal("uuid") {
        // Text that is not the canonical form of a uuid equals no stream's.
        let Some(id) = uuid
            .parse::<StreamId>()
            .ok()
            .filter(|id| id.to_string() == uuid)
        else {
            return Ok(Vec::new());
        };
        return match frame.backend.describe(&[id]).await {
            Ok(streams) => Ok(streams),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(to_datafusion(error)),
        };
    }
    let mut filter = StreamFilter::collection(match equal("collection") {
        Some(collection) => CollectionMatch::Exact(collection),
        None => CollectionMatch::Any,
    });
    if let Some(name) = equal("name") {
        filter.tags.push((TagKey::Name, Some(name)));
    }
    frame.backend.find(filter).await.map_err(to_datafusion)
}

/// The text that `filter` says `column` equals.
fn equality(filter: &Expr, column: &str) -> Option<String> {
    let Expr::BinaryExpr(BinaryExpr {
        left,
        op: Operator::Eq,
        right,
    }) = filter
    else {
        return None;
    };
    match (left.as_ref(), right.as_ref()) {
        (found, Expr::Literal(value, _)) | (Expr::Literal(value, _), found)
            if is_text_of(found, column) =>
        {
            text_of(value)
        }
        _ => None,
    }
}

/// Whether `expr` is `column`, as text of whatever type.
pub(super) fn is_text_of(expr: &Expr, column: &str) -> bool {
    match expr {
        Expr::Column(found) => found.name == column,
        Expr::Cast(cast) => cast.field.data_type().is_string() && is_text_of(&cast.expr, column),
        _ => false,
    }
}

/// The text in a literal of any type of text.
pub(super) fn text_of(value: &ScalarValue) -> Option<String> {
    match value {
        ScalarValue::Utf8(text) | ScalarValue::Utf8View(text) | ScalarValue::LargeUtf8(text) => {
            text.clone()
        }
        _ => None,
    }
}
