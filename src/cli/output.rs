//! Rows on stdout: as a table for people, as CSV, JSON or Arrow for programs.

use std::io::{self, Write};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::csv;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use arrow::json::{self, LineDelimitedWriter};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use arrow::util::pretty::pretty_format_batches_with_options;
use clap::ValueEnum;

use super::exit;
use crate::error::{Error, Result};

/// How rows are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Aligned columns, for people.
    #[default]
    Table,
    /// Comma-separated values with a header.
    Csv,
    /// One JSON object a line.
    Json,
    /// An Arrow IPC stream.
    Arrow,
}

/// Whether more rows are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Flow {
    /// Yes.
    Continue,
    /// Not of this result.
    Enough,
    /// Never again: the reader of stdout is gone, which is how `| head` says that it has seen enough.
    Stop,
}

/// Prints one result after the other.
///
/// The writers fill a buffer, which goes to stdout after each batch: so only this file's own writes can fail for reasons of
/// input and output, and memory is bounded by one batch (by `max_rows` rows for a table).
pub(super) struct Output {
    format: Format,
    max_rows: usize,
    writer: Writer,
}

enum Writer {
    Idle,
    Table(Table),
    Csv(SchemaRef),
    Json(Box<LineDelimitedWriter<Vec<u8>>>),
    Arrow(Box<StreamWriter<Vec<u8>>>),
}

struct Table {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
    rows: usize,
    has_more: bool,
}

impl Output {
    pub(super) fn new(format: Format, max_rows: usize) -> Self {
        Self {
            format,
            max_rows,
            writer: Writer::Idle,
        }
    }

    /// Begins a result.
    pub(super) fn begin(&mut self, schema: &SchemaRef) -> Result<Flow> {
        self.writer = match self.format {
            Format::Table => Writer::Table(Table {
                schema: Arc::clone(schema),
                batches: Vec::new(),
                rows: 0,
                has_more: false,
            }),
            Format::Csv => {
                let flat = flat_schema(schema);
                // At once, so that a result without rows still has its header.
                let header = csv_text(&RecordBatch::new_empty(Arc::clone(&flat)), true)?;
                self.writer = Writer::Csv(flat);
                return print(header);
            }
            Format::Json => Writer::Json(Box::new(
                json::WriterBuilder::new()
                    .with_explicit_nulls(true)
                    .build(Vec::new()),
            )),
            Format::Arrow => Writer::Arrow(Box::new(
                StreamWriter::try_new(Vec::new(), schema).map_err(unprintable)?,
            )),
        };
        Ok(Flow::Continue)
    }

    /// Prints some rows of the result.
    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<Flow> {
        match &mut self.writer {
            Writer::Idle => Ok(Flow::Enough),
            Writer::Table(table) => Ok(table.push(batch, self.max_rows)),
            Writer::Csv(schema) => print(csv_text(&flatten(batch, schema)?, false)?),
            Writer::Json(writer) => {
                writer.write(batch).map_err(unprintable)?;
                print(std::mem::take(writer.get_mut()))
            }
            Writer::Arrow(writer) => {
                writer.write(batch).map_err(unprintable)?;
                print(std::mem::take(writer.get_mut()))
            }
        }
    }

    /// Ends the result.
    pub(super) fn end(&mut self) -> Result<Flow> {
        match std::mem::replace(&mut self.writer, Writer::Idle) {
            Writer::Idle | Writer::Csv(_) => Ok(Flow::Continue),
            Writer::Table(table) => table.print(),
            Writer::Json(mut writer) => {
                writer.finish().map_err(unprintable)?;
                print(std::mem::take(writer.get_mut()))
            }
            Writer::Arrow(mut writer) => {
                writer.finish().map_err(unprintable)?;
                print(std::mem::take(writer.get_mut()))
            }
        }
    }
}

impl Table {
    fn push(&mut self, batch: &RecordBatch, max_rows: usize) -> Flow {
        let room = max_rows - self.rows;
        if batch.num_rows() > room {
            self.has_more = true;
        }
        let batch = batch.slice(0, batch.num_rows().min(room));
        self.rows += batch.num_rows();
        self.batches.push(batch);
        if self.has_more {
            Flow::Enough
        } else {
            Flow::Continue
        }
    }

    fn print(mut self) -> Result<Flow> {
        if self.batches.is_empty() {
            self.batches
                .push(RecordBatch::new_empty(Arc::clone(&self.schema)));
        }
        let options = FormatOptions::default().with_display_error(true);
        let text = pretty_format_batches_with_options(&self.batches, &options)
            .map_err(unprintable)?
            .to_string();
        let flow = print((text + "\n").into_bytes())?;
        let rows = self.rows;
        match (self.has_more, rows) {
            (true, _) => eprintln!(
                "the first {rows} rows; there are more: raise --max-rows, or print all with --format csv"
            ),
            (false, 1) => eprintln!("1 row"),
            (false, _) => eprintln!("{rows} rows"),
        }
        Ok(flow)
    }
}

fn csv_text(batch: &RecordBatch, has_header: bool) -> Result<Vec<u8>> {
    let mut writer = csv::WriterBuilder::new()
        .with_header(has_header)
        .build(Vec::new());
    writer.write(batch).map_err(unprintable)?;
    Ok(writer.into_inner())
}

/// Sends `buffer` to stdout.
pub(super) fn print(buffer: Vec<u8>) -> Result<Flow> {
    let mut stdout = io::stdout().lock();
    let result = stdout.write_all(&buffer).and_then(|()| stdout.flush());
    match result {
        Ok(()) => Ok(Flow::Continue),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Flow::Stop),
        Err(error) => Err(exit::from_io("cannot write to stdout", error)),
    }
}

fn unprintable(error: ArrowError) -> Error {
    Error::internal("rows cannot be printed in this format").with_source(error)
}

/// CSV has no nested values: they become text, as a table shows them.
fn flat_schema(schema: &SchemaRef) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| {
        if field.data_type().is_nested() {
            Arc::new(Field::new(
                field.name(),
                DataType::Utf8,
                field.is_nullable(),
            ))
        } else {
            Arc::clone(field)
        }
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn flatten(batch: &RecordBatch, flat: &SchemaRef) -> Result<RecordBatch> {
    let columns = batch.columns().iter().map(|column| {
        if column.data_type().is_nested() {
            as_text(column)
        } else {
            Ok(Arc::clone(column))
        }
    });
    columns
        .collect::<Result<Vec<_>, ArrowError>>()
        .and_then(|columns| RecordBatch::try_new(Arc::clone(flat), columns))
        .map_err(unprintable)
}

fn as_text(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let options = FormatOptions::default();
    let formatter = ArrayFormatter::try_new(column.as_ref(), &options)?;
    let texts = (0..column.len()).map(|row| {
        if column.is_null(row) {
            Ok(None)
        } else {
            formatter.value(row).try_to_string().map(Some)
        }
    });
    let texts: StringArray = texts.collect::<Result<_, ArrowError>>()?;
    Ok(Arc::new(texts))
}
