//! SQL over any [`Backend`]: streams as DataFusion tables, and work pushed down into the store.
//!
//! ```text
//! text --parse--> statement --resolve--> names --plan--> Statement --execute--> rows
//!        refuse what          one pass of      rules push        scans read the
//!        has no meaning       look-ups         aggregates down   backend
//!                                                            --write--> counts and versions
//! ```
//!
//! Three floors, three jobs: tables *describe* and never read, the plan node *declares* order, limits and partitions, and its
//! stream *works*. What a statement shares (backend, snapshot, pins, settings) is its `Frame`; every scan of a statement has
//! the same one, so a self-join sees one state.
//!
//! Invariants: whatever the plan, results equal the unpushed plan's. A predicate is taken over only if it is understood to the
//! last nanosecond. Planning reads no points. This module knows `dyn Backend` and no implementation of it.

use std::num::NonZeroUsize;
use std::sync::Arc;

use arrow::array::BooleanArray;
use datafusion::common::config::ConfigOptions;
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::{FunctionRegistry, SessionState, SessionStateBuilder};
use datafusion::optimizer::Optimizer;
use datafusion::prelude::SessionConfig;
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::backend::Backend;
use crate::error::Result;

mod ahead;
mod arguments;
mod bounded;
mod buckets;
mod catalog;
mod catalogue;
mod columnless;
mod command;
mod comments;
mod constants;
mod delivered;
mod dialect;
mod errors;
mod extremes;
mod filter;
mod functions;
mod grid;
mod identity;
mod information_schema;
mod interrupt;
mod listing;
mod lookups;
mod metadata;
mod minutes;
mod multi;
mod names;
mod narrow;
mod optimize;
mod ordered;
mod parameters;
mod parse;
mod pins;
mod planner;
mod plans;
mod plugin;
mod points;
mod postgres;
mod provider;
mod resolve;
mod rows;
mod rules;
mod scan;
mod selection;
mod session;
mod show;
mod split;
mod sql_types;
mod stat_column;
mod statement;
mod stats;
mod table;
mod tail;
mod time_set;
mod titles;
mod veil;
mod windows;
mod write;
mod yielding;
mod zoned;

pub use command::Command;
pub use errors::from_datafusion;
pub use information_schema::{ForeignKey, PrimaryKey};
pub use interrupt::{Interrupt, RaiseOnDrop};
pub use listing::{ListedColumn, ListedTable};
pub use pins::Pins;
pub use plugin::register;
pub use postgres::MetadataRows;
pub use session::SessionOptions;
pub use split::Division;
pub use sql_types::SqlType;
pub use statement::Statement;
pub use tail::Tail;
pub use write::{Outcome, Written};

pub(crate) use veil::Veil;

use listing::{Among, Section, matching};
use optimize::Optimizers;
use planner::Planner;
use plans::Plans;
use session::{Frame, Settings};

/// How a [`Gateway`] runs its statements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewaySettings {
    /// How many parts of a statement run side by side.
    pub target_partitions: usize,
    /// Rows of a batch, at most: large enough that a batch of points fills a Flight message, and that it takes the points of 64 leaves
    /// of the tree, as they are stored side by side, at 120 Hz.
    pub batch_rows: usize,
    /// Memory that all statements together may hold for sorts, joins and groups before they spill or fail.
    pub memory_bytes_max: usize,
}

impl Default for GatewaySettings {
    fn default() -> Self {
        Self {
            target_partitions: std::thread::available_parallelism().map_or(2, NonZeroUsize::get),
            batch_rows: 36 * 1024,
            memory_bytes_max: 1 << 30,
        }
    }
}

/// SQL over a backend. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Gateway {
    shared: Veil<Shared>,
}

#[derive(Debug)]
struct Shared {
    backend: Arc<dyn Backend>,
    settings: GatewaySettings,
    state: Arc<SessionState>,
    plans: Plans,
    optimizers: Arc<Optimizers>,
}

/// Bytes of ordered rows that each partition may have ready for a merge.
const ORDERED_BUFFER_BYTES: usize = 4 << 20;

/// How many of the hungriest consumers an out-of-memory message names.
const CONSUMERS_SHOWN: NonZeroUsize = NonZeroUsize::new(3).expect("3 is not 0");

/// DataFusion 55.2 tells scans which values can still be a `max`, and passes over the aggregate's FILTER: points that only
/// another aggregate counts would set the bound.
fn forbid_aggregate_filters(options: &mut ConfigOptions) {
    options.optimizer.enable_aggregate_dynamic_filter_pushdown = false;
}

impl Gateway {
    /// A gateway to `backend`.
    ///
    /// # Errors
    /// Internal if the runtime cannot be set up, as when there is no folder for spilling.
    pub fn new(backend: Arc<dyn Backend>, settings: GatewaySettings) -> Result<Self> {
        let pool = FairSpillPool::new(settings.memory_bytes_max);
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(TrackConsumersPool::new(pool, CONSUMERS_SHOWN)))
            .build_arc()
            .map_err(from_datafusion)?;
        let mut config = SessionConfig::new()
            .with_create_default_catalog_and_schema(false)
            .with_default_catalog_and_schema(resolve::CATALOG, resolve::PUBLIC)
            .with_target_partitions(settings.target_partitions)
            .with_batch_size(settings.batch_rows);
        // Partitions in order wait in here for each other, each with so many bytes.
        config.options_mut().execution.sort_pushdown_buffer_capacity = ORDERED_BUFFER_BYTES;
        // Of what no column tells: `now()`, and TIMESTAMP WITH TIME ZONE.
        config.options_mut().execution.time_zone = Some("UTC".to_owned());
        forbid_aggregate_filters(config.options_mut());
        let mut state = SessionStateBuilder::new_with_default_features()
            .with_config(config)
            .with_runtime_env(runtime)
            .with_optimizer_rules(rules::among(Optimizer::default().rules))
            .build();
        let functions: Vec<_> = state.scalar_functions().values().map(Arc::clone).collect();
        let bounded = bounded::bounded(functions.iter().map(Arc::clone));
        for function in bounded.into_iter().chain(zoned::zoned(functions)) {
            state
                .register_udf(Arc::new(function))
                .map_err(from_datafusion)?;
        }
        for function in identity::functions() {
            state.register_udf(function).map_err(from_datafusion)?;
        }
        Ok(Self {
            shared: Veil::new(Shared {
                backend,
                settings,
                state: Arc::new(state),
                plans: Plans::default(),
                optimizers: Arc::default(),
            }),
        })
    }

    /// The backend that statements read.
    pub fn backend(&self) -> &Arc<dyn Backend> {
        &self.shared.backend
    }

    /// Bytes that the statements under way hold for sorts, joins and groups.
    pub fn memory_bytes(&self) -> usize {
        self.shared.state.runtime_env().memory_pool.reserved()
    }

    /// Parses, resolves names and plans one statement. Reads no points.
    ///
    /// # Errors
    /// Invalid for text that does not parse or plan, holds no statement or several; NotFound for tables, streams and versions
    /// that do not exist; Unsupported for statements that neither read nor are a BTrDB operation; Denied for those that write
    /// in a session that is read-only.
    pub async fn prepare(&self, sql: &str, session: &SessionOptions) -> Result<Statement> {
        let frame = Frame::new(
            Arc::clone(&self.shared.backend),
            session,
            self.shared.settings.batch_rows,
            self.shared.settings.target_partitions,
        );
        // Now, and not with the first scan: a statement reads the state it was prepared under.
        frame.pin().await?;
        let planner = Planner {
            state: Arc::clone(&self.shared.state),
            frame: Arc::new(frame),
            settings: Settings::of(session),
            optimizers: Arc::clone(&self.shared.optimizers),
            read_only: session.read_only,
        };
        planner.plan_text(&self.shared.plans, sql).await
    }

    /// The tables whose schema and name match these LIKE patterns, ascending by both; without a pattern, all.
    ///
    /// Asks the backend once, or once for each schema where a pattern names some, and opens no stream.
    ///
    /// # Errors
    /// Those of the backend, and Invalid for a pattern that is too complicated.
    pub async fn tables(
        &self,
        schemas: Option<&str>,
        tables: Option<&str>,
    ) -> Result<Vec<ListedTable>> {
        let among = |pattern: Option<&str>| pattern.map_or(Among::Any, Among::like);
        let section = Section {
            schemas: among(schemas),
            tables: among(tables),
        };
        let mut listed = listing::tables(self.backend().as_ref(), &section).await?;
        if let Some(pattern) = schemas {
            let matches = matching(pattern, listed.iter().map(ListedTable::schema))?;
            listed = keep(listed, &matches);
        }
        if let Some(pattern) = tables {
            let matches = matching(pattern, listed.iter().map(ListedTable::name))?;
            listed = keep(listed, &matches);
        }
        Ok(listed)
    }

    /// The schemas that match a LIKE pattern, ascending; without a pattern, all.
    ///
    /// # Errors
    /// As [`tables`](Self::tables).
    pub async fn schemas(&self, pattern: Option<&str>) -> Result<Vec<String>> {
        let among = pattern.map_or(Among::Any, Among::like);
        let schemas = listing::schemas(self.backend().as_ref(), &among).await?;
        match pattern {
            Some(pattern) => {
                let matches = matching(pattern, schemas.iter().map(String::as_str))?;
                Ok(keep(schemas, &matches))
            }
            None => Ok(schemas),
        }
    }

    /// Runs one SELECT in PostgreSQL's words on the table `streams`, which has what the catalogue says of each stream and
    /// nothing of its points.
    ///
    /// `params` take the places of `$1`, `$2`, and so on: as values, read as whatever type their place calls for. Each row is
    /// a JSON object, its keys in the order of the projection and named as PostgreSQL names columns.
    ///
    /// # Errors
    /// Code 441 for a statement that is no such SELECT, for names it does not find, and for parameters that are too few, too
    /// many, or not of their type; some show only when the rows are read. What the store fails with stays as it is.
    pub fn metadata_sql<'a>(
        &'a self,
        sql: &'a str,
        params: &'a [String],
    ) -> BoxFuture<'a, Result<MetadataRows>> {
        postgres::run(&self.shared, sql, params).boxed()
    }
}

/// What of `all` is chosen.
fn keep<T>(all: Vec<T>, chosen: &BooleanArray) -> Vec<T> {
    let chosen = chosen.values().iter();
    all.into_iter()
        .zip(chosen)
        .filter_map(|(item, chosen)| chosen.then_some(item))
        .collect()
}
