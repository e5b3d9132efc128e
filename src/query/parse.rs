//! SQL text to one statement that may run here, before any name is looked up.

use datafusion::sql::parser::{DFParserBuilder, Statement as Parsed};
use datafusion::sql::sqlparser::ast::{
    self, ContextModifier, FunctionArg, FunctionArgExpr, ObjectNamePart, Set, Statement as Sql,
    TableFactor, Use,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use super::columnless::check_columns;
use super::command::Command;
use super::dialect::adapt;
use super::functions::Function;
use super::show;
use super::titles::title;
use super::write::{self, lift_with, writes};
use crate::error::{Code, Error, ErrorKind, Result};

/// The one statement of `sql`, with its parameters numbered.
///
/// # Errors
/// Invalid for text that does not parse, holds no statement or several; Unsupported for statements that do not read.
pub(super) fn parse(sql: &str) -> Result<Parsed> {
    check_size(sql)?;
    let numbered = number_parameters(sql)?;
    let mut statements = DFParserBuilder::new(numbered.as_str())
        .with_dialect(&GenericDialect {})
        .build()
        .and_then(|mut parser| parser.parse_statements())
        .map_err(super::errors::from_datafusion)?;
    let (Some(mut statement), true) = (statements.pop_front(), statements.is_empty()) else {
        return Err(Error::invalid(if statements.is_empty() {
            "the text holds no statement"
        } else {
            "the text holds more than one statement: send them one by one"
        }));
    };
    if let Parsed::Statement(sql) = innermost(&mut statement) {
        lift_with(sql);
    }
    check(&statement)?;
    if let Parsed::Statement(sql) = innermost(&mut statement) {
        if let Some(query) = show::query_of(sql)? {
            **sql = query_in(&query)?;
        }
        adapt(sql)?;
        for_session(sql);
        title(sql);
        check_columns(sql)?;
    }
    Ok(statement)
}

/// The statement of a text that was made here.
fn query_in(text: &str) -> Result<Sql> {
    let mut statements = Parser::parse_sql(&GenericDialect {}, text).map_err(|error| {
        Error::invalid(format!(
            "the statement stands for a query that cannot be parsed: {error}"
        ))
    })?;
    statements
        .pop()
        .ok_or_else(|| Error::internal("a statement stands for no query"))
}

/// Longest text of a statement.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// Operators of a statement. Chains of them (`a + b + c ...`) become trees as deep as they are long, which parser and planner
/// walk by recursion: with a stack of 64 MiB, as the server's threads have, there is room for many more.
const OPERATOR_COUNT_MAX: usize = 2000;

/// Refuses text whose plan would be deeper than the stack.
fn check_size(sql: &str) -> Result<()> {
    if sql.len() > TEXT_BYTES_MAX {
        let message = format!(
            "the statement has {} bytes, {TEXT_BYTES_MAX} at most",
            sql.len()
        );
        return Err(Error::new(ErrorKind::Exhausted, message));
    }
    if sql.len() < OPERATOR_COUNT_MAX {
        return Ok(());
    }
    let tokens = Tokenizer::new(&GenericDialect {}, sql)
        .tokenize()
        .map_err(|error| Error::invalid(error.to_string()))?;
    let words: Vec<&Token> = tokens
        .iter()
        .filter(|token| !matches!(token, Token::Whitespace(_)))
        .collect();
    let signs = words.windows(2).filter(|pair| is_sign(pair[0], pair[1]));
    let operators = words.iter().filter(|token| is_operator(token)).count() - signs.count();
    if operators > OPERATOR_COUNT_MAX {
        let message = format!(
            "the statement has {operators} operators, {OPERATOR_COUNT_MAX} at most: a long OR is shorter as IN (...)"
        );
        return Err(Error::new(ErrorKind::Exhausted, message));
    }
    Ok(())
}

/// Whether `token` is the sign of a number in a list, as VALUES have them by the thousand: those stand side by side.
fn is_sign(before: &Token, token: &Token) -> bool {
    matches!(before, Token::Comma | Token::LParen) && matches!(token, Token::Minus | Token::Plus)
}

/// Whether a token adds a level to the tree. Parentheses do too, but the parser counts these itself.
fn is_operator(token: &Token) -> bool {
    match token {
        Token::Word(word) => matches!(
            word.keyword,
            Keyword::AND
                | Keyword::OR
                | Keyword::NOT
                | Keyword::IS
                | Keyword::LIKE
                | Keyword::BETWEEN
                | Keyword::CASE
                | Keyword::WHEN
                | Keyword::SELECT
                | Keyword::JOIN
                | Keyword::UNION
                | Keyword::INTERSECT
                | Keyword::EXCEPT
        ),
        Token::Comma
        | Token::Whitespace(_)
        | Token::Number(_, _)
        | Token::SingleQuotedString(_)
        | Token::Period
        | Token::SemiColon
        | Token::Placeholder(_)
        | Token::EOF
        | Token::LParen
        | Token::RParen => false,
        _ => true,
    }
}

/// `?` as `$1`, `$2`, ... in the order of the text, which is the order that clients bind in.
fn number_parameters(sql: &str) -> Result<String> {
    if !sql.contains('?') {
        return Ok(sql.to_owned());
    }
    let tokens = Tokenizer::new(&GenericDialect {}, sql)
        .with_unescape(false)
        .tokenize_with_location()
        .map_err(|error| Error::invalid(error.to_string()))?;
    let marks: Vec<_> = tokens
        .iter()
        .filter(|token| token.token == Token::Placeholder("?".to_owned()))
        .map(|token| (token.span.start.line, token.span.start.column))
        .collect();
    let is_numbered = |token: &Token| matches!(token, Token::Placeholder(name) if name != "?");
    if !marks.is_empty() && tokens.iter().any(|token| is_numbered(&token.token)) {
        return Err(Error::invalid(
            "the statement has parameters of both kinds, ? and $1: use one of them",
        )
        .with_code(Code::InvalidParameter));
    }
    let mut numbered = String::with_capacity(sql.len() + marks.len());
    let mut marks = marks.into_iter().enumerate().peekable();
    let (mut line, mut column) = (1, 1);
    for character in sql.chars() {
        match marks.next_if(|(_, mark)| *mark == (line, column)) {
            Some((position, _)) => numbered.push_str(&format!("${}", position + 1)),
            None => numbered.push(character),
        }
        if character == '\n' {
            (line, column) = (line + 1, 1);
        } else {
            column += 1;
        }
    }
    Ok(numbered)
}

/// The statement inside any EXPLAIN.
pub(super) fn innermost(statement: &mut Parsed) -> &mut Parsed {
    match statement {
        Parsed::Explain(explain) => innermost(&mut explain.statement),
        other => other,
    }
}

/// Refuses what does not read, before anything happens.
fn check(statement: &Parsed) -> Result<()> {
    match statement {
        Parsed::Explain(explain) => {
            if let Some(command) = Command::of_parsed(&explain.statement)? {
                return Err(refused(
                    &format!("EXPLAIN {}", command.verb()),
                    "it has no plan",
                ));
            }
            check(&explain.statement)?;
            match write::writing(&explain.statement) {
                Some(_) if explain.options.analyze => Err(refused(
                    "EXPLAIN ANALYZE of a write",
                    "it would have to write; EXPLAIN says what it would do",
                )),
                _ => Ok(()),
            }
        }
        Parsed::Statement(sql) => check_sql(sql),
        Parsed::CopyTo(_) => Err(refused(
            "COPY",
            "results go to the client, not to files here",
        )),
        Parsed::CreateExternalTable(_) => Err(refused("CREATE EXTERNAL TABLE", NO_DDL)),
        Parsed::Reset(_) => Ok(()),
    }
}

const NO_DDL: &str = "tables are streams; a stream is created by writing to it";
const ONE_WRITE: &str = "a write is a statement of its own: send them one by one";

fn check_sql(statement: &Sql) -> Result<()> {
    match statement {
        Sql::Query(query) => check_query(query),
        Sql::Explain { statement, .. } if writes(statement) => Err(refused(
            "DESCRIBE of a write",
            "EXPLAIN says what it would do",
        )),
        Sql::Explain { statement, .. } => check_sql(statement),
        Sql::ExplainTable { .. }
        | Sql::ShowDatabases { .. }
        | Sql::ShowCatalogs { .. }
        | Sql::ShowSchemas { .. }
        | Sql::ShowTables { .. }
        | Sql::ShowViews { .. }
        | Sql::ShowColumns { .. }
        | Sql::ShowVariable { .. }
        | Sql::ShowFunctions { .. }
        | Sql::Use(Use::Object(_) | Use::Schema(_) | Use::Database(_) | Use::Default)
        | Sql::StartTransaction { .. }
        | Sql::Commit { .. }
        | Sql::Rollback { .. } => Ok(()),
        Sql::Set(Set::SetTimeZone { .. }) => Err(refused(
            "SET TIME ZONE",
            "times are told in UTC, and carry that zone",
        )),
        Sql::Set(Set::SetTransaction { .. }) => Err(refused(
            "SET TRANSACTION",
            "a transaction is told as it begins: BEGIN, or BEGIN READ ONLY",
        )),
        Sql::Set(_) => Ok(()),
        Sql::Insert(insert) => {
            write::check(statement)?;
            insert
                .source
                .iter()
                .try_for_each(|source| check_query(source))
        }
        Sql::Update(_) | Sql::Delete(_) | Sql::Merge(_) | Sql::Truncate(_) => {
            write::check(statement)
        }
        Sql::Copy { .. } => Err(refused(
            "COPY",
            "results go to the client, not to files here",
        )),
        Sql::Prepare { .. } | Sql::Execute { .. } | Sql::Deallocate { .. } => Err(refused(
            "PREPARE and EXECUTE",
            "statements are prepared by Flight SQL calls, not by SQL text",
        )),
        other => {
            let text = other.to_string();
            let verb: Vec<_> = text.split_whitespace().take(2).collect();
            Err(refused(&verb.join(" "), reason(&verb)))
        }
    }
}

/// Why a statement that begins so is refused.
fn reason(verb: &[&str]) -> &'static str {
    match verb {
        ["SHOW", "CREATE"] => {
            "tables are streams, which no text created: DESCRIBE tells their columns"
        }
        ["SHOW", ..] => show::SHOWN,
        [
            "VACUUM" | "OPTIMIZE" | "ANALYZE" | "REINDEX" | "CHECKPOINT",
            ..,
        ] => "the store looks after itself, and its trees hold their statistics",
        ["GRANT" | "REVOKE" | "DENY", ..] => "who may call is decided by API keys",
        ["USE", ..] => {
            "USE takes a collection, as in USE \"lab/pmu\": names that stand alone are looked up there"
        }
        ["CALL", ..] => "there are no procedures: table functions stand behind FROM",
        ["KILL", ..] => "a statement ends when its client cancels it or leaves",
        ["LOCK" | "UNLOCK", ..] => "readers and writers never wait for each other",
        ["LISTEN" | "UNLISTEN" | "NOTIFY", ..] => "there are no channels",
        ["DECLARE" | "FETCH" | "CLOSE" | "OPEN", ..] => "results are streams, and need no cursor",
        ["SAVEPOINT" | "RELEASE", ..] => "transactions have no savepoints",
        ["DROP", "TABLE"] => {
            "tables are streams: DELETE FROM streams WHERE ... obliterates those that it names, DELETE FROM a stream its points"
        }
        [
            "CREATE" | "ALTER" | "DROP" | "RENAME",
            "TABLE" | "VIRTUAL" | "SCHEMA" | "DATABASE",
        ] => NO_DDL,
        ["CREATE" | "ALTER" | "DROP", ..] => "only streams can be made here, by writing to them",
        _ => "it is no statement that reads streams or writes to them",
    }
}

/// A query can carry a write in its body, or beneath a WITH.
fn check_query(query: &ast::Query) -> Result<()> {
    for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
        check_query(&cte.query)?;
    }
    match query.body.as_ref() {
        ast::SetExpr::Insert(statement)
        | ast::SetExpr::Update(statement)
        | ast::SetExpr::Delete(statement)
        | ast::SetExpr::Merge(statement) => {
            let text = statement.to_string();
            let verb = text.split_whitespace().next().unwrap_or_default();
            Err(refused(&format!("{verb} inside of a query"), ONE_WRITE))
        }
        ast::SetExpr::Select(select) if select.into.is_some() => {
            Err(refused("SELECT INTO", NO_DDL))
        }
        _ => Ok(()),
    }
}

/// The error for what SQL has and this gateway has not.
pub(super) fn refused(what: &str, why: &str) -> Error {
    Error::unsupported(format!("{what} is not supported: {why}"))
}

/// SET SESSION is SET: there is nothing wider or narrower.
fn for_session(statement: &mut Sql) {
    if let Sql::Set(Set::SingleAssignment { scope, .. }) = statement
        && *scope == Some(ContextModifier::Session)
    {
        *scope = None;
    }
}

/// A call of one of our table functions, with its arguments.
pub(super) fn call_of(factor: &TableFactor) -> Option<(Function, &[FunctionArg])> {
    let (name, args) = match factor {
        TableFactor::Table {
            name,
            args: Some(args),
            ..
        } => (name, args.args.as_slice()),
        TableFactor::Function { name, args, .. } => (name, args.as_slice()),
        _ => return None,
    };
    match name.0.as_slice() {
        [ObjectNamePart::Identifier(ident)] => Some((Function::named(&ident.value)?, args)),
        _ => None,
    }
}

/// The expression of an argument without a name.
pub(super) fn argument_of(arg: &FunctionArg) -> Option<&ast::Expr> {
    match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn question_marks_are_numbered_outside_of_texts() {
        let sql = "SELECT '?', \"?\", ? -- ?\n, '''é' || ? /* ? */";
        assert_eq!(
            number_parameters(sql).expect("tokens"),
            "SELECT '?', \"?\", $1 -- ?\n, '''é' || $2 /* ? */"
        );
    }

    #[test]
    fn values_are_not_taken_from_queries_without_columns() {
        for sql in [
            "SELECT * FROM points WHERE value > (SELECT FROM points)",
            "SELECT (SELECT * FROM (SELECT FROM points) p)",
            "WITH a AS (SELECT FROM points) SELECT 1 ORDER BY (SELECT * FROM a)",
            "EXPLAIN SELECT (SELECT FROM points)",
            "SELECT ((SELECT FROM points) UNION ALL SELECT 1)",
            "DELETE FROM streams WHERE name = (SELECT FROM points)",
        ] {
            let error = parse(sql).expect_err(sql);
            assert_eq!(error.kind(), ErrorKind::Invalid, "{sql}: {error}");
        }
        for sql in [
            "SELECT FROM points",
            "SELECT 1 WHERE EXISTS (SELECT FROM points)",
            "SELECT count(*) FROM (SELECT FROM points) p",
            "SELECT (SELECT 1) FROM streams WHERE EXISTS (SELECT FROM points)",
            "SELECT (SELECT count(*) FROM (FROM streams))",
            "SELECT (SELECT * FROM (FROM collections))",
        ] {
            parse(sql).expect(sql);
        }
    }

    #[test]
    fn what_does_not_read_is_refused() {
        for sql in [
            "DELETE FROM points",
            "UPDATE streams SET unit = 'V'",
            "TRUNCATE TABLE points",
            "REPLACE INTO points VALUES (1)",
            "INSERT INTO points VALUES (1) ON CONFLICT DO NOTHING",
            "INSERT INTO points VALUES (1) RETURNING uuid",
            "WITH a AS (DELETE FROM points WHERE true) SELECT 1",
            "WITH a AS (SELECT 1) DELETE FROM points WHERE true",
            "CREATE TABLE t (a int)",
            "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'",
            "DROP TABLE points",
            "COPY points TO '/tmp/x' STORED AS CSV",
            "EXPLAIN ANALYZE INSERT INTO points VALUES (1)",
            "SELECT 1 INTO t",
            "SELECT count(*) FROM points TABLESAMPLE BERNOULLI (10)",
            "EXPLAIN BEGIN",
            "EXPLAIN ANALYZE ROLLBACK",
        ] {
            let error = parse(sql).expect_err(sql);
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{sql}: {error}");
        }
    }

    #[test]
    fn one_statement_at_a_time() {
        for sql in ["", ";", "-- nothing", "SELECT 1; SELECT 2", "SELEC 1"] {
            let error = parse(sql).expect_err(sql);
            assert_eq!(error.kind(), ErrorKind::Invalid, "{sql}: {error}");
        }
        parse("SELECT 1;").expect("a semicolon ends it");
        parse("EXPLAIN ANALYZE SELECT * FROM points").expect("explains");
    }
}
