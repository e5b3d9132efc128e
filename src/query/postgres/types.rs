//! The types that PostgreSQL gives to literals: those of what they are compared with.
//!
//! ```text
//! property_version > '9'            property_version > 9
//! uuid = 'A0...'             ==>    uuid = 'a0...'
//! name = '9'                        name = '9'
//! ```
//!
//! DataFusion compares a number with a text as texts, or refuses to; and it knows no uuid. So this goes over a plan before
//! DataFusion settles its types, reads literals as what they stand beside, and refuses what PostgreSQL has no operator for.

use std::collections::HashMap;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, ScalarValue, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::expr::{Case, InList};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    Between, BinaryExpr, Cast, Expr, ExprSchemable, LogicalPlan, Operator,
};

use super::hstore;
use crate::model::StreamId;

/// Where Arrow keeps the name of a type that it does not know.
const EXTENSION_TYPE_NAME_KEY: &str = "ARROW:extension:name";

/// What a field of uuids is marked with. Casts drop the mark: the text of a uuid is any text.
const UUID_MARK: &str = "btrdb.uuid";

/// The field, marked: its texts are uuids in lower case with hyphens.
pub(super) fn uuid_field(field: Field) -> Field {
    let mark = (EXTENSION_TYPE_NAME_KEY.to_owned(), UUID_MARK.to_owned());
    field.with_metadata(HashMap::from([mark]))
}

/// The uuid that `text` means, as such a field has it.
pub(super) fn parse_uuid(text: &str) -> Result<String> {
    match text.trim().parse::<StreamId>() {
        Ok(id) => Ok(id.to_string()),
        Err(_) => invalid(Kind::Uuid, text),
    }
}

/// What matters here about the type of an operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Integer,
    Float,
    Boolean,
    Uuid,
    Hstore,
    /// Of no concern here, NULL for one.
    Other,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Integer => "bigint",
            Self::Float => "double precision",
            Self::Boolean => "boolean",
            Self::Uuid => "uuid",
            Self::Hstore => "hstore",
            Self::Other => "unknown",
        }
    }

    fn of(expr: &Expr, schema: &DFSchema) -> Self {
        match expr {
            Expr::Alias(alias) => Self::of(&alias.expr, schema),
            Expr::Column(_) | Expr::OuterReferenceColumn(..) | Expr::ScalarFunction(_) => {
                match expr.to_field(schema) {
                    Ok((_, field)) => Self::of_field(&field),
                    Err(_) => Self::Other,
                }
            }
            other => match other.get_type(schema) {
                Ok(data_type) => Self::of_type(&data_type),
                Err(_) => Self::Other,
            },
        }
    }

    fn of_field(field: &FieldRef) -> Self {
        match field.metadata().get(EXTENSION_TYPE_NAME_KEY) {
            Some(mark) if mark == UUID_MARK => Self::Uuid,
            _ => Self::of_type(field.data_type()),
        }
    }

    fn of_type(data_type: &DataType) -> Self {
        match data_type {
            data_type if data_type.is_string() => Self::Text,
            data_type if data_type.is_integer() => Self::Integer,
            data_type if data_type.is_numeric() => Self::Float,
            DataType::Boolean => Self::Boolean,
            DataType::Map(..) => Self::Hstore,
            _ => Self::Other,
        }
    }

    /// Uuids are texts here, so comparing them with one says what the caller hopes it says.
    fn compares_with(self, other: Self) -> bool {
        let class = |kind| match kind {
            Self::Integer | Self::Float => Self::Integer,
            Self::Uuid => Self::Text,
            kind => kind,
        };
        self == Self::Other || other == Self::Other || class(self) == class(other)
    }

    /// The value that `text` means to this type.
    fn read(self, text: &str) -> Result<ScalarValue> {
        let trimmed = text.trim();
        let value = match self {
            Self::Text | Self::Other => Some(ScalarValue::from(text)),
            Self::Uuid => Some(ScalarValue::from(parse_uuid(text)?)),
            Self::Integer => trimmed.parse::<i64>().ok().map(ScalarValue::from),
            Self::Float => trimmed.parse::<f64>().ok().map(ScalarValue::from),
            Self::Boolean => boolean(trimmed).map(ScalarValue::from),
            Self::Hstore => None,
        };
        match value {
            Some(value) => Ok(value),
            None => invalid(self, text),
        }
    }
}

fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "t" | "true" | "y" | "yes" | "on" | "1" => Some(true),
        "f" | "false" | "n" | "no" | "off" | "0" => Some(false),
        _ => None,
    }
}

fn invalid<T>(kind: Kind, text: &str) -> Result<T> {
    plan_err!(
        "invalid input syntax for type {}: \"{}\"",
        kind.as_str(),
        text.escape_debug()
    )
}

fn no_operator<T>(left: Kind, operator: Operator, right: Kind) -> Result<T> {
    plan_err!(
        "operator does not exist: {} {operator} {}",
        left.as_str(),
        right.as_str()
    )
}

/// The plan with every literal of the type that its place calls for.
pub(super) fn settle(plan: LogicalPlan) -> Result<LogicalPlan> {
    let settled = plan.transform_up_with_subqueries(|node| {
        let schema = merge_schema(&node.inputs());
        let names = NamePreserver::new(&node);
        node.map_expressions(|expr| {
            let name = names.save(&expr);
            let settled = expr.transform_up(|expr| settle_expr(expr, &schema))?;
            Ok(settled.update_data(|expr| name.restore(expr)))
        })?
        .map_data(LogicalPlan::recompute_schema)
    })?;
    Ok(settled.data)
}

/// Functions whose arguments are all of one type.
const ONE_TYPE: [&str; 4] = ["coalesce", "greatest", "least", "nullif"];

fn settle_expr(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let settled = match expr {
        Expr::BinaryExpr(binary) => Expr::BinaryExpr(settle_binary(binary, schema)?),
        Expr::InList(InList {
            expr,
            list,
            negated,
        }) => {
            let kind = Kind::of(&expr, schema);
            let list = list
                .into_iter()
                .map(|item| beside(kind, Operator::Eq, item, schema))
                .collect::<Result<_>>()?;
            Expr::InList(InList {
                expr,
                list,
                negated,
            })
        }
        Expr::Between(between) => {
            let kind = Kind::of(&between.expr, schema);
            Expr::Between(Between {
                low: Box::new(beside(kind, Operator::GtEq, *between.low, schema)?),
                high: Box::new(beside(kind, Operator::LtEq, *between.high, schema)?),
                ..between
            })
        }
        Expr::Case(Case {
            expr: Some(operand),
            when_then_expr,
            else_expr,
        }) => {
            let kind = Kind::of(&operand, schema);
            let when_then_expr = when_then_expr
                .into_iter()
                .map(|(when, then)| {
                    Ok((Box::new(beside(kind, Operator::Eq, *when, schema)?), then))
                })
                .collect::<Result<_>>()?;
            Expr::Case(Case {
                expr: Some(operand),
                when_then_expr,
                else_expr,
            })
        }
        Expr::ScalarFunction(mut call) if ONE_TYPE.contains(&call.name()) => {
            let typed = call.args.iter().find(|arg| literal(arg).is_none());
            if let Some(kind) = typed.map(|arg| Kind::of(arg, schema)) {
                call.args = call
                    .args
                    .into_iter()
                    .map(|arg| beside(kind, Operator::Eq, arg, schema))
                    .collect::<Result<_>>()?;
            }
            Expr::ScalarFunction(call)
        }
        Expr::Like(like) => {
            check_texts(&like.expr, Operator::LikeMatch, &like.pattern, schema)?;
            Expr::Like(like)
        }
        Expr::Cast(cast) if cast.field.data_type().is_string() => cast_to_text(cast, schema),
        other => return Ok(Transformed::no(other)),
    };
    Ok(Transformed::yes(settled))
}

/// An hstore is written as PostgreSQL writes it.
fn cast_to_text(cast: Cast, schema: &DFSchema) -> Expr {
    if Kind::of(&cast.expr, schema) != Kind::Hstore {
        return Expr::Cast(cast);
    }
    Expr::Cast(Cast {
        expr: Box::new(hstore::text_of(*cast.expr)),
        ..cast
    })
}

fn settle_binary(binary: BinaryExpr, schema: &DFSchema) -> Result<BinaryExpr> {
    let BinaryExpr { left, op, right } = binary;
    let (left, right) = match op {
        Operator::Eq
        | Operator::NotEq
        | Operator::Lt
        | Operator::LtEq
        | Operator::Gt
        | Operator::GtEq
        | Operator::IsDistinctFrom
        | Operator::IsNotDistinctFrom => match (literal(&left), literal(&right)) {
            (Some(_), Some(_)) => (left, right),
            (Some(text), None) => {
                let text = Kind::of(&right, schema).read(text)?;
                (Box::new(Expr::Literal(text, None)), right)
            }
            (None, _) => {
                let kind = Kind::of(&left, schema);
                (left, Box::new(beside(kind, op, *right, schema)?))
            }
        },
        Operator::RegexMatch
        | Operator::RegexIMatch
        | Operator::RegexNotMatch
        | Operator::RegexNotIMatch
        | Operator::LikeMatch
        | Operator::ILikeMatch
        | Operator::NotLikeMatch
        | Operator::NotILikeMatch => {
            check_texts(&left, op, &right, schema)?;
            (left, right)
        }
        _ => (left, right),
    };
    Ok(BinaryExpr { left, op, right })
}

/// The text of a literal that nothing gave a type yet.
fn literal(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Literal(ScalarValue::Utf8(Some(text)), _) => Some(text),
        _ => None,
    }
}

/// `expr`, which is compared with something of `kind`.
fn beside(kind: Kind, operator: Operator, expr: Expr, schema: &DFSchema) -> Result<Expr> {
    if let Some(text) = literal(&expr) {
        return Ok(Expr::Literal(kind.read(text)?, None));
    }
    let other = Kind::of(&expr, schema);
    if kind.compares_with(other) {
        Ok(expr)
    } else {
        no_operator(kind, operator, other)
    }
}

/// Patterns are texts, and match texts alone.
fn check_texts(expr: &Expr, operator: Operator, pattern: &Expr, schema: &DFSchema) -> Result<()> {
    let (kind, pattern) = (Kind::of(expr, schema), Kind::of(pattern, schema));
    if kind.compares_with(Kind::Text) && pattern.compares_with(Kind::Text) {
        Ok(())
    } else {
        no_operator(kind, operator, pattern)
    }
}
