//! From a parsed statement to its plan: names resolved, the session state of one statement made.

use std::sync::Arc;

use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::Statement as Parsed;

use super::arguments::stream_arguments;
use super::catalog::Catalogs;
use super::command::Command;
use super::errors::from_datafusion;
use super::functions::{Function, StreamFunction, Streams};
use super::optimize::Optimizers;
use super::parse::parse;
use super::plans::{Key, Plans};
use super::resolve::{CATALOG, INFORMATION_SCHEMA, Names, Wanted, default_schema};
use super::session::{Frame, Settings};
use super::show;
use super::statement::{Statement, Writing};
use super::write;
use crate::error::Result;

/// What planning a statement takes, and planning it again when parameters are bound.
#[derive(Clone, Debug)]
pub(super) struct Planner {
    pub(super) state: Arc<SessionState>,
    pub(super) frame: Arc<Frame>,
    pub(super) settings: Settings,
    pub(super) optimizers: Arc<Optimizers>,
    /// Whether statements that write are refused.
    pub(super) read_only: bool,
}

impl Planner {
    pub(super) async fn plan(self, parsed: Parsed) -> Result<Statement> {
        let wanted = self.wanted(&parsed)?;
        let names = Names::resolve(Arc::clone(&self.frame), &wanted).await;
        let names = names.map_err(|error| write::unresolved(error, &parsed))?;
        self.plan_over(parsed, &Arc::new(names)).await
    }

    /// The statement, out of the plans that are kept or else into them.
    pub(super) async fn plan_text(self, plans: &Plans, sql: &str) -> Result<Statement> {
        let key = Key {
            sql: sql.to_owned(),
            pushdown: self.settings.pushdown,
            merge: self.settings.merge,
            schema: self.settings.schema.clone(),
        };
        let kept = plans.get(&key);
        let (parsed, wanted) = match &kept {
            Some(kept) => (None, kept.wanted.clone()),
            None => {
                let parsed = parse(sql)?;
                if let Some(command) = Command::of_parsed(&parsed)? {
                    return Ok(Statement::commanding(parsed, self, command));
                }
                let wanted = self.wanted(&parsed)?;
                (Some(parsed), wanted)
            }
        };
        let names = Names::resolve(Arc::clone(&self.frame), &wanted).await;
        let names = Arc::new(names.map_err(|error| match &parsed {
            Some(parsed) => write::unresolved(error, parsed),
            None => error,
        })?);
        if let Some(kept) = kept.filter(|kept| kept.meaning == *names.meaning()) {
            return Statement::kept(&kept, self);
        }
        let parsed = match parsed {
            Some(parsed) => parsed,
            None => parse(sql)?,
        };
        let mut statement = self.plan_over(parsed, &names).await?;
        statement.optimize()?;
        plans.keep(key, statement.to_keep(wanted, names.meaning().clone()));
        Ok(statement)
    }

    async fn plan_over(self, parsed: Parsed, names: &Arc<Names>) -> Result<Statement> {
        let state = Arc::new(self.state_over(names));
        if let Some(statement) = write::writing(&parsed) {
            let (change, plan) = write::plan(&state, names, statement).await?;
            let writing = Writing {
                change,
                explained: write::explanation(&state, &parsed).await?,
            };
            return Statement::new(parsed, self, state, plan, Some(writing));
        }
        let plan = match show::columns_plan(&parsed, names)? {
            Some(plan) => plan,
            None => state
                .statement_to_plan(parsed.clone())
                .await
                .map_err(from_datafusion)?,
        };
        // DataFusion would name the types as Arrow does.
        let plan = match plan {
            LogicalPlan::DescribeTable(table) => show::description(&table.schema)?,
            plan => plan,
        };
        Statement::new(parsed, self, state, plan, None)
    }

    /// The names in the statement. Those of table functions stand among the tables too, and are no tables.
    fn wanted(&self, parsed: &Parsed) -> Result<Wanted> {
        let references = self
            .state
            .resolve_table_references(parsed)
            .map_err(from_datafusion)?;
        let mut wanted = Wanted {
            arguments: stream_arguments(&self.state, parsed),
            default_schema: self.settings.schema.clone(),
            ..Wanted::default()
        };
        for reference in references {
            let bare = reference.schema().is_none();
            let name = reference.table();
            let is_function = bare
                && (Function::named(name).is_some()
                    || self.state.table_functions().contains_key(name));
            if is_function {
                continue;
            }
            let schema = default_schema(&self.settings.schema, &reference).to_owned();
            let resolved = reference.resolve(CATALOG, &schema);
            if *resolved.schema == *INFORMATION_SCHEMA {
                wanted.is_about_schemas = true;
            }
            wanted.tables.push(resolved);
        }
        Ok(wanted)
    }

    /// A clone of the shared state for one statement: cheap, where a new session would not be.
    pub(super) fn state_now(&self) -> SessionState {
        let mut state = SessionState::clone(&self.state);
        state.mark_start_execution();
        let options = state.config_mut().options_mut();
        options.extensions.insert(self.settings.clone());
        options
            .catalog
            .default_schema
            .clone_from(&self.settings.schema);
        state
    }

    /// The same, which sees the names of the statement.
    fn state_over(&self, names: &Arc<Names>) -> SessionState {
        let mut state = self.state_now();
        for function in Function::ALL {
            let streams = Streams::OfStatement(Arc::clone(names));
            state.register_udtf(
                function.as_str(),
                Arc::new(StreamFunction { function, streams }),
            );
        }
        let functions = state.table_functions().clone();
        state.register_catalog_list(Arc::new(Catalogs {
            names: Arc::clone(names),
            functions,
        }));
        state
    }
}
