//! Text to one SELECT, its parameters in their places.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Distinct, Expr, Fetch, LimitClause, Offset, OffsetRows, Query, Select, SelectFlavor,
    SelectItem, SetExpr, Statement, TableFactor, Value, ValueWithSpan, VisitMut, VisitorMut,
    WildcardAdditionalOptions,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use crate::error::{Code, Error, ErrorKind, Result};

/// Longest text of a statement and its parameters together.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// Words and operators of a statement: chains of them become trees as deep as they are long, which are walked by recursion.
const WORD_COUNT_MAX: usize = 3000;

/// Parentheses and brackets inside each other: the parser tries two readings of some, and two of each within.
const NESTING_MAX: usize = 24;

const DIALECT: PostgreSqlDialect = PostgreSqlDialect {};

/// The one SELECT of `sql`, with `params` as literals in the places of `$1`, `$2`, and so on.
///
/// # Errors
/// Invalid for text that is no single SELECT, and for other parameters than it takes.
pub(super) fn parse(sql: &str, params: &[String]) -> Result<Statement> {
    check_text(sql, params)?;
    let tokens = Tokenizer::new(&DIALECT, sql)
        .tokenize_with_location()
        .map_err(|error| Error::invalid(error.to_string()))?;
    check_size(&tokens)?;
    let statements = Parser::new(&DIALECT)
        .with_tokens_with_locations(tokens)
        .parse_statements()
        .map_err(|error| Error::invalid(error.to_string()))?;
    let mut statements = statements.into_iter();
    let (Some(mut statement), None) = (statements.next(), statements.next()) else {
        return Err(Error::invalid("the text must hold one statement"));
    };
    let mut reading = Reading::new(params);
    if let ControlFlow::Break(error) = statement.visit(&mut reading) {
        return Err(error);
    }
    reading.check_used()?;
    Ok(statement)
}

fn check_text(sql: &str, params: &[String]) -> Result<()> {
    let texts = || std::iter::once(sql).chain(params.iter().map(String::as_str));
    if texts().any(|text| text.contains('\0')) {
        return Err(Error::invalid(
            "the statement or a parameter holds a NUL, which no text does",
        ));
    }
    let bytes: usize = texts().map(str::len).sum();
    if bytes > TEXT_BYTES_MAX {
        return Err(too_large(format!(
            "statement and parameters have {bytes} bytes, {TEXT_BYTES_MAX} at most"
        )));
    }
    Ok(())
}

/// Refuses text whose plan would be deeper than the stack, or that would take for ever to parse.
fn check_size(tokens: &[TokenWithSpan]) -> Result<()> {
    let (mut words, mut nesting) = (0, 0_usize);
    for token in tokens {
        match &token.token {
            Token::LParen => nesting += 1,
            Token::LBracket => {
                nesting += 1;
                words += 1;
            }
            Token::RParen | Token::RBracket => nesting = nesting.saturating_sub(1),
            Token::Whitespace(_)
            | Token::Comma
            | Token::Number(_, _)
            | Token::SingleQuotedString(_)
            | Token::Placeholder(_)
            | Token::EOF => {}
            _ => words += 1,
        }
        if nesting > NESTING_MAX {
            return Err(too_large(format!(
                "the statement nests more than {NESTING_MAX} parentheses"
            )));
        }
    }
    if words > WORD_COUNT_MAX {
        return Err(too_large(format!(
            "the statement has {words} words and operators, {WORD_COUNT_MAX} at most: a long OR is shorter as IN (...)"
        )));
    }
    Ok(())
}

fn too_large(message: String) -> Error {
    Error::new(ErrorKind::Exhausted, message).with_code(Code::BadSqlValue)
}

/// One pass over the statement: refuses what is no plain SELECT, and puts parameters where their marks are.
struct Reading<'a> {
    params: &'a [String],
    is_used: Vec<bool>,
    statements: usize,
}

impl<'a> Reading<'a> {
    fn new(params: &'a [String]) -> Self {
        Self {
            params,
            is_used: Vec::new(),
            statements: 0,
        }
    }

    /// The text that is bound to `mark`.
    fn bound(&mut self, mark: &str) -> Result<String> {
        let ordinal = mark
            .strip_prefix('$')
            .and_then(|digits| digits.parse::<u16>().ok())
            .filter(|&ordinal| ordinal > 0)
            .map(usize::from)
            .ok_or_else(|| Error::invalid(format!("\"{mark}\" is no parameter: $1 is")))?;
        if self.is_used.len() < ordinal {
            self.is_used.resize(ordinal, false);
        }
        self.is_used[ordinal - 1] = true;
        // One that is missing is found once it is known how many there should be.
        Ok(self.params.get(ordinal - 1).cloned().unwrap_or_default())
    }

    fn check_used(&self) -> Result<()> {
        let (given, wanted) = (self.params.len(), self.is_used.len());
        if given != wanted {
            return Err(Error::invalid(format!(
                "the statement takes {wanted} parameters, and {given} are given"
            )));
        }
        match self.is_used.iter().position(|used| !used) {
            Some(position) => Err(Error::invalid(format!(
                "the statement does not say what ${} is for",
                position + 1
            ))),
            None => Ok(()),
        }
    }

    fn value(&mut self, value: &mut Value) -> Result<()> {
        let text = match value {
            Value::Placeholder(mark) => self.bound(mark)?,
            Value::DollarQuotedString(quoted) => std::mem::take(&mut quoted.value),
            Value::EscapedStringLiteral(text)
            | Value::UnicodeStringLiteral(text)
            | Value::NationalStringLiteral(text) => std::mem::take(text),
            Value::SingleQuotedString(_) | Value::Number(..) | Value::Boolean(_) | Value::Null => {
                return Ok(());
            }
            other => return Err(unsupported(&other.to_string())),
        };
        if text.contains('\0') {
            return Err(Error::invalid("a text holds a NUL, which no text does"));
        }
        *value = Value::SingleQuotedString(text);
        Ok(())
    }

    /// A count of rows: text is read as a number here, as everywhere that a number is due.
    fn count(&mut self, expr: &mut Expr) -> Result<()> {
        let text = match expr {
            Expr::Value(ValueWithSpan {
                value: Value::Placeholder(mark),
                ..
            }) => self.bound(mark)?,
            Expr::Value(ValueWithSpan {
                value: Value::SingleQuotedString(text),
                ..
            }) => std::mem::take(text),
            _ => return Ok(()),
        };
        let count: i64 = text.trim().parse().map_err(|_| {
            Error::invalid(format!(
                "invalid input syntax for type bigint: \"{}\"",
                text.escape_debug()
            ))
        })?;
        *expr = Expr::Value(Value::Number(count.to_string(), false).into());
        Ok(())
    }

    fn query(&mut self, query: &mut Query) -> Result<()> {
        if let Some(with) = &query.with
            && with.recursive
        {
            return Err(unsupported("WITH RECURSIVE"));
        }
        if !query.locks.is_empty() {
            return Err(unsupported("FOR UPDATE and FOR SHARE"));
        }
        let is_plain = query.for_clause.is_none()
            && query.settings.is_none()
            && query.format_clause.is_none()
            && query.pipe_operators.is_empty();
        if !is_plain {
            return Err(unsupported("what follows the query"));
        }
        check_body(&query.body)?;
        if let Some(fetch) = query.fetch.take() {
            set_fetch(query, fetch)?;
        }
        match &mut query.limit_clause {
            Some(LimitClause::LimitOffset {
                limit,
                offset,
                limit_by,
            }) => {
                if !limit_by.is_empty() {
                    return Err(unsupported("LIMIT BY"));
                }
                if let Some(limit) = limit {
                    self.count(limit)?;
                }
                if let Some(offset) = offset {
                    self.count(&mut offset.value)?;
                }
                Ok(())
            }
            Some(LimitClause::OffsetCommaLimit { .. }) => Err(unsupported("LIMIT with a comma")),
            None => Ok(()),
        }
    }
}

/// FETCH FIRST 5 ROWS ONLY is LIMIT 5.
fn set_fetch(query: &mut Query, fetch: Fetch) -> Result<()> {
    if fetch.with_ties || fetch.percent {
        return Err(unsupported("FETCH of ties or of a share"));
    }
    let one = || Expr::Value(Value::Number("1".to_owned(), false).into());
    let rows = fetch.quantity.unwrap_or_else(one);
    let offset: Option<Offset> = match query.limit_clause.take() {
        None => None,
        Some(LimitClause::LimitOffset {
            limit: None,
            offset,
            ..
        }) => offset.map(|offset| Offset {
            rows: OffsetRows::None,
            ..offset
        }),
        Some(_) => return Err(Error::invalid("LIMIT and FETCH say the same thing twice")),
    };
    query.limit_clause = Some(LimitClause::LimitOffset {
        limit: Some(rows),
        offset,
        limit_by: Vec::new(),
    });
    Ok(())
}

/// A query is SELECTs, and what PostgreSQL combines them with.
fn check_body(body: &SetExpr) -> Result<()> {
    let mut bodies = vec![body];
    while let Some(body) = bodies.pop() {
        match body {
            // Those have a visit of their own.
            SetExpr::Select(_) | SetExpr::Query(_) => {}
            SetExpr::SetOperation { left, right, .. } => bodies.extend([left, right].map(|b| &**b)),
            SetExpr::Values(_) => return Err(unsupported("VALUES")),
            SetExpr::Table(_) => return Err(unsupported("TABLE")),
            SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => {
                return Err(only_select());
            }
        }
    }
    Ok(())
}

fn check_select(select: &Select) -> Result<()> {
    if select.into.is_some() {
        return Err(only_select());
    }
    let is_plain = select.top.is_none()
        && select.qualify.is_none()
        && select.prewhere.is_none()
        && select.exclude.is_none()
        && select.select_modifiers.is_none()
        && select.value_table_mode.is_none()
        && select.lateral_views.is_empty()
        && select.connect_by.is_empty()
        && select.cluster_by.is_empty()
        && select.distribute_by.is_empty()
        && select.sort_by.is_empty()
        && select.flavor == SelectFlavor::Standard
        && !matches!(select.distinct, Some(Distinct::On(ref keys)) if keys.is_empty());
    if !is_plain {
        return Err(unsupported("a clause of this SELECT"));
    }
    for item in &select.projection {
        match item {
            SelectItem::Wildcard(options) | SelectItem::QualifiedWildcard(_, options)
                if *options != WildcardAdditionalOptions::default() =>
            {
                return Err(unsupported("what follows the * of this SELECT"));
            }
            SelectItem::ExprWithAliases { .. } => {
                return Err(unsupported("more than one name for a column"));
            }
            _ => {}
        }
    }
    Ok(())
}

fn check_factor(factor: &TableFactor) -> Result<()> {
    match factor {
        TableFactor::Table {
            args: None,
            sample: None,
            version: None,
            json_path: None,
            with_ordinality: false,
            with_hints,
            partitions,
            index_hints,
            ..
        } if with_hints.is_empty() && partitions.is_empty() && index_hints.is_empty() => Ok(()),
        TableFactor::Derived { sample: None, .. } | TableFactor::NestedJoin { .. } => Ok(()),
        other => Err(unsupported(&format!("reading from {other}"))),
    }
}

fn only_select() -> Error {
    Error::invalid("metadata is read here, and written by other calls: only SELECT is supported")
}

fn unsupported(what: &str) -> Error {
    Error::invalid(format!("{what} is not supported"))
}

fn refused(checked: Result<()>) -> ControlFlow<Error> {
    match checked {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => ControlFlow::Break(error),
    }
}

impl VisitorMut for Reading<'_> {
    type Break = Error;

    fn pre_visit_statement(&mut self, statement: &mut Statement) -> ControlFlow<Error> {
        self.statements += 1;
        match statement {
            Statement::Query(_) if self.statements == 1 => ControlFlow::Continue(()),
            _ => ControlFlow::Break(only_select()),
        }
    }

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        refused(self.query(query))
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Error> {
        refused(check_select(select))
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Error> {
        refused(check_factor(factor))
    }

    fn pre_visit_value(&mut self, value: &mut ValueWithSpan) -> ControlFlow<Error> {
        refused(self.value(&mut value.value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(sql: &str, params: &[&str]) -> Result<String> {
        let params: Vec<String> = params.iter().map(ToString::to_string).collect();
        parse(sql, &params).map(|statement| statement.to_string())
    }

    #[test]
    fn parameters_are_literals_wherever_they_stand() {
        let sql = "SELECT uuid FROM streams WHERE name = $1 OR name = $2 AND unit IN ($2) LIMIT $3";
        assert_eq!(
            parsed(sql, &["a' OR 'b'='b", "$1", " 7 "]).expect("parses"),
            "SELECT uuid FROM streams WHERE name = 'a'' OR ''b''=''b' OR name = '$1' AND unit IN ('$1') LIMIT 7"
        );
    }

    #[test]
    fn parameters_are_as_many_as_their_marks() {
        for (sql, params) in [
            ("SELECT $1", &[][..]),
            ("SELECT 1", &["a"]),
            ("SELECT $1", &["a", "b"]),
            ("SELECT $2", &["a", "b"]),
            ("SELECT $0", &[]),
            ("SELECT $x", &["a"]),
            ("SELECT $99999999999999999999", &["a"]),
            ("SELECT name FROM streams LIMIT $1", &["many"]),
            ("SELECT $1", &["a\0b"]),
        ] {
            let error = parsed(sql, params).expect_err(sql);
            assert_eq!(error.kind(), ErrorKind::Invalid, "{sql}: {error}");
        }
    }

    #[test]
    fn only_one_select_is_taken() {
        for sql in [
            "",
            ";",
            "SELEC 1",
            "SELECT 1; SELECT 2",
            "DELETE FROM streams",
            "INSERT INTO streams SELECT * FROM streams",
            "WITH gone AS (DELETE FROM streams RETURNING *) SELECT * FROM gone",
            "SELECT 1 INTO t",
            "SELECT * FROM streams FOR UPDATE",
            "EXPLAIN SELECT 1",
            "SET x = 1",
            "COPY streams TO '/tmp/x'",
            "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'",
            "VALUES (1)",
            "SELECT * FROM (VALUES (1)) AS t",
            "SELECT * FROM generate_series(1, 1000000000000)",
            "SELECT * FROM streams TABLESAMPLE BERNOULLI (10)",
            "WITH RECURSIVE t AS (SELECT 1 UNION ALL SELECT * FROM t) SELECT * FROM t",
            "SELECT 'open",
            "SELECT X'00'",
        ] {
            let error = parsed(sql, &[]).expect_err(sql);
            assert_eq!(error.kind(), ErrorKind::Invalid, "{sql}: {error}");
        }
        parsed("SELECT 1;", &[]).expect("a semicolon ends it");
        parsed("(SELECT 1) UNION (SELECT 2) -- done", &[]).expect("a union of two");
    }

    #[test]
    fn what_is_too_large_is_refused_before_it_is_parsed() {
        let deep = |open: &str, close: &str| {
            format!("SELECT {}1{}", open.repeat(100_000), close.repeat(100_000))
        };
        for sql in [
            deep("(", ")"),
            deep("(", ""),
            deep("- ", ""),
            deep("NOT ", ""),
            deep("1+", ""),
            deep("", "::int"),
            deep("ARRAY[", "]"),
            deep("CASE WHEN 1=1 THEN ", " END"),
            format!("SELECT 1::int{}", "[]".repeat(100_000)),
            format!("SELECT * FROM {}streams", "(".repeat(100_000)),
            format!("SELECT 1 {}", "UNION SELECT 1 ".repeat(10_000)),
            format!("SELECT '{}'", "x".repeat(TEXT_BYTES_MAX)),
        ] {
            let error = parsed(&sql, &[]).expect_err("too large");
            assert_eq!(error.kind(), ErrorKind::Exhausted, "{error}");
        }
    }

    #[test]
    fn what_is_nested_as_far_as_allowed_is_read_at_once() {
        let (open, close) = ("(".repeat(NESTING_MAX), ")".repeat(NESTING_MAX));
        for sql in [
            format!("SELECT * FROM {open}streams{close}"),
            format!("SELECT * FROM {open}SELECT 1{close}"),
            format!("SELECT {open}1{close}"),
            format!("SELECT {open}SELECT 1{close}"),
            format!("SELECT 1 WHERE 1 IN {open}1{close}"),
            format!("{open}SELECT 1{close}"),
            format!("SELECT * FROM {open}"),
        ] {
            let started = std::time::Instant::now();
            let _ = parsed(&sql, &[]);
            assert!(started.elapsed().as_secs() < 5, "{sql}");
        }
    }
}
