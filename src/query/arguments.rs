//! Arguments of table functions: found before planning, and filled in when parameters are bound.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::common::{DFSchema, ScalarValue};
use datafusion::execution::SessionState;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::sql::parser::Statement as Parsed;
use datafusion::sql::sqlparser::ast::{
    self, Statement as Sql, TableFactor, Value, Visit, VisitMut, Visitor, VisitorMut,
};

use super::constants::nanos_of;
use super::parse::{argument_of, call_of, innermost};
use super::selection::text_of;
use crate::error::{Error, Result};

/// The texts of all stream arguments, constants folded. What is no constant is left to the planner to refuse.
pub(super) fn stream_arguments(state: &SessionState, statement: &Parsed) -> BTreeSet<String> {
    let mut collect = Collect {
        state,
        found: BTreeSet::new(),
    };
    let _ = statement_of(statement).map(|sql| sql.visit(&mut collect));
    collect.found
}

fn statement_of(statement: &Parsed) -> Option<&Sql> {
    match statement {
        Parsed::Explain(explain) => statement_of(&explain.statement),
        Parsed::Statement(sql) => Some(sql),
        _ => None,
    }
}

struct Collect<'a> {
    state: &'a SessionState,
    found: BTreeSet<String>,
}

impl Visitor for Collect<'_> {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        if let Some((function, args)) = call_of(factor) {
            let streams = args
                .iter()
                .enumerate()
                .filter(|(position, _)| function.takes_stream(*position))
                .filter_map(|(_, arg)| fold(self.state, argument_of(arg)?));
            self.found.extend(streams);
        }
        ControlFlow::Continue(())
    }
}

/// The text that an expression without columns comes to.
fn fold(state: &SessionState, expr: &ast::Expr) -> Option<String> {
    let schema = DFSchema::empty();
    let simplifier = ExprSimplifier::new(
        SimplifyContext::builder()
            .with_config_options(std::sync::Arc::clone(state.config_options()))
            .with_query_execution_start_time(state.execution_props().query_execution_start_time)
            .build(),
    );
    let alias = ast::ExprWithAlias {
        expr: expr.clone(),
        alias: None,
    };
    let planned = state
        .create_logical_expr_from_sql_expr(alias, &schema)
        .and_then(|expr| simplifier.coerce(expr, &schema))
        .and_then(|expr| simplifier.simplify(expr));
    match planned {
        Ok(Expr::Literal(value, _)) => text_of(&value),
        _ => None,
    }
}

/// The numbers of the parameters inside table functions, with whether each names a stream.
pub(super) fn parameters(statement: &Parsed) -> Vec<(String, bool)> {
    let mut list = List(Vec::new());
    let _ = statement_of(statement).map(|sql| sql.visit(&mut list));
    list.0
}

struct List(Vec<(String, bool)>);

impl Visitor for List {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        if let Some((function, args)) = call_of(factor) {
            for (position, arg) in args.iter().enumerate() {
                let takes_stream = function.takes_stream(position);
                let _ = arg.visit(&mut Placeholders(|id: &str| {
                    self.0.push((id.to_owned(), takes_stream));
                }));
            }
        }
        ControlFlow::Continue(())
    }
}

struct Placeholders<F>(F);

impl<F: FnMut(&str)> Visitor for Placeholders<F> {
    type Break = ();

    fn pre_visit_value(&mut self, value: &ast::ValueWithSpan) -> ControlFlow<()> {
        if let Value::Placeholder(id) = &value.value {
            self.0(id);
        }
        ControlFlow::Continue(())
    }
}

/// Fills `values` into the arguments of table functions; parameters elsewhere stay.
///
/// # Errors
/// Invalid for a value that no argument can be.
pub(super) fn substitute(statement: &mut Parsed, values: &[ScalarValue]) -> Result<()> {
    let Parsed::Statement(sql) = innermost(statement) else {
        return Ok(());
    };
    match sql.visit(&mut Substitute(values)) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct Substitute<'a>(&'a [ScalarValue]);

impl VisitorMut for Substitute<'_> {
    type Break = Error;

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Error> {
        if call_of(factor).is_none() {
            return ControlFlow::Continue(());
        }
        let args = match factor {
            TableFactor::Table {
                args: Some(args), ..
            } => &mut args.args,
            TableFactor::Function { args, .. } => args,
            _ => return ControlFlow::Continue(()),
        };
        for arg in args {
            arg.visit(&mut Fill(self.0))?;
        }
        ControlFlow::Continue(())
    }
}

struct Fill<'a>(&'a [ScalarValue]);

impl VisitorMut for Fill<'_> {
    type Break = Error;

    fn pre_visit_value(&mut self, value: &mut ast::ValueWithSpan) -> ControlFlow<Error> {
        let Value::Placeholder(id) = &value.value else {
            return ControlFlow::Continue(());
        };
        let bound = ordinal(id).and_then(|ordinal| {
            self.0.get(ordinal - 1).ok_or_else(|| {
                Error::invalid(format!(
                    "parameter {id} has no value: {} given",
                    self.0.len()
                ))
            })
        });
        match bound.and_then(sql_literal) {
            Ok(literal) => {
                value.value = literal;
                ControlFlow::Continue(())
            }
            Err(error) => ControlFlow::Break(error),
        }
    }
}

/// A value as it would be written in an argument: text, or a number of nanoseconds.
fn sql_literal(value: &ScalarValue) -> Result<Value> {
    if let Some(text) = text_of(value) {
        return Ok(Value::SingleQuotedString(text));
    }
    let nanos = match value {
        ScalarValue::TimestampNanosecond(Some(_), _)
        | ScalarValue::TimestampMicrosecond(Some(_), _)
        | ScalarValue::TimestampMillisecond(Some(_), _)
        | ScalarValue::TimestampSecond(Some(_), _) => {
            match value.cast_to(&super::points::time_type()) {
                Ok(ScalarValue::TimestampNanosecond(Some(nanos), _)) => Some(nanos.into()),
                _ => None,
            }
        }
        other => nanos_of(other),
    };
    match nanos {
        Some(nanos) => Ok(Value::Number(nanos.to_string(), false)),
        None => Err(Error::invalid(format!(
            "{value} is no argument of a table function: it takes text, integers, intervals, timestamps"
        ))),
    }
}

/// The position of `$3`, from 1.
///
/// # Errors
/// Invalid for parameters that are named: clients bind by position.
pub(super) fn ordinal(id: &str) -> Result<usize> {
    id.strip_prefix('$')
        .and_then(|digits| digits.parse().ok())
        .filter(|ordinal| (1..=PARAMETERS_MAX).contains(ordinal))
        .ok_or_else(|| {
            Error::invalid(format!(
                "parameter {id} is not supported: parameters are ? or $1 to ${PARAMETERS_MAX}"
            ))
        })
}

/// Most parameters of a statement: as many as PostgreSQL's protocol can count.
const PARAMETERS_MAX: usize = 65_535;
