//! Forms of SQL that DataFusion does not read as they are meant: put in others that it does, or refused by their names.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Fetch, GroupByExpr, GroupByWithModifier, Ident, JoinOperator, LimitClause, ObjectName,
    ObjectNamePart, Query, Select, SelectFlavor, SelectItem, SetExpr, Statement, TableFactor, Top,
    TopQuantity, Value, VisitMut, VisitorMut, WildcardAdditionalOptions,
};

use super::minutes::complete_text_of;
use super::parse::{call_of, refused};
use crate::error::{Error, Result};

/// Brings `statement` into forms that DataFusion plans as they are meant.
///
/// # Errors
/// [`ErrorKind::Unsupported`](crate::error::ErrorKind::Unsupported) for forms that there is no other for.
pub(super) fn adapt(statement: &mut Statement) -> Result<()> {
    match statement.visit(&mut Forms) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct Forms;

impl VisitorMut for Forms {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        fetch_as_limit(query);
        top_as_limit(query);
        stop_at(refused_query(query))
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        complete_text_of(expr);
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Error> {
        // `FROM streams` is short for `SELECT * FROM streams`; DataFusion would leave all columns out.
        if select.flavor == SelectFlavor::FromFirstNoSelect {
            select.flavor = SelectFlavor::Standard;
            select.projection = vec![SelectItem::Wildcard(WildcardAdditionalOptions::default())];
        }
        let mut joins = select.from.iter().flat_map(|table| &table.joins);
        let join = joins.find_map(|join| refused_join(&join.join_operator));
        stop_at(join.or_else(|| refused_select(select)))
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Error> {
        if let Some(error) = refused_table(factor) {
            return ControlFlow::Break(error);
        }
        // DataFusion finds table functions by the letters as written; SQL does not tell their case apart.
        if let Some((function, _)) = call_of(factor)
            && let TableFactor::Table { name, .. } | TableFactor::Function { name, .. } = factor
        {
            *name = ObjectName(vec![ObjectNamePart::Identifier(Ident::new(
                function.as_str(),
            ))]);
        }
        ControlFlow::Continue(())
    }
}

fn stop_at(error: Option<Error>) -> ControlFlow<Error> {
    error.map_or(ControlFlow::Continue(()), ControlFlow::Break)
}

/// `FETCH FIRST 10 ROWS ONLY`, which is the standard's LIMIT.
fn fetch_as_limit(query: &mut Query) {
    let Some(Fetch {
        with_ties: false,
        percent: false,
        quantity,
    }) = &query.fetch
    else {
        return;
    };
    // One row, if it says no number.
    let count = quantity.clone().unwrap_or_else(|| number(1));
    if limit(query, count) {
        query.fetch = None;
    }
}

/// `SELECT TOP 10 ...`, which is SQL Server's.
fn top_as_limit(query: &mut Query) {
    let SetExpr::Select(select) = query.body.as_mut() else {
        return;
    };
    let Some(Top {
        with_ties: false,
        percent: false,
        quantity: Some(quantity),
    }) = &select.top
    else {
        return;
    };
    let count = match quantity {
        TopQuantity::Expr(count) => count.clone(),
        TopQuantity::Constant(count) => number(*count),
    };
    let top = select.top.take();
    if !limit(query, count)
        && let SetExpr::Select(select) = query.body.as_mut()
    {
        select.top = top;
    }
}

/// Limits a query that has no limit, and tells whether it had none.
fn limit(query: &mut Query, count: Expr) -> bool {
    match &mut query.limit_clause {
        clause @ None => {
            *clause = Some(LimitClause::LimitOffset {
                limit: Some(count),
                offset: None,
                limit_by: Vec::new(),
            });
            true
        }
        Some(LimitClause::LimitOffset {
            limit: limit @ None,
            ..
        }) => {
            *limit = Some(count);
            true
        }
        Some(_) => false,
    }
}

fn number(count: u64) -> Expr {
    Expr::Value(Value::Number(count.to_string(), false).into())
}

/// What would be passed over without a word, or has no form that is the same.
fn refused_query(query: &Query) -> Option<Error> {
    let (what, why) = if query.fetch.is_some() {
        (
            "this form of FETCH",
            "FETCH FIRST 10 ROWS ONLY is LIMIT 10; there is no PERCENT, no WITH TIES, and no second limit beside it",
        )
    } else if query.settings.is_some() {
        (
            "SETTINGS",
            "SET btrdb.timeout = '30s' is a statement of its own",
        )
    } else if query.format_clause.is_some() || query.for_clause.is_some() {
        ("a format of the answer", "answers are Arrow")
    } else if !query.pipe_operators.is_empty() {
        ("|>", "clauses follow each other as in SQL's standard")
    } else {
        return None;
    };
    Some(refused(what, why))
}

/// The same, of one SELECT.
fn refused_select(select: &Select) -> Option<Error> {
    let (what, why) = if select.top.is_some() {
        (
            "this form of TOP",
            "SELECT TOP 10 ... is LIMIT 10; there is no PERCENT, no WITH TIES, and no second limit beside it; in a UNION the SELECT \
             stands in parentheses",
        )
    } else if select.prewhere.is_some() {
        ("PREWHERE", "WHERE reads no more than it has to")
    } else if !select.connect_by.is_empty() {
        ("CONNECT BY", "WITH RECURSIVE follows references")
    } else if !modifiers(&select.group_by).is_empty() {
        (
            "GROUP BY ... WITH",
            "GROUP BY ROLLUP (a, b), CUBE (a, b) and GROUPING SETS add totals",
        )
    } else if !select.cluster_by.is_empty()
        || !select.distribute_by.is_empty()
        || !select.sort_by.is_empty()
    {
        ("this order of a cluster", "ORDER BY sorts the rows")
    } else {
        return None;
    };
    Some(refused(what, why))
}

fn modifiers(group_by: &GroupByExpr) -> &[GroupByWithModifier] {
    match group_by {
        GroupByExpr::All(modifiers) | GroupByExpr::Expressions(_, modifiers) => modifiers,
    }
}

fn refused_join(join: &JoinOperator) -> Option<Error> {
    let (what, why) = match join {
        JoinOperator::AsOf { .. } => (
            "ASOF JOIN",
            "pair streams by window, with date_bin on both sides; nearest('collection/name', '2026-01-01', true) reads the point \
             before one time",
        ),
        JoinOperator::CrossApply | JoinOperator::OuterApply => (
            "APPLY",
            "JOIN takes tables and table functions, whose arguments are constants",
        ),
        JoinOperator::ArrayJoin | JoinOperator::LeftArrayJoin | JoinOperator::InnerArrayJoin => {
            ("ARRAY JOIN", "unnest() makes rows of a list")
        }
        JoinOperator::StraightJoin(_) => ("STRAIGHT_JOIN", "JOIN chooses its order by itself"),
        _ => return None,
    };
    Some(refused(what, why))
}

fn refused_table(factor: &TableFactor) -> Option<Error> {
    let (what, why) = match factor {
        TableFactor::NestedJoin {
            table_with_joins, ..
        } => {
            let mut joins = table_with_joins.joins.iter();
            return joins.find_map(|join| refused_join(&join.join_operator));
        }
        TableFactor::Table {
            sample: Some(_), ..
        } => (
            "TABLESAMPLE",
            "DataFusion would pass over it; WHERE random() < 0.1 takes a tenth of the rows",
        ),
        TableFactor::Table {
            version: Some(_), ..
        } => (
            "a version of a table in SQL's own words",
            "\"collection\".\"name@12\" is version 12 of a stream",
        ),
        TableFactor::Table { partitions, .. } if !partitions.is_empty() => (
            "PARTITION of a table",
            "a condition on time says which part is meant",
        ),
        TableFactor::Pivot { .. } => (
            "PIVOT",
            "avg(value) FILTER (WHERE name = 'a') is a column of a, and GROUP BY makes the rows",
        ),
        TableFactor::Unpivot { .. } => ("UNPIVOT", "UNION ALL puts columns below each other"),
        TableFactor::MatchRecognize { .. } => (
            "MATCH_RECOGNIZE",
            "window functions such as lag() compare rows with their neighbours",
        ),
        TableFactor::JsonTable { .. }
        | TableFactor::OpenJsonTable { .. }
        | TableFactor::XmlTable { .. } => (
            "a table made of a document",
            "tables are streams, and what is known about streams",
        ),
        TableFactor::SemanticView { .. } => ("SEMANTIC_VIEW", "there are none"),
        _ => return None,
    };
    Some(refused(what, why))
}

#[cfg(test)]
mod tests {
    use super::super::parse::parse;
    use crate::error::ErrorKind;

    #[test]
    fn limits_of_other_dialects_are_limits() {
        for (sql, limited) in [
            (
                "SELECT * FROM points ORDER BY time FETCH FIRST 5 ROWS ONLY",
                "SELECT * FROM points ORDER BY time LIMIT 5",
            ),
            (
                "SELECT * FROM points OFFSET 3 ROWS FETCH NEXT ROW ONLY",
                "SELECT * FROM points LIMIT 1 OFFSET 3 ROWS",
            ),
            (
                "SELECT TOP 5 time FROM points ORDER BY time",
                "SELECT time FROM points ORDER BY time LIMIT 5",
            ),
            (
                "SELECT * FROM (SELECT TOP (2 + 3) time FROM points)",
                "SELECT * FROM (SELECT time FROM points LIMIT 2 + 3)",
            ),
        ] {
            let parsed = parse(sql).expect(sql).to_string();
            assert_eq!(parsed, limited);
        }
    }

    #[test]
    fn what_has_no_other_form_is_refused_by_its_name() {
        for (sql, named) in [
            (
                "SELECT * FROM a ASOF JOIN b MATCH_CONDITION (a.time >= b.time)",
                "ASOF JOIN",
            ),
            (
                "SELECT * FROM (a ASOF JOIN b MATCH_CONDITION (a.time >= b.time))",
                "ASOF JOIN",
            ),
            ("SELECT * FROM a CROSS APPLY b", "APPLY"),
            (
                "SELECT * FROM points PIVOT(sum(value) FOR name IN ('a'))",
                "PIVOT",
            ),
            (
                "SELECT * FROM points MATCH_RECOGNIZE(PATTERN (a) DEFINE a AS value > 1)",
                "MATCH_RECOGNIZE",
            ),
            (
                "SELECT * FROM JSON_TABLE('a', 'b' COLUMNS (x INT PATH 'x'))",
                "document",
            ),
            (
                "SELECT count(*) FROM points TABLESAMPLE BERNOULLI (10)",
                "TABLESAMPLE",
            ),
            ("SELECT count(*) FROM points PREWHERE value > 1", "PREWHERE"),
            ("DELETE FROM points PARTITION (x) WHERE true", "PARTITION"),
            (
                "SELECT * FROM points START WITH value > 1 CONNECT BY PRIOR value = value",
                "CONNECT BY",
            ),
            (
                "SELECT unit, count(*) FROM streams GROUP BY unit WITH ROLLUP",
                "ROLLUP",
            ),
            (
                "INSERT INTO points SELECT * FROM points PREWHERE value > 1",
                "PREWHERE",
            ),
            ("SELECT TOP 10 PERCENT * FROM points", "TOP"),
            (
                "SELECT TOP 1 name FROM streams UNION ALL SELECT name FROM streams",
                "parentheses",
            ),
            ("SELECT * FROM points FETCH FIRST 3 ROWS WITH TIES", "FETCH"),
            (
                "SELECT * FROM points LIMIT 3 FETCH FIRST 3 ROWS ONLY",
                "FETCH",
            ),
        ] {
            let error = parse(sql).expect_err(sql);
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{sql}: {error}");
            let message = error.message();
            assert!(message.contains(named), "{sql}: {message}");
            assert!(!message.contains("Ident {"), "{sql}: {message}");
        }
    }

    #[test]
    fn texts_that_are_called_times_get_their_seconds() {
        for (sql, long) in [
            (
                "SELECT TIMESTAMP '2026-01-01 00:30'",
                "SELECT TIMESTAMP '2026-01-01 00:30:00'",
            ),
            (
                "SELECT TRY_CAST('2026-01-01T00:30Z' AS TIMESTAMP), '2026-01-01 00:30'::timestamptz",
                "SELECT TRY_CAST('2026-01-01T00:30:00Z' AS TIMESTAMP), '2026-01-01 00:30:00'::TIMESTAMPTZ",
            ),
            (
                "SELECT to_timestamp('2026-01-01 00:30'), '2026-01-01 00:30'",
                "SELECT to_timestamp('2026-01-01 00:30:00'), '2026-01-01 00:30'",
            ),
        ] {
            let parsed = parse(sql).expect(sql).to_string();
            assert_eq!(parsed, long);
        }
    }
}
