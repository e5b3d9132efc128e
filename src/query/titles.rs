//! What the columns of a result are called where the text gives no name, or one in other letters.
//!
//! DataFusion would call `SELECT 1` `Int64(1)`, a bucket by the insides of its interval, and `time::date` as it calls `time`.

use std::borrow::Cow;
use std::collections::HashSet;

use datafusion::sql::parser::Statement as Parsed;
use datafusion::sql::sqlparser::ast::{
    Expr, Ident, Select, SelectItem, SetExpr, Statement as Sql, TableFactor, TableWithJoins,
};

use super::resolve::INFORMATION_SCHEMA;
use super::show::{normal, parts};

/// Names columns of the outermost SELECT that DataFusion would call like another one, which it refuses: what stands there again,
/// and a cast beside its column.
pub(super) fn title(statement: &mut Sql) {
    let Sql::Query(query) = statement else {
        return;
    };
    let SetExpr::Select(select) = query.body.as_mut() else {
        return;
    };
    let bases: Vec<Option<String>> = select.projection.iter().map(base).collect();
    // As DataFusion calls them, and as they are or will be called.
    let mut known = HashSet::new();
    let mut given = HashSet::new();
    let mut names: HashSet<String> = bases.iter().flatten().cloned().collect();
    for (item, base) in select.projection.iter().zip(&bases) {
        if let (SelectItem::ExprWithAlias { .. }, Some(alias)) = (item, base) {
            known.insert(alias.clone());
            given.insert(alias.clone());
        }
    }
    for (item, base) in select.projection.iter_mut().zip(bases) {
        let (SelectItem::UnnamedExpr(expr), Some(base)) = (&mut *item, base) else {
            continue;
        };
        let mut name = base.clone();
        let mut count = 0;
        if !given.insert(base.clone()) {
            while !names.insert(name.clone()) {
                count += 1;
                name = format!("{base}_{count}");
            }
        }
        if !known.insert(uncast(expr)) {
            *item = SelectItem::ExprWithAlias {
                expr: expr.clone(),
                alias: Ident::with_quote('"', name),
            };
        }
    }
}

/// The name of an item, or what it is called by without one.
fn base(item: &SelectItem) -> Option<String> {
    match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(normal(alias)),
        SelectItem::UnnamedExpr(Expr::Wildcard(_) | Expr::QualifiedWildcard(..)) => None,
        SelectItem::UnnamedExpr(expr) => Some(match inner(expr) {
            Expr::Identifier(ident) => normal(ident),
            expr => expr.to_string(),
        }),
        _ => None,
    }
}

/// What DataFusion calls an expression by: casts have no part in it, nor has the case of letters outside of quotes.
fn uncast(expr: &Expr) -> String {
    match expr {
        Expr::Nested(expr) | Expr::Cast { expr, .. } => uncast(expr),
        Expr::Identifier(ident) => normal(ident),
        Expr::CompoundIdentifier(idents) => idents.iter().map(normal).collect::<Vec<_>>().join("."),
        Expr::AtTimeZone { timestamp, .. } => uncast(timestamp),
        Expr::TypedString(text) => text.value.to_string(),
        Expr::Value(value) => value.to_string(),
        expr => expr.to_string().to_lowercase(),
    }
}

/// The names of the columns of a query, where they differ from DataFusion's.
///
/// What has no name is called as it is written. SQL does not tell `AS Name` from `AS name`, and results are named in lower
/// case; tools that ask `information_schema` look for the letters that they asked with, though, for that is what most
/// databases answer them.
pub(super) fn titles(parsed: &Parsed) -> Vec<Option<Cow<'_, str>>> {
    let body = match parsed {
        Parsed::Statement(statement) => match statement.as_ref() {
            Sql::Query(query) => Some(query.body.as_ref()),
            _ => None,
        },
        _ => None,
    };
    let Some((body, select)) = body.and_then(|body| Some((body, select_of(body)?))) else {
        return Vec::new();
    };
    let keeps_letters = matches!(body, SetExpr::Select(_))
        && !select.from.is_empty()
        && select.from.iter().all(is_information_schema);
    let mut names = Vec::with_capacity(select.projection.len());
    for item in &select.projection {
        names.push(match item {
            SelectItem::UnnamedExpr(Expr::Wildcard(_) | Expr::QualifiedWildcard(..))
            | SelectItem::QualifiedWildcard(..)
            | SelectItem::Wildcard(_) => return Vec::new(),
            SelectItem::ExprWithAlias { alias, .. } => {
                keeps_letters.then_some(Cow::Borrowed(alias.value.as_str()))
            }
            SelectItem::UnnamedExpr(expr) => match inner(expr) {
                Expr::Identifier(_) | Expr::CompoundIdentifier(_) => None,
                expr => Some(Cow::Owned(expr.to_string())),
            },
            SelectItem::ExprWithAliases { .. } => return Vec::new(),
        });
    }
    names
}

/// The SELECT that names the columns.
fn select_of(body: &SetExpr) -> Option<&Select> {
    match body {
        SetExpr::Select(select) => Some(select),
        SetExpr::Query(query) => select_of(&query.body),
        SetExpr::SetOperation { left, .. } => select_of(left),
        _ => None,
    }
}

/// What parentheses hold.
fn inner(mut expr: &Expr) -> &Expr {
    while let Expr::Nested(nested) = expr {
        expr = nested;
    }
    expr
}

fn is_information_schema(from: &TableWithJoins) -> bool {
    let joined = from.joins.iter().map(|join| &join.relation);
    std::iter::once(&from.relation)
        .chain(joined)
        .all(|table| match table {
            TableFactor::Table {
                name, args: None, ..
            } => {
                let parts = parts(name);
                parts.len() >= 2 && parts[parts.len() - 2] == INFORMATION_SCHEMA
            }
            _ => false,
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::parse::parse;

    fn named(sql: &str) -> Vec<Option<String>> {
        let parsed = parse(sql).expect(sql);
        let names = titles(&parsed).into_iter();
        names.map(|name| name.map(Cow::into_owned)).collect()
    }

    #[test]
    fn columns_without_a_name_are_called_as_they_are_written() {
        let name = |name: &str| Some(name.to_owned());
        for (sql, names) in [
            (
                "SELECT 1, max(value) FROM points",
                vec![name("1"), name("max(value)")],
            ),
            (
                "SELECT time, (time), value AS v FROM points",
                vec![None, None, None],
            ),
            ("SELECT * FROM points", vec![]),
            ("SELECT 1 UNION SELECT 2", vec![name("1")]),
            (
                "SELECT table_name AS Name, table_type FROM information_schema.tables",
                vec![name("Name"), None],
            ),
        ] {
            assert_eq!(named(sql), names, "{sql}");
        }
    }

    #[test]
    fn only_queries_of_the_information_schema_keep_their_letters() {
        for sql in [
            "SELECT name AS Name FROM streams",
            "SELECT 1 AS One",
            "SELECT *, 1 AS One FROM information_schema.tables",
            "SELECT name AS Name FROM information_schema.tables JOIN streams ON true",
            "SELECT Name AS Name FROM information_schema.tables UNION SELECT name FROM streams",
        ] {
            assert!(named(sql).iter().all(Option::is_none), "{sql}");
        }
    }

    #[test]
    fn no_two_have_one_name() {
        for (sql, text) in [
            (
                "SELECT time, time::TEXT FROM points",
                "SELECT time, time::TEXT AS \"time::TEXT\" FROM points",
            ),
            (
                "SELECT 1, 1, 1 AS \"1_1\"",
                "SELECT 1, 1 AS \"1_2\", 1 AS \"1_1\"",
            ),
            (
                "SELECT time, time FROM points",
                "SELECT time, time AS \"time_1\" FROM points",
            ),
            (
                "SELECT MAX(value), max(value) FROM points",
                "SELECT MAX(value), max(value) AS \"max(value)\" FROM points",
            ),
            (
                "SELECT time::DATE FROM points",
                "SELECT time::DATE FROM points",
            ),
            ("SELECT *, time FROM points", "SELECT *, time FROM points"),
            (
                "SELECT time, (time::DATE) FROM points",
                "SELECT time, (time::DATE) AS \"time::DATE\" FROM points",
            ),
            (
                "SELECT a, a, a_1 FROM points",
                "SELECT a, a AS \"a_2\", a_1 FROM points",
            ),
        ] {
            assert_eq!(parse(sql).expect(sql).to_string(), text);
        }
    }
}
