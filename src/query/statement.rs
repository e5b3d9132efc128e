//! A statement from plan to rows.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DFSchema, ParamValues, ScalarValue};
use datafusion::execution::{SendableRecordBatchStream, SessionState};
use datafusion::logical_expr::{EmptyRelation, Explain, LogicalPlan, PlanType, ToStringifiedPlan};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::sql::parser::Statement as Parsed;
use futures::{StreamExt, stream};

use super::ahead::Ahead;
use super::arguments;
use super::command::Command;
use super::delivered::{conform, delivered};
use super::errors::from_datafusion;
use super::interrupt::Interrupt;
use super::parameters;
use super::planner::Planner;
use super::plans::{Planned, is_timeless};
use super::resolve::{Meaning, Wanted};
use super::rules::with_frame;
use super::session::Frame;
use super::titles::titles;
use super::write::{self, Change, Outcome};
use super::yielding::yielding;
use crate::error::{Error, Result};
use crate::model::MergePolicy;

/// One statement, planned: names are resolved, the snapshot is taken, no point is read.
///
/// It owns all it needs, and can be kept and executed later.
#[derive(Clone, Debug)]
pub struct Statement {
    parsed: Parsed,
    planner: Planner,
    state: Arc<SessionState>,
    plan: LogicalPlan,
    /// The plan as the rules leave it, if it was worked out already.
    optimized: Option<LogicalPlan>,
    ahead: Ahead,
    schema: SchemaRef,
    parameters: SchemaRef,
    /// What is done with the rows of the plan, if it writes.
    writing: Option<Writing>,
    /// What it asks of the session, if it is about that and not about rows.
    command: Option<Command>,
    /// Ends its executions.
    interrupt: Interrupt,
}

/// What makes a plan of rows a statement that writes.
#[derive(Clone, Debug)]
pub(super) struct Writing {
    pub(super) change: Change,
    /// The plan of EXPLAIN, if the statement only wants to know.
    pub(super) explained: Option<LogicalPlan>,
}

impl Writing {
    pub(super) fn is_explained(&self) -> bool {
        self.explained.is_some()
    }
}

impl Statement {
    pub(super) fn new(
        parsed: Parsed,
        planner: Planner,
        state: Arc<SessionState>,
        plan: LogicalPlan,
        writing: Option<Writing>,
    ) -> Result<Self> {
        check_reads(&plan)?;
        // Types are settled before anything is said of them: `SELECT 1 UNION SELECT 2.5` is not integers.
        let typed = typed(&state, plan.clone())?;
        let schema = match &writing {
            None => delivered(&typed, &titles(&parsed)),
            Some(Writing {
                explained: Some(explained),
                ..
            }) => delivered(explained, &titles(&parsed)),
            Some(_) => write::counted(),
        };
        let parameters = parameters::of(&parsed, &typed)?;
        // Types that were guessed for parameters must not be cast to: `$1 + 1` adds 1 to 1.5 too.
        let plan = if parameters.fields().is_empty() {
            typed
        } else {
            plan
        };
        let statement = Self {
            command: Command::of_plan(&plan)?,
            schema,
            parameters,
            parsed,
            planner,
            state,
            plan,
            optimized: None,
            ahead: Ahead::default(),
            writing,
            interrupt: Interrupt::default(),
        };
        statement.check_allowed()?;
        Ok(statement)
    }

    fn check_allowed(&self) -> Result<()> {
        if self.is_update() && self.planner.read_only {
            return Err(write::read_only());
        }
        Ok(())
    }

    /// A statement that DataFusion has no part in.
    pub(super) fn commanding(parsed: Parsed, planner: Planner, command: Command) -> Self {
        Self {
            parsed,
            state: Arc::clone(&planner.state),
            planner,
            plan: LogicalPlan::EmptyRelation(EmptyRelation {
                produce_one_row: false,
                schema: Arc::new(DFSchema::empty()),
            }),
            optimized: None,
            ahead: Ahead::default(),
            schema: Arc::new(Schema::empty()),
            parameters: Arc::new(Schema::empty()),
            writing: None,
            command: Some(command),
            interrupt: Interrupt::default(),
        }
    }

    /// A statement that was planned before, under the frame of now.
    pub(super) fn kept(kept: &Planned, planner: Planner) -> Result<Self> {
        let frame = Arc::clone(&planner.frame);
        let under = |plan: &LogicalPlan| with_frame(plan.clone(), &frame).map_err(from_datafusion);
        let optimized = kept.optimized.as_ref().map(under).transpose()?;
        let state = match optimized {
            Some(_) => Arc::clone(&planner.state),
            None => Arc::new(planner.state_now()),
        };
        let statement = Self {
            parsed: kept.parsed.clone(),
            planner,
            state,
            plan: under(&kept.plan)?,
            optimized,
            ahead: Ahead::default(),
            schema: Arc::clone(&kept.schema),
            parameters: Arc::clone(&kept.parameters),
            writing: kept.writing.clone(),
            command: None,
            interrupt: Interrupt::default(),
        };
        statement.check_allowed()?;
        Ok(statement)
    }

    /// Runs the rules now, if what they make of the plan is good for later too.
    pub(super) fn optimize(&mut self) -> Result<()> {
        // A write is planned when it is run: what it reads may depend on what was written since.
        let bound = self.parameters.fields().is_empty() && self.writing.is_none();
        if !shows(&self.plan) && bound && is_timeless(&self.plan).map_err(from_datafusion)? {
            self.optimized = Some(self.optimized()?);
        }
        Ok(())
    }

    fn optimized(&self) -> Result<LogicalPlan> {
        let optimizers = &self.planner.optimizers;
        let optimized = optimizers.optimize(&self.state, &self.plan);
        optimized.map_err(from_datafusion)
    }

    /// The plan as the rules leave it, if it comes out the same at any moment and all parameters are bound; where it is not at
    /// hand, only if it is worth the rules' time.
    pub(super) fn lasting_plan(&self, is_worth_it: bool) -> Result<Option<LogicalPlan>> {
        if self.optimized.is_some() {
            return Ok(self.optimized.clone());
        }
        let bound = self.parameters.fields().is_empty();
        let lasts = is_worth_it && !shows(&self.plan) && bound;
        if !lasts || !is_timeless(&self.plan).map_err(from_datafusion)? {
            return Ok(None);
        }
        self.optimized().map(Some)
    }

    /// The statement with another plan behind the rules.
    pub(super) fn with_plan(self, optimized: LogicalPlan) -> Self {
        Self {
            optimized: Some(optimized),
            ahead: Ahead::default(),
            ..self
        }
    }

    /// What to keep of it.
    pub(super) fn to_keep(&self, wanted: Wanted, meaning: Meaning) -> Planned {
        Planned {
            parsed: self.parsed.clone(),
            wanted,
            meaning,
            plan: self.plan.clone(),
            optimized: self.optimized.clone(),
            schema: Arc::clone(&self.schema),
            parameters: Arc::clone(&self.parameters),
            writing: self.writing.clone(),
        }
    }

    pub(super) fn state(&self) -> &Arc<SessionState> {
        &self.state
    }

    /// What it reads: all of it, or what it writes is made of.
    pub(super) fn plan(&self) -> &LogicalPlan {
        &self.plan
    }

    pub(super) fn frame(&self) -> &Arc<Frame> {
        &self.planner.frame
    }

    pub(super) fn merge(&self) -> MergePolicy {
        self.planner.settings.merge
    }

    /// The rows of a query of this statement, as DataFusion delivers them.
    pub(super) async fn query(&self, plan: &LogicalPlan) -> Result<SendableRecordBatchStream> {
        let plan = self.planner.optimizers.optimize(&self.state, plan);
        let plan = plan.map_err(from_datafusion)?;
        let planner = self.state.query_planner();
        let physical = planner.create_physical_plan(&plan, self.state.as_ref());
        let physical = physical.await.map_err(from_datafusion)?;
        self.run(physical)
    }

    /// Starts a plan in such a way that it can be stopped.
    fn run(&self, plan: Arc<dyn ExecutionPlan>) -> Result<SendableRecordBatchStream> {
        yielding(plan, &self.interrupt)
            .and_then(|plan| execute_stream(plan, self.state.task_ctx()))
            .map_err(from_datafusion)
    }

    /// The statement with executions that end when `interrupt` is raised, while they cannot be dropped.
    pub fn until(self, interrupt: &Interrupt) -> Self {
        Self {
            interrupt: interrupt.clone(),
            ..self
        }
    }

    /// What [`execute`](Self::execute) delivers, to the nullability: plain types only, no views and no dictionaries.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// What it was planned under, and the plan before any rule.
    pub(super) fn planned(&self) -> (&Arc<SessionState>, &LogicalPlan) {
        (&self.state, &self.plan)
    }

    /// The parameters `$1` to `$n` in order, all nullable; one whose type nothing tells is [`DataType::Null`].
    pub fn parameters(&self) -> SchemaRef {
        Arc::clone(&self.parameters)
    }

    /// What it asks of the session, if it is about that. Executing it delivers nothing: the session is the caller's.
    pub fn command(&self) -> Option<&Command> {
        self.command.as_ref()
    }

    /// Whether running it changes the store: it is then [written](Self::write), not [executed](Self::execute).
    pub fn is_update(&self) -> bool {
        self.writing
            .as_ref()
            .is_some_and(|writing| !writing.is_explained())
    }

    /// Runs a statement that [changes the store](Self::is_update): once for each of `rows`, which are values of its parameters;
    /// once if it has none, for whatever `rows` there are.
    ///
    /// What can be refused is refused before anything is written. Rows that INSERT brings are applied in commits of about a
    /// million points, of however many rows of parameters; every other statement is applied once a row, one after the other.
    /// What it reads is of the state it was prepared under, for all rows; which streams there are, and what a DELETE of points
    /// finds, is as of now.
    pub async fn write(&self, rows: &[Vec<ScalarValue>]) -> Outcome {
        match &self.writing {
            Some(Writing {
                change,
                explained: None,
            }) => write::run(self, change, rows).await,
            _ => Outcome::refused(Error::unsupported("the statement changes nothing")),
        }
    }

    /// The statement with its parameters filled in, reading the same snapshot.
    ///
    /// # Errors
    /// Invalid if there are more or fewer values than parameters, or one does not fit; NotFound for a parameter that names no
    /// stream.
    pub async fn bind(self, values: &[ScalarValue]) -> Result<Self> {
        let expected = self.parameters.fields().len();
        if values.len() != expected {
            return Err(Error::invalid(format!(
                "the statement has {}, and {} given",
                counted(expected, "parameter", "parameters"),
                counted(values.len(), "value was", "values were")
            )));
        }
        if expected == 0 {
            return Ok(self);
        }
        let interrupt = self.interrupt.clone();
        let values = parameters::fit(values, &self.parameters)?;
        let planned = if arguments::parameters(&self.parsed).is_empty() {
            self
        } else {
            let mut parsed = self.parsed;
            arguments::substitute(&mut parsed, &values)?;
            self.planner.plan(parsed).await?
        };
        let plan = planned
            .plan
            .with_param_values(ParamValues::from(values))
            .map_err(from_datafusion)?;
        let bound = Self::new(
            planned.parsed,
            planned.planner,
            planned.state,
            plan,
            planned.writing,
        )?;
        Ok(bound.until(&interrupt))
    }

    /// What a write would do, in front of the plan of what it reads.
    async fn explain(&self, writing: &Writing) -> Result<SendableRecordBatchStream> {
        let Some(LogicalPlan::Explain(explain)) = &writing.explained else {
            return Err(Error::unsupported(
                "the statement changes the store: it is run as an update, and answers a count",
            ));
        };
        let operation = write::explain(self, &writing.change).await?;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(vec!["write_plan"])),
            Arc::new(StringArray::from(vec![operation])),
        ];
        let first = RecordBatch::try_new(self.schema(), columns)
            .map_err(|error| Error::internal(error.to_string()))?;
        let first = stream::iter([Ok(first)]);
        if let Change::DeletePoints(_) = writing.change {
            // It reads no rows.
            return Ok(Box::pin(RecordBatchStreamAdapter::new(
                self.schema(),
                first,
            )));
        }
        let plan = LogicalPlan::Explain(Explain {
            plan: Arc::new(self.plan.clone()),
            stringified_plans: vec![self.plan.to_stringified(PlanType::InitialLogicalPlan)],
            ..explain.clone()
        });
        let physical = self.state.create_physical_plan(&plan).await;
        let rows = self.run(physical.map_err(from_datafusion)?)?;
        let schema = self.schema();
        let rows = first.chain(rows.map(move |batch| conform(&batch?, &schema)));
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows)))
    }

    /// Does now what is left to do before it can be executed, which then begins sooner. Nothing is read.
    pub async fn made_ready(self) -> Self {
        let is_query = self.writing.is_none() && self.command.is_none();
        if !is_query || !self.parameters.fields().is_empty() {
            return self;
        }
        match self.physical().await {
            Ok(plan) => Self {
                ahead: Ahead::of(plan),
                ..self
            },
            // It fails again, and says so, when it is executed.
            Err(_) => self,
        }
    }

    async fn physical(&self) -> Result<Arc<dyn ExecutionPlan>> {
        let planner = self.state.query_planner();
        let plan = match (&self.optimized, &self.plan) {
            (Some(plan), _) => plan,
            // EXPLAIN tells what each rule does, and so has a way of its own through them.
            (None, plan @ (LogicalPlan::Explain(_) | LogicalPlan::Analyze(_))) => {
                let physical = self.state.create_physical_plan(plan).await;
                return physical.map_err(from_datafusion);
            }
            (None, _) => &self.optimized()?,
        };
        let physical = planner.create_physical_plan(plan, self.state.as_ref());
        physical.await.map_err(from_datafusion)
    }

    /// Starts reading. Dropping the stream stops it and frees what it holds.
    ///
    /// Errors inside the stream are DataFusion's: [`from_datafusion`] tells them apart.
    ///
    /// # Errors
    /// Invalid if parameters are not bound, and whatever planning finds.
    pub async fn execute(&self) -> Result<SendableRecordBatchStream> {
        if !self.parameters.fields().is_empty() {
            return Err(Error::invalid(format!(
                "the statement has {} not bound",
                counted(
                    self.parameters.fields().len(),
                    "parameter that is",
                    "parameters that are"
                )
            )));
        }
        if let Some(writing) = &self.writing {
            return self.explain(writing).await;
        }
        if self.command.is_some() {
            let nothing = stream::empty();
            let nothing = RecordBatchStreamAdapter::new(self.schema(), nothing);
            return Ok(Box::pin(nothing));
        }
        let physical = match self.ahead.take() {
            Some(plan) => plan,
            None => self.physical().await?,
        };
        let rows = self.run(physical)?;
        let schema = self.schema();
        let rows = rows.map(move |batch| conform(&batch?, &schema));
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows)))
    }
}

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// The plan with all its types settled. Parameters that are not bound may leave some open.
fn typed(state: &SessionState, plan: LogicalPlan) -> Result<LogicalPlan> {
    if shows(&plan) {
        return Ok(plan);
    }
    let unbound = plan.get_parameter_names().map_err(from_datafusion)?;
    let options = state.config_options();
    let typed = state
        .analyzer()
        .execute_and_check(plan.clone(), options, |_, _| {});
    match typed {
        Err(_) if !unbound.is_empty() => Ok(plan),
        typed => typed.map_err(from_datafusion),
    }
}

/// Whether the statement is about a plan or a setting, and not about rows.
fn shows(plan: &LogicalPlan) -> bool {
    matches!(
        plan,
        LogicalPlan::Explain(_) | LogicalPlan::Analyze(_) | LogicalPlan::Statement(_)
    )
}

/// Refuses plans that would change something, whatever text they came from.
fn check_reads(plan: &LogicalPlan) -> Result<()> {
    let mut refused = None;
    plan.apply_with_subqueries(|node| {
        Ok(match node {
            LogicalPlan::Ddl(_) | LogicalPlan::Dml(_) | LogicalPlan::Copy(_) => {
                refused = Some(node.display().to_string());
                TreeNodeRecursion::Stop
            }
            _ => TreeNodeRecursion::Continue,
        })
    })
    .map_err(from_datafusion)?;
    match refused {
        Some(node) => Err(Error::unsupported(format!(
            "{node} is not supported inside of a query: send it as a statement of its own"
        ))),
        None => Ok(()),
    }
}
