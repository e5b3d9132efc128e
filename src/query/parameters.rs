//! The parameters of a statement, and what types they have.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, IntervalUnit, Schema, SchemaRef, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::Result as PlanResult;
use datafusion::logical_expr::type_coercion::binary::comparison_coercion;
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator};
use datafusion::sql::parser::Statement as Parsed;

use super::arguments;
use super::constants::completed;
use super::delivered::plain;
use super::errors::from_datafusion;
use super::selection::text_of;
use crate::error::{Code, Error, Result};

/// `$1` to `$n` in order, all nullable; one whose type nothing tells is [`DataType::Null`].
pub(super) fn of(parsed: &Parsed, plan: &LogicalPlan) -> Result<SchemaRef> {
    let mut types = BTreeMap::<usize, DataType>::new();
    let Written {
        mut told,
        mut meant,
    } = Written::of(plan).map_err(from_datafusion)?;
    for (id, uses) in uses(plan).map_err(from_datafusion)? {
        let data_type = meant
            .remove(&id)
            .or_else(|| common_type(&uses))
            .or_else(|| told.remove(&id))
            .unwrap_or(DataType::Null);
        types.insert(arguments::ordinal(&id)?, plain(&data_type));
    }
    for (id, names_stream) in arguments::parameters(parsed) {
        let known = if names_stream {
            DataType::Utf8
        } else {
            DataType::Null
        };
        types.entry(arguments::ordinal(&id)?).or_insert(known);
    }
    let count = types.keys().next_back().copied().unwrap_or(0);
    let fields: Vec<Field> = (1..=count)
        .map(|ordinal| {
            let data_type = types.remove(&ordinal).unwrap_or(DataType::Null);
            Field::new(format!("${ordinal}"), data_type, true)
        })
        .collect();
    Ok(Arc::new(Schema::new(fields)))
}

/// The types that DataFusion infers for each parameter, one for each place that tells one.
fn uses(plan: &LogicalPlan) -> PlanResult<BTreeMap<String, Vec<DataType>>> {
    let mut uses = BTreeMap::<String, Vec<DataType>>::new();
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|inner| {
                if let Expr::Placeholder(parameter) = inner {
                    let types = uses.entry(parameter.id.clone()).or_default();
                    let inferred = parameter.field.as_ref();
                    types.extend(inferred.map(|field| field.data_type().clone()));
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(uses)
}

/// The type that fits all places where a parameter stands; none if they have none in common, and what is bound decides.
fn common_type(uses: &[DataType]) -> Option<DataType> {
    let mut uses = uses.iter();
    let first = uses.next()?.clone();
    uses.try_fold(first, |known, next| {
        let is_text = |data_type: &DataType| data_type.is_string();
        if known == *next {
            Some(known)
        } else if is_text(&known) == is_text(next) {
            comparison_coercion(&known, next)
        } else {
            // DataFusion would compare their texts, or read the text.
            None
        }
    })
}

/// Types that the text of a statement tells.
#[derive(Default)]
struct Written {
    /// Where DataFusion infers none: `CAST($1 AS DOUBLE)` takes a double, `LIMIT $1` a number of rows.
    told: BTreeMap<String, DataType>,
    /// Where DataFusion infers none or another: `$1 + INTERVAL '1 hour'` begins with a time and not with an interval,
    /// `date_bin($1, time)` takes an interval.
    meant: BTreeMap<String, DataType>,
}

impl Written {
    fn of(plan: &LogicalPlan) -> PlanResult<Self> {
        let mut written = Self::default();
        plan.apply_with_subqueries(|node| {
            if let LogicalPlan::Limit(limit) = node {
                let counts = [&limit.skip, &limit.fetch];
                for count in counts.into_iter().flatten() {
                    note(&mut written.told, count, &DataType::Int64);
                }
            }
            node.apply_expressions(|expr| {
                expr.apply(|inner| {
                    written.look_at(inner);
                    Ok(TreeNodeRecursion::Continue)
                })
            })
        })?;
        Ok(written)
    }

    fn look_at(&mut self, expr: &Expr) {
        match expr {
            Expr::Cast(cast) => note(&mut self.told, &cast.expr, cast.field.data_type()),
            Expr::TryCast(cast) => note(&mut self.told, &cast.expr, cast.field.data_type()),
            Expr::BinaryExpr(BinaryExpr {
                left,
                op: Operator::Plus | Operator::Minus,
                right,
            }) if is_interval(right) => note(&mut self.meant, left, &time_type()),
            Expr::ScalarFunction(call) if call.name() == "date_bin" => {
                if let Some(width) = call.args.first() {
                    let interval = DataType::Interval(IntervalUnit::MonthDayNano);
                    note(&mut self.meant, width, &interval);
                }
            }
            _ => {}
        }
    }
}

fn note(types: &mut BTreeMap<String, DataType>, expr: &Expr, data_type: &DataType) {
    if let Expr::Placeholder(parameter) = expr {
        types.insert(parameter.id.clone(), data_type.clone());
    }
}

fn is_interval(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(value, _) if matches!(value.data_type(), DataType::Interval(_)))
}

/// That of the column `time`.
fn time_type() -> DataType {
    DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()))
}

/// The values as the parameters want them, where nothing else could be meant: a span of time as an interval, and the text of a
/// time as a time.
///
/// # Errors
/// Invalid for a text that is no time.
pub(super) fn fit(values: &[ScalarValue], parameters: &Schema) -> Result<Vec<ScalarValue>> {
    let fields = parameters.fields().iter();
    let fitted = values.iter().zip(fields).map(|(value, field)| {
        let wanted = field.data_type();
        let is_meant = match wanted {
            DataType::Interval(_) => matches!(value.data_type(), DataType::Duration(_)),
            DataType::Timestamp(_, _) => value.data_type().is_string(),
            _ => false,
        };
        if !is_meant {
            return Ok(value.clone());
        }
        let completed = text_of(value).and_then(|text| completed(&text));
        let completed = completed.map(ScalarValue::from);
        let value = completed.as_ref().unwrap_or(value);
        value.cast_to(wanted).or_else(|error| {
            // A time beyond 64 bits of nanoseconds is clipped where it is a bound, as one in the text is.
            let seconds = DataType::Timestamp(TimeUnit::Second, Some("UTC".into()));
            if matches!(wanted, DataType::Timestamp(_, _)) && value.cast_to(&seconds).is_ok() {
                return Ok(value.clone());
            }
            Err(Error::invalid(format!(
                "parameter {} takes a value of type {wanted}, and {value} is none: {error}",
                field.name()
            ))
            .with_code(Code::InvalidParameter))
        })
    });
    fitted.collect()
}
