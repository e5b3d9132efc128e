//! SQL text as statements: where each ends, and what kind it is.

use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast::{self, Expr, Set};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use crate::error::{Error, Result};

/// The statements of `text`, each as it was written, without its `;`.
///
/// A `;` inside a string, a quoted name or a comment ends nothing. Statements are not parsed here, so each is judged when its
/// turn comes, by whoever runs it.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) for text that is not SQL at all, such as a string without end.
pub(super) fn split(text: &str) -> Result<Vec<&str>> {
    let tokens = Tokenizer::new(&GenericDialect {}, text)
        .with_unescape(false)
        .tokenize_with_location()
        .map_err(|error| Error::invalid("SQL cannot be read").with_source(error))?;
    let mut offsets = Offsets::new(text);
    let mut statements = Vec::new();
    let (mut start, mut has_words) = (0, false);
    for token in tokens {
        match token.token {
            Token::SemiColon => {
                let end = offsets.find(token.span.start.line, token.span.start.column);
                if has_words {
                    statements.push(text[start..end].trim());
                }
                (start, has_words) = (end + 1, false);
            }
            Token::Whitespace(_) | Token::EOF => {}
            _ => has_words = true,
        }
    }
    if has_words {
        statements.push(text[start..].trim());
    }
    Ok(statements)
}

/// Turns ascending lines and columns, as the tokenizer counts them (from 1, in characters), into byte offsets.
struct Offsets<'a> {
    rest: std::str::CharIndices<'a>,
    line: u64,
    column: u64,
    end: usize,
}

impl<'a> Offsets<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            rest: text.char_indices(),
            line: 1,
            column: 1,
            end: text.len(),
        }
    }

    fn find(&mut self, line: u64, column: u64) -> usize {
        for (offset, char) in self.rest.by_ref() {
            let here = (self.line, self.column) == (line, column);
            if char == '\n' {
                self.line += 1;
                self.column = 1;
            } else {
                self.column += 1;
            }
            if here {
                return offset;
            }
        }
        self.end
    }
}

/// What a client has to know about a statement before it sends it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It has rows, or only the server can tell.
    Query,
    /// It changes data; the answer is a count.
    Update,
    /// `SET name = value`.
    Set {
        /// In lower case.
        name: String,
        /// Without quotes.
        value: String,
    },
}

/// What kind of statement `sql` is. Text that does not parse is taken for a query, so that the server gets to say why.
pub(super) fn kind(sql: &str) -> Kind {
    let parsed = DFParserBuilder::new(sql)
        .with_dialect(&GenericDialect {})
        .build()
        .and_then(|mut parser| parser.parse_statement());
    let Ok(Statement::Statement(statement)) = parsed else {
        return Kind::Query;
    };
    match *statement {
        ast::Statement::Insert(_) | ast::Statement::Update(_) | ast::Statement::Delete(_) => {
            Kind::Update
        }
        ast::Statement::Set(Set::SingleAssignment {
            variable, values, ..
        }) => match values.as_slice() {
            [value] => Kind::Set {
                name: variable.to_string().to_lowercase(),
                value: literal(value),
            },
            _ => Kind::Query,
        },
        _ => Kind::Query,
    }
}

/// A setting's value as text: `'never'`, `never` and `"never"` are the same.
fn literal(value: &Expr) -> String {
    match value {
        Expr::Value(value) => match value.value.clone().into_string() {
            Some(text) => text,
            None => value.to_string(),
        },
        Expr::Identifier(name) => name.value.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn semicolons_in_strings_names_and_comments_end_nothing() {
        let text = "SELECT ';', \"a;b\" -- c;d\n FROM t; /* e;f */ SELECT 'it''s;';;\n-- only a comment;\n";
        assert_eq!(
            split(text).expect("SQL"),
            [
                "SELECT ';', \"a;b\" -- c;d\n FROM t",
                "/* e;f */ SELECT 'it''s;'"
            ]
        );
    }

    #[test]
    fn offsets_count_characters_not_bytes() {
        let text = "SELECT 'größe → ; µ';\r\nSELECT 'ü' ; SELECT 3";
        assert_eq!(
            split(text).expect("SQL"),
            ["SELECT 'größe → ; µ'", "SELECT 'ü'", "SELECT 3"]
        );
    }

    #[test]
    fn a_string_without_end_is_refused() {
        split("SELECT 'a; SELECT 2").expect_err("no end");
        assert_eq!(split(" \n;; ").expect("nothing"), [""; 0]);
    }

    #[test]
    fn kinds_are_told_apart() {
        assert_eq!(kind("SELECT 1"), Kind::Query);
        assert_eq!(kind("WITH a AS (SELECT 1) SELECT * FROM a"), Kind::Query);
        assert_eq!(kind("EXPLAIN SELECT 1"), Kind::Query);
        assert_eq!(kind("SELEKT"), Kind::Query);
        assert_eq!(kind("INSERT INTO points SELECT * FROM x"), Kind::Update);
        assert_eq!(kind("DELETE FROM points WHERE uuid = 'x'"), Kind::Update);
        assert_eq!(kind("UPDATE streams SET collection = 'x'"), Kind::Update);
        for sql in [
            "SET btrdb.merge = 'replace'",
            "SET BTRDB.MERGE = replace",
            "SET btrdb.merge TO \"replace\"",
        ] {
            assert_eq!(
                kind(sql),
                Kind::Set {
                    name: "btrdb.merge".to_owned(),
                    value: "replace".to_owned()
                },
                "{sql}"
            );
        }
        assert_eq!(
            kind("SET btrdb.pushdown = false"),
            Kind::Set {
                name: "btrdb.pushdown".to_owned(),
                value: "false".to_owned()
            }
        );
    }
}
