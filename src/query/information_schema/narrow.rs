//! Which names a predicate leaves: what is looked up, before DataFusion decides row by row.

use datafusion::logical_expr::expr::{InList, Like};
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};

use crate::query::listing::Among;
use crate::query::selection::{is_text_of, text_of};

/// The values of `column` in rows that pass all of `filters`.
pub(super) fn among(filters: &[Expr], column: &str) -> Among {
    let names = filters.iter().map(|filter| passing(filter, column));
    names.fold(Among::Any, Among::and)
}

fn passing(filter: &Expr, column: &str) -> Among {
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match op {
            Operator::And => passing(left, column).and(passing(right, column)),
            Operator::Or => passing(left, column).or(passing(right, column)),
            Operator::Eq => match (left.as_ref(), right.as_ref()) {
                (found, literal) | (literal, found) if is_text_of(found, column) => {
                    literal_of(literal).map_or(Among::Any, Among::one)
                }
                _ => Among::Any,
            },
            _ => Among::Any,
        },
        Expr::InList(InList {
            expr,
            list,
            negated: false,
        }) if is_text_of(expr, column) => {
            let names: Option<_> = list.iter().map(literal_of).collect();
            names.map_or(Among::Any, Among::These)
        }
        Expr::Like(Like {
            negated: false,
            case_insensitive: false,
            escape_char: None | Some('\\'),
            expr,
            pattern,
        }) if is_text_of(expr, column) => {
            literal_of(pattern).map_or(Among::Any, |pattern| Among::like(&pattern))
        }
        _ => Among::Any,
    }
}

fn literal_of(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Literal(value, _) => text_of(value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::{col, lit};

    use super::*;

    #[test]
    fn predicates_that_are_not_understood_leave_every_name() {
        let schema = || col("table_schema");
        let these =
            |names: &[&str]| Among::These(names.iter().map(|name| (*name).to_owned()).collect());
        for (filter, names) in [
            (schema().eq(lit("a")), these(&["a"])),
            (lit("a").eq(schema()), these(&["a"])),
            (
                schema().eq(lit("a")).or(schema().eq(lit("b"))),
                these(&["a", "b"]),
            ),
            (
                schema().eq(lit("a")).or(col("table_name").eq(lit("b"))),
                Among::Any,
            ),
            (
                schema().eq(lit("a")).and(col("table_name").eq(lit("b"))),
                these(&["a"]),
            ),
            (
                schema().in_list(vec![lit("a"), lit("b")], false),
                these(&["a", "b"]),
            ),
            (schema().in_list(vec![lit("a")], true), Among::Any),
            (
                schema().in_list(vec![lit("a"), col("table_name")], false),
                Among::Any,
            ),
            (schema().like(lit("a/%")), Among::Prefix("a/".to_owned())),
            (schema().ilike(lit("a/%")), Among::Any),
            (schema().not_like(lit("a/%")), Among::Any),
            (schema().not_eq(lit("a")), Among::Any),
            (schema().gt(lit("a")), Among::Any),
        ] {
            assert_eq!(
                among(std::slice::from_ref(&filter), "table_schema"),
                names,
                "{filter}"
            );
        }
    }
}
