//! Telling work that keeps its thread that nobody waits for it any more.
//!
//! A plan is stopped by dropping it, which has to wait for the thread that works on it. A join whose pairs do not pass its filter
//! keeps that thread for as long as it finds nothing: up to all rows of one side for each batch of the other. What it does all
//! the while is to evaluate the filter, so that is where it can be told.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::RecordBatch;
use arrow::datatypes::{FieldRef, Schema};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;

use crate::error::{Error, ErrorKind};

/// Makes one execution of a statement end soon, though it cannot be dropped yet. Clones are one.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Ends the execution with an error, which nobody is meant to see.
    pub fn raise(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Raises it when the guard is dropped: whoever waits for the execution holds it.
    pub fn on_drop(&self) -> RaiseOnDrop {
        RaiseOnDrop(self.clone())
    }

    fn check(&self) -> Result<()> {
        if self.0.load(Ordering::Relaxed) {
            let gone = Error::new(ErrorKind::Unavailable, "nobody waits for the statement");
            return Err(DataFusionError::External(Box::new(gone)));
        }
        Ok(())
    }
}

/// Raises an [`Interrupt`] when it is dropped.
#[derive(Debug)]
#[must_use]
pub struct RaiseOnDrop(Interrupt);

impl Drop for RaiseOnDrop {
    fn drop(&mut self) {
        self.0.raise();
    }
}

/// An expression that fails once its statement is interrupted.
#[derive(Debug)]
pub(super) struct Interruptible {
    expression: Arc<dyn PhysicalExpr>,
    interrupt: Interrupt,
}

impl Interruptible {
    pub(super) fn new(expression: Arc<dyn PhysicalExpr>, interrupt: &Interrupt) -> Self {
        Self {
            expression,
            interrupt: interrupt.clone(),
        }
    }
}

impl fmt::Display for Interruptible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.expression.fmt(f)
    }
}

impl PartialEq for Interruptible {
    fn eq(&self, other: &Self) -> bool {
        self.expression.eq(&other.expression)
    }
}

impl Eq for Interruptible {}

impl Hash for Interruptible {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.expression.hash(state);
    }
}

impl PhysicalExpr for Interruptible {
    fn return_field(&self, input_schema: &Schema) -> Result<FieldRef> {
        self.expression.return_field(input_schema)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        self.interrupt.check()?;
        self.expression.evaluate(batch)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.expression]
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        let Some(expression) = children.pop() else {
            return Ok(self);
        };
        Ok(Arc::new(Self::new(expression, &self.interrupt)))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.expression.fmt_sql(f)
    }
}
