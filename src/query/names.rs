//! How people name streams in SQL: `collection/name`, a uuid, `prefix/*`, and `@version` behind any of them.

use crate::error::{Code, Error, Result};
use crate::model::{StreamId, Version};

/// The text of a stream argument or a table name, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StreamName {
    pub(super) target: Target,
    /// What stands behind `@`; `@0` is the latest, as everywhere in BTrDB.
    pub(super) version: Option<Version>,
}

/// What a name points at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Uuid(StreamId),
    Path {
        collection: String,
        name: String,
    },
    /// Collection `prefix`, and those that begin with `prefix/`.
    Below(String),
}

impl StreamName {
    /// A stream argument: `collection/name` split at the last slash, a uuid, or `prefix/*`.
    pub(super) fn argument(text: &str) -> Result<Self> {
        let (body, version) = split_version(text);
        let target = if let Ok(id) = body.parse() {
            Target::Uuid(id)
        } else if let Some(prefix) = body.strip_suffix("/*") {
            Target::Below(prefix.to_owned())
        } else if let Some((collection, name)) = body.rsplit_once('/') {
            Target::Path {
                collection: collection.to_owned(),
                name: name.to_owned(),
            }
        } else {
            return Err(Error::invalid(format!(
                "stream \"{text}\" is neither a uuid nor collection/name"
            ))
            .with_code(Code::InvalidParameter));
        };
        Ok(Self { target, version })
    }

    /// A table: `"collection"."name"`.
    pub(super) fn table(collection: &str, table: &str) -> Self {
        let (name, version) = split_version(table);
        Self {
            target: Target::Path {
                collection: collection.to_owned(),
                name: name.to_owned(),
            },
            version,
        }
    }

    /// A table that is a uuid.
    pub(super) fn uuid(table: &str) -> Option<Self> {
        let (body, version) = split_version(table);
        let id = body.parse().ok()?;
        Some(Self {
            target: Target::Uuid(id),
            version,
        })
    }

    /// The reading of the name in which `@version` belongs to it: collections and names may hold anything.
    pub(super) fn verbatim(&self) -> Option<Self> {
        match (&self.target, self.version) {
            (Target::Path { collection, name }, Some(version)) => Some(Self {
                target: Target::Path {
                    collection: collection.clone(),
                    name: format!("{name}@{version}"),
                },
                version: None,
            }),
            _ => None,
        }
    }
}

/// Whether the name of a stream reads as that of another at one of its versions.
pub(super) fn names_version(name: &str) -> bool {
    split_version(name).0 != name
}

/// `name@133` as `name` and 133. Without digits behind it, an `@` is part of the name.
fn split_version(text: &str) -> (&str, Option<Version>) {
    if let Some((body, digits)) = text.rsplit_once('@')
        && !body.is_empty()
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && let Ok(version) = digits.parse()
    {
        return (body, (version != 0).then_some(Version(version)));
    }
    (text, None)
}

/// The candidates that look most like `wanted`, for "did you mean"; none if none is near.
pub(super) fn near_misses<'a>(
    wanted: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Vec<&'a str> {
    const SHOWN_MAX: usize = 3;
    const LIKENESS_MIN: f64 = 0.6;
    let wanted = wanted.to_lowercase();
    let mut scored: Vec<(f64, &str)> = candidates
        .into_iter()
        .map(|candidate| {
            let likeness = datafusion::common::utils::datafusion_strsim::normalized_levenshtein(
                &wanted,
                &candidate.to_lowercase(),
            );
            (likeness, candidate)
        })
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    scored.dedup();
    scored
        .into_iter()
        .take(SHOWN_MAX)
        .map(|(_, candidate)| candidate)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_split_at_the_last_slash_and_the_last_at() {
        let path = |collection: &str, name: &str| Target::Path {
            collection: collection.to_owned(),
            name: name.to_owned(),
        };
        let cases = [
            ("a/b/c", path("a/b", "c"), None),
            ("a/b@133", path("a", "b"), Some(Version(133))),
            ("a/b@0", path("a", "b"), None),
            ("a/b@home", path("a", "b@home"), None),
            ("a/b/*", Target::Below("a/b".to_owned()), None),
            (
                "a/b/*@12",
                Target::Below("a/b".to_owned()),
                Some(Version(12)),
            ),
        ];
        for (text, target, version) in cases {
            let name = StreamName::argument(text).expect("a name");
            assert_eq!((name.target, name.version), (target, version), "{text}");
        }
        StreamName::argument("lonely").expect_err("no slash");
    }

    #[test]
    fn only_near_misses_are_suggested() {
        assert_eq!(near_misses("Curent", ["current", "angle"]), ["current"]);
        assert!(near_misses("frequency", ["current", "angle"]).is_empty());
    }
}
