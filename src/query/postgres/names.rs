//! What PostgreSQL calls a column that the statement gives no name.

use datafusion::sql::sqlparser::ast::{
    DataType, Expr, Ident, ObjectName, SelectItem, SetExpr, Value,
};

/// The name of a column that nothing names.
const NAMELESS: &str = "?column?";

/// How much a name says: one that is only a type's or a keyword's gives way to another.
enum Name {
    None,
    Weak(String),
    Strong(String),
}

/// The name of a column of `expr`.
pub(super) fn column_name(expr: &Expr) -> String {
    match name(expr) {
        Name::None => NAMELESS.to_owned(),
        Name::Weak(name) | Name::Strong(name) => name,
    }
}

/// The identifier as it is looked up: in lower case, unless it is quoted.
pub(super) fn folded(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

/// The last part of a name.
pub(super) fn last_part(name: &ObjectName) -> Option<String> {
    name.0.last()?.as_ident().map(folded)
}

fn strong(name: &str) -> Name {
    Name::Strong(name.to_owned())
}

fn name(expr: &Expr) -> Name {
    match expr {
        Expr::Nested(inner) | Expr::Collate { expr: inner, .. } => name(inner),
        Expr::CompoundFieldAccess { root, .. } => name(root),
        Expr::Identifier(ident) => Name::Strong(folded(ident)),
        Expr::CompoundIdentifier(parts) => match parts.last() {
            Some(ident) => Name::Strong(folded(ident)),
            None => Name::None,
        },
        Expr::Function(function) => match last_part(&function.name) {
            Some(name) => Name::Strong(name),
            None => Name::None,
        },
        Expr::Cast {
            expr, data_type, ..
        } => match name(expr) {
            strong @ Name::Strong(_) => strong,
            _ => Name::Weak(type_name(data_type)),
        },
        Expr::TypedString(typed) => Name::Weak(type_name(&typed.data_type)),
        Expr::Value(value) if matches!(value.value, Value::Boolean(_)) => {
            Name::Weak("bool".to_owned())
        }
        Expr::Case { else_result, .. } => match else_result.as_deref().map(name) {
            Some(strong @ Name::Strong(_)) => strong,
            _ => Name::Weak("case".to_owned()),
        },
        Expr::Interval(_) => Name::Weak("interval".to_owned()),
        Expr::Subquery(query) => name_of_first(&query.body),
        Expr::Exists { .. } => strong("exists"),
        Expr::Array(_) => strong("array"),
        Expr::Tuple(_) => strong("row"),
        Expr::Extract { .. } => strong("extract"),
        Expr::AtTimeZone { .. } => strong("timezone"),
        Expr::Ceil { .. } => strong("ceil"),
        Expr::Floor { .. } => strong("floor"),
        Expr::Position { .. } => strong("position"),
        Expr::Substring {
            shorthand: true, ..
        } => strong("substr"),
        Expr::Substring { .. } => strong("substring"),
        Expr::Overlay { .. } => strong("overlay"),
        Expr::Trim { trim_where, .. } => {
            use datafusion::sql::sqlparser::ast::TrimWhereField::{Leading, Trailing};
            strong(match trim_where {
                Some(Leading) => "ltrim",
                Some(Trailing) => "rtrim",
                _ => "btrim",
            })
        }
        _ => Name::None,
    }
}

/// A subquery is called what its column is called.
fn name_of_first(body: &SetExpr) -> Name {
    match body {
        SetExpr::Select(select) => match select.projection.first() {
            Some(SelectItem::UnnamedExpr(expr)) => name(expr),
            Some(SelectItem::ExprWithAlias { alias, .. }) => Name::Strong(folded(alias)),
            _ => Name::None,
        },
        SetExpr::Query(query) => name_of_first(&query.body),
        SetExpr::SetOperation { left, .. } => name_of_first(left),
        _ => Name::None,
    }
}

/// What the catalogue of PostgreSQL calls a type.
fn type_name(data_type: &DataType) -> String {
    let name = match data_type {
        DataType::Array(_) => return array_name(data_type),
        DataType::Custom(name, _) => match last_part(name) {
            Some(name) => return name,
            None => NAMELESS,
        },
        DataType::Int(_) | DataType::Integer(_) | DataType::Int4(_) => "int4",
        DataType::BigInt(_) | DataType::Int8(_) => "int8",
        DataType::SmallInt(_) | DataType::Int2(_) => "int2",
        DataType::Real | DataType::Float4 => "float4",
        DataType::Double(_) | DataType::DoublePrecision | DataType::Float8 | DataType::Float(_) => {
            "float8"
        }
        DataType::Numeric(_) | DataType::Decimal(_) | DataType::Dec(_) => "numeric",
        DataType::Boolean | DataType::Bool => "bool",
        DataType::Varchar(_) | DataType::CharacterVarying(_) | DataType::CharVarying(_) => {
            "varchar"
        }
        DataType::Char(_) | DataType::Character(_) => "bpchar",
        other => return other.to_string().to_lowercase(),
    };
    name.to_owned()
}

fn array_name(data_type: &DataType) -> String {
    use datafusion::sql::sqlparser::ast::ArrayElemTypeDef::{
        AngleBracket, None, Parenthesis, SquareBracket,
    };
    match data_type {
        DataType::Array(AngleBracket(item) | SquareBracket(item, _) | Parenthesis(item)) => {
            array_name(item)
        }
        DataType::Array(None) => "array".to_owned(),
        other => type_name(other),
    }
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    #[test]
    fn columns_are_named_as_postgresql_names_them() {
        for (sql, expected) in [
            ("Name", "name"),
            ("\"Name\"", "Name"),
            ("s.name", "name"),
            ("(name)", "name"),
            ("COUNT(*)", "count"),
            ("count(uuid)::text", "count"),
            ("pg_catalog.lower(name)", "lower"),
            ("name::text", "name"),
            ("'x'::text", "text"),
            ("'1'::int", "int4"),
            ("'1'::bigint", "int8"),
            ("'1'::double precision", "float8"),
            ("cast('x' as varchar(10))", "varchar"),
            ("'{}'::text[]", "text"),
            ("case when 1 = 1 then name end", "case"),
            ("case when 1 = 1 then 1 else name end", "name"),
            ("(case when 1 = 1 then 1 end)::int", "int4"),
            ("coalesce(name, unit)", "coalesce"),
            ("nullif(name, unit)", "nullif"),
            ("(select max(name) from streams)", "max"),
            ("exists (select 1)", "exists"),
            ("array[1]", "array"),
            ("true", "bool"),
            ("substring(name from 1 for 2)", "substring"),
            ("substr(name, 2)", "substr"),
            ("trim(name)", "btrim"),
            ("annotations -> 'k'", "?column?"),
            ("name || 'x'", "?column?"),
            ("name is null", "?column?"),
            ("1", "?column?"),
            ("-1", "?column?"),
            ("'x'", "?column?"),
            ("null", "?column?"),
        ] {
            let expr = Parser::new(&PostgreSqlDialect {})
                .try_with_sql(sql)
                .and_then(|mut parser| parser.parse_expr())
                .expect(sql);
            assert_eq!(column_name(&expr), expected, "{sql}");
        }
    }
}
