//! A value whose type says at once that threads may share it.
//!
//! The compiler shows that a type is `Send` by looking into it, and into DataFusion's plans and SQL's syntax it looks for a long
//! time. Where a function has bounds of its own, as every method of an async trait does, it looks anew each time: the calls of
//! two services took minutes to compile. Behind a trait object it has nothing to look into. For the same reason futures that
//! hold plans are boxed where such methods would await them.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// Holds a value, and shows nothing of its type but that it can be shared.
pub(crate) struct Veil<T>(Arc<dyn Veiled<T>>);

trait Veiled<T>: Send + Sync {
    fn value(&self) -> &T;
}

impl<T: Send + Sync> Veiled<T> for T {
    fn value(&self) -> &T {
        self
    }
}

impl<T: Send + Sync + 'static> Veil<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Arc::new(value))
    }
}

impl<T> Clone for Veil<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Deref for Veil<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().value()
    }
}

impl<T: fmt::Debug> fmt::Debug for Veil<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_ref().value().fmt(f)
    }
}
