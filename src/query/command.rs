//! Statements about the session and not about rows: settings and transactions.

use datafusion::logical_expr::{LogicalPlan, Statement as PlanStatement};
use datafusion::sql::parser::{ResetStatement, Statement as Parsed};
use datafusion::sql::sqlparser::ast::{
    Expr as Value, Ident, ObjectName, Set, Statement as Sql, TransactionAccessMode,
    TransactionIsolationLevel, TransactionMode, Use,
};

use super::parse::parse;
use super::resolve::{CATALOG, PUBLIC};
use super::session::{SCHEMA, SessionOptions};
use crate::error::{Error, Result};

/// What a statement asks of the session that runs it. A statement has no session of its own: whoever keeps one obeys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `SET name = value`.
    Set {
        /// One of [`SessionOptions::names`].
        name: String,
        /// A value that it takes.
        value: String,
    },
    /// `RESET name`, `RESET ALL`.
    Reset {
        /// One of [`SessionOptions::names`], or `all`.
        name: String,
    },
    /// `BEGIN`, `START TRANSACTION`.
    Begin {
        /// Whether the transaction is to refuse statements that write.
        read_only: bool,
    },
    /// `COMMIT`.
    Commit,
    /// `ROLLBACK`.
    Rollback,
}

impl Command {
    /// The command that a text is, if it is one; `SET` is none before it is planned.
    pub fn of_text(sql: &str) -> Option<Self> {
        Self::of_parsed(&parse(sql).ok()?).ok().flatten()
    }

    /// The command that `parsed` is, if it is one; `SET` is told by its [plan](Self::of_plan).
    ///
    /// # Errors
    /// Unsupported for kinds of transactions that there are not, Invalid for settings that there are not.
    pub(super) fn of_parsed(parsed: &Parsed) -> Result<Option<Self>> {
        match parsed {
            Parsed::Reset(ResetStatement::Variable(name)) => {
                let name = name.to_string().to_ascii_lowercase();
                SessionOptions::default().reset(&name)?;
                Ok(Some(Self::Reset { name }))
            }
            Parsed::Statement(sql) => Self::of_sql(sql),
            _ => Ok(None),
        }
    }

    fn of_sql(sql: &Sql) -> Result<Option<Self>> {
        match sql {
            Sql::StartTransaction {
                modes,
                modifier: None,
                statements,
                exception: None,
                has_end_keyword: false,
                ..
            } if statements.is_empty() => begin(modes).map(Some),
            Sql::Commit {
                chain: false,
                end: false,
                modifier: None,
            } => Ok(Some(Self::Commit)),
            Sql::Rollback {
                chain: false,
                savepoint: None,
            } => Ok(Some(Self::Rollback)),
            Sql::Set(Set::SingleAssignment {
                scope: None,
                variable,
                values,
                ..
            }) if matches!(&values[..], [Value::Identifier(value)] if is_default(value)) => {
                let name = variable.to_string().to_ascii_lowercase();
                SessionOptions::default().reset(&name)?;
                Ok(Some(Self::Reset { name }))
            }
            Sql::Use(Use::Object(name) | Use::Schema(name) | Use::Database(name)) => schema(name),
            Sql::Use(Use::Default) => Ok(Some(Self::Reset {
                name: SCHEMA.to_owned(),
            })),
            Sql::StartTransaction { .. } | Sql::Commit { .. } | Sql::Rollback { .. } => {
                Err(Error::unsupported(format!(
                    "\"{sql}\" is not supported: transactions are BEGIN, BEGIN READ ONLY, COMMIT and ROLLBACK, without \
                     savepoints and chains"
                )))
            }
            _ => Ok(None),
        }
    }

    /// The `SET` that `plan` is, if it is one.
    ///
    /// # Errors
    /// Invalid for a setting or a value that there is not: refused while planning, not when it is obeyed.
    pub(super) fn of_plan(plan: &LogicalPlan) -> Result<Option<Self>> {
        let LogicalPlan::Statement(PlanStatement::SetVariable(set)) = plan else {
            return Ok(None);
        };
        SessionOptions::default().set(&set.variable, &set.value)?;
        Ok(Some(Self::Set {
            name: set.variable.clone(),
            value: set.value.clone(),
        }))
    }

    /// Obeys it, if it is about settings; answers whether it is.
    ///
    /// # Errors
    /// As [`SessionOptions::set`].
    pub fn apply(&self, options: &mut SessionOptions) -> Result<bool> {
        match self {
            Self::Set { name, value } => options.set(name, value)?,
            Self::Reset { name } => options.reset(name)?,
            Self::Begin { .. } | Self::Commit | Self::Rollback => return Ok(false),
        }
        Ok(true)
    }

    /// The setting that it changes, if it changes one.
    pub fn setting(&self) -> Option<&str> {
        match self {
            Self::Set { name, .. } | Self::Reset { name } => Some(name),
            Self::Begin { .. } | Self::Commit | Self::Rollback => None,
        }
    }

    /// The words that it begins with.
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Set { .. } => "SET",
            Self::Reset { .. } => "RESET",
            Self::Begin { .. } => "BEGIN",
            Self::Commit => "COMMIT",
            Self::Rollback => "ROLLBACK",
        }
    }
}

fn is_default(value: &Ident) -> bool {
    value.quote_style.is_none() && value.value.eq_ignore_ascii_case("default")
}

/// `USE collection`: where names that stand alone are looked up, as by `SET btrdb.schema`.
fn schema(name: &ObjectName) -> Result<Option<Command>> {
    let parts: Vec<&str> = name
        .0
        .iter()
        .filter_map(|part| part.as_ident().map(|ident| ident.value.as_str()))
        .collect();
    let value = match parts[..] {
        // The only catalog: whoever uses it says nothing.
        [CATALOG] => PUBLIC,
        [schema] | [CATALOG, schema] => schema,
        _ => {
            return Err(Error::invalid(format!(
                "USE {name}: it takes a collection, as in USE \"lab/pmu\""
            )));
        }
    };
    SessionOptions::default().set(SCHEMA, value)?;
    Ok(Some(Command::Set {
        name: SCHEMA.to_owned(),
        value: value.to_owned(),
    }))
}

/// Every transaction reads one snapshot: what asks for less gets more than it asks for, what asks for more is refused.
fn begin(modes: &[TransactionMode]) -> Result<Command> {
    let mut read_only = false;
    for mode in modes {
        match mode {
            TransactionMode::AccessMode(access) => {
                read_only = *access == TransactionAccessMode::ReadOnly;
            }
            TransactionMode::IsolationLevel(TransactionIsolationLevel::Serializable) => {
                return Err(Error::unsupported(
                    "transactions are not serializable: they read one snapshot, which is REPEATABLE READ",
                ));
            }
            TransactionMode::IsolationLevel(_) => {}
        }
    }
    Ok(Command::Begin { read_only })
}
