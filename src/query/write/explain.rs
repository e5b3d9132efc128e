//! EXPLAIN of a statement that writes: what it would do, and nothing of it done.

use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::Statement as Parsed;
use datafusion::sql::sqlparser::ast::{SetExpr, Statement as Sql};

use super::Change;
use super::delete::Deletion;
use super::insert::COMMIT_POINTS;
use super::plan::template;
use crate::error::Result;
use crate::query::catalogue::StreamColumn;
use crate::query::errors::from_datafusion;
use crate::query::parse::innermost;
use crate::query::statement::Statement;

/// A plan of EXPLAIN as `parsed` asks for it, over a query that stands for the one of the write; none if it explains nothing.
pub(in crate::query) async fn explanation(
    state: &SessionState,
    parsed: &Parsed,
) -> Result<Option<LogicalPlan>> {
    if !matches!(parsed, Parsed::Explain(_)) {
        return Ok(None);
    }
    let mut stand_in = template()?;
    // Nothing of its table is wanted.
    if let Sql::Query(query) = &mut stand_in
        && let SetExpr::Select(select) = query.body.as_mut()
    {
        select.from.clear();
    }
    let mut explain = parsed.clone();
    *innermost(&mut explain) = Parsed::Statement(Box::new(stand_in));
    let plan = state.statement_to_plan(explain).await;
    plan.map(Some).map_err(from_datafusion)
}

/// The operations that running the statement would ask of the backend. Reads what a DELETE would choose.
pub(in crate::query) async fn explain(statement: &Statement, change: &Change) -> Result<String> {
    Ok(match change {
        Change::InsertPoints(to) => format!(
            "Insert, into={to}, merge={}, commit={COMMIT_POINTS} points",
            statement.merge().as_str()
        ),
        Change::InsertStreams => "Create, one call for each row, after a check of all".to_owned(),
        Change::UpdateStreams {
            columns,
            is_guarded,
        } => {
            let guard = if *is_guarded {
                "the statement's property_version"
            } else {
                "the property_version read, again if it changed"
            };
            format!("{}, guard={guard}", operations(columns))
        }
        Change::DeleteStreams { is_about_points } => {
            let guard = if *is_about_points {
                ", guard=the version read"
            } else {
                ""
            };
            format!("Obliterate, one call for each row{guard}")
        }
        Change::DeletePoints(from) => {
            let deletion = Deletion::of(statement, from).await?;
            let found = deletion.count(statement.frame().backend.as_ref()).await?;
            let calls: usize = found.iter().map(|(_, ranges)| ranges.len()).sum();
            let points: u64 = found
                .iter()
                .flat_map(|(_, ranges)| ranges.iter().map(|(_, points)| points))
                .sum();
            format!("{deletion}, points={points}, calls={calls}")
        }
    })
}

fn operations(columns: &[StreamColumn]) -> String {
    let (annotations, tags): (Vec<StreamColumn>, Vec<StreamColumn>) = columns
        .iter()
        .partition(|column| **column == StreamColumn::Annotations);
    let mut operations = Vec::new();
    if !tags.is_empty() {
        let names: Vec<&str> = tags.into_iter().map(StreamColumn::as_str).collect();
        operations.push(format!("SetStreamTags [{}]", names.join(", ")));
    }
    if !annotations.is_empty() {
        operations.push("SetStreamAnnotations".to_owned());
    }
    operations.join(", then ")
}
