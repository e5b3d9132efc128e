//! The patterns of SIMILAR TO, as regular expressions.

use crate::error::{Error, Result};

/// The escape character of patterns that name none.
pub(super) const ESCAPE: &str = "\\";

/// A regular expression that matches what the pattern of SIMILAR TO does: always the whole text.
///
/// `%` is any text and `_` any character; `|`, `*`, `+`, `?`, `{m,n}`, parentheses and brackets are those of regular
/// expressions; everything else stands for itself.
///
/// # Errors
/// Invalid for an escape that is more than one character. What the pattern makes of brackets and braces is checked with the
/// expression that comes out.
pub(super) fn to_regex(pattern: &str, escape: &str) -> Result<String> {
    let mut escapes = escape.chars();
    let escape = escapes.next();
    if escapes.next().is_some() {
        return Err(Error::invalid(
            "invalid escape string: it must be empty or one character",
        ));
    }
    let mut regex = String::with_capacity(pattern.len() + 16);
    regex.push_str("^(?s:");
    let mut characters = pattern.chars().peekable();
    let mut class: Option<Class> = None;
    while let Some(character) = characters.next() {
        if Some(character) == escape {
            if let Some(escaped) = characters.next() {
                push_escaped(&mut regex, escaped);
                class = class.map(|class| class.after(escaped));
            }
            continue;
        }
        class = match class {
            Some(class) => class.push(&mut regex, character, characters.peek().copied()),
            None => push_outside(&mut regex, character),
        };
    }
    regex.push_str(")$");
    Ok(regex)
}

/// Where in a bracket expression the pattern is.
#[derive(Clone, Copy)]
struct Class {
    /// Whether nothing but a `^` stands in it.
    is_empty: bool,
    /// Whether that `^` does.
    is_negated: bool,
    /// Whether it is within the name of a class: `[[:alpha:]]`.
    is_named: bool,
    last: char,
}

impl Class {
    fn open() -> Self {
        Self {
            is_empty: true,
            is_negated: false,
            is_named: false,
            last: '[',
        }
    }

    fn after(self, last: char) -> Self {
        Self {
            is_empty: false,
            last,
            ..self
        }
    }

    /// Inside of brackets only their end is special, and names. The engine knows operations on sets, which PostgreSQL does
    /// not: what they are written with is escaped.
    fn push(self, regex: &mut String, character: char, next: Option<char>) -> Option<Self> {
        let mut after = self.after(character);
        match character {
            '^' if self.is_empty && !self.is_negated => {
                regex.push('^');
                after.is_empty = true;
                after.is_negated = true;
            }
            ']' if self.is_named => {
                regex.push(']');
                after.is_named = self.last != ':';
            }
            ']' if !self.is_empty => {
                regex.push(']');
                return None;
            }
            '[' if next == Some(':') => {
                regex.push('[');
                after.is_named = true;
            }
            '-' if self.last != '-' => regex.push('-'),
            other => push_literal(regex, other),
        }
        Some(after)
    }
}

fn push_outside(regex: &mut String, character: char) -> Option<Class> {
    match character {
        '%' => regex.push_str(".*"),
        '_' => regex.push('.'),
        '(' => regex.push_str("(?:"),
        ')' | '|' | '*' | '+' | '?' | '{' | '}' => regex.push(character),
        '[' => {
            regex.push('[');
            return Some(Class::open());
        }
        other => push_literal(regex, other),
    }
    None
}

/// An escaped letter or digit keeps what it means to regular expressions, `\d` for one; anything else is itself.
fn push_escaped(regex: &mut String, character: char) {
    if character.is_ascii_alphanumeric() {
        regex.push('\\');
        regex.push(character);
    } else {
        push_literal(regex, character);
    }
}

fn push_literal(regex: &mut String, character: char) {
    if "\\.+*?()|[]{}^$#&-~".contains(character) {
        regex.push('\\');
    }
    regex.push(character);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_become_anchored_expressions() {
        for (pattern, expected) in [
            ("", "^(?s:)$"),
            ("a%", "^(?s:a.*)$"),
            ("a_c", "^(?s:a.c)$"),
            ("(a|b)+", "^(?s:(?:a|b)+)$"),
            ("a{2,3}?", "^(?s:a{2,3}?)$"),
            ("a.b^c$", "^(?s:a\\.b\\^c\\$)$"),
            ("[a-c]*", "^(?s:[a-c]*)$"),
            ("[^%_]", "^(?s:[^%_])$"),
            ("[[:alpha:]]x", "^(?s:[[:alpha:]]x)$"),
            ("[]a]", "^(?s:[\\]a])$"),
            ("[a:]%", "^(?s:[a:].*)$"),
            ("[a[b]", "^(?s:[a\\[b])$"),
            ("[a&&b--c]", "^(?s:[a\\&\\&b-\\-c])$"),
            ("\\%\\_\\\\", "^(?s:%_\\\\)$"),
            ("\\d\\é", "^(?s:\\dé)$"),
            ("end\\", "^(?s:end)$"),
            ("grid/west", "^(?s:grid/west)$"),
        ] {
            assert_eq!(to_regex(pattern, ESCAPE).expect(pattern), expected);
        }
    }

    #[test]
    fn another_escape_leaves_the_backslash_alone() {
        assert_eq!(to_regex("\\!%", "!").expect("one"), "^(?s:\\\\%)$");
        assert_eq!(to_regex("\\%", "").expect("none"), "^(?s:\\\\.*)$");
        to_regex("a", "ab").expect_err("two characters");
    }
}
