//! The table functions: `raw_values`, `windows`, `aligned_windows`, `multi_values`.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;

use super::errors::to_datafusion;
use super::multi::MultiTable;
use super::points::{PointColumn, time_type};
use super::resolve::Names;
use super::selection::text_of;
use super::stats::StatColumn;
use super::table::{NamedStream, StreamTable};
use super::windows::WindowsTable;
use crate::error::{Code, Error, Result};
use crate::model::PointWidth;

const NANOS_PER_DAY: i128 = 86_400_000_000_000;

/// One of the table functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    RawValues,
    Windows,
    AlignedWindows,
    MultiValues,
}

impl Function {
    pub(super) const ALL: [Self; 4] = [
        Self::RawValues,
        Self::Windows,
        Self::AlignedWindows,
        Self::MultiValues,
    ];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::RawValues => "raw_values",
            Self::Windows => "windows",
            Self::AlignedWindows => "aligned_windows",
            Self::MultiValues => "multi_values",
        }
    }

    fn usage(self) -> &'static str {
        match self {
            Self::RawValues => "raw_values(stream)",
            Self::Windows => "windows(stream, width [, origin])",
            Self::AlignedWindows => "aligned_windows(stream, pointwidth)",
            Self::MultiValues => "multi_values(stream, ...)",
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
        position == 0 || self == Self::MultiValues
    }
}

/// A table function over the names of one statement.
#[derive(Debug)]
pub(super) struct StreamFunction {
    pub(super) function: Function,
    pub(super) names: Arc<Names>,
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
        let frame = || Arc::clone(&self.names.frame);
        Ok(match (self.function, args) {
            (Function::RawValues, [stream]) => {
                Arc::new(StreamTable::new(frame(), self.stream(stream)?))
            }
            (Function::Windows, [stream, width, rest @ ..]) if rest.len() <= 1 => {
                let origin = match rest {
                    [origin] => self.origin(origin)?,
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
                let mut columns = Vec::with_capacity(args.len());
                for arg in args {
                    columns.extend(self.columns(arg)?);
                }
                Arc::new(MultiTable::new(frame(), columns)?)
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
            Function::MultiValues => {
                use arrow::datatypes::{DataType, Field, Schema};
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
        Error::invalid(format!(
            "{arg} is no {what} of {}: {}",
            self.function.as_str(),
            self.function.usage()
        ))
        .with_code(Code::InvalidParameter)
    }

    fn streams(&self, arg: &Expr) -> Result<(String, &[NamedStream])> {
        let text = literal(arg).and_then(text_of);
        let Some(text) = text else {
            return Err(self.wrong("stream (a text in single quotes)", arg));
        };
        match self.names.argument(&text) {
            Some(streams) => Ok((text, streams)),
            None => Err(Error::internal(format!(
                "stream argument \"{text}\" was not looked up before planning"
            ))),
        }
    }

    fn stream(&self, arg: &Expr) -> Result<NamedStream> {
        match self.streams(arg)? {
            (text, [stream]) if !text.ends_with("/*") => Ok(stream.clone()),
            (text, _) => Err(Error::invalid(format!(
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

    fn width(&self, arg: &Expr) -> Result<u64> {
        let what = "width (nanoseconds, or an interval of days and less)";
        let nanos = literal(arg)
            .and_then(nanos_of)
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
        // What does not fit is out of bounds in any case.
        PointWidth::new(u64::try_from(exponent).unwrap_or(u64::MAX))
    }

    fn origin(&self, arg: &Expr) -> Result<i64> {
        let what = "origin (a timestamp, or nanoseconds since 1970)";
        let value = literal(arg).ok_or_else(|| self.wrong(what, arg))?;
        if let Some(nanos) = integer_of(value) {
            return i64::try_from(nanos).map_err(|_| self.wrong(what, arg));
        }
        match value.cast_to(&time_type()) {
            Ok(ScalarValue::TimestampNanosecond(Some(nanos), _)) => Ok(nanos),
            _ => Err(self.wrong(what, arg)),
        }
    }
}

fn literal(arg: &Expr) -> Option<&ScalarValue> {
    match arg {
        Expr::Literal(value, _) => Some(value),
        Expr::Alias(alias) => literal(&alias.expr),
        _ => None,
    }
}

fn integer_of(value: &ScalarValue) -> Option<i128> {
    Some(match value {
        ScalarValue::Int8(Some(number)) => (*number).into(),
        ScalarValue::Int16(Some(number)) => (*number).into(),
        ScalarValue::Int32(Some(number)) => (*number).into(),
        ScalarValue::Int64(Some(number)) => (*number).into(),
        ScalarValue::UInt8(Some(number)) => (*number).into(),
        ScalarValue::UInt16(Some(number)) => (*number).into(),
        ScalarValue::UInt32(Some(number)) => (*number).into(),
        ScalarValue::UInt64(Some(number)) => (*number).into(),
        _ => return None,
    })
}

/// A span in nanoseconds: an integer, or an interval without months, which have no one length.
pub(super) fn nanos_of(value: &ScalarValue) -> Option<i128> {
    Some(match value {
        ScalarValue::IntervalMonthDayNano(Some(span)) if span.months == 0 => {
            i128::from(span.days) * NANOS_PER_DAY + i128::from(span.nanoseconds)
        }
        ScalarValue::IntervalDayTime(Some(span)) => {
            i128::from(span.days) * NANOS_PER_DAY + i128::from(span.milliseconds) * 1_000_000
        }
        ScalarValue::DurationNanosecond(Some(nanos)) => (*nanos).into(),
        ScalarValue::DurationMicrosecond(Some(micros)) => i128::from(*micros) * 1_000,
        ScalarValue::DurationMillisecond(Some(millis)) => i128::from(*millis) * 1_000_000,
        ScalarValue::DurationSecond(Some(seconds)) => i128::from(*seconds) * 1_000_000_000,
        other => return integer_of(other),
    })
}

/// A table function whose arguments are not known yet: it has columns, and no rows.
#[derive(Debug)]
struct UnboundTable(SchemaRef);

#[async_trait]
impl TableProvider for UnboundTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.0)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        _projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> datafusion::error::Result<Arc<dyn ExecutionPlan>> {
        Err(to_datafusion(Error::invalid(
            "the parameters of a table function are not bound",
        )))
    }
}
