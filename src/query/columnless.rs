//! Queries without columns where a value is wanted.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    self, SelectFlavor, SelectItem, Statement as Sql, Visit, Visitor,
};

use crate::error::{Error, Result};

/// Refuses subqueries that stand for a value and have no column: the planner takes the type of the first one without looking
/// whether there is one.
pub(super) fn check_columns(statement: &Sql) -> Result<()> {
    let mut columns = Columns::default();
    let _ = statement.visit(&mut columns);
    if columns.is_missing || (columns.is_any && columns.has_none) {
        return Err(Error::invalid(
            "a subquery that stands for a value returns one column, and one here may have none: name it",
        ));
    }
    Ok(())
}

/// Looks for what [`check_columns`] refuses.
#[derive(Default)]
struct Columns {
    /// Some SELECT has no columns.
    has_none: bool,
    /// A subquery that stands for a value is such a SELECT.
    is_missing: bool,
    /// One takes whatever columns there are, which may be those of such a SELECT.
    is_any: bool,
}

impl Visitor for Columns {
    type Break = ();

    fn pre_visit_select(&mut self, select: &ast::Select) -> ControlFlow<()> {
        self.has_none |= has_no_columns(select);
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &ast::Expr) -> ControlFlow<()> {
        if let ast::Expr::Subquery(query) = expr
            && let Some(select) = first_select(&query.body)
        {
            let is_wildcard = |item: &SelectItem| {
                matches!(
                    item,
                    SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..)
                )
            };
            self.is_missing |= has_no_columns(select);
            self.is_any |= select.projection.iter().all(is_wildcard);
        }
        ControlFlow::Continue(())
    }
}

/// Whether it says SELECT and no columns; FROM without SELECT has them all.
fn has_no_columns(select: &ast::Select) -> bool {
    select.projection.is_empty() && select.flavor == SelectFlavor::Standard
}

/// The SELECT that names the columns.
fn first_select(body: &ast::SetExpr) -> Option<&ast::Select> {
    match body {
        ast::SetExpr::Select(select) => Some(select),
        ast::SetExpr::Query(query) => first_select(&query.body),
        ast::SetExpr::SetOperation { left, .. } => first_select(left),
        _ => None,
    }
}
