//! `stats`: where the bytes of a store are.

use std::sync::Arc;

use arrow::array::{RecordBatch, StringArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema};
use clap::Args;

use super::output::{self, Flow, Format, Output};
use super::store::{LocationArgs, ReadArgs};
use crate::engine::{Engine, Usage};
use crate::error::{Error, Result};

/// Say what a store holds, and where its bytes are.
///
/// Only reads, so it may run beside the process that writes the store.
#[derive(Args, Debug)]
pub struct StatsArgs {
    #[command(flatten)]
    location: LocationArgs,

    /// How the numbers are printed; all but the table have columns what, count and bytes.
    #[arg(long, value_enum, default_value_t)]
    format: Format,

    #[command(flatten)]
    read: ReadArgs,
}

pub(super) async fn run(args: StatsArgs) -> Result<()> {
    let engine = Engine::inspect(&args.location.data, args.read.settings()).await?;
    let usage = engine.usage().await?;
    if args.format == Format::Table {
        let _ = output::print(format!("{usage}\n").into_bytes())?;
        return Ok(());
    }
    let batch = rows(&usage)?;
    let mut output = Output::new(args.format, usize::MAX);
    if output.begin(batch.schema_ref())? == Flow::Continue
        && output.write(&batch)? == Flow::Continue
    {
        let _ = output.end()?;
    }
    Ok(())
}

/// What has no bytes of its own is null there. Blocks are named after the segments that they are in.
fn rows(usage: &Usage) -> Result<RecordBatch> {
    let objects = |what: &str, (count, bytes)| (what.to_owned(), count, Some(bytes));
    let mut rows = vec![
        ("streams".to_owned(), usage.streams, None),
        ("points".to_owned(), usage.points, None),
        (
            "points beside their trees".to_owned(),
            usage.live_points,
            None,
        ),
        objects("segments", usage.segments),
    ];
    for &(kind, count, bytes) in &usage.blocks {
        rows.push(objects(&format!("segments: {kind}"), (count, bytes)));
    }
    rows.push(objects("log entries", usage.log));
    rows.push(objects("checkpoints", usage.checkpoints));
    rows.push(objects("orphaned objects", usage.orphans));
    let schema = Schema::new(vec![
        Field::new("what", DataType::Utf8, false),
        Field::new("count", DataType::UInt64, false),
        Field::new("bytes", DataType::UInt64, true),
    ]);
    RecordBatch::try_new(
        Arc::new(schema),
        vec![
            Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.0))),
            Arc::new(UInt64Array::from_iter_values(rows.iter().map(|row| row.1))),
            Arc::new(UInt64Array::from_iter(rows.iter().map(|row| row.2))),
        ],
    )
    .map_err(|error| Error::internal("the numbers make no rows").with_source(error))
}
