//! Literals that PostgreSQL reads otherwise than DataFusion: text where a number is due, patterns with an escape of their own.

use datafusion::sql::sqlparser::ast::{Expr, UnaryOperator, Value, ValueWithSpan};

use crate::error::{Error, Result};

/// Text that stands where a number is due, as that number; any other expression as it is.
pub(super) fn number(expr: Expr) -> Result<Expr> {
    let Some(text) = text_of(&expr) else {
        return Ok(expr);
    };
    let trimmed = text.trim();
    let number = match (trimmed.parse::<i64>(), trimmed.parse::<f64>()) {
        (Ok(integer), _) => integer.to_string(),
        (_, Ok(float)) if float.is_finite() => format!("{float:e}"),
        _ => {
            return Err(Error::invalid(format!(
                "invalid input syntax for type numeric: \"{}\"",
                text.escape_debug()
            )));
        }
    };
    // A sign is an operator of its own.
    let (sign, digits) = match number.strip_prefix('-') {
        Some(digits) => (Some(UnaryOperator::Minus), digits.to_owned()),
        None => (None, number),
    };
    let digits = Expr::Value(Value::Number(digits, false).into());
    Ok(match sign {
        Some(op) => Expr::UnaryOp {
            op,
            expr: Box::new(digits),
        },
        None => digits,
    })
}

/// The text of a literal.
fn text_of(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Value(ValueWithSpan {
            value: Value::SingleQuotedString(text),
            ..
        }) => Some(text),
        Expr::Nested(inner) => text_of(inner),
        _ => None,
    }
}

/// The pattern of a LIKE with the escape that DataFusion knows.
pub(super) fn with_backslashes(pattern: Expr, escape: Value) -> Result<Expr> {
    let unknown = || Error::invalid("ESCAPE takes one character or none, and a pattern in quotes");
    let (Some(text), Value::SingleQuotedString(escape)) = (text_of(&pattern), escape) else {
        return Err(unknown());
    };
    let mut escapes = escape.chars();
    let (escape, None) = (escapes.next(), escapes.next()) else {
        return Err(unknown());
    };
    let mut escaped = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        let literal = if Some(character) == escape {
            characters.next()
        } else {
            (character == '\\').then_some(character)
        };
        match literal {
            Some(literal) => escaped.extend(['\\', literal]),
            None if Some(character) == escape => {
                return Err(Error::invalid("a pattern must not end with its escape"));
            }
            None => escaped.push(character),
        }
    }
    Ok(Expr::Value(Value::SingleQuotedString(escaped).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Expr {
        Expr::Value(Value::SingleQuotedString(text.to_owned()).into())
    }

    #[test]
    fn text_is_read_as_a_number() {
        for (read, expected) in [
            ("7", "7"),
            (" -7 ", "-7"),
            ("1.5", "1.5e0"),
            ("-2e3", "-2e3"),
        ] {
            assert_eq!(number(text(read)).expect(read).to_string(), expected);
        }
        for read in ["", "x", "NaN", "1 OR 1=1"] {
            number(text(read)).expect_err(read);
        }
    }

    #[test]
    fn escapes_become_backslashes() {
        let like = |pattern, escape: &str| {
            with_backslashes(text(pattern), Value::SingleQuotedString(escape.to_owned()))
        };
        for (pattern, escape, expected) in [
            ("a!%b%", "!", "'a\\%b%'"),
            ("a!!\\", "!", "'a\\!\\\\'"),
            ("a\\%", "", "'a\\\\%'"),
            ("a\\%", "\\", "'a\\%'"),
        ] {
            let escaped = like(pattern, escape).expect(pattern);
            assert_eq!(escaped.to_string(), expected, "{pattern}");
        }
        like("a!", "!").expect_err("ends with its escape");
        like("a", "ab").expect_err("two characters");
    }
}
