//! The same tables, functions and rules in somebody else's DataFusion.

use std::any::Any;
use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, SchemaProvider, TableProvider};
use datafusion::common::ResolvedTableReference;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SessionStateBuilder;
use datafusion::prelude::SessionContext;
use futures::FutureExt;

use super::errors::to_datafusion;
use super::functions::{Function, StreamFunction, Streams};
use super::resolve::{CATALOG, PUBLIC, RELATIONS, find_table, listing_of};
use super::rules::{self, OneFrame};
use super::session::{Frame, Settings};
use super::{GatewaySettings, forbid_aggregate_filters};
use crate::backend::Backend;
use crate::model::{CollectionMatch, StreamFilter};

/// Puts `backend` into a DataFusion session: the catalog `btrdb` with everything in it, the table functions, the optimizer
/// rules, and the settings `btrdb.pushdown` and `btrdb.merge`.
///
/// Names are looked up when a statement is planned, and all scans of a statement read one state of the store. Catalog listings
/// and table functions ask the backend from within DataFusion's synchronous planning: a backend across a network needs a
/// runtime of several threads for that.
///
/// ```
/// use std::sync::Arc;
///
/// use btrdb_flight::backend::Backend;
/// use btrdb_flight::engine::Engine;
/// use btrdb_flight::model::{InsertOptions, StreamDescriptor, StreamId, Tags, Write};
/// use datafusion::prelude::SessionContext;
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let engine: Arc<dyn Backend> = Engine::memory();
/// let stream = StreamId(uuid::Uuid::from_u128(1));
/// engine
///     .create(StreamDescriptor {
///         id: stream,
///         collection: "lab".to_owned(),
///         tags: Tags { name: "voltage".to_owned(), ..Tags::default() },
///         annotations: Default::default(),
///         property_version: 0,
///     })
///     .await?;
/// let write = Write { stream, times: vec![1, 2].into(), values: vec![3.0, 5.0].into() };
/// engine.insert(vec![write], InsertOptions::default()).await.remove(0)?;
///
/// let context = SessionContext::new();
/// btrdb_flight::query::register(&context, engine)?;
/// let frame = context.sql("SELECT avg(value) AS mean FROM btrdb.lab.voltage").await?;
/// datafusion::assert_batches_eq!(
///     ["+------+", "| mean |", "+------+", "| 4.0  |", "+------+"],
///     &frame.collect().await?
/// );
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// None for now: what could fail is looked up later, with the statement that needs it.
pub fn register(context: &SessionContext, backend: Arc<dyn Backend>) -> crate::error::Result<()> {
    let home = Arc::new(Frame::home(backend, GatewaySettings::default().batch_rows));
    let state = context.state();
    let others = state.optimizers().to_vec();
    let mut rules = vec![Arc::new(OneFrame {
        home: Arc::clone(&home),
    }) as _];
    rules.extend(rules::among(others));
    let mut state = SessionStateBuilder::new_from_existing(state)
        .with_optimizer_rules(rules)
        .build();
    let options = state.config_mut().options_mut();
    options.extensions.insert(Settings::default());
    forbid_aggregate_filters(options);
    for function in Function::ALL {
        let streams = Streams::OfSession(Arc::clone(&home));
        state.register_udtf(
            function.as_str(),
            Arc::new(StreamFunction { function, streams }),
        );
    }
    state
        .catalog_list()
        .register_catalog(CATALOG.to_owned(), Arc::new(Catalog(home)));
    *context.state_ref().write() = state;
    Ok(())
}

/// Waits where DataFusion does not: the answer of a store in memory is there at once.
pub(super) fn wait<T: Send>(future: impl Future<Output = T> + Send) -> Result<T> {
    let mut future = Box::pin(future);
    if let Some(answer) = future.as_mut().now_or_never() {
        return Ok(answer);
    }
    let runtime = tokio::runtime::Handle::try_current();
    // On a thread of its own: those of the runtime must not block.
    let waited = std::thread::scope(|scope| {
        let thread = scope.spawn(move || match runtime {
            Ok(runtime) => runtime.block_on(future),
            Err(_) => futures::executor::block_on(future),
        });
        thread.join()
    });
    waited.map_err(|_: Box<dyn Any + Send>| {
        DataFusionError::Internal("a look-up of names did not finish".to_owned())
    })
}

#[derive(Debug)]
struct Catalog(Arc<Frame>);

impl CatalogProvider for Catalog {
    fn schema_names(&self) -> Vec<String> {
        let collections = wait(self.0.backend.collections(""));
        // A listing has no way to fail; what is asked for by name still gives the error.
        let mut names = collections.ok().and_then(Result::ok).unwrap_or_default();
        names.push(PUBLIC.to_owned());
        names
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        Some(Arc::new(Schema {
            home: Arc::clone(&self.0),
            name: name.to_owned(),
        }))
    }
}

/// A collection, or `public`.
#[derive(Debug)]
struct Schema {
    home: Arc<Frame>,
    name: String,
}

#[async_trait]
impl SchemaProvider for Schema {
    fn table_names(&self) -> Vec<String> {
        let filter = StreamFilter::collection(match self.name.as_str() {
            // Where streams stand, by uuid, that no path names for certain.
            PUBLIC => CollectionMatch::Any,
            collection => CollectionMatch::Exact(collection.to_owned()),
        });
        let streams = wait(self.home.backend.find(filter));
        let streams = streams.ok().and_then(Result::ok).unwrap_or_default();
        let listed = listing_of(streams).remove(&self.name).unwrap_or_default();
        let relations = RELATIONS.into_iter().filter(|_| self.name == PUBLIC);
        let streams = listed.into_iter().map(|(name, _)| name);
        relations.map(str::to_owned).chain(streams).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let reference = ResolvedTableReference {
            catalog: CATALOG.into(),
            schema: self.name.as_str().into(),
            table: name.into(),
        };
        find_table(&self.home, &reference)
            .await
            .map_err(to_datafusion)
    }

    fn table_exist(&self, name: &str) -> bool {
        let found = wait(async { self.table(name).await.is_ok_and(|table| table.is_some()) });
        found.unwrap_or(false)
    }
}
