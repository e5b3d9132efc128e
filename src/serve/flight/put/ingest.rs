//! ADBC's bulk ingest.
//!
//! ```text
//! mode            if the table exists    if not      ADBC sends
//! append          append                 refused     fail / append
//! create          refused                create      create / fail
//! replace         delete, then insert    create      create / replace
//! create_append   append                 create      create / append
//! ```
//!
//! Tables are `points` and `streams`, which exist, so that only append and create_append fit, and the streams:
//! `"<collection>"."<name>"`, or, where a client cannot name a schema, `collection/name` or a uuid.
//!
//! Replacing is two steps, each a version of the stream: once the first rows were checked everything is deleted, then rows are
//! inserted, commit by commit. If that fails half-way the error says so, and names the version that still has the old points.

use arrow_flight::sql::{
    CommandStatementIngest, TableDefinitionOptions, TableExistsOption, TableNotExistOption,
};

use super::points::PointsPut;
use super::received::Received;
use super::streams::StreamsPut;
use super::targets::Targets;
use super::{Put, Reply};
use crate::error::{Code, Error, ErrorKind, Result};
use crate::model::MergePolicy;
use crate::query::{SessionOptions, Veil};
use crate::serve::flight::Shared;
use crate::serve::flight::call::CallOptions;
use crate::serve::flight::descriptor::{
    POINTS, Place, STREAMS, StreamPath, check_ids, find_one, unknown_stream,
};
use crate::serve::flight::metadata::{CATALOG, INFORMATION_SCHEMA, PUBLIC};

/// # Errors
/// [`ErrorKind::NotFound`] for a table that must exist, [`ErrorKind::Conflict`] for one that must not, and
/// [`ErrorKind::Unsupported`] for what no table here can do.
pub(super) async fn open(
    shared: Veil<Shared>,
    ingest: CommandStatementIngest,
    rows: Received,
    call: &CallOptions,
) -> Result<Put> {
    if ingest.temporary {
        return Err(Error::unsupported(
            "there are no temporary tables: ingest into a collection of its own, and DELETE FROM streams afterwards",
        ));
    }
    if let Some(catalog) = ingest.catalog.as_deref().filter(|name| !name.is_empty())
        && catalog != CATALOG
    {
        return Err(Error::not_found(format!(
            "there is no catalog \"{catalog}\": the only one is {CATALOG}"
        )));
    }
    // ADBC's drivers are in a transaction, and do not say so when they ingest.
    let named = ingest.transaction_id.unwrap_or_default();
    let transaction = match shared.transaction_of(&named, call)? {
        none if none.is_empty() => shared.transactions.of_connection(call.connection),
        transaction => transaction,
    };
    // A transaction that is gone, or must not write, is told now, and not after the rows were applied.
    let session = session(&shared, call, &transaction)?;
    let set = Some(session.merge).filter(|merge| *merge != MergePolicy::default());
    // The header of a call says more than a SET before it.
    let merge = call.merge.or(set);
    let mode = Mode::of(&ingest.table_definition_options.unwrap_or_default());
    let reply = Reply::Count {
        transaction: transaction.clone(),
    };
    let schema = ingest.schema.as_deref().unwrap_or_default();
    match Table::of(schema, &session.schema, &ingest.table)? {
        Table::Streams => {
            mode.check_shared(STREAMS)?;
            Ok(Put::Streams(Box::new(StreamsPut::new(shared, rows, reply))))
        }
        Table::Points => {
            mode.check_shared(POINTS)?;
            let targets = Targets::long(call.create.unwrap_or(true));
            let put = PointsPut::new(shared, rows, targets, merge, reply);
            Ok(Put::Points(Box::new(put)))
        }
        Table::Stream(path) => {
            let (targets, replaces) = mode.targets(&shared, path, call).await?;
            let mut put = PointsPut::new(shared, rows, targets, merge, reply);
            if replaces {
                put = put.replacing();
            }
            Ok(Put::Points(Box::new(put)))
        }
    }
}

/// What the session is set to, and the transaction.
///
/// # Errors
/// [`ErrorKind::Denied`] if it must not write.
fn session(shared: &Shared, call: &CallOptions, transaction: &[u8]) -> Result<SessionOptions> {
    let base = shared.settings_of(call)?;
    let mut options = if transaction.is_empty() {
        base
    } else {
        shared.transactions.settings(transaction, base)?
    };
    if options.read_only {
        return Err(Error::new(
            ErrorKind::Denied,
            "the transaction was begun READ ONLY: end it, and ingest in another",
        ));
    }
    call.apply(&mut options)?;
    Ok(options)
}

/// Where rows go.
#[derive(Debug, PartialEq, Eq)]
enum Table {
    Points,
    Streams,
    Stream(StreamPath),
}

impl Table {
    /// `own_schema` is where the session looks up names that stand alone.
    fn of(schema: &str, own_schema: &str, table: &str) -> Result<Self> {
        let place = Place::of_word(table);
        let schema = match (schema, &place) {
            ("", None) => own_schema,
            _ => schema,
        };
        if schema == INFORMATION_SCHEMA {
            return Err(Error::unsupported(format!(
                "nothing is ingested into {INFORMATION_SCHEMA}: it tells about tables, and a collection of that name would be \
                 hidden behind it"
            )));
        }
        if !matches!(schema, "" | PUBLIC) {
            return Ok(Self::Stream(StreamPath::Named {
                collection: schema.to_owned(),
                name: table.to_owned(),
            }));
        }
        match place {
            Some(Place::Relation(POINTS)) => Ok(Self::Points),
            Some(Place::Relation(STREAMS)) => Ok(Self::Streams),
            Some(Place::Relation(other)) => Err(Error::unsupported(format!(
                "nothing is ingested into {other}: collections are there as long as a stream is in them"
            ))),
            Some(Place::Stream(path)) => Ok(Self::Stream(path)),
            Some(Place::Below(_)) | None => Err(Error::not_found(format!(
                "there is no table \"{table}\" to ingest into: there are {POINTS} and {STREAMS}, and each stream is a \
                 table, with its collection as the schema"
            ))),
        }
    }
}

/// What to do if the table exists, and if not.
#[derive(Clone, Copy, Debug)]
struct Mode {
    exists: TableExistsOption,
    creates: bool,
}

impl Mode {
    fn of(options: &TableDefinitionOptions) -> Self {
        Self {
            exists: match options.if_exists() {
                TableExistsOption::Unspecified => TableExistsOption::Append,
                other => other,
            },
            creates: options.if_not_exist() == TableNotExistOption::Create,
        }
    }

    /// Whether rows can go into a table that all streams share.
    fn check_shared(self, table: &str) -> Result<()> {
        match self.exists {
            TableExistsOption::Append | TableExistsOption::Unspecified => Ok(()),
            TableExistsOption::Fail => Err(exists(table)),
            TableExistsOption::Replace => Err(Error::unsupported(format!(
                "{table} is the table of all streams, and replacing it would empty the store: ingest with mode append, or \
                 replace a stream as the table \"collection\".\"name\""
            ))),
        }
    }

    /// The stream that rows go to, and whether its points make place for them.
    async fn targets(
        self,
        shared: &Shared,
        path: StreamPath,
        call: &CallOptions,
    ) -> Result<(Targets, bool)> {
        let backend = shared.gateway.backend().as_ref();
        let (collection, name) = match path {
            StreamPath::Id(_, Some(version)) => return Err(super::written_version(version)),
            StreamPath::Id(id, None) => {
                check_ids(backend, &[id]).await?;
                return Ok((Targets::stream(id), self.replaces(&id.to_string())?));
            }
            StreamPath::Named { collection, name } => (collection, name),
        };
        match find_one(backend, &collection, &name).await? {
            Some(stream) => Ok((Targets::stream(stream.id), self.replaces(&stream.path())?)),
            None if self.creates && call.create.unwrap_or(true) => {
                let is_exclusive = self.exists == TableExistsOption::Fail;
                Ok((Targets::missing(collection, name, is_exclusive), false))
            }
            None => Err(unknown_stream(&collection, &name)),
        }
    }

    /// Whether the points of a stream that exists are replaced.
    fn replaces(self, table: &str) -> Result<bool> {
        match self.exists {
            TableExistsOption::Append | TableExistsOption::Unspecified => Ok(false),
            TableExistsOption::Replace => Ok(true),
            TableExistsOption::Fail => Err(exists(table)),
        }
    }
}

fn exists(table: &str) -> Error {
    Error::new(
        ErrorKind::Conflict,
        format!("table {table} exists: ingest with mode append or create_append"),
    )
    .with_code(Code::SameStream)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_relations_and_streams() {
        let stream = |collection: &str, name: &str| {
            Table::Stream(StreamPath::Named {
                collection: collection.to_owned(),
                name: name.to_owned(),
            })
        };
        for (schema, table, expected) in [
            ("", "points", Table::Points),
            ("public", "streams", Table::Streams),
            ("lab", "points", stream("lab", "points")),
            ("lab/one", "a/b", stream("lab/one", "a/b")),
            ("", "lab/one/a", stream("lab/one", "a")),
        ] {
            assert_eq!(Table::of(schema, PUBLIC, table).expect("a table"), expected);
        }
        for (schema, table, expected) in [
            ("", "points", Table::Points),
            ("", "a", stream("lab", "a")),
            ("", "other/a", stream("other", "a")),
            ("other", "a", stream("other", "a")),
        ] {
            assert_eq!(Table::of(schema, "lab", table).expect("a table"), expected);
        }
        let error = Table::of(INFORMATION_SCHEMA, PUBLIC, "mine").expect_err("hidden");
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        for (table, kind) in [
            ("collections", ErrorKind::Unsupported),
            ("lab/*", ErrorKind::NotFound),
            ("mine", ErrorKind::NotFound),
        ] {
            let error = Table::of("", PUBLIC, table).expect_err("no table");
            assert_eq!(error.kind(), kind, "{error}");
        }
    }
}
