//! BTrDB's streams in a DataFusion session of your own, beside whatever else it has: `cargo run --example plugin`.

use std::error::Error;
use std::sync::Arc;

use btrdb_flight::backend::Backend;
use btrdb_flight::engine::Engine;
use btrdb_flight::model::{InsertOptions, StreamDescriptor, StreamId, Tags, Write};
use datafusion::prelude::SessionContext;
use uuid::Uuid;

const SECOND: i64 = 1_000_000_000;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // Any backend will do; this one forgets when it ends. `Engine::open` keeps what it is given.
    let engine: Arc<dyn Backend> = Engine::memory();
    let stream = StreamId(Uuid::from_u128(1));
    engine
        .create(StreamDescriptor {
            id: stream,
            collection: "pmu/north".to_owned(),
            tags: Tags {
                name: "voltage".to_owned(),
                unit: "V".to_owned(),
                ..Tags::default()
            },
            annotations: Default::default(),
            property_version: 0,
        })
        .await?;
    let hour: Vec<i64> = (0..3600).map(|second| second * SECOND).collect();
    let values: Vec<f64> = hour
        .iter()
        .map(|&time| (time as f64 / 1e12).sin())
        .collect();
    let write = Write {
        stream,
        times: hour.into(),
        values: values.into(),
    };
    engine
        .insert(vec![write], InsertOptions::default())
        .await
        .remove(0)?;

    let context = SessionContext::new();
    btrdb_flight::query::register(&context, engine)?;

    context
        .sql("CREATE VIEW quarters AS SELECT date_bin(INTERVAL '15 minutes', time) AS quarter, avg(value) AS mean \
              FROM btrdb.\"pmu/north\".voltage GROUP BY quarter")
        .await?;
    let quarters = "SELECT * FROM quarters ORDER BY quarter";
    context.sql(quarters).await?.show().await?;
    // The scan says that four windows are read, and no points.
    context
        .sql(&format!("EXPLAIN {quarters}"))
        .await?
        .show()
        .await?;
    Ok(())
}
