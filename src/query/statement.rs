//! A statement from plan to rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{ParamValues, ScalarValue};
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, SessionState};
use datafusion::logical_expr::{LogicalPlan, Statement as PlanStatement};
use datafusion::physical_plan::execute_stream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::sql::parser::Statement as Parsed;
use futures::StreamExt;

use super::arguments;
use super::errors::from_datafusion;
use super::planner::Planner;
use super::plans::{Planned, is_timeless};
use super::resolve::{Meaning, Wanted};
use super::rules::with_frame;
use super::session::SessionOptions;
use super::write::Outcome;
use crate::error::{Error, Result};

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
    schema: SchemaRef,
    parameters: SchemaRef,
}

impl Statement {
    pub(super) fn new(
        parsed: Parsed,
        planner: Planner,
        state: Arc<SessionState>,
        plan: LogicalPlan,
    ) -> Result<Self> {
        check_reads(&plan)?;
        // Types are settled before anything is said of them: `SELECT 1 UNION SELECT 2.5` is not integers.
        let plan = typed(&state, plan)?;
        if let Some((name, value)) = setting_of(&plan) {
            // A setting that could not be made is refused while planning, not when it is applied.
            SessionOptions::default().set(&name, &value)?;
        }
        Ok(Self {
            schema: delivered(&plan),
            parameters: parameters_of(&parsed, &plan)?,
            parsed,
            planner,
            state,
            plan,
            optimized: None,
        })
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
        Ok(Self {
            parsed: kept.parsed.clone(),
            planner,
            state,
            plan: under(&kept.plan)?,
            optimized,
            schema: Arc::clone(&kept.schema),
            parameters: Arc::clone(&kept.parameters),
        })
    }

    /// Runs the rules now, if what they make of the plan is good for later too.
    pub(super) fn optimize(&mut self) -> Result<()> {
        let bound = self.parameters.fields().is_empty();
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
        }
    }

    /// What [`execute`](Self::execute) delivers, to the nullability: plain types only, no views and no dictionaries.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// The parameters `$1` to `$n` in order, all nullable; one whose type nothing tells is [`DataType::Null`].
    pub fn parameters(&self) -> SchemaRef {
        Arc::clone(&self.parameters)
    }

    /// Name and value, if this is `SET name = value`. Executing it delivers nothing: the session is the caller's.
    pub fn setting(&self) -> Option<(String, String)> {
        setting_of(&self.plan)
    }

    /// Whether running it changes the store: it is then [written](Self::write), not [executed](Self::execute).
    pub fn is_update(&self) -> bool {
        false
    }

    /// Runs a statement that [changes the store](Self::is_update): once for each of `rows`, which are values of its parameters;
    /// once if it has none, for whatever `rows` there are.
    ///
    /// What can be refused is refused before anything is written.
    pub async fn write(&self, _rows: &[Vec<ScalarValue>]) -> Outcome {
        Outcome {
            error: Some(Error::unsupported("the statement changes nothing")),
            ..Outcome::default()
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
                "the statement has {expected} parameters, and {} values were given",
                values.len()
            )));
        }
        if expected == 0 {
            return Ok(self);
        }
        let planned = if arguments::parameters(&self.parsed).is_empty() {
            self
        } else {
            let mut parsed = self.parsed;
            arguments::substitute(&mut parsed, values)?;
            self.planner.plan(parsed).await?
        };
        let plan = planned
            .plan
            .with_param_values(ParamValues::from(values.to_vec()))
            .map_err(from_datafusion)?;
        Self::new(planned.parsed, planned.planner, planned.state, plan)
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
                "the statement has {} parameters that are not bound",
                self.parameters.fields().len()
            )));
        }
        if self.setting().is_some() {
            let nothing = futures::stream::empty();
            let nothing = RecordBatchStreamAdapter::new(self.schema(), nothing);
            return Ok(Box::pin(nothing));
        }
        let planner = self.state.query_planner();
        let physical = match (&self.optimized, &self.plan) {
            (Some(plan), _) => {
                planner
                    .create_physical_plan(plan, self.state.as_ref())
                    .await
            }
            // EXPLAIN tells what each rule does, and so has a way of its own through them.
            (None, plan @ (LogicalPlan::Explain(_) | LogicalPlan::Analyze(_))) => {
                self.state.create_physical_plan(plan).await
            }
            (None, _) => {
                let plan = self.optimized()?;
                planner
                    .create_physical_plan(&plan, self.state.as_ref())
                    .await
            }
        };
        let physical = physical.map_err(from_datafusion)?;
        let rows = execute_stream(physical, self.state.task_ctx()).map_err(from_datafusion)?;
        let schema = self.schema();
        let rows = rows.map(move |batch| conform(&batch?, &schema));
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows)))
    }
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

fn setting_of(plan: &LogicalPlan) -> Option<(String, String)> {
    match plan {
        LogicalPlan::Statement(PlanStatement::SetVariable(set)) => {
            Some((set.variable.clone(), set.value.clone()))
        }
        _ => None,
    }
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
            "{node} is not supported: SQL reads here, and writing goes through Arrow Flight DoPut for now"
        ))),
        None => Ok(()),
    }
}

fn parameters_of(parsed: &Parsed, plan: &LogicalPlan) -> Result<SchemaRef> {
    let mut types = BTreeMap::<usize, DataType>::new();
    for (id, data_type) in plan.get_parameter_types().map_err(from_datafusion)? {
        let data_type = data_type.unwrap_or(DataType::Null);
        types.insert(arguments::ordinal(&id)?, plain(&data_type));
    }
    for (id, names_stream) in arguments::parameters(parsed) {
        let known = if names_stream {
            DataType::Utf8
        } else {
            DataType::Null
        };
        types.entry(arguments::ordinal(&id)?).or_insert(known);
    }
    let count = types.keys().next_back().copied().unwrap_or(0);
    let fields: Vec<Field> = (1..=count)
        .map(|ordinal| {
            let data_type = types.remove(&ordinal).unwrap_or(DataType::Null);
            Field::new(format!("${ordinal}"), data_type, true)
        })
        .collect();
    Ok(Arc::new(Schema::new(fields)))
}

/// The schema of the plan in plain types, without DataFusion's own metadata.
fn delivered(plan: &LogicalPlan) -> SchemaRef {
    let fields: Vec<Field> = plan
        .schema()
        .fields()
        .iter()
        .map(|field| {
            field
                .as_ref()
                .clone()
                .with_data_type(plain(field.data_type()))
        })
        .collect();
    Arc::new(Schema::new(fields))
}

/// The type that every client knows: no views, no dictionaries, no run ends, at any depth.
fn plain(data_type: &DataType) -> DataType {
    let plain_field = |field: &FieldRef| -> FieldRef {
        Arc::new(
            field
                .as_ref()
                .clone()
                .with_data_type(plain(field.data_type())),
        )
    };
    match data_type {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::Dictionary(_, values) => plain(values),
        DataType::RunEndEncoded(_, values) => plain(values.data_type()),
        DataType::List(field) | DataType::ListView(field) => DataType::List(plain_field(field)),
        DataType::LargeList(field) | DataType::LargeListView(field) => {
            DataType::LargeList(plain_field(field))
        }
        DataType::FixedSizeList(field, size) => DataType::FixedSizeList(plain_field(field), *size),
        DataType::Struct(fields) => {
            DataType::Struct(fields.iter().map(plain_field).collect::<Fields>())
        }
        DataType::Map(entries, sorted) => DataType::Map(plain_field(entries), *sorted),
        other => other.clone(),
    }
}

/// The batch as the schema says: types made plain, names and nullability as declared.
fn conform(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, DataFusionError> {
    // A value that does not fit is an error, not a NULL.
    let exactly = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let columns = batch
        .columns()
        .iter()
        .zip(schema.fields())
        .map(|(column, field)| {
            if column.data_type() == field.data_type() {
                Ok(Arc::clone(column))
            } else {
                cast_with_options(column, field.data_type(), &exactly)
            }
        })
        .collect::<Result<Vec<ArrayRef>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(
        Arc::clone(schema),
        columns,
        &options,
    )?)
}
