//! The table functions: `raw_values`, `windows`, `aligned_windows`, `multi_values`, `sampled_values`, `nearest`, `changes`.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::catalog::{Session, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, TableType};
use futures::FutureExt;

use super::constants::{integer_of, literal, shown, span_of, time_of};
use super::errors::to_datafusion;
use super::lookups::{ChangesTable, NearestTable};
use super::multi::MultiTable;
use super::plugin::wait;
use super::points::{PointColumn, ZONE, time_type};
use super::provider::{Planning, scan_by_plan};
use super::resolve::{Names, find_all};
use super::selection::text_of;
use super::session::Frame;
use super::stat_column::StatColumn;
use super::table::{NamedStream, StreamTable};
use super::windows::WindowsTable;
use crate::error::{Code, Error, Result};
use crate::model::time::{MAX_TIME, MIN_TIME};
use crate::model::{Direction, PointWidth, Version};

/// One of the table functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    RawValues,
    Windows,
    AlignedWindows,
    MultiValues,
    SampledValues,
    Nearest,
    Changes,
}

impl Function {
    pub(super) const ALL: [Self; 7] = [
        Self::RawValues,
        Self::Windows,
        Self::AlignedWindows,
        Self::MultiValues,
        Self::SampledValues,
        Self::Nearest,
        Self::Changes,
    ];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::RawValues => "raw_values",
            Self::Windows => "windows",
            Self::AlignedWindows => "aligned_windows",
            Self::MultiValues => "multi_values",
            Self::SampledValues => "sampled_values",
            Self::Nearest => "nearest",
            Self::Changes => "changes",
        }
    }

    fn usage(self) -> &'static str {
        match self {
            Self::RawValues => "raw_values(stream)",
            Self::Windows => "windows(stream, width [, origin])",
            Self::AlignedWindows => "aligned_windows(stream, pointwidth)",
            Self::MultiValues => "multi_values(stream, ...)",
            Self::SampledValues => "sampled_values(period, stream, ...)",
            Self::Nearest => "nearest(stream, time [, backward])",
            Self::Changes => "changes(stream, from_version, to_version [, resolution])",
        }
    }

    /// The function of that name.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|function| function.as_str().eq_ignore_ascii_case(name))
    }

    /// Whether the argument at `position` names streams.
    pub(super) fn takes_stream(self, position: usize) -> bool {
        match self {
            Self::MultiValues => true,
            Self::SampledValues => position > 0,
            _ => position == 0,
        }
    }
}

/// Where a table function finds its streams.
#[derive(Clone, Debug)]
pub(super) enum Streams {
    /// Among the names that were looked up before planning.
    OfStatement(Arc<Names>),
    /// In the store, while planning.
    OfSession(Arc<Frame>),
}

impl Streams {
    fn frame(&self) -> Arc<Frame> {
        match self {
            Self::OfStatement(names) => Arc::clone(&names.frame),
            Self::OfSession(frame) => Arc::clone(frame),
        }
    }

    fn named(&self, text: &str) -> Result<Vec<NamedStream>> {
        match self {
            Self::OfStatement(names) => match names.argument(text) {
                Some(streams) => Ok(streams.to_vec()),
                None => Err(Error::internal(format!(
                    "stream argument \"{text}\" was not looked up before planning"
                ))),
            },
            Self::OfSession(frame) => {
                wait(find_all(frame, text)).map_err(super::errors::from_datafusion)?
            }
        }
    }
}

/// A table function over streams.
#[derive(Debug)]
pub(super) struct StreamFunction {
    pub(super) function: Function,
    pub(super) streams: Streams,
}

impl TableFunctionImpl for StreamFunction {
    fn call_with_args(
        &self,
        args: TableFunctionArgs<'_, '_>,
    ) -> datafusion::error::Result<Arc<dyn TableProvider>> {
        self.call_with(args.exprs()).map_err(to_datafusion)
    }
}

impl StreamFunction {
    fn call_with(&self, args: &[Expr]) -> Result<Arc<dyn TableProvider>> {
        if args.iter().any(|arg| matches!(arg, Expr::Placeholder(_))) {
            return self.unbound(args);
        }
        let frame = || self.streams.frame();
        Ok(match (self.function, args) {
            (Function::RawValues, [stream]) => {
                Arc::new(StreamTable::new(frame(), self.stream(stream)?))
            }
            (Function::Windows, [stream, width, rest @ ..]) if rest.len() <= 1 => {
                let origin = match rest {
                    [origin] => self.time("origin", origin)?,
                    _ => 0,
                };
                let stream = self.stream(stream)?;
                Arc::new(WindowsTable::new(
                    frame(),
                    stream,
                    origin,
                    self.width(width)?,
                )?)
            }
            (Function::AlignedWindows, [stream, exponent]) => {
                let stream = self.stream(stream)?;
                let width = self.pointwidth(exponent)?.width();
                Arc::new(WindowsTable::new(frame(), stream, 0, width)?)
            }
            (Function::MultiValues, [_, ..]) => {
                Arc::new(MultiTable::new(frame(), 0, self.wide(args)?)?)
            }
            (Function::SampledValues, [period, streams @ ..]) if !streams.is_empty() => {
                let period = self.period(period)?;
                Arc::new(MultiTable::new(frame(), period, self.wide(streams)?)?)
            }
            (Function::Nearest, [stream, time, rest @ ..]) if rest.len() <= 1 => {
                let backward = match rest {
                    [backward] => self.flag(backward)?,
                    _ => false,
                };
                Arc::new(NearestTable {
                    frame: frame(),
                    stream: self.stream(stream)?,
                    time: self.moment(time)?,
                    direction: if backward {
                        Direction::Backward
                    } else {
                        Direction::Forward
                    },
                })
            }
            (Function::Changes, [stream, from, to, rest @ ..]) if rest.len() <= 1 => {
                let resolution = match rest {
                    [resolution] => self.resolution(resolution)?,
                    _ => 0,
                };
                let (named, to) = (self.stream(stream)?, self.version(to)?);
                if let Some(version) = named.version {
                    return Err(Error::invalid(format!(
                        "changes takes versions as arguments, and @{version} is in the name of the stream too"
                    ))
                    .with_code(Code::InvalidParameter));
                }
                Arc::new(ChangesTable {
                    frame: frame(),
                    stream: named,
                    from: self.version(from)?,
                    to: (to.0 != 0).then_some(to),
                    resolution,
                })
            }
            _ => {
                return Err(Error::invalid(format!(
                    "{} takes other arguments: {}",
                    self.function.as_str(),
                    self.function.usage()
                ))
                .with_code(Code::InvalidParameter));
            }
        })
    }

    /// The shape of a call whose arguments are parameters; it is planned again when they are bound.
    fn unbound(&self, args: &[Expr]) -> Result<Arc<dyn TableProvider>> {
        let schema = match self.function {
            Function::RawValues => PointColumn::schema(&PointColumn::OF_STREAM),
            Function::Windows | Function::AlignedWindows => StatColumn::windows_schema(),
            Function::Nearest => NearestTable::columns(),
            Function::Changes => ChangesTable::columns(),
            Function::MultiValues | Function::SampledValues => {
                let first = usize::from(self.function == Function::SampledValues);
                let args = args.get(first..).unwrap_or_default();
                let mut fields = vec![Field::new("time", time_type(), false)];
                for arg in args {
                    match arg {
                        Expr::Placeholder(placeholder) => {
                            fields.push(Field::new(&placeholder.id, DataType::Float64, true));
                        }
                        arg => fields.extend(
                            self.columns(arg)?
                                .into_iter()
                                .map(|(name, _)| Field::new(name, DataType::Float64, true)),
                        ),
                    }
                }
                Arc::new(Schema::new(fields))
            }
        };
        Ok(Arc::new(UnboundTable(schema)))
    }

    fn wrong(&self, what: &str, arg: &Expr) -> Error {
        let arg = match literal(arg) {
            Some(value) => shown(value),
            None => arg.to_string(),
        };
        Error::invalid(format!(
            "{arg} is no {what} of {}: {}",
            self.function.as_str(),
            self.function.usage()
        ))
        .with_code(Code::InvalidParameter)
    }

    fn streams(&self, arg: &Expr) -> Result<(String, Vec<NamedStream>)> {
        let text = literal(arg).and_then(text_of);
        let Some(text) = text else {
            return Err(self.wrong("stream (a text in single quotes)", arg));
        };
        let streams = self.streams.named(&text)?;
        Ok((text, streams))
    }

    fn stream(&self, arg: &Expr) -> Result<NamedStream> {
        let (text, streams) = self.streams(arg)?;
        match streams.as_slice() {
            [stream] if !text.ends_with("/*") => Ok(stream.clone()),
            _ => Err(Error::invalid(format!(
                "\"{text}\" names many streams, and {} takes one",
                self.function.as_str()
            ))
            .with_code(Code::InvalidParameter)),
        }
    }

    /// Streams with the names of their columns: as the user wrote them, or their paths below a wildcard.
    fn columns(&self, arg: &Expr) -> Result<Vec<(String, NamedStream)>> {
        let (text, streams) = self.streams(arg)?;
        if !text.ends_with("/*") {
            return Ok(streams
                .iter()
                .map(|stream| (text.clone(), stream.clone()))
                .collect());
        }
        let path = |stream: &NamedStream| stream.descriptor.path();
        Ok(streams
            .iter()
            .map(|stream| {
                // A path that several streams share names none of them.
                let shared = streams.iter().filter(|other| path(other) == path(stream));
                let name = if shared.count() > 1 {
                    stream.descriptor.id.to_string()
                } else {
                    path(stream)
                };
                (name, stream.clone())
            })
            .collect())
    }

    /// The streams of all of `args`.
    fn wide(&self, args: &[Expr]) -> Result<Vec<(String, NamedStream)>> {
        let mut columns = Vec::with_capacity(args.len());
        for arg in args {
            columns.extend(self.columns(arg)?);
        }
        Ok(columns)
    }

    fn period(&self, arg: &Expr) -> Result<u64> {
        let what = "period (nanoseconds, or an interval of days and less)";
        let nanos = literal(arg)
            .and_then(span_of)
            .ok_or_else(|| self.wrong(what, arg))?;
        u64::try_from(nanos)
            .ok()
            .filter(|nanos| (1..=1 << 62).contains(nanos))
            .ok_or_else(|| {
                Error::invalid(format!(
                    "sampling period {nanos} ns is not between 1 and 2^62"
                ))
                .with_code(Code::InvalidParameter)
            })
    }

    fn flag(&self, arg: &Expr) -> Result<bool> {
        match literal(arg) {
            Some(ScalarValue::Boolean(Some(flag))) => Ok(*flag),
            _ => Err(self.wrong("direction (true is backward)", arg)),
        }
    }

    fn version(&self, arg: &Expr) -> Result<Version> {
        let number = literal(arg).and_then(integer_of);
        number
            .and_then(|number| u64::try_from(number).ok())
            .map(Version)
            .ok_or_else(|| self.wrong("version (a number, 0 for the latest)", arg))
    }

    fn resolution(&self, arg: &Expr) -> Result<u8> {
        let number = literal(arg)
            .and_then(integer_of)
            .ok_or_else(|| self.wrong("resolution (0 to 63)", arg))?;
        u8::try_from(number)
            .ok()
            .filter(|number| *number <= 63)
            .ok_or_else(|| {
                Error::invalid(format!("resolution {number} is not between 0 and 63"))
                    .with_code(Code::InvalidPointWidth)
            })
    }

    fn width(&self, arg: &Expr) -> Result<u64> {
        let what = "width (nanoseconds, or an interval of days and less; GROUP BY date_trunc('month', time) has months)";
        let nanos = literal(arg)
            .and_then(span_of)
            .ok_or_else(|| self.wrong(what, arg))?;
        u64::try_from(nanos).map_err(|_| {
            Error::invalid(format!("window width {nanos} ns is not between 1 and 2^63"))
                .with_code(Code::InvalidPointWidth)
        })
    }

    fn pointwidth(&self, arg: &Expr) -> Result<PointWidth> {
        let exponent = literal(arg)
            .and_then(integer_of)
            .ok_or_else(|| self.wrong("pointwidth (0 to 63)", arg))?;
        match u64::try_from(exponent) {
            Ok(exponent) => PointWidth::new(exponent),
            Err(_) => Err(
                Error::invalid(format!("pointwidth {exponent} is not between 0 and 63"))
                    .with_code(Code::InvalidPointWidth),
            ),
        }
    }

    /// A time to look from; from beyond all of time it is looked from its end.
    fn moment(&self, arg: &Expr) -> Result<i64> {
        let seconds = DataType::Timestamp(TimeUnit::Second, Some(ZONE.into()));
        let beyond = literal(arg)
            .filter(|value| integer_of(value).is_none() && value.cast_to(&time_type()).is_err())
            .and_then(|value| value.cast_to(&seconds).ok());
        let time = match beyond {
            Some(ScalarValue::TimestampSecond(Some(seconds), _)) if seconds < 0 => MIN_TIME,
            Some(ScalarValue::TimestampSecond(Some(_), _)) => MAX_TIME,
            _ => self.time("time", arg)?,
        };
        // The last nanosecond of the domain holds no point.
        Ok(time.clamp(MIN_TIME, MAX_TIME - 1))
    }

    fn time(&self, name: &str, arg: &Expr) -> Result<i64> {
        let what = &format!("{name} (a timestamp, or nanoseconds since 1970)");
        let value = literal(arg).ok_or_else(|| self.wrong(what, arg))?;
        time_of(value).ok_or_else(|| self.wrong(what, arg))
    }
}

/// A table function whose arguments are not known yet: it has columns, and no rows.
#[derive(Debug)]
struct UnboundTable(SchemaRef);

impl TableProvider for UnboundTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.0)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    scan_by_plan!();
}

impl UnboundTable {
    fn plan_scan<'a>(
        &'a self,
        _state: &'a dyn Session,
        _projection: Option<&'a Vec<usize>>,
        _filters: &'a [Expr],
        _limit: Option<usize>,
    ) -> Planning<'a> {
        async move {
            Err(to_datafusion(Error::invalid(
                "the parameters of a table function are not bound",
            )))
        }
        .boxed()
    }
}
