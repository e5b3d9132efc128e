//! A statement in PostgreSQL's words as one in DataFusion's: operators of hstore and SIMILAR TO become calls, and every
//! column gets the name that PostgreSQL would give it.
//!
//! ```text
//! SELECT count(uuid), annotations->'k' FROM public.streams WHERE name SIMILAR TO 'a%'
//!
//! SELECT count(uuid) AS "count", fetchval(annotations, 'k') AS "?column?" FROM streams
//! WHERE name ~ similar_to_escape('a%')
//! ```

use std::collections::HashSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Array, BinaryOperator, DataType, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArgumentList, FunctionArguments, Ident, ObjectName, ObjectNamePart, OrderBy,
    OrderByKind, Query, Select, SelectItem, SetExpr, Statement, TableFactor, TypedString, Value,
    VisitMut, VisitorMut,
};

use super::functions::{SIMILAR_TO_ESCAPE, UUID};
use super::hstore::Hstore;
use super::literals::{number, with_backslashes};
use super::names::{column_name, folded, last_part};
use super::table::StreamsTable;
use super::{PUBLIC, STREAMS};
use crate::error::{Error, Result};

/// What sets apart columns of one name, which DataFusion does not take. No text of a statement holds it.
const TWIN: char = '\0';

/// The name of a column as the statement has it.
pub(super) fn shown(name: &str) -> &str {
    name.split_once(TWIN).map_or(name, |(name, _)| name)
}

/// Rewrites `statement` where it stands.
///
/// # Errors
/// Invalid for what PostgreSQL can do here and this cannot.
pub(super) fn rewrite(statement: &mut Statement) -> Result<()> {
    match statement.visit(&mut Rewriting) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct Rewriting;

impl VisitorMut for Rewriting {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        if let (SetExpr::Select(select), Some(OrderBy { kind, .. })) =
            (query.body.as_mut(), &mut query.order_by)
            && let OrderByKind::Expressions(keys) = kind
        {
            name_columns(&mut select.projection);
            for key in keys {
                name_key(&mut key.expr, &select.projection);
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Error> {
        name_columns(&mut select.projection);
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Error> {
        if let TableFactor::Table { name, .. } = factor {
            drop_schema(&mut name.0, &[PUBLIC]);
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        let original = std::mem::replace(expr, null());
        match rewritten(original) {
            Ok(rewritten) => {
                *expr = rewritten;
                ControlFlow::Continue(())
            }
            Err(error) => ControlFlow::Break(error),
        }
    }
}

/// Names what has no name, and tells twins apart.
fn name_columns(items: &mut [SelectItem]) {
    let is_wildcard = |item: &SelectItem| {
        matches!(
            item,
            SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..)
        )
    };
    let mut taken = HashSet::new();
    if items.iter().any(is_wildcard) {
        taken.extend(StreamsTable::column_names().map(str::to_owned));
    }
    for item in items {
        let (expr, name) = match item {
            SelectItem::UnnamedExpr(expr) => {
                let name = column_name(expr);
                (expr, name)
            }
            SelectItem::ExprWithAlias { expr, alias } => {
                let name = folded(alias);
                (expr, name)
            }
            _ => continue,
        };
        let mut unique = name.clone();
        let mut twins = 0_usize;
        while !taken.insert(unique.clone()) {
            twins += 1;
            unique = format!("{name}{TWIN}{twins}");
        }
        *item = SelectItem::ExprWithAlias {
            expr: std::mem::replace(expr, null()),
            alias: Ident::with_quote('"', unique),
        };
    }
}

/// Orders by a column of the result where that is computed as the key is: after DISTINCT there is nothing else.
fn name_key(key: &mut Expr, items: &[SelectItem]) {
    if matches!(key, Expr::Identifier(_) | Expr::Value(_)) {
        return;
    }
    let column = items.iter().find_map(|item| match item {
        SelectItem::ExprWithAlias { expr, alias } if expr == key => Some(alias.clone()),
        _ => None,
    });
    if let Some(column) = column {
        *key = Expr::Identifier(column);
    }
}

/// Leaves away the name of a schema that everything is in anyway.
fn drop_schema(parts: &mut Vec<ObjectNamePart>, schemas: &[&str]) {
    let is_schema = |part: &ObjectNamePart| {
        part.as_ident()
            .is_some_and(|ident| schemas.contains(&folded(ident).as_str()))
    };
    if parts.len() == 2 && is_schema(&parts[0]) {
        parts.remove(0);
    }
}

fn rewritten(expr: Expr) -> Result<Expr> {
    Ok(match expr {
        Expr::BinaryOp { left, op, right } => binary(*left, op, *right)?,
        Expr::SimilarTo {
            negated,
            expr,
            pattern,
            escape_char,
        } => {
            let escape = escape_char.map(Expr::Value);
            let pattern = call(
                SIMILAR_TO_ESCAPE,
                std::iter::once(*pattern).chain(escape).collect(),
            );
            let op = if negated {
                BinaryOperator::PGRegexNotMatch
            } else {
                BinaryOperator::PGRegexMatch
            };
            operation(*expr, op, pattern)
        }
        Expr::Cast {
            expr,
            data_type: DataType::Uuid,
            ..
        } => call(UUID, vec![*expr]),
        Expr::TypedString(TypedString {
            data_type: DataType::Uuid,
            value,
            ..
        }) => call(UUID, vec![Expr::Value(value)]),
        // DataFusion takes FLOAT for the shorter one.
        Expr::Cast {
            kind,
            expr,
            data_type: DataType::Float(_),
            array,
            format,
        } => Expr::Cast {
            kind,
            expr,
            data_type: DataType::DoublePrecision,
            array,
            format,
        },
        // Texts are compared by their bytes anyway.
        Expr::Collate { expr, collation } => match last_part(&collation).as_deref() {
            Some("C" | "POSIX" | "default") => *expr,
            _ => {
                return Err(Error::invalid(format!(
                    "collation {collation} does not exist: texts are compared by their bytes"
                )));
            }
        },
        Expr::Like {
            negated,
            any,
            expr,
            pattern,
            escape_char: Some(escape),
        } => Expr::Like {
            negated,
            any,
            expr,
            pattern: Box::new(with_backslashes(*pattern, escape.value)?),
            escape_char: None,
        },
        Expr::ILike {
            negated,
            any,
            expr,
            pattern,
            escape_char: Some(escape),
        } => Expr::ILike {
            negated,
            any,
            expr,
            pattern: Box::new(with_backslashes(*pattern, escape.value)?),
            escape_char: None,
        },
        Expr::Substring {
            expr,
            substring_from,
            substring_for,
            special,
            shorthand,
        } => {
            let count =
                |expr: Option<Box<Expr>>| expr.map(|expr| number(*expr).map(Box::new)).transpose();
            Expr::Substring {
                expr,
                substring_from: count(substring_from)?,
                substring_for: count(substring_for)?,
                special,
                shorthand,
            }
        }
        Expr::CompoundIdentifier(mut parts) => {
            let is_public =
                parts.len() == 3 && folded(&parts[0]) == PUBLIC && folded(&parts[1]) == STREAMS;
            if is_public {
                parts.remove(0);
            }
            Expr::CompoundIdentifier(parts)
        }
        Expr::Function(function) => called(function)?,
        other => other,
    })
}

fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Result<Expr> {
    Ok(match op {
        BinaryOperator::Arrow => call(Hstore::Fetch.as_str(), vec![left, right]),
        BinaryOperator::Question => call(Hstore::Exist.as_str(), vec![left, right]),
        BinaryOperator::QuestionAnd => exist_each(&left, BinaryOperator::And, right)?,
        BinaryOperator::QuestionPipe => exist_each(&left, BinaryOperator::Or, right)?,
        BinaryOperator::Plus
        | BinaryOperator::Minus
        | BinaryOperator::Multiply
        | BinaryOperator::Divide
        | BinaryOperator::Modulo => Expr::BinaryOp {
            left: Box::new(number(left)?),
            op,
            right: Box::new(number(right)?),
        },
        op => Expr::BinaryOp {
            left: Box::new(left),
            op,
            right: Box::new(right),
        },
    })
}

/// `annotations ?& array['a', 'b']`, key by key.
fn exist_each(left: &Expr, op: BinaryOperator, right: Expr) -> Result<Expr> {
    let Expr::Array(Array { elem: keys, .. }) = right else {
        return Err(Error::invalid(
            "the operators ?& and ?| take an array that is written out: array['a', 'b']",
        ));
    };
    let exist = |key| call(Hstore::Exist.as_str(), vec![left.clone(), key]);
    keys.into_iter()
        .map(exist)
        .reduce(|all, next| operation(all, op.clone(), next))
        .ok_or_else(|| Error::invalid("the operators ?& and ?| take at least one key"))
}

/// A call, of DataFusion's function where that is called otherwise.
fn called(mut function: Function) -> Result<Expr> {
    drop_schema(&mut function.name.0, &["pg_catalog", PUBLIC]);
    let name = match function.name.0.as_slice() {
        [ObjectNamePart::Identifier(ident)] => folded(ident),
        _ => return Ok(Expr::Function(function)),
    };
    Ok(match name.as_str() {
        // One row for each key or value.
        "skeys" => call("unnest", vec![renamed(function, Hstore::Keys.as_str())]),
        "svals" => call("unnest", vec![renamed(function, Hstore::Values.as_str())]),
        "every" => renamed(function, "bool_and"),
        "sign" => renamed(function, "signum"),
        "left" | "right" => Expr::Function(with_numbers(function, 1)?),
        "split_part" => Expr::Function(with_numbers(function, 2)?),
        _ => Expr::Function(function),
    })
}

/// The call, its arguments from `first` on being numbers.
fn with_numbers(mut function: Function, first: usize) -> Result<Function> {
    if let FunctionArguments::List(list) = &mut function.args {
        for arg in list.args.iter_mut().skip(first) {
            if let FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) = arg {
                *expr = number(std::mem::replace(expr, null()))?;
            }
        }
    }
    Ok(function)
}

fn renamed(function: Function, name: &str) -> Expr {
    Expr::Function(Function {
        name: ObjectName(vec![ObjectNamePart::Identifier(Ident::new(name))]),
        ..function
    })
}

fn operation(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::Nested(Box::new(Expr::BinaryOp {
        left: Box::new(left),
        op,
        right: Box::new(right),
    }))
}

fn call(name: &str, args: Vec<Expr>) -> Expr {
    let args = args
        .into_iter()
        .map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)));
    Expr::Function(Function {
        name: ObjectName(vec![ObjectNamePart::Identifier(Ident::new(name))]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: args.collect(),
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

fn null() -> Expr {
    Expr::Value(Value::Null.into())
}
