//! Keys, of which only those are told that always hold.
//!
//! `streams` has a row for each uuid, `collections` one for each path, and a point stands in a stream that exists. Points
//! have no key: their times repeat.

use super::tables::{Column, Value};
use crate::query::resolve::{CATALOG, PUBLIC};

/// A column of a relation in `public` that tells its rows apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrimaryKey {
    /// Of the constraint.
    pub name: &'static str,
    /// The relation, in schema `public`.
    pub table: &'static str,
    /// The one column of the key.
    pub column: &'static str,
}

/// A column of a relation in `public` whose values are those of a [`PrimaryKey`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForeignKey {
    /// Of the constraint.
    pub name: &'static str,
    /// The relation, in schema `public`.
    pub table: &'static str,
    /// The one column of the key.
    pub column: &'static str,
    /// What it points at.
    pub references: PrimaryKey,
}

const STREAMS: PrimaryKey = PrimaryKey {
    name: "streams_pkey",
    table: "streams",
    column: "uuid",
};

const COLLECTIONS: PrimaryKey = PrimaryKey {
    name: "collections_pkey",
    table: "collections",
    column: "collection",
};

impl PrimaryKey {
    /// Every one, by table.
    pub const ALL: [Self; 2] = [COLLECTIONS, STREAMS];

    /// The schema of all of them.
    pub const SCHEMA: &'static str = PUBLIC;
}

impl ForeignKey {
    /// Every one, by what it points at.
    pub const ALL: [Self; 2] = [
        Self {
            name: "streams_collection_fkey",
            table: "streams",
            column: "collection",
            references: COLLECTIONS,
        },
        Self {
            name: "points_uuid_fkey",
            table: "points",
            column: "uuid",
            references: STREAMS,
        },
    ];
}

/// A constraint.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConstraintRow {
    name: &'static str,
    table: &'static str,
    column: &'static str,
    /// The key that a foreign key points at.
    pub(super) references: Option<PrimaryKey>,
}

impl ConstraintRow {
    pub(super) fn all() -> Vec<Self> {
        let primary = PrimaryKey::ALL.map(|key| Self {
            name: key.name,
            table: key.table,
            column: key.column,
            references: None,
        });
        let foreign = ForeignKey::ALL.map(|key| Self {
            name: key.name,
            table: key.table,
            column: key.column,
            references: Some(key.references),
        });
        primary.into_iter().chain(foreign).collect()
    }
}

/// A column that a constraint is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usage {
    constraint: ConstraintRow,
    table: &'static str,
    column: &'static str,
}

impl Usage {
    /// The columns that are keys.
    pub(super) fn of_keys() -> Vec<Self> {
        let all = ConstraintRow::all().into_iter();
        all.map(|constraint| Self {
            constraint,
            table: constraint.table,
            column: constraint.column,
        })
        .collect()
    }

    /// The columns that constraints refer to: of a foreign key, those that it points at.
    pub(super) fn of_constraints() -> Vec<Self> {
        let all = ConstraintRow::all().into_iter();
        all.map(|constraint| match constraint.references {
            Some(key) => Self {
                constraint,
                table: key.table,
                column: key.column,
            },
            None => Self {
                constraint,
                table: constraint.table,
                column: constraint.column,
            },
        })
        .collect()
    }
}

pub(super) const TABLE_CONSTRAINTS: &[Column<ConstraintRow>] = &[
    Column::new("constraint_catalog", Value::Name(|_| CATALOG.into())),
    Column::new("constraint_schema", Value::Name(|_| PUBLIC.into())),
    Column::new("constraint_name", Value::Name(|row| row.name.into())),
    Column::new("table_catalog", Value::Name(|_| CATALOG.into())),
    Column::new("table_schema", Value::Name(|_| PUBLIC.into())),
    Column::new("table_name", Value::Name(|row| row.table.into())),
    Column::new(
        "constraint_type",
        Value::Name(|row| match row.references {
            None => "PRIMARY KEY".into(),
            Some(_) => "FOREIGN KEY".into(),
        }),
    ),
    Column::new("is_deferrable", Value::Name(|_| "NO".into())),
    Column::new("initially_deferred", Value::Name(|_| "NO".into())),
    Column::new("enforced", Value::Name(|_| "YES".into())),
];

pub(super) const REFERENTIAL: &[Column<ConstraintRow>] = &[
    Column::new("constraint_catalog", Value::Name(|_| CATALOG.into())),
    Column::new("constraint_schema", Value::Name(|_| PUBLIC.into())),
    Column::new("constraint_name", Value::Name(|row| row.name.into())),
    Column::new("unique_constraint_catalog", Value::Name(|_| CATALOG.into())),
    Column::new("unique_constraint_schema", Value::Name(|_| PUBLIC.into())),
    Column::new(
        "unique_constraint_name",
        Value::Text(|row| row.references.map(|key| key.name.into())),
    ),
    Column::new("match_option", Value::Name(|_| "NONE".into())),
    Column::new("update_rule", Value::Name(|_| "NO ACTION".into())),
    // What goes takes with it what belonged to it.
    Column::new("delete_rule", Value::Name(|_| "CASCADE".into())),
];

pub(super) const KEY_USAGE: &[Column<Usage>] = &[
    Column::new("constraint_catalog", Value::Name(|_| CATALOG.into())),
    Column::new("constraint_schema", Value::Name(|_| PUBLIC.into())),
    Column::new(
        "constraint_name",
        Value::Name(|usage| usage.constraint.name.into()),
    ),
    Column::new("table_catalog", Value::Name(|_| CATALOG.into())),
    Column::new("table_schema", Value::Name(|_| PUBLIC.into())),
    Column::new("table_name", Value::Name(|usage| usage.table.into())),
    Column::new("column_name", Value::Name(|usage| usage.column.into())),
    Column::new("ordinal_position", Value::Position(|_| 1)),
    Column::new(
        "position_in_unique_constraint",
        Value::Number(|usage| usage.constraint.references.map(|_| 1)),
    ),
];

pub(super) const COLUMN_USAGE: &[Column<Usage>] = &[
    Column::new("table_catalog", Value::Name(|_| CATALOG.into())),
    Column::new("table_schema", Value::Name(|_| PUBLIC.into())),
    Column::new("table_name", Value::Name(|usage| usage.table.into())),
    Column::new("column_name", Value::Name(|usage| usage.column.into())),
    Column::new("constraint_catalog", Value::Name(|_| CATALOG.into())),
    Column::new("constraint_schema", Value::Name(|_| PUBLIC.into())),
    Column::new(
        "constraint_name",
        Value::Name(|usage| usage.constraint.name.into()),
    ),
];
