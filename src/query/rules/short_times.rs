//! Times written to the minute: `'2024-06-01 12:30'`, as PostgreSQL and DuckDB read them. Arrow wants the seconds too.

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::Expr;

use crate::query::constants::completed;

/// A cast of a text to a time, with its seconds if it has none. Texts that are no such time stay, and are refused as they are.
pub(super) fn with_seconds(expr: Expr) -> Transformed<Expr> {
    let Expr::Cast(mut cast) = expr else {
        return Transformed::no(expr);
    };
    let to = cast.field.data_type();
    let long = match cast.expr.as_ref() {
        Expr::Literal(value, _) if matches!(to, DataType::Timestamp(_, _)) => value
            .try_as_str()
            .flatten()
            .and_then(completed)
            .map(ScalarValue::from)
            .filter(|long| long.cast_to(to).is_ok()),
        _ => None,
    };
    match long {
        Some(long) => {
            cast.expr = Box::new(Expr::Literal(long, None));
            Transformed::yes(Expr::Cast(cast))
        }
        None => Transformed::no(Expr::Cast(cast)),
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::TimeUnit;
    use datafusion::logical_expr::{cast, lit};

    use super::*;

    fn time() -> DataType {
        DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()))
    }

    #[test]
    fn minutes_are_enough() {
        for (short, long) in [
            ("2024-06-01 12:30", "2024-06-01 12:30:00"),
            ("2024-06-01T12:30", "2024-06-01T12:30:00"),
            ("2024-06-01T12:30Z", "2024-06-01T12:30:00Z"),
            ("2024-06-01 12:30+02:00", "2024-06-01 12:30:00+02:00"),
        ] {
            let completed = with_seconds(cast(lit(short), time()));
            assert_eq!(completed.data, cast(lit(long), time()));
            assert!(completed.transformed);
        }
    }

    #[test]
    fn what_is_no_such_time_stays() {
        for text in [
            "2024-06-01",
            "2024-06-01 12:30:15",
            "2024-06-01 25:30",
            "2024-06-01 12:30 or so",
            "2024-06-01 12:30é",
            "2024-06-0é 12:3",
            "",
        ] {
            let expr = cast(lit(text), time());
            assert_eq!(with_seconds(expr.clone()), Transformed::no(expr), "{text}");
        }
        let text = cast(lit("2024-06-01 12:30"), DataType::Utf8);
        assert_eq!(with_seconds(text.clone()), Transformed::no(text));
    }
}
