//! Rows of a CSV file.

use std::fs::File;

use ::csv::{ByteRecord, ReaderBuilder, Trim};

use super::columns::{Source, Stream};
use super::rows::{Demand, Reason, Row, Sink, Tally, Value};
use super::{Columns, ImportArgs, TimeParser};
use crate::cli::exit;
use crate::error::{Error, Result};

const READ_BYTES: usize = 1 << 20;

pub(super) fn read(
    file: File,
    args: &ImportArgs,
    mut times: TimeParser,
    mut sink: Sink,
) -> Result<Tally> {
    let delimiter = u8::try_from(args.delimiter)
        .map_err(|_| Error::invalid(format!("delimiter \"{}\" is not one byte", args.delimiter)))?;
    let mut reader = ReaderBuilder::new()
        .delimiter(delimiter)
        .buffer_capacity(READ_BYTES)
        .trim(Trim::All)
        // A line with too few or too many fields is one bad row, not the end.
        .flexible(true)
        .from_reader(file);
    let names: Vec<String> = (reader.byte_headers().map_err(unreadable)?.iter())
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .collect();
    let columns = Columns::find(&names, args)?;
    sink.begin(&columns.stream);
    let mut record = ByteRecord::new();
    while reader.read_byte_record(&mut record).map_err(unreadable)? {
        let place = || place(&record);
        match fields(&record, names.len()) {
            None => sink.reject(Reason::Malformed, place),
            Some(fields) => {
                let row = Row {
                    stream: stream(&columns.stream, &fields),
                    time: times.text(fields[columns.time])?,
                    value: value(fields[columns.value]),
                };
                if sink.push(&row, place)? == Demand::Nothing {
                    break;
                }
            }
        }
    }
    sink.finish()
}

fn unreadable(error: ::csv::Error) -> Error {
    match error.into_kind() {
        ::csv::ErrorKind::Io(error) => exit::from_io("the file cannot be read", error),
        other => Error::invalid(format!("the file is not CSV: {other:?}")),
    }
}

/// The fields as text, if there are as many as the header has.
fn fields(record: &ByteRecord, count: usize) -> Option<Vec<&str>> {
    if record.len() != count {
        return None;
    }
    let fields = record.iter().map(|field| std::str::from_utf8(field).ok());
    fields.collect()
}

fn stream<'a>(stream: &'a Stream, fields: &[&'a str]) -> [Option<&'a str>; 3] {
    let text = |source: &'a Source| match source {
        Source::Constant(text) => Some(text.as_str()),
        Source::Column(column) => Some(fields[*column]),
    };
    match stream {
        Stream::Uuid(uuid) => [text(uuid), None, None],
        Stream::Path {
            collection,
            name,
            unit,
        } => [text(collection), text(name), unit.as_ref().and_then(text)],
    }
}

fn value(text: &str) -> Value {
    if text.is_empty() || text.eq_ignore_ascii_case("null") {
        return Err(Reason::ValueMissing);
    }
    text.parse().map_err(|_| Reason::ValueUnreadable)
}

fn place(record: &ByteRecord) -> String {
    const CHARS_MAX: usize = 100;
    let fields: Vec<_> = record.iter().map(String::from_utf8_lossy).collect();
    let text: String = fields.join(",").chars().take(CHARS_MAX).collect();
    match record.position() {
        Some(position) => format!("line {}: {text}", position.line()),
        None => text,
    }
}
