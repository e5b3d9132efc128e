//! Times written to the minute where the statement itself says that a text is one: `TIMESTAMP '2024-06-01 12:30'`, casts, and
//! `to_timestamp('2024-06-01 12:30')`. Where a text is compared with a time, only its plan tells (`rules::short_times`).

use datafusion::sql::sqlparser::ast::{
    DataType, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Query, SetExpr, Value,
};

use super::constants::completed;

/// Completes the text in an expression that makes a time of it.
pub(super) fn complete_text_of(expr: &mut Expr) {
    match expr {
        Expr::TypedString(typed) if is_time(&typed.data_type) => complete(&mut typed.value.value),
        Expr::Cast {
            expr, data_type, ..
        } if is_time(data_type) => complete_literal(expr),
        Expr::Function(function) => {
            let name = function.name.to_string().to_lowercase();
            if !name.starts_with("to_timestamp") {
                return;
            }
            if let FunctionArguments::List(list) = &mut function.args
                && let [FunctionArg::Unnamed(FunctionArgExpr::Expr(text))] =
                    list.args.as_mut_slice()
            {
                complete_literal(text);
            }
        }
        _ => {}
    }
}

/// Completes the texts in one column of VALUES, if the query is no more than that.
pub(super) fn complete_column_of(query: &mut Query, column: usize) {
    if let SetExpr::Values(values) = query.body.as_mut() {
        for row in &mut values.rows {
            if let Some(text) = row.content.get_mut(column) {
                complete_literal(text);
            }
        }
    }
}

fn is_time(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Timestamp(..) | DataType::TimestampNtz(_) | DataType::Datetime(_)
    )
}

fn complete_literal(expr: &mut Expr) {
    match expr {
        Expr::Value(value) => complete(&mut value.value),
        Expr::Nested(inner) => complete_literal(inner),
        _ => {}
    }
}

fn complete(value: &mut Value) {
    if let Value::SingleQuotedString(text) = value
        && let Some(long) = completed(text)
    {
        *text = long;
    }
}
