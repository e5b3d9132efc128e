//! What of SQL's writing has no BTrDB operation, refused before any name is looked up.

use std::collections::BTreeSet;

use datafusion::sql::sqlparser::ast::{
    self, AssignmentTarget, Delete, FromTable, Ident, Insert, ObjectName, ObjectNamePart, SetExpr,
    Statement as Sql, TableFactor, TableObject, TableWithJoins, Update,
};

use crate::error::{Error, Result};

const NO_RETURNING: &str = "a write answers how many rows it changed; SELECT them afterwards";
const NO_ALIAS: &str = "leave out the alias of the table that is written";
const NO_LIMIT: &str = "which rows would be among the first is not defined; say it in WHERE";
const TAKEN_TIMES: &str = "the setting btrdb.merge (never, equal, retain, replace) says what becomes of points whose time is \
                           taken, and a stream that exists is changed by UPDATE streams";

/// Refuses a statement that writes, if it is none of ours.
///
/// # Errors
/// Unsupported, with what to do instead.
pub(in crate::query) fn check(statement: &Sql) -> Result<()> {
    match statement {
        Sql::Insert(insert) => check_insert(insert),
        Sql::Update(update) => check_update(update),
        Sql::Delete(delete) => check_delete(delete),
        Sql::Merge(_) => Err(refused("MERGE", TAKEN_TIMES)),
        Sql::Truncate(_) => Err(refused(
            "TRUNCATE",
            "versions stay readable, so nothing is truncated; DELETE FROM points WHERE ... takes the points of streams out of \
             their latest versions, and DELETE FROM streams WHERE ... takes away streams with all they have",
        )),
        _ => Ok(()),
    }
}

/// Whether running the statement changes the store.
pub(in crate::query) fn writes(statement: &Sql) -> bool {
    matches!(
        statement,
        Sql::Insert(_) | Sql::Update(_) | Sql::Delete(_) | Sql::Merge(_) | Sql::Truncate(_)
    )
}

/// `WITH a AS (...) INSERT INTO b SELECT ...` as `INSERT INTO b WITH a AS (...) SELECT ...`, which is the same.
pub(in crate::query) fn lift_with(statement: &mut Sql) {
    let Sql::Query(query) = statement else {
        return;
    };
    let ast::Query { with, body, .. } = query.as_mut();
    let SetExpr::Insert(Sql::Insert(insert)) = body.as_mut() else {
        return;
    };
    let (Some(outer), Some(source)) = (with.take(), insert.source.as_mut()) else {
        return;
    };
    match &mut source.with {
        Some(inner) => {
            inner.recursive |= outer.recursive;
            inner.cte_tables.splice(0..0, outer.cte_tables);
        }
        none => *none = Some(outer),
    }
    *statement = Sql::Insert(insert.clone());
}

fn check_insert(insert: &Insert) -> Result<()> {
    let refusals = [
        (insert.or.is_some(), "INSERT OR ...", TAKEN_TIMES),
        (insert.replace_into, "REPLACE INTO", TAKEN_TIMES),
        (insert.ignore, "INSERT IGNORE", TAKEN_TIMES),
        (insert.on.is_some(), "ON CONFLICT", TAKEN_TIMES),
        (
            insert.overwrite,
            "INSERT OVERWRITE",
            "DELETE the range first, or INSERT with btrdb.merge = replace",
        ),
        (
            insert.returning.is_some() || insert.output.is_some(),
            "RETURNING",
            NO_RETURNING,
        ),
        (
            !insert.assignments.is_empty(),
            "INSERT ... SET",
            "write INSERT INTO t (columns) VALUES (...)",
        ),
        (
            insert.table_alias.is_some() || insert.insert_alias.is_some(),
            "an alias of the table",
            NO_ALIAS,
        ),
        (
            insert.partitioned.is_some() || !insert.after_columns.is_empty(),
            "PARTITION",
            "streams have no partitions",
        ),
        (
            insert.settings.is_some()
                || insert.format_clause.is_some()
                || insert.priority.is_some()
                || !insert.optimizer_hints.is_empty()
                || insert.multi_table_insert_type.is_some(),
            "this form of INSERT",
            "write INSERT INTO t (columns) VALUES (...), or a SELECT in place of VALUES",
        ),
        (
            insert.source.is_none(),
            "INSERT without rows",
            "write VALUES (...) or a SELECT",
        ),
    ];
    refuse_first(&refusals)?;
    match &insert.table {
        TableObject::TableName(_) => {}
        _ => return Err(refused("this target of INSERT", "it takes a table")),
    }
    unique(insert.columns.iter().map(last_word))
}

fn check_update(update: &Update) -> Result<()> {
    let refusals = [
        (
            update.from.is_some(),
            "UPDATE ... FROM",
            "write the other table as a sub-query in SET or WHERE",
        ),
        (
            update.returning.is_some() || update.output.is_some(),
            "RETURNING",
            NO_RETURNING,
        ),
        (update.or.is_some(), "UPDATE OR ...", TAKEN_TIMES),
        (
            update.limit.is_some() || !update.order_by.is_empty(),
            "UPDATE ... LIMIT",
            NO_LIMIT,
        ),
        (
            !update.table.joins.is_empty() || !update.optimizer_hints.is_empty(),
            "UPDATE of several tables",
            "write the other table as a sub-query in SET or WHERE",
        ),
        (
            // Points are not changed in place at all, which is said once it is known that they are meant.
            update.selection.is_none()
                && name_of(&update.table).is_none_or(|name| last_word(name) == "streams"),
            "UPDATE without WHERE",
            "it would change every stream; if that is what you want, say WHERE true",
        ),
    ];
    refuse_first(&refusals)?;
    check_table(&update.table)?;
    let targets: Result<Vec<String>> = update
        .assignments
        .iter()
        .map(|assignment| match &assignment.target {
            AssignmentTarget::ColumnName(name) if name.0.len() == 1 => Ok(last_word(name)),
            AssignmentTarget::ColumnName(name) => Err(refused(
                &format!("SET {name}"),
                "a column stands in SET without its table, and tags and annotations are set as a whole",
            )),
            AssignmentTarget::Tuple(_) => {
                Err(refused("SET (a, b) = ...", "assign the columns one by one"))
            }
        })
        .collect();
    unique(targets?)
}

fn check_delete(delete: &Delete) -> Result<()> {
    let refusals = [
        (
            !delete.tables.is_empty() || delete.using.is_some(),
            "DELETE from several tables",
            "write the other table as a sub-query in WHERE",
        ),
        (
            delete.returning.is_some() || delete.output.is_some(),
            "RETURNING",
            NO_RETURNING,
        ),
        (
            delete.limit.is_some() || !delete.order_by.is_empty(),
            "DELETE ... LIMIT",
            NO_LIMIT,
        ),
        (
            !delete.optimizer_hints.is_empty(),
            "this form of DELETE",
            "write DELETE FROM t WHERE ...",
        ),
        (
            delete.selection.is_none(),
            "DELETE without WHERE",
            "it would empty the table; if that is what you want, say WHERE true",
        ),
    ];
    refuse_first(&refusals)?;
    check_table(table_of(delete).ok_or_else(|| {
        refused(
            "DELETE from several tables",
            "write the other table as a sub-query in WHERE",
        )
    })?)
}

/// The one table that a DELETE names.
pub(super) fn table_of(delete: &Delete) -> Option<&TableWithJoins> {
    let (FromTable::WithFromKeyword(tables) | FromTable::WithoutKeyword(tables)) = &delete.from;
    match tables.as_slice() {
        [table] if table.joins.is_empty() => Some(table),
        _ => None,
    }
}

/// The name of a plain table.
pub(super) fn name_of(table: &TableWithJoins) -> Option<&ObjectName> {
    match &table.relation {
        TableFactor::Table {
            name, args: None, ..
        } => Some(name),
        _ => None,
    }
}

fn check_table(table: &TableWithJoins) -> Result<()> {
    match name_of(table) {
        Some(_) => Ok(()),
        None => Err(refused(
            "writing to a function or a sub-query",
            "what can be written are streams, points, and tables of streams",
        )),
    }
}

fn refuse_first(refusals: &[(bool, &str, &str)]) -> Result<()> {
    match refusals.iter().find(|(holds, ..)| *holds) {
        Some((_, what, why)) => Err(refused(what, why)),
        None => Ok(()),
    }
}

fn unique(names: impl IntoIterator<Item = String>) -> Result<()> {
    let mut seen = BTreeSet::new();
    for name in names {
        if seen.contains(&name) {
            return Err(Error::invalid(format!("column {name} stands twice")));
        }
        seen.insert(name);
    }
    Ok(())
}

/// The last part of a name, as SQL reads it: in lower case unless it is quoted.
pub(super) fn last_word(name: &ObjectName) -> String {
    match name.0.last() {
        Some(ObjectNamePart::Identifier(Ident {
            value, quote_style, ..
        })) => match quote_style {
            Some(_) => value.clone(),
            None => value.to_lowercase(),
        },
        _ => name.to_string(),
    }
}

pub(super) fn refused(what: &str, why: &str) -> Error {
    Error::unsupported(format!("{what} is not supported: {why}"))
}
