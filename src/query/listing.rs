//! Which tables there are: every listing is one look-up of streams, and opens none of them.
//!
//! A stream is listed where its name can be written: in the schema of its collection, or, if no path names it for certain, by
//! uuid in `public`. Listings are ascending by schema and name.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{BooleanArray, StringArray};
use arrow::compute::kernels::comparison::like;
use arrow::datatypes::FieldRef;
use futures::future::try_join_all;

use super::catalogue::StreamColumn;
use super::comments;
use super::delivered::plain_field;
use super::information_schema::View;
use super::metadata::CollectionsTable;
use super::names::names_version;
use super::points::PointColumn;
use super::resolve::{CATALOG, INFORMATION_SCHEMA, PUBLIC, RELATIONS};
use crate::backend::Backend;
use crate::error::{Code, Error, Result};
use crate::model::{CollectionMatch, StreamDescriptor, StreamFilter, StreamId, TagKey};

/// Names, of which a listing is about no others. It may hold more than are wanted, never fewer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Among {
    Any,
    Prefix(String),
    These(BTreeSet<String>),
}

impl Among {
    pub(super) fn one(name: impl Into<String>) -> Self {
        Self::These([name.into()].into())
    }

    /// Those that a LIKE pattern matches: all that begin as it does up to its first wildcard.
    pub(super) fn like(pattern: &str) -> Self {
        let mut literal = String::new();
        let mut characters = pattern.chars();
        while let Some(character) = characters.next() {
            match character {
                '%' | '_' if literal.is_empty() => return Self::Any,
                '%' | '_' => return Self::Prefix(literal),
                '\\' => literal.push(characters.next().unwrap_or('\\')),
                character => literal.push(character),
            }
        }
        Self::one(literal)
    }

    pub(super) fn admits(&self, name: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Prefix(prefix) => name.starts_with(prefix),
            Self::These(names) => names.contains(name),
        }
    }

    /// Those that both hold.
    pub(super) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Any, other) | (other, Self::Any) => other,
            (Self::These(names), other) | (other, Self::These(names)) => Self::These(
                names
                    .into_iter()
                    .filter(|name| other.admits(name))
                    .collect(),
            ),
            (Self::Prefix(a), Self::Prefix(b)) if a.starts_with(&b) => Self::Prefix(a),
            (Self::Prefix(a), Self::Prefix(b)) if b.starts_with(&a) => Self::Prefix(b),
            (Self::Prefix(_), Self::Prefix(_)) => Self::These(BTreeSet::new()),
        }
    }

    /// Those that either holds.
    pub(super) fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::These(mut names), Self::These(more)) => {
                names.extend(more);
                Self::These(names)
            }
            (Self::These(none), other) | (other, Self::These(none)) if none.is_empty() => other,
            (a, b) => match shared([a.prefix().as_str(), b.prefix().as_str()]) {
                prefix if prefix.is_empty() => Self::Any,
                prefix => Self::Prefix(prefix),
            },
        }
    }

    /// What all of them begin with.
    pub(super) fn prefix(&self) -> String {
        match self {
            Self::Any => String::new(),
            Self::Prefix(prefix) => prefix.clone(),
            Self::These(names) => shared(names.iter().map(String::as_str)),
        }
    }

    /// Whether the name of a stream's uuid may be among them.
    fn admits_uuids(&self) -> bool {
        match self {
            Self::Any => true,
            Self::Prefix(prefix) => prefix
                .bytes()
                .all(|byte| byte == b'-' || byte.is_ascii_hexdigit()),
            Self::These(names) => names.iter().any(|name| name.parse::<StreamId>().is_ok()),
        }
    }
}

/// What all of `names` begin with.
fn shared<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut names = names.into_iter();
    let Some(mut shared) = names.next() else {
        return String::new();
    };
    for name in names {
        let same = shared.char_indices().zip(name.chars());
        let end = same.take_while(|((_, a), b)| a == b).last();
        shared = &shared[..end.map_or(0, |((at, a), _)| at + a.len_utf8())];
    }
    shared.to_owned()
}

/// Which tables a listing is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) schemas: Among,
    pub(super) tables: Among,
}

impl Section {
    pub(super) fn all() -> Self {
        Self {
            schemas: Among::Any,
            tables: Among::Any,
        }
    }

    /// The look-ups that find every stream of the section, ascending by collection; none where it can hold no stream.
    fn filters(&self) -> Vec<StreamFilter> {
        /// Collections that are looked up one by one; of more of them, those that begin as all of them do.
        const COLLECTION_COUNT_MAX: usize = 16;
        // Which streams are listed by uuid shows only beside all the others.
        if self.schemas.admits(PUBLIC) && self.tables.admits_uuids() {
            return vec![StreamFilter::all()];
        }
        let collections = match &self.schemas {
            Among::These(names) if names.len() <= COLLECTION_COUNT_MAX => names
                .iter()
                .filter(|name| !is_reserved(name))
                .map(|name| CollectionMatch::Exact(name.clone()))
                .collect(),
            schemas => match schemas.prefix() {
                prefix if prefix.is_empty() => vec![CollectionMatch::Any],
                prefix => vec![CollectionMatch::Prefix(prefix)],
            },
        };
        let name = match &self.tables {
            Among::These(names) if names.len() < 2 => match names.first() {
                Some(name) => Some(name),
                None => return Vec::new(),
            },
            _ => None,
        };
        let filter = |collection| StreamFilter {
            tags: name
                .map(|name| (TagKey::Name, Some(name.clone())))
                .into_iter()
                .collect(),
            ..StreamFilter::collection(collection)
        };
        collections.into_iter().map(filter).collect()
    }
}

/// Whether a collection of that name is no schema, because another has its name.
fn is_reserved(collection: &str) -> bool {
    [PUBLIC, INFORMATION_SCHEMA].contains(&collection)
}

/// A table of a listing.
#[derive(Clone, Debug)]
pub struct ListedTable(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Stream(Arc<StreamDescriptor>),
    /// Listed by uuid, which is here as text.
    Uuid(Arc<StreamDescriptor>, String),
    Relation(&'static str),
    View(View),
}

/// A column of a listed table.
#[derive(Clone, Debug)]
pub struct ListedColumn {
    /// As statements deliver it.
    pub field: FieldRef,
    /// What it holds, for people.
    pub comment: Option<Cow<'static, str>>,
    /// Whether no statement writes it.
    pub is_read_only: bool,
    /// Whether it is worked out from the points.
    pub is_computed: bool,
}

impl ListedTable {
    /// The one catalog.
    pub fn catalog(&self) -> &'static str {
        CATALOG
    }

    /// Its schema.
    pub fn schema(&self) -> &str {
        match &self.0 {
            Kind::Stream(stream) => &stream.collection,
            Kind::Uuid(..) | Kind::Relation(_) => PUBLIC,
            Kind::View(_) => INFORMATION_SCHEMA,
        }
    }

    /// Its name within the schema.
    pub fn name(&self) -> &str {
        match &self.0 {
            Kind::Stream(stream) => &stream.tags.name,
            Kind::Uuid(_, uuid) => uuid,
            Kind::Relation(name) => name,
            Kind::View(view) => view.as_str(),
        }
    }

    /// Whether it is a view, and holds nothing of its own.
    pub fn is_view(&self) -> bool {
        matches!(self.0, Kind::View(_))
    }

    /// Whether rows can be put into it.
    pub(super) fn is_writable(&self) -> bool {
        match &self.0 {
            Kind::Stream(_) | Kind::Uuid(..) => true,
            Kind::Relation(name) => *name != "collections",
            Kind::View(_) => false,
        }
    }

    /// What it holds, for people.
    pub fn comment(&self) -> Cow<'static, str> {
        match &self.0 {
            Kind::Stream(stream) | Kind::Uuid(stream, _) => comments::of_stream(stream),
            Kind::Relation(name) => comments::of_relation(name).into(),
            Kind::View(view) => view.comment().into(),
        }
    }

    /// The stream whose points it holds, if it is the table of one.
    pub fn stream(&self) -> Option<&Arc<StreamDescriptor>> {
        match &self.0 {
            Kind::Stream(stream) | Kind::Uuid(stream, _) => Some(stream),
            Kind::Relation(_) | Kind::View(_) => None,
        }
    }

    /// Its columns, in order.
    pub fn columns(&self) -> Vec<ListedColumn> {
        match &self.0 {
            Kind::Stream(stream) | Kind::Uuid(stream, _) => {
                let unit = &stream.tags.unit;
                of_points(&PointColumn::OF_STREAM, |column| {
                    comments::of_point(column, Some(unit))
                })
            }
            Kind::Relation("points") => of_points(&PointColumn::OF_ALL, |column| {
                comments::of_point(column, None)
            }),
            Kind::Relation("streams") => StreamColumn::ALL.into_iter().map(of_streams).collect(),
            Kind::Relation(_) => CollectionsTable::columns()
                .iter()
                .map(|field| ListedColumn {
                    field: plain_field(field),
                    comment: comments::of_collections(field.name()).map(Cow::Borrowed),
                    is_read_only: true,
                    is_computed: false,
                })
                .collect(),
            Kind::View(view) => view
                .schema()
                .fields()
                .iter()
                .map(|field| ListedColumn {
                    field: plain_field(field),
                    comment: None,
                    is_read_only: true,
                    is_computed: false,
                })
                .collect(),
        }
    }
}

fn of_points(
    columns: &[PointColumn],
    comment: impl Fn(PointColumn) -> Cow<'static, str>,
) -> Vec<ListedColumn> {
    let listed = columns.iter().map(|&column| ListedColumn {
        field: plain_field(&Arc::new(column.field())),
        comment: Some(comment(column)),
        // A point is put into the stream of a uuid, or of a collection and a name.
        is_read_only: column == PointColumn::Stream(StreamColumn::Unit),
        is_computed: false,
    });
    listed.collect()
}

fn of_streams(column: StreamColumn) -> ListedColumn {
    ListedColumn {
        field: plain_field(&Arc::new(column.field())),
        comment: Some(comments::of_streams(column).into()),
        is_read_only: !column.is_told() || column == StreamColumn::PropertyVersion,
        is_computed: !column.is_told(),
    }
}

/// The tables of a section.
///
/// # Errors
/// Those of the backend.
pub(super) async fn tables(backend: &dyn Backend, section: &Section) -> Result<Vec<ListedTable>> {
    let filters = section.filters().into_iter();
    let found = try_join_all(filters.map(|filter| backend.find(filter))).await?;
    let streams = found.concat();
    let mut listed = Vec::with_capacity(streams.len() + RELATIONS.len() + View::ALL.len());
    let mut rest = streams.as_slice();
    while let [first, ..] = rest {
        // Streams come ordered by collection and name.
        let count = rest
            .iter()
            .take_while(|other| same_path(first, other))
            .count();
        let (alike, others) = rest.split_at(count);
        rest = others;
        let name = first.tags.name.as_str();
        let is_named = count == 1
            && !name.is_empty()
            && !names_version(name)
            && !is_reserved(&first.collection);
        listed.extend(alike.iter().map(|stream| {
            ListedTable(if is_named {
                Kind::Stream(Arc::clone(stream))
            } else {
                Kind::Uuid(Arc::clone(stream), stream.id.to_string())
            })
        }));
    }
    listed.extend(RELATIONS.map(|name| ListedTable(Kind::Relation(name))));
    listed.extend(View::ALL.map(|view| ListedTable(Kind::View(view))));
    listed.retain(|table| {
        section.schemas.admits(table.schema()) && section.tables.admits(table.name())
    });
    listed.sort_by(|a, b| (a.schema(), a.name()).cmp(&(b.schema(), b.name())));
    Ok(listed)
}

fn same_path(a: &StreamDescriptor, b: &StreamDescriptor) -> bool {
    a.tags.name == b.tags.name && a.collection == b.collection
}

/// The schemas among `names`, ascending.
///
/// # Errors
/// Those of the backend.
pub(super) async fn schemas(backend: &dyn Backend, names: &Among) -> Result<Vec<String>> {
    let mut schemas = match backend.collections(&names.prefix()).await {
        Ok(collections) => collections,
        // A prefix that no collection can have is one that none has.
        Err(error) if error.code() == Some(Code::InvalidCollection) => Vec::new(),
        Err(error) => return Err(error),
    };
    schemas.retain(|collection| !is_reserved(collection));
    schemas.extend([PUBLIC, INFORMATION_SCHEMA].map(str::to_owned));
    schemas.retain(|schema| names.admits(schema));
    schemas.sort();
    Ok(schemas)
}

/// Which of `names` match a LIKE pattern.
///
/// # Errors
/// Invalid for a pattern that is too complicated.
pub(super) fn matching<'a>(
    pattern: &str,
    names: impl Iterator<Item = &'a str>,
) -> Result<BooleanArray> {
    let pattern = StringArray::new_scalar(pattern);
    like(&StringArray::from_iter_values(names), &pattern)
        .map_err(|error| Error::invalid(format!("the pattern cannot be matched: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn these(names: &[&str]) -> Among {
        Among::These(names.iter().map(|name| (*name).to_owned()).collect())
    }

    fn prefix(text: &str) -> Among {
        Among::Prefix(text.to_owned())
    }

    #[test]
    fn patterns_narrow_up_to_their_first_wildcard() {
        for (pattern, among) in [
            ("%", Among::Any),
            ("pmu/%", prefix("pmu/")),
            ("a_b", prefix("a")),
            ("a\\_b", these(&["a_b"])),
            ("a\\_b%", prefix("a_b")),
            ("plain", these(&["plain"])),
            ("", these(&[""])),
            ("a\\", these(&["a\\"])),
        ] {
            assert_eq!(Among::like(pattern), among, "{pattern}");
        }
    }

    #[test]
    fn conditions_combine_without_losing_a_name() {
        let cases = [
            Among::Any,
            prefix("a"),
            prefix("ab"),
            prefix("b"),
            these(&["a", "abc"]),
            these(&["b"]),
            these(&[]),
        ];
        for left in &cases {
            for right in &cases {
                let (and, or) = (
                    left.clone().and(right.clone()),
                    left.clone().or(right.clone()),
                );
                for name in ["", "a", "ab", "abc", "b", "é"] {
                    let (l, r) = (left.admits(name), right.admits(name));
                    assert_eq!(and.admits(name), l && r, "{left:?} and {right:?}: {name}");
                    assert!(
                        or.admits(name) || !(l || r),
                        "{left:?} or {right:?}: {name}"
                    );
                }
            }
        }
        assert_eq!(
            these(&["pmu/é/a", "pmu/ê/a"]).prefix(),
            "pmu/",
            "characters are not cut in two"
        );
    }

    #[test]
    fn sections_look_up_no_more_than_they_need() {
        let section = |schemas: Among, tables: Among| Section { schemas, tables }.filters();
        assert_eq!(
            section(these(&["lab"]), these(&["odd"])),
            [StreamFilter::path("lab", "odd")]
        );
        assert_eq!(
            section(these(&[PUBLIC]), these(&["streams"])),
            [],
            "no stream is called so"
        );
        assert_eq!(section(these(&[PUBLIC]), Among::Any), [StreamFilter::all()]);
        assert_eq!(
            section(prefix("pmu/"), Among::Any),
            [StreamFilter::collection(CollectionMatch::Prefix(
                "pmu/".to_owned()
            ))]
        );
        assert_eq!(section(these(&["a", "b"]), prefix("x")).len(), 2);
        assert_eq!(section(Among::Any, these(&[])), []);
    }
}
